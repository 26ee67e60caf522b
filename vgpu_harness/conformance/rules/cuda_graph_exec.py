"""Executable graphs: made, changed, launched."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_code import function
from vgpu_harness.conformance.rules.cuda_event import event
from vgpu_harness.conformance.rules.cuda_graph import empty, new_graph
from vgpu_harness.conformance.rules.cuda_graph_nodes import add, copy_params, fill_params, kernel_params
from vgpu_harness.conformance.rules.cuda_stream import memory, read

INVALID_VALUE, NOT_SUPPORTED, UPDATE_FAILURE = 1, 801, 910
AUTO_FREE = 1  # CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH
MEMSET = 2  # CUgraphNodeType
TOPOLOGY_CHANGED = 2  # CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED
WRITE_32 = 2  # CUstreamBatchMemOpType


def executable(cuda: Cuda, graph: Any) -> Any:
    """The graph, ready to be launched."""
    handle = cuda.out("CUgraphExec")
    cuda.ok("cuGraphInstantiateWithFlags", handle, graph, 0)
    return cuda.value(handle)


def launch(cuda: Cuda, handle: Any) -> None:
    """Launches it in the default stream, and waits."""
    cuda.ok("cuGraphLaunch", handle, None)
    cuda.ok("cuStreamSynchronize", None)


def filling(cuda: Cuda, to: int, value: int) -> tuple[Any, Any]:
    """A graph that fills four bytes, and its node."""
    graph, context = new_graph(cuda), cuda.out("CUcontext")
    cuda.ok("cuCtxGetCurrent", context)
    return graph, add(cuda, "cuGraphAddMemsetNode", fill_params(cuda, to, value, 4), cuda.value(context), graph=graph)


@rule(
    "cuGraphInstantiate", "cuGraphInstantiate_v2", "cuGraphInstantiateWithFlags", "cuGraphInstantiateWithParams",
    "cuGraphLaunch", source="cuda.h 13.5, cuGraphInstantiate, cuGraphLaunch", gpu=True,
)  # fmt: skip
def graphs_are_launched(cuda: Cuda) -> None:
    """A graph that is instantiated, in each way, does its work when it is launched, as often as it is."""
    cuda.context()
    params = cuda.struct("CUDA_GRAPH_INSTANTIATE_PARAMS", result_out=99)
    ways: tuple[tuple[Any, ...], ...] = (
        ("cuGraphInstantiate", None, None, 0),
        ("cuGraphInstantiate_v2", None, None, 0),
        ("cuGraphInstantiateWithFlags", 0),
        ("cuGraphInstantiateWithParams", params),
    )
    for name, *rest in ways:
        to, handle = memory(cuda, 8), cuda.out("CUgraphExec")
        cuda.ok(name, handle, filling(cuda, to, 0x55)[0], *rest)
        for _ in range(2):
            cuda.ok("cuMemsetD8_v2", to, 0, 8)
            launch(cuda, cuda.value(handle))
            cuda.equal(read(cuda, to, 8), 0x55555555, "what the graph wrote")
    cuda.equal(params[0].result_out, 0, "the result of the instantiation")
    cuda.expect(INVALID_VALUE, "cuGraphInstantiateWithFlags", cuda.out("CUgraphExec"), new_graph(cuda), 1 << 20)


@rule(
    "cuGraphLaunch", source="cuda.h 13.5, cuGraphAddDependencies: nodes run after those that they depend on", gpu=True
)
def nodes_run_in_order(cuda: Cuda) -> None:
    """Fill, copy and host function run in the order of their edges, and see what was done before."""
    context = cuda.context()
    to, room, seen = memory(cuda, 8), cuda.ffi.new("char[]", b"\1\2\3\4"), []
    graph = new_graph(cuda)
    call = cuda.ffi.callback("void(void *)", lambda _data: seen.append(bytes(cuda.ffi.buffer(room, 4))))
    back = copy_params(cuda, None, 0, 4)
    back[0].srcMemoryType, back[0].srcDevice, back[0].dstMemoryType, back[0].dstHost = 2, to, 1, room
    last = empty(cuda, graph)
    for name, *arguments in (
        ("cuGraphAddMemsetNode", fill_params(cuda, to, 9, 4), context),
        ("cuGraphAddMemcpyNode", back, context),
        ("cuGraphAddHostNode", cuda.struct("CUDA_HOST_NODE_PARAMS", fn=call)),
    ):
        node = cuda.out("CUgraphNode")
        cuda.ok(name, node, graph, cuda.ffi.new("CUgraphNode[]", [last]), 1, *arguments)
        last = cuda.value(node)
    launch(cuda, executable(cuda, graph))
    cuda.equal(seen, [bytes([9]) * 4], "what the host function saw")


@rule(
    "cuGraphLaunch", source="our rule: kernels do not run on a simulated host, and no launch says otherwise", gpu=True
)
def graphs_with_kernels_do_not_run_here(cuda: Cuda) -> None:
    """A graph with a kernel is launched on a GPU; on a simulated host it is refused, and none of it is done."""
    context = cuda.context()
    to = memory(cuda, 4)
    graph, first = filling(cuda, to, 7)
    node = cuda.out("CUgraphNode")
    params = kernel_params(cuda, "CUDA_KERNEL_NODE_PARAMS", function(cuda, "second"), 1)
    params[0].ctx = context
    cuda.ok("cuGraphAddKernelNode_v2", node, graph, cuda.ffi.new("CUgraphNode[]", [first]), 1, params)
    cuda.expect(0 if cuda.host is None else NOT_SUPPORTED, "cuGraphLaunch", executable(cuda, graph), None)
    cuda.ok("cuCtxSynchronize")
    cuda.equal(read(cuda, to, 1), 7 if cuda.host is None else 0, "what was written")
    launch(cuda, executable(cuda, filling(cuda, to, 3)[0]))
    cuda.equal(read(cuda, to, 1), 3, "what a graph without kernels wrote")


@rule("cuGraphExecDestroy", "cuGraphExecGetFlags", source="cuda.h 13.5, cuGraphExecGetFlags", gpu=True)
def executables_know_their_flags(cuda: Cuda) -> None:
    """An executable graph has the flags that it was made with; on a simulated host it is gone once destroyed."""
    cuda.context()
    for flags in (0, AUTO_FREE):
        handle, said = cuda.out("CUgraphExec"), cuda.out("cuuint64_t")
        cuda.ok("cuGraphInstantiateWithFlags", handle, new_graph(cuda), flags)
        cuda.ok("cuGraphExecGetFlags", cuda.value(handle), said)
        cuda.equal(cuda.value(said), flags, "the flags")
        cuda.ok("cuGraphExecDestroy", cuda.value(handle))
        if cuda.host is not None:
            cuda.expect(INVALID_VALUE, "cuGraphExecGetFlags", cuda.value(handle), said)


@rule("cuGraphExecGetId", source="cuda.h 13.5, cuGraphExecGetId", gpu=True)
def executables_have_ids(cuda: Cuda) -> None:
    """Two executable graphs have two ids."""
    cuda.context()
    graph, ids = new_graph(cuda), set()
    for _ in range(2):
        said = cuda.out("unsigned int")
        cuda.ok("cuGraphExecGetId", executable(cuda, graph), said)
        ids.add(cuda.value(said))
    cuda.equal(len(ids), 2, "the number of ids")


@rule("cuGraphNodeSetEnabled", "cuGraphNodeGetEnabled", source="cuda.h 13.5, cuGraphNodeSetEnabled", gpu=True)
def nodes_are_disabled(cuda: Cuda) -> None:
    """A node that is disabled does nothing in this executable graph, until it is enabled again."""
    cuda.context()
    to = memory(cuda, 4)
    graph, node = filling(cuda, to, 7)
    handle = executable(cuda, graph)
    for enabled, wanted in ((0, 0), (1, 0x07070707)):
        said = cuda.out("unsigned int")
        cuda.ok("cuGraphNodeSetEnabled", handle, node, enabled)
        cuda.ok("cuGraphNodeGetEnabled", handle, node, said)
        cuda.equal(cuda.value(said), enabled, "whether the node is enabled")
        launch(cuda, handle)
        cuda.equal(read(cuda, to, 4), wanted, "what the graph wrote")


@rule(
    "cuGraphExecMemsetNodeSetParams", "cuGraphExecNodeSetParams", source="cuda.h 13.5, cuGraphExecMemsetNodeSetParams",
    gpu=True,
)  # fmt: skip
def fills_are_changed(cuda: Cuda) -> None:
    """A fill of an executable graph can be another one, and the graph it was made from stays as it is."""
    context = cuda.context()
    to, said = memory(cuda, 4), cuda.out("CUDA_MEMSET_NODE_PARAMS")
    graph, node = filling(cuda, to, 1)
    handle, whole = executable(cuda, graph), cuda.struct("CUgraphNodeParams", type=MEMSET)
    cuda.ok("cuGraphExecMemsetNodeSetParams", handle, node, fill_params(cuda, to, 2, 4), context)
    launch(cuda, handle)
    cuda.equal(read(cuda, to, 4), 0x02020202, "what the graph wrote")
    whole[0].memset.of, whole[0].memset.ctx = fill_params(cuda, to, 3, 4)[0], context
    cuda.ok("cuGraphExecNodeSetParams", handle, node, whole)
    launch(cuda, handle)
    cuda.equal(read(cuda, to, 4), 0x03030303, "what the graph wrote")
    cuda.ok("cuGraphMemsetNodeGetParams", node, said)
    cuda.equal(cuda.value(said).value, 1, "the value in the graph itself")


@rule("cuGraphExecMemcpyNodeSetParams", source="cuda.h 13.5, cuGraphExecMemcpyNodeSetParams", gpu=True)
def copies_are_changed(cuda: Cuda) -> None:
    """A copy of an executable graph can be of other memory."""
    context = cuda.context()
    to, graph = memory(cuda, 4), new_graph(cuda)
    sources = cuda.ffi.new("char[]", b"\1\1\1\1"), cuda.ffi.new("char[]", b"\2\2\2\2")
    node = add(cuda, "cuGraphAddMemcpyNode", copy_params(cuda, sources[0], to, 4), context, graph=graph)
    handle = executable(cuda, graph)
    cuda.ok("cuGraphExecMemcpyNodeSetParams", handle, node, copy_params(cuda, sources[1], to, 4), context)
    launch(cuda, handle)
    cuda.equal(read(cuda, to, 4), 0x02020202, "what the graph wrote")


@rule("cuGraphExecHostNodeSetParams", source="cuda.h 13.5, cuGraphExecHostNodeSetParams", gpu=True)
def host_functions_are_changed(cuda: Cuda) -> None:
    """A host function of an executable graph can be given other data."""
    cuda.context()
    seen: list[int] = []
    call = cuda.ffi.callback("void(void *)", lambda data: seen.append(int(cuda.ffi.cast("uintptr_t", data))))
    params, graph = cuda.struct("CUDA_HOST_NODE_PARAMS", fn=call, userData=cuda.ffi.cast("void *", 1)), new_graph(cuda)
    node = add(cuda, "cuGraphAddHostNode", params, graph=graph)
    handle = executable(cuda, graph)
    launch(cuda, handle)
    params[0].userData = cuda.ffi.cast("void *", 2)
    cuda.ok("cuGraphExecHostNodeSetParams", handle, node, params)
    launch(cuda, handle)
    cuda.equal(seen, [1, 2], "the data of the function")


@rule("cuGraphExecChildGraphNodeSetParams", source="cuda.h 13.5, cuGraphExecChildGraphNodeSetParams", gpu=True)
def children_are_changed(cuda: Cuda) -> None:
    """A graph within an executable graph can be another one of the same form."""
    cuda.context()
    to, graph = memory(cuda, 4), new_graph(cuda)
    node = add(cuda, "cuGraphAddChildGraphNode", filling(cuda, to, 1)[0], graph=graph)
    handle = executable(cuda, graph)
    launch(cuda, handle)
    cuda.equal(read(cuda, to, 4), 0x01010101, "what the graph within wrote")
    other = cuda.out("CUgraph")
    within, inner = cuda.out("CUgraph"), cuda.out("CUgraphNode")
    cuda.ok("cuGraphChildGraphNodeGetGraph", node, within)
    cuda.ok("cuGraphClone", other, cuda.value(within))
    one = cuda.struct("size_t")
    one[0] = 1
    cuda.ok("cuGraphGetNodes", cuda.value(other), inner, one)
    cuda.ok("cuGraphMemsetNodeSetParams", cuda.value(inner), fill_params(cuda, to, 2, 4))
    cuda.ok("cuGraphExecChildGraphNodeSetParams", handle, node, cuda.value(other))
    launch(cuda, handle)
    cuda.equal(read(cuda, to, 4), 0x02020202, "what the other one wrote")


@rule("cuGraphExecEventRecordNodeSetEvent", "cuGraphAddEventRecordNode", source="cuda.h 13.5", gpu=True)
def records_are_changed(cuda: Cuda) -> None:
    """An executable graph records its event, or another that it is given."""
    cuda.context()
    start, first, second, said, graph = event(cuda), event(cuda), event(cuda), cuda.out("float"), new_graph(cuda)
    cuda.ok("cuEventRecord", start, None)
    node = add(cuda, "cuGraphAddEventRecordNode", first, graph=graph)
    handle = executable(cuda, graph)
    launch(cuda, handle)
    cuda.ok("cuEventElapsedTime", said, start, first)
    cuda.expect(400, "cuEventElapsedTime", said, start, second)
    cuda.ok("cuGraphExecEventRecordNodeSetEvent", handle, node, second)
    launch(cuda, handle)
    cuda.ok("cuEventElapsedTime", said, start, second)


@rule("cuGraphExecBatchMemOpNodeSetParams", source="cuda.h 13.5, cuGraphExecBatchMemOpNodeSetParams", gpu=True)
def batches_are_changed(cuda: Cuda) -> None:
    """A batch of an executable graph can write another value."""
    context = cuda.context()
    operation, to, graph = cuda.ffi.new("CUstreamBatchMemOpParams[]", 1), memory(cuda, 4), new_graph(cuda)
    operation[0].writeValue.operation, operation[0].writeValue.address = WRITE_32, to
    operation[0].writeValue.value = 1
    params = cuda.struct("CUDA_BATCH_MEM_OP_NODE_PARAMS", ctx=context, count=1, paramArray=operation)
    node = add(cuda, "cuGraphAddBatchMemOpNode", params, graph=graph)
    handle = executable(cuda, graph)
    operation[0].writeValue.value = 2
    cuda.ok("cuGraphExecBatchMemOpNodeSetParams", handle, node, params)
    launch(cuda, handle)
    cuda.equal(read(cuda, to, 4), 2, "what the graph wrote")


@rule("cuGraphExecUpdate", "cuGraphExecUpdate_v2", source="cuda.h 13.5, cuGraphExecUpdate", gpu=True)
def executables_are_updated(cuda: Cuda) -> None:
    """An executable graph takes the parameters of a graph of the same form; one of another form is refused."""
    cuda.context()
    for version in ("", "_v2"):
        to = memory(cuda, 4)
        handle = executable(cuda, filling(cuda, to, 1)[0])
        node, result = cuda.out("CUgraphNode"), cuda.out("CUgraphExecUpdateResult")
        info = cuda.out("CUgraphExecUpdateResultInfo")
        outputs = (info,) if version else (node, result)
        cuda.ok(f"cuGraphExecUpdate{version}", handle, filling(cuda, to, 2)[0], *outputs)
        cuda.equal(cuda.value(info).result if version else cuda.value(result), 0, "the result of the update")
        launch(cuda, handle)
        cuda.equal(read(cuda, to, 4), 0x02020202, "what the graph wrote")
        larger, _ = filling(cuda, to, 3)
        empty(cuda, larger)
        cuda.expect(UPDATE_FAILURE, f"cuGraphExecUpdate{version}", handle, larger, *outputs)
        got = info[0].result if version else result[0]
        cuda.equal(got, TOPOLOGY_CHANGED, "the result of the update")


@rule(
    "cuGraphInstantiateWithParams", "cuGraphNodeSetEnabled", "cuGraphNodeGetEnabled", "cuGraphExecHostNodeSetParams",
    source="measured on 535.261.03, in any state", gpu=False,
)  # fmt: skip
def null_is_no_executable(cuda: Cuda) -> None:
    """NULL is no executable graph, before cuInit, too."""
    cuda.expect(INVALID_VALUE, "cuGraphInstantiateWithParams", None, None, None)
    cuda.expect(INVALID_VALUE, "cuGraphNodeSetEnabled", None, None, 0)
    cuda.expect(INVALID_VALUE, "cuGraphNodeGetEnabled", None, None, None)
    cuda.expect(INVALID_VALUE, "cuGraphExecHostNodeSetParams", None, None, None)

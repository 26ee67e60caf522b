"""Nodes of graphs: each type is added with parameters, answers them, and takes others."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_capture import host_function
from vgpu_harness.conformance.rules.cuda_code import function
from vgpu_harness.conformance.rules.cuda_event import event
from vgpu_harness.conformance.rules.cuda_graph import new_graph
from vgpu_harness.conformance.rules.cuda_stream import memory

INVALID_VALUE = 1
REFUSED = (1, 801)  # cuda.h says "an error"
HOST_MEMORY, DEVICE_MEMORY = 1, 2  # CUmemorytype
KERNEL, MEMSET, HOST, EMPTY, CONDITIONAL = 0, 2, 3, 5, 13  # CUgraphNodeType
WRITE_32 = 2  # CUstreamBatchMemOpType
SEMAPHORE_PARAMS = 144  # bytes of CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS, and of those of a wait
PRIORITY = 8  # CU_KERNEL_NODE_ATTRIBUTE_PRIORITY


def add(cuda: Cuda, name: str, *arguments: Any, graph: Any = None) -> Any:
    """A node without dependencies, of a new graph unless one is given."""
    node = cuda.out("CUgraphNode")
    cuda.ok(name, node, new_graph(cuda) if graph is None else graph, None, 0, *arguments)
    return cuda.value(node)


def copy_params(cuda: Cuda, source: Any, to: int, size: int) -> Any:
    """A copy of host memory to device memory."""
    params = cuda.struct("CUDA_MEMCPY3D", srcMemoryType=HOST_MEMORY, dstMemoryType=DEVICE_MEMORY, dstDevice=to)
    params[0].srcHost = cuda.null if source is None else source
    params[0].WidthInBytes, params[0].Height, params[0].Depth = size, 1, 1
    return params


def fill_params(cuda: Cuda, to: int, value: int, width: int) -> Any:
    """A fill of bytes."""
    return cuda.struct("CUDA_MEMSET_NODE_PARAMS", dst=to, value=value, elementSize=1, width=width, height=1)


def kernel_params(cuda: Cuda, kind: str, code: Any, blocks: int) -> Any:
    """A launch of a kernel without parameters."""
    return cuda.struct(kind, func=code, gridDimX=blocks, gridDimY=1, gridDimZ=1, blockDimX=32, blockDimY=1, blockDimZ=1)


@rule(
    "cuGraphAddKernelNode", "cuGraphAddKernelNode_v2", "cuGraphKernelNodeGetParams", "cuGraphKernelNodeGetParams_v2",
    "cuGraphKernelNodeSetParams", "cuGraphKernelNodeSetParams_v2",
    source="cuda.h 13.5, cuGraphAddKernelNode", gpu=True,
)  # fmt: skip
def kernel_nodes(cuda: Cuda) -> None:
    """A kernel node keeps the launch that it is given; one that no device could do is refused."""
    cuda.context()
    code = function(cuda, "second")
    for suffix, kind in (("", "CUDA_KERNEL_NODE_PARAMS_v1"), ("_v2", "CUDA_KERNEL_NODE_PARAMS")):
        node = add(cuda, f"cuGraphAddKernelNode{suffix}", kernel_params(cuda, kind, code, 3))
        for blocks in (3, 5):
            said = cuda.out(kind)
            cuda.ok(f"cuGraphKernelNodeGetParams{suffix}", node, said)
            cuda.equal((cuda.value(said).func, said[0].gridDimX), (code, blocks), "the kernel and its blocks")
            cuda.ok(f"cuGraphKernelNodeSetParams{suffix}", node, kernel_params(cuda, kind, code, 5))
        cuda.expect(INVALID_VALUE, f"cuGraphKernelNodeSetParams{suffix}", node, None)


@rule(
    "cuGraphKernelNodeSetAttribute", "cuGraphKernelNodeGetAttribute", "cuGraphKernelNodeCopyAttributes",
    source="cuda.h 13.5, cuGraphKernelNodeSetAttribute", gpu=True,
)  # fmt: skip
def attributes_of_kernel_nodes(cuda: Cuda) -> None:
    """A kernel node keeps its attributes, and gives them to another one."""
    cuda.context()
    graph, params = new_graph(cuda), kernel_params(cuda, "CUDA_KERNEL_NODE_PARAMS", function(cuda, "second"), 1)
    one, other = (add(cuda, "cuGraphAddKernelNode_v2", params, graph=graph) for _ in range(2))
    cuda.ok("cuGraphKernelNodeSetAttribute", one, PRIORITY, cuda.struct("CUkernelNodeAttrValue", priority=-1))
    cuda.ok("cuGraphKernelNodeCopyAttributes", other, one)
    for node in (one, other):
        said = cuda.out("CUkernelNodeAttrValue")
        cuda.ok("cuGraphKernelNodeGetAttribute", node, PRIORITY, said)
        cuda.equal(cuda.value(said).priority, -1, "the priority of a node")


@rule(
    "cuGraphAddMemcpyNode", "cuGraphMemcpyNodeGetParams", "cuGraphMemcpyNodeSetParams",
    source="cuda.h 13.5, cuGraphAddMemcpyNode", gpu=True,
)  # fmt: skip
def copy_nodes(cuda: Cuda) -> None:
    """A copy node keeps its copy, and takes another."""
    context = cuda.context()
    source, to = cuda.ffi.new("char[]", 64), memory(cuda, 64)
    node = add(cuda, "cuGraphAddMemcpyNode", copy_params(cuda, source, to, 64), context)
    for size in (64, 16):
        said = cuda.out("CUDA_MEMCPY3D")
        cuda.ok("cuGraphMemcpyNodeGetParams", node, said)
        cuda.equal((cuda.value(said).dstDevice, said[0].WidthInBytes), (to, size), "what is copied where")
        cuda.ok("cuGraphMemcpyNodeSetParams", node, copy_params(cuda, source, to, 16))


@rule(
    "cuGraphAddMemsetNode", "cuGraphMemsetNodeGetParams", "cuGraphMemsetNodeSetParams",
    source="cuda.h 13.5, cuGraphAddMemsetNode", gpu=True,
)  # fmt: skip
def fill_nodes(cuda: Cuda) -> None:
    """A fill node keeps its fill, and takes another; elements have one, two or four bytes."""
    context = cuda.context()
    to = memory(cuda, 64)
    node = add(cuda, "cuGraphAddMemsetNode", fill_params(cuda, to, 7, 64), context)
    for value in (7, 9):
        said = cuda.out("CUDA_MEMSET_NODE_PARAMS")
        cuda.ok("cuGraphMemsetNodeGetParams", node, said)
        cuda.equal((cuda.value(said).dst, said[0].value), (to, value), "what is filled with what")
        cuda.ok("cuGraphMemsetNodeSetParams", node, fill_params(cuda, to, 9, 64))
    wrong = fill_params(cuda, to, 1, 64)
    wrong[0].elementSize = 3
    cuda.expect(INVALID_VALUE, "cuGraphMemsetNodeSetParams", node, wrong)


@rule(
    "cuGraphAddHostNode", "cuGraphHostNodeGetParams", "cuGraphHostNodeSetParams",
    source="cuda.h 13.5, cuGraphAddHostNode", gpu=True,
)  # fmt: skip
def host_nodes(cuda: Cuda) -> None:
    """A host node keeps its function and data, and takes others."""
    cuda.context()
    call = host_function(cuda)
    params = cuda.struct("CUDA_HOST_NODE_PARAMS", fn=call, userData=cuda.ffi.cast("void *", 1))
    node = add(cuda, "cuGraphAddHostNode", params)
    for data in (1, 2):
        said = cuda.out("CUDA_HOST_NODE_PARAMS")
        cuda.ok("cuGraphHostNodeGetParams", node, said)
        got = int(cuda.ffi.cast("uintptr_t", cuda.value(said).userData))
        cuda.equal((said[0].fn, got), (call, data), "the function and its data")
        params[0].userData = cuda.ffi.cast("void *", 2)
        cuda.ok("cuGraphHostNodeSetParams", node, params)


@rule(
    "cuGraphAddEventRecordNode", "cuGraphEventRecordNodeGetEvent", "cuGraphEventRecordNodeSetEvent",
    "cuGraphAddEventWaitNode", "cuGraphEventWaitNodeGetEvent", "cuGraphEventWaitNodeSetEvent",
    source="cuda.h 13.5, cuGraphAddEventRecordNode, cuGraphAddEventWaitNode", gpu=True,
)  # fmt: skip
def event_nodes(cuda: Cuda) -> None:
    """Nodes that record and wait for an event keep it, and take another."""
    cuda.context()
    for kind in ("Record", "Wait"):
        events = event(cuda), event(cuda)
        node = add(cuda, f"cuGraphAddEvent{kind}Node", events[0])
        for wanted in events:
            said = cuda.out("CUevent")
            cuda.ok(f"cuGraphEvent{kind}NodeGetEvent", node, said)
            cuda.equal(cuda.value(said), wanted, "the event of a node")
            cuda.ok(f"cuGraphEvent{kind}NodeSetEvent", node, events[1])


@rule(
    "cuGraphAddBatchMemOpNode", "cuGraphBatchMemOpNodeGetParams", "cuGraphBatchMemOpNodeSetParams",
    source="cuda.h 13.5, cuGraphAddBatchMemOpNode", gpu=True,
)  # fmt: skip
def batch_nodes(cuda: Cuda) -> None:
    """A batch node keeps its operations, in an array of its own, and takes others."""
    context = cuda.context()
    operation, address = cuda.ffi.new("CUstreamBatchMemOpParams[]", 1), memory(cuda, 8)
    operation[0].writeValue.operation = WRITE_32
    operation[0].writeValue.address = address
    params = cuda.struct("CUDA_BATCH_MEM_OP_NODE_PARAMS", ctx=context, count=1, paramArray=operation)
    operation[0].writeValue.value = 3
    node = add(cuda, "cuGraphAddBatchMemOpNode", params)
    for value in (3, 4):
        operation[0].writeValue.value = 99
        said = cuda.out("CUDA_BATCH_MEM_OP_NODE_PARAMS")
        cuda.ok("cuGraphBatchMemOpNodeGetParams", node, said)
        cuda.equal((cuda.value(said).count, said[0].ctx), (1, context), "the number of operations, and the context")
        cuda.equal(said[0].paramArray[0].writeValue.value, value, "the value of the operation")
        operation[0].writeValue.value = 4
        cuda.ok("cuGraphBatchMemOpNodeSetParams", node, params)


def _any(cuda: Cuda, kind: int) -> Any:
    return cuda.struct("CUgraphNodeParams", type=kind)


@rule(
    "cuGraphAddNode", "cuGraphAddNode_v2", "cuGraphAddNode_v3", "cuGraphNodeSetParams", "cuGraphNodeSetParams_v2",
    "cuGraphNodeGetParams", source="cuda.h 13.5, cuGraphAddNode, cuGraphNodeGetParams", gpu=True,
)  # fmt: skip
def nodes_of_any_type(cuda: Cuda) -> None:
    """One structure makes nodes of any type, changes them, and is answered; a type that there is not is refused."""
    cuda.context()
    to = memory(cuda, 64)
    ways: tuple[tuple[str, tuple[Any, ...], str], ...] = (
        ("cuGraphAddNode", (None, 0), "cuGraphNodeSetParams"),
        ("cuGraphAddNode_v2", (None, None, 0), "cuGraphNodeSetParams_v2"),
        ("cuGraphAddNode_v3", (None, None, 0), "cuGraphNodeSetParams"),
    )
    for name, before, change in ways:
        params, node, said = _any(cuda, MEMSET), cuda.out("CUgraphNode"), cuda.out("CUgraphNodeParams")
        params[0].memset.of = fill_params(cuda, to, 7, 64)[0]
        cuda.ok(name, node, new_graph(cuda), *before, params)
        cuda.ok("cuGraphNodeGetParams", cuda.value(node), said)
        cuda.equal((cuda.value(said).type, said[0].memset.of.value), (MEMSET, 7), "type and value of the node")
        params[0].memset.of.value = 8
        cuda.ok(change, cuda.value(node), params)
        cuda.ok("cuGraphNodeGetParams", cuda.value(node), said)
        cuda.equal(said[0].memset.of.value, 8, "the value that was set")
        cuda.expect(INVALID_VALUE, name, node, new_graph(cuda), *before, _any(cuda, 99))


@rule(
    "cuGraphConditionalHandleCreate",
    source="cuda.h 13.5, cuGraphConditionalHandleCreate, cuGraphAddChildGraphNode; "
    "NVIDIA/cuda-python, test_condition_from_different_graph", gpu=True,
)  # fmt: skip
def conditional_nodes(cuda: Cuda) -> None:
    """A condition's handle makes one node of its graph, which has bodies to be filled and stays in no copy."""
    context = cuda.context()
    graph, handle, node = new_graph(cuda), cuda.out("CUgraphConditionalHandle"), cuda.out("CUgraphNode")
    cuda.ok("cuGraphConditionalHandleCreate", handle, graph, context, 1, 1)
    params = _any(cuda, CONDITIONAL)
    params[0].conditional.handle, params[0].conditional.size, params[0].conditional.ctx = cuda.value(handle), 1, context
    cuda.ok("cuGraphAddNode_v2", node, graph, None, None, 0, params)
    inner = cuda.out("CUgraphNode")
    cuda.ok("cuGraphAddEmptyNode", inner, params[0].conditional.phGraph_out[0], None, 0)
    cuda.expect(REFUSED, "cuGraphAddNode_v2", node, new_graph(cuda), None, None, 0, params)
    parent = new_graph(cuda)
    cuda.expect(REFUSED, "cuGraphAddChildGraphNode", node, parent, None, 0, graph)
    if cuda.host is not None:
        for handle_wrong in (cuda.value(handle), 12345):
            params[0].conditional.handle = handle_wrong
            cuda.expect(INVALID_VALUE, "cuGraphAddNode_v2", node, graph, None, None, 0, params)


@rule(
    "cuGraphAddExternalSemaphoresSignalNode", "cuGraphExternalSemaphoresSignalNodeGetParams",
    "cuGraphExternalSemaphoresSignalNodeSetParams", "cuGraphAddExternalSemaphoresWaitNode",
    "cuGraphExternalSemaphoresWaitNodeGetParams", "cuGraphExternalSemaphoresWaitNodeSetParams",
    source="cuda.h 13.5, cuGraphAddExternalSemaphoresSignalNode; our rule for semaphores that nobody made", gpu=True,
)  # fmt: skip
def semaphore_nodes(cuda: Cuda) -> None:
    """Nodes of semaphores keep them in arrays of their own, and take others; without any there is no node."""
    cuda.context()
    for kind in ("Signal", "Wait"):
        structure, new = f"CUDA_EXT_SEM_{kind.upper()}_NODE_PARAMS", f"cuGraphAddExternalSemaphores{kind}Node"
        params, graph = cuda.struct(structure), new_graph(cuda)
        cuda.expect(INVALID_VALUE, new, cuda.out("CUgraphNode"), graph, None, 0, params)
        if cuda.host is None:  # another driver would have to make a semaphore
            continue
        semaphores, values = cuda.ffi.new("CUexternalSemaphore[]", 2), cuda.ffi.new("char[]", 2 * SEMAPHORE_PARAMS)
        params[0].extSemArray, params[0].numExtSems = semaphores, 1
        params[0].paramsArray = cuda.ffi.cast("void *", values)
        semaphores[0], semaphores[1] = (cuda.ffi.cast("CUexternalSemaphore", i) for i in (5, 7))
        node = add(cuda, new, params, graph=graph)
        semaphores[0] = cuda.ffi.cast("CUexternalSemaphore", 6)
        for wanted in ([5], [6, 7]):
            said = cuda.out(structure)
            cuda.ok(f"cuGraphExternalSemaphores{kind}NodeGetParams", node, said)
            kept = cuda.value(said)
            got = [int(cuda.ffi.cast("uintptr_t", kept.extSemArray[i])) for i in range(kept.numExtSems)]
            cuda.equal(got, wanted, "the semaphores of a node")
            params[0].numExtSems = 2
            cuda.ok(f"cuGraphExternalSemaphores{kind}NodeSetParams", node, params)

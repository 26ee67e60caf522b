"""Memory that nodes of graphs allocate and free: what it is when, who may free it, what a device counts."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_capture import captured, counted
from vgpu_harness.conformance.rules.cuda_graph import empty, new_graph
from vgpu_harness.conformance.rules.cuda_graph_nodes import add
from vgpu_harness.conformance.rules.cuda_pool import pool
from vgpu_harness.conformance.rules.cuda_stream import memory, read, stream

INVALID_VALUE, OUT_OF_MEMORY, NOT_SUPPORTED, CAPTURE_UNSUPPORTED = 1, 2, 801, 900
REFUSED = (INVALID_VALUE, NOT_SUPPORTED)  # cuda.h says "an error"
RELAXED = 2
GRAPH, ALLOC, FREE = 4, 10, 11  # CUgraphNodeType
USED, USED_HIGH, RESERVED, RESERVED_HIGH = 0, 1, 2, 3  # CUgraphMem_attribute
AUTO_FREE = 1  # CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH
MOVE = 1  # CU_GRAPH_CHILD_GRAPH_OWNERSHIP_MOVE
SIZE = 4 << 20
_SAMPLE = "the projects NVIDIA/cuda-samples, graphMemoryFootprint, and NVIDIA/cuda-python, test_cuda_graphMem_attr"


def allocating(cuda: Cuda, graph: Any, size: int = SIZE) -> tuple[Any, int]:
    """A node of device 0 that allocates: the node and the address."""
    params = cuda.struct("CUDA_MEM_ALLOC_NODE_PARAMS", bytesize=size)
    params[0].poolProps.allocType, params[0].poolProps.location.type = 1, 1
    node = add(cuda, "cuGraphAddMemAllocNode", params, graph=graph)
    return node, int(params[0].dptr)


def after(cuda: Cuda, node: Any) -> tuple[Any, int]:
    """That one node comes before a new one, as arguments."""
    return cuda.ffi.new("CUgraphNode[]", [node]), 1


def ready(cuda: Cuda, graph: Any, flags: int = 0) -> Any:
    """The graph, instantiated."""
    handle = cuda.out("CUgraphExec")
    cuda.ok("cuGraphInstantiateWithFlags", handle, graph, flags)
    return cuda.value(handle)


def launch(cuda: Cuda, handle: Any) -> None:
    """Launches it in the default stream, and waits."""
    cuda.ok("cuGraphLaunch", handle, None)
    cuda.ok("cuCtxSynchronize")


def said(cuda: Cuda, attribute: int) -> int:
    """A number of the memory that graphs have on device 0."""
    box = cuda.out("cuuint64_t")
    cuda.ok("cuDeviceGetGraphMemAttribute", 0, attribute, box)
    return int(cuda.value(box))


@rule(
    "cuGraphAddMemAllocNode", "cuGraphMemAllocNodeGetParams", "cuGraphAddMemFreeNode", "cuGraphMemFreeNodeGetParams",
    source="cuda.h 13.5, cuGraphAddMemAllocNode: the address is given when the node is made", gpu=True,
)  # fmt: skip
def memory_nodes(cuda: Cuda) -> None:
    """A node that allocates gives the address at once, and says it again; one that frees it keeps it."""
    cuda.context()
    graph, params = new_graph(cuda), cuda.out("CUDA_MEM_ALLOC_NODE_PARAMS")
    node, address = allocating(cuda, graph, 4096)
    cuda.check(address != 0, "there is an address")
    cuda.ok("cuGraphMemAllocNodeGetParams", node, params)
    cuda.equal((cuda.value(params).dptr, params[0].bytesize), (address, 4096), "address and size")
    freed, box = cuda.out("CUgraphNode"), cuda.out("CUdeviceptr")
    cuda.ok("cuGraphAddMemFreeNode", freed, graph, *after(cuda, node), address)
    cuda.ok("cuGraphMemFreeNodeGetParams", cuda.value(freed), box)
    cuda.equal(cuda.value(box), address, "the address that is freed")


@rule(
    "cuMemAllocAsync", "cuMemAllocFromPoolAsync", "cuMemFreeAsync", "cuStreamEndCapture", "cuGraphLaunch",
    source="cuda.h 13.5, cuMemAllocAsync, cuMemFreeAsync: in a capture they make nodes", gpu=True,
)  # fmt: skip
def captured_memory(cuda: Cuda) -> None:
    """Memory of a captured stream is a node's: each launch allocates it, work uses it, and it is freed."""
    cuda.context()
    handle, own, target, back = stream(cuda, 1), pool(cuda), memory(cuda, 8), cuda.out("CUdeviceptr")
    ways: tuple[tuple[Any, ...], ...] = (("cuMemAllocAsync",), ("cuMemAllocFromPoolAsync", own))
    for name, *more in ways:
        cuda.ok("cuStreamBeginCapture_v2", handle, RELAXED)
        cuda.ok(name, back, SIZE, *more, handle)
        address = int(cuda.value(back))
        cuda.ok("cuMemsetD8Async", address, 0x5A, 8, handle)
        cuda.ok("cuMemcpyDtoDAsync_v2", target, address, 8, handle)
        cuda.ok("cuMemFreeAsync", address, handle)
        graph = captured(cuda, handle)
        cuda.equal(counted(cuda, "cuGraphGetNodes", graph, None), 4, "the number of nodes")
        nodes, kind, params = cuda.out("CUgraphNode", 4), cuda.out("CUgraphNodeType"), cuda.out("CUdeviceptr")
        cuda.ok("cuGraphGetNodes", graph, nodes, cuda.ffi.new("size_t *", 4))
        for node, wanted in ((nodes[0], ALLOC), (nodes[3], FREE)):
            cuda.ok("cuGraphNodeGetType", node, kind)
            cuda.equal(cuda.value(kind), wanted, "the type of a node")
        cuda.ok("cuGraphMemFreeNodeGetParams", nodes[3], params)
        cuda.equal(cuda.value(params), address, "the address that is freed")
        executable = ready(cuda, graph)
        for _ in range(2):
            cuda.ok("cuMemsetD8_v2", target, 0, 8)
            launch(cuda, executable)
            cuda.equal(read(cuda, target, 8), 0x5A5A5A5A5A5A5A5A, "what the launch has put there")
        cuda.ok("cuGraphExecDestroy", executable)
        cuda.ok("cuGraphDestroy", graph)


@rule("cuMemFreeAsync", source="cuda.h 13.5, cuMemFreeAsync: in a capture, of a graph allocation alone", gpu=True)
def captures_free_memory_of_graphs(cuda: Cuda) -> None:
    """A captured stream frees no memory but that of graphs."""
    cuda.context()
    handle, address = stream(cuda, 1), memory(cuda, 8)
    cuda.ok("cuStreamBeginCapture_v2", handle, RELAXED)
    cuda.expect(REFUSED, "cuMemFreeAsync", address, handle)
    cuda.ok("cuMemFreeAsync", address, None)
    cuda.expect(INVALID_VALUE, "cuMemFreeAsync", address, None)


@rule(
    "cuGraphLaunch", "cuMemFree_v2", "cuGraphInstantiateWithFlags",
    source="cuda.h 13.5, cuGraphLaunch, CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH", gpu=True,
)  # fmt: skip
def memory_outlives_a_launch(cuda: Cuda) -> None:
    """What a graph does not free is there until it is freed; before, only a graph that frees it is launched again."""
    cuda.context()
    graph = new_graph(cuda)
    _, address = allocating(cuda, graph)
    if cuda.host is not None:  # elsewhere it may end the context
        cuda.expect(INVALID_VALUE, "cuMemsetD8_v2", address, 1, 8)
    executable = ready(cuda, graph)
    for _ in range(2):
        launch(cuda, executable)
        cuda.ok("cuMemsetD8_v2", address, 0x11, 4)
        cuda.equal(read(cuda, address, 4), 0x11111111, "what was written after the launch")
        cuda.expect(INVALID_VALUE, "cuGraphLaunch", executable, None)
        cuda.ok("cuMemFree_v2", address)
        cuda.expect(INVALID_VALUE, "cuMemFree_v2", address)
    cuda.ok("cuGraphExecDestroy", executable)
    executable = ready(cuda, graph, AUTO_FREE)
    launch(cuda, executable)
    launch(cuda, executable)
    cuda.ok("cuMemFree_v2", address)


@rule(
    "cuGraphAddMemFreeNode", source="cuda.h 13.5, cuGraphAddMemAllocNode, cuGraphAddMemFreeNode", gpu=True,
)  # fmt: skip
def memory_is_freed_once(cuda: Cuda) -> None:
    """A node frees memory of a node, in its own graph or in others, once each; then nobody else does."""
    cuda.context()
    graph, other, out = new_graph(cuda), new_graph(cuda), cuda.out("CUgraphNode")
    node, address = allocating(cuda, graph)
    for wrong in (0, address + 512, memory(cuda, 8)):
        cuda.expect(INVALID_VALUE, "cuGraphAddMemFreeNode", out, graph, None, 0, wrong)
    cuda.untouched(out)
    cuda.ok("cuGraphAddMemFreeNode", out, graph, *after(cuda, node), address)
    cuda.expect(INVALID_VALUE, "cuGraphAddMemFreeNode", out, graph, *after(cuda, node), address)
    cuda.expect(INVALID_VALUE, "cuGraphAddMemFreeNode", out, other, None, 0, address)
    graph = new_graph(cuda)
    node, address = allocating(cuda, graph)
    cuda.ok("cuGraphAddMemFreeNode", out, other, None, 0, address)
    cuda.expect(INVALID_VALUE, "cuGraphAddMemFreeNode", out, other, None, 0, address)
    cuda.expect(INVALID_VALUE, "cuGraphAddMemFreeNode", out, graph, *after(cuda, node), address)
    giving, freeing = ready(cuda, graph), ready(cuda, other)
    for _ in range(2):
        launch(cuda, giving)
        launch(cuda, freeing)
    cuda.expect(INVALID_VALUE, "cuMemFree_v2", address)


@rule(
    "cuGraphInstantiateWithFlags", "cuGraphDestroyNode", "cuGraphRemoveDependencies", "cuGraphClone",
    source="cuda.h 13.5, cuGraphAddMemAllocNode: the restrictions of graphs with such nodes", gpu=True,
)  # fmt: skip
def graphs_with_memory_are_restricted(cuda: Cuda) -> None:
    """Of a graph with memory no node and no edge is taken out, no copy is made, and one executable graph at a time."""
    cuda.context()
    graph, plain = new_graph(cuda), new_graph(cuda)
    for of, works in ((plain, True), (graph, False)):
        first = empty(cuda, of)
        second = cuda.out("CUgraphNode")
        cuda.ok("cuGraphAddEmptyNode", second, of, *after(cuda, first))
        if not works:
            allocating(cuda, of)
        codes = (0,) if works else REFUSED
        copy, executable = cuda.out("CUgraph"), ready(cuda, of)
        cuda.expect(codes, "cuGraphInstantiateWithFlags", cuda.out("CUgraphExec"), of, 0)
        ends = cuda.ffi.new("CUgraphNode[]", [first]), cuda.ffi.new("CUgraphNode[]", [cuda.value(second)])
        cuda.expect(codes, "cuGraphRemoveDependencies", of, *ends, 1)
        cuda.equal(counted(cuda, "cuGraphGetEdges", of, None, None), 0 if works else 1, "the number of edges")
        cuda.expect(codes, "cuGraphDestroyNode", first)
        cuda.equal(counted(cuda, "cuGraphGetNodes", of, None), 1 if works else 3, "the number of nodes")
        cuda.expect(codes, "cuGraphClone", copy, of)
        cuda.check(not works or cuda.value(copy) != cuda.null, "there is a copy")
        cuda.ok("cuGraphExecDestroy", executable)
        ready(cuda, of)


@rule(
    "cuGraphAddNode", "cuGraphAddChildGraphNode",
    source="cuda.h 13.5, CUgraphChildGraphNodeOwnership; NVIDIA/cccl, pull request 8308, for the code", gpu=True,
)  # fmt: skip
def graphs_with_memory_are_moved(cuda: Cuda) -> None:
    """A graph with memory becomes part of another one by a move alone; then it is no graph of its own."""
    cuda.context()
    graph, child, out = new_graph(cuda), new_graph(cuda), cuda.out("CUgraphNode")
    node, address = allocating(cuda, child)
    cuda.expect(NOT_SUPPORTED, "cuGraphAddChildGraphNode", out, graph, None, 0, child)
    params, within = cuda.struct("CUgraphNodeParams", type=GRAPH), cuda.out("CUgraph")
    params[0].graph.graph, params[0].graph.ownership = child, MOVE
    cuda.ok("cuGraphAddNode", out, graph, None, 0, params)
    cuda.ok("cuGraphChildGraphNodeGetGraph", cuda.value(out), within)
    cuda.equal(cuda.value(within), child, "the graph within")
    for name, arguments in (
        ("cuGraphInstantiateWithFlags", (cuda.out("CUgraphExec"), child, 0)),
        ("cuGraphDestroy", (child,)),
        ("cuGraphAddChildGraphNode", (cuda.out("CUgraphNode"), new_graph(cuda), None, 0, child)),
        ("cuGraphAddMemFreeNode", (cuda.out("CUgraphNode"), child, *after(cuda, node), address)),
    ):
        cuda.expect(REFUSED, name, *arguments)
    launch(cuda, ready(cuda, graph))
    cuda.ok("cuMemFree_v2", address)


@rule(
    "cuDeviceGetGraphMemAttribute", "cuDeviceSetGraphMemAttribute", "cuDeviceGraphMemTrim", source=_SAMPLE, gpu=True,
)  # fmt: skip
def memory_of_graphs_is_counted(cuda: Cuda) -> None:
    """A launch reserves what it takes, others use it again, a free keeps it, and a trim gives back what nobody has."""
    cuda.context()
    cuda.ok("cuDeviceGraphMemTrim", 0)
    before, graph, zero = said(cuda, RESERVED), new_graph(cuda), cuda.struct("cuuint64_t")
    _, address = allocating(cuda, graph)
    executable = ready(cuda, graph)
    cuda.equal(said(cuda, RESERVED), before, "bytes that are reserved before the launch")
    launch(cuda, executable)
    taken = said(cuda, RESERVED)
    cuda.check(taken >= before + SIZE and said(cuda, USED) >= SIZE, f"the launch takes memory: {taken} bytes")
    cuda.check(said(cuda, USED_HIGH) >= said(cuda, USED), "the high mark is not below what is in use")
    cuda.ok("cuDeviceGraphMemTrim", 0)
    cuda.equal(said(cuda, RESERVED), taken, "bytes that are reserved while they are in use")
    cuda.ok("cuMemFree_v2", address)
    cuda.equal(said(cuda, RESERVED), taken, "bytes that are reserved once they are free")
    cuda.check(said(cuda, USED) >= SIZE, "what is free stays mapped")
    launch(cuda, executable)
    cuda.equal(said(cuda, RESERVED), taken, "bytes that are reserved when they are used again")
    cuda.ok("cuMemFree_v2", address)
    cuda.check(said(cuda, USED_HIGH) >= SIZE and said(cuda, RESERVED_HIGH) >= taken, "the high marks stay")
    cuda.ok("cuDeviceGraphMemTrim", 0)
    cuda.equal(said(cuda, RESERVED), before, "bytes that are reserved after the trim")
    for high, now in ((USED_HIGH, USED), (RESERVED_HIGH, RESERVED)):
        cuda.ok("cuDeviceSetGraphMemAttribute", 0, high, zero)
        cuda.equal(said(cuda, high), said(cuda, now), "the high mark that was set to 0")
        cuda.expect(INVALID_VALUE, "cuDeviceSetGraphMemAttribute", 0, now, zero)


@rule("cuMemcpyBatchAsync", source="rapidsai/rmm, issue 2518; NVIDIA/cuopt, pull request 1753", gpu=True)
def batches_are_not_captured(cuda: Cuda) -> None:
    """A batch of copies is refused in a captured stream, and the capture goes on without it."""
    cuda.context()
    handle, first, second = stream(cuda, 1), memory(cuda, 8), memory(cuda, 8)
    cuda.ok("cuMemsetD8_v2", first, 7, 8)
    to, source = cuda.ffi.new("CUdeviceptr[]", [second]), cuda.ffi.new("CUdeviceptr[]", [first])
    sizes, firsts = cuda.ffi.new("size_t[]", [8]), cuda.ffi.new("size_t[]", [0])
    attributes, failed = cuda.struct("CUmemcpyAttributes", srcAccessOrder=1), cuda.out("size_t")
    batch = (to, source, sizes, 1, attributes, firsts, 1, failed, handle)
    cuda.ok("cuStreamBeginCapture_v2", handle, RELAXED)
    cuda.expect(CAPTURE_UNSUPPORTED, "cuMemcpyBatchAsync", *batch)
    cuda.equal(counted(cuda, "cuGraphGetNodes", captured(cuda, handle), None), 0, "the number of nodes")
    cuda.ok("cuMemcpyBatchAsync", *batch)
    cuda.ok("cuStreamSynchronize", handle)
    cuda.equal(read(cuda, second, 8), 0x0707070707070707, "what the batch has copied")


@rule("cuGraphUpload", source="cuda.h 13.5, cuGraphUpload; our rule for what it reserves", gpu=True)
def uploads_reserve_memory(cuda: Cuda) -> None:
    """An upload makes room for the memory of a graph, and allocates none of it."""
    cuda.context()
    cuda.ok("cuDeviceGraphMemTrim", 0)
    before, graph = said(cuda, RESERVED), new_graph(cuda)
    _, address = allocating(cuda, graph)
    executable = ready(cuda, graph)
    cuda.ok("cuGraphUpload", executable, None)
    cuda.ok("cuCtxSynchronize")
    if cuda.host is not None:
        cuda.equal(said(cuda, RESERVED), before + SIZE, "bytes that are reserved")
        cuda.equal(said(cuda, USED), SIZE, "bytes that the graph has mapped")
        cuda.expect(INVALID_VALUE, "cuMemFree_v2", address)
        cuda.expect(INVALID_VALUE, "cuGraphUpload", None, None)
    launch(cuda, executable)
    cuda.ok("cuMemFree_v2", address)

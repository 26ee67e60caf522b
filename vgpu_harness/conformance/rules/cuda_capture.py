"""Capture: what is put into a stream becomes a graph."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_event import event
from vgpu_harness.conformance.rules.cuda_stream import memory, stream

INVALID_VALUE, ILLEGAL_STATE = 1, 401
UNSUPPORTED, INVALIDATED, UNMATCHED, UNJOINED, ISOLATION, IMPLICIT = 900, 901, 903, 904, 905, 906
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
NONE, ACTIVE = 0, 1
HOST, EMPTY = 3, 5  # CUgraphNodeType
ADD, SET = 0, 1


def host_function(cuda: Cuda) -> Any:
    """A function of the host that does nothing."""
    return cuda.ffi.callback("void(void *)", lambda _data: None)


def captured(cuda: Cuda, handle: Any) -> Any:
    """The graph that ends the capture of a stream."""
    graph = cuda.out("CUgraph")
    cuda.ok("cuStreamEndCapture", handle, graph)
    return cuda.value(graph)


def counted(cuda: Cuda, name: str, *arguments: Any) -> int:
    """The number that a function answers that can list, too: nodes, edges."""
    said = cuda.out("size_t")
    cuda.ok(name, *arguments, said)
    return int(cuda.value(said))


@rule(
    "cuStreamBeginCapture", "cuStreamBeginCapture_v2", "cuStreamIsCapturing", "cuStreamEndCapture", "cuLaunchHostFunc",
    source="cuda.h 13.5, cuStreamBeginCapture", gpu=True,
)  # fmt: skip
def work_becomes_nodes(cuda: Cuda) -> None:
    """Between begin and end work is not done, but becomes nodes, each after the one before."""
    cuda.context()
    seen: list[int] = []
    handle, function = stream(cuda), cuda.ffi.callback("void(void *)", lambda _data: seen.append(1))
    begins: tuple[tuple[Any, ...], ...] = (("cuStreamBeginCapture",), ("cuStreamBeginCapture_v2", THREAD_LOCAL))
    for name, *mode in begins:
        status = cuda.out("CUstreamCaptureStatus")
        cuda.ok(name, handle, *mode)
        cuda.ok("cuStreamIsCapturing", handle, status)
        cuda.equal(cuda.value(status), ACTIVE, "the status of the capture")
        for _ in range(3):
            cuda.ok("cuLaunchHostFunc", handle, function, None)
        graph = captured(cuda, handle)
        cuda.equal(counted(cuda, "cuGraphGetNodes", graph, None), 3, "the number of nodes")
        cuda.equal(counted(cuda, "cuGraphGetEdges", graph, None, None), 2, "the number of edges")
        cuda.ok("cuStreamIsCapturing", handle, status)
        cuda.equal(cuda.value(status), NONE, "the status after it")
    cuda.equal(seen, [], "calls of the function")


@rule("cuStreamBeginCapture_v2", "cuStreamEndCapture", source="cuda.h 13.5, cuStreamBeginCapture", gpu=True)
def captures_have_an_order(cuda: Cuda) -> None:
    """A capture begins once, not in the default stream, in a known mode, and ends where it began."""
    cuda.context()
    one, other, handle = stream(cuda), stream(cuda), event(cuda)
    cuda.expect(UNSUPPORTED, "cuStreamBeginCapture_v2", None, GLOBAL)
    cuda.expect(INVALID_VALUE, "cuStreamBeginCapture_v2", one, 3)
    cuda.expect(ILLEGAL_STATE, "cuStreamEndCapture", one, cuda.out("CUgraph"))
    cuda.ok("cuStreamBeginCapture_v2", one, GLOBAL)
    cuda.expect(ILLEGAL_STATE, "cuStreamBeginCapture_v2", one, GLOBAL)
    cuda.ok("cuEventRecord", handle, one)
    cuda.ok("cuStreamWaitEvent", other, handle, 0)
    cuda.expect(UNMATCHED, "cuStreamEndCapture", other, cuda.out("CUgraph"))


@rule("cuStreamWaitEvent", "cuStreamEndCapture", source="cuda.h 13.5, CUDA_ERROR_STREAM_CAPTURE_UNJOINED", gpu=True)
def forked_work_is_joined(cuda: Cuda) -> None:
    """Work of another stream that joined the capture must be waited for before the end."""
    cuda.context()
    function = host_function(cuda)
    for joins in (True, False):
        origin, other, fork, join = stream(cuda), stream(cuda), event(cuda), event(cuda)
        cuda.ok("cuStreamBeginCapture_v2", origin, RELAXED)
        cuda.ok("cuLaunchHostFunc", origin, function, None)
        cuda.ok("cuEventRecord", fork, origin)
        cuda.ok("cuStreamWaitEvent", other, fork, 0)
        cuda.ok("cuLaunchHostFunc", other, function, None)
        cuda.ok("cuEventRecord", join, other)
        if joins:
            cuda.ok("cuStreamWaitEvent", origin, join, 0)
            cuda.equal(counted(cuda, "cuGraphGetNodes", captured(cuda, origin), None), 2, "the number of nodes")
        else:
            graph = cuda.out("CUgraph")
            cuda.expect(UNJOINED, "cuStreamEndCapture", origin, graph)
            cuda.equal(cuda.value(graph), cuda.null, "the graph of a capture that failed")


@rule("cuStreamWaitEvent", source="cuda.h 13.5, CUDA_ERROR_STREAM_CAPTURE_ISOLATION", gpu=True)
def captures_do_not_wait_for_other_work(cuda: Cuda) -> None:
    """A stream that is being captured cannot wait for work that is not."""
    cuda.context()
    handle, outside = stream(cuda), event(cuda)
    cuda.ok("cuEventRecord", outside, None)
    cuda.ok("cuStreamBeginCapture_v2", handle, RELAXED)
    cuda.expect(ISOLATION, "cuStreamWaitEvent", handle, outside, 0)
    cuda.expect(INVALIDATED, "cuStreamEndCapture", handle, cuda.out("CUgraph"))


@rule(
    "cuStreamGetCaptureInfo", "cuStreamGetCaptureInfo_v2", "cuStreamGetCaptureInfo_v3",
    source="cuda.h 13.5, cuStreamGetCaptureInfo", gpu=True,
)  # fmt: skip
def captures_are_described(cuda: Cuda) -> None:
    """A capture has an id, a graph, and the nodes that the next one will wait for."""
    cuda.context()
    handle, status, number = stream(cuda), cuda.out("CUstreamCaptureStatus"), cuda.out("cuuint64_t")
    for extra in (0, 2, 3):
        cuda.ok("cuStreamBeginCapture_v2", handle, RELAXED)
        cuda.ok("cuLaunchHostFunc", handle, host_function(cuda), None)
        count, nodes, graph = cuda.out("size_t"), cuda.out("const CUgraphNode *"), cuda.out("CUgraph")
        edges = cuda.out("const CUgraphEdgeData *")
        rest: tuple[Any, ...] = {0: (), 2: (graph, nodes, count), 3: (graph, nodes, edges, count)}[extra]
        cuda.ok(f"cuStreamGetCaptureInfo{f'_v{extra}' if extra else ''}", handle, status, number, *rest)
        cuda.equal(cuda.value(status), ACTIVE, "the status of the capture")
        cuda.check(cuda.value(number) != 0, "the capture has an id")
        last = int(cuda.ffi.cast("uintptr_t", cuda.value(nodes)[0])) if rest else None
        if rest:
            cuda.equal(cuda.value(count), 1, "the number of nodes to wait for")
        done = captured(cuda, handle)
        if rest:
            cuda.equal(done, cuda.value(graph), "the graph at the end")
            only, found = cuda.struct("size_t"), cuda.out("CUgraphNode")
            only[0] = 1
            cuda.ok("cuGraphGetNodes", done, found, only)
            cuda.equal(int(cuda.ffi.cast("uintptr_t", cuda.value(found))), last, "the node to wait for")


@rule(
    "cuStreamUpdateCaptureDependencies", "cuStreamUpdateCaptureDependencies_v2",
    source="cuda.h 13.5, cuStreamUpdateCaptureDependencies", gpu=True,
)  # fmt: skip
def dependencies_can_be_set(cuda: Cuda) -> None:
    """What the next node waits for can be replaced: then no edge leads to it."""
    cuda.context()
    handle, function = stream(cuda), host_function(cuda)
    updates: tuple[tuple[Any, ...], ...] = (
        ("cuStreamUpdateCaptureDependencies", None, 0, SET),
        ("cuStreamUpdateCaptureDependencies_v2", None, None, 0, SET),
    )
    for name, *arguments in updates:
        cuda.expect(ILLEGAL_STATE, name, handle, *arguments)
        cuda.ok("cuStreamBeginCapture_v2", handle, RELAXED)
        cuda.ok("cuLaunchHostFunc", handle, function, None)
        cuda.ok(name, handle, *arguments)
        cuda.ok("cuLaunchHostFunc", handle, function, None)
        graph = captured(cuda, handle)
        cuda.equal(counted(cuda, "cuGraphGetRootNodes", graph, None), 2, "nodes that wait for none")


@rule("cuStreamBeginCaptureToGraph", source="cuda.h 13.5, cuStreamBeginCaptureToGraph", gpu=True)
def captures_go_into_a_graph(cuda: Cuda) -> None:
    """A capture can put its nodes into a graph that is there, after nodes of it."""
    cuda.context()
    graph, node, handle = cuda.out("CUgraph"), cuda.out("CUgraphNode"), stream(cuda)
    cuda.ok("cuGraphCreate", graph, 0)
    cuda.ok("cuGraphAddEmptyNode", node, cuda.value(graph), None, 0)
    cuda.ok("cuStreamBeginCaptureToGraph", handle, cuda.value(graph), node, None, 1, RELAXED)
    cuda.ok("cuLaunchHostFunc", handle, host_function(cuda), None)
    cuda.equal(captured(cuda, handle), cuda.value(graph), "the graph at the end")
    cuda.equal(counted(cuda, "cuGraphGetNodes", cuda.value(graph), None), 2, "the number of nodes")
    cuda.equal(counted(cuda, "cuGraphGetEdges", cuda.value(graph), None, None), 1, "the number of edges")


@rule(
    "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemsetD8Async", "cuMemsetD32Async",
    "cuMemcpyAsync", "cuMemcpy2DAsync_v2", "cuMemcpy3DAsync_v2", "cuStreamEndCapture", "cuGraphLaunch",
    source="cuda.h 13.5, cuStreamBeginCapture; CUDA C++ Programming Guide, Creating a Graph Using Stream Capture",
    gpu=True,
)  # fmt: skip
def copies_become_nodes(cuda: Cuda) -> None:
    """Copies and fills of a captured stream are done when the graph is launched, in their order, and not before."""
    cuda.context()
    device, host, back = memory(cuda, 96), cuda.ffi.new("char[]", bytes(range(1, 33))), cuda.ffi.new("char[96]")
    way = {"srcMemoryType": 2, "srcDevice": device + 64, "srcPitch": 16, "dstMemoryType": 2, "dstDevice": device + 72,
           "dstPitch": 16, "WidthInBytes": 4, "Height": 2}  # fmt: skip
    flat = cuda.struct("CUDA_MEMCPY2D", **way)
    solid = cuda.struct("CUDA_MEMCPY3D", **(way | {"dstDevice": device + 76, "Depth": 1}))
    handle, ready = stream(cuda, 1), cuda.out("CUgraphExec")
    cuda.ok("cuStreamBeginCapture_v2", handle, RELAXED)
    cuda.ok("cuMemcpyHtoDAsync_v2", device, host, 32, handle)
    cuda.ok("cuMemcpyDtoDAsync_v2", device + 32, device, 32, handle)
    cuda.ok("cuMemcpyAsync", device + 64, device + 32, 32, handle)
    cuda.ok("cuMemsetD8Async", device, 0x77, 2, handle)
    cuda.ok("cuMemsetD32Async", device + 4, 0x01020304, 1, handle)
    cuda.ok("cuMemcpy2DAsync_v2", flat, handle)
    cuda.ok("cuMemcpy3DAsync_v2", solid, handle)
    cuda.ok("cuMemcpyDtoHAsync_v2", back, device, 96, handle)
    graph = captured(cuda, handle)
    cuda.equal(counted(cuda, "cuGraphGetNodes", graph, None), 8, "the number of nodes")
    cuda.equal(bytes(cuda.ffi.buffer(back)), bytes(96), "the bytes before the launch")
    cuda.ok("cuGraphInstantiateWithFlags", ready, graph, 0)
    cuda.ok("cuGraphLaunch", cuda.value(ready), handle)
    cuda.ok("cuStreamSynchronize", handle)
    wanted = bytearray([*range(1, 33)] * 3)
    wanted[0:2], wanted[4:8] = b"\x77\x77", b"\x04\x03\x02\x01"
    wanted[72:76] = wanted[76:80] = wanted[64:68]
    wanted[88:92] = wanted[92:96] = wanted[80:84]
    cuda.equal(bytes(cuda.ffi.buffer(back)), bytes(wanted), "the bytes after the launch")


@rule("cuThreadExchangeStreamCaptureMode", source="cuda.h 13.5, cuThreadExchangeStreamCaptureMode", gpu=True)
def threads_have_a_capture_mode(cuda: Cuda) -> None:
    """A thread's capture mode is CU_STREAM_CAPTURE_MODE_GLOBAL until it is exchanged, and its own."""
    cuda.init()
    mode = cuda.struct("CUstreamCaptureMode")
    for given, wanted in ((RELAXED, GLOBAL), (THREAD_LOCAL, RELAXED), (GLOBAL, THREAD_LOCAL)):
        mode[0] = given
        cuda.ok("cuThreadExchangeStreamCaptureMode", mode)
        cuda.equal(mode[0], wanted, "the mode before")
    mode[0] = RELAXED
    cuda.ok("cuThreadExchangeStreamCaptureMode", mode)

    def elsewhere() -> int:
        own = cuda.struct("CUstreamCaptureMode")
        cuda.ok("cuThreadExchangeStreamCaptureMode", own)
        return int(own[0])

    cuda.equal(cuda.in_thread(elsewhere), GLOBAL, "the mode of another thread")
    mode[0] = 3
    cuda.expect(INVALID_VALUE, "cuThreadExchangeStreamCaptureMode", mode)


@rule(
    "cuStreamIsCapturing", "cuStreamBeginCapture_v2",
    source="cuda.h 13.5, cuStreamIsCapturing; ROCm/rocm-systems, pull request 4508, measured on NVIDIA's", gpu=True,
)  # fmt: skip
def the_stream_0_waits_for_no_capture(cuda: Cuda) -> None:
    """While a blocking stream is captured the legacy stream cannot be used, and its use spoils the capture."""
    cuda.context()
    handle, status, address = stream(cuda), cuda.out("CUstreamCaptureStatus"), memory(cuda, 8)
    cuda.ok("cuStreamBeginCapture_v2", handle, RELAXED)
    cuda.expect(IMPLICIT, "cuStreamIsCapturing", None, status)
    cuda.ok("cuStreamIsCapturing", handle, status)
    cuda.equal(cuda.value(status), ACTIVE, "the status after a question about the legacy stream")
    cuda.expect(IMPLICIT, "cuStreamSynchronize", None)
    cuda.expect(INVALIDATED, "cuStreamEndCapture", handle, cuda.out("CUgraph"))
    cuda.ok("cuStreamSynchronize", None)
    other = stream(cuda, 1)
    cuda.ok("cuStreamBeginCapture_v2", other, RELAXED)
    cuda.ok("cuMemsetD8_v2", address, 1, 8)
    captured(cuda, other)


@rule(
    "cuCtxSynchronize",
    source="ROCm/rocm-systems, pull request 4508, measured on NVIDIA's; NVIDIA/TensorRT, issue 2888", gpu=True,
)  # fmt: skip
def waits_for_a_context_are_not_captured(cuda: Cuda) -> None:
    """cuCtxSynchronize is refused while a stream of the context is captured, and spoils the capture."""
    cuda.context()
    handle = stream(cuda, 1)
    cuda.ok("cuStreamBeginCapture_v2", handle, GLOBAL)
    cuda.expect(UNSUPPORTED, "cuCtxSynchronize")
    cuda.expect(INVALIDATED, "cuStreamEndCapture", handle, cuda.out("CUgraph"))
    cuda.ok("cuCtxSynchronize")


@rule(
    "cuThreadExchangeStreamCaptureMode", "cuMemAlloc_v2",
    source="cuda.h 13.5, cuThreadExchangeStreamCaptureMode; pytorch/pytorch, cudaMallocMaybeCapturing", gpu=True,
)  # fmt: skip
def unsafe_calls_are_prohibited(cuda: Cuda) -> None:
    """An allocation beside a capture is refused and spoils it, unless the thread or the capture is relaxed."""
    cuda.context()
    for capture, thread in ((GLOBAL, GLOBAL), (THREAD_LOCAL, GLOBAL), (RELAXED, GLOBAL), (GLOBAL, RELAXED)):
        handle, mode, address = stream(cuda, 1), cuda.struct("CUstreamCaptureMode"), cuda.out("CUdeviceptr")
        mode[0] = thread
        cuda.ok("cuStreamBeginCapture_v2", handle, capture)
        cuda.ok("cuThreadExchangeStreamCaptureMode", mode)
        if RELAXED in (capture, thread):
            cuda.ok("cuMemAlloc_v2", address, 8)
            cuda.ok("cuThreadExchangeStreamCaptureMode", mode)
            captured(cuda, handle)
            cuda.ok("cuMemFree_v2", cuda.value(address))
        else:
            cuda.expect(UNSUPPORTED, "cuMemAlloc_v2", address, 8)
            cuda.untouched(address)
            cuda.expect(INVALIDATED, "cuStreamEndCapture", handle, cuda.out("CUgraph"))

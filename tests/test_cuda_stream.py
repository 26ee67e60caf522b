"""Streams and events in process: handles, contexts, capture, callbacks."""

import threading

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE, NOT_INITIALIZED, INVALID_CONTEXT, INVALID_HANDLE = 0, 1, 3, 201, 400
CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED, WRONG_THREAD = 900, 901, 908
LEGACY, PER_THREAD = ffi.cast("CUstream", 1), ffi.cast("CUstream", 2)
USER_SPACE_END = 1 << 47


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0), with a context."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
    return vgpu_cuda


def made(cuda, name: str, kind: str, *arguments):
    """The handle that a function makes."""
    out = ffi.new(f"{kind} *")
    assert getattr(cuda, name)(out, *arguments) == SUCCESS
    return out[0]


def stream(cuda):
    """A new stream."""
    return made(cuda, "cuStreamCreate", "CUstream", 0)


class TestHandles:
    def test_before_and_after_init(self, vgpu_cuda):
        """What is no stream is an invalid handle after cuInit, not initialised before; the stream 0 needs a context."""
        wild = ffi.cast("CUstream", 0x1234)
        assert [vgpu_cuda.cuStreamQuery(handle) for handle in (ffi.NULL, LEGACY, wild)] == [NOT_INITIALIZED] * 3
        assert vgpu_cuda.cuInit(0) == SUCCESS
        assert [vgpu_cuda.cuStreamQuery(handle) for handle in (ffi.NULL, LEGACY, PER_THREAD)] == [INVALID_CONTEXT] * 3
        assert vgpu_cuda.cuStreamQuery(wild) == INVALID_HANDLE

    def test_no_handle_is_given_twice(self, cuda):
        """Handles are no user-space addresses, and a destroyed one is none for ever."""
        first = stream(cuda)
        assert int(ffi.cast("uintptr_t", first)) >= USER_SPACE_END
        assert [cuda.cuStreamDestroy_v2(first), cuda.cuStreamDestroy_v2(first)] == [SUCCESS, INVALID_HANDLE]
        assert stream(cuda) != first
        event = made(cuda, "cuEventCreate", "CUevent", 0)
        assert cuda.cuStreamQuery(ffi.cast("CUstream", event)) == INVALID_HANDLE

    def test_thousands_of_streams(self, cuda):
        """Each of many is found, and gone when destroyed, whatever the order."""
        handles = [stream(cuda) for _ in range(3000)]
        assert {cuda.cuStreamDestroy_v2(handle) for handle in handles[::2]} == {SUCCESS}
        assert {cuda.cuStreamQuery(handle) for handle in handles[::2]} == {INVALID_HANDLE}
        assert {cuda.cuStreamQuery(handle) for handle in handles[1::2]} == {SUCCESS}

    def test_they_end_with_their_context(self, cuda):
        """Streams and events of a context that was destroyed or reset are none; those of another one stay."""
        context, other = ffi.new("CUcontext *"), ffi.new("CUcontext *")
        cuda.cuCtxGetCurrent(context)
        gone = stream(cuda), made(cuda, "cuEventCreate", "CUevent", 0)
        assert cuda.cuCtxCreate_v2(other, 0, 0) == SUCCESS
        kept = stream(cuda)
        assert cuda.cuCtxDestroy_v2(context[0]) == SUCCESS
        assert (cuda.cuStreamQuery(gone[0]), cuda.cuEventQuery(gone[1])) == (INVALID_HANDLE, INVALID_HANDLE)
        assert cuda.cuStreamQuery(kept) == SUCCESS
        assert cuda.cuDevicePrimaryCtxRetain(context, 0) == SUCCESS
        assert cuda.cuCtxSetCurrent(context[0]) == SUCCESS
        primary = stream(cuda)
        assert cuda.cuDevicePrimaryCtxReset_v2(0) == SUCCESS
        assert cuda.cuDevicePrimaryCtxRetain(context, 0) == SUCCESS
        assert cuda.cuStreamQuery(primary) == INVALID_HANDLE

    def test_the_stream_of_a_thread(self, cuda):
        """The stream 0 of the per-thread forms is another one in each thread, the legacy one is the same for all."""
        context = ffi.new("CUcontext *")
        cuda.cuCtxGetCurrent(context)
        ids = []

        def ask() -> None:
            assert cuda.cuCtxSetCurrent(context[0]) == SUCCESS
            for name in ("cuStreamGetId", "cuStreamGetId_ptsz"):
                out = ffi.new("unsigned long long *")
                assert getattr(cuda, name)(ffi.NULL, out) == SUCCESS
                ids.append(out[0])

        ask()
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        assert ids[0] == ids[2]
        assert len(set(ids)) == 3


class TestCallbacks:
    def test_they_may_call_the_driver(self, cuda):
        """The lock is free when a host function runs, so it may ask for anything."""
        seen = []
        call = ffi.callback("void(void *)", lambda _data: seen.append(cuda.cuStreamQuery(ffi.NULL)))
        assert cuda.cuLaunchHostFunc(ffi.NULL, call, ffi.NULL) == SUCCESS
        assert seen == [SUCCESS]

    def test_a_refused_call_calls_nobody(self, cuda):
        """Flags that must be 0, a wild stream, no function: refused, and nothing is called."""
        seen = []
        call = ffi.callback("void(CUstream, CUresult, void *)", lambda *_: seen.append(1))
        assert cuda.cuStreamAddCallback(ffi.NULL, call, ffi.NULL, 1) == INVALID_VALUE
        assert cuda.cuStreamAddCallback(ffi.cast("CUstream", 99), call, ffi.NULL, 0) == INVALID_HANDLE
        assert cuda.cuStreamAddCallback(ffi.NULL, ffi.NULL, ffi.NULL, 0) == INVALID_VALUE
        assert seen == []


class TestCapture:
    def test_ends_in_its_thread(self, cuda):
        """A capture that is not relaxed ends in the thread that it began in."""
        handle, graph, codes = stream(cuda), ffi.new("CUgraph *"), []
        assert cuda.cuStreamBeginCapture_v2(handle, 0) == SUCCESS
        thread = threading.Thread(target=lambda: codes.append(cuda.cuStreamEndCapture(handle, graph)))
        thread.start()
        thread.join()
        assert codes == [WRONG_THREAD]
        assert cuda.cuStreamEndCapture(handle, graph) == SUCCESS

    def test_what_cannot_be_captured_spoils_it(self, cuda):
        """A callback in a capture is refused, and the end answers no graph."""
        handle, graph = stream(cuda), ffi.new("CUgraph *", ffi.cast("CUgraph", 1))
        call = ffi.callback("void(CUstream, CUresult, void *)", lambda *_: None)
        assert cuda.cuStreamBeginCapture_v2(handle, 2) == SUCCESS
        assert cuda.cuStreamAddCallback(handle, call, ffi.NULL, 0) == CAPTURE_UNSUPPORTED
        assert cuda.cuStreamEndCapture(handle, graph) == CAPTURE_INVALIDATED
        assert graph[0] == ffi.NULL
        assert cuda.cuStreamQuery(handle) == SUCCESS

    def test_the_graph_outlives_a_stream_that_is_destroyed(self, cuda):
        """A stream that is destroyed in the middle takes its capture with it, and the state stays sound."""
        handle, other = stream(cuda), stream(cuda)
        event = made(cuda, "cuEventCreate", "CUevent", 0)
        assert cuda.cuStreamBeginCapture_v2(handle, 2) == SUCCESS
        assert cuda.cuEventRecord(event, handle) == SUCCESS
        assert cuda.cuStreamWaitEvent(other, event, 0) == SUCCESS
        assert cuda.cuStreamDestroy_v2(handle) == SUCCESS
        status = ffi.new("CUstreamCaptureStatus *")
        assert (cuda.cuStreamIsCapturing(other, status), status[0]) == (SUCCESS, 0)

    @pytest.mark.parametrize("how", [0, 1])
    def test_its_own_dependencies_are_given_back(self, cuda, how):
        """The list that cuStreamGetCaptureInfo hands out can be added, or set, as it is."""
        handle, call = stream(cuda), ffi.callback("void(void *)", lambda _data: None)
        status, nodes, count = ffi.new("int *"), ffi.new("CUgraphNode const **"), ffi.new("size_t *")
        assert cuda.cuStreamBeginCapture_v2(handle, 2) == cuda.cuLaunchHostFunc(handle, call, ffi.NULL) == SUCCESS
        rest = (status, ffi.NULL, ffi.NULL, nodes, count)
        assert cuda.cuStreamGetCaptureInfo_v2(handle, *rest) == SUCCESS
        before = list(nodes[0][0 : count[0]])
        assert cuda.cuStreamUpdateCaptureDependencies(handle, ffi.cast("CUgraphNode *", nodes[0]), 1, how) == SUCCESS
        assert cuda.cuStreamGetCaptureInfo_v2(handle, *rest) == SUCCESS
        assert list(nodes[0][0 : count[0]]) == before != []

    def test_a_capture_may_be_left_open(self, vgpu_cuda):
        """The end of a process with captures, graphs and events still there is no trouble."""
        assert vgpu_cuda.cuInit(0) == SUCCESS
        assert vgpu_cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
        for mode in range(3):
            assert vgpu_cuda.cuStreamBeginCapture_v2(stream(vgpu_cuda), mode) == SUCCESS
        vgpu_cuda.close()


class TestWaiting:
    def test_a_wait_without_end_is_refused(self, cuda):
        """A value that is not there would be waited for for ever: NOT_SUPPORTED."""
        address = made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 64)
        assert cuda.cuStreamWaitValue32_v2(ffi.NULL, address, 0, 1) == SUCCESS
        assert cuda.cuStreamWaitValue32_v2(ffi.NULL, address, 5, 1) == 801

    @pytest.mark.parametrize(
        ("there", "value", "flags", "holds"),
        [(5, 5, 0, True), (4, 5, 0, False), (0, 2**32 - 1, 0, True), (6, 3, 2, True), (4, 3, 2, False),
         (2**32 - 1, 0, 3, False), (1, 2, 3, True), (5, 5, 1, True), (6, 5, 1, False)],
    )  # fmt: skip
    def test_conditions(self, cuda, there, value, flags, holds):
        """>= counts in a circle; ==, & and ~| are as cuda.h defines them."""
        address = made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 4)
        assert cuda.cuStreamWriteValue32_v2(ffi.NULL, address, there, 0) == SUCCESS
        assert cuda.cuStreamWaitValue32_v2(ffi.NULL, address, value, flags) == (SUCCESS if holds else 801)


class TestCapturedCopies:
    """Copies and fills of a stream that is being captured: nodes of the graph, done when it is launched."""

    def capture(self, cuda, *calls):
        """A graph of what the calls put into a stream."""
        handle = stream(cuda)
        assert cuda.cuStreamBeginCapture_v2(handle, 2) == SUCCESS
        assert [call(handle) for call in calls] == [SUCCESS] * len(calls)
        return made_by_end(cuda, handle)

    def test_all_forms(self, cuda):
        """Nothing is moved before the launch; each launch moves it, in the order of the stream."""
        memory = made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 4096)
        there = ffi.new("unsigned char[64]", bytes(range(64)))
        back, rows, rest = ffi.new("unsigned char[64]"), ffi.new("unsigned char[64]"), ffi.new("unsigned char[64]")
        context = ffi.new("CUcontext *")
        cuda.cuCtxGetCurrent(context)
        flat = {"srcMemoryType": 2, "srcDevice": memory + 16, "srcPitch": 32, "dstMemoryType": 1, "dstHost": rows,
                "dstPitch": 16, "WidthInBytes": 16, "Height": 2}  # fmt: skip
        slices = flat | {"dstHost": rest, "srcHeight": 2, "dstHeight": 2, "Depth": 1}
        of_2d, of_3d = ffi.new("CUDA_MEMCPY2D *", flat), ffi.new("CUDA_MEMCPY3D *", slices)
        graph = self.capture(
            cuda,
            lambda on: cuda.cuMemcpyHtoDAsync_v2(memory, there, 64, on),
            lambda on: cuda.cuMemcpyDtoDAsync_v2(memory + 512, memory, 64, on),
            lambda on: cuda.cuMemcpyAsync(memory + 1024, memory + 512, 64, on),
            lambda on: cuda.cuMemcpyPeerAsync(memory + 2048, context[0], memory + 1024, context[0], 64, on),
            lambda on: cuda.cuMemsetD8Async(memory + 2048, 0xAA, 4, on),
            lambda on: cuda.cuMemsetD16Async(memory + 2052, 0xBBCC, 2, on),
            lambda on: cuda.cuMemsetD2D32Async(memory + 2056, 16, 0x01020304, 1, 2, on),
            lambda on: cuda.cuMemcpyDtoHAsync_v2(back, memory + 2048, 64, on),
            lambda on: cuda.cuMemcpy2DAsync_v2(of_2d, on),
            lambda on: cuda.cuMemcpy3DAsync_v2(of_3d, on),
            lambda on: cuda.cuMemcpyHtoDAsync_v2(memory, there, 0, on),
        )
        assert cuda.number("cuGraphGetNodes", "size_t", before=(graph, ffi.NULL)) == (SUCCESS, 10)
        assert bytes(back) == bytes(rows) == bytes(rest) == bytes(64)
        handle = made(cuda, "cuGraphInstantiateWithFlags", "CUgraphExec", graph, 0)
        wanted = bytearray(range(64))
        wanted[0:8] = b"\xaa\xaa\xaa\xaa\xcc\xbb\xcc\xbb"
        wanted[8:12] = wanted[24:28] = b"\x04\x03\x02\x01"
        for _ in range(2):
            ffi.memmove(back, bytes(64), 64)
            assert cuda.cuGraphLaunch(handle, ffi.NULL) == SUCCESS
            assert bytes(back) == bytes(wanted)
            assert bytes(rows)[:32] == bytes(rest)[:32] == bytes([*range(16, 32), *range(48, 64)])

    def test_what_is_wrong_is_refused_at_once(self, cuda):
        """An address that is nobody's, and a context that is not there, are refused, and the capture goes on."""
        memory, here = made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 64), ffi.new("char[64]")
        handle, none = stream(cuda), ffi.cast("CUcontext", 77)
        assert cuda.cuStreamBeginCapture_v2(handle, 2) == SUCCESS
        assert cuda.cuMemcpyHtoDAsync_v2(memory + 32, here, 64, handle) == INVALID_VALUE
        assert cuda.cuMemsetD8Async(memory, 0, 65, handle) == INVALID_VALUE
        assert cuda.cuMemsetD16Async(memory + 1, 0, 1, handle) == INVALID_VALUE
        assert cuda.cuMemcpyPeerAsync(memory, none, memory, none, 1, handle) == INVALID_CONTEXT
        assert cuda.cuMemcpy2DAsync_v2(ffi.NULL, handle) == INVALID_VALUE
        assert cuda.number("cuGraphGetNodes", "size_t", before=(made_by_end(cuda, handle), ffi.NULL)) == (SUCCESS, 0)

    def test_a_spoiled_capture(self, cuda):
        """A copy in a capture that has been spoiled answers so, and moves nothing."""
        memory, handle = made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 64), stream(cuda)
        here = ffi.new("char[1]", b"x")
        assert cuda.cuStreamBeginCapture_v2(handle, 2) == SUCCESS
        assert cuda.cuStreamSynchronize(handle) == CAPTURE_UNSUPPORTED
        assert cuda.cuMemcpyHtoDAsync_v2(memory, here, 1, handle) == CAPTURE_INVALIDATED
        assert cuda.cuMemsetD8Async(memory, 1, 1, handle) == CAPTURE_INVALIDATED
        assert cuda.cuStreamEndCapture(handle, ffi.new("CUgraph *")) == CAPTURE_INVALIDATED
        assert cuda.cuMemcpyDtoH_v2(here, memory, 1) == SUCCESS
        assert here[0] == b"\0"


def made_by_end(cuda, handle):
    """The graph that cuStreamEndCapture hands out."""
    graph = ffi.new("CUgraph *")
    assert cuda.cuStreamEndCapture(handle, graph) == SUCCESS
    return graph[0]

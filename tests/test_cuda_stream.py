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

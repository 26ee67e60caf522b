"""What goes on beside a capture, in process: the stream 0, waits, and calls that no capture sees."""

import threading

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE = 0, 1
UNSUPPORTED, INVALIDATED, IMPLICIT = 900, 901, 906
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
BLOCKING, NON_BLOCKING = 0, 1
ACTIVE, SPOILED = 1, 2


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


def capturing(cuda, flags: int = BLOCKING, mode: int = RELAXED):
    """A stream that is being captured."""
    handle = made(cuda, "cuStreamCreate", "CUstream", flags)
    assert cuda.cuStreamBeginCapture_v2(handle, mode) == SUCCESS
    return handle


def status(cuda, handle) -> int:
    """Whether the capture of a stream goes on."""
    said = ffi.new("CUstreamCaptureStatus *")
    assert cuda.cuStreamIsCapturing(handle, said) == SUCCESS
    return int(said[0])


def ended(cuda, handle) -> int:
    """The code of the end of a capture."""
    return cuda.cuStreamEndCapture(handle, ffi.new("CUgraph *"))


def ways_to_the_stream_0(cuda):
    """Calls that are work in the legacy stream, or wait for it, by name."""
    address, event = made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 64), made(cuda, "cuEventCreate", "CUevent", 0)
    room, call = ffi.new("char[64]"), ffi.callback("void(void *)", lambda _data: None)
    flat = ffi.new("CUDA_MEMCPY2D *", {"srcMemoryType": 2, "srcDevice": address, "dstMemoryType": 1, "dstHost": room,
                                       "WidthInBytes": 8, "Height": 1})  # fmt: skip
    value = ffi.new("CUdeviceptr *")
    return {
        "cuMemcpyHtoD_v2": (address, room, 8), "cuMemcpyDtoH_v2": (room, address, 8), "cuMemcpy2D_v2": (flat,),
        "cuMemsetD8_v2": (address, 1, 8), "cuMemcpyHtoDAsync_v2": (address, room, 8, ffi.NULL),
        "cuMemsetD32Async": (address, 1, 2, ffi.NULL), "cuStreamSynchronize": (ffi.NULL,), "cuStreamQuery": (ffi.NULL,),
        "cuEventRecord": (event, ffi.NULL), "cuStreamWaitEvent": (ffi.NULL, event, 0),
        "cuLaunchHostFunc": (ffi.NULL, call, ffi.NULL), "cuMemAllocAsync": (value, 64, ffi.NULL),
        "cuStreamWriteValue32_v2": (ffi.NULL, address, 1, 0),
    }  # fmt: skip


class TestTheStreamZero:
    def test_it_would_wait_for_captured_work(self, cuda):
        """While a stream that it waits for is captured, each use of the legacy stream is refused, and spoils that."""
        ways, said = ways_to_the_stream_0(cuda), ffi.new("CUstreamCaptureStatus *")
        for name, arguments in ways.items():
            handle = capturing(cuda)
            assert cuda.cuStreamIsCapturing(ffi.NULL, said) == IMPLICIT
            assert status(cuda, handle) == ACTIVE
            assert (name, getattr(cuda, name)(*arguments)) == (name, IMPLICIT)
            assert ended(cuda, handle) == INVALIDATED
            assert (name, getattr(cuda, name)(*arguments)) == (name, SUCCESS)

    def test_others_do_not(self, cuda):
        """It waits for no stream that is non-blocking, or of another context; nor does a thread's own stream 0."""
        ways, first = ways_to_the_stream_0(cuda), made(cuda, "cuCtxGetCurrent", "CUcontext")
        handles = [capturing(cuda, NON_BLOCKING)]
        assert cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
        handles.append(capturing(cuda))
        assert cuda.cuCtxPushCurrent_v2(first) == SUCCESS
        for name, arguments in ways.items():
            assert (name, getattr(cuda, name)(*arguments)) == (name, SUCCESS)
        assert cuda.cuCtxPopCurrent_v2(ffi.NULL) == SUCCESS
        room = ffi.new("char[8]")
        value = made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 8)
        assert cuda.cuMemcpyHtoD_v2_ptds(value, room, 8) == SUCCESS
        assert cuda.cuStreamSynchronize_ptsz(ffi.NULL) == SUCCESS
        assert [ended(cuda, handle) for handle in handles] == [SUCCESS] * 2

    def test_a_graph_runs_beside_a_capture(self, cuda):
        """Copies and fills of a graph that is launched are no work of the stream 0."""
        address, graph = made(cuda, "cuMemAlloc_v2", "CUdeviceptr", 8), ffi.new("CUgraph *")
        other = capturing(cuda, NON_BLOCKING)
        assert cuda.cuMemsetD8Async(address, 5, 8, other) == SUCCESS
        assert cuda.cuMemcpyDtoDAsync_v2(address + 4, address, 4, other) == SUCCESS
        assert cuda.cuStreamEndCapture(other, graph) == SUCCESS
        ready = made(cuda, "cuGraphInstantiateWithFlags", "CUgraphExec", graph[0], 0)
        handle = capturing(cuda)
        assert cuda.cuGraphLaunch(ready, other) == SUCCESS
        assert cuda.cuGraphLaunch(ready, ffi.NULL) == IMPLICIT
        assert ended(cuda, handle) == INVALIDATED


class TestContexts:
    @pytest.mark.parametrize("mode", [GLOBAL, THREAD_LOCAL, RELAXED])
    def test_a_wait_for_all_spoils_all(self, cuda, mode):
        """cuCtxSynchronize is refused in any mode, and spoils the captures of its context alone."""
        first = made(cuda, "cuCtxGetCurrent", "CUcontext")
        handles = [capturing(cuda, flags, mode) for flags in (BLOCKING, NON_BLOCKING)]
        assert cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0) == SUCCESS
        assert cuda.cuCtxSynchronize() == SUCCESS
        assert [status(cuda, handle) for handle in handles] == [ACTIVE] * 2
        assert cuda.cuCtxSynchronize_v2(first) == UNSUPPORTED
        assert [ended(cuda, handle) for handle in handles] == [INVALIDATED] * 2
        assert cuda.cuCtxSynchronize_v2(first) == SUCCESS


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "elsewhere", "own", "refused"),
        [
            (GLOBAL, False, GLOBAL, True), (THREAD_LOCAL, False, GLOBAL, True), (RELAXED, False, GLOBAL, False),
            (GLOBAL, True, GLOBAL, True), (THREAD_LOCAL, True, GLOBAL, False), (RELAXED, True, GLOBAL, False),
            (GLOBAL, False, THREAD_LOCAL, True), (GLOBAL, True, THREAD_LOCAL, False),
            (GLOBAL, False, RELAXED, False), (GLOBAL, True, RELAXED, False),
        ],
    )  # fmt: skip
    def test_what_no_capture_sees(self, cuda, mode, elsewhere, own, refused):
        """An allocation, and a question about an event, are refused as both modes say, and spoil the capture."""
        event, context = made(cuda, "cuEventCreate", "CUevent", 0), made(cuda, "cuCtxGetCurrent", "CUcontext")
        handle, box, codes = capturing(cuda, NON_BLOCKING, mode), ffi.new("CUdeviceptr *", 5), []

        def act() -> None:
            assert cuda.cuCtxSetCurrent(context) == SUCCESS
            assert cuda.cuThreadExchangeStreamCaptureMode(ffi.new("CUstreamCaptureMode *", own)) == SUCCESS
            codes.append(cuda.cuMemAlloc_v2(box, 8))
            codes.append(cuda.cuEventQuery(event))

        if elsewhere:
            thread = threading.Thread(target=act)
            thread.start()
            thread.join()
        else:
            act()
        assert codes == [UNSUPPORTED if refused else SUCCESS] * 2
        assert (box[0] == 5) == refused
        assert status(cuda, handle) == (SPOILED if refused else ACTIVE)
        assert ended(cuda, handle) == (INVALIDATED if refused else SUCCESS)
        assert cuda.cuMemAlloc_v2(box, 8) == SUCCESS

    def test_wrong_arguments_come_first(self, cuda):
        """What would be refused anyhow spoils nothing."""
        handle = capturing(cuda, NON_BLOCKING, GLOBAL)
        assert cuda.cuMemAlloc_v2(ffi.new("CUdeviceptr *"), 0) == INVALID_VALUE
        assert cuda.cuMemAlloc_v2(ffi.NULL, 8) == INVALID_VALUE
        assert ended(cuda, handle) == SUCCESS

    def test_a_capture_that_ends_with_its_stream(self, cuda):
        """The end of a stream in the middle of a capture is the end of what the capture forbids."""
        handle = capturing(cuda, BLOCKING, GLOBAL)
        assert cuda.cuStreamDestroy_v2(handle) == SUCCESS
        assert cuda.cuMemAlloc_v2(ffi.new("CUdeviceptr *"), 8) == SUCCESS
        assert cuda.cuStreamSynchronize(ffi.NULL) == cuda.cuCtxSynchronize() == SUCCESS

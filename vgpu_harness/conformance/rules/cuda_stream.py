"""Streams: making them, what they say of themselves, work that the host does, values in memory."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, INVALID_HANDLE, NOT_SUPPORTED = 1, 400, 801
NON_BLOCKING = 1
SYNCHRONIZATION_POLICY, PRIORITY = 3, 8  # CUstreamAttrID
SPIN = 2  # CU_SYNC_POLICY_SPIN
WAIT_EQ, WAIT_AND = 1, 2
WAIT_32, WRITE_32, WAIT_64, WRITE_64 = 1, 2, 4, 5  # CUstreamBatchMemOpType
_MEASURED = "measured on 535.261.03"


def stream(cuda: Cuda, flags: int = 0) -> Any:
    """A new stream of the current context."""
    handle = cuda.out("CUstream")
    cuda.ok("cuStreamCreate", handle, flags)
    return cuda.value(handle)


def memory(cuda: Cuda, size: int) -> int:
    """Device memory, zeroed: its address."""
    address = cuda.out("CUdeviceptr")
    cuda.ok("cuMemAlloc_v2", address, size)
    cuda.ok("cuMemsetD8_v2", cuda.value(address), 0, size)
    return int(cuda.value(address))


def read(cuda: Cuda, address: int, size: int) -> int:
    """A little-endian number of device memory."""
    room = cuda.out("char", size)
    cuda.ok("cuMemcpyDtoH_v2", room, address, size)
    return int.from_bytes(bytes(cuda.ffi.buffer(room)), "little")


@rule("cuStreamCreate", "cuStreamGetFlags", source="cuda.h 13.5, cuStreamCreate, cuStreamGetFlags", gpu=True)
def streams_keep_their_flags(cuda: Cuda) -> None:
    """A stream has the flags that it was made with; flags that are none are refused, and no stream is made."""
    cuda.context()
    for flags in (0, NON_BLOCKING):
        said = cuda.out("unsigned int")
        cuda.ok("cuStreamGetFlags", stream(cuda, flags), said)
        cuda.equal(cuda.value(said), flags, "the flags of a stream")
    room = cuda.out("CUstream")
    cuda.expect(INVALID_VALUE, "cuStreamCreate", room, 0x80)
    cuda.untouched(room)


@rule("cuStreamCreate", "cuStreamCreateWithPriority", source=_MEASURED, gpu=False)
def streams_need_room(cuda: Cuda) -> None:
    """Without room for the stream, cuStreamCreate and its like answer CUDA_ERROR_INVALID_VALUE in any state."""
    cuda.expect(INVALID_VALUE, "cuStreamCreate", None, 0)
    cuda.expect(INVALID_VALUE, "cuStreamCreateWithPriority", None, 0, 0)


@rule(
    "cuStreamCreateWithPriority",
    "cuStreamGetPriority",
    source="cuda.h 13.5, cuStreamCreateWithPriority: priorities outside of the range are the nearest in it",
    gpu=True,
)
def priorities_are_in_range(cuda: Cuda) -> None:
    """A stream has the priority that it was made with, or the nearest one of the context's range."""
    cuda.context()
    least, greatest = cuda.out("int"), cuda.out("int")
    cuda.ok("cuCtxGetStreamPriorityRange", least, greatest)
    low, high = cuda.value(least), cuda.value(greatest)
    for asked in (low, high, low + 1000, high - 1000):
        handle, said = cuda.out("CUstream"), cuda.out("int")
        cuda.ok("cuStreamCreateWithPriority", handle, NON_BLOCKING, asked)
        cuda.ok("cuStreamGetPriority", cuda.value(handle), said)
        cuda.equal(cuda.value(said), min(max(asked, high), low), f"the priority of a stream made with {asked}")


@rule("cuStreamGetId", source="cuda.h 13.5, cuStreamGetId: unique over the lifetime of the program", gpu=True)
def streams_have_ids(cuda: Cuda) -> None:
    """Each stream has an id of its own, the default ones, too, and keeps it."""
    cuda.context()
    said = cuda.out("unsigned long long")
    ids = []
    for handle in (stream(cuda), stream(cuda), 1, 2):
        for _ in range(2):
            cuda.ok("cuStreamGetId", handle, said)
            ids.append(cuda.value(said))
    cuda.equal(ids[::2], ids[1::2], "what each is asked a second time")
    cuda.equal(len(set(ids)), 4, "the number of ids of four streams")
    cuda.ok("cuStreamGetId", None, said)
    cuda.equal(cuda.value(said), ids[4], "the id of NULL, which is CU_STREAM_LEGACY,")


@rule("cuStreamGetCtx", "cuStreamGetCtx_v2", source="cuda.h 13.5, cuStreamGetCtx_v2", gpu=True)
def streams_know_their_context(cuda: Cuda) -> None:
    """A stream is of the context that was current when it was made; the default one of that which is current."""
    context = cuda.context()
    for handle in (stream(cuda), None):
        said, again, green = cuda.out("CUcontext"), cuda.out("CUcontext"), cuda.out("CUgreenCtx")
        cuda.ok("cuStreamGetCtx", handle, said)
        cuda.equal(cuda.value(said), context, "the context of a stream")
        cuda.ok("cuStreamGetCtx_v2", handle, again, green)
        cuda.equal(cuda.value(again), context, "the context of a stream")
        cuda.equal(cuda.value(green), cuda.null, "its green context")


@rule("cuStreamGetDevice", source="cuda.h 13.5, cuStreamGetDevice", gpu=True)
def streams_know_their_device(cuda: Cuda) -> None:
    """A stream is of the device that its context is of."""
    cuda.context()
    device, said = cuda.out("CUdevice"), cuda.out("CUdevice")
    cuda.ok("cuCtxGetDevice", device)
    cuda.ok("cuStreamGetDevice", stream(cuda), said)
    cuda.equal(cuda.value(said), cuda.value(device), "the device of a stream")


@rule("cuStreamDestroy_v2", "cuStreamDestroy", source=f"{_MEASURED}, in any state", gpu=False)
def default_streams_stay(cuda: Cuda) -> None:
    """The default stream cannot be destroyed."""
    for name in ("cuStreamDestroy_v2", "cuStreamDestroy"):
        cuda.expect(INVALID_HANDLE, name, None)


@rule("cuStreamDestroy_v2", "cuStreamDestroy", source="cuda.h 13.5, cuStreamDestroy; our rule for the handle", gpu=True)
def destroyed_streams_are_gone(cuda: Cuda) -> None:
    """A stream can be destroyed once; on a simulated host its handle is none from then on."""
    cuda.context()
    for name in ("cuStreamDestroy_v2", "cuStreamDestroy"):
        handle = stream(cuda)
        cuda.ok(name, handle)
        cuda.expect(INVALID_HANDLE, name, None)
        if cuda.host is not None:
            cuda.expect(INVALID_HANDLE, "cuStreamQuery", handle)


@rule(
    "cuStreamBeginCapture_v2", "cuStreamSynchronize", "cuStreamQuery",
    source="cuda.h 13.5; cuStreamBeginCapture: no synchronization", gpu=True,
)  # fmt: skip
def streams_are_waited_for(cuda: Cuda) -> None:
    """A stream without work is done; one that is being captured cannot be waited for, and the capture is spoiled."""
    cuda.context()
    handle = stream(cuda, NON_BLOCKING)
    cuda.ok("cuStreamSynchronize", handle)
    cuda.ok("cuStreamQuery", handle)
    for name in ("cuStreamQuery", "cuStreamSynchronize"):
        cuda.ok("cuStreamBeginCapture_v2", handle, 2)
        cuda.expect(900, name, handle)
        graph = cuda.out("CUgraph")
        cuda.expect(901, "cuStreamEndCapture", handle, graph)


@rule("cuStreamAddCallback", source="cuda.h 13.5, cuStreamAddCallback: executed exactly once", gpu=True)
def callbacks_are_called(cuda: Cuda) -> None:
    """A callback is called once, with its stream, no error, and its data, before the stream is done."""
    cuda.context()
    handle, seen = stream(cuda), []

    @cuda.ffi.callback("void(CUstream, CUresult, void *)")  # type: ignore[untyped-decorator]
    def callback(of: Any, status: int, data: Any) -> None:
        seen.append((of, int(cuda.ffi.cast("int", status)), int(cuda.ffi.cast("uintptr_t", data))))

    cuda.ok("cuStreamAddCallback", handle, callback, 0x1234, 0)
    cuda.ok("cuStreamSynchronize", handle)
    cuda.equal(seen, [(handle, 0, 0x1234)], "what the callback was called with")
    cuda.expect(INVALID_VALUE, "cuStreamAddCallback", handle, callback, None, 1)


@rule("cuLaunchHostFunc", source="cuda.h 13.5, cuLaunchHostFunc", gpu=True)
def host_functions_are_called_in_order(cuda: Cuda) -> None:
    """Host functions of a stream are called once each, in order, before the stream is done."""
    cuda.context()
    seen: list[int] = []

    @cuda.ffi.callback("void(void *)")  # type: ignore[untyped-decorator]
    def function(data: Any) -> None:
        seen.append(int(cuda.ffi.cast("uintptr_t", data)))

    handle = stream(cuda)
    for number in (1, 2, 3):
        cuda.ok("cuLaunchHostFunc", handle, function, number)
    cuda.ok("cuStreamSynchronize", handle)
    cuda.equal(seen, [1, 2, 3], "what the host functions were given")


@rule("cuLaunchHostFunc_v2", source="cuda.h 13.5, cuLaunchHostFunc_v2", gpu=True)
def host_functions_have_a_mode(cuda: Cuda) -> None:
    """cuLaunchHostFunc_v2 calls the function, too."""
    cuda.context()
    seen: list[int] = []

    @cuda.ffi.callback("void(void *)")  # type: ignore[untyped-decorator]
    def function(data: Any) -> None:
        seen.append(int(cuda.ffi.cast("uintptr_t", data)))

    cuda.ok("cuLaunchHostFunc_v2", None, function, 7, 0)
    cuda.ok("cuStreamSynchronize", None)
    cuda.equal(seen, [7], "what the host function was given")


@rule(
    "cuStreamSetAttribute",
    "cuStreamGetAttribute",
    "cuStreamCopyAttributes",
    source="cuda.h 13.5, CU_STREAM_ATTRIBUTE_SYNCHRONIZATION_POLICY, CU_STREAM_ATTRIBUTE_PRIORITY",
    gpu=True,
)
def attributes_are_kept(cuda: Cuda) -> None:
    """What a stream is set to is what it answers, and what is copied to another one."""
    cuda.context()
    one, other = stream(cuda), stream(cuda)
    said = cuda.out("CUstreamAttrValue")
    cuda.ok("cuStreamSetAttribute", one, SYNCHRONIZATION_POLICY, cuda.struct("CUstreamAttrValue", syncPolicy=SPIN))
    cuda.ok("cuStreamGetAttribute", one, SYNCHRONIZATION_POLICY, said)
    cuda.equal(cuda.value(said).syncPolicy, SPIN, "the policy that was set")
    cuda.ok("cuStreamCopyAttributes", other, one)
    copied = cuda.out("CUstreamAttrValue")
    cuda.ok("cuStreamGetAttribute", other, SYNCHRONIZATION_POLICY, copied)
    cuda.equal(cuda.value(copied).syncPolicy, SPIN, "the policy that was copied")
    cuda.expect(INVALID_VALUE, "cuStreamGetAttribute", one, 1000, said)


def _values(cuda: Cuda, suffix: str, refused: tuple[int, ...]) -> None:
    """Values of 32 and 64 bits, by the functions of the suffix; `refused`: what a driver may answer to all of them."""
    cuda.context()
    for bits, value in ((32, 0x12345678), (64, 0x123456789ABCDEF0)):
        address = memory(cuda, 16)
        if cuda.expect((0, *refused), f"cuStreamWriteValue{bits}{suffix}", None, address, value, 0) == 0:
            cuda.ok("cuStreamSynchronize", None)
            cuda.equal(read(cuda, address, bits // 8), value, "the value that was written")
            cuda.equal(read(cuda, address + bits // 8, 4), 0, "what is behind it")
            cuda.ok(f"cuStreamWaitValue{bits}{suffix}", None, address, value, WAIT_EQ)
            cuda.ok(f"cuStreamWaitValue{bits}{suffix}", None, address, value - 1, 0)
        for name in (f"cuStreamWriteValue{bits}{suffix}", f"cuStreamWaitValue{bits}{suffix}"):
            cuda.expect((INVALID_VALUE, *refused), name, None, address + 1, value, 0)


@rule(
    "cuStreamWriteValue32_v2",
    "cuStreamWriteValue64_v2",
    source="cuda.h 13.5, cuStreamWriteValue32, cuStreamWaitValue32; the address is aligned",
    gpu=True,
)
def values_are_written_and_waited_for(cuda: Cuda) -> None:
    """A stream writes a value, and goes on where it waits for one that is there; odd addresses are refused."""
    _values(cuda, "_v2", ())


@rule(
    "cuStreamWriteValue32",
    "cuStreamWriteValue64",
    source="cuda.h 12.9, cuStreamWriteValue32: not supported unless the driver's module parameter allows it",
    gpu=True,
)
def values_of_the_older_form(cuda: Cuda) -> None:
    """The first forms do the same, where a driver has them at all."""
    _values(cuda, "", () if cuda.host is not None else (NOT_SUPPORTED,))


def _batch(cuda: Cuda, name: str, refused: tuple[int, ...]) -> None:
    cuda.context()
    address = memory(cuda, 16)
    operations = cuda.ffi.new("CUstreamBatchMemOpParams[]", 3)
    for i, (operation, at, value) in enumerate(((WRITE_32, 0, 5), (WRITE_64, 8, 2**40), (WAIT_32, 0, 5))):
        operations[i].writeValue.operation = operation
        operations[i].writeValue.address = address + at
        operations[i].writeValue.value = value
    if cuda.expect((0, *refused), name, None, 3, operations, 0) == 0:
        cuda.ok("cuStreamSynchronize", None)
        cuda.equal((read(cuda, address, 8), read(cuda, address + 8, 8)), (5, 2**40), "the values that were written")
    operations[0].operation = 99
    cuda.expect((INVALID_VALUE, *refused), name, None, 1, operations, 0)


def _captured_waits(cuda: Cuda, suffix: str, refused: tuple[int, ...]) -> None:
    cuda.context()
    address = memory(cuda, 16)
    for bits in (32, 64):
        handle, graph, nodes = stream(cuda, NON_BLOCKING), cuda.out("CUgraph"), cuda.out("size_t")
        cuda.ok("cuStreamBeginCapture_v2", handle, 2)
        if cuda.expect((0, *refused), f"cuStreamWaitValue{bits}{suffix}", handle, address, 1, WAIT_EQ) == 0:
            cuda.ok("cuStreamEndCapture", handle, graph)
            cuda.ok("cuGraphGetNodes", cuda.value(graph), None, nodes)
            cuda.equal(cuda.value(nodes), 1, "the number of nodes")


@rule("cuStreamWaitValue32_v2", "cuStreamWaitValue64_v2", source="cuda.h 13.5, cuStreamWaitValue32", gpu=True)
def waits_are_captured(cuda: Cuda) -> None:
    """A wait for a value is a node of what the stream is captured into, whatever the value is now."""
    _captured_waits(cuda, "_v2", ())


@rule(
    "cuStreamWaitValue32", "cuStreamWaitValue64",
    source="cuda.h 12.9, cuStreamWaitValue32: not supported unless the driver's module parameter allows it", gpu=True,
)  # fmt: skip
def waits_of_the_older_form(cuda: Cuda) -> None:
    """The first forms are captured, too, where a driver has them at all."""
    _captured_waits(cuda, "", () if cuda.host is not None else (NOT_SUPPORTED, 900))


@rule("cuStreamBatchMemOp_v2", source="cuda.h 13.5, cuStreamBatchMemOp", gpu=True)
def batches_are_done(cuda: Cuda) -> None:
    """All operations of a batch are done; one that is none is refused."""
    _batch(cuda, "cuStreamBatchMemOp_v2", ())


@rule("cuStreamBatchMemOp", source="cuda.h 12.9, cuStreamBatchMemOp: as cuStreamWriteValue32", gpu=True)
def batches_of_the_older_form(cuda: Cuda) -> None:
    """The first form does the same, where a driver has it at all."""
    _batch(cuda, "cuStreamBatchMemOp", () if cuda.host is not None else (NOT_SUPPORTED,))

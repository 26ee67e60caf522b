"""Green contexts: multiprocessors in parts, and contexts that have a part each."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, INVALID_DEVICE, INVALID_CONTEXT, IS_DESTROYED = 1, 101, 201, 709
INVALID_TYPE, INVALID_CONFIGURATION = 914, 915
INVALID_HANDLE = 400
SM, DEFAULT_STREAM, NON_BLOCKING, NO_TYPE = 1, 1, 1, 4711
_DOC = "cuda.h 13.5"


def _whole(cuda: Cuda, device: int = 0) -> Any:
    box = cuda.out("CUdevResource")
    cuda.ok("cuDeviceGetDevResource", device, box, SM)
    cuda.value(box)
    return box


def _units(cuda: Cuda) -> int:
    box = cuda.out("int")
    cuda.ok("cuDeviceGetAttribute", box, 16, 0)
    return int(cuda.value(box))


def _halves(cuda: Cuda) -> Any:
    """The device in two parts."""
    parts, groups = cuda.out("CUdevResource", 2), cuda.struct("unsigned int")
    groups[0] = 2
    cuda.ok("cuDevSmResourceSplitByCount", parts, groups, _whole(cuda), None, 0, _units(cuda) // 2 // 8 * 8)
    cuda.equal(groups[0], 2, "the number of parts")
    return parts


def _green(cuda: Cuda, resources: Any, count: int = 1) -> Any:
    description, green = cuda.out("CUdevResourceDesc"), cuda.out("CUgreenCtx")
    cuda.ok("cuDevResourceGenerateDesc", description, resources, count)
    cuda.ok("cuGreenCtxCreate", green, cuda.value(description), 0, DEFAULT_STREAM)
    return cuda.value(green)


@rule("cuDeviceGetDevResource", source=f"{_DOC}, cuDeviceGetDevResource", gpu=True)
def multiprocessors_of_a_device(cuda: Cuda) -> None:
    """The resource has as many multiprocessors as the attribute says."""
    cuda.device()
    whole = _whole(cuda)
    cuda.equal(whole[0].type, SM, "the resource's type")
    cuda.equal(whole[0].sm.smCount, _units(cuda), "the number of multiprocessors")
    box = cuda.out("CUdevResource")
    cuda.expect((INVALID_TYPE, INVALID_VALUE), "cuDeviceGetDevResource", 0, box, NO_TYPE)
    cuda.expect(INVALID_DEVICE, "cuDeviceGetDevResource", 4711, box, SM)
    cuda.expect(INVALID_VALUE, "cuDeviceGetDevResource", 0, None, SM)
    cuda.untouched(box)


@rule("cuDevSmResourceSplitByCount", source=f"{_DOC} and 12.9, cuDevSmResourceSplitByCount", gpu=True)
def splitting(cuda: Cuda) -> None:
    """Parts are of one size, no smaller than asked for, and with the rest they are the whole."""
    cuda.device()
    units, whole = _units(cuda), _whole(cuda)
    groups = cuda.struct("unsigned int")
    cuda.ok("cuDevSmResourceSplitByCount", None, groups, whole, None, 0, 10)
    possible = groups[0]
    cuda.check(1 <= possible <= units // 10, f"{possible} parts of 10 are in {units}")
    parts, rest = cuda.out("CUdevResource", possible), cuda.out("CUdevResource")
    cuda.ok("cuDevSmResourceSplitByCount", parts, groups, whole, rest, 0, 10)
    cuda.equal(groups[0], possible, "the number of parts")
    sizes = [parts[i].sm.smCount for i in range(possible)]
    cuda.equal(len(set(sizes)), 1, "the number of different sizes")
    cuda.check(sizes[0] >= 10, f"{sizes[0]} are at least 10")
    left = rest[0].sm.smCount if rest[0].type == SM else 0
    cuda.equal(sum(sizes) + left, units, "the multiprocessors of all parts")
    cuda.expect((INVALID_CONFIGURATION, INVALID_VALUE), "cuDevSmResourceSplitByCount", None, groups, whole, None, 0,
                units + 1)  # fmt: skip
    cuda.expect((INVALID_TYPE, INVALID_VALUE), "cuDevSmResourceSplitByCount", None, groups,
                cuda.struct("CUdevResource"), None, 0, 8)  # fmt: skip
    cuda.expect(INVALID_VALUE, "cuDevSmResourceSplitByCount", None, None, whole, None, 0, 8)


@rule("cuDevResourceGenerateDesc", "cuGreenCtxCreate", "cuGreenCtxGetDevResource", "cuGreenCtxDestroy",
      source=f"{_DOC}, cuGreenCtxCreate", gpu=True)  # fmt: skip
def green_contexts(cuda: Cuda) -> None:
    """A green context has the multiprocessors of its part, and keeps the primary context until it is destroyed."""
    cuda.device()
    parts = _halves(cuda)
    green, both = _green(cuda, parts), _green(cuda, parts, 2)
    for made, wanted in ((green, parts[0].sm.smCount), (both, 2 * parts[0].sm.smCount)):
        box = cuda.out("CUdevResource")
        cuda.ok("cuGreenCtxGetDevResource", made, box, SM)
        cuda.equal(cuda.value(box).sm.smCount, wanted, "the multiprocessors of a green context")
    flags, active = cuda.out("unsigned int"), cuda.out("int")
    for made, wanted in ((green, 1), (both, 0)):
        cuda.ok("cuGreenCtxDestroy", made)
        cuda.ok("cuDevicePrimaryCtxGetState", 0, flags, active)
        cuda.equal(cuda.value(active), wanted, "whether the primary context is active")
        cuda.expect((INVALID_CONTEXT, IS_DESTROYED), "cuGreenCtxDestroy", made)
        cuda.expect((INVALID_CONTEXT, IS_DESTROYED), "cuGreenCtxGetDevResource", made, cuda.out("CUdevResource"), SM)
    description, context = cuda.out("CUdevResourceDesc"), cuda.out("CUgreenCtx")
    cuda.expect(INVALID_VALUE, "cuDevResourceGenerateDesc", description, parts, 0)
    cuda.expect(INVALID_VALUE, "cuDevResourceGenerateDesc", None, parts, 1)
    cuda.expect(INVALID_VALUE, "cuGreenCtxCreate", context, None, 0, DEFAULT_STREAM)
    cuda.untouched(description)
    cuda.untouched(context)


@rule("cuDevResourceGenerateDesc", source=f"{_DOC}, cuDevResourceGenerateDesc", gpu=True)
def parts_of_different_splits(cuda: Cuda) -> None:
    """Parts that come from different splits do not go into one descriptor."""
    cuda.device()
    mixed = cuda.out("CUdevResource", 2)
    mixed[0], mixed[1] = _halves(cuda)[0], _halves(cuda)[0]
    description = cuda.out("CUdevResourceDesc")
    cuda.expect(INVALID_CONFIGURATION, "cuDevResourceGenerateDesc", description, mixed, 2)
    cuda.untouched(description)


@rule("cuCtxFromGreenCtx", "cuCtxGetDevResource", "cuGreenCtxGetId", "cuGreenCtxDestroy",
      source=f"{_DOC}, cuCtxFromGreenCtx", gpu=True)  # fmt: skip
def a_context_of_a_green_one(cuda: Cuda) -> None:
    """It can be made current, has the part's multiprocessors and the green context's id, and ends with it."""
    cuda.device()
    parts = _halves(cuda)
    green = _green(cuda, parts)
    context, current, box = cuda.out("CUcontext"), cuda.out("CUcontext"), cuda.out("CUdevResource")
    cuda.ok("cuCtxFromGreenCtx", context, green)
    handle = cuda.value(context)
    cuda.ok("cuCtxSetCurrent", handle)
    cuda.ok("cuCtxGetCurrent", current)
    cuda.equal(cuda.value(current), handle, "the current context")
    cuda.ok("cuCtxGetDevResource", handle, box, SM)
    cuda.equal(cuda.value(box).sm.smCount, parts[0].sm.smCount, "the context's multiprocessors")
    ids = [cuda.out("unsigned long long") for _ in range(4)]
    cuda.ok("cuGreenCtxGetId", green, ids[0])
    cuda.ok("cuGreenCtxGetId", None, ids[1])
    cuda.ok("cuGreenCtxGetId", _green(cuda, parts), ids[2])
    cuda.equal(cuda.value(ids[1]), cuda.value(ids[0]), "the current context's id")
    cuda.check(cuda.value(ids[2]) != cuda.value(ids[0]), "another green context has another id")
    primary = cuda.context()
    cuda.ok("cuCtxGetDevResource", primary, box, SM)
    cuda.equal(cuda.value(box).sm.smCount, _units(cuda), "the primary context's multiprocessors")
    cuda.expect(INVALID_CONTEXT, "cuGreenCtxGetId", None, ids[3])
    cuda.expect(INVALID_CONTEXT, "cuCtxFromGreenCtx", context, None)
    cuda.ok("cuGreenCtxDestroy", green)
    cuda.expect((INVALID_CONTEXT, IS_DESTROYED), "cuCtxPushCurrent_v2", handle)
    cuda.expect((INVALID_CONTEXT, IS_DESTROYED), "cuCtxGetDevResource", handle, cuda.out("CUdevResource"), SM)
    cuda.expect((INVALID_TYPE, INVALID_VALUE), "cuCtxGetDevResource", primary, cuda.out("CUdevResource"), NO_TYPE)


@rule("cuGreenCtxStreamCreate", "cuStreamGetGreenCtx", source=f"{_DOC}, cuGreenCtxStreamCreate", gpu=True)
def streams_of_a_green_context(cuda: Cuda) -> None:
    """A stream that is made for a green context says so; it must be one that does not block."""
    cuda.context()
    green = _green(cuda, _halves(cuda))
    stream, plain, found = cuda.out("CUstream"), cuda.out("CUstream"), cuda.out("CUgreenCtx")
    cuda.expect(INVALID_VALUE, "cuGreenCtxStreamCreate", stream, green, 0, 0)
    cuda.expect(INVALID_CONTEXT, "cuGreenCtxStreamCreate", stream, None, NON_BLOCKING, 0)
    cuda.untouched(stream)
    cuda.ok("cuGreenCtxStreamCreate", stream, green, NON_BLOCKING, 0)
    cuda.ok("cuStreamGetGreenCtx", cuda.value(stream), found)
    cuda.equal(cuda.value(found), green, "the stream's green context")
    cuda.ok("cuStreamCreate", plain, 0)
    cuda.ok("cuStreamGetGreenCtx", cuda.value(plain), found)
    cuda.equal(cuda.value(found), cuda.null, "the green context of a stream that has none")
    cuda.ok("cuStreamDestroy_v2", cuda.value(stream))


@rule("cuCtxRecordEvent", "cuCtxWaitEvent", "cuGreenCtxRecordEvent", "cuGreenCtxWaitEvent",
      source=f"{_DOC}, cuCtxRecordEvent, cuGreenCtxRecordEvent", gpu=True)  # fmt: skip
def events_of_a_whole_context(cuda: Cuda) -> None:
    """What is recorded has a time; a context that is none, or an event that is none, is an error."""
    context = cuda.context()
    green = _green(cuda, _halves(cuda))
    for kind, handle in (("cuCtx", context), ("cuGreenCtx", green)):
        first, second, elapsed = cuda.out("CUevent"), cuda.out("CUevent"), cuda.out("float")
        cuda.ok("cuEventCreate", first, 0)
        cuda.ok("cuEventCreate", second, 0)
        events = cuda.value(first), cuda.value(second)
        cuda.expect(INVALID_HANDLE, "cuEventElapsedTime", elapsed, *events)
        for event in events:
            cuda.ok(f"{kind}RecordEvent", handle, event)
        cuda.ok(f"{kind}WaitEvent", handle, events[1])
        cuda.ok("cuEventSynchronize", events[1])
        cuda.ok("cuEventElapsedTime", elapsed, *events)
        cuda.check(0 <= cuda.value(elapsed) < 10000, "milliseconds have passed")
        for name in (f"{kind}RecordEvent", f"{kind}WaitEvent"):
            cuda.expect((INVALID_CONTEXT, INVALID_VALUE), name, None, events[0])
            cuda.expect((INVALID_HANDLE, INVALID_VALUE), name, handle, None)

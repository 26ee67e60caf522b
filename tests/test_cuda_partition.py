"""Green contexts in the models: resources that the program has changed, sizes by compute capability, lifetimes."""

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE, INVALID_CONTEXT, IS_DESTROYED = 0, 1, 201, 709
INVALID_TYPE, INVALID_CONFIGURATION, DETACHED = 914, 915, 917
INVALID_HANDLE, CAPTURE_INVALIDATED = 400, 901
SM, MULTIPROCESSORS = 1, 16


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0)."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    return vgpu_cuda


def whole(cuda, device: int = 0):
    """The device's multiprocessors."""
    out = ffi.new("CUdevResource *")
    assert cuda.cuDeviceGetDevResource(device, out, SM) == SUCCESS
    return out


def split(cuda, resource, count: int, size: int, flags: int = 0):
    """Splits it: (code, sizes of the parts, size of the rest, the parts)."""
    parts, groups, rest = (
        ffi.new("CUdevResource[]", count),
        ffi.new("unsigned int *", count),
        ffi.new("CUdevResource *"),
    )
    code = cuda.cuDevSmResourceSplitByCount(parts, groups, resource, rest, flags, size)
    return code, [parts[i].sm.smCount for i in range(groups[0])] if code == SUCCESS else [], rest.sm.smCount, parts


def describe(cuda, resources, count: int = 1):
    """A descriptor: (code, descriptor)."""
    out = ffi.new("CUdevResourceDesc *")
    return cuda.cuDevResourceGenerateDesc(out, resources, count), out[0]


def green(cuda, resources, flags: int = 1):
    """A green context: (code, green context)."""
    out = ffi.new("CUgreenCtx *")
    return cuda.cuGreenCtxCreate(out, describe(cuda, resources)[1], 0, flags), out[0]


@pytest.mark.parametrize(
    ("profile", "asked", "flags", "size"),
    [
        ("h100-80gb-hbm3", 0, 0, 8),
        ("h100-80gb-hbm3", 9, 0, 16),
        ("h100-80gb-hbm3", 1, 1, 2),
        ("h100-80gb-hbm3", 9, 1, 10),
        ("l40s-48gb", 1, 0, 4),
        ("l40s-48gb", 5, 0, 6),
        ("t4-16gb", 1, 0, 2),
        ("t4-16gb", 3, 0, 4),
    ],
)
def test_the_size_of_a_part(profile, asked, flags, size, tmp_path):
    """Smallest part and its multiple by compute capability: cuda.h 12.9's table."""
    from vgpu_harness.host import Gpu, Host, write_image, write_tree
    from vgpu_harness.shims.inprocess import Cuda

    host = Host(gpu=[Gpu(profile=profile)])
    with Cuda(write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "image")) as cuda:
        cuda.cuInit(0)
        units = cuda.attribute(MULTIPROCESSORS)[1]
        assert split(cuda, whole(cuda), 2, asked, flags)[:3] == (SUCCESS, [size, size], units - 2 * size)


def test_a_part_cannot_be_split_again(cuda):
    """Not before a green context has been made of it: then that one's resource can be."""
    parts = split(cuda, whole(cuda), 1, 64)[3]
    assert split(cuda, parts, 1, 8)[0] == INVALID_CONFIGURATION
    made = green(cuda, parts)[1]
    own = ffi.new("CUdevResource *")
    assert cuda.cuGreenCtxGetDevResource(made, own, SM) == SUCCESS
    assert split(cuda, own, 8, 8)[:3] == (SUCCESS, [8] * 8, 0)


def test_a_resource_that_the_program_has_changed(cuda):
    """Another type, another count, or zeros are noticed, and so is a device that is not there."""
    groups = ffi.new("unsigned int *", 1)

    def code(**fields: int) -> int:
        changed = whole(cuda)
        for name, value in fields.items():
            setattr(changed.sm if name == "smCount" else changed, name, value)
        return cuda.cuDevSmResourceSplitByCount(ffi.NULL, groups, changed, ffi.NULL, 0, 8)

    assert [code(), code(type=1000), code(type=0), code(smCount=133), code(smCount=0), code(own_device=7)] == [
        SUCCESS,
        INVALID_TYPE,
        INVALID_TYPE,
        *[INVALID_VALUE] * 3,
    ]
    assert code(own_mark=0) == code(own_first=2**32 - 1) == INVALID_VALUE


def test_a_green_context_ends_with_the_primary_one(cuda):
    """After a reset of the primary context it is gone with what it stood for."""
    made = green(cuda, split(cuda, whole(cuda), 1, 8)[3])[1]
    context = ffi.new("CUcontext *")
    assert (cuda.cuCtxFromGreenCtx(context, made), cuda.cuCtxPushCurrent_v2(context[0])) == (SUCCESS, SUCCESS)
    assert (cuda.cuDevicePrimaryCtxReset_v2(0), cuda.cuCtxSynchronize()) == (SUCCESS, IS_DESTROYED)
    assert cuda.cuGreenCtxDestroy(made) == INVALID_CONTEXT


def test_memory_of_a_green_context_ends_with_it(cuda):
    """What is allocated in it is free again when it is destroyed."""
    made = green(cuda, split(cuda, whole(cuda), 1, 8)[3])[1]
    context, free = ffi.new("CUcontext *"), ffi.new("size_t[2]")
    cuda.cuCtxFromGreenCtx(context, made)
    cuda.cuCtxPushCurrent_v2(context[0])
    cuda.cuMemGetInfo_v2(free, free + 1)
    before = free[0]
    assert cuda.cuMemAlloc_v2(ffi.new("CUdeviceptr *"), 1 << 20) == SUCCESS
    cuda.cuMemGetInfo_v2(free, free + 1)
    assert free[0] < before
    primary = ffi.new("CUcontext *")
    cuda.cuDevicePrimaryCtxRetain(primary, 0)
    cuda.cuGreenCtxDestroy(made)
    cuda.cuCtxSetCurrent(primary[0])
    cuda.cuMemGetInfo_v2(free, free + 1)
    assert free[0] == before


def test_memory_of_a_green_context_ends_with_the_primary_one(cuda):
    """A reset of the primary context frees what was allocated in a green one, too."""
    primary, context, free = ffi.new("CUcontext *"), ffi.new("CUcontext *"), ffi.new("size_t[2]")
    assert cuda.cuDevicePrimaryCtxRetain(primary, 0) == cuda.cuCtxSetCurrent(primary[0]) == SUCCESS
    cuda.cuMemGetInfo_v2(free, free + 1)
    before = free[0]
    made = green(cuda, split(cuda, whole(cuda), 1, 8)[3])[1]
    assert (cuda.cuCtxFromGreenCtx(context, made), cuda.cuCtxPushCurrent_v2(context[0])) == (SUCCESS, SUCCESS)
    assert cuda.cuMemAlloc_v2(ffi.new("CUdeviceptr *"), 1 << 20) == SUCCESS
    assert cuda.cuDevicePrimaryCtxReset_v2(0) == cuda.cuDevicePrimaryCtxRetain(primary, 0) == SUCCESS
    assert cuda.cuCtxSetCurrent(primary[0]) == cuda.cuMemGetInfo_v2(free, free + 1) == SUCCESS
    assert free[0] == before


@pytest.mark.parametrize(("cuda_version", "code"), [("12.9", INVALID_VALUE), ("13.0", SUCCESS)])
def test_the_flag_of_a_green_context(cuda_version, code, tmp_path):
    """Before 13.0 a default stream had to be asked for (cuda.h 12.9)."""
    from vgpu_harness.host import Driver, Host, write_image, write_tree
    from vgpu_harness.shims.inprocess import Cuda

    host = Host(driver=Driver(version="580.95.05", cuda=cuda_version))
    with Cuda(write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "image")) as cuda:
        cuda.cuInit(0)
        assert green(cuda, whole(cuda), 0)[0] == code
        assert [green(cuda, whole(cuda), flags)[0] for flags in (1, 2)] == [SUCCESS, INVALID_VALUE]


def test_a_reset_takes_the_references_of_green_contexts(cuda):
    """After a reset the primary context has the references that the program took, and none of green contexts."""
    for _ in range(2):
        assert green(cuda, split(cuda, whole(cuda), 1, 8)[3])[0] == SUCCESS
    assert cuda.cuDevicePrimaryCtxRetain(ffi.new("CUcontext *"), 0) == SUCCESS
    assert cuda.cuDevicePrimaryCtxReset_v2(0) == SUCCESS
    assert [cuda.cuDevicePrimaryCtxRelease_v2(0) for _ in range(2)] == [SUCCESS, INVALID_CONTEXT]


def test_the_last_green_context_ends_the_primary_one(cuda):
    """Its reference is the primary context's last one."""
    made, active = green(cuda, split(cuda, whole(cuda), 1, 8)[3])[1], ffi.new("int *")
    assert cuda.cuDevicePrimaryCtxGetState(0, ffi.new("unsigned int *"), active) == SUCCESS
    assert active[0] == 1
    assert cuda.cuGreenCtxDestroy(made) == SUCCESS
    assert cuda.cuDevicePrimaryCtxGetState(0, ffi.new("unsigned int *"), active) == SUCCESS
    assert active[0] == 0


def test_no_multiprocessor_twice(cuda):
    """A descriptor has each multiprocessor once; the order of the parts does not matter."""
    parts = split(cuda, whole(cuda), 3, 40)[3]
    order = ffi.new("CUdevResource[]", [parts[2], parts[0]])
    twice = ffi.new("CUdevResource[]", [parts[0], parts[1], parts[0]])
    assert describe(cuda, twice, 3)[0] == INVALID_CONFIGURATION
    out, own = ffi.new("CUgreenCtx *"), ffi.new("CUdevResource *")
    assert cuda.cuGreenCtxCreate(out, describe(cuda, order, 2)[1], 0, 1) == SUCCESS
    assert cuda.cuGreenCtxGetDevResource(out[0], own, SM) == SUCCESS
    assert own.sm.smCount == 80
    assert split(cuda, own, 2, 40)[:2] == (SUCCESS, [40, 40])


def test_streams_of_a_destroyed_green_context(cuda):
    """They are detached: only cuStreamDestroy takes them, and a capture of theirs is spoiled (cuda.h 13.5)."""
    primary, context, graph = ffi.new("CUcontext *"), ffi.new("CUcontext *"), ffi.new("CUgraph *")
    assert cuda.cuDevicePrimaryCtxRetain(primary, 0) == cuda.cuCtxSetCurrent(primary[0]) == SUCCESS
    made = green(cuda, split(cuda, whole(cuda), 1, 8)[3])[1]
    streams, other = ffi.new("CUstream[2]"), ffi.new("CUstream *")
    assert cuda.cuGreenCtxStreamCreate(streams, made, 1, 0) == cuda.cuStreamCreate(other, 1) == SUCCESS
    assert cuda.cuCtxFromGreenCtx(context, made) == cuda.cuCtxPushCurrent_v2(context[0]) == SUCCESS
    assert cuda.cuStreamCreate(streams + 1, 1) == cuda.cuCtxPopCurrent_v2(context) == SUCCESS
    assert cuda.cuStreamBeginCapture_v2(other[0], 2) == SUCCESS
    event = ffi.new("CUevent *")
    assert cuda.cuEventCreate(event, 0) == cuda.cuEventRecord(event[0], other[0]) == SUCCESS
    assert cuda.cuStreamWaitEvent(streams[0], event[0], 0) == SUCCESS
    assert cuda.cuGreenCtxDestroy(made) == SUCCESS
    assert [cuda.cuStreamQuery(stream) for stream in streams] == [DETACHED] * 2
    assert [cuda.cuStreamGetFlags(stream, ffi.new("unsigned int *")) for stream in streams] == [DETACHED] * 2
    assert (cuda.cuStreamEndCapture(other[0], graph), graph[0]) == (CAPTURE_INVALIDATED, ffi.NULL)
    assert cuda.cuStreamQuery(other[0]) == SUCCESS
    assert [cuda.cuStreamDestroy_v2(stream) for stream in streams] == [SUCCESS] * 2
    assert [cuda.cuStreamQuery(stream) for stream in streams] == [INVALID_HANDLE] * 2

"""What is set for a context in the models: what a limit becomes, whose settings are whose, peers."""

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY, INVALID_CONTEXT, UNSUPPORTED_LIMIT = 0, 1, 2, 201, 215
PEER_UNSUPPORTED, ALREADY_ENABLED, NOT_ENABLED, IS_DESTROYED = 217, 704, 705, 709
STACK, PRINTF, HEAP, DEPTH, LAUNCHES, FETCH, PERSISTING = range(7)

two = pytest.mark.vgpu(host={"gpu": [{}, {}]})


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0)."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    return vgpu_cuda


def create(cuda, device: int = 0, name: str = "cuCtxCreate_v2"):
    """Makes a context: its handle."""
    out = ffi.new("CUcontext *")
    assert getattr(cuda, name)(out, 0, device) == SUCCESS
    return out[0]


def limit(cuda, number: int) -> tuple[int, int]:
    """cuCtxGetLimit: (code, value)."""
    return cuda.number("cuCtxGetLimit", "size_t", number)


@pytest.mark.parametrize(
    ("number", "asked", "becomes"),
    [
        (STACK, 1025, 1040),
        (STACK, 1 << 40, 512 << 10),
        (STACK, 2**64 - 1, 512 << 10),
        (PRINTF, 1 << 20, 1 << 20),
        (HEAP, 1 << 30, 1 << 30),
        (LAUNCHES, 1, 1),
        (FETCH, 1000, 128),
        (PERSISTING, 1 << 40, 32768000),
        (PERSISTING, 4096, 4096),
    ],
)
def test_what_a_limit_becomes(number, asked, becomes, cuda):
    """Rounded up, or cut to what the device has: cuda.h lets the driver change it."""
    create(cuda)
    assert (cuda.cuCtxSetLimit(number, asked), limit(cuda, number)) == (SUCCESS, (SUCCESS, becomes))


@pytest.mark.parametrize("number", [DEPTH, 7, 8, 9, 10, 11, -1, 2**31 - 1])
def test_limits_that_the_device_does_not_have(number, cuda):
    """What is for other devices, or no limit at all, is unsupported, and nothing is written."""
    create(cuda)
    assert [cuda.cuCtxSetLimit(number, 1), *limit(cuda, number)] == [UNSUPPORTED_LIMIT, UNSUPPORTED_LIMIT, 0]


@pytest.mark.vgpu(host={"gpu": [{"profile": "t4-16gb"}]})
def test_limits_of_an_older_device(cuda):
    """A T4 has a depth of synchronisation, of 24 at most, and no persisting cache."""
    create(cuda)
    assert (limit(cuda, DEPTH), limit(cuda, PERSISTING)) == ((SUCCESS, 2), (UNSUPPORTED_LIMIT, 0))
    assert [cuda.cuCtxSetLimit(DEPTH, 25), cuda.cuCtxSetLimit(DEPTH, 24)] == [INVALID_VALUE, SUCCESS]
    assert limit(cuda, DEPTH) == (SUCCESS, 24)
    assert cuda.cuCtxResetPersistingL2Cache() == 801


@pytest.mark.vgpu(host={"gpu": [{"memory_mib": 1024}]})
def test_a_heap_needs_memory(cuda):
    """More than is free cannot be kept for malloc."""
    create(cuda)
    assert cuda.cuCtxSetLimit(HEAP, 2 << 30) == OUT_OF_MEMORY
    assert limit(cuda, HEAP) == (SUCCESS, 8 << 20)


@pytest.mark.parametrize(("name", "version"), [("cuCtxCreate", 3010), ("cuCtxCreate_v2", 3020)])
def test_the_version_of_a_context(name, version, cuda):
    """Contexts of the form from before 3.2 say so."""
    context = create(cuda, name=name)
    assert cuda.number("cuCtxGetApiVersion", "unsigned int", before=(context,)) == (SUCCESS, version)


def test_a_new_primary_context_has_its_flags_and_no_other_settings(cuda):
    """Flags last from one life to the next; limits, preferences and the id do not."""
    context, ids = ffi.new("CUcontext *"), []
    cuda.cuDevicePrimaryCtxSetFlags_v2(0, 4)
    for _ in range(2):
        cuda.cuDevicePrimaryCtxRetain(context, 0)
        cuda.cuCtxSetCurrent(context[0])
        assert (limit(cuda, STACK), cuda.number("cuCtxGetFlags", "unsigned int")) == ((SUCCESS, 1024), (SUCCESS, 4))
        assert cuda.number("cuCtxGetCacheConfig", "CUfunc_cache") == (SUCCESS, 0)
        ids.append(cuda.number("cuCtxGetId", "unsigned long long", before=(context[0],)))
        assert [cuda.cuCtxSetLimit(STACK, 4096), cuda.cuCtxSetCacheConfig(2)] == [SUCCESS, SUCCESS]
        cuda.cuDevicePrimaryCtxRelease_v2(0)
        assert limit(cuda, STACK)[0] == IS_DESTROYED
    assert ids[0] != ids[1]


def test_a_primary_context_is_not_ended_by_detaching(cuda):
    """cuCtxDetach gives back what cuCtxAttach took, and not what a retain did."""
    context = ffi.new("CUcontext *")
    cuda.cuDevicePrimaryCtxRetain(context, 0)
    cuda.cuCtxSetCurrent(context[0])
    assert cuda.cuCtxDetach(context[0]) == INVALID_CONTEXT
    assert cuda.cuCtxAttach(context, 0) == SUCCESS
    assert [cuda.cuCtxDetach(context[0]), cuda.cuCtxDetach(context[0])] == [SUCCESS, INVALID_CONTEXT]
    assert cuda.cuCtxSynchronize() == SUCCESS


@two
def test_peers_end_with_either_context(cuda):
    """A new context on the same device is another peer, whichever of the two has ended."""
    own, peer = create(cuda), create(cuda, 1)
    cuda.cuCtxSetCurrent(own)
    assert [cuda.cuCtxEnablePeerAccess(peer, 0) for _ in range(2)] == [SUCCESS, ALREADY_ENABLED]
    cuda.cuCtxDestroy_v2(peer)
    assert [cuda.cuCtxEnablePeerAccess(peer, 0), cuda.cuCtxDisablePeerAccess(peer)] == [IS_DESTROYED] * 2
    primary = ffi.new("CUcontext *")
    cuda.cuDevicePrimaryCtxRetain(primary, 1)
    assert cuda.cuCtxEnablePeerAccess(primary[0], 0) == SUCCESS
    cuda.cuDevicePrimaryCtxReset_v2(1)
    cuda.cuDevicePrimaryCtxRetain(primary, 1)
    assert cuda.cuCtxDisablePeerAccess(primary[0]) == NOT_ENABLED


@pytest.mark.parametrize(
    "gpus",
    [
        [{"nvml": {"NVLINKS": 0}}, {}],
        [{}, {"nvml": {"NVLINKS": 0}}],
        [{}, {"profile": "a100-80gb-sxm4"}],
        [{"profile": "l40s-48gb"}, {"profile": "l40s-48gb"}],
    ],
)
def test_who_can_be_no_peer(gpus, tmp_path):
    """Without NVLink on both sides, or with another major compute capability, there is no access."""
    from vgpu_harness.host import Host, write_image, write_tree
    from vgpu_harness.shims.inprocess import Cuda

    host = Host(gpu=gpus)
    with Cuda(write_image(host, write_tree(host, tmp_path / "tree"), tmp_path / "image")) as cuda:
        cuda.cuInit(0)
        assert cuda.number("cuDeviceCanAccessPeer", "int", 0, 1) == (SUCCESS, 0)
        assert cuda.number("cuDeviceGetP2PAttribute", "int", 2, 0, 1) == (SUCCESS, 0)
        own, peer = create(cuda), create(cuda, 1)
        cuda.cuCtxSetCurrent(own)
        assert cuda.cuCtxEnablePeerAccess(peer, 0) == PEER_UNSUPPORTED

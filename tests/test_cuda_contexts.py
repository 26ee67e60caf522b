"""Contexts: the stack of each thread, destruction, and the primary context of a device."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE, INVALID_DEVICE, INVALID_CONTEXT = 0, 1, 101, 201
UNSUPPORTED_AFFINITY, CONTEXT_IS_DESTROYED, NOT_SUPPORTED = 224, 709, 801
NEVER_GIVEN = 0x5EED0

CREATES = {
    "cuCtxCreate": (),
    "cuCtxCreate_v2": (),
    "cuCtxCreate_v3": (ffi.NULL, 0),
    "cuCtxCreate_v4": (ffi.NULL,),
}


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0)."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    return vgpu_cuda


@pytest.fixture
def other():
    """Another thread: ``other(function, *arguments)``."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=30)


def create(cuda, dev: int = 0, name: str = "cuCtxCreate_v2", flags: int = 0):
    """Makes a context: its handle."""
    out = ffi.new("CUcontext *")
    assert getattr(cuda, name)(out, *CREATES[name], flags, dev) == SUCCESS
    return out[0]


def current(cuda):
    """What cuCtxGetCurrent answers."""
    out = ffi.new("CUcontext *")
    assert cuda.cuCtxGetCurrent(out) == SUCCESS
    return out[0]


def pop(cuda):
    """cuCtxPopCurrent: (code, handle)."""
    out = ffi.new("CUcontext *")
    return cuda.cuCtxPopCurrent_v2(out), out[0]


def retain(cuda, dev: int = 0):
    """Retains the primary context: its handle."""
    out = ffi.new("CUcontext *")
    assert cuda.cuDevicePrimaryCtxRetain(out, dev) == SUCCESS
    return out[0]


def active(cuda, dev: int = 0) -> int:
    """Is the primary context active?"""
    flags, answer = ffi.new("unsigned int *", 77), ffi.new("int *", 77)
    assert cuda.cuDevicePrimaryCtxGetState(dev, flags, answer) == SUCCESS
    assert flags[0] == 0
    return int(answer[0])


@pytest.mark.parametrize("name", CREATES)
def test_each_form_of_create_pushes(name, cuda):
    """A new context is current, on top of the one before it; none has another's handle."""
    first, second = create(cuda, name=name), create(cuda, name=name)
    assert first != second
    assert [current(cuda), pop(cuda), current(cuda), pop(cuda)] == [second, (SUCCESS, second), first, (SUCCESS, first)]
    assert current(cuda) == ffi.NULL


@pytest.mark.parametrize("name", CREATES)
@pytest.mark.parametrize(
    ("flags", "dev", "code"),
    [
        (0xFF & ~6, 0, SUCCESS),
        (0x100, 0, INVALID_VALUE),
        (3, 0, INVALID_VALUE),
        (0, 1, INVALID_DEVICE),
        (0, -1, INVALID_DEVICE),
    ],
)
def test_create_checks_device_and_flags(name, flags, dev, code, cuda):
    """Unknown flags and two ways of waiting at once are invalid; nothing is pushed then."""
    out = ffi.new("CUcontext *")
    assert getattr(cuda, name)(out, *CREATES[name], flags, dev) == code
    assert (current(cuda) != ffi.NULL) == (code == SUCCESS)
    assert getattr(cuda, name)(ffi.NULL, *CREATES[name], 0, 0) == INVALID_VALUE


def test_execution_affinity_needs_mps(cuda):
    """Without MPS a context cannot be limited to some multiprocessors; a wrong count is an invalid value."""
    out, affinity = ffi.new("CUcontext *"), ffi.new("CUexecAffinityParam *")
    assert cuda.cuCtxCreate_v3(out, affinity, 1, 0, 0) == UNSUPPORTED_AFFINITY
    assert cuda.cuCtxCreate_v3(out, ffi.NULL, 1, 0, 0) == INVALID_VALUE
    assert cuda.cuCtxCreate_v3(out, affinity, -1, 0, 0) == INVALID_VALUE
    parameters = ffi.new("CUctxCreateParams *", {"execAffinityParams": affinity, "numExecAffinityParams": 1})
    assert cuda.cuCtxCreate_v4(out, parameters, 0, 0) == UNSUPPORTED_AFFINITY
    parameters = ffi.new("CUctxCreateParams *", {"cigParams": affinity})
    assert cuda.cuCtxCreate_v4(out, parameters, 0, 0) == NOT_SUPPORTED


def test_set_current_replaces_the_top(cuda):
    """It changes the top of the stack; NULL takes it off, and is nothing on an empty stack."""
    assert cuda.cuCtxSetCurrent(ffi.NULL) == SUCCESS
    first, second = create(cuda), create(cuda)
    assert cuda.cuCtxSetCurrent(first) == SUCCESS
    assert [pop(cuda), pop(cuda)] == [(SUCCESS, first), (SUCCESS, first)]
    assert cuda.cuCtxSetCurrent(second) == SUCCESS
    assert current(cuda) == second
    assert cuda.cuCtxSetCurrent(ffi.NULL) == SUCCESS
    assert current(cuda) == ffi.NULL


def test_push_and_pop(cuda):
    """A push of NULL is an invalid value, a pop of nothing an invalid context; who pops need not ask what."""
    context = create(cuda)
    assert [cuda.cuCtxPushCurrent_v2(context), cuda.cuCtxPushCurrent(context)] == [SUCCESS, SUCCESS]
    assert cuda.cuCtxPushCurrent_v2(ffi.NULL) == INVALID_VALUE
    assert [cuda.cuCtxPopCurrent_v2(ffi.NULL), cuda.cuCtxPopCurrent(ffi.NULL), pop(cuda)] == [
        SUCCESS,
        SUCCESS,
        (SUCCESS, context),
    ]
    assert pop(cuda) == (INVALID_CONTEXT, ffi.NULL)


def test_a_deep_stack_keeps_its_order(cuda):
    """A thousand contexts come off in the reverse order of their making."""
    contexts = [create(cuda) for _ in range(1000)]
    assert [pop(cuda)[1] for _ in contexts] == contexts[::-1]


@pytest.mark.vgpu(host={"gpu": [{}, {}]})
def test_a_context_knows_its_device(cuda):
    """Both forms of cuCtxGetDevice, and cuCtxSynchronize, need a living context."""
    first, second = create(cuda, 1), create(cuda, 0)
    assert [cuda.number("cuCtxGetDevice", "CUdevice"), cuda.cuCtxSynchronize()] == [(SUCCESS, 0), SUCCESS]
    assert cuda.number("cuCtxGetDevice_v2", "CUdevice", first) == (SUCCESS, 1)
    assert cuda.number("cuCtxGetDevice_v2", "CUdevice", ffi.NULL) == (SUCCESS, 0)
    assert [cuda.cuCtxSynchronize_v2(first), cuda.cuCtxSynchronize_v2(ffi.cast("CUcontext", NEVER_GIVEN))] == [
        SUCCESS,
        INVALID_CONTEXT,
    ]
    pop(cuda)
    pop(cuda)
    assert [cuda.number("cuCtxGetDevice", "CUdevice")[0], cuda.cuCtxSynchronize()] == [INVALID_CONTEXT] * 2
    assert cuda.cuCtxDestroy_v2(second) == SUCCESS
    assert cuda.number("cuCtxGetDevice_v2", "CUdevice", second)[0] == CONTEXT_IS_DESTROYED


@pytest.mark.parametrize("name", ["cuCtxDestroy", "cuCtxDestroy_v2"])
def test_destroy_pops_where_it_is_current(name, cuda):
    """The caller's top goes with its context; a copy further down stays, destroyed."""
    below, context = create(cuda), create(cuda)
    cuda.cuCtxPushCurrent_v2(below)
    cuda.cuCtxPushCurrent_v2(context)
    assert getattr(cuda, name)(context) == SUCCESS
    assert [pop(cuda)[1], current(cuda)] == [below, context]
    assert [cuda.cuCtxSynchronize(), getattr(cuda, name)(context)] == [CONTEXT_IS_DESTROYED] * 2
    assert [pop(cuda), pop(cuda), current(cuda)] == [(SUCCESS, context), (SUCCESS, below), ffi.NULL]


def test_another_thread_keeps_a_destroyed_context(cuda, other):
    """It is still what that thread has current, and each use of it answers 709; pushing it elsewhere does, too."""
    context = create(cuda)
    assert other(cuda.cuCtxSetCurrent, context) == SUCCESS
    assert cuda.cuCtxDestroy_v2(context) == SUCCESS
    assert other(current, cuda) == context
    assert other(cuda.cuCtxSynchronize) == CONTEXT_IS_DESTROYED
    assert other(cuda.number, "cuCtxGetDevice", "CUdevice")[0] == CONTEXT_IS_DESTROYED
    assert [cuda.cuCtxPushCurrent_v2(context), cuda.cuCtxSetCurrent(context)] == [CONTEXT_IS_DESTROYED] * 2
    assert other(pop, cuda) == (SUCCESS, context)


@pytest.mark.parametrize(
    "handle", [NEVER_GIVEN, 1, 8, 2**64 - 1, 0x00C0000000000000, 0x00C0000000000008, 0x00D0000000000000]
)
def test_a_handle_that_was_never_given_out_is_an_invalid_context(handle, cuda):
    """Unknown numbers are recognised, those that look like ours included."""
    context = ffi.cast("CUcontext", handle)
    calls = (cuda.cuCtxPushCurrent_v2, cuda.cuCtxSetCurrent, cuda.cuCtxDestroy_v2, cuda.cuCtxSynchronize_v2)
    assert [call(context) for call in calls] == [INVALID_CONTEXT] * 4


def test_threads_have_stacks_of_their_own(cuda):
    """What is current in one thread is not in another, however many come and go."""
    context, seen = create(cuda), []

    def look() -> None:
        before = current(cuda)
        mine = create(cuda)
        seen.append((before, current(cuda) == mine, pop(cuda)[0], current(cuda)))

    threads = [threading.Thread(target=look) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [(ffi.NULL, True, SUCCESS, ffi.NULL)] * 40
    assert current(cuda) == context


def test_a_new_thread_does_not_inherit_the_stack_of_one_that_ended(cuda):
    """A thread that ends with a context current leaves nothing to the next, though it may get the same place."""
    for _ in range(20):
        thread = threading.Thread(target=create, args=(cuda,))
        thread.start()
        thread.join(30)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(current, cuda).result(timeout=30) == ffi.NULL


def test_two_processes_in_one_thread_do_not_share_a_stack(cuda, vgpu_image):
    """Each state has its own stack for the same thread."""
    from vgpu_harness.shims.inprocess import Cuda

    create(cuda)
    with Cuda(vgpu_image) as second:
        second.cuInit(0)
        assert current(second) == ffi.NULL


class TestPrimary:
    def test_retain_counts_and_does_not_push(self, cuda):
        """Inactive until it is retained, the same handle each time, destroyed with the last release."""
        assert active(cuda) == 0
        first, second = retain(cuda), retain(cuda)
        assert (first == second, current(cuda), active(cuda)) == (True, ffi.NULL, 1)
        assert [cuda.cuDevicePrimaryCtxRelease_v2(0), active(cuda)] == [SUCCESS, 1]
        assert [cuda.cuDevicePrimaryCtxRelease(0), active(cuda)] == [SUCCESS, 0]
        assert cuda.cuDevicePrimaryCtxRelease_v2(0) == INVALID_CONTEXT

    def test_release_never_pops(self, cuda):
        """The handle stays current after the last release, destroyed, and lives again with the next retain."""
        context = retain(cuda)
        cuda.cuCtxPushCurrent_v2(context)
        cuda.cuDevicePrimaryCtxRelease_v2(0)
        assert [current(cuda), cuda.cuCtxSynchronize()] == [context, CONTEXT_IS_DESTROYED]
        assert [retain(cuda), cuda.cuCtxSynchronize()] == [context, SUCCESS]

    @pytest.mark.parametrize("name", ["cuDevicePrimaryCtxReset", "cuDevicePrimaryCtxReset_v2"])
    def test_reset_destroys_it_under_its_users_and_keeps_the_references(self, name, cuda, other):
        """cuda.h: resetting does not release; who has retained releases as usual afterwards."""
        context = retain(cuda)
        other(cuda.cuCtxSetCurrent, context)
        assert getattr(cuda, name)(0) == SUCCESS
        assert (active(cuda), other(current, cuda), other(cuda.cuCtxSynchronize)) == (0, context, CONTEXT_IS_DESTROYED)
        assert (retain(cuda), active(cuda)) == (context, 1)
        assert [cuda.cuDevicePrimaryCtxRelease_v2(0) for _ in range(3)] == [SUCCESS, SUCCESS, INVALID_CONTEXT]

    def test_it_is_not_destroyed_by_its_handle(self, cuda):
        """cuCtxDestroy is for what cuCtxCreate has made."""
        context = retain(cuda)
        assert (cuda.cuCtxDestroy_v2(context), active(cuda)) == (INVALID_CONTEXT, 1)

    @pytest.mark.vgpu(host={"gpu": [{}, {}]})
    def test_each_device_has_its_own(self, cuda):
        """Retaining one leaves the other inactive."""
        first, second = retain(cuda, 0), retain(cuda, 1)
        assert first != second
        cuda.cuDevicePrimaryCtxRelease_v2(0)
        assert [active(cuda, 0), active(cuda, 1)] == [0, 1]
        assert [cuda.cuDevicePrimaryCtxRelease_v2(2), cuda.cuDevicePrimaryCtxReset_v2(-1)] == [INVALID_DEVICE] * 2

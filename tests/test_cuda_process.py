"""User objects and their callbacks, core dump settings, logs: what belongs to the process as a whole."""

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE, NOT_INITIALIZED, INVALID_CONTEXT, NOT_PERMITTED = 0, 1, 3, 201, 800
NO_SYNC = 1
ON_EXCEPTION, HOST, LIGHTWEIGHT, TRIGGER, FILE, PIPE, FLAGS = range(1, 8)


@pytest.fixture
def cuda(vgpu_cuda):
    """The driver after cuInit(0)."""
    assert vgpu_cuda.cuInit(0) == SUCCESS
    return vgpu_cuda


def create(cuda, destroy, references: int = 1, data=ffi.NULL):
    """A user object."""
    out = ffi.new("CUuserObject *")
    assert cuda.cuUserObjectCreate(out, data, destroy, references, NO_SYNC) == SUCCESS
    return out[0]


def test_a_destructor_may_call_the_driver(cuda):
    """It runs when the lock is free: what it calls answers."""
    seen = []
    destroy = ffi.callback("void(void *)", lambda _: seen.append(cuda.device_count()))
    assert cuda.cuUserObjectRelease(create(cuda, destroy), 1) == SUCCESS
    assert seen == [(SUCCESS, 1)]


def test_a_destructor_may_release_another_object(cuda):
    """Each runs once, the inner one during the outer one."""
    seen = []
    inner = ffi.callback("void(void *)", lambda _: seen.append("inner"))
    other = create(cuda, inner)
    outer = ffi.callback("void(void *)", lambda _: seen.append(("outer", cuda.cuUserObjectRelease(other, 1))))
    assert cuda.cuUserObjectRelease(create(cuda, outer), 1) == SUCCESS
    assert seen == ["inner", ("outer", SUCCESS)]


@pytest.mark.parametrize("count", [0, 3, 2**31, 2**32 - 1])
def test_no_more_references_than_there_are(count, cuda):
    """None, more than there are, and more than INT_MAX are invalid, and nothing is destroyed."""
    seen = []
    destroy = ffi.callback("void(void *)", seen.append)
    made = create(cuda, destroy, 2)
    assert (cuda.cuUserObjectRelease(made, count), seen) == (INVALID_VALUE, [])
    assert [cuda.cuUserObjectRelease(made, 2), len(seen)] == [SUCCESS, 1]
    assert [cuda.cuUserObjectRelease(made, 1), cuda.cuUserObjectRetain(made, 1), len(seen)] == [*[INVALID_VALUE] * 2, 1]


def test_an_object_needs_an_initialised_driver(vgpu_cuda):
    """With good arguments the answer before cuInit is 3."""
    destroy = ffi.callback("void(void *)", lambda _: None)
    out = ffi.new("CUuserObject *")
    assert vgpu_cuda.cuUserObjectCreate(out, ffi.NULL, destroy, 1, NO_SYNC) == NOT_INITIALIZED


def put(cuda, name: str, attribute: int, value: bytes) -> int:
    """cuCoredumpSetAttribute or its global form."""
    return getattr(cuda, name)(attribute, ffi.from_buffer(value), ffi.new("size_t *", len(value)))


def take(cuda, name: str, attribute: int, size: int = 1024) -> tuple[int, bytes]:
    """cuCoredumpGetAttribute or its global form: (code, up to the first NUL)."""
    out = ffi.new("char[]", b"#" * 1024)
    return getattr(cuda, name)(attribute, out, ffi.new("size_t *", size)), ffi.string(out)


@pytest.mark.parametrize(
    ("attribute", "size"), [(ON_EXCEPTION, 1), (TRIGGER, 1), (FILE, 1024), (PIPE, 1024), (FLAGS, 4)]
)
def test_sizes_of_core_dump_settings(attribute, size, vgpu_cuda):
    """NULL asks for the size, before cuInit, too."""
    out = ffi.new("size_t *", 77)
    assert (vgpu_cuda.cuCoredumpGetAttributeGlobal(attribute, ffi.NULL, out), out[0]) == (SUCCESS, size)


def test_core_dump_settings_are_kept_where_they_were_made(cuda):
    """A context's are its own, and gone with it; a new one has the program's."""
    context = ffi.new("CUcontext *")
    cuda.cuCtxCreate_v2(context, 0, 0)
    assert put(cuda, "cuCoredumpSetAttribute", FILE, b"mine\0") == SUCCESS
    assert put(cuda, "cuCoredumpSetAttributeGlobal", FILE, b"ours") == SUCCESS
    assert take(cuda, "cuCoredumpGetAttribute", FILE) == (SUCCESS, b"mine")
    assert take(cuda, "cuCoredumpGetAttributeGlobal", FILE) == (SUCCESS, b"ours")
    cuda.cuCtxDestroy_v2(context[0])
    assert take(cuda, "cuCoredumpGetAttribute", FILE)[0] == INVALID_CONTEXT
    cuda.cuCtxCreate_v2(context, 0, 0)
    assert take(cuda, "cuCoredumpGetAttribute", FILE) == (SUCCESS, b"ours")


def test_what_cannot_be_set_of_core_dumps(cuda):
    """Wrong sizes, a text too long, the pipe once it is used, and for a context what is the program's alone."""
    cuda.cuCtxCreate_v2(ffi.new("CUcontext *"), 0, 0)
    everywhere = "cuCoredumpSetAttributeGlobal"
    bad = [(ON_EXCEPTION, b"12"), (FLAGS, b"\1"), (FILE, b"x" * 1024), (FILE, b"x" * 2000), (FILE, b"")]
    assert [put(cuda, everywhere, attribute, value) for attribute, value in bad] == [INVALID_VALUE] * len(bad)
    assert [put(cuda, "cuCoredumpSetAttribute", attribute, b"\1") for attribute in (TRIGGER, PIPE)] == [
        INVALID_VALUE
    ] * 2
    assert take(cuda, "cuCoredumpGetAttribute", FILE, 4) == (INVALID_VALUE, b"#" * 1024)
    assert put(cuda, everywhere, PIPE, b"pipe") == SUCCESS
    assert put(cuda, everywhere, TRIGGER, b"\1") == SUCCESS
    assert put(cuda, everywhere, PIPE, b"other") == NOT_PERMITTED
    assert take(cuda, "cuCoredumpGetAttributeGlobal", PIPE) == (SUCCESS, b"pipe")


def test_a_log_goes_into_a_file(cuda, tmp_path):
    """The log is empty; a directory is no place for it."""
    assert cuda.cuLogsDumpToFile(ffi.NULL, bytes(tmp_path / "log"), 0) == SUCCESS
    assert (tmp_path / "log").read_bytes() == b""
    assert cuda.cuLogsDumpToFile(ffi.NULL, bytes(tmp_path), 0) == INVALID_VALUE


def test_a_listener_is_taken_back_on_its_device_alone(cuda):
    """A handle of another kind is no registration."""
    called = ffi.callback("void(struct CUasyncNotificationInfo_st *, void *, CUasyncCallbackHandle)", lambda *_: None)
    logged = ffi.callback("void(void *, int, char *, size_t)", lambda *_: None)
    device, log = ffi.new("CUasyncCallbackHandle *"), ffi.new("CUlogsCallbackHandle *")
    assert cuda.cuDeviceRegisterAsyncNotification(0, called, ffi.NULL, device) == SUCCESS
    assert cuda.cuLogsRegisterCallback(logged, ffi.NULL, log) == SUCCESS
    assert cuda.cuLogsRegisterCallback(logged, ffi.NULL, ffi.NULL) == SUCCESS
    assert cuda.cuLogsUnregisterCallback(ffi.cast("CUlogsCallbackHandle", device[0])) == INVALID_VALUE
    assert [cuda.cuLogsUnregisterCallback(log[0]), cuda.cuLogsUnregisterCallback(log[0])] == [SUCCESS, INVALID_VALUE]

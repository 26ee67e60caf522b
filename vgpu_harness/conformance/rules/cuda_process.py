"""The process as a whole: user objects, core dumps, logs, the profiler, the debugger."""

import os
import tempfile
from pathlib import Path
from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, NOT_INITIALIZED, INVALID_CONTEXT, NOT_PERMITTED, NOT_SUPPORTED = 1, 3, 201, 800, 801
NO_DESTRUCTOR_SYNC = 1
ON_EXCEPTION, TRIGGER_HOST, LIGHTWEIGHT, USER_TRIGGER, FILE, PIPE, GENERATION_FLAGS = range(1, 8)
_DOC = "cuda.h 13.5"


def _count_calls(cuda: Cuda) -> tuple[Any, list[int]]:
    """A function of the program's, and the numbers that it has been called with."""
    seen: list[int] = []

    def note(data: Any) -> None:
        seen.append(int(cuda.ffi.cast("uintptr_t", data)))

    return cuda.ffi.callback("void(void *)", note), seen


@rule("cuUserObjectCreate", "cuUserObjectRetain", "cuUserObjectRelease", source=f"{_DOC}, cuUserObjectCreate", gpu=True)
def user_objects_are_counted(cuda: Cuda) -> None:
    """The destructor runs once, with its pointer, when the last reference is released."""
    cuda.init()
    destroy, seen = _count_calls(cuda)
    box = cuda.out("CUuserObject")
    cuda.ok("cuUserObjectCreate", box, 4711, destroy, 2, NO_DESTRUCTOR_SYNC)
    made = cuda.value(box)
    cuda.ok("cuUserObjectRelease", made, 1)
    cuda.ok("cuUserObjectRetain", made, 2)
    cuda.ok("cuUserObjectRelease", made, 2)
    cuda.equal(seen, [], "the calls before the last release")
    cuda.ok("cuUserObjectRelease", made, 1)
    for _ in range(100):
        if not seen:
            cuda.in_thread(lambda: None)
    cuda.equal(seen, [4711], "the calls after the last release")


@rule("cuUserObjectCreate", "cuUserObjectRetain", "cuUserObjectRelease",
      source=f"{_DOC}, cuUserObjectCreate; measured on 535.261.03", gpu=False)  # fmt: skip
def bad_user_objects(cuda: Cuda) -> None:
    """No destructor, no references, another flag, or no object is CUDA_ERROR_INVALID_VALUE at any time."""
    destroy, seen = _count_calls(cuda)
    box = cuda.out("CUuserObject")
    cuda.expect(INVALID_VALUE, "cuUserObjectCreate", None, None, destroy, 1, NO_DESTRUCTOR_SYNC)
    cuda.expect(INVALID_VALUE, "cuUserObjectCreate", box, None, None, 1, NO_DESTRUCTOR_SYNC)
    cuda.expect(INVALID_VALUE, "cuUserObjectCreate", box, None, destroy, 0, NO_DESTRUCTOR_SYNC)
    cuda.expect(INVALID_VALUE, "cuUserObjectCreate", box, None, destroy, 1, 0)
    cuda.expect(INVALID_VALUE, "cuUserObjectRetain", None, 1)
    cuda.expect(INVALID_VALUE, "cuUserObjectRelease", None, 1)
    cuda.untouched(box)
    cuda.equal(seen, [], "the calls of the destructor")


def _size(cuda: Cuda, name: str, attribute: int) -> int:
    size = cuda.out("size_t")
    cuda.ok(name, attribute, None, size)
    return int(cuda.value(size))


def _flag(cuda: Cuda, name: str, attribute: int) -> int:
    value, size = cuda.out("unsigned char", 8), cuda.struct("size_t")
    size[0] = 1
    cuda.ok(name, attribute, value, size)
    return int(cuda.value(value))


def _set(cuda: Cuda, name: str, attribute: int, value: bytes) -> None:
    size = cuda.struct("size_t")
    size[0] = len(value)
    cuda.ok(name, attribute, cuda.ffi.from_buffer(value), size)


def _text(cuda: Cuda, name: str, attribute: int) -> str:
    value, size = cuda.out("char", 1024), cuda.struct("size_t")
    size[0] = 1024
    cuda.ok(name, attribute, value, size)
    return cuda.text(value)


@rule("cuCoredumpGetAttributeGlobal", "cuCoredumpSetAttributeGlobal",
      source=f"{_DOC}, cuCoredumpGetAttributeGlobal", gpu=True)  # fmt: skip
def core_dumps_of_the_program(cuda: Cuda) -> None:
    """Each attribute has its size and default, and what is set is answered."""
    cuda.init()
    get, set_ = "cuCoredumpGetAttributeGlobal", "cuCoredumpSetAttributeGlobal"
    cuda.equal(_size(cuda, get, ON_EXCEPTION), 1, "the size of a flag")
    cuda.equal(_flag(cuda, get, ON_EXCEPTION), 0, "dumps on exceptions at first")
    cuda.equal(_flag(cuda, get, TRIGGER_HOST), 1, "dumps of the host at first")
    cuda.check(str(os.getpid()) in _text(cuda, get, FILE), "the file's name has the process's number")
    _set(cuda, set_, ON_EXCEPTION, b"\1")
    _set(cuda, set_, FILE, b"dump.here\0")
    cuda.equal(_flag(cuda, get, ON_EXCEPTION), 1, "dumps on exceptions then")
    cuda.equal(_text(cuda, get, FILE), "dump.here", "the file then")


@rule("cuCoredumpGetAttribute", "cuCoredumpSetAttribute", source=f"{_DOC}, cuCoredumpSetAttribute", gpu=True)
def core_dumps_of_a_context(cuda: Cuda) -> None:
    """A context has what is set for it, else what is set for the program; without one it is an error."""
    cuda.init()
    size = cuda.struct("size_t")
    size[0] = 1
    value = cuda.out("unsigned char", 8)
    cuda.expect(INVALID_CONTEXT, "cuCoredumpGetAttribute", LIGHTWEIGHT, value, size)
    cuda.expect(INVALID_CONTEXT, "cuCoredumpSetAttribute", LIGHTWEIGHT, b"\1", size)
    cuda.untouched(value)
    cuda.context()
    cuda.equal(_size(cuda, "cuCoredumpGetAttribute", ON_EXCEPTION), 1, "the size of a flag")
    _set(cuda, "cuCoredumpSetAttributeGlobal", ON_EXCEPTION, b"\1")
    cuda.equal(_flag(cuda, "cuCoredumpGetAttribute", ON_EXCEPTION), 1, "what the program has set")
    _set(cuda, "cuCoredumpSetAttribute", ON_EXCEPTION, b"\0")
    cuda.equal(_flag(cuda, "cuCoredumpGetAttribute", ON_EXCEPTION), 0, "what is set for the context")
    cuda.equal(_flag(cuda, "cuCoredumpGetAttributeGlobal", ON_EXCEPTION), 1, "what the program has set still")


@rule("cuCoredumpGetAttribute", "cuCoredumpSetAttribute",
      "cuCoredumpGetAttributeGlobal", "cuCoredumpSetAttributeGlobal",
      source="measured on 535.261.03", gpu=False)  # fmt: skip
def no_such_attribute_of_core_dumps(cuda: Cuda) -> None:
    """What is no attribute is CUDA_ERROR_INVALID_VALUE, before cuInit, too."""
    value, size = cuda.out("unsigned char", 8), cuda.struct("size_t")
    for name in ("cuCoredumpGetAttribute", "cuCoredumpSetAttribute", "cuCoredumpGetAttributeGlobal",
                 "cuCoredumpSetAttributeGlobal"):  # fmt: skip
        for attribute in (0, 4711):
            cuda.expect(INVALID_VALUE, name, attribute, value, size)
    cuda.untouched(value)


@rule("cuCoredumpRegisterStartCallback", "cuCoredumpDeregisterStartCallback", "cuCoredumpRegisterCompleteCallback",
      "cuCoredumpDeregisterCompleteCallback", source=f"{_DOC}, cuCoredumpRegisterStartCallback", gpu=True)  # fmt: skip
def listeners_to_core_dumps(cuda: Cuda) -> None:
    """Each registration has a handle of its own, which its own kind takes back once."""
    cuda.init()
    called = cuda.ffi.callback("void(void *, int, int)", lambda *_: None)
    handles = {}
    for kind in ("Start", "Complete"):
        box = cuda.out("CUcoredumpCallbackHandle")
        cuda.ok(f"cuCoredumpRegister{kind}Callback", called, None, box)
        handles[kind] = cuda.value(box)
        cuda.expect(
            INVALID_VALUE, f"cuCoredumpRegister{kind}Callback", None, None, cuda.out("CUcoredumpCallbackHandle")
        )
    cuda.expect(INVALID_VALUE, "cuCoredumpDeregisterStartCallback", handles["Complete"])
    cuda.expect(INVALID_VALUE, "cuCoredumpDeregisterCompleteCallback", handles["Start"])
    for kind, handle in handles.items():
        cuda.ok(f"cuCoredumpDeregister{kind}Callback", handle)
        cuda.expect(INVALID_VALUE, f"cuCoredumpDeregister{kind}Callback", handle)


@rule("cuLogsRegisterCallback", "cuLogsUnregisterCallback", source=f"{_DOC}, cuLogsRegisterCallback", gpu=True)
def listeners_to_logs(cuda: Cuda) -> None:
    """A registration has a handle, which can be given back once."""
    cuda.init()
    called = cuda.ffi.callback("void(void *, int, char *, size_t)", lambda *_: None)
    box = cuda.out("CUlogsCallbackHandle")
    cuda.ok("cuLogsRegisterCallback", called, None, box)
    handle = cuda.value(box)
    cuda.expect(INVALID_VALUE, "cuLogsRegisterCallback", None, None, cuda.out("CUlogsCallbackHandle"))
    cuda.ok("cuLogsUnregisterCallback", handle)
    cuda.expect(INVALID_VALUE, "cuLogsUnregisterCallback", handle)


@rule("cuLogsCurrent", "cuLogsDumpToMemory", source=f"{_DOC}, cuLogsCurrent, cuLogsDumpToMemory", gpu=True)
def logs_from_their_end_on_are_empty(cuda: Cuda) -> None:
    """From the position that cuLogsCurrent answers there is nothing to dump; flags must be 0."""
    cuda.init()
    position = cuda.out("CUlogIterator")
    cuda.ok("cuLogsCurrent", position, 0)
    if cuda.host is not None:
        cuda.equal(cuda.value(position), 0, "the end of an empty log")
    buffer, size = cuda.out("char", 256), cuda.struct("size_t")
    size[0] = 256
    cuda.ok("cuLogsDumpToMemory", position, buffer, size, 0)
    cuda.equal(size[0], 0, "the bytes of the dump")
    cuda.equal(cuda.text(buffer), "", "the dump")
    cuda.expect(INVALID_VALUE, "cuLogsCurrent", position, 1)
    cuda.expect(INVALID_VALUE, "cuLogsCurrent", None, 0)
    cuda.expect(INVALID_VALUE, "cuLogsDumpToMemory", None, None, size, 0)


@rule("cuLogsDumpToFile", source=f"{_DOC}, cuLogsDumpToFile", gpu=True)
def logs_go_into_a_file(cuda: Cuda) -> None:
    """The dump makes the file; without a name, with a flag, or where no file can be it is CUDA_ERROR_INVALID_VALUE."""
    cuda.init()
    with tempfile.TemporaryDirectory() as directory:
        name = Path(directory) / "log"
        cuda.ok("cuLogsDumpToFile", None, str(name), 0)
        cuda.check(name.is_file(), "the file is there")
    cuda.expect(INVALID_VALUE, "cuLogsDumpToFile", None, None, 0)
    cuda.expect(INVALID_VALUE, "cuLogsDumpToFile", None, "log", 1)


@rule("cuCheckpointProcessGetState", source=f"{_DOC}, cuCheckpointProcessGetState", gpu=True)
def a_process_runs(cuda: Cuda) -> None:
    """This process is running (0); of a number that is no process the state is CUDA_ERROR_INVALID_VALUE."""
    cuda.init()
    state = cuda.out("CUprocessState")
    cuda.ok("cuCheckpointProcessGetState", os.getpid(), state)
    cuda.equal(cuda.value(state), 0, "the state")
    other = cuda.out("CUprocessState")
    cuda.expect(INVALID_VALUE, "cuCheckpointProcessGetState", -1, other)
    cuda.expect(INVALID_VALUE, "cuCheckpointProcessGetState", os.getpid(), None)
    cuda.untouched(other)


@rule("cuProfilerInitialize", source="measured on 535.261.03", gpu=False)
def there_is_no_old_profiler(cuda: Cuda) -> None:
    """cuProfilerInitialize is CUDA_ERROR_NOT_SUPPORTED at any time."""
    cuda.expect(NOT_SUPPORTED, "cuProfilerInitialize", "config", "output", 0)
    cuda.expect(NOT_SUPPORTED, "cuProfilerInitialize", None, None, 0)


@rule("cuProfilerInitialize", "cuProfilerStart", "cuProfilerStop", source=f"{_DOC}, cuProfilerStart", gpu=True)
def profiling_needs_a_context(cuda: Cuda) -> None:
    """cuProfilerStart and cuProfilerStop need a current context; cuProfilerInitialize stays unsupported."""
    cuda.init()
    cuda.expect(NOT_SUPPORTED, "cuProfilerInitialize", None, None, 0)
    for name in ("cuProfilerStart", "cuProfilerStop"):
        cuda.expect(INVALID_CONTEXT, name)
    cuda.context()
    for name in ("cuProfilerStart", "cuProfilerStop"):
        cuda.ok(name)


@rule("cudbgGetAPIVersion", "cudbgGetAPI", source="measured on 535.261.03", gpu=False)
def there_is_no_debugger(cuda: Cuda) -> None:
    """The debugger's interface has the CUDA version, and is not there: CUDBG_ERROR_INTERNAL_ERROR (10)."""
    numbers = [cuda.out("unsigned int") for _ in range(3)]
    cuda.ok("cudbgGetAPIVersion", *numbers)
    cuda.check(5 <= cuda.value(numbers[0]) < 100, "the major number is that of a CUDA version")
    cuda.check(cuda.value(numbers[1]) < 10, "the minor number is that of a CUDA version")
    cuda.value(numbers[2])
    cuda.expect(4, "cudbgGetAPIVersion", None, None, None)
    api = cuda.out("const void *")
    cuda.expect(4, "cudbgGetAPI", 1, 2, 3, None)
    cuda.expect(10, "cudbgGetAPI", 4711, 4711, 4711, api)


@rule("cudbgGetAPIVersion", source="measured on 535.261.03, where it answers the driver's CUDA", gpu=True)
def the_debugger_is_as_old_as_the_driver(cuda: Cuda) -> None:
    """The version of the debugger's interface is that of the driver's CUDA."""
    cuda.init()
    version, numbers = cuda.out("int"), [cuda.out("unsigned int") for _ in range(3)]
    cuda.ok("cuDriverGetVersion", version)
    cuda.ok("cudbgGetAPIVersion", *numbers)
    major, minor, _ = (cuda.value(number) for number in numbers)
    cuda.equal((major, minor), (cuda.value(version) // 1000, cuda.value(version) % 1000 // 10), "its version")

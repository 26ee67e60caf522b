"""Contexts: the stack of each thread, what ends them, what they are known by, the primary context."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, NOT_INITIALIZED, INVALID_DEVICE, INVALID_CONTEXT = 1, 3, 101, 201
PRIMARY_ACTIVE, IS_DESTROYED = 708, 709
SPIN, YIELD, BLOCKING = 1, 2, 4
CREATES: dict[str, tuple[Any, ...]] = {
    "cuCtxCreate": (),
    "cuCtxCreate_v2": (),
    "cuCtxCreate_v3": (None, 0),
    "cuCtxCreate_v4": (None,),
}
_DOC = "cuda.h 13.5"


def _create(cuda: Cuda, name: str = "cuCtxCreate_v2", flags: int = 0, device: int = 0) -> Any:
    context = cuda.out("CUcontext")
    cuda.ok(name, context, *CREATES[name], flags, device)
    return cuda.value(context)


def _current(cuda: Cuda) -> Any:
    context = cuda.out("CUcontext")
    cuda.ok("cuCtxGetCurrent", context)
    return cuda.value(context)


def _number(cuda: Cuda, name: str, kind: str, *rest: Any, before: tuple[Any, ...] = ()) -> int:
    box = cuda.out(kind)
    cuda.ok(name, *before, box, *rest)
    return int(cuda.value(box))


def _active(cuda: Cuda, device: int = 0) -> tuple[int, int]:
    flags, active = cuda.out("unsigned int"), cuda.out("int")
    cuda.ok("cuDevicePrimaryCtxGetState", device, flags, active)
    return int(cuda.value(flags)), int(cuda.value(active))


@rule(*CREATES, "cuCtxGetCurrent", source=f"{_DOC}, cuCtxCreate", gpu=True)
def creating_makes_current(cuda: Cuda) -> None:
    """Each form of cuCtxCreate makes a new context, and it is current; a bad flag or device makes none."""
    cuda.init()
    cuda.equal(_current(cuda), cuda.null, "the current context before any")
    made = []
    for name, more in CREATES.items():
        if cuda.has(name):
            made.append(_create(cuda, name))
            cuda.equal(_current(cuda), made[-1], f"the current context after {name}")
            context = cuda.out("CUcontext")
            cuda.expect(INVALID_VALUE, name, context, *more, 0x1000, 0)
            cuda.expect(INVALID_DEVICE, name, context, *more, 0, 4711)
            cuda.expect(INVALID_VALUE, name, None, *more, 0, 0)
            cuda.untouched(context)
    cuda.equal(len(set(made)), len(made), "the number of different contexts")


@rule("cuCtxDestroy", "cuCtxDestroy_v2", source=f"{_DOC}, cuCtxDestroy; NULL measured on 535.261.03", gpu=True)
def destroying_takes_off_the_stack(cuda: Cuda) -> None:
    """cuCtxDestroy of the current context makes the one below current; NULL is CUDA_ERROR_INVALID_VALUE."""
    cuda.init()
    for name in ("cuCtxDestroy", "cuCtxDestroy_v2"):
        below, top = _create(cuda), _create(cuda)
        cuda.ok(name, top)
        cuda.equal(_current(cuda), below, f"the current context after {name}")
        cuda.expect(INVALID_VALUE, name, None)
        cuda.ok(name, below)
        cuda.equal(_current(cuda), cuda.null, f"the current context after the last {name}")


@rule("cuCtxDestroy_v2", source="own choice: cuda.h leaves the use of a destroyed context undefined", gpu=True)
def destroyed_elsewhere(cuda: Cuda) -> None:
    """A context that another thread destroys stays on this thread's stack, and its use is an error."""
    cuda.init()
    context = _create(cuda)
    cuda.in_thread(lambda: cuda.ok("cuCtxDestroy_v2", context))
    device = cuda.out("CUdevice")
    cuda.expect((INVALID_CONTEXT, IS_DESTROYED), "cuCtxGetDevice", device)
    cuda.untouched(device)


@rule("cuCtxDestroy", "cuCtxDestroy_v2", source="measured on 535.261.03", gpu=False)
def destroying_nothing(cuda: Cuda) -> None:
    """cuCtxDestroy(NULL) is CUDA_ERROR_INVALID_VALUE at any time."""
    cuda.expect(INVALID_VALUE, "cuCtxDestroy", None)
    cuda.expect(INVALID_VALUE, "cuCtxDestroy_v2", None)


@rule(
    "cuCtxPushCurrent", "cuCtxPushCurrent_v2", "cuCtxPopCurrent", "cuCtxPopCurrent_v2",
    source=f"{_DOC}, cuCtxPushCurrent, cuCtxPopCurrent", gpu=True,
)  # fmt: skip
def pushing_and_popping(cuda: Cuda) -> None:
    """What is pushed is current, what is popped is answered; an empty stack is CUDA_ERROR_INVALID_CONTEXT."""
    cuda.init()
    for suffix in ("", "_v2"):
        below = _create(cuda)
        top = _create(cuda)
        cuda.ok(f"cuCtxPopCurrent{suffix}", None)
        cuda.equal(_current(cuda), below, "the current context after a pop")
        cuda.ok(f"cuCtxPushCurrent{suffix}", top)
        cuda.equal(_current(cuda), top, "the current context after a push")
        popped = cuda.out("CUcontext")
        cuda.ok(f"cuCtxPopCurrent{suffix}", popped)
        cuda.equal(cuda.value(popped), top, "what was popped")
        cuda.ok(f"cuCtxPopCurrent{suffix}", popped)
        cuda.equal(cuda.value(popped), below, "what was popped then")
        cuda.expect(INVALID_CONTEXT, f"cuCtxPopCurrent{suffix}", popped)
        cuda.expect((INVALID_VALUE, INVALID_CONTEXT), f"cuCtxPushCurrent{suffix}", None)


@rule("cuCtxSetCurrent", "cuCtxGetCurrent", source=f"{_DOC}, cuCtxSetCurrent, cuCtxGetCurrent", gpu=True)
def setting_replaces_the_top(cuda: Cuda) -> None:
    """cuCtxSetCurrent replaces the top of the stack, NULL takes it off, and each thread has a stack of its own."""
    cuda.init()
    below, top = _create(cuda), _create(cuda)
    cuda.ok("cuCtxSetCurrent", below)
    cuda.equal(_current(cuda), below, "the current context after cuCtxSetCurrent")
    cuda.equal(cuda.in_thread(lambda: _current(cuda)), cuda.null, "the current context of another thread")
    cuda.ok("cuCtxSetCurrent", None)
    cuda.equal(_current(cuda), below, "the current context below")
    cuda.ok("cuCtxSetCurrent", None)
    cuda.ok("cuCtxSetCurrent", None)
    cuda.equal(_current(cuda), cuda.null, "the current context of an empty stack")
    cuda.ok("cuCtxSetCurrent", top)
    cuda.equal(_current(cuda), top, "the current context at the end")
    cuda.expect(INVALID_VALUE, "cuCtxGetCurrent", None)


@rule("cuCtxGetDevice", "cuCtxGetDevice_v2", "cuCtxSynchronize", "cuCtxSynchronize_v2",
      source=f"{_DOC}, cuCtxGetDevice, cuCtxSynchronize", gpu=True)  # fmt: skip
def questions_need_a_context(cuda: Cuda) -> None:
    """Without a current context the device and a wait are CUDA_ERROR_INVALID_CONTEXT; with one it is the context's."""
    cuda.init()
    device = cuda.out("CUdevice")
    cuda.expect(INVALID_CONTEXT, "cuCtxGetDevice", device)
    cuda.expect(INVALID_CONTEXT, "cuCtxSynchronize")
    if cuda.has("cuCtxGetDevice_v2"):
        cuda.expect(INVALID_CONTEXT, "cuCtxGetDevice_v2", device, None)
        cuda.expect(INVALID_CONTEXT, "cuCtxSynchronize_v2", None)
    cuda.untouched(device)
    context = _create(cuda)
    cuda.equal(_number(cuda, "cuCtxGetDevice", "CUdevice"), 0, "the current context's device")
    cuda.ok("cuCtxSynchronize")
    if cuda.has("cuCtxGetDevice_v2"):
        cuda.ok("cuCtxPopCurrent_v2", None)
        cuda.equal(_number(cuda, "cuCtxGetDevice_v2", "CUdevice", context), 0, "a context's device")
        cuda.ok("cuCtxSynchronize_v2", context)


@rule(
    "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxGetState",
    source=f"{_DOC}, cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRelease", gpu=True,
)  # fmt: skip
def the_primary_context_is_counted(cuda: Cuda) -> None:
    """It is active from the first retain to the last release, always the same, never pushed and never popped."""
    cuda.init()
    cuda.equal(_active(cuda)[1], 0, "active before any retain")
    contexts = []
    for _ in range(2):
        context = cuda.out("CUcontext")
        cuda.ok("cuDevicePrimaryCtxRetain", context, 0)
        contexts.append(cuda.value(context))
    cuda.equal(contexts[0], contexts[1], "the second primary context")
    cuda.equal(_current(cuda), cuda.null, "the current context after a retain")
    cuda.ok("cuCtxSetCurrent", contexts[0])
    cuda.ok("cuDevicePrimaryCtxRelease", 0)
    cuda.equal(_active(cuda)[1], 1, "active after one of two releases")
    cuda.ok("cuDevicePrimaryCtxRelease_v2", 0)
    cuda.equal(_active(cuda)[1], 0, "active after both releases")
    cuda.equal(_current(cuda), contexts[0], "the current context after the last release")
    for name in ("cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2"):
        cuda.expect(INVALID_CONTEXT, name, 0)
        cuda.expect(INVALID_DEVICE, name, 4711)
    cuda.expect(INVALID_DEVICE, "cuDevicePrimaryCtxRetain", cuda.out("CUcontext"), 4711)
    cuda.expect(INVALID_VALUE, "cuDevicePrimaryCtxGetState", 0, None, None)


@rule("cuDevicePrimaryCtxReset", "cuDevicePrimaryCtxReset_v2", source=f"{_DOC}, cuDevicePrimaryCtxReset", gpu=True)
def resetting_does_not_release(cuda: Cuda) -> None:
    """cuDevicePrimaryCtxReset makes the context inactive with its flags gone; the retain is still to be released."""
    context = cuda.context()
    for name in ("cuDevicePrimaryCtxReset", "cuDevicePrimaryCtxReset_v2"):
        cuda.ok("cuDevicePrimaryCtxSetFlags_v2", 0, YIELD)
        cuda.ok(name, 0)
        cuda.equal(_active(cuda), (0, 0), f"flags and state after {name}")
        cuda.expect(INVALID_DEVICE, name, 4711)
        again = cuda.out("CUcontext")
        cuda.ok("cuDevicePrimaryCtxRetain", again, 0)
        cuda.equal(cuda.value(again), context, "the primary context after a reset")
    for _ in range(3):
        cuda.ok("cuDevicePrimaryCtxRelease_v2", 0)
    cuda.expect(INVALID_CONTEXT, "cuDevicePrimaryCtxRelease_v2", 0)


@rule(
    "cuDevicePrimaryCtxSetFlags", "cuDevicePrimaryCtxSetFlags_v2", "cuDevicePrimaryCtxGetState", "cuCtxGetFlags",
    source=f"{_DOC}, cuDevicePrimaryCtxSetFlags; cuda.h 10.2 for the first form", gpu=True,
)  # fmt: skip
def flags_of_the_primary_context(cuda: Cuda) -> None:
    """Flags are for the context that is or the next one; the old form refuses while the context is active."""
    cuda.init()
    cuda.ok("cuDevicePrimaryCtxSetFlags", 0, SPIN)
    cuda.equal(_active(cuda), (SPIN, 0), "flags and state before a retain")
    cuda.ok("cuDevicePrimaryCtxSetFlags_v2", 0, BLOCKING)
    cuda.equal(_active(cuda), (BLOCKING, 0), "flags and state after the second form")
    for name in ("cuDevicePrimaryCtxSetFlags", "cuDevicePrimaryCtxSetFlags_v2"):
        cuda.expect(INVALID_VALUE, name, 0, SPIN | YIELD)
        cuda.expect(INVALID_DEVICE, name, 4711, 0)
    cuda.context()
    cuda.equal(_number(cuda, "cuCtxGetFlags", "unsigned int"), BLOCKING, "the current context's flags")
    cuda.expect(PRIMARY_ACTIVE, "cuDevicePrimaryCtxSetFlags", 0, YIELD)
    cuda.ok("cuDevicePrimaryCtxSetFlags_v2", 0, YIELD)
    cuda.equal(_number(cuda, "cuCtxGetFlags", "unsigned int"), YIELD, "the current context's flags then")


@rule("cuCtxGetFlags", "cuCtxGetId", "cuDevicePrimaryCtxGetState", source="measured on 535.261.03", gpu=False)
def outputs_are_looked_at_before_init(cuda: Cuda) -> None:
    """Before cuInit NULL for the output is CUDA_ERROR_INVALID_VALUE, memory CUDA_ERROR_NOT_INITIALIZED."""
    number, long = cuda.out("unsigned int"), cuda.out("unsigned long long")
    active = cuda.out("int")
    cuda.expect(INVALID_VALUE, "cuCtxGetFlags", None)
    cuda.expect(NOT_INITIALIZED, "cuCtxGetFlags", number)
    cuda.expect(INVALID_VALUE, "cuCtxGetId", None, None)
    cuda.expect(NOT_INITIALIZED, "cuCtxGetId", None, long)
    cuda.expect(INVALID_VALUE, "cuDevicePrimaryCtxGetState", 0, None, None)
    cuda.expect(NOT_INITIALIZED, "cuDevicePrimaryCtxGetState", 0, number, active)
    for box in (number, long, active):
        cuda.untouched(box)


@rule("cuCtxGetId", source=f"{_DOC}, cuCtxGetId", gpu=True)
def ids_are_unique(cuda: Cuda) -> None:
    """No two contexts have the same id, and NULL stands for the current one."""
    cuda.init()
    box = cuda.out("unsigned long long")
    cuda.expect(INVALID_CONTEXT, "cuCtxGetId", None, box)
    cuda.untouched(box)
    contexts = [_create(cuda) for _ in range(3)]
    ids = [_number(cuda, "cuCtxGetId", "unsigned long long", before=(context,)) for context in contexts]
    cuda.equal(len(set(ids)), 3, "the number of different ids")
    cuda.equal(_number(cuda, "cuCtxGetId", "unsigned long long", before=(None,)), ids[-1], "the current context's id")
    cuda.ok("cuCtxDestroy_v2", contexts[-1])
    again = _number(cuda, "cuCtxGetId", "unsigned long long", before=(_create(cuda),))
    cuda.check(again not in ids, "the id of a destroyed context is not given again")


@rule("cuCtxGetApiVersion", source=f"{_DOC}, cuCtxGetApiVersion; 3020 of a primary context on 590.48.01", gpu=True)
def api_versions(cuda: Cuda) -> None:
    """A context of cuCtxCreate_v2 and a primary one have version 3020, NULL stands for the current context."""
    cuda.init()
    version = cuda.out("unsigned int")
    cuda.expect(INVALID_CONTEXT, "cuCtxGetApiVersion", None, version)
    cuda.untouched(version)
    first = _create(cuda)
    cuda.equal(_number(cuda, "cuCtxGetApiVersion", "unsigned int", before=(first,)), 3020, "the version")
    cuda.equal(_number(cuda, "cuCtxGetApiVersion", "unsigned int", before=(None,)), 3020, "the current one's")
    primary = cuda.context()
    cuda.equal(_number(cuda, "cuCtxGetApiVersion", "unsigned int", before=(primary,)), 3020, "a primary context's")
    cuda.expect(INVALID_VALUE, "cuCtxGetApiVersion", first, None)


@rule("cuCtxAttach", "cuCtxDetach", source=f"{_DOC}, cuCtxAttach, cuCtxDetach", gpu=True)
def uses_are_counted(cuda: Cuda) -> None:
    """cuCtxAttach answers the current context and keeps it for one more cuCtxDetach; the last one destroys it."""
    cuda.init()
    context = cuda.out("CUcontext")
    cuda.expect(INVALID_CONTEXT, "cuCtxAttach", context, 0)
    cuda.untouched(context)
    made = _create(cuda)
    cuda.ok("cuCtxAttach", context, 0)
    cuda.equal(cuda.value(context), made, "what cuCtxAttach answers")
    cuda.expect(INVALID_VALUE, "cuCtxAttach", context, 1)
    cuda.ok("cuCtxDetach", made)
    cuda.equal(_current(cuda), made, "the current context after the first cuCtxDetach")
    cuda.ok("cuCtxDetach", made)
    cuda.equal(_current(cuda), cuda.null, "the current context after the second cuCtxDetach")
    cuda.expect((INVALID_CONTEXT, IS_DESTROYED), "cuCtxDetach", made)
    other = _create(cuda)
    cuda.ok("cuCtxAttach", context, 0)
    for _ in range(2):
        cuda.ok("cuCtxDetach", other)
    cuda.expect((INVALID_CONTEXT, IS_DESTROYED), "cuCtxPushCurrent_v2", other)

"""What is set for a context: flags, limits, preferences."""

from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule

INVALID_VALUE, INVALID_CONTEXT = 1, 201
UNSUPPORTED_LIMIT, UNSUPPORTED_AFFINITY, NOT_SUPPORTED = 215, 224, 801
SPIN, YIELD = 1, 2
STACK_SIZE, MALLOC_HEAP_SIZE, SYNC_DEPTH, NO_LIMIT = 0, 2, 3, 0x7FFF
SM_COUNT, NO_AFFINITY = 0, 3
_DOC = "cuda.h 13.5"


def _create(cuda: Cuda, flags: int = 0, device: int = 0) -> Any:
    context = cuda.out("CUcontext")
    cuda.ok("cuCtxCreate_v2", context, flags, device)
    return cuda.value(context)


def _number(cuda: Cuda, name: str, kind: str, *rest: Any, before: tuple[Any, ...] = ()) -> int:
    box = cuda.out(kind)
    cuda.ok(name, *before, box, *rest)
    return int(cuda.value(box))


@rule("cuCtxGetFlags", "cuCtxSetFlags", source=f"{_DOC}, cuCtxGetFlags, cuCtxSetFlags", gpu=True)
def flags_of_a_context(cuda: Cuda) -> None:
    """A context has the flags that it was created with until cuCtxSetFlags gives it others."""
    cuda.init()
    flags = cuda.out("unsigned int")
    cuda.expect(INVALID_CONTEXT, "cuCtxGetFlags", flags)
    cuda.expect(INVALID_CONTEXT, "cuCtxSetFlags", 0)
    cuda.untouched(flags)
    _create(cuda, flags=SPIN)
    cuda.equal(_number(cuda, "cuCtxGetFlags", "unsigned int") & 7, SPIN, "the flags of creation")
    cuda.ok("cuCtxSetFlags", YIELD)
    cuda.equal(_number(cuda, "cuCtxGetFlags", "unsigned int") & 7, YIELD, "the flags then")
    cuda.expect(INVALID_VALUE, "cuCtxSetFlags", SPIN | YIELD)
    cuda.expect(INVALID_VALUE, "cuCtxGetFlags", None)


@rule("cuCtxGetLimit", "cuCtxSetLimit", source=f"{_DOC}, cuCtxSetLimit", gpu=True)
def limits(cuda: Cuda) -> None:
    """A limit that is set is answered, in no other context; what is no limit is CUDA_ERROR_UNSUPPORTED_LIMIT."""
    cuda.init()
    box = cuda.out("size_t")
    cuda.expect(INVALID_CONTEXT, "cuCtxGetLimit", box, STACK_SIZE)
    cuda.expect(INVALID_CONTEXT, "cuCtxSetLimit", STACK_SIZE, 4096)
    _create(cuda)
    stack = _number(cuda, "cuCtxGetLimit", "size_t", STACK_SIZE)
    cuda.check(256 <= stack <= 1 << 19, f"{stack} bytes are a stack")
    cuda.equal(_number(cuda, "cuCtxGetLimit", "size_t", MALLOC_HEAP_SIZE), 8 << 20, "the heap of malloc")
    cuda.ok("cuCtxSetLimit", STACK_SIZE, 4096)
    cuda.ok("cuCtxSetLimit", MALLOC_HEAP_SIZE, 32 << 20)
    cuda.equal(_number(cuda, "cuCtxGetLimit", "size_t", STACK_SIZE), 4096, "the stack that was set")
    cuda.equal(_number(cuda, "cuCtxGetLimit", "size_t", MALLOC_HEAP_SIZE), 32 << 20, "the heap that was set")
    _create(cuda)
    cuda.equal(_number(cuda, "cuCtxGetLimit", "size_t", STACK_SIZE), stack, "the stack of another context")
    cuda.expect(UNSUPPORTED_LIMIT, "cuCtxSetLimit", NO_LIMIT, 1)
    cuda.expect(UNSUPPORTED_LIMIT, "cuCtxGetLimit", box, NO_LIMIT)
    cuda.expect(INVALID_VALUE, "cuCtxGetLimit", None, STACK_SIZE)
    cuda.untouched(box)


@rule("cuCtxGetLimit", "cuCtxSetLimit", source=f"{_DOC}, cuCtxSetLimit: only for compute capability < 9.0", gpu=True)
def the_depth_of_synchronisation(cuda: Cuda) -> None:
    """CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH is unsupported from compute capability 9.0 on; below it is at most 24."""
    cuda.context()
    major = _number(cuda, "cuDeviceGetAttribute", "int", 75, 0)
    if major >= 9:
        cuda.expect(UNSUPPORTED_LIMIT, "cuCtxSetLimit", SYNC_DEPTH, 4)
        cuda.expect(UNSUPPORTED_LIMIT, "cuCtxGetLimit", cuda.out("size_t"), SYNC_DEPTH)
    else:
        cuda.ok("cuCtxSetLimit", SYNC_DEPTH, 24)
        cuda.equal(_number(cuda, "cuCtxGetLimit", "size_t", SYNC_DEPTH), 24, "the depth")


@rule("cuCtxGetCacheConfig", "cuCtxSetCacheConfig", source=f"{_DOC}, cuCtxSetCacheConfig", gpu=True)
def preferences_of_the_cache(cuda: Cuda) -> None:
    """The preference is none at first, then what is set; what is none is CUDA_ERROR_INVALID_VALUE."""
    cuda.init()
    box = cuda.out("CUfunc_cache")
    cuda.expect(INVALID_CONTEXT, "cuCtxGetCacheConfig", box)
    cuda.expect(INVALID_CONTEXT, "cuCtxSetCacheConfig", 1)
    _create(cuda)
    cuda.equal(_number(cuda, "cuCtxGetCacheConfig", "CUfunc_cache"), 0, "the preference at first")
    for preference in (1, 2, 3):
        cuda.ok("cuCtxSetCacheConfig", preference)
        cuda.equal(_number(cuda, "cuCtxGetCacheConfig", "CUfunc_cache"), preference, "the preference that was set")
    cuda.expect(INVALID_VALUE, "cuCtxSetCacheConfig", 4)
    cuda.expect(INVALID_VALUE, "cuCtxGetCacheConfig", None)


@rule("cuCtxGetSharedMemConfig", "cuCtxSetSharedMemConfig", source=f"{_DOC}, cuCtxSetSharedMemConfig", gpu=True)
def banks_are_fixed(cuda: Cuda) -> None:
    """Where banks have a fixed size it is 4 bytes (1), whatever is set; bad arguments are errors."""
    cuda.init()
    box = cuda.out("CUsharedconfig")
    cuda.expect(INVALID_CONTEXT, "cuCtxGetSharedMemConfig", box)
    cuda.expect(INVALID_CONTEXT, "cuCtxSetSharedMemConfig", 1)
    _create(cuda)
    cuda.ok("cuCtxSetSharedMemConfig", 2)
    cuda.equal(_number(cuda, "cuCtxGetSharedMemConfig", "CUsharedconfig"), 1, "the size of banks")
    cuda.expect(INVALID_VALUE, "cuCtxSetSharedMemConfig", 3)
    cuda.expect(INVALID_VALUE, "cuCtxGetSharedMemConfig", None)


@rule("cuCtxGetStreamPriorityRange", source=f"{_DOC}, cuCtxGetStreamPriorityRange", gpu=True)
def priorities(cuda: Cuda) -> None:
    """The least priority is 0, the greatest a negative number; either may be left out."""
    cuda.init()
    least, greatest = cuda.out("int"), cuda.out("int")
    cuda.expect(INVALID_CONTEXT, "cuCtxGetStreamPriorityRange", least, greatest)
    _create(cuda)
    cuda.ok("cuCtxGetStreamPriorityRange", least, greatest)
    cuda.equal(cuda.value(least), 0, "the least priority")
    cuda.check(-10 <= cuda.value(greatest) < 0, f"{cuda.value(greatest)} is the greatest priority")
    alone = cuda.out("int")
    cuda.ok("cuCtxGetStreamPriorityRange", None, alone)
    cuda.equal(cuda.value(alone), cuda.value(greatest), "the greatest priority alone")
    cuda.ok("cuCtxGetStreamPriorityRange", None, None)


@rule("cuCtxResetPersistingL2Cache", "cuCtxGetExecAffinity",
      source=f"{_DOC}, cuCtxResetPersistingL2Cache, cuCtxGetExecAffinity", gpu=True)  # fmt: skip
def what_needs_a_context(cuda: Cuda) -> None:
    """Without a context both are errors; affinity is supported only for clients of MPS."""
    cuda.init()
    affinity = cuda.out("CUexecAffinityParam")
    cuda.expect(INVALID_CONTEXT, "cuCtxResetPersistingL2Cache")
    cuda.expect(INVALID_CONTEXT, "cuCtxGetExecAffinity", affinity, SM_COUNT)
    _create(cuda)
    cuda.expect((0, NOT_SUPPORTED), "cuCtxResetPersistingL2Cache")
    cuda.expect(INVALID_VALUE, "cuCtxGetExecAffinity", affinity, NO_AFFINITY)
    cuda.expect(INVALID_VALUE, "cuCtxGetExecAffinity", None, SM_COUNT)
    if cuda.host is not None:
        cuda.expect(UNSUPPORTED_AFFINITY, "cuCtxGetExecAffinity", affinity, SM_COUNT)

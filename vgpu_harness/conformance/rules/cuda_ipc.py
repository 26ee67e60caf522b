"""Device memory and events that two processes use."""

import os
from collections.abc import Callable

from vgpu_harness.conformance.api import Broken
from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_memory import allocate, read, write

INVALID_VALUE, INVALID_HANDLE = 1, 400
HANDLE, LAZILY = 64, 1
DISABLE_TIMING, INTERPROCESS = 2, 4


def _beside(action: Callable[[], None]) -> None:
    """Does it in a process of its own, forked now: cuInit must not have been called."""
    if os.fork() == 0:
        try:
            action()
        finally:
            os._exit(0)


def _receive(pipe: int, size: int) -> bytes:
    said = os.read(pipe, size)
    if len(said) != size:
        raise Broken("the other process ended before its turn")
    return said


@rule(
    "cuIpcGetMemHandle", "cuIpcOpenMemHandle", "cuIpcOpenMemHandle_v2", "cuIpcCloseMemHandle",
    source="cuda.h 13.5, cuIpcGetMemHandle, cuIpcOpenMemHandle, cuIpcCloseMemHandle", gpu=True,
)  # fmt: skip
def memory_of_another_process(cuda: Cuda) -> None:
    """What one process has exported another one opens: each sees what the other writes, until it is closed."""
    (from_owner, to_user), (from_user, to_owner) = os.pipe(), os.pipe()

    def owner() -> None:
        os.close(from_owner)
        os.close(to_owner)
        cuda.context()
        address, handle = allocate(cuda, 5000), cuda.out("CUipcMemHandle")
        write(cuda, address, b"the owner's")
        cuda.ok("cuIpcGetMemHandle", handle, address)
        os.write(to_user, bytes(cuda.ffi.buffer(handle)))
        os.read(from_user, 1)
        os.write(to_user, read(cuda, address + 4000, 8))
        os.read(from_user, 1)

    _beside(owner)
    os.close(to_user)
    os.close(from_user)
    handle = cuda.struct("CUipcMemHandle")
    cuda.ffi.memmove(handle, _receive(from_owner, HANDLE), HANDLE)
    cuda.context()
    addresses = []
    for name in ("cuIpcOpenMemHandle_v2", "cuIpcOpenMemHandle"):
        address = cuda.out("CUdeviceptr")
        cuda.expect(INVALID_VALUE, name, address, handle[0], 0)
        cuda.untouched(address)
        cuda.ok(name, address, handle[0], LAZILY)
        addresses.append(cuda.value(address))
    cuda.equal(addresses[1], addresses[0], "the address, opened again,")
    cuda.equal(read(cuda, addresses[0], 11), b"the owner's", "what the owner wrote")
    write(cuda, addresses[0] + 4000, b"the user")
    cuda.ok("cuCtxSynchronize")
    os.write(to_owner, b".")
    cuda.equal(_receive(from_owner, 8), b"the user", "what the owner reads")
    for _ in range(2):
        cuda.ok("cuIpcCloseMemHandle", addresses[0])
    cuda.expect(INVALID_VALUE, "cuIpcCloseMemHandle", addresses[0])


@rule(
    "cuIpcGetEventHandle", "cuIpcOpenEventHandle",
    source="cuda.h 13.5, cuIpcGetEventHandle, cuIpcOpenEventHandle", gpu=True,
)  # fmt: skip
def an_event_of_another_process(cuda: Cuda) -> None:
    """An event that is made for it can be waited for in another process; others have no handle."""
    (from_owner, to_user), (from_user, to_owner) = os.pipe(), os.pipe()

    def owner() -> None:
        os.close(from_owner)
        os.close(to_owner)
        cuda.context()
        own, shared, handle = cuda.out("CUevent"), cuda.out("CUevent"), cuda.out("CUipcEventHandle")
        cuda.ok("cuEventCreate", own, DISABLE_TIMING)
        cuda.ok("cuEventCreate", shared, DISABLE_TIMING | INTERPROCESS)
        cuda.ok("cuEventRecord", cuda.value(shared), None)
        cuda.expect((INVALID_VALUE, INVALID_HANDLE), "cuIpcGetEventHandle", handle, cuda.value(own))
        cuda.untouched(handle)
        cuda.ok("cuIpcGetEventHandle", handle, cuda.value(shared))
        cuda.value(handle)
        os.write(to_user, bytes(cuda.ffi.buffer(handle)))
        os.read(from_user, 1)

    _beside(owner)
    os.close(to_user)
    os.close(from_user)
    handle, opened = cuda.struct("CUipcEventHandle"), cuda.out("CUevent")
    cuda.ffi.memmove(handle, _receive(from_owner, HANDLE), HANDLE)
    cuda.context()
    cuda.expect((INVALID_VALUE, INVALID_HANDLE), "cuIpcOpenEventHandle", opened, cuda.struct("CUipcEventHandle")[0])
    cuda.untouched(opened)
    cuda.ok("cuIpcOpenEventHandle", opened, handle[0])
    cuda.ok("cuStreamWaitEvent", None, cuda.value(opened), 0)
    cuda.ok("cuEventSynchronize", cuda.value(opened))
    cuda.ok("cuEventDestroy_v2", cuda.value(opened))
    os.write(to_owner, b".")

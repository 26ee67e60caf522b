"""Device memory that two processes use."""

import os
from collections.abc import Callable

from vgpu_harness.conformance.api import Broken
from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_memory import allocate, read, write

INVALID_VALUE = 1
HANDLE, LAZILY = 64, 1


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

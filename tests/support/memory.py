"""What the tests about CUDA memory share: calls that each of them makes, and hosts with little memory."""

import pytest

from vgpu_harness._wire import ffi

SUCCESS, INVALID_VALUE, OUT_OF_MEMORY = 0, 1, 2
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
GRAIN = 2 * MIB

small = pytest.mark.vgpu(host={"gpu": [{"memory_mib": 1024, "reserved_mib": 24, "used_mib": 100}]})
little = pytest.mark.vgpu(host={"memory": {"backing_mib": 1}})


def info(cuda, kind: str = "size_t", name: str = "cuMemGetInfo_v2") -> tuple[int, int, int]:
    """cuMemGetInfo: (code, free, total)."""
    free, total = ffi.new(f"{kind} *"), ffi.new(f"{kind} *")
    return getattr(cuda, name)(free, total), int(free[0]), int(total[0])


def free(cuda) -> int:
    """Bytes that are free."""
    code, unused, _ = info(cuda)
    assert code == SUCCESS
    return unused


def allocate(cuda, size: int) -> int:
    """Device memory: its address."""
    code, address = cuda.number("cuMemAlloc_v2", "CUdeviceptr", size)
    assert code == SUCCESS
    return address


def write(cuda, address: int, content: bytes) -> int:
    """cuMemcpyHtoD: the code."""
    return cuda.cuMemcpyHtoD_v2(address, ffi.from_buffer(content), len(content))


def read(cuda, address: int, size: int) -> bytes:
    """cuMemcpyDtoH: the bytes."""
    room = ffi.new("char[]", b"\xee" * size)
    assert cuda.cuMemcpyDtoH_v2(room, address, size) == SUCCESS
    return bytes(ffi.buffer(room, size))


def properties(dev: int = 0, location: int = 1, kind: int = 1):
    """A CUmemAllocationProp."""
    return ffi.new("CUmemAllocationProp *", {"type": kind, "location": {"type": location, "id": dev}})


def access(dev: int = 0, flags: int = 3, location: int = 1):
    """A CUmemAccessDesc."""
    return ffi.new("CUmemAccessDesc *", {"location": {"type": location, "id": dev}, "flags": flags})


def physical(cuda, size: int = GRAIN, **options: int) -> tuple[int, int]:
    """cuMemCreate: (code, handle)."""
    return cuda.number("cuMemCreate", "CUmemGenericAllocationHandle", size, properties(**options), 0)


def reserve(cuda, size: int = 4 * GRAIN, alignment: int = 0, hint: int = 0, flags: int = 0) -> tuple[int, int]:
    """cuMemAddressReserve: (code, address)."""
    return cuda.number("cuMemAddressReserve", "CUdeviceptr", size, alignment, hint, flags)

"""Virtual memory management: reserved addresses, physical memory, mappings, access, and sharing by descriptor."""

import os
from typing import Any

from vgpu_harness.conformance.rule import Cuda, rule
from vgpu_harness.conformance.rules.cuda_memory import free, read, write

INVALID_VALUE, INVALID_DEVICE = 1, 101
READ, READ_WRITE = 1, 3  # CUmemAccess_flags
FILE = 1  # CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR


def properties(cuda: Cuda, handle_types: int = 0) -> Any:
    """CUmemAllocationProp of pinned memory of device 0."""
    prop = cuda.struct("CUmemAllocationProp", type=1, requestedHandleTypes=handle_types)
    prop[0].location.type = 1
    return prop


def grain(cuda: Cuda) -> int:
    """The granularity of the current device."""
    size = cuda.out("size_t")
    cuda.ok("cuMemGetAllocationGranularity", size, properties(cuda), 0)
    return int(cuda.value(size))


def create(cuda: Cuda, size: int, handle_types: int = 0) -> int:
    """Physical memory: its handle."""
    handle = cuda.out("CUmemGenericAllocationHandle")
    cuda.ok("cuMemCreate", handle, size, properties(cuda, handle_types), 0)
    return int(cuda.value(handle))


def reserve(cuda: Cuda, size: int) -> int:
    """A reserved range: its address."""
    start = cuda.out("CUdeviceptr")
    cuda.ok("cuMemAddressReserve", start, size, 0, 0, 0)
    return int(cuda.value(start))


def allow(cuda: Cuda, start: int, size: int, flags: int = READ_WRITE) -> None:
    """Access of device 0 to mapped memory."""
    access = cuda.struct("CUmemAccessDesc", flags=flags)
    access[0].location.type = 1
    cuda.ok("cuMemSetAccess", start, size, access, 1)


def mapped(cuda: Cuda, handle_types: int = 0) -> tuple[int, int, int]:
    """One grain, mapped and accessible: its address, its handle, its size."""
    cuda.context()
    size = grain(cuda)
    handle, start = create(cuda, size, handle_types), reserve(cuda, size)
    cuda.ok("cuMemMap", start, size, 0, handle, 0)
    allow(cuda, start, size)
    return start, handle, size


@rule("cuMemGetAllocationGranularity", source="cuda.h 13.5, cuMemGetAllocationGranularity", gpu=True)
def the_granularity(cuda: Cuda) -> None:
    """The granularity is a power of two and a multiple of a page; the recommended one is a multiple of the least."""
    cuda.init()
    least, best = cuda.out("size_t"), cuda.out("size_t")
    cuda.ok("cuMemGetAllocationGranularity", least, properties(cuda), 0)
    cuda.ok("cuMemGetAllocationGranularity", best, properties(cuda), 1)
    small, large = cuda.value(least), cuda.value(best)
    cuda.check(small >= 4096 and small & (small - 1) == 0, f"{small} is a power of two of at least a page")
    cuda.equal(large % small, 0, "the recommended granularity modulo the least")
    cuda.expect(INVALID_VALUE, "cuMemGetAllocationGranularity", least, properties(cuda), 2)
    cuda.expect(INVALID_VALUE, "cuMemGetAllocationGranularity", None, properties(cuda), 0)


@rule("cuMemCreate", "cuMemRelease", source="cuda.h 13.5, cuMemCreate, cuMemRelease", gpu=True)
def physical_memory_is_accounted(cuda: Cuda) -> None:
    """cuMemCreate takes memory of the device, cuMemRelease gives it back; sizes are multiples of the granularity."""
    cuda.context()
    size, before = grain(cuda), free(cuda)
    handle = create(cuda, 4 * size)
    cuda.check(before - free(cuda) >= 4 * size, "the memory is taken")
    cuda.ok("cuMemRelease", handle)
    cuda.equal(free(cuda), before, "free memory at the end")
    out = cuda.out("CUmemGenericAllocationHandle")
    for wrong in (0, size + 1, size - 4096):
        cuda.expect(INVALID_VALUE, "cuMemCreate", out, wrong, properties(cuda), 0)
    prop = properties(cuda)
    prop[0].location.id = 4711
    cuda.expect((INVALID_VALUE, INVALID_DEVICE), "cuMemCreate", out, size, prop, 0)
    cuda.untouched(out)


@rule("cuMemAddressReserve", "cuMemAddressFree", source="cuda.h 13.5, cuMemAddressReserve, cuMemAddressFree", gpu=True)
def addresses_are_reserved(cuda: Cuda) -> None:
    """Ranges do not overlap, keep to an alignment, and are freed whole."""
    cuda.context()
    size = grain(cuda)
    first, second = reserve(cuda, 4 * size), reserve(cuda, 4 * size)
    cuda.check(abs(first - second) >= 4 * size, "two ranges do not overlap")
    aligned = cuda.out("CUdeviceptr")
    cuda.ok("cuMemAddressReserve", aligned, size, 64 * size, 0, 0)
    cuda.equal(cuda.value(aligned) % (64 * size), 0, "the address modulo the alignment")
    cuda.expect(INVALID_VALUE, "cuMemAddressReserve", aligned, 0, 0, 0, 0)
    cuda.expect(INVALID_VALUE, "cuMemAddressReserve", aligned, size, 3 * size, 0, 0)
    cuda.ok("cuMemAddressFree", first, 4 * size)
    cuda.expect(INVALID_VALUE, "cuMemMap", first, size, 0, create(cuda, size), 0)


@rule("cuMemMap", "cuMemSetAccess", "cuMemUnmap", source="cuda.h 13.5, cuMemMap, cuMemSetAccess, cuMemUnmap", gpu=True)
def mapped_memory_has_contents(cuda: Cuda) -> None:
    """Two mappings of one handle show the same bytes; copies go over neighbouring mappings; unmapped is gone."""
    cuda.context()
    size = grain(cuda)
    handle, other, start = create(cuda, size), create(cuda, size), reserve(cuda, 3 * size)
    for place, what in enumerate((handle, other, handle)):
        cuda.ok("cuMemMap", start + place * size, size, 0, what, 0)
    cuda.expect(INVALID_VALUE, "cuMemMap", start, size, 0, other, 0)
    allow(cuda, start, 3 * size)
    write(cuda, start + size - 4, b"over the edge")
    cuda.equal(read(cuda, start + size - 4, 13), b"over the edge", "what was written over two mappings")
    cuda.equal(read(cuda, start + 3 * size - 4, 4), b"over", "the same memory at its second mapping")
    cuda.ok("cuMemUnmap", start + size, size)
    cuda.expect(INVALID_VALUE, "cuMemcpyDtoH_v2", cuda.out("char", 8), start + size, 8)
    cuda.expect(INVALID_VALUE, "cuMemUnmap", start + size, size)
    cuda.ok("cuMemMap", start + size, size, 0, other, 0)
    allow(cuda, start + size, size)
    cuda.equal(read(cuda, start + size, 9), b" the edge", "what is in the memory, mapped anew")


@rule("cuMemGetAccess", "cuMemSetAccess", source="cuda.h 13.5, cuMemGetAccess", gpu=True)
def access_is_what_was_set(cuda: Cuda) -> None:
    """A new mapping has no access; then it has what was set."""
    cuda.context()
    size = grain(cuda)
    handle, start = create(cuda, size), reserve(cuda, size)
    cuda.ok("cuMemMap", start, size, 0, handle, 0)
    location = cuda.struct("CUmemLocation", type=1, id=0)
    for flags in (None, READ_WRITE, READ if cuda.host is not None else READ_WRITE):
        if flags is not None:
            allow(cuda, start, size, flags)
        told = cuda.out("unsigned long long")
        cuda.ok("cuMemGetAccess", told, location, start + 5)
        cuda.equal(cuda.value(told), flags or 0, "the access")
    if cuda.host is not None:
        cuda.expect(INVALID_VALUE, "cuMemcpyHtoD_v2", start, b"x", 1)
        cuda.equal(read(cuda, start, 1), b"\0", "what is read with read access")
    cuda.expect(INVALID_VALUE, "cuMemGetAccess", None, location, start)


@rule(
    "cuMemRetainAllocationHandle", "cuMemGetAllocationPropertiesFromHandle", "cuMemRelease",
    source="cuda.h 13.5, cuMemRetainAllocationHandle, cuMemGetAllocationPropertiesFromHandle", gpu=True,
)  # fmt: skip
def a_handle_of_an_address(cuda: Cuda) -> None:
    """A mapped address gives its handle back, to be released once more; a handle gives its properties."""
    start, handle, size = mapped(cuda)
    again, prop = cuda.out("CUmemGenericAllocationHandle"), cuda.out("CUmemAllocationProp")
    cuda.ok("cuMemRetainAllocationHandle", again, start + 5)
    cuda.ok("cuMemRelease", handle)
    cuda.ok("cuMemGetAllocationPropertiesFromHandle", prop, cuda.value(again))
    cuda.equal((cuda.value(prop).type, prop[0].location.type, prop[0].location.id), (1, 1, 0), "the properties")
    if cuda.host is not None:
        cuda.equal(cuda.value(again), handle, "the handle")
    second = reserve(cuda, size)
    cuda.ok("cuMemMap", second, size, 0, cuda.value(again), 0)
    allow(cuda, second, size)
    write(cuda, second, b"same")
    cuda.equal(read(cuda, start, 4), b"same", "the memory at its first mapping")
    cuda.expect(INVALID_VALUE, "cuMemRetainAllocationHandle", again, 64)


@rule(
    "cuMemExportToShareableHandle", "cuMemImportFromShareableHandle",
    source="cuda.h 13.5, cuMemExportToShareableHandle, cuMemImportFromShareableHandle", gpu=True,
)  # fmt: skip
def memory_goes_through_a_descriptor(cuda: Cuda) -> None:
    """What was exported as a descriptor and imported from it is the same memory; its kind must have been asked for."""
    start, handle, size = mapped(cuda, FILE)
    write(cuda, start + 7, b"before")
    descriptor, imported = cuda.out("int"), cuda.out("CUmemGenericAllocationHandle")
    cuda.ok("cuMemExportToShareableHandle", descriptor, handle, FILE, 0)
    number = cuda.value(descriptor)
    cuda.check(os.fstat(number).st_mode, f"{number} is a descriptor")
    cuda.ok("cuMemImportFromShareableHandle", imported, number, FILE)
    os.close(number)
    second = reserve(cuda, size)
    cuda.ok("cuMemMap", second, size, 0, cuda.value(imported), 0)
    allow(cuda, second, size)
    cuda.equal(read(cuda, second + 7, 6), b"before", "what was written before")
    write(cuda, start + size - 5, b"after")
    cuda.equal(read(cuda, second + size - 5, 5), b"after", "what was written after")
    cuda.expect(INVALID_VALUE, "cuMemExportToShareableHandle", descriptor, create(cuda, size), FILE, 0)


@rule("cuPointerGetAttribute", source="cuda.h 13.5, cuPointerGetAttribute: range, mapping, handle types", gpu=True)
def attributes_of_mapped_memory(cuda: Cuda) -> None:
    """The range is what was reserved, the mapping what was mapped; both are told of an address."""
    cuda.context()
    size = grain(cuda)
    start = reserve(cuda, 4 * size)
    cuda.ok("cuMemMap", start + size, size, 0, create(cuda, size, FILE), 0)
    allow(cuda, start + size, size)
    for attribute, kind, wanted in (
        (11, "CUdeviceptr", start),
        (12, "size_t", 4 * size),
        (14, "unsigned long long", FILE),
        (18, "size_t", size),
        (19, "CUdeviceptr", start + size),
    ):
        box = cuda.out(kind)
        cuda.ok("cuPointerGetAttribute", box, attribute, start + size + 9)
        cuda.equal(cuda.value(box), wanted, f"attribute {attribute}")
    for place, wanted in ((start, 0), (start + size, 1)):
        here = cuda.struct("unsigned int")
        cuda.ok("cuPointerGetAttribute", here, 13, place)
        cuda.equal(here[0], wanted, "MAPPED")

"""The PCI configuration space, read back by an independent reading of its bytes; and the profiles behind it."""

import itertools
import struct

import pytest

from vgpu_harness.host import Gpu
from vgpu_harness.host.pci import config_space, regions, resource_text
from vgpu_harness.host.profile import attribute_ids, profile, profile_names

PROFILES = profile_names()


def capabilities(space):
    """Walks the capability list as a PCI driver does: {id: offset}."""
    assert struct.unpack_from("<H", space, 6)[0] & 0x10, "status says that there is no capability list"
    found, at = {}, space[0x34]
    while at:
        assert at % 4 == 0
        assert 0x40 <= at < 256
        assert space[at] not in found, "the list runs in a circle"
        found[space[at]] = at
        at = space[at + 1]
    return found


@pytest.mark.parametrize("name", PROFILES)
def test_identity(name):
    """Vendor, device, class, revision and subsystem stand where the PCI specification has them."""
    space, kind = config_space(Gpu(profile=name)), profile(name)
    assert len(space) == 256
    vendor, device, command, status, revision, interface, sub, base = struct.unpack_from("<HHHHBBBB", space)
    assert (vendor, device) == (0x10DE, kind.device)
    assert command & 0b110 == 0b110, "memory space and bus mastering are on, as the driver leaves them"
    assert not status & 0xF900, "no error bits"
    assert (revision, base << 16 | sub << 8 | interface) == (0xA1, kind.class_code)
    assert space[0x0E] == 0, "header type 0, one function"
    assert struct.unpack_from("<HH", space, 0x2C) == (kind.subsystem_vendor, kind.subsystem_device)
    assert (space[0x3C], space[0x3D]) == (10, 1)


def test_the_default_gpu_is_10de_2331_class_0302():
    """The first eleven bytes are those of the fixed identity, whatever the profile's code does."""
    space = config_space(Gpu())
    assert space[0:4] == bytes.fromhex("de103123")
    assert space[9:12] == bytes.fromhex("000203")


@pytest.mark.parametrize("name", PROFILES)
def test_capabilities(name):
    """Power management, MSI, PCI Express endpoint and MSI-X are listed, with the link's speed and width."""
    space, kind = config_space(Gpu(profile=name)), profile(name)
    found = capabilities(space)
    assert set(found) == {0x01, 0x05, 0x10, 0x11}
    sizes = {0x01: 8, 0x05: 24, 0x10: 60, 0x11: 12}
    spans = sorted((at, at + sizes[number]) for number, at in found.items())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans)), "capabilities overlap"
    flags, _, _, _, link, _, status = struct.unpack_from("<HIHHIHH", space, found[0x10] + 2)
    assert (flags & 0xF, flags >> 4 & 0xF) == (2, 0), "version 2, endpoint"
    assert (link & 0xF, link >> 4 & 0x3F) == (kind.link_generation, 16)
    assert (status & 0xF, status >> 4 & 0x3F) == (kind.link_generation, 16)
    assert space[found[0x11] + 4] & 7 == 0, "the MSI-X table is in region 0"


@pytest.mark.parametrize("name", PROFILES)
def test_base_addresses_agree_with_the_resource_file(name):
    """Each register holds the first address of its line, with the bits that its flags say; the rest is zero."""
    gpu = Gpu(profile=name, minor=3)
    registers = list(struct.unpack_from("<6I", config_space(gpu), 0x10))
    rows = [[int(word, 16) for word in line.split()] for line in resource_text(gpu).splitlines()]
    assert len(rows) == 13
    upper = False
    for i, register in enumerate(registers):
        if upper:
            upper = False
            assert rows[i] == [0, 0, 0]
            continue
        first, last, flags = rows[i]
        address = register & ~0xF
        if register & 0x4:
            address |= registers[i + 1] << 32
            upper = True
        assert address == first
        if last:
            size = last - first + 1
            assert size & (size - 1) == 0, "a power of two"
            assert first % size == 0, "aligned to its size"
            assert flags & 0xF == register & 0xF
            assert bool(flags & 0x2000) == bool(register & 0x8), "prefetchable"
            assert bool(flags & 0x100000) == bool(register & 0x4), "64-bit"
    assert sum(1 for _, last, _ in rows if last) == 3


def test_memory_of_many_gpus_does_not_overlap():
    """No address belongs to two GPUs of a host, of whatever models."""
    spans = sorted(
        (region.first, region.last)
        for minor, name in enumerate((*PROFILES, *PROFILES))
        for region in regions(Gpu(profile=name, minor=minor))
    )
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(spans))


def test_attribute_numbers():
    """The attributes' numbers are 1 to 161 without a gap, and those that clients ask for are cuda.h's."""
    ids = attribute_ids()
    assert sorted(ids.values()) == list(range(1, 162))
    assert {name: ids[name] for name in ("MULTIPROCESSOR_COUNT", "PCI_BUS_ID", "COMPUTE_CAPABILITY_MAJOR")} == {
        "MULTIPROCESSOR_COUNT": 16,
        "PCI_BUS_ID": 33,
        "COMPUTE_CAPABILITY_MAJOR": 75,
    }
    assert ids["VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED"] == 102

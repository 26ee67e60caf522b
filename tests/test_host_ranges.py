"""What NVML tells of a GPU has bounds: values that no board can have are refused when the host is read."""

import pytest

from vgpu_harness.errors import HostError
from vgpu_harness.host import Gpu, Host
from vgpu_harness.host.profile import profile, profile_names
from vgpu_harness.host.properties import merged, property_ids, text_ids
from vgpu_harness.host.ranges import RANGES, TEXTS, range_of

MIB = 1 << 20


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"NVLINKS": 2**32}, "Gpu: nvml.NVLINKS: too large, got 4294967296; write 36 or less"),
        ({"NVLINKS": -1}, "Gpu: nvml.NVLINKS: too small, got -1; write 0 or more"),
        ({"TEMPERATURE": -5}, "nvml.TEMPERATURE: too small, got -5; write 0 or more"),
        ({"POWER_USAGE": 2**32}, "nvml.POWER_USAGE: too large, got 4294967296; write 4294967295 or less"),
        ({"UTILIZATION_GPU": 101}, "nvml.UTILIZATION_GPU: too large, got 101; write 100 or less"),
        ({"ECC": 2}, "nvml.ECC: too large, got 2; write 1 or less"),
        ({"CLOCK": [345, -1]}, "nvml.CLOCK: -1 at index 1 is too small; write 0 or more"),
        ({"CLOCK": {"3": 2**40}}, "nvml.CLOCK: 1099511627776 at index 3 is too large; write 4294967295 or less"),
        ({"CLOCK_OFFSET_MIN": {"0": -(2**31) - 1}}, "is too small; write -2147483648 or more"),
        ({"VIOLATION": -1}, "nvml.VIOLATION: too small, got -1; write 0 or more"),
        ({"FABRIC_CLUSTER": "x" * 32}, f"nvml.FABRIC_CLUSTER: is not 32 hexadecimal digits, got '{'x' * 32}'; write"),
        ({"FABRIC_CLUSTER": "ab" * 15}, "nvml.FABRIC_CLUSTER: is not 32 hexadecimal digits"),
        ({"GPU_GUID": "ab"}, "nvml.GPU_GUID: is not 32 hexadecimal digits, got 'ab'; write 0 to 9 and a to f"),
        ({"CHASSIS_SERIAL": "x" * 17}, f"nvml.CHASSIS_SERIAL: is longer than 16 bytes, got '{'x' * 17}'; write fewer"),
    ],
)
def test_a_value_outside_of_its_range(table, message):
    """The error has place, value and remedy."""
    with pytest.raises(HostError) as caught:
        Gpu(nvml=table)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"BAR1_TOTAL": MIB, "BAR1_USED": 2 * MIB},
            "Gpu: nvml.BAR1_USED: 2097152 is more than BAR1_TOTAL, which is 1048576; lower the one or raise the other",
        ),
        ({"BAR1_TOTAL": MIB - 1}, "nvml.BAR1_TOTAL: BAR1_USED, which is 1048576, is more than 1048575; lower"),
        ({"POWER_LIMIT_MIN": 700001}, "nvml.POWER_LIMIT_MIN: 700001 is more than POWER_LIMIT_MAX, which is 700000"),
        (
            {"CLOCK_OFFSET_MIN": {"2": 5}, "CLOCK_OFFSET_MAX": {"0": 9, "2": 4}},
            "nvml.CLOCK_OFFSET_MIN: 5 at index 2 is more than CLOCK_OFFSET_MAX, which is 4",
        ),
    ],
)
def test_values_that_contradict_each_other(table, message):
    """The host file's value is named, against that of the file or of the profile."""
    with pytest.raises(HostError) as caught:
        Gpu(nvml=table)
    assert message in str(caught.value)


def test_the_ends_of_the_ranges_are_taken():
    """The lowest and the highest value of each property load; one further on either side does not."""
    pairs = {"BAR1_TOTAL", "BAR1_USED"} | {f"{name}_{end}" for name in PAIRED for end in ("MIN", "MAX")}
    for name in property_ids().keys() - pairs:
        least, most = range_of(name)
        assert Gpu(nvml={name: least}).nvml == {name: least}
        assert Gpu(nvml={name: most}).nvml == {name: most}
        for wrong in (least - 1, most + 1):
            with pytest.raises(HostError, match=f"nvml.{name}: "):
                Gpu(nvml={name: wrong})


PAIRED = ("POWER_LIMIT", "FAN_SPEED", "CLOCK_OFFSET", "CLOCK_LOCKED")


def test_the_ranges_are_of_properties_that_there_are():
    """No range is left over from a property of another name, and none is empty."""
    assert RANGES.keys() <= property_ids().keys()
    assert TEXTS.keys() <= text_ids().keys()
    assert all(least < most for least, most in RANGES.values())


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_keeps_them(name):
    """A board of each profile loads with its own values written out."""
    values = merged(profile(name).properties)
    assert Gpu(profile=name, nvml={key: dict(value) for key, value in values.items()}).profile == name


def test_mig_devices_have_no_more_memory_than_the_gpu():
    """A GPU that the host file makes smaller than its model is refused with MIG devices that do not fit any more."""
    migs = [{"profile": "3g.40gb"}, {"profile": "3g.40gb"}]
    with pytest.raises(HostError) as caught:
        Host(gpu=[{"memory_mib": 80895, "reserved_mib": 0, "mig": migs}])
    assert (
        "the MIG devices have 80896 MiB together, memory_mib is 80895; take fewer or smaller ones, or raise memory_mib"
        in str(caught.value)
    )
    assert Gpu(memory_mib=80896, reserved_mib=0, mig=migs).memory_mib == 80896

"""NVML's answers about a device: they fit together on every profile, follow setters, and are lost with the device."""

import os

import pytest

from vgpu_harness._wire import ffi, lib
from vgpu_harness.host import Host, Tree, write_image
from vgpu_harness.host.profile import DEFAULT_PROFILE, profile_names
from vgpu_harness.shims.inprocess import Nvml
from vgpu_harness.trace import Kind, Trace, create_trace

SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, GPU_IS_LOST, INSUFFICIENT_RESOURCES = 0, 1, 2, 3, 15, 23


@pytest.fixture
def device(vgpu_nvml):
    """The first device of an initialised NVML."""
    assert vgpu_nvml.nvmlInit_v2() == SUCCESS
    return vgpu_nvml.device(0)[1]


def ask(nvml: Nvml, function: str, device: object, *before: int) -> int | None:
    """The number that a function answers; None: not supported."""
    kind = ffi.typeof(getattr(lib, f"vgpu_call_{function}")).args[-1].item.cname
    code, number = nvml.number(function, kind, before=(device, *before))
    assert code in {SUCCESS, NOT_SUPPORTED}, (function, before, code)
    return number if code == SUCCESS else None


def clocks(nvml: Nvml, function: str, *arguments: object) -> list[int] | None:
    """A list of clocks; None: not supported."""
    count, room = ffi.new("unsigned int *", 512), ffi.new("unsigned int[512]")
    code = getattr(nvml, function)(*arguments, count, room)
    assert code in {SUCCESS, NOT_SUPPORTED}
    return list(room[0 : count[0]]) if code == SUCCESS else None


def ordered(*numbers: int | None) -> bool:
    """Do those that are there rise, or stay?"""
    there = [number for number in numbers if number is not None]
    return there == sorted(there)


@pytest.mark.parametrize("profile", profile_names())
def test_a_profiles_answers_fit_together(profile, tmp_path):
    """Power, clocks, temperature, link and fans lie within their bounds; the default profile has all of them."""
    image = write_image(Host(gpu=[{"profile": profile}]), Tree(tmp_path, ()), tmp_path / "image")
    with Nvml(image) as nvml:
        assert nvml.nvmlInit_v2() == SUCCESS
        device = nvml.device(0)[1]

        def says(function: str, *arguments: int) -> int | None:
            number = ask(nvml, f"nvmlDeviceGet{function}", device, *arguments)
            assert number is not None or profile != DEFAULT_PROFILE or function == "NumFans", function
            return number

        bounds = ffi.new("unsigned int[2]")
        code = nvml.nvmlDeviceGetPowerManagementLimitConstraints(device, bounds, bounds + 1)
        assert code == SUCCESS or (code, profile != DEFAULT_PROFILE) == (NOT_SUPPORTED, True)
        least, most = bounds if code == SUCCESS else (None, None)
        assert ordered(1, says("PowerUsage"), says("EnforcedPowerLimit"), most)
        assert ordered(least, says("PowerManagementDefaultLimit"), most)
        highest = [says("MaxClockInfo", kind) for kind in range(4)]
        assert all(ordered(1, says("ClockInfo", kind), top) for kind, top in enumerate(highest))
        memory = clocks(nvml, "nvmlDeviceGetSupportedMemoryClocks", device)
        graphics = memory and clocks(nvml, "nvmlDeviceGetSupportedGraphicsClocks", device, memory[0])
        assert memory is None or (memory[0], memory) == (highest[2], sorted(memory, reverse=True))
        assert graphics is None or (graphics[0], graphics) == (highest[0], sorted(graphics, reverse=True))
        slowdown, shutdown = (says("TemperatureThreshold", which) for which in (1, 0))
        assert ordered(1, says("Temperature", 0), slowdown, shutdown)
        for what in ("Generation", "Width"):
            assert ordered(1, says(f"CurrPcieLink{what}"), says(f"MaxPcieLink{what}"))
        assert all(ordered(0, says("FanSpeed_v2", fan), 100) for fan in range(says("NumFans") or 0))
        assert says("NumGpuCores") > 0


@pytest.mark.vgpu(host={"gpu": [{"nvml": {"FANS": 200, "FAN_SPEED_MIN": 0}}]})
def test_room_for_settings_ends(vgpu_nvml, device):
    """After 128 settings of a device another one is refused; those that are there can still be changed."""
    if os.geteuid() != 0:
        assert vgpu_nvml.nvmlDeviceSetFanSpeed_v2(device, 0, 50) == 4
        return
    codes = [vgpu_nvml.nvmlDeviceSetFanSpeed_v2(device, fan, 50) for fan in range(200)]
    assert codes == [SUCCESS] * 128 + [INSUFFICIENT_RESOURCES] * 72
    assert vgpu_nvml.nvmlDeviceSetFanSpeed_v2(device, 127, 60) == SUCCESS
    assert [ask(vgpu_nvml, "nvmlDeviceGetFanSpeed_v2", device, fan) for fan in (0, 127, 128)] == [50, 60, 30]
    assert vgpu_nvml.nvmlDeviceSetDefaultFanSpeed_v2(device, 5) == SUCCESS
    assert vgpu_nvml.nvmlDeviceSetFanSpeed_v2(device, 128, 70) == SUCCESS


def test_each_process_has_settings_of_its_own(vgpu_nvml, device, vgpu_image):
    """What is set in one state is not seen in another: the simulated driver is the process's."""
    if os.geteuid() != 0:
        assert vgpu_nvml.nvmlDeviceSetComputeMode(device, 3) == 4
        return
    before = ask(vgpu_nvml, "nvmlDeviceGetComputeMode", device)
    assert vgpu_nvml.nvmlDeviceSetComputeMode(device, 3) == SUCCESS
    with Nvml(vgpu_image) as other:
        other.nvmlInit_v2()
        assert ask(other, "nvmlDeviceGetComputeMode", other.device(0)[1]) == before
    assert ask(vgpu_nvml, "nvmlDeviceGetComputeMode", device) == 3


def test_what_has_no_output_is_told_by_its_code(vgpu_nvml, device):
    """A sound InfoROM validates; there are no driver models but on Windows; no unit has a handle."""
    assert vgpu_nvml.nvmlDeviceValidateInforom(device) == SUCCESS
    assert vgpu_nvml.nvmlDeviceValidateInforom(ffi.NULL) == INVALID_ARGUMENT
    model = ffi.new("nvmlDriverModel_t *")
    for function in (vgpu_nvml.nvmlDeviceGetDriverModel, vgpu_nvml.nvmlDeviceGetDriverModel_v2):
        assert [function(device, model, ffi.NULL), function(device, ffi.NULL, ffi.NULL)] == [
            NOT_SUPPORTED,
            INVALID_ARGUMENT,
        ]
    assert [vgpu_nvml.nvmlDeviceSetDriverModel(device, n, 0) for n in (0, 2, 3)] == [NOT_SUPPORTED] * 2 + [
        INVALID_ARGUMENT
    ]
    unit = ffi.new("nvmlUnit_t *")
    assert [vgpu_nvml.nvmlUnitGetHandleByIndex(0, unit), vgpu_nvml.nvmlUnitSetLedState(unit[0], 0)] == [
        INVALID_ARGUMENT
    ] * 2


@pytest.mark.vgpu(host={"gpu": [{"nvml": {"INFOROM_IMAGE": []}}]})
def test_a_board_without_inforom(vgpu_nvml, device):
    """There is nothing to validate, and no black box that could be flushed."""
    assert vgpu_nvml.nvmlDeviceValidateInforom(device) == NOT_SUPPORTED
    room = ffi.new("unsigned long long *"), ffi.new("unsigned long *")
    assert vgpu_nvml.nvmlDeviceGetLastBBXFlushTime(device, *room) == NOT_SUPPORTED


GETTERS = [
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetBrand",
    "nvmlDeviceGetPersistenceMode",
    "nvmlDeviceGetMaxPcieLinkWidth",
    "nvmlDeviceGetIndex",
    "nvmlDeviceGetNumGpuCores",
]


@pytest.mark.vgpu(
    host={"gpu": [{}, {}], "faults": [{"function": "nvmlDeviceGetBoardId", "lost": 0}]},
)
def test_a_lost_device(vgpu_nvml, device):
    """From the call on that loses it every question about it is GPU_IS_LOST; the other device goes on."""
    other = vgpu_nvml.device(1)[1]
    lib_calls = [getattr(vgpu_nvml, name) for name in GETTERS]
    out = ffi.new("unsigned int *")
    kinds = {name: ffi.typeof(getattr(lib, f"vgpu_call_{name}")).args[-1] for name in GETTERS}

    def codes(of: object) -> list[int]:
        return [call(of, ffi.cast(kinds[name], out)) for name, call in zip(GETTERS, lib_calls, strict=True)]

    assert codes(device) == codes(other) == [SUCCESS] * len(GETTERS)
    vgpu_nvml.nvmlDeviceGetBoardId(device, out)
    assert (codes(device), codes(other)) == ([GPU_IS_LOST] * len(GETTERS), [SUCCESS] * len(GETTERS))
    assert vgpu_nvml.nvmlDeviceSetPersistenceMode(device, 1) == GPU_IS_LOST
    assert vgpu_nvml.nvmlDeviceGetHandleByIndex_v2(0, ffi.new("nvmlDevice_t *")) == GPU_IS_LOST
    assert vgpu_nvml.device_count() == (SUCCESS, 2)


@pytest.mark.vgpu(
    host={"faults": [{"function": "nvmlDeviceGetPcieThroughput", "value": 777}], "gpu": [{"serial": "1650"}]}
)
def test_what_the_records_show(vgpu_image, tmp_path, vgpu_host):
    """Each call's outputs in the record, the device by its address; a fault's value where the number went."""
    path, pci = create_trace(tmp_path / "trace", 1 << 20), vgpu_host.gpu[0].pci
    out, energy = ffi.new("unsigned int *"), ffi.new("unsigned long long *")
    with Nvml(vgpu_image, trace=path) as nvml:
        nvml.nvmlInit_v2()
        device = nvml.device(0)[1]
        nvml.nvmlDeviceGetPcieThroughput(device, 1, out)
        assert out[0] == 777
        nvml.nvmlDeviceGetPcieLinkMaxSpeed(device, out)
        nvml.nvmlDeviceGetTotalEnergyConsumption(device, energy)
        nvml.nvmlDeviceGetPowerManagementLimit(ffi.NULL, out)
    records = [record for record in Trace.open(path) if record.kind == Kind.CALL][2:]
    assert [(r.name, r.result, r.outputs, r.text) for r in records] == [
        ("nvmlDeviceGetPcieThroughput", SUCCESS, (777,), pci),
        ("nvmlDeviceGetPcieLinkMaxSpeed", SUCCESS, (5,), pci),
        ("nvmlDeviceGetTotalEnergyConsumption", SUCCESS, (energy[0],), pci),
        ("nvmlDeviceGetPowerManagementLimit", INVALID_ARGUMENT, (), ""),
    ]


@pytest.mark.vgpu(
    host={"gpu": [{"serial": "1650", "nvml": {"BOARD_ID": 9}}, {"serial": "1650", "nvml": {"BOARD_ID": 9}}]}
)
def test_a_serial_number_of_two_devices(vgpu_nvml, device):
    """The number of a board with two GPUs names neither (nvml.h: an invalid argument)."""
    handle = ffi.new("nvmlDevice_t *")
    assert vgpu_nvml.nvmlDeviceGetHandleBySerial(b"1650", handle) == INVALID_ARGUMENT
    assert handle[0] == ffi.NULL


@pytest.mark.vgpu(host={"gpu": [{"profile": p} for p in ("v100-16gb-sxm2", "a30-24gb", "rtx3090-24gb", "l4-24gb")]})
def test_the_average_power_is_not_for_all(vgpu_nvml, device):
    """nvml.h: for Ampere, but not GA100, and newer; all have the power of now."""
    average, instant = 185, 186
    answers = []
    for i in range(4):
        values = ffi.new("nvmlFieldValue_t[2]", [{"fieldId": average}, {"fieldId": instant}])
        assert vgpu_nvml.nvmlDeviceGetFieldValues(vgpu_nvml.device(i)[1], 2, values) == SUCCESS
        answers.append([value.nvmlReturn for value in values])
    assert answers == [[NOT_SUPPORTED, SUCCESS]] * 2 + [[SUCCESS, SUCCESS]] * 2


@pytest.mark.vgpu(host={"gpu": [{"nvml": {"MIG": 1}}]})
def test_mig_stays_on_while_there_are_gpu_instances(vgpu_nvml, device):
    """One without a compute instance is enough: the mode waits, and the instance stays."""
    in_use, instance, status = 19, ffi.new("nvmlGpuInstance_t *"), ffi.new("nvmlReturn_t *")
    if os.geteuid() != 0:
        assert vgpu_nvml.nvmlDeviceCreateGpuInstance(device, 19, instance) == 4
        return
    assert vgpu_nvml.nvmlDeviceCreateGpuInstance(device, 19, instance) == SUCCESS
    modes = ffi.new("unsigned int[2]")
    assert (vgpu_nvml.nvmlDeviceSetMigMode(device, 0, status), status[0]) == (SUCCESS, in_use)
    assert (vgpu_nvml.nvmlDeviceGetMigMode(device, modes, modes + 1), list(modes)) == (SUCCESS, [1, 0])
    assert vgpu_nvml.nvmlGpuInstanceDestroy(instance[0]) == SUCCESS
    assert (vgpu_nvml.nvmlDeviceSetMigMode(device, 0, status), status[0]) == (SUCCESS, SUCCESS)
    assert (vgpu_nvml.nvmlDeviceGetMigMode(device, modes, modes + 1), list(modes)) == (SUCCESS, [0, 0])

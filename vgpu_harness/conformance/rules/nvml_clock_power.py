"""Power and temperature: readings, limits, thresholds, and the profiles that trade them."""

import time
from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    SUCCESS,
    checks_version,
    is_number,
    is_roots,
    may_change,
    number,
    refuses_nothing,
    version,
)

_HEADER = "nvml.h 13.5"
_POWER = {
    "POWER_LIMIT_DEFAULT": 600_000,
    "POWER_LIMIT_MIN": 200_000,
    "POWER_LIMIT_MAX": 700_000,
    "POWER_LIMIT": 500_000,
    "POWER_USAGE": 400_000,
}
_HOST = {"gpu": [{"nvml": _POWER}]}


@rule(
    "nvmlDeviceGetPowerManagementMode",
    "nvmlDeviceGetPowerManagementLimit",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetPowerManagementDefaultLimit",
    "nvmlDeviceGetPowerManagementLimitConstraints",
    "nvmlDeviceGetPowerUsage",
    source=f"{_HEADER}, the functions named; all in mW",
    gpu=True,
    host=_HOST,
)
def power_and_its_limits(nvml: Nvml) -> None:
    """Usage, limits and bounds are in milliwatts, and the limits lie within the bounds."""
    device, least, most = nvml.device(), nvml.out("unsigned int"), nvml.out("unsigned int")
    wanted = {"ManagementMode": 1, "ManagementLimit": 500_000, "ManagementDefaultLimit": 600_000, "Usage": 400_000}
    for name, value in wanted.items():
        is_number(nvml, value, f"nvmlDeviceGetPower{name}", device)
        refuses_nothing(nvml, f"nvmlDeviceGetPower{name}", device)
    is_number(nvml, 500_000, "nvmlDeviceGetEnforcedPowerLimit", device)
    refuses_nothing(nvml, "nvmlDeviceGetEnforcedPowerLimit", device)
    function = "nvmlDeviceGetPowerManagementLimitConstraints"
    nvml.expect(INVALID_ARGUMENT, function, device, least, None)
    nvml.expect(INVALID_ARGUMENT, function, device, None, most)
    if (
        nvml.expect((SUCCESS, NOT_SUPPORTED) if nvml.host is None else SUCCESS, function, device, least, most)
        == SUCCESS
    ):
        limit = number(nvml, "nvmlDeviceGetPowerManagementLimit", device)
        nvml.check(
            limit is None or nvml.value(least) <= limit <= nvml.value(most), f"{least[0]} <= {limit} <= {most[0]}"
        )
        if nvml.host is not None:
            nvml.equal((nvml.value(least), nvml.value(most)), (200_000, 700_000), "the bounds")


@rule(
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetEnforcedPowerLimit",
    source=f"{_HEADER}, nvmlDeviceGetPowerManagementLimit",
    gpu=True,
    host={"gpu": [{"nvml": _POWER | {"POWER_USAGE": 900_000}}]},
)
def power_stays_below_its_limit(nvml: Nvml) -> None:
    """Whatever the host file says, the power is not above the limit that is enforced."""
    device = nvml.device()
    usage, limit = (
        number(nvml, "nvmlDeviceGetPowerUsage", device),
        number(nvml, "nvmlDeviceGetEnforcedPowerLimit", device),
    )
    nvml.check(usage is None or limit is None or 0 < usage <= 1.1 * limit, f"0 < {usage} <= {limit} mW")
    if nvml.host is not None:
        nvml.equal((usage, limit), (500_000, 500_000), "usage and limit")


@rule(
    "nvmlDeviceSetPowerManagementLimit",
    "nvmlDeviceSetPowerManagementLimit_v2",
    "nvmlDeviceGetPowerManagementLimit",
    source=f"{_HEADER}, nvmlPowerValue_v2_t, NVML_POWER_SCOPE_*",
    gpu=True,
    host=_HOST,
)
def a_new_power_limit(nvml: Nvml) -> None:
    """Root sets a limit within the bounds, in either form; limits and usage follow, the default stays."""
    device, kind = nvml.device(), "nvmlPowerValue_v2_t"
    checks_version(nvml, "nvmlDeviceSetPowerManagementLimit_v2", device, kind, 2, powerScope=0, powerValueMw=1)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetPowerManagementLimit", None, 300_000)
    if nvml.host is None:
        return
    right = version(nvml, kind, 2)
    is_roots(nvml, "nvmlDeviceSetPowerManagementLimit", device, 300_000)
    is_roots(
        nvml, "nvmlDeviceSetPowerManagementLimit_v2", device, nvml.struct(kind, version=right, powerValueMw=300_000)
    )
    may_change(nvml)
    for limit in (300_000, 200_000, 700_000):
        nvml.ok("nvmlDeviceSetPowerManagementLimit", device, limit)
        is_number(nvml, limit, "nvmlDeviceGetPowerManagementLimit", device)
        is_number(nvml, limit, "nvmlDeviceGetEnforcedPowerLimit", device)
        is_number(nvml, min(limit, 400_000), "nvmlDeviceGetPowerUsage", device)
        is_number(nvml, 600_000, "nvmlDeviceGetPowerManagementDefaultLimit", device)
    nvml.ok("nvmlDeviceSetPowerManagementLimit_v2", device, nvml.struct(kind, version=right, powerValueMw=450_000))
    is_number(nvml, 450_000, "nvmlDeviceGetPowerManagementLimit", device)
    for limit in (199_999, 700_001):
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetPowerManagementLimit", device, limit)
    for scope, code in ((1, NOT_SUPPORTED), (4, INVALID_ARGUMENT)):
        value = nvml.struct(kind, version=right, powerScope=scope, powerValueMw=450_000)
        nvml.expect(code, "nvmlDeviceSetPowerManagementLimit_v2", device, value)
    is_number(nvml, 450_000, "nvmlDeviceGetPowerManagementLimit", device)


@rule(
    "nvmlDeviceGetTotalEnergyConsumption",
    source=f"{_HEADER}, nvmlDeviceGetTotalEnergyConsumption: mJ, Volta or newer",
    gpu=True,
    host={"gpu": [{"nvml": _POWER}, {"compute": "6.0"}]},
)
def energy_grows(nvml: Nvml) -> None:
    """The energy since the start grows, on the simulated host by what the power makes of the time."""
    device, function = nvml.device(), "nvmlDeviceGetTotalEnergyConsumption"
    refuses_nothing(nvml, function, device)
    start, first = time.monotonic(), number(nvml, function, device)
    if first is None:
        return
    middle = time.monotonic()
    time.sleep(0.05)
    between = time.monotonic()
    second = number(nvml, function, device)
    longest, shortest = time.monotonic() - start, between - middle
    nvml.check(second is not None and first <= second, f"{first} <= {second} mJ")
    if nvml.host is not None and second is not None:
        nvml.check(
            400_000 * shortest - 2 <= second - first <= 400_000 * longest + 2, f"{second - first} mJ in {longest} s"
        )
        nvml.check(abs(first / 400_000 - middle) <= 1, f"{first} mJ are 400 W for as long as the machine is up")
        nvml.expect(NOT_SUPPORTED, function, nvml.device(1), nvml.out("unsigned long long"))


_WARM: dict[str, Any] = {
    "TEMPERATURE": [61, 72],
    "TEMPERATURE_THRESHOLD": [95, 89, 96, 87, 65, 83, 88],
}


@rule(
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetTemperatureThreshold",
    "nvmlDeviceGetMarginTemperature",
    "nvmlDeviceGetThermalSettings",
    source=f"{_HEADER}, enums nvmlTemperatureSensors_t, nvmlTemperatureThresholds_t",
    gpu=True,
    host={"gpu": [{"nvml": _WARM}, {"nvml": {"TEMPERATURE": [], "TEMPERATURE_THRESHOLD": []}}]},
)
def temperatures(nvml: Nvml) -> None:
    """Sensors and thresholds in degrees Celsius, the margin between them, the same in each form of the question."""
    device, kind = nvml.device(), "nvmlTemperature_t"
    checks_version(nvml, "nvmlDeviceGetTemperatureV", device, kind, 1, sensorType=0)
    refuses_nothing(nvml, "nvmlDeviceGetTemperature", device, 0)
    refuses_nothing(nvml, "nvmlDeviceGetTemperatureThreshold", device, 0)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetTemperature", device, 2, nvml.out("unsigned int"))
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetTemperatureThreshold", device, 8, nvml.out("unsigned int"))
    now = number(nvml, "nvmlDeviceGetTemperature", device, 0)
    nvml.check(now is None or 0 < now < 120, f"0 < {now} < 120 degrees")
    if nvml.host is None:
        return
    for sensor, wanted in enumerate(_WARM["TEMPERATURE"]):
        is_number(nvml, wanted, "nvmlDeviceGetTemperature", device, sensor)
        reading = nvml.out(kind, version=version(nvml, kind, 1), sensorType=sensor)
        nvml.ok("nvmlDeviceGetTemperatureV", device, reading)
        nvml.equal(nvml.value(reading).temperature, wanted, "the temperature in a struct")
    for threshold, wanted in enumerate(_WARM["TEMPERATURE_THRESHOLD"]):
        is_number(nvml, wanted, "nvmlDeviceGetTemperatureThreshold", device, threshold)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetTemperature", nvml.device(1), 0, nvml.out("unsigned int"))
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetTemperatureThreshold", nvml.device(1), 0, nvml.out("unsigned int"))
    _margin_and_settings(nvml, device)


def _margin_and_settings(nvml: Nvml, device: Any) -> None:
    kind, settings = "nvmlMarginTemperature_t", nvml.out("nvmlGpuThermalSettings_t")
    checks_version(nvml, "nvmlDeviceGetMarginTemperature", device, kind, 1)
    margin = nvml.out(kind, version=version(nvml, kind, 1))
    nvml.ok("nvmlDeviceGetMarginTemperature", device, margin)
    nvml.equal(nvml.value(margin).marginTemperature, 89 - 61, "the margin to the slowdown")
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetMarginTemperature", nvml.device(1), margin)
    for index in (0, 15):
        nvml.ok("nvmlDeviceGetThermalSettings", device, index, settings)
        sensor = nvml.value(settings).sensor[0]
        nvml.equal((int(settings[0].count), sensor.currentTemp, sensor.target), (1, 61, 1), "count, reading, target")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetThermalSettings", device, 7, settings)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetThermalSettings", nvml.device(1), 0, settings)
    refuses_nothing(nvml, "nvmlDeviceGetThermalSettings", device, 0)


@rule(
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetTemperatureThreshold",
    source="common sense, on the default host",
    gpu=True,
)
def cooler_than_the_thresholds(nvml: Nvml) -> None:
    """The device is cooler than it slows down at, and slows down no later than it shuts down."""
    device = nvml.device()
    now = number(nvml, "nvmlDeviceGetTemperature", device, 0)
    stop, slow = (number(nvml, "nvmlDeviceGetTemperatureThreshold", device, threshold) for threshold in (0, 1))
    nvml.check(
        None in (now, slow, stop) or 0 < (now or 0) < (slow or 0) <= (stop or 0), f"0 < {now} < {slow} <= {stop}"
    )


@rule(
    "nvmlDeviceSetTemperatureThreshold",
    "nvmlDeviceGetTemperatureThreshold",
    source=f"{_HEADER}, nvmlDeviceSetTemperatureThreshold",
    gpu=True,
    host={"gpu": [{"nvml": _WARM}, {}]},
)
def the_acoustic_target(nvml: Nvml) -> None:
    """Root moves the acoustic target between its bounds; the other thresholds are the board's."""
    device, function, degrees = nvml.device(), "nvmlDeviceSetTemperatureThreshold", nvml.struct("int")
    nvml.expect(INVALID_ARGUMENT, function, device, 5, None)
    nvml.expect(INVALID_ARGUMENT, function, None, 5, degrees)
    if nvml.host is None:
        return
    degrees[0] = 70
    is_roots(nvml, function, device, 5, degrees)
    may_change(nvml)
    for target in (70, 65, 88):
        degrees[0] = target
        nvml.ok(function, device, 5, degrees)
        is_number(nvml, target, "nvmlDeviceGetTemperatureThreshold", device, 5)
    for wrong in (64, 89, -1):
        degrees[0] = wrong
        nvml.expect(INVALID_ARGUMENT, function, device, 5, degrees)
    degrees[0] = 70
    nvml.expect(NOT_SUPPORTED, function, device, 1, degrees)
    nvml.expect(NOT_SUPPORTED, function, nvml.device(1), 5, degrees)
    nvml.expect(INVALID_ARGUMENT, function, device, 8, degrees)


@rule(
    "nvmlDeviceGetPowerMizerMode_v1",
    "nvmlDeviceSetPowerMizerMode_v1",
    source=f"{_HEADER}, NVML_POWER_MIZER_MODE_*",
    gpu=True,
    host={"gpu": [{"nvml": {"POWER_MIZER": 2, "POWER_MIZER_KNOWN": 0b0111}}, {"nvml": {"POWER_MIZER_KNOWN": []}}]},
)
def power_mizer(nvml: Nvml) -> None:
    """A mode that the device supports can be set and is then the current one."""
    device, modes = nvml.device(), nvml.out("nvmlDevicePowerMizerModes_v1_t")
    for name in ("Get", "Set"):
        nvml.expect(INVALID_ARGUMENT, f"nvmlDevice{name}PowerMizerMode_v1", device, None)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetPowerMizerMode_v1", device, modes)
        return
    nvml.ok("nvmlDeviceGetPowerMizerMode_v1", device, modes)
    nvml.equal(
        (nvml.value(modes).currentMode, int(modes[0].supportedPowerMizerModes)), (2, 7), "the mode and all modes"
    )
    for mode, code in ((1, SUCCESS), (3, NOT_SUPPORTED), (4, INVALID_ARGUMENT), (0, SUCCESS)):
        nvml.expect(
            code, "nvmlDeviceSetPowerMizerMode_v1", device, nvml.struct("nvmlDevicePowerMizerModes_v1_t", mode=mode)
        )
        if code == SUCCESS:
            nvml.ok("nvmlDeviceGetPowerMizerMode_v1", device, modes)
            nvml.equal(int(modes[0].currentMode), mode, "the mode")
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetPowerMizerMode_v1", nvml.device(1), modes)


@rule(
    "nvmlDeviceSetAdaptiveTgpMode_v1",
    "nvmlDeviceGetAdaptiveTgpModeInfo_v1",
    source=f"{_HEADER}, nvmlAdaptiveTgpModeInfo_v1_t",
    gpu=True,
    host={"gpu": [{"nvml": {"ADAPTIVE_TGP": 650_000}}, {"nvml": {"ADAPTIVE_TGP": []}}]},
)
def adaptive_power(nvml: Nvml) -> None:
    """What root asks for is in force, and the adjusted limit is there while it is."""
    device, info = nvml.device(), nvml.out("nvmlAdaptiveTgpModeInfo_v1_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetAdaptiveTgpModeInfo_v1", device, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetAdaptiveTgpMode_v1", None, 1)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetAdaptiveTgpModeInfo_v1", device, info)
        return
    is_roots(nvml, "nvmlDeviceSetAdaptiveTgpMode_v1", device, 1)
    may_change(nvml)
    for mode, wanted in ((1, (1, 1, 650_000)), (0, (0, 0, 0))):
        nvml.ok("nvmlDeviceSetAdaptiveTgpMode_v1", device, mode)
        nvml.ok("nvmlDeviceGetAdaptiveTgpModeInfo_v1", device, info)
        known = nvml.value(info)
        nvml.equal(
            (known.inBandEnableRequest, known.enablementStatus, known.adjustedLimitMw), wanted, "request, state, limit"
        )
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetAdaptiveTgpMode_v1", device, 2)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceSetAdaptiveTgpMode_v1", nvml.device(1), 1)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetAdaptiveTgpModeInfo_v1", nvml.device(1), info)

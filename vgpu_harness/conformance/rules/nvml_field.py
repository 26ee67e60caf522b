"""Field values: many questions in one call."""

from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import INVALID_ARGUMENT, NOT_SUPPORTED, SUCCESS, number

_HEADER = "nvml.h 13.5"
_UNSIGNED_INT, _UNSIGNED_LONG_LONG = 1, 3
_HOST = {
    "gpu": [
        {
            "nvml": {
                "ECC_ERRORS": {0: 1, 8: 20, 11: 300, 27: 4},
                "REMAPPED_ROWS": [1, 2, 0, 0],
                "REMAPPED_ROWS_INACTIVE": [5, 6],
                "VIOLATION": {1: 77, 10: 88},
                "TEMPERATURE": [40, 45],
                "NVLINK_ERRORS": {0: 3, 18: 9},
                "NVLINK_STATE": {0: 1},
                "PCIE_REPLAYS": 12,
            }
        },
        {
            "profile": "t4-16gb",
            "nvml": {"NVLINKS": [], "RETIRED_PAGES": [1, 2], "RETIRED_PAGES_DOUBLE": [3]},
        },
    ]
}

_WANTED = {
    # field, scope: value
    (1, 0): 1, (2, 0): 1, (3, 0): 21, (4, 0): 0, (6, 0): 304, (7, 0): 1, (11, 0): 20, (23, 0): 300, (28, 0): 4,
    (75, 0): 77, (80, 0): 88, (82, 0): 45, (84, 0): 26562, (85, 0): 0, (90, 0): 26562, (91, 0): 18, (94, 0): 12,
    (142, 0): 1, (143, 0): 2, (161, 0): 3, (163, 1): 9, (161, 0xFFFFFFFF): 3, (164, 0): 26562, (165, 0): 1,
    (165, 1): 0, (166, 0): 6, (187, 0): 200000, (188, 0): 700000, (189, 0): 700000, (199, 0): 1, (200, 0): 0x1FFF,
    (223, 0): 1, (301, 0): 5, (302, 0): 6,
}  # fmt: skip


def _ask(nvml: Nvml, device: Any, *fields: tuple[int, int]) -> Any:
    box = nvml.out("nvmlFieldValue_t", len(fields))
    for i, (field, scope) in enumerate(fields):
        box[i].fieldId, box[i].scopeId = field, scope
    nvml.ok("nvmlDeviceGetFieldValues", device, len(fields), box)
    return box


def _number(value: Any) -> int:
    return int(value.value.ullVal if value.valueType == _UNSIGNED_LONG_LONG else value.value.uiVal)


@rule("nvmlDeviceGetFieldValues", source=f"{_HEADER}, nvmlFieldValue_t and NVML_FI_DEV_*", gpu=True, host=_HOST)
def fields_have_values(nvml: Nvml) -> None:
    """Each field has its own code, type, time and value; one that is not there does not spoil the others."""
    device = nvml.device()
    box = _ask(nvml, device, *_WANTED, (309, 0), (0, 0), (4711, 0))
    times = {box[i].timestamp for i in range(len(box))}
    nvml.check(all(0 < time < 1 << 62 for time in times), "each field has the time of its answer")
    nvml.check(box[len(_WANTED) + 2].nvmlReturn != SUCCESS, "there is no field 4711")
    if nvml.host is not None:
        for i, ((field, scope), wanted) in enumerate(_WANTED.items()):
            got = (box[i].nvmlReturn, _number(box[i]))
            nvml.equal(got, (SUCCESS, wanted), f"the answer for field {field} of scope {scope}")
        codes = [box[len(_WANTED) + i].nvmlReturn for i in range(3)]
        nvml.equal(codes, [NOT_SUPPORTED, INVALID_ARGUMENT, INVALID_ARGUMENT], "the codes of fields without a value")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetFieldValues", device, 1, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetFieldValues", device, 0, box)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetFieldValues", None, 1, box)


@rule("nvmlDeviceGetFieldValues", source=f"{_HEADER}, NVML_FI_DEV_*", gpu=True, host=_HOST)
def fields_agree_with_functions(nvml: Nvml) -> None:
    """Power and energy are those that their own functions answer; an older GPU has pages where a newer one has rows."""
    device = nvml.device()
    before = number(nvml, "nvmlDeviceGetTotalEnergyConsumption", device)
    box = _ask(nvml, device, (83, 0), (186, 0), (190, 0))
    after = number(nvml, "nvmlDeviceGetTotalEnergyConsumption", device)
    limit, power = number(nvml, "nvmlDeviceGetPowerManagementLimit", device), box[1]
    if before is not None and after is not None:
        nvml.check(before <= _number(box[0]) <= after, "the energy is between that of before and after")
    nvml.check(limit is None or power.nvmlReturn != SUCCESS or _number(power) <= 2 * limit, "the power is plausible")
    if nvml.host is not None:
        nvml.equal([_number(value) for value in box[1:3]], [71000, limit], "the power and its limit")
        old = _ask(nvml, nvml.device(1), (29, 0), (30, 0), (31, 0), (142, 0), (165, 0), (91, 0))
        got = [(old[i].nvmlReturn, _number(old[i])) for i in range(6)]
        nvml.equal(got, [(0, 2), (0, 1), (0, 0), (3, 0), (3, 0), (0, 0)], "fields of a T4")


@rule("nvmlDeviceClearFieldValues", source=f"{_HEADER}, nvmlDeviceClearFieldValues", gpu=True, host=_HOST)
def counters_of_links_are_cleared(nvml: Nvml) -> None:
    """Errors of one link are cleared, those of another stay; what counts nothing cannot be cleared."""
    device = nvml.device()
    box = nvml.out("nvmlFieldValue_t", 3)
    for i, field in enumerate(((161, 0), (1, 0), (161, 4711))):
        box[i].fieldId, box[i].scopeId = field
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceClearFieldValues", None, 1, box)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceClearFieldValues", device, 1, None)
    if nvml.host is not None:
        nvml.ok("nvmlDeviceClearFieldValues", device, 3, box)
        codes = [box[i].nvmlReturn for i in range(3)]
        nvml.equal(codes, [SUCCESS, NOT_SUPPORTED, INVALID_ARGUMENT], "the codes")
        left = _ask(nvml, device, (161, 0), (163, 1))
        nvml.equal([_number(left[0]), _number(left[1])], [0, 9], "the errors of links then")

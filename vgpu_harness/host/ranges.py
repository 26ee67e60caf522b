"""The bounds of what NVML tells of a GPU: of each property by itself, and of those that contradict each other.

A number leaves NVML in a field of 32 or 64 bits. One that does not fit there would arrive as another one, and a count
that no board has would make the shim look through as many links.
"""

import re
from collections.abc import Callable, Mapping

from vgpu_harness.host.base import wrong

_UNSIGNED, _SIGNED, _LONG = (0, 2**32 - 1), (-(2**31), 2**31 - 1), (0, 2**63 - 1)
_FLAG, _PERCENT = (0, 1), (0, 100)

# An image has 63 bits for what is not negative; the masks are whole words of 64 bits, so their highest bit is the sign.
_MASK = (-(2**63), 2**63 - 1)


def _all(kind: tuple[int, int], names: str) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(names.split(), kind)


RANGES: dict[str, tuple[int, int]] = {
    **_all(
        _FLAG,
        "ECC MIG REPAIR_PENDING DISPLAY_MODE DISPLAY_ACTIVE PERSISTENCE_MODE MULTI_GPU_BOARD API_RESTRICTED"
        " GSP_FIRMWARE AUTO_BOOST ADAPTIVE_CLOCKING DRAINING ADAPTIVE_TGP_ON ECC_DEFAULT ECC_NEXT ACCOUNTING_MODE"
        " NVLINK_STATE GPM_STREAMING MIG_NEXT",
    ),
    **_all(
        _PERCENT,
        "UTILIZATION_GPU UTILIZATION_MEMORY UTILIZATION_ENCODER UTILIZATION_DECODER UTILIZATION_JPG UTILIZATION_OFA"
        " ENCODER_CAPACITY FAN_SPEED_MIN FAN_SPEED_MAX FAN_TARGET",
    ),
    **_all(
        _LONG,
        "BAR1_TOTAL BAR1_USED BBX_FLUSH PDI CLOCK_REASONS CLOCK_REASONS_KNOWN ECC_ERRORS RETIRED_PAGES"
        " RETIRED_PAGES_DOUBLE VIOLATION NVLINK_ERRORS",
    ),
    **_all(_MASK, "WORKLOAD_CONFLICTS WORKLOAD_REQUESTED"),
    **_all(_SIGNED, "CLOCK_OFFSET_MIN CLOCK_OFFSET_MAX CLOCK_OFFSET"),
    "TEMPERATURE": (0, 2**31 - 1),  # nvml.h has it as int, too
    "TEMPERATURE_THRESHOLD": (0, 2**31 - 1),
    "FANS": (0, 255),  # own choice: far above any board
    "NVLINKS": (0, 36),  # NVML_NVLINK_MAX_LINKS of nvml.h 13.5
    "NVLINK_REMOTE": (0, 2**48 - 1),  # 32 bits of domain, 8 of bus, 8 of device
    "PLATFORM": (0, 255),  # unsigned char in nvmlPlatformInfo_t
    "NVLINK_MODE": (0, 255),  # the same in nvmlNvlinkGetBwMode_t
    "FABRIC_STATE": (0, 3),  # NVML_GPU_FABRIC_STATE_COMPLETED
}
"""The lowest and the highest value of each property that is not simply a number of 32 bits without a sign."""

_AT_MOST = {
    "BAR1_USED": "BAR1_TOTAL",
    "POWER_LIMIT_MIN": "POWER_LIMIT_MAX",
    "FAN_SPEED_MIN": "FAN_SPEED_MAX",
    "CLOCK_OFFSET_MIN": "CLOCK_OFFSET_MAX",
    "CLOCK_LOCKED_MIN": "CLOCK_LOCKED_MAX",
}

_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{32}", re.ASCII)
_CHASSIS_BYTES = 16


def _check_hexadecimal(text: str) -> None:
    if not _HEXADECIMAL.fullmatch(text):
        raise wrong("is not 32 hexadecimal digits", "write 0 to 9 and a to f, as the bytes of a UUID")


def _check_chassis(text: str) -> None:
    if len(text.encode()) > _CHASSIS_BYTES:
        raise wrong(f"is longer than {_CHASSIS_BYTES} bytes", "write fewer")


TEXTS: dict[str, Callable[[str], None]] = {
    "CHASSIS_SERIAL": _check_chassis,
    "GPU_GUID": _check_hexadecimal,
    "FABRIC_CLUSTER": _check_hexadecimal,
}
"""What else is asked of a text than that it is one."""


def range_of(name: str) -> tuple[int, int]:
    """The lowest and the highest value of a property."""
    return RANGES.get(name, _UNSIGNED)


def check_range(name: str, index: int, value: int, *, single: bool) -> None:
    """Refuses a number outside of its property's range.

    Args:
        name: the property.
        index: which of several.
        value: the number.
        single: it stands by itself in the host file, so that the message need not say which one it is.

    Raises:
        PydanticCustomError: it is outside.
    """
    least, most = range_of(name)
    if least <= value <= most:
        return
    size, remedy = ("small", f"write {least} or more") if value < least else ("large", f"write {most} or less")
    raise wrong(f"too {size}" if single else f"{value} at index {index} is too {size}", remedy)


def contradictions(
    found: Mapping[str, Mapping[int, int | str]], given: Mapping[str, object]
) -> list[tuple[str, str, str]]:
    """What does not fit together: key, what is wrong with it, and what to do.

    Args:
        found: all properties of a GPU, by name and index.
        given: those of the host file; one of these is the key.
    """
    told = []
    for lower, upper in _AT_MOST.items():
        for index in sorted(found.get(lower, {}).keys() & found.get(upper, {}).keys()):
            low, high = found[lower][index], found[upper][index]
            if isinstance(low, int) and isinstance(high, int) and low > high:
                at = f" at index {index}" if index else ""
                text = f"{low}{at} is more than {upper}, which is {high}"
                if lower not in given:
                    text = f"{lower}, which is {low}, is more than {high}{at}"
                key = lower if lower in given else upper
                told.append((key, text, "lower the one or raise the other"))
    return told

"""Errors of memories: ECC, retired pages, remapped rows."""

from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INSUFFICIENT_SIZE,
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
_CORRECTED, _UNCORRECTED, _VOLATILE, _AGGREGATE = 0, 1, 0, 1
_L1, _L2, _DEVICE, _REGISTERS, _SHARED, _CONTROL, _SRAM = 0, 1, 2, 3, 5, 6, 7


def _index(location: int, counter: int, kind: int) -> int:
    return 4 * location + 2 * counter + kind


_ERRORS = {
    _index(_L1, _VOLATILE, _CORRECTED): 1,
    _index(_L2, _VOLATILE, _CORRECTED): 2,
    _index(_DEVICE, _VOLATILE, _CORRECTED): 30,
    _index(_REGISTERS, _VOLATILE, _CORRECTED): 4,
    _index(_DEVICE, _AGGREGATE, _UNCORRECTED): 500,
    _index(_L2, _AGGREGATE, _UNCORRECTED): 6,
    _index(_SHARED, _AGGREGATE, _UNCORRECTED): 7,
    _index(_CONTROL, _AGGREGATE, _UNCORRECTED): 8,
    _index(_SRAM, _VOLATILE, _UNCORRECTED): 9,
}
_WORN = {"gpu": [{"nvml": {"ECC_ERRORS": _ERRORS}}, {"nvml": {"ECC": []}}]}


@rule(
    "nvmlDeviceGetEccMode",
    "nvmlDeviceGetDefaultEccMode",
    "nvmlDeviceSetEccMode",
    source=f"{_HEADER}, nvmlDeviceSetEccMode",
    gpu=True,
    host=_WORN,
)
def ecc_mode(nvml: Nvml) -> None:
    """Root's new mode is pending and not current; without ECC there is no mode."""
    device = nvml.device()
    now, then = nvml.out("nvmlEnableState_t"), nvml.out("nvmlEnableState_t")
    nvml.ok("nvmlDeviceGetEccMode", device, now, then)
    nvml.check({nvml.value(now), nvml.value(then)} <= {0, 1}, "the modes are on or off")
    number(nvml, "nvmlDeviceGetDefaultEccMode", device)
    refuses_nothing(nvml, "nvmlDeviceGetDefaultEccMode", device)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetEccMode", device, now, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetEccMode", None, now, then)
    if nvml.host is None:
        return
    nvml.equal((now[0], then[0]), (1, 1), "the modes of an H100")
    is_number(nvml, 1, "nvmlDeviceGetDefaultEccMode", device)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetEccMode", device, 2)
    is_roots(nvml, "nvmlDeviceSetEccMode", device, 0)
    if may_change(nvml):
        nvml.ok("nvmlDeviceSetEccMode", device, 0)
        nvml.ok("nvmlDeviceGetEccMode", device, now, then)
        nvml.equal((now[0], then[0]), (1, 0), "the modes after one was set")
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceSetEccMode", nvml.device(1), 1)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetEccMode", nvml.device(1), now, then)
    nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetDefaultEccMode", nvml.device(1), now)


def _total(nvml: Nvml, device: Any, kind: int, counter: int) -> int | None:
    return number(nvml, "nvmlDeviceGetTotalEccErrors", device, kind, counter)


@rule(
    "nvmlDeviceGetTotalEccErrors",
    "nvmlDeviceGetDetailedEccErrors",
    "nvmlDeviceGetMemoryErrorCounter",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=_WORN,
)
def errors_are_counted(nvml: Nvml) -> None:
    """The total, four places side by side, and each place by itself count the same errors."""
    device, box = nvml.device(), nvml.out("nvmlEccErrorCounts_t")
    if _total(nvml, device, 0, 0) is None:
        return
    for kind in (_CORRECTED, _UNCORRECTED):
        for counter in (_VOLATILE, _AGGREGATE):
            box = nvml.out("nvmlEccErrorCounts_t")
            nvml.ok("nvmlDeviceGetDetailedEccErrors", device, kind, counter, box)
            counts = nvml.value(box)
            four = [counts.l1Cache, counts.l2Cache, counts.deviceMemory, counts.registerFile]
            if nvml.host is None:
                nvml.check((_total(nvml, device, kind, counter) or 0) < 1 << 62, "the total is plausible")
                continue
            places = [_ERRORS.get(_index(place, counter, kind), 0) for place in range(8)]
            nvml.equal(four, places[:4], "the errors of four places")
            nvml.equal(_total(nvml, device, kind, counter), sum(places), "all errors")
            for place, wanted in enumerate(places):
                is_number(nvml, wanted, "nvmlDeviceGetMemoryErrorCounter", device, kind, counter, place)
    for wrong in ((2, 0), (0, 2), (-1, 0)):
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetTotalEccErrors", device, *wrong, nvml.out("unsigned long long"))
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetDetailedEccErrors", device, *wrong, box)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetMemoryErrorCounter", device, 0, 0, 8, nvml.out("unsigned long long"))
    for function, *arguments in (("nvmlDeviceGetTotalEccErrors", 0, 0), ("nvmlDeviceGetDetailedEccErrors", 0, 0),
                                 ("nvmlDeviceGetMemoryErrorCounter", 0, 0, 0)):  # fmt: skip
        refuses_nothing(nvml, function, device, *arguments)
    if nvml.host is not None:
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetDetailedEccErrors", nvml.device(1), 0, 0, box)


@rule("nvmlDeviceClearEccErrorCounts", source=f"{_HEADER}, the function named", gpu=True, host=_WORN)
def errors_are_forgotten(nvml: Nvml) -> None:
    """Root clears the errors of one counter and leaves those of the other."""
    device = nvml.device()
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceClearEccErrorCounts", None, 0)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceClearEccErrorCounts", device, 2)
    if nvml.host is None:
        return
    is_roots(nvml, "nvmlDeviceClearEccErrorCounts", device, _VOLATILE)
    if may_change(nvml):
        nvml.ok("nvmlDeviceClearEccErrorCounts", device, _VOLATILE)
        left = [_total(nvml, device, kind, counter) for counter in (0, 1) for kind in (0, 1)]
        nvml.equal(left, [0, 0, 0, 521], "the errors that are left")
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceClearEccErrorCounts", nvml.device(1), _VOLATILE)


@rule("nvmlDeviceGetSramEccErrorStatus", source=f"{_HEADER}, nvmlEccSramErrorStatus_v1_t", gpu=True, host=_WORN)
def errors_of_sram(nvml: Nvml) -> None:
    """The status counts the errors of all memories but the device's own, and those of a lifetime by unit."""
    device, kind = nvml.device(), "nvmlEccSramErrorStatus_t"
    box = nvml.out(kind, version=version(nvml, kind, 1))
    if nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetSramEccErrorStatus", device, box) == SUCCESS:
        got = nvml.value(box)
        nvml.check(got.bThresholdExceeded in (0, 1), "the threshold is exceeded or not")
        if nvml.host is not None:
            said = (got.aggregateUncSecDed, got.aggregateCor, got.volatileUncSecDed, got.volatileCor)
            nvml.equal(said, (21, 0, 9, 7), "the errors of a lifetime and since the start")
            buckets = (got.aggregateUncBucketL2, got.aggregateUncBucketSm, got.aggregateUncBucketOther)
            nvml.equal(buckets, (6, 7, 8), "the errors of units")
            nvml.equal(got.volatileUncParity + got.aggregateUncParity, 0, "the errors of parity")
    nvml.check(nvml.host is None or box[0].volatileCor == 7, "the status has been written")
    checks_version(nvml, "nvmlDeviceGetSramEccErrorStatus", device, kind, 1)


@rule(
    "nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts",
    source=f"{_HEADER}, nvmlEccSramUniqueUncorrectedErrorCounts_v1_t",
    gpu=True,
)
def no_unique_errors(nvml: Nvml) -> None:
    """A healthy device has an empty list of them."""
    device, kind = nvml.device(), "nvmlEccSramUniqueUncorrectedErrorCounts_t"
    function = "nvmlDeviceGetSramUniqueUncorrectedEccErrorCounts"
    box = nvml.struct(kind, version=version(nvml, kind, 1), entryCount=7)
    if nvml.host is not None:
        nvml.ok(function, device, box)
        nvml.equal(box[0].entryCount, 0, "the errors of an H100")
    checks_version(nvml, function, device, kind, 1)


_OLD = {
    "gpu": [
        {"profile": "t4-16gb", "nvml": {"RETIRED_PAGES": [0x1000, 0x2000], "RETIRED_PAGES_DOUBLE": [0x3000]}},
        {},
    ]
}


@rule(
    "nvmlDeviceGetRetiredPages",
    "nvmlDeviceGetRetiredPages_v2",
    "nvmlDeviceGetRetiredPagesPendingStatus",
    source=f"{_HEADER}, nvmlDeviceGetRetiredPages_v2",
    gpu=True,
    host=_OLD,
)
def retired_pages(nvml: Nvml) -> None:
    """A GPU before Ampere lists the pages that each kind of error has put out of use; newer ones remap rows."""
    device = nvml.device()
    times = nvml.out("unsigned long long", 8)
    for cause, wanted in ((0, [0x1000, 0x2000]), (1, [0x3000])):
        for function, extra in (("nvmlDeviceGetRetiredPages", ()), ("nvmlDeviceGetRetiredPages_v2", (times,))):
            count, pages = nvml.struct("unsigned int"), nvml.out("unsigned long long", 8)
            codes = (SUCCESS, INSUFFICIENT_SIZE, NOT_SUPPORTED)
            code = nvml.expect(codes, function, device, cause, count, None, *extra)
            nvml.expect(INVALID_ARGUMENT, function, device, cause, None, pages, *extra)
            nvml.expect(INVALID_ARGUMENT, function, device, 2, count, pages, *extra)
            nvml.expect(INVALID_ARGUMENT, function, None, cause, count, pages, *extra)
            if nvml.host is None:
                continue
            nvml.equal((code, count[0]), (INSUFFICIENT_SIZE, len(wanted)), "code and number with no room")
            count[0] = 8
            nvml.ok(function, device, cause, count, pages, *extra)
            nvml.equal(nvml.values(pages, count[0]), wanted, "the pages")
            count[0] = 0
            nvml.expect(NOT_SUPPORTED, function, nvml.device(1), cause, count, None, *extra)
    if nvml.host is not None:
        is_number(nvml, 0, "nvmlDeviceGetRetiredPagesPendingStatus", device)
        pending = nvml.out("nvmlEnableState_t")
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetRetiredPagesPendingStatus", nvml.device(1), pending)
        nvml.untouched(pending)
    refuses_nothing(nvml, "nvmlDeviceGetRetiredPagesPendingStatus", device)


_REMAPPED = {
    "gpu": [
        {
            "nvml": {
                "REMAPPED_ROWS": [1, 2, 1, 1],
                "REMAPPED_ROWS_INACTIVE": [3, 4],
                "ROW_BANKS": [2559, 1, 0, 0, 5],
                "BANKS_REMAPPED": [1, 2, 0, 30, 4],
            }
        },
        {"profile": "t4-16gb"},
    ]
}


@rule(
    "nvmlDeviceGetRemappedRows",
    "nvmlDeviceGetRemappedRows_v2",
    "nvmlDeviceGetRowRemapperHistogram",
    "nvmlDeviceGetBankRemapperStatus_v1",
    "nvmlDeviceGetUnrepairableMemoryFlag_v1",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=_REMAPPED,
)
def remapped_rows(nvml: Nvml) -> None:
    """From Ampere on rows and banks are remapped: how many, whether some wait or have failed, what is spare."""
    device = nvml.device()
    structs = {
        "nvmlDeviceGetRemappedRows_v2": ("nvmlRemappedRowsInfo_v2_t", [1, 3, 2, 4, 1, 1]),
        "nvmlDeviceGetRowRemapperHistogram": ("nvmlRowRemapperHistogramValues_t", [2559, 1, 0, 0, 5]),
        "nvmlDeviceGetBankRemapperStatus_v1": ("nvmlEccBankRemapperStatus_v1_t", [1, 2, 0, 30, 4]),
        "nvmlDeviceGetUnrepairableMemoryFlag_v1": ("nvmlUnrepairableMemoryStatus_v1_t", [1]),
    }
    for function, (kind, wanted) in structs.items():
        box = nvml.out(kind)
        code = nvml.expect(SUCCESS if nvml.host is not None else (SUCCESS, NOT_SUPPORTED, 13), function, device, box)
        if code == SUCCESS:
            nvml.value(box)
            words = list(nvml.ffi.cast("unsigned int *", box)[0 : len(wanted)])
            nvml.check(nvml.host is None or words == wanted, f"{function} answers {wanted}, not {words}")
        refuses_nothing(nvml, function, device)
        if nvml.host is not None:
            nvml.expect(NOT_SUPPORTED, function, nvml.device(1), nvml.out(kind))
    numbers = [nvml.out("unsigned int") for _ in range(4)]
    if nvml.host is not None:
        nvml.ok("nvmlDeviceGetRemappedRows", device, *numbers)
        nvml.equal([nvml.value(box) for box in numbers], [1, 2, 1, 1], "the remapped rows")
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetRemappedRows", nvml.device(1), *numbers)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetRemappedRows", device, *numbers[:3], None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetRemappedRows", None, *numbers)

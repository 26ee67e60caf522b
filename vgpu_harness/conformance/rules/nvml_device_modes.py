"""Modes of a device that can be set: persistence, compute, operation, restrictions, name, being in service."""

from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    IN_USE,
    INVALID_ARGUMENT,
    NOT_SUPPORTED,
    SUCCESS,
    is_number,
    is_roots,
    may_change,
    number,
    refuses_nothing,
)

_HEADER = "nvml.h 13.5"


def _mode_is_set(nvml: Nvml, what: str, modes: tuple[int, ...], bad: int) -> None:
    device, setter, getter = nvml.device(), f"nvmlDeviceSet{what}", f"nvmlDeviceGet{what}"
    nvml.expect(INVALID_ARGUMENT, setter, None, modes[0])
    refuses_nothing(nvml, getter, device)
    number(nvml, getter, device)
    if nvml.host is None:
        return
    nvml.expect(INVALID_ARGUMENT, setter, device, bad)
    is_roots(nvml, setter, device, modes[0])
    if may_change(nvml):
        for mode in modes:
            nvml.ok(setter, device, mode)
            is_number(nvml, mode, getter, device)


@rule(
    "nvmlDeviceSetPersistenceMode", "nvmlDeviceGetPersistenceMode", source=f"{_HEADER}, the functions named", gpu=True
)
def persistence_mode(nvml: Nvml) -> None:
    """Root turns persistence mode on and off, and the getter says so."""
    _mode_is_set(nvml, "PersistenceMode", (1, 0, 1), 2)


@rule("nvmlDeviceSetComputeMode", "nvmlDeviceGetComputeMode", source=f"{_HEADER}, enum nvmlComputeMode_t", gpu=True)
def compute_mode(nvml: Nvml) -> None:
    """Root sets each of the four compute modes, and the getter says so."""
    _mode_is_set(nvml, "ComputeMode", (3, 2, 1, 0), 4)


@rule(
    "nvmlDeviceSetPersistenceMode",
    "nvmlDeviceGetPersistenceMode",
    source="own choice: settings are the driver's, not the library's",
    gpu=True,
)
def settings_outlive_the_library(nvml: Nvml) -> None:
    """What was set holds after nvmlShutdown and a new nvmlInit, for that device alone, and in a forked child."""
    device = nvml.device()
    before = number(nvml, "nvmlDeviceGetPersistenceMode", device)
    if not may_change(nvml):
        return
    nvml.ok("nvmlDeviceSetPersistenceMode", device, 1 - (before or 0))
    nvml.ok("nvmlShutdown")
    is_number(nvml, 1 - (before or 0), "nvmlDeviceGetPersistenceMode", nvml.device())

    def in_child() -> int:
        is_number(nvml, 1 - (before or 0), "nvmlDeviceGetPersistenceMode", nvml.device())
        return 0

    nvml.equal(nvml.in_fork(in_child), 0, "a forked child's answer")


@rule(
    "nvmlDeviceGetGpuOperationMode",
    "nvmlDeviceSetGpuOperationMode",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host={"gpu": [{"nvml": {"OPERATION_MODE": 2}}, {"nvml": {"OPERATION_MODE": []}}]},
)
def operation_mode(nvml: Nvml) -> None:
    """A new operation mode is pending until the next start; boards without them refuse."""
    device, now, pending = nvml.device(), nvml.out("nvmlGpuOperationMode_t"), nvml.out("nvmlGpuOperationMode_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGpuOperationMode", device, now, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetGpuOperationMode", device, None, pending)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetGpuOperationMode", device, now, pending)
        return
    nvml.ok("nvmlDeviceGetGpuOperationMode", device, now, pending)
    nvml.equal((nvml.value(now), nvml.value(pending)), (2, 2), "the mode now and next")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetGpuOperationMode", device, 3)
    is_roots(nvml, "nvmlDeviceSetGpuOperationMode", device, 1)
    if may_change(nvml):
        nvml.ok("nvmlDeviceSetGpuOperationMode", device, 1)
        nvml.ok("nvmlDeviceGetGpuOperationMode", device, now, pending)
        nvml.equal((nvml.value(now), nvml.value(pending)), (2, 1), "the mode now and next")
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceSetGpuOperationMode", nvml.device(1), 1)
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetGpuOperationMode", nvml.device(1), now, pending)


@rule(
    "nvmlDeviceGetAPIRestriction",
    "nvmlDeviceSetAPIRestriction",
    source=f"{_HEADER}, enum nvmlRestrictedAPI_t",
    gpu=True,
    host={"gpu": [{"nvml": {"AUTO_BOOST": [1, 1]}}, {"nvml": {"AUTO_BOOST": []}}]},
)
def restrictions(nvml: Nvml) -> None:
    """Root opens and closes a function to others; what the device cannot do cannot be restricted."""
    device, out = nvml.device(), nvml.out("nvmlEnableState_t")
    refuses_nothing(nvml, "nvmlDeviceGetAPIRestriction", device, 0)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetAPIRestriction", device, 2, out)
    for api, usual in ((0, 1), (1, 0)):
        is_number(nvml, usual, "nvmlDeviceGetAPIRestriction", device, api)
        if nvml.host is not None:
            nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetAPIRestriction", device, api, 2)
            nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetAPIRestriction", device, 2, 1)
            is_roots(nvml, "nvmlDeviceSetAPIRestriction", device, api, 1 - usual)
        if may_change(nvml):
            nvml.ok("nvmlDeviceSetAPIRestriction", device, api, 1 - usual)
            is_number(nvml, 1 - usual, "nvmlDeviceGetAPIRestriction", device, api)
            nvml.ok("nvmlDeviceSetAPIRestriction", device, api, usual)
    if nvml.host is not None:
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetAPIRestriction", nvml.device(1), 1, out)


@rule(
    "nvmlDeviceSetHostname_v1",
    "nvmlDeviceGetHostname_v1",
    source=f"{_HEADER}, the functions named: Blackwell or newer",
    gpu=True,
    host={"gpu": [{"compute": "10.0"}, {}]},
)
def the_name_of_a_device(nvml: Nvml) -> None:
    """Root names a GPU, and anyone reads the name; one too long, or of other characters, is refused."""
    device, named = nvml.device(), nvml.struct("nvmlHostname_v1_t")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetHostname_v1", device, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetHostname_v1", device, None)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED), "nvmlDeviceGetHostname_v1", device, named)
        return
    is_roots(nvml, "nvmlDeviceSetHostname_v1", device, named)
    if may_change(nvml):
        for name in (b"rack-3.gpu7", b"n" * 63):
            named[0].value = name
            nvml.ok("nvmlDeviceSetHostname_v1", device, named)
            said = nvml.out("nvmlHostname_v1_t")
            nvml.ok("nvmlDeviceGetHostname_v1", device, said)
            nvml.equal(nvml.string(nvml.value(said).value), name.decode(), "the name")
        for wrong in (b"n" * 64, b"a b", b"a/b"):
            named[0].value = wrong
            nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetHostname_v1", device, named)
        named[0].value = b"x"
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceSetHostname_v1", nvml.device(1), named)
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceGetHostname_v1", nvml.device(1), named)


@rule(
    "nvmlDeviceGetDriverModel",
    "nvmlDeviceSetDriverModel",
    source=f"{_HEADER}: for windows only; measured on 535.261.03: 1 before nvmlInit",
    gpu=False,
)
def driver_models_before_init(nvml: Nvml) -> None:
    """Before nvmlInit the driver model is NVML_ERROR_UNINITIALIZED, whatever the arguments are."""
    out = nvml.out("nvmlDriverModel_t")
    for function in ("nvmlDeviceGetDriverModel", "nvmlDeviceGetDriverModel_v2"):
        if nvml.has(function):  # 535 does not know the newer name
            nvml.expect(1, function, None, out, None)
    nvml.expect(1, "nvmlDeviceSetDriverModel", None, 0, 0)
    nvml.untouched(out)


@rule(
    "nvmlDeviceGetDriverModel",
    "nvmlDeviceGetDriverModel_v2",
    "nvmlDeviceSetDriverModel",
    source=f"{_HEADER}, the functions named: for windows only",
    gpu=True,
)
def driver_models(nvml: Nvml) -> None:
    """Linux has no driver models; one of the two outputs may be NULL, not both."""
    device, out = nvml.device(), nvml.out("nvmlDriverModel_t")
    for function in ("nvmlDeviceGetDriverModel", "nvmlDeviceGetDriverModel_v2"):
        for arguments in ((out, None), (None, out), (out, out)):
            nvml.expect(NOT_SUPPORTED, function, device, *arguments)
        nvml.expect(INVALID_ARGUMENT, function, device, None, None)
        nvml.expect(INVALID_ARGUMENT, function, None, out, out)
    nvml.untouched(out)
    if nvml.host is not None:
        nvml.expect(NOT_SUPPORTED, "nvmlDeviceSetDriverModel", device, 1, 0)
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceSetDriverModel", device, 3, 0)


def _address(nvml: Nvml, device: Any) -> Any:
    pci = nvml.out("nvmlPciInfo_t")
    nvml.ok("nvmlDeviceGetPciInfo_v3", device, pci)
    return pci


def _counted(nvml: Nvml) -> int | None:
    return number(nvml, "nvmlDeviceGetCount_v2")


@rule("nvmlDeviceModifyDrainState", "nvmlDeviceQueryDrainState", source=f"{_HEADER}, the functions named", gpu=True)
def draining(nvml: Nvml) -> None:
    """Root starts and ends the draining of a GPU, named by its PCI address; an address of none is refused."""
    pci = _address(nvml, nvml.device())
    refuses_nothing(nvml, "nvmlDeviceQueryDrainState", pci)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceModifyDrainState", None, 0)
    if nvml.host is None:
        nvml.expect((SUCCESS, NOT_SUPPORTED, 4), "nvmlDeviceQueryDrainState", pci, nvml.out("nvmlEnableState_t"))
        return
    is_number(nvml, 0, "nvmlDeviceQueryDrainState", pci)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceModifyDrainState", pci, 2)
    is_roots(nvml, "nvmlDeviceModifyDrainState", pci, 1)
    if may_change(nvml):
        for state in (1, 0):
            nvml.ok("nvmlDeviceModifyDrainState", pci, state)
            is_number(nvml, state, "nvmlDeviceQueryDrainState", pci)
        nowhere = nvml.struct("nvmlPciInfo_t", domain=0xFFFF, bus=0xFF, device=0x1F)
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceModifyDrainState", nowhere, 1)
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceQueryDrainState", nowhere, nvml.out("nvmlEnableState_t"))


_TWO = {"gpu": [{"nvml": {"PERSISTENCE_MODE": 0}}, {"nvml": {"PERSISTENCE_MODE": 1}}]}


@rule(
    "nvmlDeviceRemoveGpu",
    "nvmlDeviceRemoveGpu_v2",
    "nvmlDeviceDiscoverGpus",
    source=f"{_HEADER}, the functions named",
    gpu=True,
    host=_TWO,
)
def removal_and_discovery(nvml: Nvml) -> None:
    """A removed GPU is counted no more, its handle is none, others move up; discovery brings it back."""
    first, second = nvml.device(0), nvml.device(1 if nvml.host is not None else 0)
    for function in ("nvmlDeviceRemoveGpu", "nvmlDeviceDiscoverGpus"):
        nvml.expect((INVALID_ARGUMENT, 4), function, None)
    nvml.expect((INVALID_ARGUMENT, 4), "nvmlDeviceRemoveGpu_v2", None, 0, 0)
    if nvml.host is None:
        return
    pci, other = _address(nvml, first), _address(nvml, second)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceRemoveGpu_v2", pci, 2, 0)
    for call in (("nvmlDeviceRemoveGpu", pci), ("nvmlDeviceRemoveGpu_v2", pci, 0, 0), ("nvmlDeviceDiscoverGpus", pci)):
        is_roots(nvml, *call)
    may_change(nvml)
    for call in (("nvmlDeviceRemoveGpu", pci), ("nvmlDeviceRemoveGpu_v2", pci, 1, 1)):
        nvml.ok(*call)
        nvml.equal(_counted(nvml), 1, "the number of devices")
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetIndex", first, nvml.out("unsigned int"))
        is_number(nvml, 0, "nvmlDeviceGetIndex", second)
        nvml.equal(nvml.device(0), second, "the first device's handle")
        nvml.expect(INVALID_ARGUMENT, *call)
        nvml.ok("nvmlDeviceDiscoverGpus", pci)
        nvml.equal(_counted(nvml), 2, "the number of devices")
        is_number(nvml, 0, "nvmlDeviceGetIndex", first)
    nvml.expect(IN_USE, "nvmlDeviceRemoveGpu", other)
    nowhere = nvml.struct("nvmlPciInfo_t", domain=0xFFFF, bus=0xFF, device=0x1F)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceDiscoverGpus", nowhere)

"""What NVML says of the system: processes, the driver's branch, excluded devices, private tables."""

import os
import sys

from vgpu_harness.conformance.rule import Nvml, rule
from vgpu_harness.conformance.rules.nvml_common import (
    INVALID_ARGUMENT,
    NOT_FOUND,
    is_number,
    version,
)

_HEADER = "nvml.h 13.5"
_INSUFFICIENT_SIZE, _FUNCTION_NOT_FOUND = 7, 13


@rule("nvmlSystemGetProcessName", source=f"{_HEADER}, nvmlSystemGetProcessName", gpu=True)
def names_of_processes(nvml: Nvml) -> None:
    """A living process has a name, cut to the buffer; a number that no process has is NVML_ERROR_NOT_FOUND."""
    nvml.init()
    name, small = nvml.out("char", 4096), nvml.out("char", 3)
    nvml.ok("nvmlSystemGetProcessName", os.getpid(), name, 4096)
    said = nvml.text(name)
    nvml.check(os.path.basename(said).startswith("python") or said == sys.argv[0], f"{said!r} is this process")  # noqa: PTH119
    nvml.ok("nvmlSystemGetProcessName", os.getpid(), small, 3)
    nvml.equal(nvml.text(small), said[:2], "a name cut to three bytes")
    nvml.expect(INVALID_ARGUMENT, "nvmlSystemGetProcessName", os.getpid(), None, 80)
    nvml.expect(INVALID_ARGUMENT, "nvmlSystemGetProcessName", os.getpid(), small, 0)
    nvml.expect(NOT_FOUND, "nvmlSystemGetProcessName", 2**31 - 1, name, 4096)


@rule(
    "nvmlSystemGetProcessName",
    source="own choice: a host file's processes have the names that it gives them",
    gpu=True,
    host={"gpu": [{"process": [{"pid": 4194000, "name": "trainer", "memory_mib": 300}]}]},
)
def names_of_simulated_processes(nvml: Nvml) -> None:
    """A process of the simulated host has a name too; without such a host, only living ones have."""
    nvml.init()
    name = nvml.out("char", 80)
    nvml.expect(NOT_FOUND if nvml.host is None else 0, "nvmlSystemGetProcessName", 4194000, name, 80)
    if nvml.host is not None:
        nvml.equal(nvml.text(name), "trainer", "the name of process 4194000")


@rule("nvmlSystemGetDriverBranch", source=f"{_HEADER}, nvmlSystemGetDriverBranch", gpu=True)
def the_branch_of_the_driver(nvml: Nvml) -> None:
    """The branch starts with r and the driver's major version; version, NULL and a small buffer are refused."""
    nvml.init()
    kind, driver = "nvmlSystemDriverBranchInfo_t", nvml.out("char", 80)
    nvml.ok("nvmlSystemGetDriverVersion", driver, 80)
    branch = nvml.out(kind, version=version(nvml, kind, 1))
    nvml.ok("nvmlSystemGetDriverBranch", branch, 80)
    said = nvml.string(nvml.value(branch).branch)
    nvml.equal(said.partition("_")[0], "r" + nvml.text(driver).partition(".")[0], "the branch")
    nvml.expect(INVALID_ARGUMENT, "nvmlSystemGetDriverBranch", None, 80)
    nvml.expect(25, "nvmlSystemGetDriverBranch", nvml.out(kind, version=1), 80)
    small = nvml.out(kind, version=version(nvml, kind, 1))
    nvml.expect(_INSUFFICIENT_SIZE, "nvmlSystemGetDriverBranch", small, len(said))
    nvml.untouched(small)


@rule(
    "nvmlGetExcludedDeviceCount",
    "nvmlGetBlacklistDeviceCount",
    "nvmlGetExcludedDeviceInfoByIndex",
    "nvmlGetBlacklistDeviceInfoByIndex",
    source=f"{_HEADER}, nvmlGetExcludedDeviceCount; the older name is its macro",
    gpu=True,
)
def excluded_devices(nvml: Nvml) -> None:
    """Excluded devices are counted, on the simulated host none; one past the last is NVML_ERROR_INVALID_ARGUMENT."""
    nvml.init()
    for name in ("Excluded", "Blacklist"):
        is_number(nvml, 0, f"nvmlGet{name}DeviceCount")
        nvml.expect(INVALID_ARGUMENT, f"nvmlGet{name}DeviceCount", None)
        info = nvml.out("nvmlExcludedDeviceInfo_t")
        nvml.expect(INVALID_ARGUMENT, f"nvmlGet{name}DeviceInfoByIndex", 64, info)
        nvml.expect(INVALID_ARGUMENT, f"nvmlGet{name}DeviceInfoByIndex", 0, None)
        nvml.untouched(info)


@rule(
    "nvmlInternalGetExportTable",
    source="measured on 535.261.03: 2 and NULL before nvmlInit, for an unknown and a zero id",
    gpu=False,
)
def private_tables_before_init(nvml: Nvml) -> None:
    """Before nvmlInit every call for a private table is NVML_ERROR_INVALID_ARGUMENT and gives none."""
    for table_id in (b"\0" * 16, b"\xab" * 16):
        table = nvml.out("const void *")
        nvml.expect(INVALID_ARGUMENT, "nvmlInternalGetExportTable", table, table_id)
        nvml.equal(nvml.value(table), nvml.null, "the table")
    nvml.expect(INVALID_ARGUMENT, "nvmlInternalGetExportTable", None, b"\xab" * 16)
    nvml.expect(INVALID_ARGUMENT, "nvmlInternalGetExportTable", nvml.out("const void *"), None)


@rule("nvmlInternalGetExportTable", source="the lupine project, on 590.48.01: 13 for an unknown id", gpu=True)
def private_tables_after_init(nvml: Nvml) -> None:
    """After nvmlInit a private table that is not there is not found, and NULL."""
    nvml.init()
    table = nvml.out("const void *")
    nvml.expect(_FUNCTION_NOT_FOUND, "nvmlInternalGetExportTable", table, b"\xab" * 16)
    nvml.equal(nvml.value(table), nvml.null, "the table")
    nvml.expect(INVALID_ARGUMENT, "nvmlInternalGetExportTable", None, b"\xab" * 16)
    nvml.expect(INVALID_ARGUMENT, "nvmlInternalGetExportTable", table, None)


@rule("nvmlDeviceGetHandleByUUIDV", source=f"{_HEADER}, nvmlDeviceGetHandleByUUIDV, nvmlUUIDType_t", gpu=True)
def handles_by_either_form_of_uuid(nvml: Nvml) -> None:
    """The text and the 16 bytes of a UUID both lead to the device; other kinds, versions and UUIDs do not."""
    device, text, kind = nvml.device(), nvml.out("char", 96), "nvmlUUID_t"
    nvml.ok("nvmlDeviceGetUUID", device, text, 96)
    uuid = nvml.text(text)
    raw = bytes.fromhex(uuid.removeprefix("GPU-").replace("-", ""))
    for form, content in ((1, uuid.encode()), (2, raw)):
        asked, handle = nvml.struct(kind, version=version(nvml, kind, 1), type=form), nvml.out("nvmlDevice_t")
        nvml.ffi.memmove(asked[0].value.str, content, len(content))
        nvml.ok("nvmlDeviceGetHandleByUUIDV", asked, handle)
        nvml.equal(nvml.value(handle), device, "the handle")
        asked[0].value.str[6] = b"\x7f"
        nvml.expect(NOT_FOUND, "nvmlDeviceGetHandleByUUIDV", asked, handle)
        asked[0].type = 3
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetHandleByUUIDV", asked, handle)
        asked[0].version = 1
        nvml.expect(25, "nvmlDeviceGetHandleByUUIDV", asked, handle)
        nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetHandleByUUIDV", asked, None)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetHandleByUUIDV", None, nvml.out("nvmlDevice_t"))

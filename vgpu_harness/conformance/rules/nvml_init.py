"""nvmlInit in its forms, nvmlShutdown, versions, and the devices that are known then."""

from typing import Any

from vgpu_harness.conformance.rule import Nvml, rule

UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, INSUFFICIENT_SIZE = 1, 2, 3, 7
NOT_LOADED = (9, 4, 12, 18, 999)
"""What nvmlInit may answer where there is no usable driver (nvml.h 13.5, nvmlInit_v2)."""


def _counts(nvml: Nvml) -> int:
    count = nvml.out("unsigned int")
    nvml.ok("nvmlDeviceGetCount_v2", count)
    return int(nvml.value(count))


@rule("nvmlInit_v2", "nvmlShutdown", source="nvml.h 13.5, nvmlInit_v2, nvmlShutdown; cuda-python's tests", gpu=True)
def init_and_shutdown(nvml: Nvml) -> None:
    """Devices can be counted from nvmlInit_v2 to nvmlShutdown; outside of it the answer is NVML_ERROR_UNINITIALIZED."""
    count = nvml.out("unsigned int")
    for _ in range(2):
        nvml.expect(UNINITIALIZED, "nvmlDeviceGetCount_v2", count)
        nvml.ok("nvmlInit_v2")
        nvml.check(_counts(nvml) >= 1, "at least one device is counted")
        nvml.ok("nvmlShutdown")
    nvml.expect(UNINITIALIZED, "nvmlDeviceGetCount_v2", count)
    nvml.untouched(count)


@rule(
    "nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags", "nvmlShutdown",
    source="nvml.h 13.5, nvmlInit_v2: the reference count of initialisations", gpu=True,
)  # fmt: skip
def inits_of_all_forms_are_counted(nvml: Nvml) -> None:
    """Each form of nvmlInit counts one, each nvmlShutdown takes one off; the last one ends it."""
    forms: tuple[tuple[Any, ...], ...] = (("nvmlInit",), ("nvmlInit_v2",), ("nvmlInitWithFlags", 0))
    for first in forms:
        for second in forms:
            nvml.ok(*first)
            nvml.check(_counts(nvml) >= 1, f"a device is counted after {first[0]}")
            nvml.ok(*second)
            nvml.ok("nvmlShutdown")
            nvml.check(_counts(nvml) >= 1, "a device is counted while one of two references is left")
            nvml.ok("nvmlShutdown")
            nvml.expect(UNINITIALIZED, "nvmlDeviceGetCount_v2", nvml.out("unsigned int"))


@rule("nvmlInitWithFlags", source="nvml.h 13.5, NVML_INIT_FLAG_NO_GPUS, NVML_INIT_FLAG_NO_ATTACH", gpu=True)
def init_with_each_flag(nvml: Nvml) -> None:
    """nvmlInitWithFlags takes NO_GPUS and NO_ATTACH; where there are GPUs, they are counted all the same."""
    for flags in (0, 1, 2, 3):
        nvml.ok("nvmlInitWithFlags", flags)
        nvml.check(_counts(nvml) >= 1, f"a device is counted after flags {flags}")
        nvml.ok("nvmlShutdown")


@rule("nvmlInit_v2", source="measured on 535.261.03 without a driver: 9, again 9", gpu=False)
def init_answers_the_same_again(nvml: Nvml) -> None:
    """nvmlInit_v2 answers 0, or says each time in the same way why there is no driver; then nothing is counted."""
    code = nvml.expect((0, *NOT_LOADED), "nvmlInit_v2")
    nvml.expect(code, "nvmlInit_v2")
    count = nvml.out("unsigned int")
    nvml.expect(0 if code == 0 else UNINITIALIZED, "nvmlDeviceGetCount_v2", count)
    if code != 0:
        nvml.untouched(count)


@rule("nvmlSystemGetNVMLVersion", source="measured on 535.261.03: answers without nvmlInit", gpu=False)
def the_library_knows_its_version(nvml: Nvml) -> None:
    """nvmlSystemGetNVMLVersion answers numbers and dots before any initialisation."""
    text = nvml.out("char", 80)
    nvml.ok("nvmlSystemGetNVMLVersion", text, 80)
    said = nvml.text(text)
    nvml.check(said.replace(".", "").isdigit() and "." in said, f"{said!r} is a version")


@rule("nvmlSystemGetNVMLVersion", "nvmlSystemGetDriverVersion", source="nvml.h 13.5", gpu=True)
def versions_as_text(nvml: Nvml) -> None:
    """Both versions are texts; a buffer too small is NVML_ERROR_INSUFFICIENT_SIZE, NULL NVML_ERROR_INVALID_ARGUMENT."""
    nvml.init()
    said = {}
    for function in ("nvmlSystemGetNVMLVersion", "nvmlSystemGetDriverVersion"):
        text = nvml.out("char", 80)
        nvml.ok(function, text, 80)
        said[function] = nvml.text(text)
        nvml.check(said[function].replace(".", "").isdigit(), f"{said[function]!r} is a version")
        small = nvml.out("char", 80)
        nvml.expect(INSUFFICIENT_SIZE, function, small, len(said[function]))
        exact = nvml.out("char", 80)
        nvml.ok(function, exact, len(said[function]) + 1)
        nvml.equal(nvml.text(exact), said[function], "the text in a buffer that it just fits")
        nvml.expect(INVALID_ARGUMENT, function, None, 80)
    if nvml.host is not None:
        nvml.equal(said["nvmlSystemGetNVMLVersion"], nvml.host.driver.nvml, "NVML's version")
        nvml.equal(said["nvmlSystemGetDriverVersion"], nvml.host.driver.version, "the driver's version")


@rule(
    "nvmlSystemGetCudaDriverVersion", "nvmlSystemGetCudaDriverVersion_v2",
    source="nvml.h 13.5, NVML_CUDA_DRIVER_VERSION_MAJOR and _MINOR", gpu=True,
)  # fmt: skip
def the_version_of_cuda(nvml: Nvml) -> None:
    """Both forms answer 1000 * major + 10 * minor, the same; NULL is NVML_ERROR_INVALID_ARGUMENT."""
    nvml.init()
    said = []
    for function in ("nvmlSystemGetCudaDriverVersion", "nvmlSystemGetCudaDriverVersion_v2"):
        version = nvml.out("int")
        nvml.ok(function, version)
        said.append(nvml.value(version))
        nvml.expect(INVALID_ARGUMENT, function, None)
    nvml.check(said[0] >= 5000 and said[0] % 10 == 0, f"{said[0]} is a version of CUDA")
    nvml.equal(said[0], said[1], "what the first form answers")
    if nvml.host is not None:
        nvml.equal(said[0], nvml.host.driver.cuda_number, "the version")


@rule("nvmlSystemGetDriverVersion", source="measured on 535.261.03: 1 before init for any arguments", gpu=False)
def the_driver_is_unknown_before_init(nvml: Nvml) -> None:
    """nvmlSystemGetDriverVersion answers NVML_ERROR_UNINITIALIZED before nvmlInit and leaves the buffer alone."""
    text = nvml.out("char", 80)
    nvml.expect(UNINITIALIZED, "nvmlSystemGetDriverVersion", text, 80)
    nvml.expect(UNINITIALIZED, "nvmlSystemGetDriverVersion", None, 0)
    nvml.untouched(text)


@rule("nvmlDeviceGetCount", "nvmlDeviceGetCount_v2", source="nvml.h 13.5, nvmlDeviceGetCount_v2", gpu=True)
def devices_are_counted(nvml: Nvml) -> None:
    """Both forms answer the number of devices; NULL is NVML_ERROR_INVALID_ARGUMENT."""
    nvml.init()
    for function in ("nvmlDeviceGetCount", "nvmlDeviceGetCount_v2"):
        count = nvml.out("unsigned int")
        nvml.ok(function, count)
        got = nvml.value(count)
        nvml.check(1 <= got <= 64, f"{got} is a number of devices")
        if nvml.host is not None:
            nvml.equal(got, len(nvml.host.gpu), "the number of devices")
        nvml.expect(INVALID_ARGUMENT, function, None)


@rule(
    "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetIndex",
    source="nvml.h 13.5, nvmlDeviceGetHandleByIndex_v2, nvmlDeviceGetIndex", gpu=True,
)  # fmt: skip
def handles_by_index(nvml: Nvml) -> None:
    """Each index has a handle of its own that knows its index; one past the end is NVML_ERROR_INVALID_ARGUMENT."""
    nvml.init()
    devices = _counts(nvml)
    for function in ("nvmlDeviceGetHandleByIndex", "nvmlDeviceGetHandleByIndex_v2"):
        handles = []
        for i in range(devices):
            handle, index = nvml.out("nvmlDevice_t"), nvml.out("unsigned int")
            nvml.ok(function, i, handle)
            handles.append(nvml.value(handle))
            nvml.ok("nvmlDeviceGetIndex", nvml.value(handle), index)
            nvml.equal(nvml.value(index), i, "the index of a handle")
        nvml.equal(len(set(handles)), devices, "the number of different handles")
        handle = nvml.out("nvmlDevice_t")
        for i in (devices, 2**32 - 1):
            nvml.expect(INVALID_ARGUMENT, function, i, handle)
        nvml.expect(INVALID_ARGUMENT, function, 0, None)


@rule("nvmlDeviceGetIndex", source="nvml.h 13.5, nvmlDeviceGetIndex", gpu=True)
def the_index_of_no_handle(nvml: Nvml) -> None:
    """nvmlDeviceGetIndex refuses NULL for the handle and for the output."""
    device, index = nvml.device(), nvml.out("unsigned int")
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetIndex", None, index)
    nvml.untouched(index)
    nvml.expect(INVALID_ARGUMENT, "nvmlDeviceGetIndex", device, None)

"""CUresult codes that stop a discovery: their names, what they mean in the field, and what to do.

Names from cuda.h; causes and remedies from reports about Ollama (github.com/ollama/ollama, the issue is named).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One code: its name in cuda.h, what it says in words, and the remedy."""

    name: str
    meaning: str
    remedy: str


CODES: dict[int, Code] = {
    1: Code(
        "CUDA_ERROR_INVALID_VALUE",
        "an argument is out of range",
        "See the traced arguments of the call: an attribute or a version that the shim does not know answers so.",
    ),
    2: Code(
        "CUDA_ERROR_OUT_OF_MEMORY",
        "no memory is left for it on the device",
        "Free memory on the GPU, or let the host have more of it.",
    ),
    3: Code(
        "CUDA_ERROR_NOT_INITIALIZED",
        "the driver does not count as initialised",
        "With a shim: let the process pass its gate and do not fork after cuInit. With NVIDIA's open kernel modules: "
        "load nvidia_uvm with uvm_disable_hmm=1 (ollama 11593).",
    ),
    34: Code(
        "CUDA_ERROR_STUB_LIBRARY",
        "a link-time stub of the driver was loaded instead of the driver",
        "Take the directory of the stub (cuda/lib64/stubs or the like) out of LD_LIBRARY_PATH, or put the driver's "
        "directory before it.",
    ),
    100: Code(
        "CUDA_ERROR_NO_DEVICE",
        "the driver sees no device",
        "Check CUDA_VISIBLE_DEVICES, the device nodes /dev/nvidia*, and that a shim found its host image "
        "(VGPU_HOST) in this very process (ollama 9298, 13498).",
    ),
    101: Code(
        "CUDA_ERROR_INVALID_DEVICE",
        "the driver takes the device for invalid",
        "Check that device numbers and CUDA_VISIBLE_DEVICES name devices that exist.",
    ),
    201: Code(
        "CUDA_ERROR_INVALID_CONTEXT",
        "no valid context is current",
        "See the traced calls before it: cuCtxCreate or cuDevicePrimaryCtxRetain has to succeed, then cuCtxSetCurrent.",
    ),
    205: Code(
        "CUDA_ERROR_MAP_FAILED",
        "the driver could not map device memory",
        "In a container: give it the device nodes and enough locked memory (ollama 12352).",
    ),
    500: Code(
        "CUDA_ERROR_NOT_FOUND",
        "a named symbol or table was not found",
        "libcuda is a loader stub or was injected in part: use the library of the running driver (ollama 6961, 8791).",
    ),
    800: Code(
        "CUDA_ERROR_NOT_PERMITTED",
        "the operation is not permitted",
        "A container lost its device cgroup, often after systemctl daemon-reload: restart it (ollama 6928, 8962).",
    ),
    801: Code(
        "CUDA_ERROR_NOT_SUPPORTED",
        "the operation is not supported",
        "Check that the driver on the host supports what the container asks for (ollama 6364).",
    ),
    802: Code(
        "CUDA_ERROR_SYSTEM_NOT_READY",
        "the system is not ready: on HGX machines the fabric manager is absent or does not match the driver",
        "Start nvidia-fabricmanager in the version of the driver; a virtual GPU must not answer 802 at all "
        "(ollama 12136, 5567).",
    ),
    803: Code(
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "kernel module and user library are of different versions",
        "Reboot after a driver update, or load the kernel module that matches libcuda (ollama 3417).",
    ),
    804: Code(
        "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
        "forward compatibility is not supported on this device",
        "Take the cuda-compat directory out of LD_LIBRARY_PATH, or use the libcuda of the running driver.",
    ),
    999: Code(
        "CUDA_ERROR_UNKNOWN",
        "unknown error; in the field most often nvidia_uvm after suspend",
        "Reload it: rmmod nvidia_uvm, modprobe nvidia_uvm (ollama 8638, 1877).",
    ),
}

_OTHER = Code("", "a code that has no entry here", "Look the code up in cuda.h (enum cudaError_enum).")


# nvmlReturn_t, of nvml.h: those that a failing discovery is known to meet.
_NVML_NAMES: dict[int, str] = {
    1: "NVML_ERROR_UNINITIALIZED",
    2: "NVML_ERROR_INVALID_ARGUMENT",
    3: "NVML_ERROR_NOT_SUPPORTED",
    4: "NVML_ERROR_NO_PERMISSION",
    6: "NVML_ERROR_NOT_FOUND",
    9: "NVML_ERROR_DRIVER_NOT_LOADED",
    12: "NVML_ERROR_LIBRARY_NOT_FOUND",
    13: "NVML_ERROR_FUNCTION_NOT_FOUND",
    15: "NVML_ERROR_GPU_IS_LOST",
    18: "NVML_ERROR_LIB_RM_VERSION_MISMATCH",
    999: "NVML_ERROR_UNKNOWN",
}


def code_of(number: int) -> Code:
    """The entry of `number`; a code that is not listed has an empty name."""
    return CODES.get(number, _OTHER)


def described(number: int) -> str:
    """``802 CUDA_ERROR_SYSTEM_NOT_READY``, or the number alone."""
    return f"{number} {code_of(number).name}".rstrip()


def described_nvml(number: int) -> str:
    """``6 NVML_ERROR_NOT_FOUND``, or the number alone."""
    return f"{number} {_NVML_NAMES.get(number, '')}".rstrip()


# What cudaGetErrorString answers for the codes with which a CUDA runtime may fail to start (libcudart 12.8.90 and
# 13.0.96 agree). Clients log the words and not the number.
_RUNTIME_TEXTS: dict[str, int] = {
    "invalid argument": 1,
    "out of memory": 2,
    "initialization error": 3,
    "CUDA driver is a stub library": 34,
    "CUDA driver version is insufficient for CUDA runtime version": 35,
    "API call is not supported in the installed CUDA driver": 36,
    "no CUDA-capable device is detected": 100,
    "invalid device ordinal": 101,
    "integrity checks failed": 103,
    "named symbol not found": 500,
    "operation not permitted": 800,
    "operation not supported": 801,
    "system not yet initialized": 802,
    "system has unsupported display driver / cuda driver combination": 803,
    "forward compatibility was attempted on non supported HW": 804,
    "unknown error": 999,
}


def runtime_code(text: str) -> int | None:
    """The number of a cudaError_t whose text a client has logged; None for a text that has no entry here."""
    return _RUNTIME_TEXTS.get(text)

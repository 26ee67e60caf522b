"""What is known of the three generations of Ollama's discovery: their files, and the names that they look up.

What a libggml-cuda.so needs stands in the file itself; what a client looks up by name stands here.
"""

from vgpu_harness.discovery.facts import Generation

GENERATIONS: tuple[Generation, ...] = ("a", "b", "c")

PREFIX = "ollama"
"""The installation prefix in a run's directory, below which the host's links lie too."""

BACKENDS = {"cuda_v12": "12", "cuda_v13": "13"}
"""The directories of backends, and the CUDA major of each."""

BACKEND_FILE = "libggml-cuda.so"
SERVER_FILE = "llama-server"

# What Ollama v0.12.3 looks up, in its order (discover/gpu_info_nvcuda.c:7-105).
SYMBOLS_A = (
    "cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetAttribute", "cuDeviceGetUuid",
    "cuDeviceGetName", "cuCtxCreate_v3", "cuMemGetInfo_v2", "cuCtxDestroy",
)  # fmt: skip

# What the CUDA runtime of the backends looks up in the driver, and cannot start without.
RUNTIME_SYMBOLS = (
    "cuDriverGetVersion", "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2",
    "cuDeviceGetUuid", "cuDeviceGetAttribute",
)  # fmt: skip

# What cudaMemGetInfo looks up on top, which generation C asks for each device.
MEMORY_SYMBOLS = ("cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemGetInfo_v2")

# What ggml's wrapper of NVML looks up (ml/backend/ggml/ggml/src/mem_nvml.cpp:115 of Ollama v0.24.0).
NVML_SYMBOLS_B = (
    "nvmlInit_v2", "nvmlShutdown", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName",
    "nvmlErrorString",
)  # fmt: skip

# What `ollama gpu-discover` looks up; `a|b`: either (discover/native_probe_linux.go:249 and :391 of Ollama v0.33.0).
DRIVER_SYMBOLS_C = (
    "cuInit", "cuDriverGetVersion", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetAttribute", "cuDeviceGetName",
    "cuDeviceTotalMem_v2|cuDeviceTotalMem",
)  # fmt: skip
NVML_SYMBOLS_C = ("nvmlInit_v2", "nvmlShutdown", "nvmlSystemGetDriverVersion")

# The debug level at which the client hands on what its children and its C code write.
TRACE_LEVEL = "2"

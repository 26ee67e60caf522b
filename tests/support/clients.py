"""An installation of a stand-in client with libraries that say what they are told to, for tests without any shim."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.compile import compile_library

from vgpu_harness.shims import client_path

UUID = "GPU-11111111-2222-3333-4444-555555555500"
PCI_ID = "0000:00:05.0"
GIB = 1 << 30

# Each function appends its name to $FAKE_LOG; answers are taken from the environment, names are left out by -D flags.
_COMMON = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void called(const char *name) {
    const char *path = getenv("FAKE_LOG");
    char line[128];
    int fd = path == NULL ? -1 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    int length = snprintf(line, sizeof line, "%s\n", name);
    if (fd >= 0 && write(fd, line, (size_t)length) != length) {
        abort();
    }
    if (fd >= 0) {
        close(fd);
    }
}

static int number(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value == NULL ? otherwise : atoi(value);
}
"""

CUDA = (
    _COMMON
    + r"""
#define ANSWER(name) do { called(name); if (number("FAKE_" name, 0) != 0) return number("FAKE_" name, 0); } while (0)
#define PLAIN(name) int name(void); int name(void) { ANSWER(#name); return 0; }

int cuInit(unsigned flags);
int cuInit(unsigned flags) {
    (void)flags;
    called("cuInit");
    int delay = number("FAKE_DELAY_MS", 0);
    nanosleep(&(struct timespec){delay / 1000, delay % 1000 * 1000000L}, NULL);
    return number("FAKE_cuInit", 0);
}
int cuDriverGetVersion(int *version);
int cuDriverGetVersion(int *version) { ANSWER("cuDriverGetVersion"); *version = number("FAKE_VERSION", 13000); return 0; }
int cuDeviceGetCount(int *count);
int cuDeviceGetCount(int *count) {
    ANSWER("cuDeviceGetCount");
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    int all = number("FAKE_COUNT", 1);
    *count = visible == NULL ? all : number("FAKE_VISIBLE", 1);
    return 0;
}
/* with CUDA_VISIBLE_DEVICES=GPU-..NN the only device is NN */
static int real_index(int device) {
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    return visible == NULL || strlen(visible) < 2 ? device : atoi(visible + strlen(visible) - 2);
}
int cuDeviceGet(int *device, int ordinal);
int cuDeviceGet(int *device, int ordinal) { ANSWER("cuDeviceGet"); *device = ordinal; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device);
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    char name[32];
    snprintf(name, sizeof name, "FAKE_MAJOR%d", real_index(device));
    ANSWER("cuDeviceGetAttribute");
    switch (attribute) {
    case 75: *value = number(name, number("FAKE_MAJOR", 9)); break;
    case 76: *value = number("FAKE_MINOR", 0); break;
    case 33: *value = 0; break;
    case 34: *value = number("FAKE_SAME_ADDRESS", 0) ? 5 : 5 + real_index(device); break;
    case 102: *value = number("FAKE_VMM", 1); break;
    default: *value = 0; break;
    }
    return 0;
}
int cuDeviceGetUuid_v2(unsigned char *uuid, int device);
static int uuid_of(unsigned char *uuid, int device) {
    static const unsigned char bytes[16] = {0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33,
                                            0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0};
    memcpy(uuid, bytes, 16);
    uuid[15] = (unsigned char)real_index(device);
    return 0;
}
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) { ANSWER("cuDeviceGetUuid_v2"); return uuid_of(uuid, device); }
int cuDeviceGetUuid(unsigned char *uuid, int device);
int cuDeviceGetUuid(unsigned char *uuid, int device) { ANSWER("cuDeviceGetUuid"); return uuid_of(uuid, device); }
int cuDeviceGetName(char *name, int size, int device);
int cuDeviceGetName(char *name, int size, int device) {
    (void)device;
    ANSWER("cuDeviceGetName");
    snprintf(name, (size_t)size, "%s", getenv("FAKE_NAME") ? getenv("FAKE_NAME") : "NVIDIA Test \"80GB\"");
    return 0;
}
int cuDeviceTotalMem_v2(size_t *total, int device);
int cuDeviceTotalMem_v2(size_t *total, int device) {
    (void)device; ANSWER("cuDeviceTotalMem_v2"); *total = 80UL << 30; return 0; }
#ifndef WITHOUT_CUCTXCREATE_V3
int cuCtxCreate_v3(void **context, void *params, int count, unsigned flags, int device);
int cuCtxCreate_v3(void **context, void *params, int count, unsigned flags, int device) {
    (void)params; (void)count; (void)flags; (void)device; ANSWER("cuCtxCreate_v3"); *context = (void *)context; return 0; }
#endif
int cuMemGetInfo_v2(size_t *available, size_t *total);
int cuMemGetInfo_v2(size_t *available, size_t *total) {
    ANSWER("cuMemGetInfo_v2"); *available = 79UL << 30; *total = 80UL << 30; return 0; }
PLAIN(cuCtxDestroy)
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device; ANSWER("cuDevicePrimaryCtxRetain"); *context = (void *)context; return 0; }
PLAIN(cuCtxSetCurrent)
int cuGetErrorString(int error, const char **text);
int cuGetErrorString(int error, const char **text) { (void)error; called("cuGetErrorString"); *text = "told to fail"; return 0; }
int cuMemGetAllocationGranularity(size_t *size, const void *prop, int option);
int cuMemGetAllocationGranularity(size_t *size, const void *prop, int option) {
    (void)prop; (void)option; ANSWER("cuMemGetAllocationGranularity"); *size = 2UL << 20; return 0; }
#ifndef WITHOUT_CUMEMMAP
int cuMemMap(unsigned long long address, size_t size, size_t offset, unsigned long long handle, unsigned long long flags);
int cuMemMap(unsigned long long address, size_t size, size_t offset, unsigned long long handle, unsigned long long flags) {
    char line[64];
    (void)offset; (void)handle; (void)flags; (void)address;
    snprintf(line, sizeof line, "cuMemMap %zu", size);
    called(line);
    return number("FAKE_cuMemMap", 0);
}
#endif
PLAIN(cuMemCreate) PLAIN(cuMemAddressReserve) PLAIN(cuMemSetAccess) PLAIN(cuMemUnmap) PLAIN(cuMemRelease)
PLAIN(cuMemAddressFree)
"""
)

NVML = (
    _COMMON
    + r"""
struct memory { unsigned long long total, free, used; };
int nvmlInit_v2(void);
int nvmlInit_v2(void) { called("nvmlInit_v2"); return number("FAKE_nvmlInit_v2", 0); }
int nvmlShutdown(void);
int nvmlShutdown(void) { called("nvmlShutdown"); return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device);
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    called("nvmlDeviceGetHandleByUUID");
    *device = (void *)device;
    return strncmp(uuid, getenv("FAKE_NVML_UUID") ? getenv("FAKE_NVML_UUID") : "GPU-1111", 8) == 0 ? 0 : 6;
}
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory);
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
    (void)device;
    called("nvmlDeviceGetMemoryInfo");
    memory->total = 78ULL << 30;
    memory->free = 77ULL << 30;
    memory->used = 1ULL << 30;
    return number("FAKE_nvmlDeviceGetMemoryInfo", 0);
}
int nvmlDeviceGetName(void *device, char *name, unsigned size);
int nvmlDeviceGetName(void *device, char *name, unsigned size) { (void)device; snprintf(name, size, "test"); return 0; }
#ifndef WITHOUT_NVMLERRORSTRING
const char *nvmlErrorString(int code);
const char *nvmlErrorString(int code) { (void)code; called("nvmlErrorString"); return "told to fail"; }
#endif
"""
)

_PAIR = re.compile(r'("(?:[^"\\]|\\.)*"|[^\s="]+)=("(?:[^"\\]|\\.)*"|\S*)')


def _plain(word: str) -> str:
    return word[1:-1].replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\") if word.startswith('"') else word


@dataclass(frozen=True)
class Answer:
    """What one `ollama serve` wrote, and which functions of the fake libraries it called."""

    returncode: int
    stderr: str
    calls: list[str]

    @property
    def lines(self) -> list[dict[str, str]]:
        """The log lines, each a map with level, source, msg and the line's own keys."""
        return [
            {_plain(key): _plain(value) for key, value in _PAIR.findall(line)}
            for line in self.stderr.splitlines()
            if line.startswith("time=")
        ]

    def all(self, message: str) -> list[dict[str, str]]:
        """The lines whose message begins so."""
        return [line for line in self.lines if line["msg"].startswith(message)]

    def one(self, message: str) -> dict[str, str]:
        """The only line whose message begins so."""
        found = self.all(message)
        assert len(found) == 1, f"{len(found)} lines begin with {message!r} in:\n{self.stderr}"
        return found[0]


class Installation:
    """`<root>/ollama/{bin/ollama,lib/ollama/cuda_v*}` with fake libraries in lib/ollama."""

    def __init__(
        self,
        root: Path,
        generation: str,
        *,
        cuda: tuple[str, ...] | None = (),
        nvml: tuple[str, ...] | None = (),
        backends: tuple[str, ...] = ("cuda_v12", "cuda_v13"),
    ) -> None:
        """Args: cuda, nvml: flags to compile the fake with, None for no such library; backends: of generation B."""
        self.root = root
        self.library_directory = root / "ollama" / "lib" / "ollama"
        self.program = root / "ollama" / "bin" / "ollama"
        self.program.parent.mkdir(parents=True)
        self.library_directory.mkdir(parents=True)
        shutil.copy2(client_path(f"ollama-{generation}"), self.program)
        for backend in backends:
            (self.library_directory / backend).mkdir()
            name = f"{backend}/libggml-cuda.so"
            shutil.copy2(client_path(f"ggml/{name}"), self.library_directory / name)
        for soname, source, flags in (("libcuda.so.1", CUDA, cuda), ("libnvidia-ml.so.1", NVML, nvml)):
            if flags is not None:
                built = compile_library(source, soname, f"-Wl,-soname,{soname}", *flags)
                (self.library_directory / soname).symlink_to(built)

    def serve(self, *arguments: str, debug: str = "2", **environment: str) -> Answer:
        """Runs `ollama serve` once; keyword arguments are environment variables."""
        log = self.root / "calls"
        log.unlink(missing_ok=True)
        scratch = self.root / "tmp"
        scratch.mkdir(exist_ok=True)
        variables = {
            "PATH": os.environ["PATH"], "HOME": str(self.root), "LD_LIBRARY_PATH": "", "TMPDIR": str(scratch),
            "FAKE_LOG": str(log), "OLLAMA_DEBUG": debug, **environment,
        }  # fmt: skip
        command = [str(self.program), "serve", *arguments]
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, timeout=30, check=False, cwd=self.root
        )
        assert not done.stdout
        return Answer(done.returncode, done.stderr, log.read_text().split("\n")[:-1] if log.exists() else [])

"""How NVIDIA's cuInit finds a device: by the `config` files of the PCI bus, here those of the tree of virtual files.

strace sees the system calls below the shim, so its log names the tree. The library runs in a user namespace with a /dev
of its own: as root it would make device nodes.
"""

import re
import shutil
from pathlib import Path

import pytest
from recordings import library
from support.compile import compile_library, compile_program

from vgpu_harness import Host, Run, run

PROGRAM = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
    int (*init)(unsigned) = library ? (int (*)(unsigned))dlsym(library, "cuInit") : NULL;
    if (init == NULL) {
        puts(dlerror());
        return 1;
    }
    printf("cuInit %d\n", init(0));
    return 0;
}
"""

# Stands before the file shim. The library asks the PCI bus only where /proc/modules does not name the driver.
BEFORE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#define MODULES(name)                                                                                                  \
    FILE *name(const char *path, const char *mode) {                                                                   \
        static FILE *(*next)(const char *, const char *);                                                              \
        next = next ? next : (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, #name);                         \
        return next(strcmp(path, "/proc/modules") == 0 ? "/dev/null" : path, mode);                                    \
    }
MODULES(fopen)
MODULES(fopen64)
#define BEFORE(name)                                                                                                   \
    int name(const char *path, int flags, int mode) {                                                                  \
        static int (*next)(const char *, int, int);                                                                    \
        next = next ? next : (int (*)(const char *, int, int))dlsym(RTLD_NEXT, #name);                                 \
        path = strcmp(path, "/proc/modules") == 0 ? "/dev/null" : path;                                                \
        int other = *CONFIG && strstr(path, "0000:00:05.0/config") != NULL;                                            \
        return next(other ? CONFIG : path, flags, mode);                                                               \
    }
BEFORE(open)
BEFORE(open64)
"""

NO_DEVICE = 100
"""cuda.h, CUDA_ERROR_NO_DEVICE: below the files there is no kernel driver that would answer."""


def tool(name: str) -> str:
    """The path of a program of the system."""
    found = shutil.which(name)
    assert found, f"{name} is missing: apt-get install strace bubblewrap"
    return found


def search(place: Path, preload: list[str]) -> tuple[Run, list[str]]:
    """Calls cuInit of the real library with these preloads; the run, and the log of its opens and reads."""
    log = place / "strace"
    host = Host.model_validate({"driver": {"version": "535.261.03"}, "delivery": {"preload": preload, "links": []}})
    alone = [tool("bwrap"), "--unshare-user", "--bind", "/", "/", "--dev", "/dev", "--bind", "/dev/shm", "/dev/shm"]
    traced = [tool("strace"), "-f", "-o", str(log), "-e", "trace=open,openat,read,pread64,ioctl"]
    program = str(compile_program(PROGRAM, "cuinit"))
    result = run(
        [*alone, *traced, program, str(library("libcuda.so.1"))],
        host,
        directory=place / "run",
        observe="sampled",
        check_mapped=False,
    )
    assert result.stdout == f"cuInit {NO_DEVICE}\n", result.stderr
    return result, [line.split(maxsplit=1)[1] for line in log.read_text().splitlines()]


def before(config: str) -> str:
    """The library that stands before the shim; `config` is shown in the place of the GPU's, "" leaves that."""
    return str(compile_library(BEFORE, "libbefore.so", f'-DCONFIG="{config}"'))


def where(calls: list[str], pattern: str) -> int:
    """Where in the log the first call is that matches; -1: nowhere."""
    return next((at for at, call in enumerate(calls) if re.match(pattern, call)), -1)


CONFIG = r'open(at)?\(.*/sys/bus/pci/devices/0000:00:05\.0/config", O_RDONLY\) = \d'
IDENTITY = r'read\(\d+, "\\336\\0201#'
"""The first bytes of `config` as strace writes them: vendor 0x10de, device 0x2331."""
LOAD = r'open(at)?\(.*"/proc/sys/kernel/modprobe"'
"""The next step once there is a device: which program would load its kernel module?"""


def test_the_real_library_finds_the_device_by_its_config(tmp_path: Path) -> None:
    """It reads vendor and device from the GPU's `config` of the tree, and goes on to the driver."""
    result, calls = search(tmp_path, [before(""), "exec", "syscall"])
    opened, load = where(calls, CONFIG), where(calls, LOAD)
    assert opened >= 0
    assert re.match(IDENTITY, calls[opened + 1]), calls[opened : opened + 3]
    assert opened < load
    assert where(calls, r'open(at)?\(.*/dev/nvidiactl", O_RDWR\) = \d') >= 0
    assert {"/sys/bus/pci/devices/0000:00:05.0/config", "/dev/nvidiactl"} <= {record.text for record in result.trace}


@pytest.mark.parametrize("shim", [True, False], ids=["config of another vendor", "no file shim"])
def test_without_the_config_there_is_no_device(tmp_path: Path, shim: bool) -> None:
    """With another vendor in `config`, all else being the same, it finds nothing; nor does it without the file shim."""
    other = tmp_path / "config"
    other.write_bytes((0x8086).to_bytes(2, "little") + bytes(254))
    _, calls = search(tmp_path, [before(str(other)), "exec", "syscall"] if shim else [before(""), "exec"])
    assert (where(calls, rf'open(at)?\(.*"{other}", O_RDONLY\) = \d') >= 0) is shim
    assert where(calls, IDENTITY) == -1
    assert where(calls, LOAD) == -1

"""The first call of a shim may come in a signal handler on a small stack."""

import subprocess
from pathlib import Path

import pytest
from support.compile import compile_program

from vgpu_harness.host import Host, write_image, write_tree
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import Kind, Trace, create_trace

PROGRAM = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <fcntl.h>

static char content[16];

static void handler(int number) {
    (void)number;
    int fd = open("/sys/bus/pci/devices/0000:00:05.0/vendor", O_RDONLY);
    if (fd >= 0) {
        read(fd, content, sizeof(content) - 1);
        close(fd);
    }
}

int main(int argc, char **argv) {
    size_t size = (size_t)atoi(argv[argc - 1]);
    /* A page that may not be touched stands below the stack: an overflow ends the program. */
    char *memory = mmap(NULL, 4096 + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(memory, 4096, PROT_NONE);
    stack_t stack = {.ss_sp = memory + 4096, .ss_size = size};
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = SA_ONSTACK;
    if (sigaltstack(&stack, NULL) != 0 || sigaction(SIGUSR1, &action, NULL) != 0) {
        return 1;
    }
    raise(SIGUSR1);
    fputs(content, stdout);
    return 0;
}
"""


def asked(tmp_path: Path, size: int) -> subprocess.CompletedProcess[str]:
    """Runs the program with a signal stack of `size` bytes; its handler is the first to call the shim."""
    image = write_image(Host(), write_tree(Host(), tmp_path / "tree"), tmp_path / "host.image")
    create_trace(tmp_path / "trace", 1 << 20)
    env = {"LD_PRELOAD": str(shim_path("syscall")), "VGPU_HOST": str(image), "VGPU_TRACE": str(tmp_path / "trace")}
    program = compile_program(PROGRAM, "signal-stack")
    return subprocess.run([program, str(size)], env=env, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("size", [12 << 10, 64 << 10])
def test_the_first_call_fits_a_small_signal_stack(size: int, tmp_path: Path) -> None:
    """Set-up, path look-up and answer need less than 12 KiB, the kernel's own signal frame included."""
    done = asked(tmp_path, size)
    assert (done.returncode, done.stdout) == (0, "0x10de\n")
    assert [r.name for r in Trace.open(tmp_path / "trace").records if r.kind == Kind.CALL] == ["open"]


def test_a_stack_that_is_too_small_ends_the_program(tmp_path: Path) -> None:
    """Control: an overflow is seen by this program."""
    assert asked(tmp_path, 4 << 10).returncode != 0

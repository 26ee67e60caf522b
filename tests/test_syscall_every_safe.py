"""What a file call may not do: allocate, take much stack, race, or keep a thread from being cancelled."""

import os
from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from test_syscall_files import GPU, Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Host

SOURCE = Path(__file__).with_name("support") / "everysafe.c"
STACK = 12 << 10
"""Bytes of a signal handler's stack, the kernel's own frame of some 3 KiB included: most programs give one 16 KiB."""

GREEDY = r"""
/* A preload library whose stat allocates, takes a deep stack, and calls the next one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
int stat(const char *path, struct stat *to) {
    volatile char deep[32768];
    for (int i = 0; i < (int)sizeof(deep); i++) {
        deep[i] = 1;
    }
    void *volatile memory = malloc(100);
    free(memory);
    int (*next)(const char *, struct stat *) = (int (*)(const char *, struct stat *))dlsym(RTLD_NEXT, "stat");
    return next(path, to);
}
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """The default host."""
    return make_machine(Host())


@pytest.fixture(scope="module")
def program() -> Path:
    """The program that asks."""
    return compile_program(SOURCE.read_text(encoding="utf-8"), "everysafe", "-pthread")


def said(machine: Machine, program: Path, mode: str, fifo: str | Path = "-", *, greedy: bool = False) -> str:
    """What the program says; greedy: behind a library that does what may not be done."""
    own = machine.environment["LD_PRELOAD"]
    preload = f"{compile_library(GREEDY, 'libgreedy.so')}:{own}" if greedy else own
    run = machine.run(program, mode, f"{GPU}/vendor", "/dev/nvidia0", fifo, LD_PRELOAD=preload)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def stack_of(line: str) -> int:
    """The bytes in "5000 bytes, 0 wrong"."""
    size, rest = line.split(maxsplit=1)
    assert rest == "bytes, 0 wrong\n"
    return int(size)


def test_no_memory_is_allocated(machine: Machine, program: Path) -> None:
    """No call that a signal handler may make calls malloc: the handler may have interrupted it."""
    assert said(machine, program, "memory") == "0 allocations, 0 wrong\n"
    assert said(machine, program, "memory", greedy=True) == "1 allocations, 0 wrong\n"


def test_little_stack_is_taken(machine: Machine, program: Path) -> None:
    """A signal handler on a small stack of its own can make each of them."""
    assert stack_of(said(machine, program, "stack")) < STACK
    assert stack_of(said(machine, program, "stack", greedy=True)) > STACK


def test_first_calls_of_many_threads_agree(machine: Machine, program: Path) -> None:
    """Threads whose first calls fall together, the one that maps the image among them, all see the GPU."""
    assert said(machine, program, "threads") == "0 wrong\n"


def test_a_waiting_open_is_cancelled(machine: Machine, program: Path, tmp_path: Path) -> None:
    """A thread that waits in open is cancelled as without the shim, and its clean-up is done."""
    os.mkfifo(tmp_path / "fifo")
    assert said(machine, program, "cancel", tmp_path / "fifo") == "cancelled, cleaned\n"

"""What the shims leave behind in a process, and what they put into it: no leak, no name that is not another's."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from support.compile import compile_library, compile_program
from test_syscall_exports import libc, relocated_names
from test_syscall_files import Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Host
from vgpu_harness.host.faults import known_functions
from vgpu_harness.shims import shim_path
from vgpu_harness.shims.elf import read_elf
from vgpu_harness.shims.paths import SHIMS, VARIANTS, variant_path

GPU = "/sys/bus/pci/devices/0000:00:05.0"
ROUNDS = 400
LIBRARIES: dict[str, Callable[[str], Path]] = dict.fromkeys(SHIMS, shim_path) | dict.fromkeys(VARIANTS, variant_path)
AUDIT = {"la_version", "la_objopen", "la_objsearch", "la_symbind64", "la_activity", "la_preinit", "la_objclose"}
"""rtld-audit(7), without the functions that make every call slow."""

HONEST = """
#include <fcntl.h>
static int opened(const char *path) { return (int)path[0]; }
int open(const char *path, int flags, ...) { return opened(path) + flags; }
"""
PLANTED = """
#include <fcntl.h>
#include <sys/stat.h>
int open(const char *path, int flags, ...) { return creat(path, 0) + flags; }
int creat(const char *path, mode_t mode) { return (int)path[0] + (int)mode; }
int stat(const char *path, struct stat *to) { return path[0] + (int)to->st_size; }
int (*planted_table[])(const char *, struct stat *) = {stat};
int planted_helper(void) { return 1; }
"""


@functools.cache
def exports(library: Path) -> frozenset[str]:
    """The names that a library defines for others."""
    facts = read_elf(library)
    nodes = {version for versions in facts.provided.values() for version in versions}
    return frozenset(facts.provided.keys() - nodes)


def called_by_itself(library: Path) -> set[str]:
    """Names of the library's own that its code or its data have bound by the dynamic linker."""
    return set(relocated_names(library)) & exports(library)


def helpers(library: Path) -> set[str]:
    """Exports that are no function of libc, of the driver's libraries or of an auditor."""
    return set(exports(library) - exports(libc()) - known_functions() - AUDIT)


class TestNames:
    @pytest.mark.parametrize("name", LIBRARIES)
    def test_of_its_own_are_never_asked_for(self, name: str) -> None:
        """No relocation of a shim, of a call or of an address, is against a name that it exports itself."""
        assert called_by_itself(LIBRARIES[name](name)) == set()

    @pytest.mark.parametrize("name", LIBRARIES)
    def test_are_all_of_what_it_stands_for(self, name: str) -> None:
        """A shim puts no helper of its own into the process's names."""
        assert helpers(LIBRARIES[name](name)) == set()

    def test_of_a_careless_library_are_found(self) -> None:
        """A library that calls itself, has its own address in a table and a helper in the open fails both checks."""
        library = compile_library(PLANTED, "libplanted.so", "-O0")
        assert called_by_itself(library) == {"creat", "stat"}
        assert helpers(library) == {"planted_helper", "planted_table"}
        honest = compile_library(HONEST, "libhonest.so")
        assert called_by_itself(honest) | helpers(honest) == set()


class TestLeaks:
    @pytest.fixture
    def machine(self, make_machine: MakeMachine) -> Machine:  # noqa: F811
        """The default host."""
        return make_machine(Host())

    def left(self, machine: Machine, rounds: int, *flags: str) -> list[int]:
        """Descriptors, mappings and bytes more; devices opened at once, are they devices, descriptors left of them."""
        source = Path(__file__).with_name("support") / "everyleak.c"
        program = compile_program(source.read_text(encoding="utf-8"), "everyleak", *flags)
        run = machine.run(program, str(rounds), "/dev/nvidia0", f"{GPU}/vendor", GPU)
        assert (run.returncode, run.stderr) == (0, "")
        return [int(word) for word in run.stdout.split()]

    def test_are_none(self, machine: Machine) -> None:
        """Hundreds of opens, streams, listings, globs and walks leave no descriptor, no mapping, no memory."""
        assert self.left(machine, ROUNDS) == [0, 0, 0, ROUNDS, 1, 0]

    def test_of_a_leaky_program_are_found(self, machine: Machine) -> None:
        """A program that forgets one descriptor and one piece of memory is told apart: the test above can fail."""
        descriptors, _, memory, *_ = self.left(machine, 1, "-DLEAKS")
        assert (descriptors, memory > 0) == (1, True)

"""Calls with odd arguments: pointers that are no text, lengths, endings, flags, descriptors, buffers too small.

The machine's own files answer the same with the shim as without it. Those of the tree answer as a real file, directory
and link of sysfs do, but for what is listed here.
"""

import errno
import os
from pathlib import Path

import pytest
from support.compile import compile_program
from test_syscall_files import Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Host
from vgpu_harness.host.faults import FunctionFault

SOURCE = Path(__file__).with_name("support") / "everyodd.c"
GPU = "/sys/devices/pci0000:00/0000:00:05.0"
VIRTUAL = (f"{GPU}/vendor", GPU, "/sys/bus/pci/devices/0000:00:05.0")
REAL = ("/sys/devices/system/cpu/online", "/sys/devices/system/cpu", "/sys/devices/system/cpu/cpu0/subsystem")
"""A file that nobody may write to, a directory and a link to one, of the sysfs of any machine."""
PROC = ("/proc/version", "/proc/self/fdinfo", "/proc/self")

KNOWN = {
    "longer": "the tree's name stands before the path: one of nearly 4096 bytes has no room",
    "/.. 0": "`..` behind a file is no error, as the path is followed by its text",
    "/../ 0": "the same",
    "/./ 0: open(path, O_CREAT | O_RDONLY, 0600)": "the slash at the end is seen before the file that is no directory",
    "linkat(AT_FDCWD, file, AT_FDCWD, directory, bit)": "refused before its flags are looked at",
    "utimensat(AT_FDCWD, file, NULL, bit)": "refused, where sysfs lets root change times",
    "utimensat(AT_FDCWD, file, (struct timespec[]){{0, -5}, {0, 0}}, 0)": "refused before its times are looked at",
    "truncate(file, -1)": "refused before its size is looked at",
    "mknod(directory, S_IFDIR | 0700, 0)": "found to be there before its type is looked at",
    "mknod(directory, 0170000, 0)": "the same",
    'symlink("", directory)': "found to be there before its text is looked at",
    "access(directory, bit)": "nobody may write, as no open for writing succeeds",
}
"""What the tree answers otherwise, by the call or the kind of path, and why."""


@pytest.fixture(scope="module")
def program() -> Path:
    """The program that makes the calls."""
    return compile_program(SOURCE.read_text(encoding="utf-8"), "everyodd", "-Wno-nonnull")


def told(machine: Machine, program: Path, paths: tuple[str, str, str], *, shim: bool = True) -> list[tuple[str, str]]:
    """Each call, behind what it is one of, with its answer."""
    run = machine.run(program, *paths, shim=shim)
    assert (run.returncode, run.stderr) == (0, "")
    found = []
    kind = ""
    for line in run.stdout.splitlines():
        call, separator, answer = line.rpartition(": ")
        kind = kind if separator else line
        found.append((f"{kind}: {call}", answer))
    assert len(found) > 1000
    return found


def known(call: str) -> set[str]:
    """The entries of the list that a call is one of."""
    kind, _, name = call.partition(": ")
    return {entry for entry in KNOWN if entry in (call, kind, name) or (entry == "longer" and "(longer" in name)}


def differing(real: list[tuple[str, str]], ours: list[tuple[str, str]]) -> dict[str, str]:
    """What differs, by call: "EPERM, not EACCES"."""
    assert [call for call, _ in real] == [call for call, _ in ours]
    pairs = zip(real, ours, strict=True)
    return {call: f"{answer}, not {wanted}" for (call, wanted), (_, answer) in pairs if answer != wanted}


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """The default host."""
    return make_machine(Host())


@pytest.mark.parametrize("paths", [REAL, PROC])
def test_the_machines_files_answer_as_ever(machine: Machine, program: Path, paths: tuple[str, str, str]) -> None:
    """Each call about a file that is not of the tree says the same with the shim: errno, result, signal."""
    assert told(machine, program, paths) == told(machine, program, paths, shim=False)


def test_the_trees_files_answer_as_sysfs(machine: Machine, program: Path) -> None:
    """Each call about a file of the tree says what one of the machine's sysfs says, but for what is known."""
    found = differing(told(machine, program, REAL, shim=False), told(machine, program, VIRTUAL))
    assert {call: what for call, what in found.items() if not known(call)} == {}
    # An ordinary user is refused some of it by sysfs itself.
    rooted = {entry for entry in KNOWN if entry.startswith(("utimensat", "access"))}
    assert KNOWN.keys() - (rooted if os.geteuid() else set()) <= {entry for call in found for entry in known(call)}


def test_a_wrong_answer_is_found(make_machine: MakeMachine, program: Path) -> None:  # noqa: F811
    """A host on which one function answers EIO differs in that function alone: the tests above can fail."""
    machine = make_machine(Host(faults=[FunctionFault(function="statx", result=errno.EIO)]))
    found = differing(told(machine, program, REAL, shim=False), told(machine, program, VIRTUAL))
    new = [call for call in found if not known(call)]
    assert new
    assert all("statx(" in call for call in new)

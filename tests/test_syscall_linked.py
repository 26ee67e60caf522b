"""Links outside of the tree that lead into it, rare ways to its files, and who gives rights up before a first look."""

import errno
import os
import subprocess
from pathlib import Path

import pytest
from support.compile import compile_program
from test_syscall_files import GPU, REAL_GPU, Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gpu, Host

SUPPORT = Path(__file__).with_name("support")
DEVICE = "/dev/nvidia99"
BOUND = GPU.replace("/devices/", "/drivers/nvidia/")
"""The GPU by its driver, which no machine without the driver has."""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """A host whose device no machine has."""
    return make_machine(Host(gpu=(Gpu(minor=99),)))


def probe() -> Path:
    """The program that tries them."""
    source = (SUPPORT / "linkprobe.c").read_text(encoding="utf-8")
    return compile_program(source, "linkprobe", "-ldl", "-D_FILE_OFFSET_BITS=64", "-Wno-unused-result")


def said(run: subprocess.CompletedProcess[str]) -> list[tuple[str, int, int, str]]:
    """The program's lines: what was tried, what it answered, errno, a text."""
    assert (run.returncode, run.stderr) == (0, "")
    found = []
    for line in run.stdout.splitlines():
        what, number, error, text = line.rsplit(" ", 3)
        found.append((what, int(number), int(error), text))
    return found


LINKS = [
    ("before", -1, errno.ENOENT, ""),
    ("open", 0, 0, "0x10de"),
    ("early", -1, errno.ENOENT, ""),
    ("late", 0, 0, "0x10de"),
    ("second", 0, 0, "0x10de"),
    ("relative", 0, 0, "0x10de"),
    ("circle", -1, errno.ELOOP, ""),
    ("nowhere", -1, errno.ENOENT, ""),
    ("absent", -1, errno.ENOENT, ""),
    ("openat", 0, 0, ""),
    ("nofollow", -1, errno.ELOOP, ""),
    ("fopen", ord("0"), 0, ""),
    ("freopen", -1, errno.ENOENT, ""),
    ("access", 0, 0, ""),
    ("access vendor", -1, errno.EACCES, ""),
    ("stat", 0, 0, "device"),
    ("fstatat", 0, 0, "device"),
    ("statx", 0, 0, "device"),
    ("lstat", 0, 0, "link"),
    ("stat gpu", 0, 0, "directory"),
    ("real", 0, 0, "same"),
    ("faked", 0, 0, "same"),
    ("fakedx", 0, 0, "same"),
    ("readlink", len(DEVICE), 0, DEVICE),
    ("realpath", 0, 0, REAL_GPU),
    ("opendir", 0, 0, ""),
    ("number", 0, 0, ""),
    ("number nofollow", -1, errno.ELOOP, ""),
    ("number stat", 0, 0, "device"),
    ("truncate", -1, errno.EACCES, ""),
    ("unlink", 0, 0, ""),
    ("chdir", 0, 0, ""),
    ("getcwd", 0, 0, REAL_GPU),
    ("inside", 0, 0, "0x10de"),
    ("number here", 0, 0, REAL_GPU),
    ("number cut", 12, 0, REAL_GPU[:12]),
]


class TestLinks:
    def test_lead_into_the_tree(self, machine: Machine, tmp_path: Path) -> None:
        """Each function that follows links comes to the tree's file; those that do not see the link; errno is right."""
        assert said(machine.run(probe(), "links", tmp_path, DEVICE, BOUND)) == LINKS

    def test_lead_nowhere_without_the_shim(self, machine: Machine, tmp_path: Path) -> None:
        """The machine has nothing there: the test above can fail, and the rest is the kernel's own answer."""
        plain = said(machine.run(probe(), "links", tmp_path, DEVICE, BOUND, shim=False))
        same = {
            "before", "early", "circle", "nowhere", "absent", "nofollow", "freopen", "lstat", "real", "faked", "fakedx",
            "readlink", "unlink", "number nofollow",
        }  # fmt: skip
        for mine, real in zip(LINKS, plain, strict=True):
            assert (mine == real) == (mine[0] in same), (mine, real)


class TestRareWays:
    def test_come_to_the_tree(self, machine: Machine) -> None:
        """ftok is made of what stat says; setmntent reads, closed by exec, and does not write; open_tree is a place."""
        assert said(machine.run(probe(), "rare", BOUND, "/proc/devices")) == [
            ("stat", 0, 0, ""),
            ("ftok", 0, 0, ""),
            ("no ftok", -1, errno.ENOENT, ""),
            ("setmntent", 1, 0, "cloexec"),
            ("setmntent", -1, errno.EACCES, ""),
            ("__setmntent", 1, 0, "cloexec"),
            ("__setmntent", -1, errno.EACCES, ""),
            ("open_tree", 0, 0, "place"),
        ]


class TestRights:
    @pytest.mark.parametrize("function", ["setuid", "seteuid", "setreuid", "setresuid", "setfsuid"])
    def test_are_given_up_after_the_image_is_mapped(self, machine: Machine, function: str) -> None:
        """Its first call being this, a program knows the tree, which this directory closes to other users (EACCES)."""
        machine.directory.parent.chmod(0o755)
        machine.directory.chmod(0o755)
        machine.tree.chmod(0o700)
        (machine.directory / "host.image").chmod(0o600)
        wanted = errno.EACCES if os.geteuid() == 0 else 0
        assert machine.run(probe(), "rights", function, DEVICE).stdout == f"{wanted}\n"

    def test_that_are_gone_before_leave_nothing(self, machine: Machine) -> None:
        """Control: after a system call that the shim does not see, the image cannot be read, and files are real."""
        (machine.directory / "host.image").chmod(0o600)
        wanted = errno.ENOENT if os.geteuid() == 0 else 0
        assert machine.run(probe(), "rights", "instruction", DEVICE).stdout == f"{wanted}\n"

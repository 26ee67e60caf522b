"""ioctl on the devices of the tree: that of a driver that does not know the request, by every descriptor."""

import json
import sys

import pytest
from support.compile import compile_program
from test_syscall_files import Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gate, Gpu, Host
from vgpu_harness.host.faults import FunctionFault

CHECK_VERSION = 0xC04846D2
"""NV_ESC_CHECK_VERSION_STR of NVIDIA's open kernel modules: the first request that its libcuda makes."""

CODE = """
import errno, fcntl, json, os, socket, sys
def ask(fd, request):
    try: return fcntl.ioctl(fd, request, bytes(72)) and 0
    except OSError as error: return errno.errorcode[error.errno]
REQUEST = 0xc04846d2
fd = os.open("/dev/nvidia99", os.O_RDWR)
control = os.open("/dev/nvidiactl", os.O_RDWR)
answers = {"device": ask(fd, REQUEST), "control": ask(control, REQUEST), "dup": ask(os.dup(fd), REQUEST)}
left, right = socket.socketpair()
socket.send_fds(left, [b"x"], [fd])
answers["sent"] = ask(socket.recv_fds(right, 1, 1)[1][0], REQUEST)
child = os.fork()
if child == 0:
    os._exit(0 if ask(fd, REQUEST) == "EINVAL" else 1)
answers["forked"] = os.waitpid(child, 0)[1]
answers["null"] = ask(os.open("/dev/null", os.O_RDWR), REQUEST)
answers["file"] = ask(os.open("/sys/bus/pci/devices/0000:00:05.0/vendor", os.O_RDONLY), REQUEST)
answers["closed"] = ask(4000, REQUEST)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """A host whose device no machine has."""
    return make_machine(Host(gpu=(Gpu(minor=99),)))


def asked(machine: Machine) -> dict[str, str | int]:
    """The answers by kind of descriptor."""
    run = machine.run(sys.executable, "-I", "-S", "-c", CODE)
    assert (run.returncode, run.stderr) == (0, "")
    answers: dict[str, str | int] = json.loads(run.stdout)
    return answers


def test_a_device_does_not_know_the_request(machine: Machine) -> None:
    """EINVAL for a device by every descriptor of it; other files answer ENOTTY, no file EBADF, as they do without."""
    assert asked(machine) == {
        "device": "EINVAL", "control": "EINVAL", "dup": "EINVAL", "sent": "EINVAL", "forked": 0, "null": "ENOTTY",
        "file": "ENOTTY", "closed": "EBADF",
    }  # fmt: skip


def test_requests_are_in_the_trace(make_machine: MakeMachine) -> None:  # noqa: F811
    """Each request that a device has answered is a record with the device's path and the request's number."""
    machine = make_machine(Host(gpu=(Gpu(minor=99),)))
    asked(machine)
    records = [record for record in machine.records() if record.name == "ioctl"]
    assert [record.text for record in records] == ["/dev/nvidia99", "/dev/nvidiactl", *["/dev/nvidia99"] * 3]
    assert {record.inputs for record in records} == {(CHECK_VERSION,)}


def test_a_fault_changes_the_answer(make_machine: MakeMachine) -> None:  # noqa: F811
    """Control: with a fault of `ioctl` the devices answer its errno, other files what they did."""
    machine = make_machine(Host(gpu=(Gpu(minor=99),), faults=[FunctionFault(function="ioctl", result=5)]))
    answers = asked(machine)
    assert (answers["device"], answers["null"]) == ("EIO", "ENOTTY")


def test_a_denied_program_has_no_device(make_machine: MakeMachine) -> None:  # noqa: F811
    """A program that the gate refuses has real files: its device cannot even be opened."""
    machine = make_machine(Host(gpu=(Gpu(minor=99),), gate=Gate(deny=("python*",))))
    run = machine.run(sys.executable, "-I", "-S", "-c", CODE)
    assert "FileNotFoundError" in run.stderr


def test_terminals_are_asked_as_ever(machine: Machine) -> None:
    """Requests of other types, with three arguments or two, reach the real function: isatty, FIONREAD, FIOCLEX."""
    program = compile_program(TERMINAL, "terminal")
    assert machine.run(program).stdout == machine.run(program, shim=False).stdout == "ENOTTY 5 0 1\n"


TERMINAL = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(void) {
    int ends[2], waiting = 0;
    char size[64];
    if (pipe(ends) != 0 || write(ends[1], "hello", 5) != 5) {
        return 1;
    }
    ioctl(ends[0], TIOCGWINSZ, size);
    printf("%s ", strerrorname_np(errno));
    ioctl(ends[0], FIONREAD, &waiting);
    printf("%d ", waiting);
    printf("%d ", ioctl(ends[0], FIOCLEX));
    printf("%d\n", fcntl(ends[0], F_GETFD));
    return 0;
}
"""

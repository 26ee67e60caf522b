"""The provider "namespace": the tree is mounted over the machine's own files, in a mount namespace of the run's.

bubblewrap (bwrap(1)) makes the namespace, without privileges where the kernel allows user namespaces. It forks, and
stays as the program's parent until that ends; process numbers are the machine's.

    vgpu-start -> bwrap ... vgpu-start -> the program

The second vgpu-start is in the namespace: it says that this stands and which process it is, and brings back the errno
if the kernel refuses to execute the program.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import IO

from vgpu_harness.errors import RunError
from vgpu_harness.run.delivery import Delivered
from vgpu_harness.run.mounts import Plan
from vgpu_harness.run.observer import Process
from vgpu_harness.run.provider import Command
from vgpu_harness.run.started import Started
from vgpu_harness.shims.paths import client_path

_INSTALL = "apt-get install bubblewrap, or use the provider preload"
_PATIENCE = 30.0
"""Seconds that bwrap has to set up the namespace."""

_SO_PASSCRED, _SCM_CREDENTIALS = 16, 2
"""<asm-generic/socket.h>, <bits/socket.h>: the kernel tells who has sent a message."""

_LINKER = "LD_"
_SIGNALS = range(129, 129 + 64)


def bubblewrap() -> Path:
    """The installed bwrap.

    Raises:
        RunError: there is none in PATH.
    """
    found = shutil.which("bwrap")
    if found is None:
        raise RunError(f"bwrap: is not installed; {_INSTALL}")
    return Path(found)


def why_refused(said: str) -> str:
    """What bwrap said, with what to change.

    Args:
        said: its standard error.
    """
    words = said.strip().splitlines()[-1].removeprefix("bwrap: ") if said.strip() else "bwrap said nothing"
    restricted = _flag("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if os.geteuid() != 0 and restricted:
        return (
            f"{words}; AppArmor restricts user namespaces here: set kernel.apparmor_restrict_unprivileged_userns to 0, "
            "or give bwrap a profile that has `userns`"
        )
    if "namespace" in words or "uid map" in words or "Operation not permitted" in words:
        return (
            f"{words}; allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone; in "
            "a container its seccomp profile), run it as root, or use the provider preload"
        )
    return f"{words}; try `bwrap --dev-bind / / true`, or use the provider preload"


def _flag(path: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip() not in {"", "0"}
    return False


@cache
def _works(program: str) -> None:
    """Tries bwrap, once in a process.

    Raises:
        RunError: it does not work here, which is not remembered.
    """
    try:
        done = subprocess.run(
            [program, "--dev-bind", "/", "/", "true"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors="replace", timeout=_PATIENCE, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{program}: cannot be used: {error}; {_INSTALL}") from error
    if done.returncode != 0:
        raise RunError(why_refused(done.stderr))


class Namespace:
    """A mount namespace; see `vgpu_harness.run.provider.Provider`."""

    withheld = frozenset({"syscall"})
    shows_static = True
    system_links = True

    def available(self) -> str | None:
        """Why there can be no namespace, None if there can."""
        try:
            _works(str(bubblewrap()))
        except RunError as error:
            return str(error)
        return None

    @contextlib.contextmanager
    def enclose(self, delivered: Delivered) -> Iterator["Enclosed"]:
        """The namespace of one run."""
        if delivered.tree is None or delivered.host is None:
            raise RunError(
                f"{delivered.image}: the provider namespace mounts the files of a host, and an image has only their "
                "names; give the host file"
            )
        place = delivered.tree.directory.with_name("mounts")
        plan = Plan(place)
        plan.show(delivered.tree)
        plan.link(delivered.host.delivery.system_links, delivered.served)
        try:
            place.mkdir()
            arguments: list[str] = ["--dev-bind", "/", "/"]
            for mount in plan.mounts():
                arguments += ["--dev-bind" if mount.writable else "--ro-bind", mount.source, mount.place]
        except OSError as error:
            raise RunError(
                f"{error.filename}: cannot be made or read: {error.strerror}; use the provider preload"
            ) from error
        with contextlib.closing(Enclosed(arguments)) as enclosed:
            yield enclosed


class Enclosed:
    """One program in its namespace; see `vgpu_harness.run.provider.Enclosure`.

    Args:
        arguments: the mounts, as bwrap's arguments.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._ours, self._theirs = socket.socketpair()
        self._ours.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._pid = 0

    def command(self, argv: Sequence[str], program: Path, environment: Mapping[str, str]) -> Command:
        """bwrap with the mounts, around a vgpu-start with the program.

        The arguments go by a file, as everybody may read a command line and the environment is among them: nothing is
        to be preloaded into bwrap itself.
        """
        own = {name: value for name, value in environment.items() if not name.startswith(_LINKER)}
        arguments = list(self._arguments)
        if os.geteuid() == 0:
            arguments += ["--cap-add", "ALL"]  # what root may do without a namespace it may do in it
        for name, value in environment.items():
            if name.startswith(_LINKER):
                arguments += ["--setenv", name, value]
        self._file.write(b"".join(os.fsencode(word) + b"\0" for word in arguments))
        self._file.seek(0)
        descriptors = self._file.fileno(), self._theirs.fileno()
        path = bubblewrap()
        start = [str(client_path("vgpu-start")), str(descriptors[1]), os.fspath(program), *argv]
        return Command((str(path), "--args", str(descriptors[0]), "--", *start), path, own, descriptors)

    def waiting(self, started: Started) -> None:
        """Nothing is to be done: the process has its copies of the descriptors."""
        del started
        self._theirs.close()

    def entered(self) -> int:
        """Waits for the vgpu-start in the namespace, gives it the word to go, and waits for the program.

        Raises:
            OSError: the kernel refused to execute the program.
            RunError: the namespace could not be made.
        """
        self._ours.settimeout(_PATIENCE)
        data = b""
        try:
            with contextlib.suppress(ConnectionError):
                data, ancillary, _, _ = self._ours.recvmsg(1, socket.CMSG_SPACE(struct.calcsize("3i")))
            if not data:
                raise RunError(
                    "bwrap: ended before the namespace stood; its words are on the standard error of the run; "
                    "try `bwrap --dev-bind / / true`, or use the provider preload"
                )
            for level, kind, content in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, _SCM_CREDENTIALS):
                    self._pid = struct.unpack("3i", content)[0]
            answer = b""
            with contextlib.suppress(ConnectionError):
                self._ours.send(b"!", socket.MSG_NOSIGNAL)
                answer, _, _, _ = self._ours.recvmsg(4)
        except TimeoutError as error:
            raise RunError(
                f"bwrap: the namespace did not stand after {_PATIENCE} s; use the provider preload"
            ) from error
        if answer:
            number = int.from_bytes(answer, "little")
            raise OSError(number, os.strerror(number))
        return self._pid

    def processes_of_run(self, processes: tuple[Process, ...]) -> tuple[Process, ...]:
        """The processes without bwrap's, and the program's own without what it was before."""
        found = []
        for process in processes:
            if process.pid == self._pid:
                last = max((i for i, image in enumerate(process.images) if _is_ours(image.program)), default=-1)
                images = process.images[last + 1 :]
                found.append(replace(process, parent=os.getpid(), images=images))
            elif not process.images or not all(_is_ours(image.program) for image in process.images):
                found.append(process)
        return tuple(found)

    def findings(self) -> tuple[str, ...]:
        """None: what a namespace shows, all see."""
        return ()

    def status(self, root: int, processes: tuple[Process, ...]) -> int:
        """The program's status as it was seen; if that was not, as bwrap has it: 128 + n for signal n."""
        for process in processes:
            if process.pid == self._pid and process.status is not None:
                return process.status
        return -(root - 128) if root in _SIGNALS and root - 128 in set(signal.Signals) else root

    def close(self) -> None:
        """Closes what is open; a vgpu-start that still waits then ends."""
        self._ours.close()
        self._theirs.close()
        self._file.close()


def _is_ours(program: str) -> bool:
    return Path(program).name in {"bwrap", "vgpu-start"}

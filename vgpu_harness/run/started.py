"""The first process of a run: made, but not yet the program, so that whoever watches can get ready."""

import contextlib
import errno
import os
import resource
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vgpu_harness.errors import ShimError
from vgpu_harness.shims.paths import client_path

_PATIENCE = 10.0
"""Seconds that vgpu-start has for its first instructions."""


class Started:
    """A process that waits in vgpu-start (csrc/observe/start.c) until `go` makes it the program.

    Everything but the program itself is then as it will be: streams, environment, directory, session, signals, limits.

    Attributes:
        traced: it has a tracer, for whom a filter may stop it.
        filtered: it has a filter; its system calls wait for a supervisor.
    """

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self.process: subprocess.Popen[bytes] | None = None
        self.traced = self.filtered = False

    def launch(
        self,
        argv: Sequence[str],
        program: Path,
        environment: Mapping[str, str],
        cwd: Path,
        *,
        own_session: bool,
        streams: Mapping[str, Any],
        descriptors: Sequence[int] = (),
    ) -> None:
        """Makes the process, a child of the calling thread.

        Args:
            argv: the program's command line.
            program: the file to execute.
            environment: the program's whole environment.
            cwd: the directory that it starts in.
            own_session: is it to have a session of its own?
            streams: subprocess.Popen's stdin, stdout, stderr; those that are missing are this process's own.
            descriptors: more descriptors that it is to have.

        Raises:
            OSError: there is no such directory, or the system has no process left.
            ShimError: vgpu-start is not installed, or is not the one that this package has.
        """
        with self._theirs:
            channel, start = self._theirs.fileno(), client_path("vgpu-start")
            self.process = subprocess.Popen(
                [str(start), str(channel), os.fspath(program), *argv],
                env=environment,
                cwd=cwd,
                pass_fds=(channel, *descriptors),
                # With the terminal's streams it stays in the terminal's session: Ctrl-C is for it too.
                start_new_session=own_session,
                **streams,
            )
        # Popen returns when the old program's descriptors are closed, which is before the execve of vgpu-start is over.
        self._ours.settimeout(_PATIENCE)
        try:
            with contextlib.suppress(ConnectionError):
                self._ours.recv(1)
        except TimeoutError as error:
            self.process.kill()
            self.process.wait()
            raise ShimError(
                f"{start}: has not answered for {_PATIENCE} s; build it again, with the sources of this package"
            ) from error
        self._ours.settimeout(None)
        # No core files. Not by a preexec_fn, which would make the start a fork of this whole process.
        with contextlib.suppress(OSError):
            resource.prlimit(self.process.pid, resource.RLIMIT_CORE, (0, 0))

    @property
    def pid(self) -> int:
        """The process's number, 0 before it was made."""
        return self.process.pid if self.process is not None else 0

    def listen(self, instructions: bytes) -> int:
        """Sets a seccomp filter that sends system calls to a listener; answers the listener's descriptor.

        Args:
            instructions: the filter's, as `vgpu_notify_filter` writes them.

        Raises:
            OSError: the kernel refused the filter; EBUSY: the process has a listener already, as in a run within a run.
        """
        answer = b""
        passed: list[int] = []
        with contextlib.suppress(ConnectionError):
            self._ours.send(b"f" + instructions, socket.MSG_NOSIGNAL)
            answer, passed, _, _ = socket.recv_fds(self._ours, 4, 1, socket.MSG_CMSG_CLOEXEC)
        if passed:
            self.filtered = True
            return passed[0]
        number = int.from_bytes(answer, "little") if answer else errno.ESRCH
        raise OSError(number, os.strerror(number))

    def go(self) -> None:
        """Makes the process the program, and waits until it is.

        Raises:
            OSError: the kernel refused to execute the program; the process has ended, or is about to.
        """
        answer = b""
        # The process may have been killed while it waited; it then ends as a program does that is killed at its start.
        with self._ours, contextlib.suppress(ConnectionError):
            self._ours.send(b"!", socket.MSG_NOSIGNAL)
            answer = self._ours.recv(4)
        if answer:
            number = int.from_bytes(answer, "little")
            raise OSError(number, os.strerror(number))

    def wait(self) -> int:
        """Waits for the end of a process that is not traced; answers its exit status."""
        return self.process.wait() if self.process is not None else 0

    def ended(self, status: int) -> None:
        """The process has been waited for by its tracer."""
        if self.process is not None:
            self.process.returncode = status

    def abandon(self) -> None:
        """If the process is not yet the program, it ends."""
        self._ours.close()
        self._theirs.close()

"""The executor's process, and the socket through which it is asked."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from vgpu_harness.fuzz.format import ExecutorError, Format
from vgpu_harness.shims.paths import client_path

READ = 65536
"""Bytes that are read at once."""

PATIENCE = 10.0
"""Seconds that the executor has beyond what its sequences may take."""


class LostError(ExecutorError):
    """The executor ended, or did not answer in time."""


class Connection:
    """A running executor. Made, it has greeted and found its functions.

    Args:
        directory: where it runs; its complaints go to a file there.
        environment: its whole environment.
        functions: the names that calls may have.

    Attributes:
        format: what its greeting said.
        libraries: for each function the file that it comes from, "" where there is none.

    Raises:
        ShimError: it is not built.
        LostError: it did not start.
        ExecutorError: its format is another one.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str], functions: Sequence[str]) -> None:
        self._directory = directory
        self._complaints = directory / "stderr"
        self._received = b""
        program = client_path("vgpu-executor")
        try:
            self._start(program, environment)
        except OSError as error:
            raise ExecutorError(
                f"{program}: cannot be started: {error.strerror}; see to memory, processes and open files"
            ) from error
        try:
            self.set_deadline(0)
            greeting = b""
            while not greeting.endswith(b"\n\n"):
                greeting += self._receive_some(READ)
            self.format = Format(greeting.decode(), functions)
            self.send(
                self.format.request("FUNCTIONS", len(functions), b"".join(name.encode() + b"\0" for name in functions))
            )
            paths = self.receive(self.format.found_size(self.receive(4))).split(b"\0")
        except BaseException:
            self.close()
            raise
        self.libraries = {name: os.fsdecode(path) for name, path in zip(functions, paths, strict=False)}

    def _start(self, program: Path, environment: Mapping[str, str]) -> None:
        with contextlib.ExitStack() as failed:
            self._socket, theirs = socket.socketpair()
            failed.callback(self._socket.close)
            with theirs, self._complaints.open("wb") as complaints:
                self._process = subprocess.Popen(
                    [program, str(theirs.fileno())],
                    env=environment,
                    cwd=self._directory,
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=complaints,
                    stderr=complaints,
                    start_new_session=True,
                )
            failed.pop_all()

    @property
    def pid(self) -> int:
        """The executor's process."""
        return self._process.pid

    def set_deadline(self, seconds: float) -> None:
        """What is asked from now on may take so many seconds."""
        self._deadline = time.monotonic() + seconds + PATIENCE

    def send(self, request: bytes) -> None:
        """Sends a request.

        Raises:
            LostError: it is not taken.
        """
        try:
            self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
            self._socket.sendall(request)
        except OSError as error:
            raise self._lost() from error

    def _receive_some(self, most: int) -> bytes:
        try:
            self._socket.settimeout(max(0.001, self._deadline - time.monotonic()))
            part = self._socket.recv(most)
        except OSError as error:
            raise self._lost() from error
        if not part:
            raise self._lost()
        return part

    def receive(self, size: int) -> bytes:
        """The next bytes of its answer.

        Raises:
            LostError: they do not come.
        """
        while len(self._received) < size:
            self._received += self._receive_some(max(READ, size))
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _lost(self) -> LostError:
        try:
            ended = f"ended with {self._process.wait(1)}"
        except subprocess.TimeoutExpired:
            ended = "did not answer in time"
        said = ""
        # A sequence can have taken the file away.
        with contextlib.suppress(OSError):
            said = self._complaints.read_text(errors="replace").strip()
        said = said or "it said nothing"
        return LostError(f"vgpu-executor: {ended}: {said}; run the sequences one by one to see which of them does it")

    def kill(self) -> None:
        """Ends it without asking, and what its sequences have started."""
        self._process.kill()
        self.close()
        self._end_orphans()

    def _end_orphans(self) -> None:
        """Ends what the executor could not end any more: all of it has the directory in its environment."""
        needle = os.fsencode(self._directory)
        left = True
        while left:
            left = False
            for place in Path("/proc").glob("[0-9]*"):
                # Gone, or another user's.
                with contextlib.suppress(OSError):
                    if needle in (place / "environ").read_bytes():
                        os.kill(int(place.name), signal.SIGKILL)
                        left = True

    def close(self) -> None:
        """Hangs up; the executor ends what it has started, and itself. A second time does nothing."""
        self._socket.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            self._end_orphans()

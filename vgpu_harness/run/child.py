"""The first process of a run, from its start until nothing of the run is left."""

import contextlib
import functools
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vgpu_harness.errors import RunError
from vgpu_harness.run.observer import Image, Observed, Process, Signs
from vgpu_harness.run.program import Program
from vgpu_harness.run.provider import Command, Enclosure
from vgpu_harness.run.reaper import reap
from vgpu_harness.run.sampler import Sampler
from vgpu_harness.run.started import Started
from vgpu_harness.run.tracer import Tracer

Observe = Literal["auto", "ptrace", "sampled"]
"""How the processes of a run are to be seen; "auto" is by ptrace where that is allowed."""


class NotStartedError(RunError):
    """The kernel refused to execute the program; the cause is the OSError."""


class RefusedError(RunError):
    """The processes were to be observed by ptrace, and the kernel refuses that."""


class Child:
    """The first process of a run.

    Attributes:
        pid: the program's number.
        returncode: its exit status, -n if signal n killed it.
        duration: seconds from start to end.
        timed_out: it was ended because its time was over.
        observed: how the processes were seen.
        processes: the processes that were seen.
        reaped: pids that were still alive at the end, and were ended.
    """

    def __init__(
        self,
        words: Sequence[str],
        program: Program,
        environment: Mapping[str, str],
        *,
        directory: Path,
        trace: Path,
        cwd: Path,
        observe: Observe,
        enclosure: Enclosure | None = None,
    ) -> None:
        self.words = tuple(words)
        self.program = program
        self.environment = environment
        self.directory = directory
        self.trace = trace
        self.cwd = cwd
        self.observe = observe
        self.enclosure = enclosure
        self.pid = 0
        self._root = 0
        self.returncode = 0
        self.duration = 0.0
        self.timed_out = False
        self.observed: Observed = "sampled"
        self.processes: tuple[Process, ...] = ()
        self.reaped: tuple[int, ...] = ()

    def run(self, timeout: float, *, input: str | bytes | None, pass_streams: bool) -> None:  # noqa: A002
        """Runs it.

        Args:
            timeout: seconds; what is left then is ended.
            input: its standard input.
            pass_streams: it has this process's standard streams.

        Raises:
            NotStartedError: the kernel refused to execute it.
            RefusedError: see `Observe`.
        """
        with contextlib.ExitStack() as stack:
            streams: dict[str, Any] = {}
            if not pass_streams:
                for name in ("stdout", "stderr"):
                    streams[name] = stack.enter_context((self.directory / name).open("wb"))
            if input is not None:
                streams["stdin"] = stack.enter_context(tempfile.TemporaryFile())
                streams["stdin"].write(input.encode() if isinstance(input, str) else input)
                streams["stdin"].seek(0)
            elif not pass_streams:
                streams["stdin"] = subprocess.DEVNULL
            begun = time.monotonic()
            started = Started()
            stack.callback(started.abandon)
            with self._executing():
                observer = self._make(started, streams, own_session=not pass_streams)
            try:
                with self._executing():
                    self._go(started)
                self.timed_out = not observer.watch(timeout)
            finally:
                self._end(observer)
            self.duration = time.monotonic() - begun

    def _go(self, started: Started) -> None:
        if self.enclosure is None:
            started.go()
            return
        self.enclosure.waiting(started)
        started.go()
        self.pid = self.enclosure.entered() or self.pid

    @contextlib.contextmanager
    def _executing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise NotStartedError(
                f"{self.program.path}: cannot be executed: {error.strerror}; try it without the harness"
            ) from error

    def _make(self, started: Started, streams: Mapping[str, Any], *, own_session: bool) -> Tracer | Sampler:
        """The process, waiting to become the program, and who observes it."""
        signs = Signs(self.environment)
        command = Command(self.words, self.program.path, self.environment)
        if self.enclosure is not None:
            command = self.enclosure.command(self.words, self.program.path, self.environment)
        launch = functools.partial(
            started.launch, command.argv, command.path, command.environment, self.cwd, own_session=own_session,
            streams=streams, descriptors=command.descriptors,
        )  # fmt: skip
        if self.observe == "sampled":
            launch()
        else:
            tracer = Tracer(started, launch, signs)
            refused = tracer.begin()
            self.pid = self._root = started.pid
            if not refused:
                self.observed = "ptrace"
                return tracer
            if self.observe == "ptrace":
                started.abandon()
                started.wait()
                raise RefusedError(
                    f"ptrace: refused by the kernel: {os.strerror(refused)}; observe by sampling, or look at "
                    "kernel.yama.ptrace_scope, at the container's seccomp profile, and whether the harness is traced"
                )
        self.pid = self._root = started.pid
        binary = self.program.binary if command.path == self.program.path else command.path
        first = Image(
            str(binary), command.argv, traced=True, preloaded="LD_PRELOAD" in command.environment
        )  # fmt: skip
        return Sampler(started, signs, first)

    def _end(self, observer: Tracer | Sampler) -> None:
        import psutil

        roots = []
        for pid in observer.living:
            with contextlib.suppress(psutil.NoSuchProcess):
                roots.append(psutil.Process(pid))
        try:
            asked = reap(self.trace, roots)
        except BaseException:
            # Ctrl-C once more, while they had time to end by themselves: that time is over.
            reap(self.trace, roots, patience=0.0)
            raise
        ended = dict.fromkeys((*asked, *observer.finish()))
        ended.pop(self.pid, None)
        ended.pop(self._root, None)
        self.processes = observer.processes
        self.returncode = observer.status
        if self.enclosure is not None:
            self.returncode = self.enclosure.status(observer.status, self.processes)
            self.processes = self.enclosure.processes_of_run(self.processes)
        self.reaped = tuple(ended)

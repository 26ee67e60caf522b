"""The result of a run, as a value; its files stay on the disk."""

import json
import os
import signal
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from vgpu_harness.errors import RunError
from vgpu_harness.run.bypass import Bypass
from vgpu_harness.run.observer import Observed, Process
from vgpu_harness.run.shimless import Shimless
from vgpu_harness.trace import Kind, Trace
from vgpu_harness.trace.text import to_line

SUMMARY_FILE = "run.json"
_SCHEMA = 1
_TAIL = 20


def status_in_words(returncode: int) -> str:
    """An exit status as people say it: "exit status 3", "killed by SIGSEGV"."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"killed by signal {-returncode}"


@dataclass(frozen=True, repr=False)
class Run:
    """One program that has been run on the simulated host.

    Attributes:
        argv: the command line.
        returncode: the exit status; -n if signal n killed it.
        stdout: what it wrote there; "" if the streams were passed through.
        stderr: likewise.
        duration: seconds from start to end.
        directory: the run's own, with all its files.
        trace_path: the trace file.
        timed_out: it was ended because its time was over.
        pid: of the first process.
        preload: the entries of LD_PRELOAD, in order.
        links: links that were made for the run, each with the library it leads to.
        environment: of the first process; only variables that may stand in a report.
        processes: the processes that were seen.
        observed: how they were seen: "ptrace" is all of them, "sampled" those that /proc showed now and then.
        without_shims: programs of the run that the shims did not reach, each with the reason and the remedy.
        reaped: pids that were still alive at the end, and were ended.
        audit: was the auditor there to record what is mapped?
        findings: what is worth saying about the run itself, one sentence each.
        unmapped: why none of the shims ever was in a process of the run; None if one was.
        not_strict: which functions without a model were called on a strict host; None if none was, or it is not strict.
        provider: how the host's files were shown; docs/providers.md.
        bypassed: paths of the host that processes reached past the preloaded file shim.
        witness: who looked for that: "fanotify", "inotify", "notification" or "none".
        blind: why it may have happened unseen; None if it cannot have, or nothing can go past the provider.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    duration: float
    directory: Path
    trace_path: Path
    timed_out: bool
    pid: int
    preload: tuple[str, ...] = ()
    links: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    processes: tuple[Process, ...] = ()
    observed: Observed = "sampled"
    without_shims: tuple[Shimless, ...] = ()
    reaped: tuple[int, ...] = ()
    audit: bool = True
    findings: tuple[str, ...] = ()
    unmapped: str | None = None
    not_strict: str | None = None
    provider: str = "preload"
    bypassed: tuple[Bypass, ...] = ()
    witness: str = "none"
    blind: str | None = None

    def __repr__(self) -> str:
        program = Path(self.argv[0]).name
        late = ", timed out" if self.timed_out else ""
        return f"<Run {program}: {status_in_words(self.returncode)}{late}, {self.duration:.2f} s, {self.directory}>"

    @cached_property
    def trace(self) -> Trace:
        """What the shims and the auditor recorded.

        Raises:
            TraceError: the file is gone or damaged.
        """
        return Trace.open(self.trace_path)

    def explain(self, lines: int = _TAIL) -> str:
        """The run for a failed test: command line, status, the last `lines` lines of each stream and of the trace."""
        parts = [
            f"command: {' '.join(self.argv)}",
            f"result:  {status_in_words(self.returncode)} after {self.duration:.2f} s",
        ]
        if self.timed_out:
            parts[-1] += " (its time was over)"
        parts.append(f"files:   {self.directory}")
        parts += [f"finding: {finding}" for finding in self.findings]
        parts += [f"finding: {shimless}" for shimless in self.without_shims]
        parts += [f"finding: {bypass}" for bypass in self.bypassed]
        if self.blind is not None:
            parts.append(f"witness: {self.witness}; {self.blind}")
        for name, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            parts += _tail(name, text.splitlines(), lines)
        trace = self.trace
        calls = [record for record in trace.records if record.kind != Kind.MAPPED]
        parts += _tail(
            "trace",
            [to_line(record, start_ns=trace.start_monotonic_ns) for record in calls[-lines:]],
            lines,
            len(calls),
        )
        return "\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The summary of the run as a JSON object; the streams and the trace are named, not contained."""
        return {
            "schema": _SCHEMA,
            "argv": list(self.argv),
            "returncode": self.returncode,
            "status": status_in_words(self.returncode),
            "timed_out": self.timed_out,
            "duration": round(self.duration, 6),
            "pid": self.pid,
            "directory": str(self.directory),
            "trace": str(self.trace_path),
            "audit": self.audit,
            "preload": list(self.preload),
            "links": self.links,
            "environment": self.environment,
            "processes": [process.to_json() for process in self.processes],
            "observed": self.observed,
            "without_shims": [shimless.to_json() for shimless in self.without_shims],
            "reaped": list(self.reaped),
            "findings": list(self.findings),
            "unmapped": self.unmapped,
            "not_strict": self.not_strict,
            "provider": self.provider,
            "bypassed": [bypass.to_json() for bypass in self.bypassed],
            "witness": self.witness,
            "blind": self.blind,
        }

    def write(self) -> Path:
        """Writes the summary into the run's directory; answers the file's path."""
        path = self.directory / SUMMARY_FILE
        temporary = path.with_suffix(".json.part")
        temporary.write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        return temporary.replace(path)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """The run whose files are in `directory`, which may be a copy made elsewhere.

        Raises:
            RunError: there is no run, or one of a newer version.
        """
        directory = Path(directory).absolute()
        path = directory / SUMMARY_FILE
        try:
            summary = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise RunError(f"{path}: cannot be read: {reason}; give the directory of a run that has ended") from error
        if not isinstance(summary, dict) or summary.get("schema") != _SCHEMA:
            raise RunError(f"{path}: is not a summary that this version reads; use the vgpu-harness that wrote it")
        try:
            return cls._of(summary, directory)
        except (KeyError, TypeError) as error:
            raise RunError(f"{path}: is damaged ({error}); run the program again") from error

    @classmethod
    def _of(cls, summary: dict[str, Any], directory: Path) -> Self:
        own_trace = directory / "trace"
        return cls(
            argv=tuple(summary["argv"]),
            returncode=summary["returncode"],
            stdout=read_stream(directory / "stdout"),
            stderr=read_stream(directory / "stderr"),
            duration=summary["duration"],
            directory=directory,
            trace_path=own_trace if own_trace.exists() else Path(summary["trace"]),
            timed_out=summary["timed_out"],
            pid=summary["pid"],
            preload=tuple(summary["preload"]),
            links=summary["links"],
            environment=summary["environment"],
            processes=tuple(Process.from_json(entry) for entry in summary["processes"]),
            observed=summary["observed"],
            without_shims=tuple(Shimless(**entry) for entry in summary["without_shims"]),
            reaped=tuple(summary["reaped"]),
            audit=summary["audit"],
            findings=tuple(summary["findings"]),
            unmapped=summary["unmapped"],
            not_strict=summary.get("not_strict"),
            provider=summary.get("provider", "preload"),
            bypassed=tuple(Bypass.from_json(entry) for entry in summary.get("bypassed", ())),
            witness=summary.get("witness", "none"),
            blind=summary.get("blind"),
        )


def read_stream(path: Path) -> str:
    """The text of a stream's file, "" if there is none."""
    try:
        return path.read_bytes().decode("utf-8", "backslashreplace")
    except FileNotFoundError:
        return ""


def _tail(name: str, shown: list[str], limit: int, total: int | None = None) -> list[str]:
    total = len(shown) if total is None else total
    shown = shown[-limit:]
    title = name if len(shown) == total else f"{name}, the last {len(shown)} of {total} lines"
    return [f"-- {title} --", *shown] if shown else [f"-- {name}: nothing --"]

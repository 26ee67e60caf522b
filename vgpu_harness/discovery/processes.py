"""Every process of a run that the observer or the trace saw: its part in the discovery, and its shims."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vgpu_harness.discovery.arrival import denials
from vgpu_harness.discovery.clients import SERVER_FILE
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.facts import SeenProcess
from vgpu_harness.trace import Kind, Library

Seen = Literal["ptrace", "sampled", "trace"]


@dataclass(frozen=True)
class RunProcess:
    """One process of a discovery.

    Attributes:
        pid: its number.
        parent: its parent's number, 0 if nothing tells it.
        program: path of what it executes, "" if nothing tells it.
        role: "server", "runner", "llama-server", "gpu-discover", or None where it has no part in the discovery.
        shims: file names of the shims that were mapped in it, as the auditor saw them.
        why_not: why there is none, or why they do not serve; None if they are there and nothing denies them.
        observed: "ptrace" or "sampled", as the run's observer saw it; "trace" if only its own records tell of it.
    """

    pid: int
    parent: int
    program: str
    role: str | None
    shims: tuple[str, ...]
    why_not: str | None
    observed: Seen

    def to_json(self) -> dict[str, object]:
        """An item of ``processes`` in the JSON of ``discover``."""
        return {
            "pid": self.pid,
            "parent": self.parent,
            "program": self.program,
            "role": self.role,
            "shims": list(self.shims),
            "why_not": self.why_not,
            "observed": self.observed,
        }


def processes_of(e: Evidence) -> tuple[RunProcess, ...]:
    """All processes: those that the observer saw, in its order, then those that only left records."""
    seen = {process.pid: process for process in e.facts.processes}
    parents: dict[int, int] = {}
    for record in e.records:
        parents.setdefault(record.pid, record.parent)
    return tuple(_process(e, pid, seen.get(pid), parents.get(pid, 0)) for pid in dict.fromkeys((*seen, *parents)))


def _process(e: Evidence, pid: int, seen: SeenProcess | None, parent: int) -> RunProcess:
    mapped = e.mapped(seen.parent if seen is not None and seen.copied and not _has_objects(e, pid) else pid)
    shims = tuple(Path(file.path).name for file in mapped if file.delivered and file.role is not None)
    return RunProcess(
        pid=pid,
        parent=seen.parent if seen is not None else parent,
        program=e.program(pid),
        role=_role(e, pid, seen.parent if seen is not None else parent),
        shims=shims,
        why_not=_why_not(e, pid, seen, shims),
        observed=e.facts.observed if seen is not None else "trace",
    )


def _has_objects(e: Evidence, pid: int) -> bool:
    """Did the auditor see anything in the process? A forked copy maps nothing anew."""
    return any(r.pid == pid and r.kind == Kind.MAPPED for r in e.records)


def _role(e: Evidence, pid: int, parent: int) -> str | None:
    if pid == e.root:
        return "server"
    name = Path(e.program(pid)).name
    if parent != e.root or name not in {Path(e.facts.argv[0]).name, SERVER_FILE}:
        return None
    if name == SERVER_FILE:
        return SERVER_FILE
    return {"b": "runner", "c": "gpu-discover"}.get(e.facts.generation)


def _why_not(e: Evidence, pid: int, seen: SeenProcess | None, shims: tuple[str, ...]) -> str | None:
    if shims:
        denied = [r for library in (Library.CUDA, Library.NVML) for r in denials(e, library, (pid,))]
        return f"the process gate denies it: {denied[0].text}" if denied else None
    if seen is not None:
        if seen.static:
            return "its program is static: no dynamic linker is there to preload anything"
        if seen.secure:
            return "its program has set-user-ID or capabilities: the dynamic linker ignores LD_PRELOAD"
        if not seen.preloaded:
            return "its environment has no LD_PRELOAD"
        if not seen.traced:
            return "its environment has no VGPU_TRACE of this run"
    if not e.facts.audit:
        return "no auditor in this run: what is mapped is not recorded"
    if _has_objects(e, pid):
        return "none was loaded: see the run's LD_PRELOAD and the client's library path"
    return "no record of it is in the trace: it ended before the dynamic linker was done, or its trace was full"

"""All that a funnel may look at: the trace, the facts kept beside it, and the client's own log.

Not the host file, not the host image, not the fault table: the answer sheet is not evidence. Nor, for the same reason,
the mark that the shims set on a record that a fault changed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vgpu_harness.discovery.facts import Facts, File, Resolution
from vgpu_harness.discovery.log import Line, Log, parse
from vgpu_harness.trace import Kind, Library, Record, Trace


@dataclass(frozen=True)
class Evidence:
    """The evidence of one run of a discovery client. ``dropped`` counts the records that found no room in the trace."""

    facts: Facts
    log: Log
    records: tuple[Record, ...]
    dropped: int = 0

    @cached_property
    def root(self) -> int:
        """The process id of the client itself (``ollama serve``)."""
        if self.facts.pid is not None:
            return self.facts.pid
        return self.records[0].pid if self.records else 0

    @cached_property
    def children(self) -> tuple[int, ...]:
        """The processes that the client started and that left a record, in order."""
        return tuple(dict.fromkeys(record.pid for record in self.records if record.parent == self.root))

    @cached_property
    def started(self) -> tuple[Line, ...]:
        """The children that the client says it started, one line each."""
        return tuple(line for line in self.log.lines if line.message == "starting runner")

    @cached_property
    def seekers(self) -> tuple[int, ...]:
        """The processes in which discovery happens: the client itself in A, its children in B."""
        return (self.root,) if self.facts.generation == "a" else self.children

    @cached_property
    def files(self) -> dict[str, File]:
        """The facts of every file that was preloaded, found or mapped, by path."""
        return {file.path: file for file in (*self.facts.libraries, *self.facts.mapped, *self.facts.preload)}

    def of_kind(self, kind: Kind, library: Library | None = None) -> Iterator[Record]:
        """The records of a kind (and of one shim), in order."""
        return (r for r in self.records if r.kind == kind and library in {None, r.library})

    def calls(self, name: str, *, all_versions: bool = False) -> list[Record]:
        """What the seekers' calls of entry point `name` answered (with its `_v2`, `_v3`... if so asked)."""

        def wanted(record: Record) -> bool:
            return record.name == name or (all_versions and record.name.startswith(f"{name}_v"))

        return [r for r in self.of_kind(Kind.CALL) if r.pid in self.seekers and wanted(r)]

    def unreturned(self, name: str) -> list[Record]:
        """The seekers' calls of `name` that were entered and never returned."""
        entered = [r for r in self.of_kind(Kind.ENTERED) if r.pid in self.seekers and r.name == name]
        return [r for r in entered if not any(c.pid == r.pid and c.time_ns >= r.time_ns for c in self.calls(name))]

    def mapped(self, pid: int) -> list[File]:
        """The driver libraries that the auditor saw in process `pid`."""
        paths = dict.fromkeys(r.text for r in self.of_kind(Kind.MAPPED) if r.pid == pid)
        return [self.files[path] for path in paths if path in self.files]

    def shim_mapped(self, pid: int) -> File | None:
        """The CUDA shim in process `pid`, if the auditor saw it there."""
        return next((f for f in self.mapped(pid) if f.delivered and f.role == "cuda"), None)

    def resolutions(self, name: str) -> list[Resolution]:
        """Where the library name leads, for each client library that asks for it."""
        return [r for r in self.facts.resolved if r.name == name]

    @cached_property
    def answers_cuda(self) -> bool:
        """True if the client's final line says ``library=cuda``, in whichever case."""
        return any(line.fields.get("library", "").lower() == "cuda" for line in self.log.final)

    @classmethod
    def load(cls, directory: Path, trace_path: Path | None = None) -> "Evidence":
        """Reads the evidence of a run directory; the trace is `trace` in it if no other is given.

        Raises:
            TraceError: the trace or the evidence is missing or cannot be read.
        """
        facts = Facts.read(directory)
        trace = Trace.open(trace_path or directory / "trace")
        stderr = directory / "stderr"
        text = stderr.read_text(encoding="utf-8", errors="replace") if stderr.exists() else ""
        return cls(facts, parse(text), tuple(trace.records), trace.dropped)

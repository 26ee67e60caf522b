"""All that a funnel may look at: the trace, the facts kept beside it, and the client's own log.

Not the host file, not the host image, not the fault table: the answer sheet is not evidence. Nor, for the same reason,
the mark that the shims set on a record that a fault changed.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vgpu_harness.discovery.clients import SERVER_FILE
from vgpu_harness.discovery.facts import Facts, File, Resolution
from vgpu_harness.discovery.log import Line, Log, parse
from vgpu_harness.trace import Kind, Library, Record, Trace

# What the clients say when a child has not answered within their time limits (B; C's watchdog; C's children together).
_LATE = ("failed to finish discovery before timeout", "GPU discovery watchdog timed out", "context deadline exceeded")
PROBE_FAILED = "native GPU discovery failed"
"""Generation C's third child gave no usable answer; the device survives that."""
_VERSION = re.compile(r"_v\d+$")
_STARTS = ("starting runner", "starting llama-server", "starting gpu-discover")


@dataclass(frozen=True)
class Evidence:
    """The evidence of one run of a discovery client.

    ``dropped`` counts the records that found no room in the trace. ``stdout`` is what the client and its children wrote
    there: nothing, unless something in them writes that should not.
    """

    facts: Facts
    log: Log
    records: tuple[Record, ...]
    dropped: int = 0
    stdout: str = ""

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
        return tuple(line for line in self.log.lines if line.message in _STARTS)

    @cached_property
    def late(self) -> tuple[Line, ...]:
        """What the client says of children that did not answer within its time limit."""
        return tuple(
            line
            for line in self.log.lines
            if not line.message.startswith(PROBE_FAILED) and any(words in line.raw for words in _LATE)
        )

    @cached_property
    def seekers(self) -> tuple[int, ...]:
        """The processes in which discovery happens: the client itself in A, its children in B and C."""
        return (self.root,) if self.facts.generation == "a" else self.children

    def program(self, pid: int) -> str:
        """The path of what a process executes, as far as anything tells it."""
        seen = next((p.program for p in self.facts.processes if p.pid == pid), "")
        told = (r.text for r in self.records if r.pid == pid and r.kind in {Kind.INIT, Kind.MAPPED} and r.text)
        return seen or next(told, "")

    @cached_property
    def deciders(self) -> tuple[int, ...]:
        """The seekers that decide whether there is a GPU: all but C's `gpu-discover`, which only adds fields."""
        if self.facts.generation != "c":
            return self.seekers
        return tuple(pid for pid in self.seekers if Path(self.program(pid)).name == SERVER_FILE)

    @cached_property
    def files(self) -> dict[str, File]:
        """The facts of every file that was preloaded, found or mapped, by path."""
        return {file.path: file for file in (*self.facts.libraries, *self.facts.mapped, *self.facts.preload)}

    @cached_property
    def _by_kind(self) -> dict[Kind, list[Record]]:
        found: dict[Kind, list[Record]] = defaultdict(list)
        for record in self.records:
            found[record.kind].append(record)
        return dict(found)

    @cached_property
    def _calls(self) -> dict[str, list[Record]]:
        """The seekers' calls of each entry point, and of all versions of one under "NAME_v"."""
        found: dict[str, list[Record]] = defaultdict(list)
        for record in self._by_kind.get(Kind.CALL, []):
            if record.pid in self.seekers:
                found[record.name].append(record)
                found[_VERSION.sub("", record.name) + "_v"].append(record)
        return dict(found)

    def of_kind(self, kind: Kind, library: Library | None = None) -> Iterator[Record]:
        """The records of a kind (and of one shim), in order."""
        return (r for r in self._by_kind.get(kind, []) if library in {None, r.library})

    def calls(self, name: str, *, all_versions: bool = False, everywhere: bool = False) -> list[Record]:
        """What the calls of entry point `name` answered (with its `_v2`, `_v3`... if so asked).

        The deciders' calls; `everywhere`: all the seekers'.
        """
        found = self._calls.get(f"{name}_v" if all_versions else name, [])
        return [r for r in found if everywhere or r.pid in self.deciders]

    def unreturned(self, name: str) -> list[Record]:
        """The deciders' calls of `name` that were entered and never returned."""
        return [r for r in self.hanging if r.pid in self.deciders and r.name == name]

    @cached_property
    def hanging(self) -> tuple[Record, ...]:
        """The seekers' driver calls that were entered and never returned."""
        return tuple(
            entered
            for entered in self.of_kind(Kind.ENTERED)
            if entered.pid in self.seekers
            and entered.library in {Library.CUDA, Library.NVML}
            and not any(
                call.pid == entered.pid and call.time_ns >= entered.time_ns
                for call in self.calls(entered.name, everywhere=True)
            )
        )

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
        stdout, stderr = (_text(directory / name) for name in ("stdout", "stderr"))
        return cls(facts, parse(stderr), tuple(trace.records), trace.dropped, stdout)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

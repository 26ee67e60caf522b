"""The verdict on one discovery: the client's own answer and its funnel, in the form that programs read."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgpu_harness.discovery.answer import Device, devices_of
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.funnel import Funnel
from vgpu_harness.discovery.processes import RunProcess
from vgpu_harness.discovery.stages import Stage
from vgpu_harness.errors import TraceError

SCHEMA = 1


@dataclass(frozen=True)
class Verdict:
    """What a discovery client answered, and where and why it stopped.

    Attributes:
        generation: "a", "b" or "c".
        library: "cuda" or "cpu", by the client's final line.
        pci_id: of the first device, or None.
        devices: one a final line; each value is the client's text.
        stages: S0 to S14.
        stopped_at: the stage at which discovery stopped, or None.
        cause: why, in one sentence with the evidence, or None.
        remedy: what to change, or None.
        findings: what else is wrong.
        processes: every process of the run, with shims or without.
        directory: the run's directory; no part of the verdict (not compared, not in the JSON).
    """

    generation: str
    library: str
    pci_id: str | None
    devices: tuple[Device, ...]
    stages: tuple[Stage, ...]
    stopped_at: str | None
    cause: str | None
    remedy: str | None
    findings: tuple[str, ...]
    processes: tuple[RunProcess, ...] = ()
    directory: Path | None = field(default=None, compare=False)

    @property
    def as_hoped(self) -> bool:
        """The client answers `cuda`, and nothing else was found."""
        return self.library == "cuda" and self.stopped_at is None and not self.findings

    def to_json(self) -> dict[str, Any]:
        """The list item of ``discover --json``."""
        return {
            "schema": SCHEMA,
            "generation": self.generation,
            "library": self.library,
            "pci_id": self.pci_id,
            "devices": [dict(device) for device in self.devices],
            "stages": [stage.to_json() for stage in self.stages],
            "stopped_at": self.stopped_at,
            "cause": self.cause,
            "remedy": self.remedy,
            "findings": list(self.findings),
            "processes": [process.to_json() for process in self.processes],
        }

    @classmethod
    def of(cls, evidence: Evidence, directory: Path | None = None) -> "Verdict":
        """Derives the verdict; the same evidence always gives the same one."""
        funnel = Funnel.of(evidence)
        devices = tuple(devices_of(evidence))
        return cls(
            generation=funnel.generation,
            library="cuda" if evidence.answers_cuda else "cpu",
            pci_id=devices[0]["pci_id"] if devices else None,
            devices=devices,
            stages=funnel.stages,
            stopped_at=funnel.stopped_at,
            cause=funnel.cause,
            remedy=funnel.remedy,
            findings=funnel.findings,
            processes=funnel.processes,
            directory=directory,
        )


def verdict_of(path: str | os.PathLike[str]) -> Verdict:
    """Derives the verdict again from a run of ``discover``.

    Args:
        path: the run's directory or the trace file in it; a copy will do, without host image and tree.

    Raises:
        TraceError: the trace or the evidence beside it is missing or cannot be read.
    """
    place = Path(path)
    if not place.exists():
        raise TraceError(f"{place}: does not exist; give the directory of a run of `vgpu-harness discover`")
    if place.is_dir():
        return Verdict.of(Evidence.load(place), place)
    return Verdict.of(Evidence.load(place.parent, place), place.parent)

"""The stages of a discovery: their names, and in which generation of Ollama each one has a meaning."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["reached", "stopped", "not reached", "not applicable"]

REACHED: Status = "reached"
STOPPED: Status = "stopped"
NOT_REACHED: Status = "not reached"
NOT_APPLICABLE: Status = "not applicable"


@dataclass(frozen=True)
class StageKind:
    """A stage: its key, its title, the generations that have it, and why the others have not."""

    key: str
    title: str
    generations: str
    otherwise: str = ""


STAGES: tuple[StageKind, ...] = (
    StageKind("S0", "the shims arrive in the process", "abc"),
    StageKind("S1", "the client finds its library directory", "abc"),
    StageKind(
        "S2", "the client finds a driver library file", "a", "the dynamic linker looks for the library, not the client"
    ),
    StageKind("S3", "the client's child process starts", "bc", "this generation starts no child"),
    StageKind("S4", "the driver library is loaded and is the shim", "abc"),
    StageKind("S5", "every symbol that the client needs is there", "abc"),
    StageKind("S6", "the CUDA runtime starts", "bc", "this client calls the driver directly"),
    StageKind("S7", "cuInit succeeds", "abc"),
    StageKind("S8", "devices are counted and described", "abc"),
    StageKind("S9", "memory is read", "abc"),
    StageKind("S10", "the child answers in time", "bc", "this generation has no time limit"),
    StageKind("S11", "the second pass confirms the device", "bc", "this generation has one pass"),
    StageKind("S12", "the filters keep the device", "bc", "this generation has no such filters"),
    StageKind("S13", "the final line says cuda", "abc"),
    StageKind("S14", "a model is loaded on the device", "", "no model is loaded"),
)


@dataclass(frozen=True)
class Stage:
    """How one stage came out, with the evidence for it."""

    stage: str
    title: str
    status: Status
    evidence: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """An item of ``stages`` in the JSON of ``discover``."""
        return {"stage": self.stage, "title": self.title, "status": self.status, "evidence": list(self.evidence)}


@dataclass(frozen=True)
class Outcome:
    """What a check says of its stage: it holds, it does not (then with cause and remedy), or it cannot be told yet."""

    holds: bool | None
    evidence: tuple[str, ...] = ()
    cause: str = ""
    remedy: str = ""


def holds(*evidence: str) -> Outcome:
    """The stage was reached."""
    return Outcome(holds=True, evidence=evidence)


def undecided(*evidence: str) -> Outcome:
    """Whether the stage is reached was still open when the client gave up: a later stage is to blame."""
    return Outcome(holds=None, evidence=evidence)


def stops(cause: str, remedy: str, *evidence: str) -> Outcome:
    """Discovery stopped here."""
    return Outcome(holds=False, evidence=evidence, cause=cause, remedy=remedy)

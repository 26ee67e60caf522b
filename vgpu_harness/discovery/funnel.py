"""The funnel: the stages of one discovery in order, where it stopped, why, and what to change.

A discovery that answers `cuda` stopped nowhere, whatever was wrong on the way: that is a finding. Otherwise the first
stage that does not hold is where it stopped. A stage that was still open when the client gave up is "not reached", and
so are those after the stop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vgpu_harness.discovery import generation_a, generation_b, generation_c
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.findings import findings_of
from vgpu_harness.discovery.processes import RunProcess, processes_of
from vgpu_harness.discovery.stages import (
    NOT_APPLICABLE,
    NOT_REACHED,
    REACHED,
    STAGES,
    STOPPED,
    Outcome,
    Stage,
    Status,
    holds,
    stops,
)

Check = Callable[[Evidence], Outcome]
_CHECKS = {"a": generation_a.CHECKS, "b": generation_b.CHECKS, "c": generation_c.CHECKS}


@dataclass(frozen=True)
class Funnel:
    """The stages of one discovery. ``stopped_at``, ``cause`` and ``remedy`` are None where it stopped nowhere.

    ``processes`` are all that the run had, with shims or without.
    """

    generation: str
    stages: tuple[Stage, ...]
    stopped_at: str | None
    cause: str | None
    remedy: str | None
    findings: tuple[str, ...]
    processes: tuple[RunProcess, ...]

    @classmethod
    def of(cls, evidence: Evidence) -> "Funnel":
        """Derives the funnel; the same evidence always gives the same funnel."""
        generation = evidence.facts.generation
        checks: Mapping[str, Check] = _CHECKS[generation] | {"S13": check_final}
        stages: list[Stage] = []
        stop: tuple[str, Outcome] | None = None
        for kind in STAGES:
            if generation not in kind.generations:
                stages.append(Stage(kind.key, kind.title, NOT_APPLICABLE, (kind.otherwise,)))
                continue
            if stop is not None:
                stages.append(Stage(kind.key, kind.title, NOT_REACHED))
                continue
            outcome = checks[kind.key](evidence)
            status = _status(outcome, answers_cuda=evidence.answers_cuda)
            if status == STOPPED:
                stop = (kind.key, outcome)
            stages.append(Stage(kind.key, kind.title, status, tuple(dict.fromkeys(outcome.evidence))))
        key, last = stop if stop is not None else (None, None)
        cause, remedy = (last.cause, last.remedy) if last is not None else (None, None)
        return cls(generation, tuple(stages), key, cause, remedy, findings_of(evidence), processes_of(evidence))


def _status(outcome: Outcome, *, answers_cuda: bool) -> Status:
    if outcome.holds or answers_cuda:
        return REACHED
    return NOT_REACHED if outcome.holds is None else STOPPED


def check_final(e: Evidence) -> Outcome:
    """S13: the client's own answer."""
    lines = [line.text for line in e.log.final]
    if e.answers_cuda:
        return holds(*lines)
    if not lines:
        ended = "ran into the run's time limit" if e.facts.timed_out else f"ended with status {e.facts.returncode}"
        return stops(
            f"The client {ended} without an answer: its log has no line 'inference compute'.",
            "See the end of the client's stderr; a crash inside a driver call shows as an entered, unreturned call in "
            "the trace.",
            *[line.text for line in e.log.lines[-1:]],
        )
    return stops(
        f"The client answers without CUDA, though each stage before was reached: {lines[0]}.",
        "Compare the client's log with the traced calls: what did it do after it read the device?",
        *lines,
    )

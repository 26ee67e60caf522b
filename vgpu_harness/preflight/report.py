"""What preflight answers: the steps, and whether the libraries are safe to deploy."""

from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["safe", "not safe", "not known"]
StepVerdict = Literal["passed", "failed", "not run"]

SAFE: Verdict = "safe"


@dataclass(frozen=True)
class Step:
    """One thing that was tried, under one condition.

    Attributes:
        name: of the step.
        condition: under which.
        verdict: what came of it.
        reason: what is wrong, or why it was not run; what was measured, for a step that only measures.
        evidence: what was seen.
        libraries: paths of the libraries that do it, each alone; several that do it only together; all, if it is not
            known which.
        remedy: what to change.
        vital: where it was not run, nothing is known.
        noticed: it passed, and yet the reason is always told.
    """

    name: str
    condition: str
    verdict: StepVerdict
    reason: str = ""
    evidence: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    remedy: str = ""
    vital: bool = True
    noticed: bool = False

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "step": self.name, "condition": self.condition, "verdict": self.verdict, "reason": self.reason,
            "evidence": list(self.evidence), "libraries": list(self.libraries), "remedy": self.remedy,
            "vital": self.vital, "noticed": self.noticed,
        }  # fmt: skip


@dataclass(frozen=True)
class Report:
    """The answer.

    Attributes:
        libraries: paths, in the order of /etc/ld.so.preload.
        steps: all of them.
        left_out: names of steps that the caller did not want; nothing is said about them.
    """

    libraries: tuple[str, ...]
    steps: tuple[Step, ...]
    left_out: tuple[str, ...] = ()

    @property
    def failed(self) -> list[Step]:
        """The steps that failed."""
        return [step for step in self.steps if step.verdict == "failed"]

    @property
    def not_run(self) -> list[Step]:
        """The steps that were not run, each name once."""
        first: dict[str, Step] = {}
        for step in self.steps:
            if step.verdict == "not run":
                first.setdefault(step.name, step)
        return list(first.values())

    @property
    def verdict(self) -> Verdict:
        """Not safe if a step failed; not known if a vital one was not run; safe otherwise."""
        if self.failed:
            return "not safe"
        return "not known" if any(step.vital for step in self.not_run) else SAFE

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "schema": 1, "verdict": self.verdict, "libraries": list(self.libraries),
            "left_out": list(self.left_out), "steps": [step.to_json() for step in self.steps],
        }  # fmt: skip


def render(report: Report, *, every: bool = False) -> str:
    """The answer as text: what failed and what was not run; with `every`, what passed too."""
    lines = _passed(report) if every else []
    lines.extend(f"not run   {step.name}: {step.reason}" for step in report.not_run)
    for step, names in _alike(report.failed):
        lines.append(f"failed    {', '.join(names)} ({step.condition}): {step.reason}")
        lines += [f"          {'library:':<10}{path}" for path in step.libraries]
        lines += [f"          {'evidence:':<10}{line}" for line in step.evidence]
        lines.append(f"          {'remedy:':<10}{step.remedy}")
    lines += [f"noticed   {step.name} ({step.condition}): {step.reason}" for step in report.steps if step.noticed]
    passed = sum(step.verdict == "passed" for step in report.steps)
    lines.append(f"{passed} passed, {len(report.failed)} failed, {len(report.not_run)} not run")
    lines.append(_conclusion(report))
    return "\n".join(lines)


def _alike(steps: list[Step]) -> list[tuple[Step, list[str]]]:
    """Steps that failed alike, of each kind the first one, with the names of all."""
    found: dict[tuple[object, ...], tuple[Step, list[str]]] = {}
    for step in steps:
        alike = (step.condition, step.reason, step.evidence, step.libraries, step.remedy)
        found.setdefault(alike, (step, []))[1].append(step.name)
    return list(found.values())


def _passed(report: Report) -> list[str]:
    conditions: dict[str, list[str]] = {}
    for step in report.steps:
        if step.verdict == "passed":
            remark = f" ({step.reason})" if step.reason else ""
            conditions.setdefault(step.condition, []).append(f"{step.name}{remark}")
    return [f"passed    {condition}: {', '.join(names)}" for condition, names in conditions.items()]


def _conclusion(report: Report) -> str:
    if report.verdict == "not safe":
        named = sorted({path for step in report.failed for path in step.libraries})
        return f"not safe to deploy: {', '.join(named)}"
    if report.verdict == "not known":
        names = ", ".join(step.name for step in report.not_run if step.vital)
        return f"not known whether it is safe to deploy: not run: {names}"
    untried = [*report.left_out, *(step.name for step in report.not_run)]
    return "safe to deploy" + (f" (not tried: {', '.join(untried)})" if untried else "")

"""What came of a rule."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vgpu_harness.conformance.rule import Rule


class Verdict(Enum):
    """What came of a rule."""

    PASSED = "passed"
    FAILED = "failed"
    CRASHED = "crashed"
    HUNG = "hung"
    MISSING = "missing"
    NOT_RUN = "not run"


def signal_name(number: int) -> str:
    """A signal's name; "signal 37" for one that has none, as most real-time signals."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


BAD = frozenset({Verdict.FAILED, Verdict.CRASHED, Verdict.HUNG})


@dataclass(frozen=True)
class Result:
    """What came of one rule on one library.

    Attributes:
        rule: the rule.
        verdict: what came of it.
        message: why, "" where it passed.
        calls: the calls it made: function, arguments, answer (None: it never came back), outputs.
        seconds: how long it took.
    """

    rule: Rule
    verdict: Verdict
    message: str = ""
    calls: Sequence[Mapping[str, Any]] = ()
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As `vgpu-harness conform --json` shows it."""
        return {
            **self.rule.to_json(),
            "verdict": self.verdict.value,
            "message": self.message,
            "calls": [dict(call) for call in self.calls],
            "seconds": self.seconds,
        }


def as_hoped(results: Sequence[Result], *, allow_missing: bool = False) -> bool:
    """At least one rule was tried, and none was broken; a missing function is a break unless it is allowed."""
    bad = BAD if allow_missing else BAD | {Verdict.MISSING}
    return any(result.verdict is Verdict.PASSED for result in results) and not any(r.verdict in bad for r in results)

"""A picture of the results for a terminal. It needs neither colour nor Unicode, and in a pipe it is plain text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vgpu_harness.conformance.control import Control
from vgpu_harness.conformance.result import BAD, Result, Verdict
from vgpu_harness.conformance.rule import Rule

if TYPE_CHECKING:
    from rich.console import Console

STYLES = {
    Verdict.PASSED: "green",
    Verdict.FAILED: "bold red",
    Verdict.CRASHED: "bold red",
    Verdict.HUNG: "bold red",
    Verdict.MISSING: "yellow",
    Verdict.NOT_RUN: "dim",
}
_CALLS = 12
"""Calls of a broken rule that are shown, the last ones."""


def render(results: Sequence[Result], console: "Console", *, every: bool = False) -> None:
    """Prints what came of the rules: each broken one with its calls, the others counted.

    Args:
        results: in the order of the rules.
        console: where to.
        every: a line for each rule that passed, too.
    """
    for result in results:
        if every or result.verdict in BAD:
            _line(console, f"{result.verdict.value:<8} {result.rule.name}", STYLES[result.verdict])
        if result.verdict in BAD:
            _broken(console, result)
    _grouped(console, results)
    counts = Counter(result.verdict for result in results)
    _line(
        console, ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict]) or "no rule"
    )


def to_text(result: Result) -> str:
    """One result as plain text."""
    from io import StringIO

    from rich.console import Console

    stream = StringIO()
    console = Console(file=stream, no_color=True, force_terminal=False)
    _line(console, f"{result.verdict.value} {result.rule.name}")
    _broken(console, result)
    return stream.getvalue()


def _broken(console: "Console", result: Result) -> None:
    for title, text in (("rule", result.rule.says), ("source", result.rule.source), ("found", result.message)):
        _line(console, f"         {title + ':':<8}{text}")
    left_out = len(result.calls) - _CALLS
    if left_out > 0:
        _line(console, f"         calls:  ... {left_out} before")
    for call in result.calls[-_CALLS:]:
        _line(console, f"           {call_text(call)}", "dim")


def call_text(call: Mapping[str, Any]) -> str:
    """``cuDeviceGet(&CUdevice, 0) = 0 [0]``; a call that never came back has no answer."""
    answer = "no answer" if call["answer"] is None else call["answer"]
    outputs = f" [{', '.join(call['outputs'])}]" if call["outputs"] else ""
    return f"{call['function']}({', '.join(call['arguments'])}) = {answer}{outputs}"


def _grouped(console: "Console", results: Sequence[Result]) -> None:
    """Rules that could not be tried, those of one reason on one line."""
    for verdict in (Verdict.MISSING, Verdict.NOT_RUN):
        reasons = Counter(result.message for result in results if result.verdict is verdict)
        for reason, count in reasons.items():
            _line(console, f"{verdict.value:<8} {count} rules: {reason}", STYLES[verdict])


def render_rules(rules: Sequence[Rule], console: "Console") -> None:
    """Prints the rules, each with its functions and where it comes from."""
    for rule in rules:
        _line(console, rule.name, "bold")
        _line(console, f"  {rule.says}")
        _line(console, f"  functions: {' '.join(rule.functions)}{'' if rule.gpu else '  (needs no GPU)'}", "dim")
        _line(console, f"  source:    {rule.source}", "dim")


def render_controls(found: Sequence[Control], console: "Console", *, every: bool = False) -> None:
    """Prints the controls: those that went wrong, the others counted."""
    for control in found:
        if every or not control.good:
            where = ", ".join(control.rules)
            line = f"{control.outcome.value:<12} {control.function}: {control.lie.value}; {where} {control.message}"
            _line(console, line, "dim" if control.good else "bold red")
    counts = Counter(control.outcome for control in found)
    functions = len({(control.api, control.function) for control in found})
    said = ", ".join(f"{number} {outcome.value}" for outcome, number in counts.items())
    _line(console, f"{functions} functions lied: {said}")


def _line(console: "Console", text: str, style: str = "") -> None:
    """One line of output. A terminal wraps what is too long; in a pipe a line stays a line."""
    safe = text.rstrip().encode(console.encoding, "backslashreplace").decode(console.encoding)
    console.print(safe, style=style, soft_wrap=True, highlight=False, markup=False)

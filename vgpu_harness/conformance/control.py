"""Controls: a rule that proves a function must notice when the function lies.

For each function that a rule names, the rules that name it are tried again on a shim in which this one function lies:

- silence: where it would succeed, it says so and does nothing; its errors stay true. What only counts on an error code
  does not notice that;
- success: it says success whatever it is asked, and does nothing (the host image's fault ``result = 0``); a function
  that answers a text says NULL;
- value: it does its work, then another number stands where its first output was (the host image's fault ``value``).

At least one of the rules must then fail. Where rules with a GPU name the function, only they are tried: they are the
proof that it is modelled. For a function that only rules without a GPU name there is nothing to be silent about, so
"success" is its only lie. A lie of a value has no effect on a function without a numeric output.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from vgpu_harness.conformance.result import BAD, Result, Verdict
from vgpu_harness.conformance.rule import ApiName, Rule
from vgpu_harness.conformance.suite import VALUE, Lie, Suite, is_success
from vgpu_harness.host.outputs import answers_number

NEVER = "no rule has it succeed"
"""Says why nobody can notice that a function is silent."""

_IN_NUMBER, _IN_BYTES = str(VALUE), VALUE.to_bytes(4, "little").hex()


class Outcome(Enum):
    """What came of one lie."""

    NOTICED = "noticed"
    NOT_NOTICED = "not noticed"
    NO_EFFECT = "no effect"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Control:
    """What came of one function's lie.

    Attributes:
        api: the function's API.
        function: the function that lied.
        lie: how.
        outcome: whether a rule noticed.
        rules: the rules that were tried; where the lie was noticed, the last one did.
        message: how the last of them failed, or why nothing was tried.
    """

    api: ApiName
    function: str
    lie: Lie
    outcome: Outcome
    rules: tuple[str, ...] = ()
    message: str = ""

    @property
    def good(self) -> bool:
        """Was the lie noticed, or had it no effect?"""
        return self.outcome in {Outcome.NOTICED, Outcome.NO_EFFECT}

    def to_json(self) -> dict[str, Any]:
        """As `vgpu-harness conform --controls --json` shows it."""
        return {
            "schema": 1,
            "api": self.api,
            "function": self.function,
            "lie": self.lie.value,
            "outcome": self.outcome.value,
            "rules": list(self.rules),
            "message": self.message,
        }


def controls(
    suite: Suite,
    rules: Iterable[Rule],
    lies: Sequence[Lie] = tuple(Lie),
    *,
    quick: bool = False,
    functions: Collection[str] | None = None,
) -> Iterator[Control]:
    """Tries the lies of every function that one of the rules names.

    Args:
        suite: on the shims of this package.
        rules: first tried on the shims as they are; one that fails there proves nothing.
        lies: the kinds of lies.
        quick: leaves the lie "success" out for those whose silence was noticed: who notices that a function does
            nothing, notices the more that its errors are gone, too.
        functions: those that lie; None for all. Rules that name none of them are not tried.

    Raises:
        ShimError: a library is no shim of ours.
        RunError: the worker ended.
    """
    if functions is not None:
        rules = [rule for rule in rules if any(function in functions for function in rule.functions)]
    honest = {result.rule.name: result for result in suite.run(rules)}
    named: dict[tuple[ApiName, str], list[Result]] = {}
    for result in honest.values():
        for function in result.rule.functions:
            if functions is None or function in functions:
                named.setdefault((result.rule.api, function), []).append(result)
    for (api, function), results in named.items():
        with_gpu = [result for result in results if result.rule.gpu]
        noticed = False
        for lie in lies:
            if (lie is Lie.SUCCESS and quick and noticed) or (lie is not Lie.SUCCESS and not with_gpu):
                continue
            control = _control(suite, api, function, lie, with_gpu or results)
            noticed = control.outcome is Outcome.NOTICED
            yield control


def _control(suite: Suite, api: ApiName, function: str, lie: Lie, results: Sequence[Result]) -> Control:
    passing = [result for result in results if result.verdict is Verdict.PASSED]
    if not passing:
        why = "; ".join(f"{result.rule.name}: {result.verdict.value} {result.message}" for result in results)
        return Control(api, function, lie, Outcome.NOT_TRIED, message=f"no rule that names it passes: {why}")
    if lie is Lie.VALUE:
        passing = [result for result in passing if answers_number(function) and _gives_memory(result, function)]
    tried: list[str] = []
    told = False
    for result in passing:
        tried.append(result.rule.name)
        lying = suite.try_lie(result, function, lie)
        if lying.verdict in BAD:
            return Control(api, function, lie, Outcome.NOTICED, tuple(tried), f"{lying.verdict.value} {lying.message}")
        told = told or lie is not Lie.VALUE or _told(lying, function)
    outcome = Outcome.NOT_NOTICED if told else Outcome.NO_EFFECT
    never = lie is Lie.SILENCE and not any(succeeds(result, function) for result in passing)
    return Control(api, function, lie, outcome, tuple(tried), NEVER if never else "")


def succeeds(honest: Result, function: str) -> bool:
    """Does the function succeed at least once in a rule?"""
    return any(is_success(call["answer"]) for call in honest.calls if call["function"] == function)


def _gives_memory(honest: Result, function: str) -> bool:
    """Has the rule given the function memory for an output, where another number could be?"""
    return any(call["outputs"] for call in honest.calls if call["function"] == function)


def _told(lying: Result, function: str) -> bool:
    """Has the function's output been the other number?"""
    return any(
        _IN_NUMBER in output or _IN_BYTES in output
        for call in lying.calls
        if call["function"] == function
        for output in call["outputs"]
    )

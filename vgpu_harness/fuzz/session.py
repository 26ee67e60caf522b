"""One process of an executor that is asked call by call."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from vgpu_harness.fuzz.calls import Call
from vgpu_harness.fuzz.format import ExecutorError
from vgpu_harness.fuzz.outcome import Ended, Outcome


class Step(Protocol):
    """Does calls in the session's process, which then waits for more or leaves."""

    def __call__(self, calls: tuple[Call, ...], *, stays: bool) -> Outcome:
        """The outcome of these calls alone."""


class Session:
    """A sequence that is decided on while it goes on.

    Attributes:
        outcome: that of all calls so far, as if they had been run at once.
    """

    def __init__(self, step: Step, made_by: Mapping[str, Any]) -> None:
        self._step = step
        self.outcome = Outcome((), (), Ended.STAYS, made_by=made_by)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def call(self, call: Call) -> Outcome:
        """Does one call more.

        Returns:
            The outcome so far. If its `ended` is not STAYS, the process is gone.

        Raises:
            ExecutorError: the process was gone before, or the call cannot be encoded.
        """
        if self.outcome.ended is not Ended.STAYS:
            raise ExecutorError(f"the session's process {self.outcome.ended.value}; open another session")
        return self._add(self._step((call,), stays=True))

    def close(self) -> Outcome:
        """Lets the process leave; answers the outcome of all calls."""
        if self.outcome.ended is Ended.STAYS:
            self._add(self._step((), stays=False))
        return self.outcome

    def _add(self, step: Outcome) -> Outcome:
        before = self.outcome
        self.outcome = Outcome(
            before.calls + step.calls,
            before.results + step.results,
            step.ended,
            step.status,
            len(before.calls) + step.call,
            before.stdout + step.stdout,
            before.stderr + step.stderr,
            before.not_kept + step.not_kept,
            step.descriptors if step.ended in {Ended.STAYS, Ended.LEFT} else before.descriptors,
            step.processes,
            before.made_by,
        )
        return self.outcome

"""Any order of calls of both APIs answers as the reference does; a planted fault is found, and shown in few calls."""

import re

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from vgpu_harness.fuzz import DriverMachine, InProcessDriver
from vgpu_harness.fuzz.answer import Answer
from vgpu_harness.fuzz.subject import NvmlCalls
from vgpu_harness.host import Host
from vgpu_harness.shims.inprocess import Nvml

TestDriverMachine = DriverMachine.TestCase
TestDriverMachine.__doc__ = "The C models and the reference answer every sequence of calls alike."
TestDriverMachine.settings = settings(stateful_step_count=40, max_examples=3 * settings().max_examples)


class CountsOneTooFew(NvmlCalls):
    """NVML whose second and later inits are not counted."""

    def __init__(self, api: Nvml) -> None:
        super().__init__(api)
        self._initialized = False

    def init(self, form: str) -> Answer:
        """Only the first is passed on."""
        if self._initialized:
            return Answer(0)
        answer = super().init(form)
        self._initialized = answer.code == 0
        return answer

    def shutdown(self) -> Answer:
        """As it is, and the next init is a first one again."""
        self._initialized = False
        return super().shutdown()


class PlantedDriver(InProcessDriver):
    """The C models behind that NVML."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.nvml = CountsOneTooFew(self.nvml.api)


class SoundMachine(DriverMachine):
    """The machine on one host: the fault is not about hosts."""

    hosts = st.just(Host())


class PlantedMachine(SoundMachine):
    """The same with that driver under test."""

    driver_type = PlantedDriver


SEARCHES = range(3)


def search(machine: type[DriverMachine], number: int) -> None:
    """One search, the same in each run for the same number: it raises the first failure, shrunk."""
    run_state_machine_as_test(
        seed(number)(type(machine.__name__, (machine,), {})),
        settings=settings(
            max_examples=200, stateful_step_count=20, database=None, deadline=None, report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def calls_of(error: BaseException) -> list[str]:
    """The calls of the falsifying example that Hypothesis has noted on an error, without the questions in between."""
    steps = re.findall(r"^(?:\w+ = )?state\.(\w+)\(", "\n".join(error.__notes__), re.MULTILINE)
    return [step for step in steps if step != "states_agree"]


def test_a_planted_off_by_one_is_found_and_shrunk() -> None:
    """An NVML that forgets the second init is found by each search, and shrunk to two inits and a shutdown.

    Shrinking stops at times with a call that is not needed, as the choice of the rules of an example is shrunk too; one
    of the searches gets to the end.
    """
    found = []
    for number in SEARCHES:
        with pytest.raises(AssertionError, match="the driver answered 1, the reference 0") as caught:
            search(PlantedMachine, number)
        found.append(calls_of(caught.value))
        assert len(found[-1]) < 20
    assert min(found, key=len) == ["start", "nvml_init", "nvml_init", "nvml_shutdown", "teardown"]


def test_the_same_searches_find_nothing_in_the_real_driver() -> None:
    """Control: without the planted fault the same searches pass."""
    for number in SEARCHES:
        search(SoundMachine, number)

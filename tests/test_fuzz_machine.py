"""Any order of calls of both APIs answers as the reference does; a planted fault is found, and shown in few calls."""

import re

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from vgpu_harness.fuzz import DriverMachine, InProcessDriver
from vgpu_harness.fuzz.answer import Answer
from vgpu_harness.fuzz.subject import NvmlCalls
from vgpu_harness.host import Host
from vgpu_harness.shims.inprocess import Nvml

TestDriverMachine = DriverMachine.TestCase
TestDriverMachine.__doc__ = "The C models and the reference answer every sequence of calls alike."
TestDriverMachine.settings = settings(stateful_step_count=40, max_examples=150)


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


class PlantedMachine(DriverMachine):
    """The machine that has that driver under test, on one host: the fault is not about hosts."""

    driver_type = PlantedDriver
    hosts = st.just(Host())


def search(machine: type[DriverMachine]) -> None:
    """A search that finds the same in each run: the first failure, shrunk."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=300, stateful_step_count=20, derandomize=True, database=None, deadline=None,
            report_multiple_bugs=False, phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


def steps_of(error: BaseException) -> list[str]:
    """The calls of the falsifying example that Hypothesis has noted on an error."""
    return re.findall(r"^(?:\w+ = )?state\.(\w+)\(", "\n".join(error.__notes__), re.MULTILINE)


def test_a_planted_off_by_one_is_found_and_shrunk() -> None:
    """An NVML that forgets the second init is caught by two inits and a shutdown, with nothing around them."""
    with pytest.raises(AssertionError, match="the driver answered 1, the reference 0") as caught:
        search(PlantedMachine)
    steps = steps_of(caught.value)
    calls = [step for step in steps if step != "states_agree"]
    assert calls == ["start", "nvml_init", "nvml_init", "nvml_shutdown", "teardown"]


def test_the_same_settings_find_nothing_in_the_real_driver() -> None:
    """Control: without the planted fault the same search passes."""
    search(DriverMachine)

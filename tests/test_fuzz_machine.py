"""Any order of calls of both APIs answers as the reference does; a planted fault is found, and shown in few calls."""

import functools
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from support.compile import compile_library

from vgpu_harness.fuzz import DriverMachine, Executor, InProcessDriver, IsolatedDriver
from vgpu_harness.fuzz.answer import Answer
from vgpu_harness.fuzz.subject import Caller, NvmlCalls
from vgpu_harness.host import Delivery, Host

TestDriverMachine = DriverMachine.TestCase
TestDriverMachine.__doc__ = "The C models and the reference answer every sequence of calls alike."
TestDriverMachine.settings = settings(stateful_step_count=40, max_examples=2 * settings().max_examples)


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    """The shims in an executor."""
    with Executor() as running:
        yield running


def isolated(machine: type[DriverMachine], executor: Executor) -> type[DriverMachine]:
    """The same machine, calling the preloaded shims in a process of their own for each example."""
    driver = functools.partial(IsolatedDriver, executor=executor)
    return type(machine.__name__, (machine,), {"driver_type": driver})


def test_the_shims_and_the_reference_agree_in_isolation(executor: Executor) -> None:
    """The preloaded shims answer every sequence of calls as the reference does, and do nothing else."""
    run_state_machine_as_test(isolated(DriverMachine, executor), settings=settings(stateful_step_count=25))


class CountsOneTooFew(NvmlCalls):
    """NVML whose second and later inits are not counted."""

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller)
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
        self.nvml = CountsOneTooFew(self.nvml.caller)


class PlantedIsolatedDriver(IsolatedDriver):
    """The preloaded shims behind it."""

    def __init__(self, host: Host, **arguments: Any) -> None:
        super().__init__(host, **arguments)
        self.nvml = CountsOneTooFew(self.nvml.caller)


class SoundMachine(DriverMachine):
    """The machine on one host: the fault is not about hosts."""

    hosts = st.just(Host())


class PlantedMachine(SoundMachine):
    """The same with that driver under test."""

    driver_type = PlantedDriver


SEARCHES = range(2)


def search(machine: type[DriverMachine], number: int, *, shrink: bool = True) -> None:
    """One search, the same in each run for the same number: it raises the first failure, shrunk if that is asked."""
    run_state_machine_as_test(
        seed(number)(type(machine.__name__, (machine,), {})),
        settings=settings(
            max_examples=60, stateful_step_count=20, database=None, deadline=None, report_multiple_bugs=False,
            phases=[Phase.generate, Phase.shrink][: 1 + shrink], suppress_health_check=list(HealthCheck),
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


def test_the_same_bug_is_found_in_isolation(executor: Executor) -> None:
    """Planted before the preloaded shims, it is found as well, with the answer that gives it away."""
    machine = type(
        "Planted", (SoundMachine,), {"driver_type": functools.partial(PlantedIsolatedDriver, executor=executor)}
    )
    with pytest.raises(AssertionError, match="the driver answered 1, the reference 0") as caught:
        search(machine, 0, shrink=False)
    assert calls_of(caught.value).count("nvml_init") >= 2


def test_a_fault_of_the_host_is_found_in_isolation(executor: Executor) -> None:
    """A host whose fourth count of devices is one too many is found out, by the shims that are told so."""
    fault = {"function": "nvmlDeviceGetCount_v2", "value": 2, "after": 3}
    machine = type("Faulty", (isolated(SoundMachine, executor),), {"hosts": st.just(Host(faults=(fault,)))})
    with pytest.raises(AssertionError, match="the driver answered 0 2, the reference 0 1"):
        search(machine, 0, shrink=False)


WRONG_IN_SECRET = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
int cuCtxPopCurrent_v2(void **context) {
    int (*next)(void **) = (int (*)(void **))dlsym(RTLD_NEXT, "cuCtxPopCurrent_v2");
    int code = next(context);
    if (code == 0) *(volatile int *)8 = 1;
    return code;
}
int nvmlShutdown(void) {
    int (*next)(void) = (int (*)(void))dlsym(RTLD_NEXT, "nvmlShutdown");
    int code = next();
    if (code == 0) errno = EAGAIN;
    return code;
}
"""


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("cu_pop", "# crash: SIGSEGV in call .*, cuCtxPopCurrent_v2\n"),
        ("nvml_shutdown", "# errno: errno was changed to EAGAIN in call .*, nvmlShutdown\n"),
    ],
)
def test_what_no_answer_shows_is_found_in_isolation(rule: str, said: str) -> None:
    """A library that crashes, or changes errno, deep in a sequence whose answers are all right."""
    library = compile_library(WRONG_IN_SECRET, "libwrong.so")
    delivery = Delivery(preload=(str(library), "cuda", "nvml"))
    with Executor(Host(delivery=delivery)) as executor:
        other = {"cu_pop": "nvml_shutdown", "nvml_shutdown": "cu_pop"}[rule]
        machine = type("Wrong", (isolated(SoundMachine, executor),), {other: None})
        with pytest.raises(AssertionError, match=said) as caught:
            search(machine, 0, shrink=False)
    assert rule in calls_of(caught.value)


def test_an_isolated_driver_needs_no_executor_of_yours() -> None:
    """Made from a host alone it starts its own, and ends it."""
    driver = IsolatedDriver(Host())
    assert (driver.cuda.init(0), driver.cuda.count(), driver.nvml.count()) == (Answer(0), Answer(0, (1,)), Answer(1))
    driver.close()
    driver.close()


def test_the_same_searches_find_nothing_in_the_real_driver() -> None:
    """Control: without the planted fault the same searches pass."""
    for number in SEARCHES:
        search(SoundMachine, number)

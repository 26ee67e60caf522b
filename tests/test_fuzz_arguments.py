"""Any calls of any entry points, with bad arguments: codes are answered, and nothing else happens to the caller."""

from collections.abc import Iterator

import pytest
from hypothesis import Phase, find, given, settings
from support.compile import compile_library

from vgpu_harness.fuzz import Call, Executor, Memory, TextAt
from vgpu_harness.fuzz.calls import Kind, signatures
from vgpu_harness.fuzz.outcome import Outcome
from vgpu_harness.fuzz.sequences import BEGINNINGS, sequences
from vgpu_harness.host import Delivery, Gpu, Host

HOST = Host(gpu=(Gpu(), Gpu(pci="0000:00:06.0", compute="8.9")))

CRASHES_ON_NULL = """
int cuInit(unsigned int flags) { return flags != 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
"""


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    """The shims on a host with two GPUs."""
    with Executor(HOST) as running:
        yield running


def refuse(outcome: Outcome) -> None:
    """Fails with a program that shows what a library has done to its caller."""
    if outcome.problems:
        raise AssertionError(str(outcome))


@settings(max_examples=6 * settings().max_examples)
@given(sequences(HOST))
def test_bad_arguments_harm_nobody(executor: Executor, calls: tuple[Call, ...]) -> None:
    """Never a crash, a hang, output, a changed errno, a leaked descriptor, or a byte beyond the caller's memory."""
    refuse(executor.run(calls))


@given(sequences(HOST))
def test_the_same_calls_are_answered_alike(executor: Executor, calls: tuple[Call, ...]) -> None:
    """A sequence finds nothing of those before it: done again, each call answers what it answered."""
    first, second = executor.run_many([calls, calls])
    assert first.answers == second.answers


def argument_of(kind: Kind, size: int, *, null: bool) -> int | Memory | TextAt:
    """NULL, or memory of the right size; numbers and handles are 0, or such that nobody gave them out."""
    if kind in {Kind.NUMBER, Kind.HANDLE}:
        return 0 if null else -1 if kind is Kind.NUMBER else 0x5EED0
    if null:
        return 0
    return TextAt() if kind is Kind.TEXT_AT else Memory(max(size, 128), bytes(1))


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("null", [False, True])
def test_each_entry_point_bears_the_worst(null: bool, beginning: tuple[Call, ...], executor: Executor) -> None:
    """Each of the entry points, with nothing but NULL or nothing but numbers that are out of range."""
    worst = []
    for name, signature in signatures().items():
        chosen = [argument_of(parameter.kind, parameter.size, null=null) for parameter in signature.parameters]
        for place, parameter in enumerate(signature.parameters):
            if parameter.kind is Kind.TEXT and not null:
                chosen[place + 1] = 128
            if parameter.kind is Kind.STRUCT and place + 1 < len(chosen) and not null:
                chosen[place + 1] = 0
        worst.append((*beginning, Call(name, tuple(chosen))))
    assert len(worst) == len(signatures()) == len(executor.libraries)
    for outcome in executor.run_many(worst):
        refuse(outcome)
        assert len(outcome.results) == len(outcome.calls)


@pytest.mark.parametrize(
    ("functions", "code"),
    [
        (["cuMemMap"], 1), (["cuMemCreate"], 0), (["cuMemAddressReserve"], 0), (["cuDeviceGetPCIBusId"], 0),
        (["cuCtxSetCurrent", "cuCtxDestroy_v2"], 709), (["cuGetProcAddress_v2"], 0), (["cuCtxCreate_v4"], 0),
        (["nvmlDeviceGetName"], 0), (["nvmlDeviceGetName"], 7), (["nvmlDeviceGetMemoryInfo_v2"], 0),
        (["nvmlDeviceGetMemoryInfo_v2"], 25), (["nvmlDeviceGetHandleByPciBusId_v2"], 0),
    ],
)  # fmt: skip
def test_sequences_get_past_the_first_check(functions: list[str], code: int, executor: Executor) -> None:
    """Arguments are not all refused at once: deep answers, good and bad, are found."""

    def answered(calls: tuple[Call, ...]) -> bool:
        outcome = executor.run(calls)
        pairs = zip(outcome.calls, outcome.results, strict=False)
        return any(call.function == functions[0] and result.code == code for call, result in pairs)

    fast = settings(max_examples=300, database=None, deadline=None, derandomize=True, phases=[Phase.generate])
    find(sequences(HOST, functions, beginnings=BEGINNINGS[-1:]), answered, settings=fast)


def test_a_library_that_crashes_on_null_is_found_and_shrunk() -> None:
    """Control: a libcuda that does not look at its argument fails the same property, with the call that shows it."""
    library = compile_library(CRASHES_ON_NULL, "libcuda.so.1")
    functions = ("cuInit", "cuDeviceGetCount")
    with Executor(Host(delivery=Delivery(preload=(str(library),)))) as executor:

        @settings(max_examples=200, database=None, derandomize=True, deadline=None)
        @given(sequences(HOST, functions, beginnings=[()]))
        def sound(calls: tuple[Call, ...]) -> None:
            refuse(executor.run(calls))

        with pytest.raises(AssertionError) as caught:
            sound()
        said = str(caught.value)
        assert "# crash: SIGSEGV in call 0, cuDeviceGetCount" in said
        assert "executor.run([\n        Call('cuDeviceGetCount', (0,)),\n    ])" in said

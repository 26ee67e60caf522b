"""Contexts and memory through the CUDA runtime stand-ins: made at first use, counted, given back."""

from pathlib import Path

import pytest
from support.runtime import MAJORS, Runtime

INVALID_VALUE, OUT_OF_MEMORY, NEWER_DRIVER, NOT_SUPPORTED = 1, 2, 36, 801
EACH_MAJOR = pytest.mark.parametrize("major", MAJORS)
MIB = 1 << 20
HOST = {"gpu": [{"memory_mib": 1024, "reserved_mib": 24, "used_mib": 100}]}
CONTEXT = ["cuDevicePrimaryCtxRetain", "cuCtxSetCurrent"]


@pytest.fixture
def ask(tmp_path: Path) -> Runtime:
    """Asks the runtime in a child process on a simulated host."""
    return Runtime(tmp_path)


def after_start(calls: list[str]) -> list[str]:
    """The driver calls that came after the last question about a device's attributes."""
    return calls[len(calls) - calls[::-1].index("cuDeviceGetAttribute") :]


@EACH_MAJOR
def test_memory_is_the_hosts_and_is_accounted(ask, major):
    """Total and free as the host says; what is allocated is missing until it is freed."""
    asked = ask(major, f"memory malloc:{8 * MIB} memory free memory", **HOST)
    assert asked.codes == [0] * 5
    free = [int(answer.values["free"]) // MIB for answer in asked.answers if answer.name == "memory"]
    assert free == [900, 892, 900]
    assert {answer.values["total"] for answer in asked.answers if answer.name == "memory"} == {str(1000 * MIB)}


@EACH_MAJOR
def test_the_primary_context_is_made_at_first_use(ask, major):
    """Questions about devices make none; the first question about memory does, once."""
    assert not set(CONTEXT) & set(ask(major, "count properties:0 device pci:0:32 attribute:75:0").calls)
    calls = after_start(ask(major, "memory memory").calls)
    assert calls == ["cuCtxGetCurrent", *CONTEXT, "cuMemGetInfo_v2", "cuCtxGetCurrent", "cuMemGetInfo_v2"]


@EACH_MAJOR
def test_a_second_thread_shares_the_context(ask, major):
    """It is made current there, and not made again."""
    calls = ask(major, "memory thread memory").calls
    assert [calls.count(name) for name in CONTEXT] == [1, 2]


@EACH_MAJOR
def test_setting_a_device_makes_its_context_current(ask, major):
    """Since 12.0 at once; memory is then that device's."""
    asked = ask(
        major,
        "set:1 memory set:0 memory",
        gpu=[{"memory_mib": 1024, "reserved_mib": 0}, {"memory_mib": 512, "reserved_mib": 0}],
    )
    assert [int(a.values["total"]) // MIB for a in asked.answers if a.values] == [512, 1024]
    assert after_start(asked.calls)[:2] == CONTEXT


@EACH_MAJOR
@pytest.mark.parametrize("function", [*CONTEXT, "cuMemGetInfo_v2"])
def test_the_drivers_code_is_passed_on(ask, major, function):
    """A context that cannot be made and memory that cannot be asked for are the driver's errors."""
    asked = ask(major, "memory last", faults=[{"function": function, "result": NOT_SUPPORTED}])
    assert asked.codes == [NOT_SUPPORTED, NOT_SUPPORTED]


@EACH_MAJOR
@pytest.mark.parametrize("function", ["cuMemGetInfo_v2", "cuMemAlloc_v2"])
def test_a_function_that_the_driver_lacks_needs_a_newer_one(ask, major, function):
    """What cuGetProcAddress does not answer is 36; the older form of the name, which it does answer, is another ABI."""
    faults = [{"library": "cuda", "missing_symbol": name} for name in (function, function.removesuffix("_v2"))]
    call = "memory" if "Info" in function else "malloc:4096"
    assert ask(major, f"{call} last", faults=faults).codes == [NEWER_DRIVER, NEWER_DRIVER]


@EACH_MAJOR
def test_sizes_at_the_edges(ask, major):
    """Nothing is NULL and a success; more than there is is refused; NULL is freed, a foreign address is not."""
    asked = ask(major, f"malloc:0 free malloc:{2**50} last free:4096", **HOST)
    assert asked.codes == [0, 0, OUT_OF_MEMORY, OUT_OF_MEMORY, INVALID_VALUE]
    assert asked.answers[0].values == {"null": "1"}


@EACH_MAJOR
def test_a_reset_gives_all_back(ask, major):
    """Memory of the primary context is free again, and the next call makes the context anew."""
    asked = ask(major, f"malloc:{8 * MIB} reset memory sync", **HOST)
    assert asked.codes == [0] * 4
    assert int(asked.answers[2].values["free"]) == 900 * MIB
    assert asked.calls.count("cuDevicePrimaryCtxRetain") == 2


@EACH_MAJOR
def test_a_reset_in_another_thread_is_noticed(ask, major):
    """The context that was current here is destroyed: the next call makes a new one, as in the thread of the reset."""
    asked = ask(major, f"malloc:{8 * MIB} thread reset memory malloc:4096", **HOST)
    assert asked.codes == [0] * 4
    assert int(asked.answers[2].values["free"]) == 900 * MIB

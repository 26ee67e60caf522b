"""The start of the CUDA runtime stand-ins: what it asks of the driver, and the code for each way in which that fails.

The codes are those measured with NVIDIA's libcudart 12.8.90 and 13.0.96 on a libcuda of our own.
"""

import subprocess
from pathlib import Path

import pytest
from support.runtime import MAJORS, Runtime, answers, probe

from vgpu_harness.shims.paths import cudalib_path

INVALID_VALUE, INITIALISATION, INSUFFICIENT_DRIVER, NEWER_DRIVER, NO_DEVICE = 1, 3, 35, 36, 100
EACH_MAJOR = pytest.mark.parametrize("major", MAJORS)
ATTRIBUTE = "cuDeviceGetAttribute"
LOOKUPS = ("cuGetProcAddress_v2", "cuGetProcAddress")


@pytest.fixture
def ask(tmp_path: Path) -> Runtime:
    """Asks the runtime in a child process on a simulated host."""
    return Runtime(tmp_path)


def failing(function: str, code: int) -> dict:
    """A host on which a driver function fails."""
    return {"faults": [{"function": function, "result": code}]}


def without(*symbols: str) -> dict:
    """A host whose driver lacks functions, for dlsym and for cuGetProcAddress."""
    return {"faults": [{"library": "cuda", "missing_symbol": symbol} for symbol in symbols]}


@EACH_MAJOR
def test_the_start_asks_in_nvidias_order(ask, major):
    """Version, cuInit, count, then each device: handle, name, memory, UUID, attributes."""
    calls = ask(major, "count").calls
    start = ["cuDriverGetVersion", "cuInit", "cuDeviceGetCount"]
    device = ["cuDeviceGet", "cuDeviceGetName", "cuDeviceTotalMem_v2", "cuDeviceGetUuid"]
    assert calls[: len(start + device)] == start + device
    assert set(calls[len(start + device) :]) == {ATTRIBUTE}


@EACH_MAJOR
def test_functions_are_found_through_cu_get_proc_address(ask, major):
    """Each is asked for by its base name with the version that NVIDIA's runtime asks for, and flags 0."""
    records = ask(major, "count").run.trace
    asked = {record.text: record.inputs for record in records if record.name == "cuGetProcAddress_v2"}
    assert len(asked) > 50
    assert {asked[name] for name in ("cuInit", "cuDeviceGetCount", ATTRIBUTE)} == {(2000, 0)}
    assert [asked[name][0] for name in ("cuMemAlloc", "cuDeviceGetUuid", "cuGraphExecUpdate")] == [3020, 9020, 12000]
    assert "cuMemAlloc_v2" not in asked


@EACH_MAJOR
@pytest.mark.parametrize("hidden", [LOOKUPS[:1], LOOKUPS])
def test_a_driver_without_the_newest_lookup_is_used_all_the_same(ask, major, hidden):
    """cuGetProcAddress of 11.3 serves, and where there is none plain names do."""
    asked = ask(major, "count malloc:4096 free", **without(*hidden))
    assert asked.codes == [0, 0, 0]
    lookups = {record.name for record in asked.run.trace if record.name.startswith("cuGetProc")}
    assert lookups == set(LOOKUPS) - set(hidden) - {"cuGetProcAddress_v2"}


@EACH_MAJOR
def test_no_driver_is_an_insufficient_one(major):
    """Without any libcuda.so.1 the start says 35; the version of the driver is 0, and no error."""
    command = [str(probe(major)), "driver", "count", "device", "malloc:1", "last", "last"]
    environment = {"LD_LIBRARY_PATH": str(cudalib_path(f"libcudart.so.{major}").parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    found = answers(done.stdout)
    assert [answer.code for answer in found] == [0, *[INSUFFICIENT_DRIVER] * 5]
    assert found[0].values == {"value": "0"}
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("major", "driver", "code"),
    [(12, "525.85.12", 0), (13, "525.85.12", INSUFFICIENT_DRIVER), (13, "575.51.03", INSUFFICIENT_DRIVER),
     (13, "580.95.05", 0)],
)  # fmt: skip
def test_the_driver_is_new_enough_from_the_majors_first_version_on(ask, major, driver, code):
    """12.0 for 12, 13.0 for 13: below that the start says 35, and cuInit is not called."""
    asked = ask(major, "count", driver={"version": driver})
    assert asked.codes == [code]
    assert ("cuInit" in asked.calls) is (code == 0)


@EACH_MAJOR
def test_a_driver_of_the_major_before_is_too_old(ask, major):
    """A version below the first is what a value fault makes; cudaDriverGetVersion says it without an error."""
    fault = {"function": "cuDriverGetVersion", "value": 1000 * major - 10}
    asked = ask(major, "count driver", faults=[fault])
    assert asked.codes == [INSUFFICIENT_DRIVER, 0]
    assert asked.answers[1].values == {"value": str(1000 * major - 10)}


@EACH_MAJOR
@pytest.mark.parametrize("code", [3, 100, 101, 205, 500, 800, 801, 802, 803, 999])
def test_the_code_of_cu_init_is_passed_on(ask, major, code):
    """Whatever cuInit answers is what cudaGetDeviceCount answers; the count stays as it was, and nothing follows."""
    asked = ask(major, "count", **failing("cuInit", code))
    assert (asked.codes, asked.answers[0].values) == ([code], {"value": "4711"})
    assert asked.calls == ["cuDriverGetVersion", "cuInit"]


MEASURED = [
    ({"function": "cuDriverGetVersion", "result": 999}, INSUFFICIENT_DRIVER),
    ({"library": "cuda", "missing_symbol": "cuDriverGetVersion"}, INSUFFICIENT_DRIVER),
    ({"library": "cuda", "missing_symbol": "cuInit"}, NEWER_DRIVER),
    ({"function": "cuDeviceGetCount", "result": 999}, INITIALISATION),
    ({"function": "cuDeviceGetCount", "value": 0}, NO_DEVICE),
    ({"library": "cuda", "missing_symbol": "cuDeviceGetCount"}, INITIALISATION),
    ({"library": "cuda", "missing_symbol": "cuDeviceGet"}, INITIALISATION),
    ({"library": "cuda", "missing_symbol": ATTRIBUTE}, INITIALISATION),
    ({"library": "cuda", "missing_symbol": "cuDeviceGetUuid"}, INITIALISATION),
    ({"function": "cuDeviceGet", "result": 999}, INITIALISATION),
    ({"function": ATTRIBUTE, "result": 999}, INITIALISATION),
    ({"library": "cuda", "missing_symbol": "cuDeviceGetPCIBusId"}, 0),
    ({"library": "cuda", "missing_symbol": "cuCtxGetDevice"}, 0),
    ({"library": "cuda", "missing_symbol": "cuMemCreate"}, 0),
    ({"library": "cuda", "missing_symbol": "cuMemGetInfo_v2"}, 0),
]  # fmt: skip


@EACH_MAJOR
@pytest.mark.parametrize(("fault", "code"), MEASURED, ids=["-".join(map(str, fault.values())) for fault, _ in MEASURED])
def test_the_code_for_each_thing_that_is_wrong_with_a_driver(ask, major, fault, code):
    """The rows of the measured table, the harmless ones among them."""
    assert ask(major, "count", faults=[fault]).codes == [code]


@EACH_MAJOR
def test_an_error_of_the_start_lasts(ask, major):
    """A driver that would work the second time is not asked again; the error is every call's and each thread's last."""
    fault = [{"function": "cuInit", "result": 802}]
    asked = ask(major, "count null last last peek thread last memory malloc:1 flags:4096 count", faults=fault)
    assert asked.codes == [802] * 10
    assert asked.calls.count("cuInit") == 1


@EACH_MAJOR
def test_two_threads_start_it_once(ask, major):
    """A second thread finds the runtime started."""
    asked = ask(major, "thread count thread count count")
    assert asked.codes == [0, 0, 0]
    assert asked.calls.count("cuInit") == 1


@EACH_MAJOR
def test_a_child_of_a_process_that_has_started_cannot_use_it(ask, major):
    """As with the driver: 3 in the child, whatever it calls, and the parent goes on."""
    assert ask(major, "count fork count fork malloc:1 fork last count").codes == [0, 3, 3, 3, 0]


@EACH_MAJOR
def test_a_child_of_a_process_that_has_not_started_starts_itself(ask, major):
    """Both have a runtime of their own."""
    asked = ask(major, "fork count count")
    assert asked.codes == [0, 0]
    assert asked.calls.count("cuInit") == 2


@EACH_MAJOR
def test_versions_need_no_working_driver(ask, major):
    """The runtime's own is that of the toolkit; the driver's is what it said before cuInit failed."""
    asked = ask(major, "runtime driver", **failing("cuInit", 999))
    assert asked.codes == [0, 0]
    assert [answer.values["value"] for answer in asked.answers] == [{12: "12080", 13: "13000"}[major], "13000"]
    assert ask(major, "runtime").calls == []


@EACH_MAJOR
def test_last_errors_are_each_threads_own(ask, major):
    """cudaGetLastError gives the last error and forgets it; cudaPeekAtLastError keeps it; other threads see none."""
    asked = ask(major, "null peek peek thread last last last set:9 count last")
    assert asked.codes == [INVALID_VALUE, INVALID_VALUE, INVALID_VALUE, 0, INVALID_VALUE, 0, 101, 0, 101]

"""Our shims against NVIDIA's own libraries on a machine without a GPU."""

from pathlib import Path

import pytest
from recordings import Oracle

from vgpu_harness.conformance import oracle
from vgpu_harness.conformance.compare import compare
from vgpu_harness.conformance.probes import Api
from vgpu_harness.conformance.record import Recording, record
from vgpu_harness.host.faults import FunctionFault
from vgpu_harness.shims import shim_path

CODES, SYMBOLS = 99.0, 99.5
"""Percent of the codes, and of cuGetProcAddress's answers, that have to agree."""

BRANCH = 535


def codes(recording: Recording, api: Api, name: str) -> list[object]:
    """What a function answers in the four ways of the sweep."""
    return list(recording.libraries[api].sweep[name])


def test_it_is_the_branch_that_was_measured(recorded: Oracle) -> None:
    """The recorded libraries are those of driver 535, whole, and without a GPU their initialisation fails."""
    cuda, nvml = recorded.first.libraries["cuda"], recorded.first.libraries["nvml"]
    assert f".{BRANCH}." in f".{nvml.provenance.version}"
    assert (cuda.provenance.version, cuda.init, nvml.init) == (12020, 100, 9)
    assert (len(cuda.sweep), len(nvml.sweep)) >= (600, 332)


def test_the_machine_is_as_it_was(recorded: Oracle) -> None:
    """NVIDIA's libraries have made no node in /dev and left nothing in /etc, HOME and /tmp."""
    assert recorded.after == recorded.before


@pytest.mark.parametrize("run", oracle.RUNS)
@pytest.mark.parametrize("api", ["cuda", "nvml"])
def test_the_codes_agree(recorded: Oracle, run: oracle.RunName, api: Api) -> None:
    """Wherever NVIDIA's library answers, ours gives the same code, but for a hundredth of the calls."""
    comparison = recorded.comparisons[run]
    print(*comparison.summary(), sep="\n")
    assert comparison.compared[api, "codes"] > 1000
    assert comparison.percent("codes", api) >= CODES


def test_cuGetProcAddress_agrees(recorded: Oracle) -> None:  # noqa: N802 - the function's name
    """With a driver of the same age the same names lead to the same functions, at each version and with each flag."""
    comparison = recorded.comparisons["failing"]
    assert comparison.compared["cuda", "symbols"] > 100_000
    assert comparison.percent("symbols") >= SYMBOLS


def test_each_difference_has_its_reason(recorded: Oracle) -> None:
    """What differs stands in known.toml, and what stands there differs."""
    assert oracle.complaints(recorded.comparisons, recorded.table.known) == []


def test_what_varies_is_what_the_table_says(recorded: Oracle) -> None:
    """Between two recordings of NVIDIA's library the functions of the table differ, and no other."""
    assert oracle.differing(recorded.first, recorded.second) == sorted(recorded.table.varying)


def test_ours_never_crash(recorded: Oracle) -> None:
    """No call ends the process: neither where NVIDIA's library does that, nor on a host that works."""
    for run in oracle.RUNS:
        assert [str(difference) for difference in recorded.comparisons[run].crashes] == []
    assert [str(difference) for difference in compare(recorded.ready, recorded.ready).crashes] == []


@pytest.mark.parametrize("run", oracle.RUNS)
def test_the_seven_of_nvml(recorded: Oracle, run: oracle.RunName) -> None:
    """The functions of NVML that answer something else than "uninitialised" are seven, and ours do so too."""
    special = [name for name, found in recorded.first.libraries["nvml"].sweep.items() if set(found) != {1}]
    assert len(special) == 7
    different = [
        name for name in special if codes(recorded.ours[run], "nvml", name) != codes(recorded.first, "nvml", name)
    ]
    assert different == []


def test_nothing_stays_uninitialised(recorded: Oracle) -> None:
    """Each function that said 3 or 1 before the initialisation says something else after one that succeeded."""
    assert {library.init for library in recorded.ready.libraries.values()} == {0}
    assert oracle.still_uninitialised(recorded.ours["transparent"], recorded.ready) == []


def test_a_wrong_code_would_be_seen(recorded: Oracle) -> None:
    """A fault of the host that changes what one function answers is one unexplained difference more, in each call."""
    host = oracle.failing_host()
    lie = FunctionFault(function="cuDeviceGetCount", result=5)
    wrong = record(
        shim_path("cuda"), None, host.model_copy(update={"faults": (*host.faults, lie)}), functions=["cuDeviceGetCount"]
    )
    one = oracle.without(recorded.first, [("cuda", name) for name in recorded.first.libraries["cuda"].sweep
                                          if name != "cuDeviceGetCount"])  # fmt: skip
    found = compare(one, wrong).differences
    assert [(d.function, d.recorded, d.now) for d in found if d.area == "codes"] == [("cuDeviceGetCount", 3, 5)] * 4
    assert oracle.complaints({"failing": compare(one, wrong)}, recorded.table.known) != []


def test_the_page_has_the_table(recorded: Oracle) -> None:
    """docs/oracle.md lists what differs."""
    page = (Path(__file__).parents[2] / "docs" / "oracle.md").read_text()
    assert oracle.document(recorded.table) in page

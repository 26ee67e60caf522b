"""The oracle's own logic: what is known to differ, what is not, and the page that says so."""

from dataclasses import replace
from pathlib import Path

import pytest
from test_conformance_record_compare import LIBRARY, SWEEP, recording, swept, symbols

from vgpu_harness.conformance import oracle
from vgpu_harness.conformance.oracle import Known, KnownError, Table
from vgpu_harness.conformance.probes import Answer
from vgpu_harness.conformance.record import Recording, record
from vgpu_harness.shims import shim_path

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "tests" / "oracle" / "known.toml"

DIFFERENT = swept(cuOne=[3, 3, 1, 7])
MEANT = Known("cuda", "codes", ("cuOne",), "measured elsewhere", arguments="buffers", state="after", recorded=0, ours=7)


def test_a_known_difference_is_no_complaint() -> None:
    """What an entry means is explained, and the entry is not stale."""
    assert oracle.complaints({"failing": DIFFERENT}, [MEANT]) == []


@pytest.mark.parametrize(
    "entry",
    [
        replace(MEANT, functions=("cuTwo",)),
        replace(MEANT, ours=8),
        replace(MEANT, recorded=1),
        replace(MEANT, state="before"),
        replace(MEANT, arguments="nulls"),
        replace(MEANT, area="symbols"),
        replace(MEANT, api="nvml"),
    ],
)
def test_an_entry_explains_only_what_it_names(entry: Known) -> None:
    """With anything of it otherwise, the difference is unexplained, and the entry is stale."""
    unexplained, stale = oracle.complaints({"failing": DIFFERENT}, [entry])
    assert unexplained == "unexplained, failing: cuOne (buffers, after init): recorded 0, now 7"
    assert stale.startswith(f"stale: known[0] explains nothing any more of {entry.functions[0]}")


def test_an_entry_of_another_run() -> None:
    """An entry of the transparent run does not explain the failing one, and is stale only where its run was made."""
    entry = replace(MEANT, run="transparent")
    assert len(oracle.complaints({"failing": DIFFERENT}, [entry])) == 1
    assert oracle.complaints({"transparent": DIFFERENT, "failing": swept()}, [entry]) == []


def test_a_stale_name_of_several_is_told() -> None:
    """An entry that explains one of its two functions is half stale."""
    entry = replace(MEANT, functions=("cuOne", "cuText"))
    (stale,) = oracle.complaints({"failing": DIFFERENT}, [entry])
    assert "cuText" in stale


def test_symbols_are_compared_where_the_driver_is_as_old() -> None:
    """Without a host our table goes on beyond the recorded driver's, so only the failing run is held to it."""
    other = symbols(answers={"v2": {}})
    assert oracle.complaints({"transparent": other}, []) == []
    assert len(oracle.complaints({"failing": other}, [])) == 9
    assert oracle.complaints({"failing": other}, [Known("cuda", "symbols", ("cuOne",), "a reason")]) == []


def test_what_differs_between_two_recordings_is_left_out() -> None:
    """A function that answers by its address is found, whichever recording is the first, and can be left out."""
    second = recording(sweep=SWEEP | {"cuTwo": [1, 3, "SIGSEGV", 400]})
    assert oracle.differing(recording(), second) == oracle.differing(second, recording()) == [("cuda", "cuTwo")]
    left = oracle.without(recording(), [("cuda", "cuTwo")])
    assert set(left.libraries["cuda"].sweep) == {"cuOne", "cuText"}
    assert set(oracle.without(recording(), [("nvml", "cuTwo")]).libraries["cuda"].sweep) == set(SWEEP)


@pytest.mark.parametrize(("after", "found"), [([1, 0], 0), ([3, 0], 1), ([0, 3], 1), ([3, 3], 1)])
def test_who_stays_uninitialised_is_found(after: list[Answer], found: int) -> None:
    """A function that says 3 before the initialisation may not say so after one that succeeded."""
    bare, ready = (Recording({"cuda": replace(LIBRARY, sweep={"cuOne": [3, 3, *rest]})}) for rest in ([3, 3], after))
    assert len(oracle.still_uninitialised(bare, ready)) == found


def test_who_never_was_uninitialised_may_say_so() -> None:
    """3 after a success is no complaint where the same arguments brought something else before it."""
    bare, ready = (Recording({"cuda": replace(LIBRARY, sweep={"cuOne": [1, 1, *rest]})}) for rest in ([1, 1], [3, 3]))
    assert oracle.still_uninitialised(bare, ready) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no table"),
        ("[[known]]\n[varying]\n", "no function or no reason"),
        ('[varying]\n[[known]]\nfunctions=["cuOne"]\napi="cuda"\narea="codes"\n', "no function or no reason"),
        ('[varying]\n[[known]]\nfunctions=["cuOne"]\nreason="r"\napi="hip"\narea="codes"\n', "api, area or run"),
        ('[varying]\n[[known]]\nfunctions=["cuOne"]\nreason="r"\napi="cuda"\narea="codes"\nwhy="x"\n', "no key 'why'"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    """An entry without a reason, of no API there is, or with a key that nobody reads, is an error with its place."""
    file = tmp_path / "known.toml"
    file.write_text(text)
    with pytest.raises(KnownError, match=rf"known\.toml.*{complaint}"):
        oracle.read_table(file)


def test_our_own_table_is_read() -> None:
    """The table of this project is sound, and no entry of it stands for everything."""
    table = oracle.read_table(TABLE)
    assert table.varying
    assert all(entry.reason for entry in table.known)


def test_the_page_has_the_table() -> None:
    """docs/oracle.md shows what the table says; another table would be seen."""
    page = (ROOT / "docs" / "oracle.md").read_text()
    table = oracle.read_table(TABLE)
    assert oracle.document(table) in page
    assert oracle.document(Table([*table.known, MEANT], table.varying)) not in page


def test_the_failing_host_fails() -> None:
    """Both initialisations answer as they do without a GPU, and the driver is as old as the one that was recorded."""
    some = record(
        shim_path("cuda"), shim_path("nvml"), oracle.failing_host(), functions=["cuDriverGetVersion", "nvmlInit"]
    )
    cuda, nvml = some.libraries["cuda"], some.libraries["nvml"]
    assert (cuda.init, nvml.init, cuda.provenance.version) == (100, 9, 12020)
    assert nvml.sweep == {"nvmlInit": [9, 9, 9, 9]}
    assert (cuda.devices, nvml.devices) == ([], [])

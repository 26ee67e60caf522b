"""The escape matrix: what programs see of the virtual GPU under the preloaded shims, way by way, held by a list."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from escape import ratchet, table
from escape.matrix import HOST, Result, Results, listed, under, where_files_are_real, without_provider
from escape.ratchet import Known, RatchetError

from vgpu_harness.host.faults import FunctionFault, SymbolFault

MACHINES_LACK = {
    "as an ordinary user", "instruction: faccessat2", "instruction: openat2", "instruction: statx", "io_uring: openat",
    "io_uring: openat2", "io_uring: statx", "name_to_handle_at", "open_tree", "pidfd_getfd", "syscall(SYS_faccessat2)",
    "syscall(SYS_openat2)", "syscall(SYS_statx)",
}  # fmt: skip
"""Ways that older kernels, a container's filter, or the lack of root's rights may not allow."""

BY_OPENAT = {
    "openat", "openat of /, sys/...", "openat of /sys/bus, pci/...", "openat of the place /sys, bus/...",
    "a link below a descriptor to a directory that the machine has, too",
}  # fmt: skip
"""Ways that need the shim's `openat`. From a directory of the tree, a real descriptor, libc's own does as well."""


@pytest.fixture(scope="module")
def control() -> Iterator[Results]:
    """The results where the files are real; that directory is open to all users, as one way is another user's."""
    with tempfile.TemporaryDirectory(prefix="vgpu-escape-") as name:
        Path(name).chmod(0o755)
        yield where_files_are_real(Path(name))


@pytest.fixture(scope="module")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results under the preloaded shims."""
    return under("preload", tmp_path_factory.mktemp("preload"))


def outcomes(results: Results) -> dict[str, str]:
    """The outcome of each probe, by its name."""
    return {probe: result.outcome for probe, result in results.items()}


class TestProbes:
    def test_are_all_right_where_the_files_are_real(self, control: Results) -> None:
        """Each way works and judges right in a directory that is laid out as the host; there are 120 or more."""
        wrong = {probe: result for probe, result in control.items() if result.outcome != "right"}
        assert {probe for probe, result in wrong.items() if result.outcome == "unavailable"} <= MACHINES_LACK
        assert {probe: result for probe, result in wrong.items() if result.outcome != "unavailable"} == {}
        assert len(control) >= 120
        assert list(control) == list(listed())

    def test_see_nothing_without_a_provider(self, tmp_path: Path) -> None:
        """No way takes the real machine for the simulated host."""
        assert set(outcomes(without_provider(tmp_path)).values()) <= {"escapes", "unavailable"}


class TestPreload:
    def test_escapes_are_the_known_ones(self, preload: Results, control: Results) -> None:
        """What the shims do not show, or not right, is listed with its reason, and nothing else is listed."""
        known = ratchet.load(list(preload))["preload"]
        assert ratchet.differences("preload", preload, known, control) == []

    def test_a_planted_hole_is_seen(self, preload: Results, tmp_path: Path) -> None:
        """Without its openat, exactly the ways that call it get worse; a crash and a hang are results of one way."""
        faults = (
            SymbolFault(library="syscall", missing_symbol="openat"),
            FunctionFault(function="eaccess", crash=True),
            FunctionFault(function="euidaccess", hang=True),
        )
        host = HOST.model_copy(update={"faults": faults})
        before, after = outcomes(preload), outcomes(under("preload", tmp_path, host=host, options=["--seconds", "1"]))
        changed = {
            probe: outcome
            for probe, outcome in after.items()
            if outcome != before[probe] and preload[probe].group != "program"
        }
        assert changed.pop("eaccess") == "crashed"
        assert changed.pop("euidaccess") == "hung"
        holed = {probe for probe in BY_OPENAT if before[probe] == "right"}
        assert changed == dict.fromkeys(holed, "escapes")
        assert "openat" in holed


class TestRatchet:
    KNOWN = {"stat": Known("differs", "why not")}  # noqa: RUF012 - never changed

    @staticmethod
    def results(**changed: str) -> Results:
        """Results of three probes that are right but for the given ones."""
        outcome = {"open": "right", "stat": "differs", "ring": "right"} | changed
        return {probe: Result("group", probe, outcome[probe], "a text") for probe in outcome}

    def test_is_content_with_what_is_listed(self) -> None:
        """Results as listed make no difference."""
        assert ratchet.differences("preload", self.results(), self.KNOWN, self.results()) == []

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"open": "escapes"}, "preload, open: escapes and is not listed: a text"),
            ({"open": "crashed"}, "preload, open: crashed and is not listed: a text"),
            ({"ring": "unavailable"}, "preload, ring: unavailable and is not listed: a text"),
            ({"stat": "right"}, "preload, stat: is listed as differs, and is right: a text"),
            ({"stat": "escapes"}, "preload, stat: is listed as differs, and is escapes: a text"),
        ],
    )
    def test_names_what_has_changed(self, changed: dict[str, str], said: str) -> None:
        """A new escape, a stale entry and another outcome are each named, with what was seen."""
        assert ratchet.differences("preload", self.results(**changed), self.KNOWN, self.results()) == [said]

    def test_leaves_out_what_the_machine_lacks(self) -> None:
        """A way that is unavailable where the files are real says nothing of a provider, and stays listed."""
        lacking = self.results(ring="unavailable")
        known = self.KNOWN | {"ring": Known("escapes", "why")}
        assert ratchet.differences("preload", lacking, known, lacking) == []
        assert ratchet.updated(known, lacking, lacking) == known

    def test_is_updated_and_keeps_reasons(self) -> None:
        """What is mended goes, what is as before keeps its reason, and what is new or other has none."""
        control = self.results()
        assert ratchet.updated(self.KNOWN, self.results(open="hung"), control) == {
            "open": Known("hung", ""), "stat": Known("differs", "why not")
        }  # fmt: skip
        assert ratchet.updated(self.KNOWN, self.results(stat="right"), control) == {}
        assert ratchet.updated(self.KNOWN, self.results(stat="escapes"), control) == {"stat": Known("escapes", "")}

    def test_is_read_as_it_is_written(self) -> None:
        """The file's text gives the same list again, also of a provider that shows everything."""
        whole = {"preload": {"open": Known("escapes", 'a "reason"'), "stat": Known("differs", "x")}, "namespace": {}}
        assert ratchet.parse(ratchet.render(whole), ["open", "stat"]) == whole

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[[other]]\noutcome = 'escapes'\nreason = 'x'\nprobes = ['open']", "other: no provider of this name"),
            ("[[preload]]\noutcome = 'fine'\nreason = 'x'\nprobes = ['open']", "outcome 'fine' is none of"),
            ("[[preload]]\noutcome = 'escapes'\nreason = ''\nprobes = ['open']", "preload, open: escapes without a"),
            ("[[preload]]\noutcome = 'escapes'\nreason = 'x'\nprobes = ['gone']", "there is no such probe"),
            ("[[preload]]\noutcome = 'escapes'\nreason = 'x'\nprobes = ['open', 'open']", "open: is listed twice"),
        ],
    )
    def test_refuses_a_list_that_says_nothing(self, text: str, said: str) -> None:
        """A name that does not exist, an entry without a reason and one that is there twice are errors."""
        with pytest.raises(RatchetError, match=said):
            ratchet.parse(text, ["open"])


class TestTable:
    def test_is_that_of_the_list(self) -> None:
        """docs/escapes.md is what the list of known escapes makes."""
        probes = listed()
        assert table.FILE.read_text(encoding="utf-8") == table.render(ratchet.load(probes), probes)

    def test_changes_with_the_list(self) -> None:
        """A way shows as seen and right, as seen only, or as neither, with the number of its reason."""
        probes = {"open": "files", "stat": "files", "a|b": "others"}
        known = {"preload": {"stat": Known("differs", "one"), "a|b": Known("escapes", "two")}}
        lines = table.render(known, probes).splitlines()
        assert "| preload | 3 | 2 | 1 |" in lines
        assert "| `open` | yes | yes |" in lines
        assert "| `stat` | yes | **no** [1] |" in lines
        assert "| `a\\|b` | **no** [2] | **no** |" in lines
        assert lines[-2:] == ["1. one", "2. two"]

"""The coverage table counts truly, and the page in docs/ is the one that is generated."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from vgpu_harness.conformance import coverage
from vgpu_harness.conformance.coverage import Entry, entries, main, page
from vgpu_harness.conformance.rule import Rule, all_rules
from vgpu_harness.shims import shim_path
from vgpu_harness.shims.elf import read_elf

PAGE = Path(__file__).parent.parent / "docs" / "coverage.md"
PREFIX = {"cuda": "cu", "nvml": "nvml"}
STATES = {"modelled", "model without a rule", "traced only"}


@pytest.mark.parametrize("api", ["cuda", "nvml"])
def test_what_is_listed_is_exported(api: str) -> None:
    """The entry points are, to the name, what the library exports."""
    listed = [entry.name for entry in entries(api)]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(read_elf(shim_path(api)).exported)
    assert all(name.startswith(PREFIX[api]) for name in listed)


def test_the_states_of_entry_points() -> None:
    """A model that no rule proves is not modelled, and a rule does not make up for a missing model."""
    states = {
        (model, rules): Entry("cuInit", "cuda", model, rules).state
        for model in (True, False)
        for rules in ((), ("cuda_init.init_again",))
    }
    assert list(states.values()) == ["model without a rule", "modelled", "traced only", "traced only"]
    names = ("cuMemAlloc_v2", "cuMemcpy_ptds", "cuMemcpyAsync_ptsz")
    assert [Entry(name, "cuda", model=True, rules=()).twin for name in names] == [False, True, True]


def test_only_rules_with_a_gpu_prove(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that only rules without a GPU name has no proof that its model works."""
    known = all_rules()

    def without() -> Mapping[str, Rule]:
        return {name: rule for name, rule in known.items() if not rule.gpu}

    proved = {entry.name: entry.rules for entry in entries("cuda")}
    assert "cuda_init.init_again" in proved["cuInit"]
    assert "cuda_init.init_with_a_flag" not in proved["cuInit"]
    monkeypatch.setattr(coverage, "all_rules", without)
    assert not any(entry.modelled for entry in entries("cuda"))


def test_the_page_adds_up() -> None:
    """Each row of the summary adds up to what is exported, and the tables have a row for each entry point."""
    lines = page().splitlines()
    numbers = [[int(cell) for cell in line.split("|")[2:6]] for line in lines if line.startswith(("| CUDA", "| NVML"))]
    assert len(numbers) == 3
    assert all(exported == sum(rest) for exported, *rest in numbers)
    rows = [line.split(" | ") for line in lines if line.startswith("| `")]
    assert len(rows) == numbers[1][0] + numbers[2][0]
    assert {row[1] for row in rows} <= STATES
    twins = sum(row[0].rstrip("`").endswith(("_ptsz", "_ptds")) for row in rows)
    assert numbers[0][0] == numbers[1][0] - twins


def test_the_page_in_docs_is_current(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """docs/coverage.md is what the command writes; to stdout it writes the same."""
    main([str(tmp_path / "page.md")])
    main([])
    assert (tmp_path / "page.md").read_text() == capsys.readouterr().out == page()
    assert PAGE.read_text() == page(), "write it again: python -m vgpu_harness.conformance.coverage docs/coverage.md"

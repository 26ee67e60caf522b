"""Every ordered subset of the four shims in LD_PRELOAD: discovery behaves, or the verdict names the missing shim."""

from itertools import permutations
from pathlib import Path

import pytest
from support.controls import discovered, made

from vgpu_harness.discovery import discover
from vgpu_harness.host import Host
from vgpu_harness.host.model import PRELOAD_ORDER

SUBSETS = [order for size in range(len(PRELOAD_ORDER) + 1) for order in permutations(PRELOAD_ORDER, size)]
SOME = [(), ("nvml",), ("cuda",), ("syscall", "exec"), PRELOAD_ORDER, PRELOAD_ORDER[::-1]]


def name_of(order: tuple[str, ...]) -> str:
    """A subset as pytest shows it."""
    return "-".join(order) or "none"


def preloading(order: tuple[str, ...], **delivery: object) -> Host:
    """A host that preloads these shims in this order."""
    return made({"delivery": {"preload": list(order), **delivery}}, foreign=False)


def test_there_are_65_of_them() -> None:
    """All orders of all subsets of four, the empty one too."""
    assert len(set(SUBSETS)) == 65


@pytest.mark.parametrize(("number", "order"), list(enumerate(SUBSETS)), ids=map(name_of, SUBSETS))
def test_an_ordered_subset_behaves_or_is_named(number: int, order: tuple[str, ...], tmp_path: Path) -> None:
    """Without links: the CUDA shim decides, in any order; a missing CUDA or NVML shim is named by its file."""
    verdict = discovered(preloading(order, links=[]), "bc"[number % 2], tmp_path)
    if "cuda" not in order:
        assert (verdict.library, verdict.stopped_at) == ("cpu", "S0")
        assert "the CUDA shim, libvgpu-cuda.so, is missing" in (verdict.cause or "")
        assert "Put libvgpu-cuda.so into LD_PRELOAD" in (verdict.remedy or "")
        return
    assert (verdict.library, verdict.stopped_at, verdict.pci_id) == ("cuda", None, "0000:00:05.0"), verdict.cause
    assert {process.shims for process in verdict.processes} == {tuple(f"libvgpu-{name}.so" for name in order)}
    if "nvml" in order:
        assert verdict.findings == ()
    else:
        (finding,) = verdict.findings
        assert "libvgpu-nvml.so" in finding


@pytest.mark.parametrize("order", SOME, ids=map(name_of, SOME))
def test_with_links_no_shim_has_to_be_preloaded(order: tuple[str, ...], tmp_path: Path) -> None:
    """With the default links every generation finds driver and NVML, whatever is preloaded, and in which order."""
    for verdict in discover("abc", preloading(order), directory=tmp_path, trace_size=1 << 20):
        assert (verdict.library, verdict.stopped_at, verdict.findings) == ("cuda", None, ()), verdict.cause


@pytest.mark.parametrize("order", SOME, ids=map(name_of, SOME))
def test_generation_a_needs_a_file(order: tuple[str, ...], tmp_path: Path) -> None:
    """Generation A opens a file: without links it stops, at S2 where the CUDA shim is preloaded, else at S0."""
    verdict = discovered(preloading(order, links=[]), "a", tmp_path)
    assert verdict.stopped_at == ("S2" if "cuda" in order else "S0")

"""Findings, on hand-made evidence: each with the evidence that brings it about."""

from collections.abc import Callable

import pytest
from support.evidence import (
    ABSENT,
    CHILD,
    FOREIGN,
    GIB,
    OTHER,
    PRELOADED,
    PRELOADED_NVML,
    SERVE,
    SHIM,
    Story,
    sound_a,
    sound_b,
)

from vgpu_harness.discovery.facts import Needs
from vgpu_harness.discovery.verdict import Verdict
from vgpu_harness.trace import Kind, Library

SOUND = {"a": sound_a, "b": sound_b}


def missing_preload(story: Story) -> None:
    """One entry of LD_PRELOAD does not exist."""
    story.change(preload=(ABSENT, PRELOADED, PRELOADED_NVML))


def foreign_mapped(story: Story) -> None:
    """Another driver library is mapped beside the shim."""
    story.change(mapped=(*story.facts.mapped, OTHER))
    story.record(Kind.MAPPED, SERVE, Library.AUDIT, text=FOREIGN)


def second_copy(story: Story) -> None:
    """A copy of the shim is mapped beside it."""
    copy = PRELOADED.model_copy(update={"path": "/run/copy.so", "identity": (1, 9)})
    story.change(mapped=(*story.facts.mapped, copy))
    story.record(Kind.MAPPED, SERVE, Library.AUDIT, text="/run/copy.so")


def full_trace(story: Story) -> None:
    """The trace dropped records."""
    story.dropped = 7


def early_gate(story: Story) -> None:
    """The gate denied an early call."""
    pid = CHILD if story.facts.generation == "b" else SERVE
    story.record(Kind.GATE, pid, Library.CUDA, inputs=(1,), text="calls before")


def slow_init(story: Story) -> None:
    """One cuInit takes five seconds."""
    story.clock += 5_000_000_000
    story.record(Kind.ENTERED, SERVE, Library.CUDA, "cuInit")
    story.clock += 5_000_000_000
    story.record(Kind.CALL, SERVE, Library.CUDA, "cuInit")


def no_address_a(story: Story) -> None:
    """The call cuDeviceGet answered, but no address is in the trace."""
    story.answer("cuDeviceGet", text="")


def no_address_b(story: Story) -> None:
    """The client logs an address of zeros."""
    story.log = story.log.replace("pci_id=0000:00:05.0", "pci_id=0000:00:00.0")


def no_memory(story: Story) -> None:
    """The client logs no memory."""
    story.log = story.log.replace('total="79.2 GiB"', 'total="0 B"').replace('total="79.6 GiB"', 'total="0 B"')


def lost_name(story: Story) -> None:
    """The client logs an empty name."""
    story.log = story.log.replace('"NVIDIA H100 80GB HBM3"', '""')


def lost_device(story: Story) -> None:
    """The driver counts one device more."""
    story.answer("cuDeviceGetCount", outputs=(2,))


def other_uuid(story: Story) -> None:
    """NVML does not know the UUID."""
    story.without("nvmlDeviceGetMemoryInfo")
    story.record(Kind.CALL, CHILD, Library.NVML, "nvmlDeviceGetHandleByUUID", result=6)


def nvml_lacks_a_symbol(story: Story) -> None:
    """NVML lacks a symbol and is not used."""
    path = PRELOADED_NVML.path
    story.without("nvmlDeviceGetMemoryInfo")
    story.change(needs=(Needs(client="c", library=path, symbols=("nvmlShutdown",), missing=("nvmlShutdown",)),))


def memory_disagrees(story: Story) -> None:
    """CUDA answers a tenth of NVML's memory."""
    story.record(Kind.CALL, CHILD, Library.CUDA, "cuDeviceTotalMem_v2", outputs=(8 * GIB,))


def tolerated_failure(story: Story) -> None:
    """A call fails that the client can do without."""
    story.answer("cuDriverGetVersion", result=999)


FINDINGS: list[tuple[str, Callable[[Story], None], str]] = [
    ("a", missing_preload, "/nowhere/shim.so, which does not exist"),
    ("b", missing_preload, "/nowhere/shim.so, which does not exist"),
    ("a", foreign_mapped, f"{FOREIGN}, beside the shim {SHIM}"),
    ("b", foreign_mapped, f"{FOREIGN}, beside the shim {SHIM}"),
    ("a", second_copy, "Two copies"),
    ("a", full_trace, "7 records were dropped"),
    ("a", early_gate, "calls before"),
    ("b", early_gate, "calls before"),
    ("a", slow_init, "cuInit took 5.0 s"),
    ("a", no_address_a, "no PCI address"),
    ("b", no_address_b, "at 0000:00:00.0, and the driver at 0000:00:05.0"),
    ("a", no_memory, "total='0 B'"),
    ("b", no_memory, "total='0 B'"),
    ("a", lost_name, "name=''"),
    ("a", lost_device, "counted 2 devices and the client kept 1"),
    ("b", other_uuid, "NVML does not know the UUID"),
    ("b", nvml_lacks_a_symbol, "does not export nvmlShutdown"),
    ("b", memory_disagrees, "disagree on memory"),
    ("a", tolerated_failure, "cuDriverGetVersion answered 999 CUDA_ERROR_UNKNOWN"),
]


@pytest.mark.parametrize(("generation", "spoil", "words"), FINDINGS, ids=[f"{f[1].__name__}-{f[0]}" for f in FINDINGS])
def test_each_finding_has_its_evidence(generation: str, spoil: Callable[[Story], None], words: str) -> None:
    """One thing wrong under an answer of cuda is one finding that names it; without it there is none."""
    sound, spoilt = SOUND[generation](), SOUND[generation]()
    spoil(spoilt)
    v = Verdict.of(spoilt.evidence)
    assert Verdict.of(sound.evidence).findings == ()
    assert (v.library, v.stopped_at, len(v.findings)) == ("cuda", None, 1)
    assert words in v.findings[0]
    assert not v.as_hoped


def test_a_foreign_library_that_is_not_mapped_is_no_finding() -> None:
    """Another driver library in a search directory says nothing as long as no process maps it."""
    story = sound_a()
    story.change(libraries=(*story.facts.libraries, OTHER))
    assert Verdict.of(story.evidence).findings == ()

"""Findings, on hand-made evidence: each with the evidence that brings it about."""

from collections.abc import Callable

import pytest
from support.evidence import (
    ABSENT,
    BACKEND,
    CHILD,
    FOREIGN,
    GIB,
    OTHER,
    PRELOADED,
    PRELOADED_NVML,
    PROBE,
    RUNTIME,
    SEEKER,
    SERVE,
    SHIM,
    SOUND,
    Story,
    sound_a,
    sound_c,
)

from vgpu_harness.discovery.facts import File, Needs
from vgpu_harness.discovery.verdict import Verdict
from vgpu_harness.trace import Kind, Library

NOISY = File(path="/opt/libnoisy.so", real="/opt/libnoisy.so", identity=(9, 9))


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
    pid = SEEKER[story.facts.generation]
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


def one_backend_lacks(story: Story) -> None:
    """One of two backends lacks a versioned symbol."""
    other = BACKEND.replace("cuda_v13", "cuda_v12")
    wanted = ("cudaFree@libcudart.so.12",)
    story.change(needs=(*story.facts.needs, Needs(client=other, library=RUNTIME, symbols=wanted, missing=wanted)))


def noisy(story: Story) -> None:
    """A preloaded library writes to stdout, so gpu-discover's answer is no JSON."""
    story.change(preload=(NOISY, *story.facts.preload))
    story.stdout = "\nlibnoisy: hello\n"
    story.say('time=1 level=DEBUG msg="native GPU discovery failed" error="invalid character \'l\'"')
    story.log = story.log.replace(" pci_id=0000:00:05.0 type", ' pci_id="" type')


def late_probe(story: Story) -> None:
    """The answer of gpu-discover comes too late, and nothing was written to stdout."""
    story.say('time=1 level=DEBUG msg="native GPU discovery failed" error="context deadline exceeded"')
    story.log = story.log.replace(" pci_id=0000:00:05.0 type", ' pci_id="" type')


def nvml_form(story: Story) -> None:
    """The driver writes the PCI id as NVML does."""
    story.answer("cuDeviceGetPCIBusId", text="00000000:00:05.0")
    story.say('time=1 level=WARN msg="could not verify NVIDIA driver compatibility for CUDA"')


def no_nvml(story: Story) -> None:
    """There is no NVML."""
    story.without("nvmlSystemGetDriverVersion")
    story.say('time=1 level=WARN msg="could not verify NVIDIA driver compatibility for CUDA"')


def other_address(story: Story) -> None:
    """The client has the device at another address than the driver."""
    story.log = story.log.replace("pci_id=0000:00:05.0 type", "pci_id=0000:00:07.0 type")


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
    ("b", one_backend_lacks, "does not export cudaFree in the version libcudart.so.12"),
    ("c", missing_preload, "/nowhere/shim.so, which does not exist"),
    ("c", foreign_mapped, f"{FOREIGN}, beside the shim {SHIM}"),
    ("c", early_gate, "calls before"),
    ("c", no_memory, "total='0 B'"),
    ("c", lost_device, "counted 2 devices and the client kept 1"),
    ("c", memory_disagrees, "cuMemGetInfo and cuDeviceTotalMem disagree on memory"),
    ("c", one_backend_lacks, "does not export cudaFree in the version libcudart.so.12"),
    ("c", noisy, "writes to stdout ('libnoisy: hello'); likely /opt/libnoisy.so"),
    ("c", late_probe, "15 s are allowed"),
    ("c", nvml_form, "cuDeviceGetPCIBusId(32, 0) = 0, '00000000:00:05.0' is not the address that ggml has"),
    ("c", no_nvml, "Deliver the NVML shim (libvgpu-nvml.so)"),
    ("c", other_address, "at 0000:00:07.0, and the driver at 0000:00:05.0"),
    ("c", tolerated_failure, "cuDriverGetVersion answered 999 CUDA_ERROR_UNKNOWN"),
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


def test_a_lost_answer_names_the_fields() -> None:
    """Without gpu-discover's answer the address is gone, and the driver's version is another's; both are told."""
    story = sound_c()
    noisy(story)
    v = Verdict.of(story.evidence)
    assert v.pci_id is None
    assert "Lost of the final line: pci_id, driver" in v.findings[0]


def test_a_device_of_c_is_known_by_its_number() -> None:
    """With two devices each line's address is compared with that of its own number, in the first pass."""
    story = sound_c()
    story.answer("cuDeviceGetCount", outputs=(2,))
    for pid in (CHILD, PROBE):
        story.record(Kind.CALL, pid, Library.CUDA, "cuDeviceGet", inputs=(1,), text="0000:00:06.0")
    first = next(line for line in story.log.splitlines() if "inference compute" in line)
    second = first.replace("id=0 filter_id=0", "id=1 filter_id=1").replace("00:05.0", "00:06.0")
    story.say(second)
    assert Verdict.of(story.evidence).findings == ()
    story.log = story.log.replace("id=1 filter_id=1", "id=0 filter_id=0")
    assert any("and the driver at 0000:00:05.0" in finding for finding in Verdict.of(story.evidence).findings)

"""Stage S6, on hand-made evidence: why a CUDA runtime does not start on the driver."""

from collections.abc import Callable

import pytest
from support.evidence import CHILD, SECOND, SERVER, SOUND, Story

from vgpu_harness.discovery.codes import runtime_code
from vgpu_harness.discovery.verdict import Verdict
from vgpu_harness.trace import Kind, Library

USERS = (CHILD, SECOND)
"""The processes that have a CUDA runtime and nothing else that calls the driver."""
BEFORE_INIT = "f8cff951-2146-8b4e-b9e2-fb469e7c0dd9"
INTERFACE = "6bd5fb6c-5bf4-e74a-8987-d93912fd9df9"
INTEGRITY = "d4082055-bde6-704b-8d34-ba123c66e1f2"


def says_failed(story: Story, text: str) -> None:
    """The backend's line on a runtime that does not start."""
    story.say(f"ggml_cuda_init: failed to initialize CUDA: {text}")


def old_driver(story: Story) -> None:
    """The driver's version is of the major before, so the runtime does not call cuInit."""
    story.records = [r for r in story.records if r.pid not in USERS or r.kind == Kind.MAPPED]
    for pid in USERS:
        story.record(Kind.INIT, pid, Library.CUDA, text=SERVER)
        story.record(Kind.CALL, pid, Library.CUDA, "cuDriverGetVersion", outputs=(11080,))
    says_failed(story, "CUDA driver version is insufficient for CUDA runtime version")


def no_lookup(story: Story) -> None:
    """A function is not obtainable from cuGetProcAddress."""
    story.records = [r for r in story.records if r.pid not in USERS or r.kind == Kind.MAPPED]
    for pid in USERS:
        story.record(Kind.INIT, pid, Library.CUDA, text=SERVER)
        story.record(Kind.CALL, pid, Library.CUDA, "cuGetProcAddress_v2", text="cuDeviceGetP2PAttribute", outputs=(1,))
        story.record(Kind.CALL, pid, Library.CUDA, "cuGetProcAddress_v2", text="cuInit", outputs=(1,))
        story.record(Kind.CALL, pid, Library.CUDA, "cuDriverGetVersion", outputs=(13000,))
    says_failed(story, "API call is not supported in the installed CUDA driver")


def private_tables(story: Story) -> None:
    """NVIDIA's own runtime asks for its tables; the first before cuInit is always refused."""
    story.records = [r for r in story.records if r.pid not in USERS or r.kind == Kind.MAPPED]
    for pid in USERS:
        story.record(Kind.INIT, pid, Library.CUDA, text=SERVER)
        story.record(Kind.CALL, pid, Library.CUDA, "cuGetExportTable", text=BEFORE_INIT, result=1)
        story.record(Kind.CALL, pid, Library.CUDA, "cuDriverGetVersion", outputs=(13000,))
        story.record(Kind.CALL, pid, Library.CUDA, "cuInit", inputs=(0,))
        story.record(Kind.CALL, pid, Library.CUDA, "cuGetExportTable", text=INTERFACE, result=500)
    says_failed(story, "named symbol not found")


def integrity(story: Story) -> None:
    """All tables are there, and the check behind the last of them is not passed."""
    private_tables(story)
    for pid in USERS:
        story.record(Kind.CALL, pid, Library.CUDA, "cuDeviceGetCount", outputs=(1,))
    story.answer("cuGetExportTable", result=0, text=INTEGRITY)
    story.log = story.log.replace("named symbol not found", "integrity checks failed")


REASONS: list[tuple[Callable[[Story], None], str]] = [
    (
        old_driver,
        "cuDriverGetVersion answered 11080, cuInit was never called, and cudaGetDeviceCount answered 35 (CUDA",
    ),
    (no_lookup, "could not obtain cuInit from the driver"),
    (
        private_tables,
        f"500 CUDA_ERROR_NOT_FOUND for {INTERFACE} (CUDART_INTERFACE), and so cudaGetDeviceCount answered 500",
    ),
    (integrity, f"{INTEGRITY} (INTEGRITY_CHECK): cudaGetDeviceCount answered 103 (integrity checks failed)"),
]
CASES = [(generation, *reason) for generation in ("b", "c") for reason in REASONS]


def spoilt(generation: str, spoil: Callable[[Story], None]) -> Story:
    """A sound story with one thing wrong, in which the client finds no GPU."""
    story = SOUND[generation]()
    spoil(story)
    story.no_gpu()
    return story


@pytest.mark.parametrize(("generation", "spoil", "words"), CASES, ids=[f"{c[1].__name__}-{c[0]}" for c in CASES])
def test_a_runtime_that_does_not_start_is_a_stop_at_s6(
    generation: str, spoil: Callable[[Story], None], words: str
) -> None:
    """The cause has the driver's answer and the runtime's; the evidence has the client's line and the last call."""
    v = Verdict.of(spoilt(generation, spoil).evidence)
    assert (v.library, v.stopped_at) == ("cpu", "S6")
    assert words in (v.cause or "")
    evidence = v.stages[6].evidence
    assert any("failed to initialize CUDA" in text for text in evidence)
    assert sum("last driver call of process" in text for text in evidence) == 1


@pytest.mark.parametrize("generation", ["b", "c"])
@pytest.mark.parametrize("reason", REASONS, ids=[r[0].__name__ for r in REASONS])
def test_a_client_that_answers_cuda_has_a_runtime(generation: str, reason: tuple[Callable[[Story], None], str]) -> None:
    """Control: the same evidence under a final line that says cuda is no stop."""
    story = SOUND[generation]()
    reason[0](story)
    v = Verdict.of(story.evidence)
    assert (v.library, v.stopped_at, v.stages[6].status) == ("cuda", None, "reached")


def test_the_tables_are_not_the_shims_fault() -> None:
    """Where NVIDIA's runtime stops at its tables, the remedy is its stand-in, and the last call is in the evidence."""
    v = Verdict.of(spoilt("c", private_tables).evidence)
    assert "Nothing is to be changed in the shim" in (v.remedy or "")
    assert f"last driver call of process {CHILD}: cuGetExportTable() = 500 CUDA_ERROR_NOT_FOUND, '{INTERFACE}'" in (
        v.stages[6].evidence
    )


def test_a_table_that_is_refused_before_cuinit_is_no_stop() -> None:
    """Runtime 13.0 asks for a table before cuInit that no driver has; what counts is what happens after it."""
    story = spoilt("c", private_tables)
    story.records = [r for r in story.records if r.text != INTERFACE]
    v = Verdict.of(story.evidence)
    assert BEFORE_INIT not in (v.cause or "")
    assert v.stopped_at != "S6"


def test_one_runtime_that_starts_is_enough() -> None:
    """A driver of CUDA 12 is too old for cuda_v13 and good for cuda_v12: whatever stops discovery, it is not S6."""
    story = SOUND["b"]()
    old_driver(story)
    story.say("ggml_cuda_init: found 1 CUDA devices:")
    story.no_gpu()
    v = Verdict.of(story.evidence)
    assert v.stages[6].status == "reached"
    assert v.stages[6].evidence[0] == "ggml_cuda_init: found 1 CUDA devices:"


@pytest.mark.parametrize("generation", ["b", "c"])
def test_a_failing_cuinit_is_not_the_runtimes_fault(generation: str) -> None:
    """The runtime hands cuInit's code on: S6 stays open, and S7 is where discovery stopped."""
    story = SOUND[generation]()
    story.answer("cuInit", result=802)
    story.without("cuDeviceGetCount")
    says_failed(story, "system not yet initialized")
    story.no_gpu()
    v = Verdict.of(story.evidence)
    assert (v.stopped_at, v.stages[6].status) == ("S7", "not reached")


def test_texts_have_their_numbers() -> None:
    """The words of cudaGetErrorString lead back to the code; other words to none."""
    assert runtime_code("named symbol not found") == 500
    assert runtime_code("CUDA driver version is insufficient for CUDA runtime version") == 35
    assert runtime_code("no such words") is None

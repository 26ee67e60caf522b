"""The funnel, on hand-made evidence: each rule with what makes it hold and what does not."""

from collections.abc import Callable

import pytest
from support.evidence import (
    ABSENT,
    BACKEND,
    CHILD,
    FOREIGN,
    LINK,
    OTHER,
    PCI,
    PRELOADED,
    PRELOADED_NVML,
    RUNTIME,
    SECOND,
    SEEKER,
    SERVE,
    SHIM,
    SOUND,
    Story,
    sound_a,
    sound_b,
)

from vgpu_harness.discovery.codes import CODES
from vgpu_harness.discovery.facts import Needs, Resolution
from vgpu_harness.discovery.verdict import Verdict
from vgpu_harness.trace import Kind, Library

CHILDREN = ["S0", "S1", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13"]
APPLICABLE = {"a": ["S0", "S1", "S2", "S4", "S5", "S7", "S8", "S9", "S13"], "b": CHILDREN, "c": CHILDREN}
VERSIONED = "cudaGetDeviceCount, cudaFree in the version libcudart.so.13"
ALL = [f"S{n}" for n in range(15)]


def verdict(story: Story) -> Verdict:
    """The verdict on a story."""
    return Verdict.of(story.evidence)


def statuses(v: Verdict) -> dict[str, str]:
    """Status by stage."""
    return {stage.stage: stage.status for stage in v.stages}


@pytest.mark.parametrize("generation", SOUND)
def test_a_sound_discovery_stops_nowhere(generation: str) -> None:
    """All stages that the generation has are reached, the others are not applicable, and there is no finding."""
    v = verdict(SOUND[generation]())
    assert (v.library, v.pci_id, v.stopped_at, v.findings) == ("cuda", PCI, None, ())
    assert [stage.stage for stage in v.stages] == ALL
    assert [key for key, status in statuses(v).items() if status == "reached"] == APPLICABLE[generation]
    assert {status for key, status in statuses(v).items() if key not in APPLICABLE[generation]} == {"not applicable"}
    assert v.as_hoped


def no_way_in(story: Story) -> None:
    """Nothing valid is preloaded, and no link is there."""
    story.change(preload=(ABSENT,), libraries=(), mapped=())
    story.records = [r for r in story.records if r.kind == Kind.MAPPED and r.text != SHIM]


def no_cuda_shim(story: Story) -> None:
    """The preload list has the NVML shim only, and no link is there."""
    story.change(preload=(PRELOADED_NVML,), libraries=(), mapped=(PRELOADED_NVML,))
    story.records = [r for r in story.records if r.kind == Kind.MAPPED and r.text != SHIM]


def refused(story: Story) -> None:
    """The shim refuses its image and answers 3."""
    story.without("cuDeviceGetCount")
    story.answer("cuInit", result=3)
    story.record(Kind.REFUSED, SEEKER[story.facts.generation], Library.CUDA, text="truncated")


def gate_says_no(story: Story) -> None:
    """The gate denies the process that looks for the GPU."""
    story.answer("cuInit", result=3)
    pid = SEEKER[story.facts.generation]
    story.record(Kind.GATE, pid, Library.CUDA, inputs=(2,), text="the name is on the deny list")


def only_foreign_file(story: Story) -> None:
    """The glob finds another library, and no link to the shim."""
    story.change(libraries=(OTHER,))
    story.log = story.log.replace(f"paths=[{SHIM}]", f"paths=[{FOREIGN}]")
    story.without("cuInit")


def foreign_answers(story: Story) -> None:
    """The shim has another SONAME, and another library has the right one."""
    other = Resolution(client=BACKEND, name="libcuda.so.1", path=FOREIGN, how="found in LD_LIBRARY_PATH")
    wrong = PRELOADED.model_copy(update={"soname": "libcudb.so.1"})
    story.change(libraries=(OTHER,), resolved=(other,), preload=(wrong,), mapped=(wrong, OTHER))
    story.without("cuInit")


def no_library(story: Story) -> None:
    """The shim has another SONAME, and no library has the right one."""
    none = Resolution(client=BACKEND, name="libcuda.so.1", path=None, how="nowhere")
    wrong = PRELOADED.model_copy(update={"soname": "libcudb.so.1"})
    story.change(libraries=(), resolved=(none,), preload=(wrong,))
    story.without("cuInit")


def lacks_symbol(story: Story) -> None:
    """The shim lacks a symbol; so nothing is called."""
    story.change(needs=tuple(n.model_copy(update={"missing": ("cuInit",)}) for n in story.facts.needs))
    story.records = [r for r in story.records if r.kind == Kind.MAPPED]


def no_runtime(story: Story) -> None:
    """No CUDA runtime of the backend's name is there; so nothing is called."""
    none = Resolution(client=BACKEND, name="libcudart.so.13", path=None, how="nowhere")
    kept = tuple(r for r in story.facts.resolved if not r.name.startswith("libcudart"))
    story.change(resolved=(*kept, none))
    story.records = [r for r in story.records if r.kind == Kind.MAPPED]


def other_version(story: Story) -> None:
    """The runtime has its symbols in another version."""
    wanted = ("cudaGetDeviceCount@libcudart.so.13", "cudaFree@libcudart.so.13")
    story.change(
        needs=(*story.facts.needs[:1], Needs(client=BACKEND, library=RUNTIME, symbols=wanted, missing=wanted)),
    )
    story.records = [r for r in story.records if r.kind == Kind.MAPPED]


def init_802(story: Story) -> None:
    """The call cuInit answers 802."""
    story.answer("cuInit", result=802)
    story.without("cuDeviceGetCount")


def count_0(story: Story) -> None:
    """The call cuDeviceGetCount answers 0."""
    story.answer("cuDeviceGetCount", outputs=(0,))


def too_old(story: Story) -> None:
    """The client finds the compute capability too low."""
    story.say('time=1 level=INFO msg="[0] CUDA GPU is too old. Compute Capability detected: 3.7"')


def no_context(story: Story) -> None:
    """No context can be made."""
    story.record(Kind.CALL, SERVE, Library.CUDA, "cuCtxCreate_v3", result=801)


def child_without_shims(story: Story) -> None:
    """The children leave no record, and there is no link."""
    story.change(libraries=())
    story.records = [r for r in story.records if r.pid == SERVE]


def no_server(story: Story) -> None:
    """There is no llama-server."""
    no_children(story)
    story.say('time=1 level=INFO msg="failure during llama-server GPU discovery" error="llama-server binary not found"')


def crashed_server(story: Story) -> None:
    """The first llama-server ends before it calls the driver."""
    story.records = [r for r in story.records if r.kind == Kind.MAPPED]
    story.say('time=1 level=INFO msg="failure during llama-server GPU discovery" error="exit status 127"')


def crashed_child(story: Story) -> None:
    """The child ends before it calls the driver."""
    story.records = [r for r in story.records if r.kind == Kind.MAPPED]
    story.say('time=1 level=INFO msg="failure during GPU discovery" error="runner crashed"')


def too_late(story: Story) -> None:
    """The child is inside cuInit when its time is over."""
    story.records = [r for r in story.records if r.kind != Kind.CALL]
    story.say('time=1 level=INFO msg="failure during GPU discovery" error="failed to finish discovery before timeout"')


def not_confirmed(story: Story) -> None:
    """The second pass ends in the backend's assertion."""
    story.say("GGML_ASSERT: ggml was not compiled with support for this arch")
    story.say('time=1 level=DEBUG msg="filtering device which didn\'t fully initialize" id=1')


def too_late_c(story: Story) -> None:
    """A llama-server is inside cuInit when the time of its directory is over."""
    story.records = [r for r in story.records if r.kind != Kind.CALL]
    story.say('time=1 level=WARN msg="llama-server GPU discovery watchdog timed out" error="context deadline exceeded"')
    story.say(
        'time=1 level=INFO msg="failure during llama-server GPU discovery" error="context deadline exceeded" detail=""'
    )


def not_compiled(story: Story) -> None:
    """The backend has no code for the device."""
    story.say('time=1 level=INFO msg="skipping CUDA device — compute capability not in compiled architectures" cc=370')


def not_there_again(story: Story) -> None:
    """The second pass gives no device."""
    story.say('time=1 level=DEBUG msg="filtering device which didn\'t fully initialize" id=0')


def no_memory(story: Story) -> None:
    """A device of 0 MiB is listed."""
    story.say("ggml_backend_cuda_device_get_memory: cudaMemGetInfo failed (out of memory), returning 0/0")
    story.say('time=1 level=DEBUG msg="skipping pseudo-device with zero memory" name=CUDA0')


def driver_535(story: Story) -> None:
    """NVML answers a driver that is too old for the runtime."""
    story.answer("nvmlSystemGetDriverVersion", text="535.288.01")
    story.say('time=1 level=WARN msg="NVIDIA driver too old" driver=535 required_driver="550 or newer"')


def dropped_by_filter(story: Story) -> None:
    """A filter drops the device."""
    story.say('time=1 level=DEBUG msg="dropping duplicate device" id=1')


def no_children(story: Story) -> None:
    """The log tells of no child."""
    story.log = "\n".join(line for line in story.log.splitlines() if 'msg="starting' not in line)
    story.records = [r for r in story.records if r.pid == SERVE]


def no_directory(story: Story) -> None:
    """There is no library directory."""
    story.change(library_directory=None)


def only_the_answer(_: Story) -> None:
    """All went well, but the client says cpu."""


STOPS: list[tuple[str, Callable[[Story], None], str, str]] = [
    ("a", no_way_in, "S0", "/nowhere/shim.so of LD_PRELOAD does not exist"),
    ("b", no_way_in, "S0", "/nowhere/shim.so of LD_PRELOAD does not exist"),
    ("a", refused, "S0", "image refused: the shim cannot use the host image: truncated"),
    ("b", refused, "S0", "image refused"),
    ("a", gate_says_no, "S0", "not an application: the name is on the deny list"),
    ("b", gate_says_no, "S0", "not an application: the name is on the deny list"),
    ("c", no_way_in, "S0", "/nowhere/shim.so of LD_PRELOAD does not exist"),
    ("a", no_cuda_shim, "S0", "LD_PRELOAD names libvgpu-nvml.so, and the CUDA shim, libvgpu-cuda.so, is missing"),
    ("b", no_cuda_shim, "S0", "the CUDA shim, libvgpu-cuda.so, is missing"),
    ("c", no_cuda_shim, "S0", "the CUDA shim, libvgpu-cuda.so, is missing"),
    ("c", refused, "S0", "image refused"),
    ("c", gate_says_no, "S0", "not an application: the name is on the deny list"),
    ("b", child_without_shims, "S0", "environment was rebuilt"),
    ("c", child_without_shims, "S0", "children in the client's log (3)"),
    ("a", no_directory, "S1", "no library directory"),
    ("b", no_children, "S1", "started no child"),
    ("c", no_children, "S1", "started no child"),
    ("a", only_foreign_file, "S2", f"only {FOREIGN}, which is not the shim"),
    ("b", crashed_child, "S3", "runner crashed"),
    ("c", no_server, "S3", "llama-server binary not found"),
    ("c", crashed_server, "S3", "exit status 127"),
    ("b", foreign_answers, "S4", f"{FOREIGN} answers, which is not the shim"),
    ("b", no_library, "S4", "its SONAME is libcudb.so.1, not libcuda.so.1"),
    ("c", foreign_answers, "S4", f"{FOREIGN} answers, which is not the shim"),
    ("c", no_library, "S4", "its SONAME is libcudb.so.1, not libcuda.so.1"),
    ("b", no_runtime, "S4", f"{BACKEND} cannot be loaded: it needs libcudart.so.13"),
    ("c", no_runtime, "S4", f"{BACKEND} cannot be loaded: it needs libcudart.so.13"),
    ("a", lacks_symbol, "S5", f"{LINK} does not export cuInit"),
    ("b", lacks_symbol, "S5", f"{SHIM} does not export cuInit"),
    ("c", lacks_symbol, "S5", f"{SHIM} does not export cuInit"),
    (
        "b",
        other_version,
        "S5",
        f"{RUNTIME} does not export {VERSIONED}",
    ),
    (
        "c",
        other_version,
        "S5",
        f"{RUNTIME} does not export {VERSIONED}",
    ),
    ("c", init_802, "S7", "802 CUDA_ERROR_SYSTEM_NOT_READY"),
    ("a", init_802, "S7", "802 CUDA_ERROR_SYSTEM_NOT_READY"),
    ("b", init_802, "S7", "802 CUDA_ERROR_SYSTEM_NOT_READY"),
    ("a", count_0, "S8", "0 devices"),
    ("b", count_0, "S8", "0 devices"),
    ("c", count_0, "S8", "0 devices"),
    ("a", too_old, "S8", "Compute Capability detected: 3.7"),
    ("a", no_context, "S9", "801 CUDA_ERROR_NOT_SUPPORTED"),
    ("c", no_memory, "S9", "skipping pseudo-device with zero memory"),
    ("c", too_late_c, "S10", "cuInit was entered and had not returned"),
    ("b", too_late, "S10", "cuInit was entered and had not returned"),
    ("b", not_confirmed, "S11", "not compiled for the device's compute capability 9.0"),
    ("c", not_compiled, "S11", "not compiled for the device's compute capability 3.7"),
    ("c", not_there_again, "S11", "second pass did not confirm the device"),
    ("b", dropped_by_filter, "S12", "dropping duplicate device"),
    ("c", dropped_by_filter, "S12", "dropping duplicate device"),
    ("c", driver_535, "S12", "NVIDIA driver too old"),
    ("a", only_the_answer, "S13", "answers without CUDA"),
    ("b", only_the_answer, "S13", "answers without CUDA"),
    ("c", only_the_answer, "S13", "answers without CUDA"),
]


@pytest.mark.parametrize(
    ("generation", "spoil", "stage", "words"), STOPS, ids=[f"{s[1].__name__}-{s[0]}" for s in STOPS]
)
def test_each_rule_names_its_stage(generation: str, spoil: Callable[[Story], None], stage: str, words: str) -> None:
    """One thing spoilt stops the funnel at its stage, with a cause that names the evidence, and a remedy."""
    story = SOUND[generation]()
    spoil(story)
    story.no_gpu()
    v = verdict(story)
    assert (v.library, v.stopped_at) == ("cpu", stage)
    assert words in (v.cause or "")
    assert v.remedy
    assert list(statuses(v).values()).count("stopped") == 1
    after = ALL[ALL.index(stage) + 1 :]
    assert {statuses(v)[key] for key in after if key in APPLICABLE[generation]} <= {"not reached"}


@pytest.mark.parametrize(
    ("generation", "spoil", "stage", "_words"), STOPS, ids=[f"{s[1].__name__}-{s[0]}" for s in STOPS]
)
def test_no_rule_stops_a_client_that_answers_cuda(
    generation: str, spoil: Callable[[Story], None], stage: str, _words: str
) -> None:
    """Control: the same evidence under a final line that says cuda has no stop."""
    story = SOUND[generation]()
    spoil(story)
    v = verdict(story)
    assert (v.library, v.stopped_at, v.cause, v.remedy) == ("cuda", None, None, None)
    assert "stopped" not in statuses(v).values()
    assert statuses(v)[stage] == "reached"


def test_a_hanging_cuinit_leaves_its_stages_open() -> None:
    """Where the child was too late inside cuInit, S7 to S9 are not reached and S10 is the stop."""
    story = sound_b()
    too_late(story)
    story.no_gpu()
    found = statuses(verdict(story))
    assert [found[key] for key in ("S5", "S7", "S8", "S9", "S10", "S11")] == [
        *("reached", "not reached", "not reached", "not reached", "stopped", "not reached")
    ]


def test_three_ways_not_to_be_called_give_three_verdicts() -> None:
    """Mapped and never called, never mapped, and a child without shims differ in stage or cause."""
    never_called, never_mapped, bare_child = sound_b(), sound_b(), sound_b()
    no_library(never_called)
    no_way_in(never_mapped)
    child_without_shims(bare_child)
    verdicts = []
    for story in (never_called, never_mapped, bare_child):
        story.no_gpu()
        verdicts.append(verdict(story))
    assert [v.stopped_at for v in verdicts] == ["S4", "S0", "S0"]
    causes = [v.cause or "" for v in verdicts]
    assert "mapped and never called" in causes[0]
    assert "never mapped" in causes[1]
    assert "children were started without the shims" in causes[2]


def test_children_are_counted_once() -> None:
    """The line that announces a child's purpose is not taken for a second child."""
    story = sound_b()
    story.log = 'time=1 level=TRACE msg="starting runner for device discovery" libDirs=[]\n' + story.log
    child_without_shims(story)
    story.no_gpu()
    assert "children in the client's log (1)" in (verdict(story).cause or "")


@pytest.mark.parametrize("generation", SOUND)
@pytest.mark.parametrize("number", sorted(CODES))
def test_each_code_of_cuinit_has_name_and_remedy(number: int, generation: str) -> None:
    """A code that is known stops at S7 with its name and its own remedy; one that is not is still named."""
    story, unknown = SOUND[generation](), SOUND[generation]()
    for changed, code in ((story, number), (unknown, 12345)):
        changed.answer("cuInit", result=code)
        changed.without("cuDeviceGetCount")
        changed.no_gpu()
    v, other = verdict(story), verdict(unknown)
    assert (v.stopped_at, other.stopped_at) == ("S7", "S7")
    assert f"cuInit answered {number} {CODES[number].name}: " in (v.cause or "")
    assert v.remedy == CODES[number].remedy != other.remedy
    assert "cuInit answered 12345: " in (other.cause or "")


def test_the_codes_of_the_field_are_known() -> None:
    """The codes with which discovery is reported to fail have an entry."""
    assert {3, 34, 100, 101, 205, 500, 800, 801, 802, 803, 804, 999} <= set(CODES)


def test_one_working_child_is_enough() -> None:
    """A backend that fails beside one that works does not stop discovery."""
    story = sound_b()
    story.records = [r for r in story.records if not (r.pid == CHILD and r.name in {"cuInit", "cuDeviceGetCount"})]
    assert verdict(story).stopped_at is None
    assert any(r.pid == SECOND for r in story.records)


def test_the_address_of_generation_a_is_of_the_device_with_that_uuid() -> None:
    """With two devices, each line of A's answer gets the address that cuDeviceGet answered for its UUID's ordinal."""
    story = sound_a()
    story.record(Kind.CALL, SERVE, Library.CUDA, "cuDeviceGet", inputs=(1,), text="0000:00:06.0")
    story.record(Kind.CALL, SERVE, Library.CUDA, "cuDeviceGetUuid", inputs=(1,), text="GPU-2")
    story.answer("cuDeviceGetCount", outputs=(2,))
    first = next(line for line in story.log.splitlines() if "inference compute" in line)
    second = first.replace("GPU-00000000-0000-0000-0000-000000000001", "GPU-2")
    story.log = story.log.replace(first, f"{second}\n{first}")
    assert [device["pci_id"] for device in verdict(story).devices] == ["0000:00:06.0", PCI]

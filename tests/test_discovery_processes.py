"""Which processes a discovery had: each with its part, its shims, or why it has none."""

from pathlib import Path

import pytest
from support.controls import discovered, made
from support.evidence import (
    CHILD,
    NVML_SHIM,
    PROBE,
    PROGRAM,
    SECOND,
    SERVE,
    SERVER,
    SHIM,
    SOUND,
    Story,
    sound_b,
    sound_c,
)

from vgpu_harness.discovery.facts import SeenProcess
from vgpu_harness.discovery.processes import RunProcess
from vgpu_harness.discovery.render import process_lines, to_text
from vgpu_harness.discovery.verdict import Verdict
from vgpu_harness.trace import Kind, Library

HELPER = 200
"""A process that has no part in the discovery."""


def of(story: Story, pid: int) -> RunProcess:
    """What the verdict has of a process."""
    (found,) = [process for process in Verdict.of(story.evidence).processes if process.pid == pid]
    return found


def seen(story: Story, pid: int, **rest: object) -> None:
    """The observer saw a process, with the shims in its environment unless told otherwise."""
    parent = rest.pop("parent", SERVE)
    values = {"pid": pid, "parent": parent, "program": "/bin/true", "preloaded": True, "traced": True} | rest
    story.change(processes=(*story.facts.processes, SeenProcess.model_validate(values)))


@pytest.mark.parametrize("generation", SOUND)
def test_each_process_with_records_is_there(generation: str) -> None:
    """Without any observer the trace tells of every process that has the shims, and which are in it."""
    story = SOUND[generation]()
    processes = Verdict.of(story.evidence).processes
    assert [process.pid for process in processes] == list(dict.fromkeys(record.pid for record in story.records))
    assert {process.shims for process in processes} == {("libvgpu-cuda.so", "libvgpu-nvml.so")}
    assert {process.why_not for process in processes} == {None}
    assert {process.observed for process in processes} == {"trace"}


def test_roles_are_told_by_program_and_parent() -> None:
    """The server, its runners, llama-server and gpu-discover are known; another child has no role."""
    b, c = sound_b(), sound_c()
    for story in (b, c):
        seen(story, HELPER)
    assert [of(b, pid).role for pid in (SERVE, CHILD, SECOND, HELPER)] == ["server", "runner", "runner", None]
    assert [of(c, pid).role for pid in (SERVE, CHILD, SECOND, PROBE)] == [
        *("server", "llama-server", "llama-server", "gpu-discover")
    ]


def test_a_grandchild_of_a_clients_name_has_no_role() -> None:
    """What a child starts is no child of the server's, whatever it is called."""
    story = sound_c()
    seen(story, HELPER, parent=CHILD, program=PROGRAM)
    assert of(story, HELPER).role is None


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"preloaded": False}, "no LD_PRELOAD"),
        ({"static": True, "preloaded": False}, "static"),
        ({"secure": True}, "set-user-ID"),
        ({"traced": False}, "no VGPU_TRACE"),
        ({}, "no record of it"),
    ],
)
def test_a_process_without_shims_says_why(facts: dict[str, object], words: str) -> None:
    """The reason comes from what the observer saw of the process."""
    story = sound_c()
    seen(story, HELPER, **facts)
    found = of(story, HELPER)
    assert (found.shims, found.observed) == ((), "sampled")
    assert words in (found.why_not or "")


def test_without_an_auditor_nothing_is_claimed() -> None:
    """Where nothing records what is mapped, the reason is just that."""
    story = sound_c()
    story.change(audit=False)
    story.records = [record for record in story.records if record.kind != Kind.MAPPED]
    assert "no auditor" in (of(story, CHILD).why_not or "")


def test_a_denied_process_has_shims_and_a_reason() -> None:
    """The gate's word is told beside the shims that are mapped."""
    story = sound_c()
    story.record(Kind.GATE, CHILD, Library.CUDA, inputs=(2,), text="the name is on the deny list")
    found = of(story, CHILD)
    assert found.shims == ("libvgpu-cuda.so", "libvgpu-nvml.so")
    assert found.why_not == "the process gate denies it: the name is on the deny list"
    assert of(story, SECOND).why_not is None


def test_a_process_that_mapped_no_shim_is_told_apart() -> None:
    """A process whose objects are recorded, and no shim among them, is not one that left no record."""
    story = sound_c()
    story.records = [r for r in story.records if r.pid != CHILD or r.text not in {SHIM, NVML_SHIM}]
    assert "none was loaded" in (of(story, CHILD).why_not or "")


def test_a_forked_copy_has_its_parents_shims() -> None:
    """A process that executed nothing itself maps nothing anew: what its parent has is in it too."""
    story = sound_c()
    seen(story, HELPER, copied=True)
    assert of(story, HELPER).shims == ("libvgpu-cuda.so", "libvgpu-nvml.so")


def test_the_observers_word_counts_for_parent_and_program() -> None:
    """What the observer saw is taken before what records say, and marked as it saw it."""
    story = sound_c()
    story.change(observed="ptrace")
    seen(story, CHILD, program=SERVER)
    found = of(story, CHILD)
    assert (found.program, found.parent, found.role, found.observed) == (SERVER, SERVE, "llama-server", "ptrace")


def test_json_has_every_process() -> None:
    """The verdict's JSON has one object a process, with a fixed set of keys."""
    entries = Verdict.of(sound_c().evidence).to_json()["processes"]
    assert [entry["pid"] for entry in entries] == [SERVE, CHILD, SECOND, PROBE]
    assert [list(entry) for entry in entries] == [
        ["pid", "parent", "program", "role", "shims", "why_not", "observed"]
    ] * 4


def test_the_picture_counts_what_is_alike() -> None:
    """Processes that differ in their number only share a line; one without shims has its own, with the reason."""
    story = sound_c()
    seen(story, HELPER, preloaded=False)
    lines = process_lines(Verdict.of(story.evidence).processes)
    assert lines[0] == "processes: 5 (sampled: short-lived ones may be missing)"
    assert "  2 llama-server (llama-server): libvgpu-cuda.so libvgpu-nvml.so" in lines
    assert "  1 other (true): no shim; its environment has no LD_PRELOAD" in lines
    assert len(lines) == 5
    assert all(line in to_text(Verdict.of(story.evidence)) for line in lines)


def test_a_full_observation_is_not_marked() -> None:
    """Where every start and end was seen, the picture says nothing of missing ones."""
    story = sound_c()
    story.change(observed="ptrace")
    seen(story, CHILD, program=SERVER)
    assert process_lines(Verdict.of(story.evidence).processes)[0] == "processes: 4"


def test_every_child_of_a_real_discovery_is_there(tmp_path: Path) -> None:
    """Client C has a server, eight llama-server and four gpu-discover on the default host, all with all four shims."""
    processes = discovered(made({}, foreign=False), "c", tmp_path).processes
    roles = [process.role for process in processes]
    assert {role: roles.count(role) for role in set(roles)} == {"server": 1, "llama-server": 8, "gpu-discover": 4}
    assert {process.shims for process in processes} == {
        ("libvgpu-exec.so", "libvgpu-syscall.so", "libvgpu-cuda.so", "libvgpu-nvml.so")
    }
    assert {process.why_not for process in processes} == {None}


def test_children_without_shims_are_there_too(tmp_path: Path) -> None:
    """Children whose environment was rebuilt leave no record: the observer shows them, with the reason."""
    host = made({"delivery": {"links": [], "child_environment": "rebuilt"}}, foreign=False)
    verdict = discovered(host, "c", tmp_path)
    children = [process for process in verdict.processes if process.role in {"llama-server", "gpu-discover"}]
    assert children
    assert {(process.shims, process.why_not) for process in children} == {((), "its environment has no LD_PRELOAD")}
    if children[0].observed == "ptrace":  # one that is sampled may have come and gone between two looks
        assert len(children) == 6

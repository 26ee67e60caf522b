"""Two ways in which a gate loses the GPU, end to end: one that opens files early, and one that says no to first calls.

Both are of the notes of a team that looked for such a failure: open() was answered before the process check, stat() and
access() after it, and a client that looked at the device's files never called the driver.
"""

from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_library
from support.controls import discovered
from support.evidence import SEEKER, SOUND, Story

from vgpu_harness.discovery import Verdict
from vgpu_harness.discovery.funnel import Funnel
from vgpu_harness.host import Host
from vgpu_harness.trace import Kind, Library

CAREFUL = r"""
/* Has a client look at the device's files before it loads its driver library: the device must open, be a character
 * device, and be writable. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int finds_the_device(void) {
    struct stat facts;
    int fd = open("/dev/nvidiactl", O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
        close(fd);
    }
    int is_device = stat("/dev/nvidia0", &facts) == 0 && S_ISCHR(facts.st_mode);
    int is_writable = access("/dev/nvidia0", R_OK | W_OK) == 0;
    return fd >= 0 && is_device && is_writable;
}

void *dlopen(const char *path, int flags) {
    void *(*real)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    if (path != NULL && (strstr(path, "libcuda") != NULL || strstr(path, "ggml-cuda") != NULL) && !finds_the_device()) {
        path = "/dev/nvidia0: not found";
    }
    return real(path, flags);
}
"""
EARLY = (
    "The process gate of the file shim denied the client as too early: too early: fewer calls than gate.calls_before"
)
HALF = f"{EARLY}. But open of /dev/nvidiactl was answered without asking it: the client could open a file of the GPU "
NONE = f"{EARLY}, so it found no file of the GPU, and never called the driver."


def careful(gate: dict[str, Any]) -> Host:
    """A host with this gate, whose client looks at the device's files first."""
    library = compile_library(CAREFUL, "libcareful.so", "-O2", "-ldl")
    return Host.model_validate(
        {"gate": gate, "delivery": {"preload": ["exec", "syscall", "cuda", "nvml", str(library)]}}
    )


def verdict(gate: dict[str, Any], generation: str, directory: Path) -> Verdict:
    """What discovery makes of it, from the evidence alone."""
    return discovered(careful(gate), generation, directory)


SEED = {"before_gate": ["open"], "calls_before": 2}
"""Open is answered at once, the two calls that ask for more are told "too early"."""


@pytest.mark.parametrize("generation", ["b", "c"])
def test_open_early_and_stat_after_the_gate_stops_discovery(generation: str, tmp_path: Path) -> None:
    """The client never calls the driver; the verdict is S0 with the call that was answered, and the gate's word."""
    found = verdict(SEED, generation, tmp_path)
    assert (found.library, found.stopped_at) == ("cpu", "S0")
    assert (found.cause or "").startswith(HALF)
    assert "gate.before_gate" in (found.remedy or "")
    assert "trace: open of /dev/nvidiactl was answered" in found.stages[0].evidence


@pytest.mark.parametrize("gate", [{}, {"before_gate": ["open"]}], ids=["no key", "open before a gate that says yes"])
def test_its_sound_twin_finds_the_gpu(gate: dict[str, Any], tmp_path: Path) -> None:
    """The same host without the keys, and the same one whose gate has no word of "too early", answer cuda."""
    found = verdict(gate, "b", tmp_path)
    assert found.as_hoped, (found.cause, found.findings)


def test_no_to_the_first_calls_stops_a_client_that_asks_once(tmp_path: Path) -> None:
    """With the first three calls denied no file is there, and no family is blamed; three calls later all would be."""
    found = verdict({"calls_before": 3}, "b", tmp_path)
    assert (found.library, found.stopped_at, found.cause) == ("cpu", "S0", NONE)
    assert found.remedy == "Let the client ask again later, or start with a smaller gate.calls_before."


@pytest.mark.parametrize("generation", ["a", "b", "c"])
def test_no_to_the_first_driver_call_is_enough(generation: str, tmp_path: Path) -> None:
    """One early call that is denied ends the discovery of every generation at S0."""
    found = discovered(Host.model_validate({"gate": {"calls_before": 1}}), generation, tmp_path)
    assert (found.library, found.stopped_at) == ("cpu", "S0")
    assert "too early" in (found.cause or "")
    assert "gate.calls_before" in (found.remedy or "")


def denied_files(story: Story) -> None:
    """The file shim's gate says no to the process that looks for the GPU, behind a call that it was not asked about."""
    pid = SEEKER[story.facts.generation]
    story.record(Kind.CALL, pid, Library.SYSCALL, "open", text="/dev/nvidiactl")
    story.record(Kind.GATE, pid, Library.SYSCALL, inputs=(2,), text="the rule")


@pytest.mark.parametrize("generation", ["a", "b", "c"])
def test_a_driver_that_was_called_tells_more_than_a_file(generation: str) -> None:
    """With driver calls in the trace the file shim's no is not what stopped; without any it is."""
    story = SOUND[generation]()
    denied_files(story)
    story.no_gpu()
    story.answer("cuInit", result=802)
    assert Funnel.of(story.evidence).stopped_at == "S7"
    story.records = [r for r in story.records if r.kind != Kind.CALL or r.library == Library.SYSCALL]
    funnel = Funnel.of(story.evidence)
    assert funnel.stopped_at == "S0"
    assert "the file shim denied the client as not an application: the rule. But open of" in (funnel.cause or "")
    assert "deny list" in (funnel.remedy or "")


@pytest.mark.parametrize("generation", ["a", "b", "c"])
def test_a_denied_file_call_beside_cuda_is_a_finding(generation: str) -> None:
    """A client that found the GPU all the same is told that the file shim's gate denied it; a sound one is not."""
    story = SOUND[generation]()
    assert not [finding for finding in Funnel.of(story.evidence).findings if "gate" in finding]
    denied_files(story)
    (finding,) = [finding for finding in Funnel.of(story.evidence).findings if "gate" in finding]
    assert finding == "The process gate of the SYSCALL shim denied a call of the client: the rule."

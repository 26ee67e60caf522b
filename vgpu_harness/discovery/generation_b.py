"""The stages of generation B (Ollama v0.12.4 to v0.24.0), where a child process loads libggml-cuda.so.

The dynamic linker's errors there are printed by nobody: the backend loader of these releases is silent.
"""

from collections.abc import Callable

from vgpu_harness.discovery.arrival import check_arrival
from vgpu_harness.discovery.backend import (
    NOT_CONFIRMED,
    absent_libraries,
    backend_loading,
    check_directory,
    check_life,
    check_loaded,
    check_symbols,
    driver_called,
    driver_library,
    lacking,
    not_compiled,
)
from vgpu_harness.discovery.driver_calls import check_count, check_ended, check_init, check_memory
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.log import Line
from vgpu_harness.discovery.runtime import check_runtime
from vgpu_harness.discovery.stages import Outcome, holds, stops, undecided

DROPPED = ("dropping integrated GPU", "dropping duplicate device", "NVIDIA driver too old")


def failures(e: Evidence) -> list[Line]:
    """What the client says of children that gave no answer, other than by the time limit."""
    words = ("failure during GPU discovery", "failed to start runner", "runner exited", "runner failed to discover")
    return [line for line in e.log.lines if line.message.startswith(words) and line not in e.late]


def check_child(e: Evidence) -> Outcome:
    """S3: a child runs and can answer."""
    said = [line.text for line in failures(e)]
    alive = bool(e.children) or e.log.first("starting ollama engine") is not None
    crashed_early = bool(said) and not driver_called(e) and not e.answers_cuda and driver_library(e) is not None
    explained = lacking(e) or absent_libraries(e) or backend_loading(e)
    if not alive or (crashed_early and not explained):
        return check_life(
            e,
            said,
            "See the child's own lines in the client's log: an unwritable TMPDIR or a port that is taken ends it "
            "before the driver.",
        )
    return holds(f"children with records: {len(e.children)}", *[line.text for line in e.started[:1]])


def check_memory_of_child(e: Evidence) -> Outcome:
    """S9: NVML by UUID, else a context and cuMemGetInfo, whose failure ends the child."""
    if e.unreturned("cuInit") and not any(r.result == 0 for r in e.calls("cuInit")):
        return undecided()
    traced = check_memory(e)
    said = e.log.first("CUDA error")
    if traced.holds and said is not None and not e.answers_cuda and e.log.first(NOT_CONFIRMED) is None:
        return stops(
            f"The child ended in a CUDA error: {said.text}.", "See the last traced call of the child.", said.text
        )
    if traced.holds and e.log.first(NOT_CONFIRMED) is None and (ended := check_ended(e, failures(e))):
        return ended
    return traced


def check_time(e: Evidence) -> Outcome:
    """S10: /info within 30 s (scaled)."""
    if e.late and not e.answers_cuda and e.log.first(NOT_CONFIRMED) is None:
        hanging = [name for name in ("cuInit", "nvmlInit_v2") if e.unreturned(name)]
        where = f": {hanging[0]} was entered and had not returned" if hanging else ""
        return stops(
            f"The child did not answer within the client's time limit{where} ({e.late[0].text}).",
            "Make the driver's initialisation faster than the client's limit of 30 s for each child (with many GPUs: "
            "persistence mode).",
            e.late[0].text,
            *[f"trace: {name} entered, not returned" for name in hanging],
        )
    return holds(*[line.text for line in e.log.messages("bootstrap discovery took")[:1]])


def check_second_pass(e: Evidence) -> Outcome:
    """S11: started again with CUDA_VISIBLE_DEVICES=GPU-uuid, the child still has the device."""
    lost = e.log.first(NOT_CONFIRMED)
    if lost is None or e.answers_cuda:
        return holds(*[line.text for line in e.log.messages("verifying if device is supported")[:1]])
    arch = e.log.first("not compiled with support for this arch")
    if arch is not None:
        tried = e.log.first("verifying if device is supported")
        return not_compiled(tried.fields.get("compute", "") if tried else "", arch.text, lost.text, arch.text)
    return stops(
        f"The second pass did not confirm the device: {lost.text}.",
        "Accept in CUDA_VISIBLE_DEVICES the same GPU-... that cuDeviceGetUuid answered, and be as fast as in the "
        "first pass.",
        lost.text,
        *[line.text for line in e.late],
    )


def check_filters(e: Evidence) -> Outcome:
    """S12: nothing drops the device after it was confirmed."""
    dropped = [line for line in e.log.lines if line.message.startswith(DROPPED)]
    if dropped and not e.answers_cuda:
        return stops(
            f"A filter dropped the device: {dropped[0].text}.",
            "Correct the field that the filter names.",
            dropped[0].text,
        )
    return holds(*[line.text for line in e.log.messages("filtering device with overlapping libraries")[:1]])


CHECKS: dict[str, Callable[[Evidence], Outcome]] = {
    "S0": check_arrival,
    "S1": check_directory,
    "S3": check_child,
    "S4": check_loaded,
    "S5": check_symbols,
    "S6": check_runtime,
    "S7": check_init,
    "S8": check_count,
    "S9": check_memory_of_child,
    "S10": check_time,
    "S11": check_second_pass,
    "S12": check_filters,
}

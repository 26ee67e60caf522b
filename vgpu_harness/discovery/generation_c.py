"""The stages of generation C (Ollama from v0.30.0), where three short-lived children are started for each directory.

`llama-server` twice (for its system_info line, then for its list of devices) and `ollama gpu-discover`, whose stdout
must be JSON and nothing else. The first two decide whether there is a device; the third brings its address and the
driver's version. Unlike generation B's, this loader prints the dynamic linker's errors.
"""

import re
from collections.abc import Callable

from vgpu_harness.discovery.arrival import check_arrival, suspects
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
from vgpu_harness.discovery.driver_calls import check_count, check_ended, check_init, check_memory, shown
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.findings_c import LISTED, TOO_OLD
from vgpu_harness.discovery.log import Line
from vgpu_harness.discovery.runtime import check_runtime
from vgpu_harness.discovery.stages import Outcome, holds, stops, undecided

NOT_COMPILED = "compute capability not in compiled architectures"
NO_MEMORY = "skipping pseudo-device with zero memory"
_ARCHS = re.compile(r"CUDA\s*:\s*ARCHS\s*=\s*[\d,]+")
_LONGEST = 64 * 1024
"""bufio.Scanner's limit: a line of so many bytes ends the client's reading."""
DROPPED = (TOO_OLD, "dropping integrated GPU", "dropping duplicate device")


def check_directories(e: Evidence) -> Outcome:
    """S1: a directory of backends; whether a child could be started for it is the next question."""
    tried = failures(e)
    return holds(*[f"library directory {path}" for path in e.facts.backends]) if tried else check_directory(e)


def failures(e: Evidence) -> list[Line]:
    """What the client says of children that gave no answer, other than by the time limit."""
    words = ("failure during llama-server GPU discovery", "failed to start")
    return [line for line in e.log.lines if line.message.startswith(words) and line not in e.late]


def check_child(e: Evidence) -> Outcome:
    """S3: llama-server runs and can answer."""
    said = [line.text for line in failures(e)]
    early = said and not driver_called(e) and not e.answers_cuda and driver_library(e) is not None
    explained = lacking(e) or absent_libraries(e) or backend_loading(e)
    if (early and not explained) or not (e.children or e.started):
        return check_life(
            e,
            said,
            "See the child's own lines in the client's log: a llama-server that is not there or cannot be executed "
            "ends before the driver.",
        )
    return holds(f"children with records: {len(e.children)}", *[line.text for line in e.started[:1]])


def check_devices(e: Evidence) -> Outcome:
    """S8: counted and described, and listed in a form that the client reads."""
    counted = check_count(e)
    if not counted.holds or e.answers_cuda or e.log.first("Available devices:") is None:
        return counted
    long = next((line for line in e.log.lines if not line.level and len(line.raw.encode()) >= _LONGEST), None)
    if long is not None:
        return stops(
            f"The client reads llama-server's output up to a line of {len(long.raw.encode())} bytes, which is longer "
            f"than it takes ({_LONGEST}), and finds no device; {suspects(e)}.",
            "Write nothing to stdout or stderr in a preloaded library.",
            f"{long.raw[:60]}...",
        )
    if any(not line.level and LISTED.match(line.raw) for line in e.log.lines):
        return counted
    names = [r for r in e.calls("cuDeviceGetName") if r.result == 0]
    line = next((line.raw for line in e.log.lines if line.raw.startswith("  CUDA")), "no line")
    if not names:
        return counted
    return stops(
        f"The client cannot read llama-server's list of devices: it has {line!r}, because cuDeviceGetName answered "
        f"{names[0].text!r}.",
        "Answer cuDeviceGetName with a name that is not empty and stands in one line.",
        *[shown(r) for r in names[:1]],
    )


def check_memory_of_child(e: Evidence) -> Outcome:
    """S9: cudaMemGetInfo, in a context of its own; a device of 0 MiB is no device to the client."""
    if e.unreturned("cuInit") and not any(r.result == 0 for r in e.calls("cuInit")):
        return undecided()
    empty = e.log.first(NO_MEMORY)
    traced = check_memory(e)
    if traced.holds and empty is not None and not e.answers_cuda:
        said = [line.text for line in e.log.find("cudaMemGetInfo failed")]
        return stops(
            f"The client takes a device without memory for none: {empty.text}.",
            "Answer cuMemGetInfo_v2 with the device's memory, and 0 as the result.",
            empty.text,
            *said[:1],
            *traced.evidence,
        )
    if empty is not None:
        return Outcome(traced.holds, (*traced.evidence, empty.text), traced.cause, traced.remedy)
    if traced.holds and e.log.first(NOT_CONFIRMED) is None and (ended := check_ended(e, failures(e))):
        return ended
    return traced


def check_time(e: Evidence) -> Outcome:
    """S10: the three children of a directory within 30 s together (scaled)."""
    if e.late and not e.answers_cuda and e.log.first(NOT_CONFIRMED) is None:
        hanging = [name for name in ("cuInit", "nvmlInit_v2") if e.unreturned(name)]
        where = f": {hanging[0]} was entered and had not returned" if hanging else ""
        return stops(
            f"The children did not answer within the client's time limit{where} ({e.late[0].text}).",
            "Make the driver's initialisation faster: the three children of a directory share 30 s, and each of them "
            "initialises the driver anew (with many GPUs: persistence mode).",
            *[line.text for line in e.late[:2]],
            *[f"trace: {name} entered, not returned" for name in hanging],
        )
    return holds(*[line.text for line in e.log.messages("bootstrap discovery took")[:1]])


def check_second_pass(e: Evidence) -> Outcome:
    """S11: compiled for the device, and there again with CUDA_VISIBLE_DEVICES=0."""
    lost, arch = e.log.first(NOT_CONFIRMED), e.log.first(NOT_COMPILED)
    if e.answers_cuda or (lost is None and arch is None):
        return holds(*[line.text for line in e.log.messages("verifying if device is supported")[:1]])
    if arch is not None:
        strays = [line.raw for line in e.log.lines if _ARCHS.search(line.raw) and "system_info:" not in line.raw]
        if strays:
            return stops(
                f"The client takes {strays[0].strip()!r}, which is not of llama-server's system_info line, for the "
                f"architectures that the backend is compiled for; {suspects(e)}.",
                "Write nothing to stdout or stderr in a preloaded library.",
                arch.text,
                *strays[:1],
            )
        compute = _compute(arch.fields.get("cc", ""))
        return not_compiled(compute, arch.text, arch.text, *([lost.text] if lost else []))
    return stops(
        f"The second pass did not confirm the device: {lost.text if lost else ''}.",
        "Accept in CUDA_VISIBLE_DEVICES the device's number, and be as fast as in the first pass.",
        *([lost.text] if lost else []),
        *[line.text for line in e.late],
    )


def _compute(architecture: str) -> str:
    """The compute capability of an architecture as ggml lists them: "900" is 9.0."""
    return f"{architecture[:-2]}.{architecture[-2]}" if architecture.isdecimal() and len(architecture) > 2 else ""


def check_filters(e: Evidence) -> Outcome:
    """S12: nothing drops the device: the driver is new enough, its address is its own."""
    dropped = [line for line in e.log.lines if line.message.startswith(DROPPED)]
    if dropped and not e.answers_cuda:
        line = dropped[0]
        old = line.message.startswith(TOO_OLD)
        return stops(
            f"The client drops the device because of the driver's version: {line.text}."
            if old
            else f"A filter dropped the device: {line.text}.",
            "Answer nvmlSystemGetDriverVersion with a version of 550 or newer (for compute capability below 7.0: 570), "
            "or deliver no NVML: the device is then kept."
            if old
            else "Correct the field that the filter names.",
            *[line.text for line in dropped],
            *[
                f"trace: nvmlSystemGetDriverVersion = {r.text}"
                for r in e.calls("nvmlSystemGetDriverVersion", everywhere=True)[:1]
                if old and r.result == 0
            ],
        )
    return holds(*[line.text for line in e.log.messages("filtering device with overlapping libraries")[:1]])


CHECKS: dict[str, Callable[[Evidence], Outcome]] = {
    "S0": check_arrival,
    "S1": check_directories,
    "S3": check_child,
    "S4": check_loaded,
    "S5": check_symbols,
    "S6": check_runtime,
    "S7": check_init,
    "S8": check_devices,
    "S9": check_memory_of_child,
    "S10": check_time,
    "S11": check_second_pass,
    "S12": check_filters,
}

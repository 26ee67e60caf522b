"""The stages of generation B (Ollama v0.12.4 to v0.24.0), where a child process loads libggml-cuda.so.

One child is started for each library directory (cuda_v12, cuda_v13), so a stage holds where it holds in any of them.
The dynamic linker's errors there are printed by nobody: the backend loader of these releases is silent.
"""

from collections.abc import Callable

from vgpu_harness.discovery.arrival import check_arrival, cuda_preloaded
from vgpu_harness.discovery.driver_calls import check_count, check_init, check_memory
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.facts import Needs, Resolution
from vgpu_harness.discovery.gather import DRIVER
from vgpu_harness.discovery.log import Line
from vgpu_harness.discovery.stages import Outcome, holds, stops, undecided
from vgpu_harness.trace import Kind, Library

TIMEOUT = "failed to finish discovery before timeout"
NOT_CONFIRMED = "filtering device which didn't fully initialize"
DROPPED = ("dropping integrated GPU", "dropping duplicate device", "NVIDIA driver too old")


def failures(e: Evidence) -> list[Line]:
    """What the client says of children that gave no answer, other than by the time limit."""
    words = ("failure during GPU discovery", "failed to start runner", "runner exited", "runner failed to discover")
    return [line for line in e.log.lines if line.message.startswith(words) and TIMEOUT not in line.raw]


def driver_called(e: Evidence) -> bool:
    """Did any child use the CUDA shim?"""
    return any(r.pid in e.children for r in e.of_kind(Kind.INIT, Library.CUDA))


def check_directory(e: Evidence) -> Outcome:
    """S1: a directory of backends, and a child started for it."""
    skipped = [line.text for line in e.log.find("skipping available library")]
    if not e.started:
        where = e.facts.library_directory or "../lib/ollama beside the program (it does not exist)"
        return stops(
            f"The client started no child: it found no library directory to use in {where}.",
            "Install a directory with libggml-cuda.so (cuda_v12, cuda_v13) there, and unset OLLAMA_LLM_LIBRARY."
            if not skipped
            else "Unset OLLAMA_LLM_LIBRARY, or set it to the name of a directory that exists.",
            *skipped,
        )
    return holds(*[f"library directory {path}" for path in e.facts.backends])


def check_child(e: Evidence) -> Outcome:
    """S3: a child runs and can answer."""
    said = [line.text for line in failures(e)]
    alive = bool(e.children) or e.log.first("starting ollama engine") is not None
    crashed_early = bool(said) and not driver_called(e) and not e.answers_cuda and _library(e) is not None
    if not alive or (crashed_early and not _lacking(e)):
        return stops(
            f"A child did not live to look for a device: {said[0]}."
            if said
            else "No child of the client left a sign of life.",
            "See the child's own lines in the client's log: an unwritable TMPDIR or a port that is taken ends it "
            "before the driver.",
            *said,
        )
    return holds(f"children with records: {len(e.children)}", *[line.text for line in e.started[:1]])


def _library(e: Evidence) -> Resolution | None:
    """Where libcuda.so.1 leads for the first backend for which it is the shim."""
    return next((r for r in e.resolutions(DRIVER) if _is_shim(e, r)), None)


def _is_shim(e: Evidence, resolution: Resolution) -> bool:
    return resolution.path is not None and resolution.path in e.files and e.files[resolution.path].delivered


def check_loaded(e: Evidence) -> Outcome:
    """S4: libggml-cuda.so's libcuda.so.1 is the shim."""
    found = _library(e)
    if found is not None:
        backend = e.log.first("load_backend: loaded CUDA backend")
        return holds(f"{DRIVER} is {found.path}: {found.how}", *([backend.text] if backend else []))
    resolution = next(iter(e.resolutions(DRIVER)), None)
    if resolution is None:
        return stops(
            "No backend library was there to load: no libggml-cuda.so in the client's library directories.",
            "Install cuda_v12/libggml-cuda.so or cuda_v13/libggml-cuda.so whole (ollama 9069 was a truncated one).",
        )
    return _not_the_shim(e, resolution)


def _not_the_shim(e: Evidence, resolution: Resolution) -> Outcome:
    shim = cuda_preloaded(e)
    if shim is None:
        arrived = "The shim is not preloaded"
    else:
        mapped = (
            "is mapped and never called to initialise"
            if any(e.shim_mapped(pid) for pid in e.children)
            else "is preloaded"
        )
        arrived = f"The shim {shim.path} {mapped}: its SONAME is {shim.soname}, not {DRIVER}"
    path = resolution.path or _foreign_mapped(e)
    end = f"{path} answers, which is not the shim" if path else f"no {DRIVER} can be loaded"
    return stops(
        f"{arrived}; {resolution.client} needs {DRIVER}, and so {end}.",
        f"Link the shim with -Wl,-soname,{DRIVER}, or put a link {e.facts.library_directory}/{DRIVER} to it.",
        f"{resolution.client} needs {DRIVER}: {resolution.how}" + (f", {path}" if path else ""),
        *[line.text for line in list(e.log.find("failed to initialize CUDA"))[:1]],
    )


def _foreign_mapped(e: Evidence) -> str | None:
    """A CUDA library from the system's own directories, where only the auditor sees it."""
    return next((f.path for pid in e.children for f in e.mapped(pid) if f.role == "cuda" and not f.delivered), None)


def _cuda_needs(e: Evidence) -> list[Needs]:
    return [n for n in e.facts.needs if n.library in e.files and e.files[n.library].role == "cuda"]


def _lacking(e: Evidence) -> list[Needs]:
    """What is missing, if something is missing for every backend, so that none can work."""
    lacking = [n for n in _cuda_needs(e) if n.missing]
    return lacking if {n.client for n in lacking} == {n.client for n in _cuda_needs(e)} else []


def check_symbols(e: Evidence) -> Outcome:
    """S5: the eleven that libggml-cuda.so leaves undefined, and the names that its runtime looks up."""
    if lacking := _lacking(e):
        first = lacking[0]
        names = ", ".join(dict.fromkeys(name for n in lacking for name in n.missing))
        said = [line.text for line in e.log.lines if any(name in line.raw for name in first.missing)]
        return stops(
            f"{first.library} does not export {names}, which {first.client} needs.",
            f"Export {names} from {first.library}. libggml-cuda.so is opened with RTLD_NOW: one undefined name makes "
            "the whole library unusable, and this client prints nothing about it.",
            f"needed by {first.client}, exported by no library where it looks: {names}",
            *said[:2],
        )
    return holds(
        *[f"all {len(n.symbols)} symbols that {n.client} needs are exported" for n in _cuda_needs(e) if not n.missing]
    )


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
    return traced


def check_time(e: Evidence) -> Outcome:
    """S10: /info within 30 s (scaled)."""
    late = e.log.first(TIMEOUT)
    if late is not None and not e.answers_cuda and e.log.first(NOT_CONFIRMED) is None:
        hanging = [name for name in ("cuInit", "nvmlInit_v2") if e.unreturned(name)]
        where = f": {hanging[0]} was entered and had not returned" if hanging else ""
        return stops(
            f"The child did not answer within the client's time limit{where} ({late.text}).",
            "Make the driver's initialisation faster than the client's limit of 30 s for each child (with many GPUs: "
            "persistence mode).",
            late.text,
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
        compute = f" {tried.fields['compute']}" if tried and "compute" in tried.fields else ""
        return stops(
            f"The backend was not compiled for the device's compute capability{compute}: {arch.text}.",
            "Answer cuDeviceGetAttribute 75 and 76 with the device's compute capability (an H100 has 9.0), or use a "
            "backend that is compiled for it.",
            lost.text,
            arch.text,
        )
    return stops(
        f"The second pass did not confirm the device: {lost.text}.",
        "Accept in CUDA_VISIBLE_DEVICES the same GPU-... that cuDeviceGetUuid answered, and be as fast as in the "
        "first pass.",
        lost.text,
        *[line.text for line in e.log.find(TIMEOUT)],
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
    "S7": check_init,
    "S8": check_count,
    "S9": check_memory_of_child,
    "S10": check_time,
    "S11": check_second_pass,
    "S12": check_filters,
}

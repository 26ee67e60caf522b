"""The stages of generation A (Ollama up to v0.12.3), where the server itself opens the driver library by its path."""

from collections.abc import Callable

from vgpu_harness.discovery import log
from vgpu_harness.discovery.arrival import check_arrival, cuda_preloaded
from vgpu_harness.discovery.driver_calls import check_count, check_init, check_memory
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.facts import File
from vgpu_harness.discovery.gather import FOUND
from vgpu_harness.discovery.stages import Outcome, holds, stops


def library_paths(e: Evidence) -> tuple[str, ...]:
    """The driver libraries that the client says it found, links resolved, in the order in which it tries them."""
    return tuple(
        path
        for line in e.log.messages(FOUND)
        for path in log.items(line.fields.get("paths", ""))
        if "libcudart" not in path
    )


def _found(e: Evidence) -> list[File]:
    """The delivered files among these."""
    return [e.files[path] for path in library_paths(e) if path in e.files and e.files[path].delivered]


def check_directory(e: Evidence) -> Outcome:
    """S1: lib/ollama exists beside the program's bin directory."""
    if e.facts.library_directory is None:
        return stops(
            "The client has no library directory: ../lib/ollama beside the program does not exist.",
            "Install Ollama whole: bin/ollama and lib/ollama belong together (ollama 9842).",
        )
    return holds(f"library directory {e.facts.library_directory}")


def check_file(e: Evidence) -> Outcome:
    """S2: a file that matches libcuda.so* in one of the directories, and it is the shim."""
    lines = [line.text for line in e.log.messages(FOUND)]
    if _found(e):
        return holds(*lines[:1])
    others = library_paths(e)
    preload = cuda_preloaded(e)
    where = e.facts.library_directory or "the client's library directory"
    if preload is None:
        arrived = "The shim is not preloaded"
    elif e.calls("cuInit"):
        arrived = f"The shim {preload.path} is preloaded"
    else:
        arrived = f"The shim {preload.path} is mapped and never called"
    only = f"only {', '.join(others)}, which is not the shim," if others else "no file"
    return stops(
        f"{arrived}: this client opens the driver library by its path, and found {only} matching libcuda.so*.",
        f"Put a link {where}/libcuda.so.1 to the shim: a preload is no file, and this client asks for no name "
        "(SONAME).",
        *lines,
    )


def check_loaded(e: Evidence) -> Outcome:
    """S4: dlopen of the shim's path succeeds."""
    for file in _found(e):
        paths = {file.path, file.real}
        for line in e.log.find("load"):
            broken = any(
                word in line.raw
                for word in ("wrong ELF class", "cannot open shared object", "file too short", "invalid ELF")
            )
            if broken and any(path and path in line.raw for path in paths):
                return stops(
                    f"The client could not load {file.path}: {line.text}.",
                    "Build the shim as a 64-bit x86-64 library whose own dependencies can be found.",
                    line.text,
                )
    opened = [f"{file.path} is the shim ({file.soname})" for file in _found(e)]
    return holds(*opened, *[line.text for line in e.log.find("initializing /")])


def check_symbols(e: Evidence) -> Outcome:
    """S5: the ten names."""
    found = {file.identity for file in _found(e)}
    needs = [n for n in e.facts.needs if n.library in e.files and e.files[n.library].identity in found]
    if needs and needs[0].missing:
        library, names = needs[0].library, ", ".join(needs[0].missing)
        said = [line.text for line in e.log.find("symbol lookup for", needs[0].missing[0])]
        return stops(
            f"{library} does not export {names}, which the client needs" + (f": {said[0]}." if said else "."),
            f"Export {names} from {library}: the client looks all {len(needs[0].symbols)} names up by dlsym and gives "
            "the library up when one is missing.",
            *said,
        )
    return holds(*[f"all {len(n.symbols)} symbols of the client are exported" for n in needs[:1]])


def check_devices(e: Evidence) -> Outcome:
    """S8: counted, described, and of compute capability 5.0 or more."""
    counted = check_count(e)
    old = e.log.first("CUDA GPU is too old")
    if counted.holds and old is not None and not e.answers_cuda:
        return stops(
            f"The client drops the device by its compute capability: {old.text}.",
            "Answer cuDeviceGetAttribute 75 and 76 with the device's compute capability, 5.0 or more (an H100 has "
            "9.0).",
            *counted.evidence,
            old.text,
        )
    return counted


def check_context(e: Evidence) -> Outcome:
    """S9: cuCtxCreate_v3 and cuMemGetInfo_v2."""
    traced = check_memory(e)
    said = e.log.first("failed to get device context") or e.log.first("memory info lookup failure")
    if traced.holds and said is not None and not e.answers_cuda:
        return stops(
            f"The client could not read the device's memory: {said.text}.",
            "See the traced calls of cuCtxCreate.",
            said.text,
        )
    return traced


CHECKS: dict[str, Callable[[Evidence], Outcome]] = {
    "S0": check_arrival,
    "S1": check_directory,
    "S2": check_file,
    "S4": check_loaded,
    "S5": check_symbols,
    "S7": check_init,
    "S8": check_devices,
    "S9": check_context,
}

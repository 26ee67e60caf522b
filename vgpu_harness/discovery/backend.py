"""What generations B and C share: children that load libggml-cuda.so, which needs the driver and the runtime by name.

A child is started for each directory of backends, so a stage holds where it holds in any of them.
"""

from collections.abc import Sequence
from pathlib import Path

from vgpu_harness.discovery.arrival import cuda_preloaded, suspects
from vgpu_harness.discovery.clients import BACKEND_FILE
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.facts import Needs, Resolution
from vgpu_harness.discovery.linking import DRIVER, NVML
from vgpu_harness.discovery.stages import Outcome, holds, stops
from vgpu_harness.trace import Kind, Library

LOADED = "load_backend: loaded CUDA backend"
NOT_CONFIRMED = "filtering device which didn't fully initialize"
_SHOWN = 3
"""So many symbols are named one by one."""


def driver_called(e: Evidence) -> bool:
    """Did any child use the CUDA shim for its backend?"""
    return any(r.pid in e.deciders for r in e.of_kind(Kind.INIT, Library.CUDA))


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


def driver_library(e: Evidence) -> Resolution | None:
    """Where libcuda.so.1 leads for the first backend for which it is the shim."""
    return next((r for r in e.resolutions(DRIVER) if _is_shim(e, r)), None)


def _is_shim(e: Evidence, resolution: Resolution) -> bool:
    return resolution.path is not None and resolution.path in e.files and e.files[resolution.path].delivered


def _refused(e: Evidence) -> list[str]:
    """The loader's own words; generation B has none."""
    return [line.text for line in e.log.find("load_backend: failed to") if not line.level]


def check_life(e: Evidence, said: Sequence[str], otherwise: str) -> Outcome:
    """The stop of S3: a child that ended before it looked for a device, with what it or the loader said of that."""
    linker = [
        line.text
        for words in ("error while loading shared libraries", "symbol lookup error")
        for line in e.log.find(words)
        if not line.level
    ]
    if not said:
        return stops("No child of the client left a sign of life.", otherwise)
    first = said[0]
    if linker:
        cause, remedy = f"A child could not load its own libraries: {linker[0]} ({first}).", "Replace that library."
    elif "bus error" in first or e.log.first("SIGBUS"):
        cause = f"A child did not live to look for a device: {first}."
        remedy = (
            "A bus error while libraries are loaded is a file that is cut short: compare their sizes, copy them anew."
        )
    elif any(words in first for words in ("signal:", "exit status", "runner exited")):
        cause = f"A child did not live to look for a device: {first}; {suspects(e)}."
        remedy = (
            "See what the libraries of LD_PRELOAD do when they are loaded (constructors), and leave them out one by "
            "one; run the child's command line by hand."
        )
    else:
        cause, remedy = f"A child did not live to look for a device: {first}.", otherwise
    return stops(cause, remedy, *dict.fromkeys([*linker[:1], *said]))


def check_loaded(e: Evidence) -> Outcome:
    """S4: libggml-cuda.so's libcuda.so.1 is the shim, and what the backend brings along is there."""
    found = driver_library(e)
    backend = e.log.first(LOADED)
    if found is None:
        resolution = next(iter(e.resolutions(DRIVER)), None)
        if resolution is None:
            broken = [text for text in backend_problems(e) if BACKEND_FILE in text]
            return stops(
                f"No backend library can be loaded: {broken[0]}."
                if broken
                else "No backend library was there to load: no libggml-cuda.so in the client's library directories.",
                "Install cuda_v12/libggml-cuda.so or cuda_v13/libggml-cuda.so whole (ollama 9069 was a truncated one).",
                *broken,
                *_refused(e)[:1],
            )
        return _not_the_shim(e, resolution)
    absent = absent_libraries(e)
    if absent and backend is None:
        names = ", ".join(dict.fromkeys(r.name for r in absent))
        return stops(
            f"{absent[0].client} cannot be loaded: it needs {names}, and {absent[0].name} is {absent[0].how}.",
            f"Put {absent[0].name} beside the backend whole, or into a directory of LD_LIBRARY_PATH.",
            *[f"{r.client} needs {r.name}: {r.how}" for r in absent],
            *_refused(e)[:1],
        )
    words = _refused(e)
    if words and backend is None and not lacking(e):
        return stops(
            f"The backend's loader gave every backend up: {words[0]}.",
            f"Use a {BACKEND_FILE} and the libraries beside it of one release of the client.",
            *dict.fromkeys(words),
        )
    return holds(f"{DRIVER} is {found.path}: {found.how}", *([backend.text] if backend else []))


def backend_loading(e: Evidence) -> bool:
    """Did a decider come as far as its backend library?"""
    return any(
        r.pid in e.deciders and Path(r.text).name == BACKEND_FILE for r in e.of_kind(Kind.MAPPED)
    )  # fmt: skip


def backend_problems(e: Evidence) -> list[str]:
    """Why a backend cannot be loaded, whether or not another one can; missing symbols are `lost_backends`."""
    problems: list[str] = []
    for folder in e.facts.backends:
        client = str(Path(folder) / BACKEND_FILE)
        if e.log.first(f"{LOADED} from {client}"):
            continue
        file = e.files.get(client)
        if file is not None and file.problem is not None:
            problems.append(f"{client} {file.problem}")
        absent = [r for r in e.facts.resolved if r.client == client and r.name != NVML and r.path is None]
        problems += [f"{client} needs {r.name}, which is {r.how}" for r in absent]
        told = any(n.client == client for n in lost_backends(e)) or (problems and client in problems[-1])
        if not told:
            problems += list(dict.fromkeys(t.partition("load_backend: ")[2] for t in _refused(e) if client in t))
    return problems


def absent_libraries(e: Evidence) -> list[Resolution]:
    """Names that lead nowhere, if there are some for every backend."""
    bundled = [r for r in e.facts.resolved if r.name not in {DRIVER, NVML}]
    absent = [r for r in bundled if r.path is None]
    return absent if {r.client for r in absent} == {r.client for r in e.resolutions(DRIVER)} else []


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
        named = f"its SONAME is {shim.soname}, not {DRIVER}" if shim.soname else f"it has no SONAME {DRIVER}"
        arrived = f"The shim {shim.path} {mapped}: {named}"
    path = resolution.path or _foreign_mapped(e)
    end = f"{path} answers, which is not the shim" if path else f"no {DRIVER} can be loaded"
    return stops(
        f"{arrived}; {resolution.client} needs {DRIVER}, and so {end}.",
        f"Link the shim with -Wl,-soname,{DRIVER}, or put a link {e.facts.library_directory}/{DRIVER} to it.",
        f"{resolution.client} needs {DRIVER}: {resolution.how}" + (f", {path}" if path else ""),
        *_refused(e)[:1],
        *[line.text for line in list(e.log.find("failed to initialize CUDA"))[:1]],
    )


def _foreign_mapped(e: Evidence) -> str | None:
    """A CUDA library from the system's own directories, where only the auditor sees it."""
    return next((f.path for pid in e.children for f in e.mapped(pid) if f.role == "cuda" and not f.delivered), None)


def backend_needs(e: Evidence) -> list[Needs]:
    """What the backends cannot do without."""
    roles = {"cuda", "runtime"}
    return [n for n in e.facts.needs if not n.optional and n.library in e.files and e.files[n.library].role in roles]


def lacking(e: Evidence) -> list[Needs]:
    """What is missing, if something is missing for every backend, so that none can work."""
    lacks = [n for n in backend_needs(e) if n.missing]
    return lacks if {n.client for n in lacks} == {n.client for n in backend_needs(e)} else []


def in_words(needs: Needs) -> str:
    """``LIBRARY does not export X``, or ``... X in the version V``; of many symbols the first few."""
    versions = dict.fromkeys(name.partition("@")[2] for name in needs.missing)
    names = [name.partition("@")[0] for name in needs.missing]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN + 1 else ""
    shown = ", ".join(names[:_SHOWN] if more else names) + more
    versioned = ", ".join(version for version in versions if version)
    return f"{needs.library} does not export {shown}" + (f" in the version {versioned}" if versioned else "")


def check_symbols(e: Evidence) -> Outcome:
    """S5: what libggml-cuda.so leaves undefined, versions included, and the names that its runtime looks up."""
    if lacks := lacking(e):
        first = lacks[0]
        wanted = [name.partition("@")[0] for name in first.missing]
        said = [line.text for line in e.log.lines if any(name in line.raw for name in wanted)]
        if any("@" in name for name in first.missing):
            remedy = (
                f"Use {Path(first.client).name} and CUDA libraries of one CUDA release: a symbol's version is part of "
                "its name."
            )
        else:
            remedy = (
                f"Export {', '.join(first.missing)} from {first.library}. libggml-cuda.so is opened with RTLD_NOW: one "
                "undefined name makes the whole library unusable, and generation B prints nothing about it."
            )
        return stops(
            f"{in_words(first)}, which {first.client} needs.",
            remedy,
            *dict.fromkeys(f"needed by {n.client}: {in_words(n)}" for n in lacks),
            *(said or _refused(e))[:2],
        )
    whole = [n for n in backend_needs(e) if not n.missing]
    return holds(*[f"all {len(n.symbols)} symbols that {n.client} needs of {n.library} are exported" for n in whole])


def lost_backends(e: Evidence) -> list[Needs]:
    """What is missing for a backend, whether or not another one works without it."""
    return [n for n in backend_needs(e) if n.missing]


def not_compiled(compute: str, reason: str, *evidence: str) -> Outcome:
    """S11: the backend has no code for the device; `compute` is "" where the client does not say it."""
    return stops(
        f"The backend was not compiled for the device's compute capability{f' {compute}' if compute else ''}: "
        f"{reason}.",
        "Answer cuDeviceGetAttribute 75 and 76 with the device's compute capability (an H100 has 9.0), or use a "
        "backend that is compiled for it.",
        *evidence,
    )

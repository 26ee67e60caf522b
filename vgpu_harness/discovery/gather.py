"""Gathers the facts of a finished run: what was preloaded, what was to be found, what it lacked, who ran."""

from typing import TYPE_CHECKING

from vgpu_harness.discovery.clients import BACKEND_FILE
from vgpu_harness.discovery.facts import Facts, Generation, SeenProcess
from vgpu_harness.discovery.installation import Layout, search_path
from vgpu_harness.discovery.library_files import Shelf, candidates
from vgpu_harness.discovery.linking import needs_of
from vgpu_harness.discovery.log import items, parse
from vgpu_harness.trace import Kind

if TYPE_CHECKING:
    from vgpu_harness.run import Run
    from vgpu_harness.run.observer import Process

FOUND = "discovered GPU libraries"


def gather(generation: Generation, layout: Layout, run: "Run") -> Facts:
    """The facts of a run that has just ended. `layout` is where the client lies in the run's directory."""
    preload = [entry for entry in run.environment.get("LD_PRELOAD", "").split(":") if entry]
    inherited = [entry for entry in run.environment.get("LD_LIBRARY_PATH", "").split(":") if entry]
    shelf = Shelf(run.directory, preload)
    search = search_path(generation, layout, inherited)
    backends = [folder for folder in layout.backends if (folder / BACKEND_FILE).exists()]
    resolved, needs = needs_of(generation, layout, shelf, preload, inherited)
    libraries = [*candidates(search), *(r.path for r in resolved if r.path is not None)]
    libraries += [str(folder / BACKEND_FILE) for folder in backends]
    if generation == "a":
        libraries += [
            path for line in parse(run.stderr).messages(FOUND) for path in items(line.fields.get("paths", ""))
        ]
    return Facts(
        generation=generation,
        argv=run.argv,
        pid=run.pid,
        returncode=run.returncode,
        timed_out=run.timed_out,
        audit=run.audit,
        processes=tuple(map(_seen, run.processes)),
        observed=run.observed,
        library_directory=str(layout.library_directory) if layout.library_directory.is_dir() else None,
        backends=tuple(map(str, backends)),
        preload=shelf.files(preload),
        search=tuple(search),
        libraries=shelf.files(libraries),
        mapped=tuple(file for file in shelf.files(_mapped(run)) if file.role in {"cuda", "nvml", "runtime"}),
        resolved=tuple(resolved),
        needs=tuple(needs),
    )


def _seen(process: "Process") -> SeenProcess:
    return SeenProcess(
        pid=process.pid,
        parent=process.parent,
        program=process.program,
        preloaded=process.preloaded,
        traced=process.traced,
        secure=process.secure,
        static=process.static,
        copied=not process.images,
    )


def _mapped(run: "Run") -> list[str]:
    """The objects that the auditor saw, each once."""
    return list(dict.fromkeys(r.text for r in run.trace.records if r.kind == Kind.MAPPED and r.text.startswith("/")))

"""Discovery from end to end: lay a client out, run it on a host, keep the evidence, give a verdict."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vgpu_harness.discovery.clients import GENERATIONS, TRACE_LEVEL
from vgpu_harness.discovery.facts import Generation
from vgpu_harness.discovery.gather import gather
from vgpu_harness.discovery.installation import command, lay_out
from vgpu_harness.discovery.libraries import check_libraries
from vgpu_harness.discovery.verdict import Verdict, verdict_of
from vgpu_harness.errors import RunError
from vgpu_harness.trace import DEFAULT_SIZE

if TYPE_CHECKING:
    from vgpu_harness.host import Host

ROOM = 30.0
"""Seconds beyond a client's own time limits, to start and to end."""


def discover(
    generations: Sequence[str] = GENERATIONS,
    host: "Host | str | os.PathLike[str] | None" = None,
    *,
    scale: float = 1.0,
    directory: str | os.PathLike[str] | None = None,
    libraries: str | os.PathLike[str] | None = None,
    audit: bool = True,
    trace_size: int = DEFAULT_SIZE,
    progress: Callable[[str], None] | None = None,
) -> list[Verdict]:
    """Runs the discovery of each generation on a simulated host, all at once, and says how each came out.

    Args:
        generations: of "a", "b" and "c".
        host: a host, a host file, or None for the default host.
        scale: multiplies the clients' time limits (30 s in generations B and C).
        directory: where the runs are kept, in `a`, `b` and `c`; None is a new temporary directory.
        libraries: a directory laid out like Ollama's lib/ollama, whose libraries take the place of the stand-ins: all
            of them in C, libcudart and libcublas in B. A has none.
        audit: record what is mapped.
        trace_size: bytes of each trace file.
        progress: is told of each step, from several threads.

    Returns:
        One verdict a generation, in the order asked for. ``verdict.directory`` is the run's directory.

    Raises:
        RunError: an unknown generation, a `scale` that is not above 0, `libraries` without a library, or a run that
            cannot be set up.
        HostError, ShimError, TraceError: see ``vgpu_harness.run.run``.
    """
    from vgpu_harness.run.runner import load_host

    chosen = [_known(generation) for generation in dict.fromkeys(generations)]
    if not 0 < scale < 1e6:
        raise RunError(f"scale {scale}: is not a factor for time limits; give a number above 0")
    loaded = load_host(host)
    if isinstance(loaded, Path):
        raise RunError(
            f"{loaded}: is a host image; discovery needs the host file, for the links and copies it delivers"
        )
    own = None if libraries is None else check_libraries(Path(libraries))
    # Resolved: clients log and search real paths, and evidence compares paths.
    root = Path(tempfile.mkdtemp(prefix="vgpu-discover-") if directory is None else directory).resolve()
    tell = progress or (lambda _: None)
    with ThreadPoolExecutor(max_workers=max(1, len(chosen))) as pool:
        jobs = [pool.submit(_discover, one, loaded, root / one, own, scale, audit, trace_size, tell) for one in chosen]
        return [job.result() for job in jobs]


def _known(generation: str) -> Generation:
    for known in GENERATIONS:
        if generation == known:
            return known
    raise RunError(f"{generation!r}: is not a generation of discovery; known are {', '.join(GENERATIONS)}")


def _discover(
    generation: Generation,
    host: "Host",
    directory: Path,
    libraries: Path | None,
    scale: float,
    audit: bool,
    trace_size: int,
    tell: Callable[[str], None],
) -> Verdict:
    from vgpu_harness.run import run

    _take(directory)
    try:
        layout = lay_out(generation, directory, libraries)
        tell(f"generation {generation}: running the client")
        ended = run(
            command(layout, host, scale),
            host,
            directory=directory,
            cwd=directory,  # with LD_LIBRARY_PATH empty, generation A searches the working directory
            timeout=scale * layout.limit + ROOM,
            env={"OLLAMA_DEBUG": TRACE_LEVEL},
            audit=audit,
            trace_size=trace_size,
            check_mapped=False,
            check_strict=False,
        )
        tell(f"generation {generation}: reading the evidence")
        gather(generation, layout, ended).write(directory)
    except OSError as error:
        _give_back(directory)
        raise RunError(f"{error.filename}: cannot be made: {error.strerror}; give another directory") from error
    except BaseException:
        _give_back(directory)
        raise
    verdict = verdict_of(directory)
    if ended.not_strict is not None:
        verdict = replace(verdict, findings=(*verdict.findings, ended.not_strict))
    outcome = f"library={verdict.library}" if verdict.stopped_at is None else f"stopped at {verdict.stopped_at}"
    tell(f"generation {generation}: {outcome}")
    return verdict


def _take(directory: Path) -> None:
    """Makes the run's directory; one that has something in it is refused."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        used = any(directory.iterdir())
    except OSError as error:
        raise RunError(f"{error.filename}: cannot be made: {error.strerror}; give another directory") from error
    if used:
        raise RunError(f"{directory}: has the files of a run already; give a new directory")


def _give_back(directory: Path) -> None:
    """Leaves nothing of a run that could not be set up."""
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()  # only if nothing else is in it

"""The environment of a run: built from nothing, not inherited.

A variable that a developer happens to have set must not decide what a run shows, and a secret must not end in a
report. So a child gets a few harmless variables of this process, and the rest is set here.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from vgpu_harness.errors import RunError

INHERITED = ("PATH", "LANG", "TERM", "TZ")
"""Variables that a run takes over from this process; those that start with LC_ too."""

KEPT_PREFIXES = ("LD_", "CUDA_", "NVIDIA_", "OLLAMA_", "GGML_", "VGPU_")
"""Only variables that start so are written into reports."""

STATIC_TLS = "glibc.rtld.optional_static_tls=16384"
"""With any auditor, ld.so lays out thread-local storage before it knows the program's libraries, and refuses one with
more of its own than the spare room, 512 bytes by default: "cannot allocate memory in static TLS block", as of jemalloc,
preloaded or linked (measured on glibc 2.36). This is the room in bytes."""


def check_preload_entry(entry: str) -> str:
    """Refuses an entry that the dynamic linker would take for two.

    Raises:
        RunError: it has a space or a colon; ld.so(8) splits LD_PRELOAD at both and knows no escape.
    """
    if " " in entry or ":" in entry:
        raise RunError(
            f"{entry!r}: ld.so splits LD_PRELOAD at spaces and colons, so it cannot load this path; "
            "use a path without them"
        )
    return entry


def compose_preload(entries: Iterable[str]) -> str:
    """The value of LD_PRELOAD, or of LD_AUDIT (which splits at colons only; what suits both is asked of both).

    Raises:
        RunError: an entry has a space or a colon.
    """
    return ":".join(check_preload_entry(entry) for entry in entries)


def kept(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that may stand in a report."""
    return {name: value for name, value in sorted(environment.items()) if name.startswith(KEPT_PREFIXES)}


def _check_extra(extra: Mapping[str, str]) -> None:
    for name, value in extra.items():
        if name in {"VGPU_HOST", "VGPU_TRACE"}:
            raise RunError(
                f"{name}={value}: the harness sets this variable for a run; pass the host or the trace instead"
            )
        if not name or "=" in name or "\0" in name + value:
            raise RunError(f"{name!r}={value!r}: cannot be an environment variable; write NAME=VALUE without NUL")


def build_environment(
    directory: Path,
    *,
    host_image: Path | None = None,
    trace: Path | None = None,
    preload: Iterable[str] = (),
    audit: Iterable[str] = (),
    library_path: Iterable[str] = (),
    extra: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of a run.

    Args:
        directory: the run's own; HOME and TMPDIR are in it.
        host_image: VGPU_HOST.
        trace: VGPU_TRACE.
        preload: what goes into LD_PRELOAD, before what `extra` has there.
        audit: what goes into LD_AUDIT, before what `extra` has there.
        library_path: what goes into LD_LIBRARY_PATH, before what `extra` has there.
        extra: variables on top; they win, but for the three lists, which are put together.

    Raises:
        RunError: a path cannot stand in its list, or `extra` sets VGPU_HOST or VGPU_TRACE.
    """
    extra = dict(extra or {})
    _check_extra(extra)
    environment = {name: value for name, value in os.environ.items() if name in INHERITED or name.startswith("LC_")}
    environment |= {"HOME": str(directory / "home"), "TMPDIR": str(directory / "tmp")}
    preload, audit, library_path = list(preload), list(audit), list(library_path)
    if audit:
        environment["GLIBC_TUNABLES"] = STATIC_TLS
    environment |= extra
    for entry in library_path:
        if ":" in entry or ";" in entry:
            raise RunError(f"{entry!r}: ld.so splits LD_LIBRARY_PATH at ':' and ';'; use a directory without them")
    for name, ours in (
        ("LD_PRELOAD", compose_preload(preload)),
        ("LD_AUDIT", compose_preload(audit)),
        ("LD_LIBRARY_PATH", ":".join(library_path)),
    ):
        both = ":".join(part for part in (ours, extra.get(name, "")) if part)
        if both:
            environment[name] = both
    if host_image is not None:
        environment["VGPU_HOST"] = str(host_image)
    if trace is not None:
        environment["VGPU_TRACE"] = str(trace)
    return environment

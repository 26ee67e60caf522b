"""A preloaded library with a dlopen of its own, as a way for the shim to get in: why it was none.

What such a library does is in nobody's ELF headers; that it exports dlopen is. Only the harness's own writes its calls
into the trace (csrc/wrapper/dlopen.c).
"""

from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.facts import File
from vgpu_harness.trace import Kind, Library, Record

_BY_FILE = "this client searches directories for a file, and calls dlopen for none"
_BY_NEED = "this client's libraries have libcuda.so.1 in DT_NEEDED, for which the dynamic linker calls no dlopen"


def dlopen_wrapper(e: Evidence) -> File | None:
    """The preloaded library whose dlopen stands in front of libc's."""
    return next((file for file in e.facts.preload if file.wraps_dlopen and file.problem is None), None)


def bypassed(e: Evidence) -> list[Record]:
    """The calls for a library of the driver that it passed by."""
    return [r for r in e.of_kind(Kind.CALL, Library.DLOPEN) if len(r.inputs) == 3 and not r.inputs[2]]


def _shown(record: Record) -> str:
    """One such call, in words."""
    before, passes, _ = record.inputs
    return f'dlopen("{record.text}") was call {before + 1} of process {record.pid}, and it passes the first {passes} by'


def why_not_by_dlopen(e: Evidence) -> str:
    """Why the wrapper did not let the shim in, as the end of a sentence; "" if there is no wrapper."""
    wrapper = dlopen_wrapper(e)
    if wrapper is None:
        return ""
    why = _BY_FILE if e.facts.generation == "a" else _BY_NEED
    if passed := bypassed(e):
        why = _shown(passed[0])
    return f"; {wrapper.path}, which has a dlopen of its own, leads to no shim either: {why}"


def wrapper_evidence(e: Evidence) -> list[str]:
    """What shows it."""
    wrapper = dlopen_wrapper(e)
    return [] if wrapper is None else [f"{wrapper.path} exports dlopen", *(f"trace: {_shown(r)}" for r in bypassed(e))]

"""After a run: did the shims get into it at all, and is there anything about it that its user should hear?

LD_PRELOAD fails open: ld.so writes one line about a file that it cannot load and goes on, with exit status 0.
"""

import re
from dataclasses import replace
from pathlib import Path

from vgpu_harness._wire import lib
from vgpu_harness.run.bypass import REMEDY
from vgpu_harness.run.program import Program
from vgpu_harness.run.result import Run
from vgpu_harness.run.shimless import without_shims
from vgpu_harness.trace import Kind, Library

_IGNORED = re.compile(
    r"^ERROR: ld\.so: object '(.*)' from LD_(?:PRELOAD|AUDIT) cannot be preloaded \((.*)\): ignored\.$", re.MULTILINE
)


def ignored_by_linker(stderr: str) -> dict[str, str]:
    """What ld.so says of libraries that it did not load: the path and the reason in its words."""
    return dict(_IGNORED.findall(stderr))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def mapped_shims(run: Run) -> tuple[str, ...]:
    """The preload entries that were mapped into a process of the run."""
    paths = {record.text for record in run.trace.records if record.kind == Kind.MAPPED}
    identities = {_identity(path) for path in paths} - {None}
    return tuple(entry for entry in run.preload if entry in paths or _identity(entry) in identities)


def why_not_mapped(run: Run, program: Program, *, shows_static: bool = False) -> str | None:
    """Why no shim ever was in the run, in words; None if one was, or nothing was to be preloaded.

    Without the auditor, or in a trace that was full, a shim that is mapped may leave no record; then only what ld.so
    says counts.
    """
    if not run.preload or (program.static and shows_static) or mapped_shims(run):
        return None
    if program.static:
        return (
            "is a static program: no dynamic linker runs in it, so nothing was preloaded, and what it looked at "
            f"bypassed the shims; {REMEDY}"
        )
    if any(record.kind == Kind.INIT and record.library != Library.AUDIT for record in run.trace.records):
        return None
    recorded = run.audit and not run.trace.dropped
    if not recorded and not set(run.preload) <= set(ignored_by_linker(run.stderr)):
        return None
    if said := _IGNORED.search(run.stderr):
        return f"none of the shims was mapped; on stderr: {said[0]}"
    absent = [entry for entry in run.preload if not Path(entry).exists()]
    if absent == list(run.preload):
        return f"none of the shims was mapped: {absent[0]} does not exist"
    if program.findings:
        return f"none of the shims was mapped: {program.findings[0]}"
    return (
        "none of the shims was mapped, and the auditor recorded nothing of them: the program, or something in front of "
        "it, was started without LD_PRELOAD"
    )


def find_out(run: Run, program: Program, *, shows_static: bool = False) -> Run:
    """The run with its findings, what the shims did not reach, and the reason if none of them was mapped.

    Args:
        run: without them.
        program: its program.
        shows_static: static programs saw the host's files: that the shims are not in them is no finding.
    """
    findings = list(program.findings)
    for path, reason in ignored_by_linker(run.stderr).items():
        findings.append(f"ld.so ignored {path} ({reason})")
    denied = {
        record.text: None
        for record in run.trace.records
        if record.kind == Kind.GATE and record.pid == run.pid and record.inputs[:1] == (lib.VGPU_NOT_AN_APPLICATION,)
    }
    findings += [f"{Path(program.binary).name} does not see the GPU: {reason}" for reason in denied]
    refused = {record.text: None for record in run.trace.records if record.kind == Kind.REFUSED}
    findings += [f"the shims refused the host image: {reason}" for reason in refused]
    if run.trace.dropped:
        findings.append(f"the trace was full and dropped {run.trace.dropped} records; give a larger --trace-size")
    bare = without_shims(
        run.processes, run.preload, run.trace.records, recorded=run.audit and not run.trace.dropped
    )  # fmt: skip
    if shows_static:
        static = {(process.pid, image.program) for process in run.processes for image in process.images if image.static}
        bare = tuple(shimless for shimless in bare if (shimless.pid, shimless.program) not in static)
    unmapped = why_not_mapped(run, program, shows_static=shows_static)
    return replace(run, findings=tuple(findings), without_shims=bare, unmapped=unmapped)

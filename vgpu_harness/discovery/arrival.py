"""Stage S0: can the shims arrive in the process where discovery happens, and do they serve there?

They arrive preloaded, or as a file that the client finds by itself; either way is enough. Then the host image and the
process gate have the word.
"""

from pathlib import Path

from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.facts import File
from vgpu_harness.discovery.stages import Outcome, holds, stops
from vgpu_harness.discovery.wrapper import why_not_by_dlopen, wrapper_evidence
from vgpu_harness.trace import Kind, Library, Record

SHIM_FILE = "libvgpu-cuda.so"

# enum vgpu_ready of csrc/vgpu/gate.h, as GATE records carry it
READY, TOO_EARLY, NOT_AN_APPLICATION = 0, 1, 2


def preload_problems(e: Evidence) -> list[File]:
    """The entries of LD_PRELOAD that the dynamic linker could not load."""
    return [file for file in e.facts.preload if file.problem is not None]


def cuda_preloaded(e: Evidence) -> File | None:
    """The preloaded file that stands in for the CUDA driver."""
    return next((f for f in e.facts.preload if f.role == "cuda" and f.problem is None), None)


def cuda_linked(e: Evidence) -> File | None:
    """The delivered file that the client finds in a directory in which it searches."""
    name = "libcuda.so.1"
    return next(
        (
            f
            for f in e.facts.libraries
            if f.delivered and f.role == "cuda" and f.problem is None
            and (e.facts.generation == "a" or f.path.endswith(f"/{name}"))
        ),
        None,
    )  # fmt: skip


def denials(e: Evidence, library: Library, pids: tuple[int, ...]) -> list[Record]:
    """The decisions of the process gate in the processes `pids` that were not "ready"."""
    return [
        r
        for r in e.of_kind(Kind.GATE, library)
        if r.pid in pids and r.inputs[:1] in {(TOO_EARLY,), (NOT_AN_APPLICATION,)}
    ]


def suspects(e: Evidence) -> str:
    """Who may write or end where nobody should: what is preloaded and stands in for nothing."""
    strangers = [file.path for file in e.facts.preload if file.problem is None and file.role is None]
    if strangers:
        verb = "is" if len(strangers) == 1 else "are"
        return f"likely {', '.join(strangers)}, which LD_PRELOAD names and which {verb} none of the shims"
    return f"likely one of LD_PRELOAD: {', '.join(Path(file.path).name for file in e.facts.preload) or 'nothing'}"


def _not_started(e: Evidence) -> Outcome | None:
    """The client ended, or hung, before the first line of its log: in the dynamic linker or in a constructor."""
    if any(line.level for line in e.log.lines) or (e.facts.returncode == 0 and not e.facts.timed_out):
        return None
    status = e.facts.returncode
    if e.facts.timed_out:
        how = "was still starting when the run's time was over"
    else:
        how = f"ended with signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
    objects = [r.text for r in e.of_kind(Kind.MAPPED) if r.pid == e.root]
    return stops(
        f"The client {e.facts.argv[0]} {how}, and had not written a line of its log: {suspects(e)}.",
        "See what the libraries of LD_PRELOAD do when they are loaded (constructors), and leave them out one by one.",
        *[line.text for line in e.log.lines[:3]],
        *[f"trace: last object mapped in the client: {path}" for path in objects[-1:]],
    )


def check_arrival(e: Evidence) -> Outcome:
    """S0, in every generation."""
    preload, link = cuda_preloaded(e), cuda_linked(e)
    evidence = [f"LD_PRELOAD names {f.path}, which {f.problem}" for f in preload_problems(e)]
    evidence += [line.text for line in e.log.find("ld.so", "LD_PRELOAD")]
    if preload is not None:
        evidence.append(f"LD_PRELOAD names {preload.path}")
    if link is not None:
        evidence.append(f"{link.path} leads to {link.real}")
    if preload is None and link is None:
        return _cannot_arrive(e, evidence)
    if not_started := _not_started(e):
        return not_started
    if preload is not None and (link is None or e.facts.generation != "a"):
        absent = _not_in_process(e, preload, evidence)
        if absent is not None:
            return absent
    return _not_serving(e, evidence) or holds(*evidence, *_seen(e))


def _cannot_arrive(e: Evidence, evidence: list[str]) -> Outcome:
    where = ", ".join(e.facts.search) or "no directory"
    if broken := preload_problems(e):
        why = "; ".join(f"{f.path} of LD_PRELOAD {f.problem}" for f in broken)
        remedy = (
            f"Correct LD_PRELOAD: {broken[0].path} has to be a 64-bit x86-64 library that the client's user can read."
        )
    else:
        named = ", ".join(Path(f.path).name for f in e.facts.preload) or "nothing"
        why = f"LD_PRELOAD names {named}, and the CUDA shim, {SHIM_FILE}, is missing (no entry exports cuInit)"
        remedy = f"Put {SHIM_FILE} into LD_PRELOAD"
        remedy += ", or a link libcuda.so.1 to it into a directory in which the client searches."
    return stops(
        f"The shim was never mapped, as it cannot arrive: {why}, and there is no libcuda.so link to it in {where}"
        f"{why_not_by_dlopen(e)}.",
        remedy,
        *evidence,
        f"no delivered libcuda.so file in {where}",
        *wrapper_evidence(e),
    )


def _not_in_process(e: Evidence, preload: File, evidence: list[str]) -> Outcome | None:
    """Preload is the only way in: was the shim in the processes where it is wanted?"""
    if e.facts.generation != "a":
        return _not_in_children(e, preload, evidence)
    if e.facts.audit and e.shim_mapped(e.root) is None and not any(e.of_kind(Kind.INIT, Library.CUDA)):
        return stops(
            f"The shim was never mapped into process {e.facts.argv[0]}, although LD_PRELOAD names {preload.path}.",
            "See why the dynamic linker drops LD_PRELOAD: a program with file capabilities or set-user-ID, or a "
            "static one.",
            *evidence,
        )
    return None


def _not_in_children(e: Evidence, preload: File, evidence: list[str]) -> Outcome | None:
    if not e.started or any(r.pid in e.children for r in e.of_kind(Kind.INIT, Library.CUDA)):
        return None
    if any(e.shim_mapped(pid) for pid in e.children):
        return None
    seen = [p for p in e.facts.processes if p.parent == e.root]
    bare = [p for p in seen if not p.preloaded]
    if not bare and not e.facts.audit:
        return None
    mapped = "the shim was mapped in none of them" if e.children else "none of them left a record in the trace"
    parent = "mapped in the parent" if e.shim_mapped(e.root) else f"preloaded ({preload.path})"
    return stops(
        f"The children were started without the shims: they are {parent}, but of the children in the client's log "
        f"({len(e.started)}) {mapped}: their environment was rebuilt without LD_PRELOAD.",
        "Start children with the inherited environment (LD_PRELOAD, VGPU_HOST, VGPU_TRACE). A link to the shim alone "
        "gets it into a child, but without its host.",
        *evidence,
        e.started[0].text.partition(" cmd=")[0],
        f"trace: children with records: {len(e.children)}",
        f"/proc: children seen: {len(seen)}, with LD_PRELOAD: {len(seen) - len(bare)}",
    )


def _not_serving(e: Evidence, evidence: list[str]) -> Outcome | None:
    """The shim is there, but serves nobody: its host image is refused, or its gate says no."""
    if e.answers_cuda:
        return None
    refused = next(e.of_kind(Kind.REFUSED), None)
    if refused is not None:
        return stops(
            f"image refused: the shim cannot use the host image: {refused.text}.",
            "Write the host image with the version of vgpu-harness that the shims are of, and do not change it "
            "afterwards.",
            *evidence,
            f"trace: refused: {refused.text}",
        )
    denied = denials(e, Library.CUDA, e.deciders)
    if denied and not any(r.result == 0 for r in e.calls("cuInit")):
        return stops(
            f"The process gate of the shim denied the client as {_what(denied[-1])}: {denied[-1].text}.",
            _mend(denied[-1]),
            *evidence,
            f"trace: gate: {denied[-1].text}",
        )
    return _not_seen(e, evidence)


def _what(denial: Record) -> str:
    return "too early" if denial.inputs[0] == TOO_EARLY else "not an application"


def _mend(denial: Record) -> str:
    if denial.inputs[0] == TOO_EARLY:
        return "Let the client ask again later, or start with a smaller gate.calls_before."
    return "Take the rule that names it out of the gate's deny list, or put the program into its allow list."


def _not_seen(e: Evidence, evidence: list[str]) -> Outcome | None:
    """The files of the GPU were not there for a client that looked for them first, and then called no driver."""
    denied = denials(e, Library.SYSCALL, e.deciders)
    if not denied or any(r.pid in e.deciders for r in e.of_kind(Kind.CALL, Library.CUDA)):
        return None
    last = denied[-1]
    answered = _answered_without_gate(e, last.pid)
    cause = f"The process gate of the file shim denied the client as {_what(last)}: {last.text}"
    remedy = _mend(last)
    if answered:
        asked = f"{answered[0].name} of {answered[0].text}"
        cause += (
            f". But {asked} was answered without asking it: the client could open a file of the GPU that other calls "
            "did not find, and never called the driver"
        )
        remedy = f"Ask the gate before every kind of file call, or before none of them (gate.before_gate). {remedy}"
    else:
        cause += ", so it found no file of the GPU, and never called the driver"
    return stops(
        f"{cause}.",
        remedy,
        *evidence,
        f"trace: gate: {last.text}, {len([r for r in denied if r.pid == last.pid])} times",
        *[f"trace: {r.name} of {r.text} was answered" for r in answered[:3]],
    )


def _answered_without_gate(e: Evidence, pid: int) -> list[Record]:
    """The file calls of process `pid` that were answered before the file shim's gate had said ready."""
    ready = min((r.time_ns for r in e.of_kind(Kind.GATE, Library.SYSCALL) if r.pid == pid and r.inputs[:1] == (READY,)),
                default=None)  # fmt: skip
    return [
        r
        for r in e.of_kind(Kind.CALL, Library.SYSCALL)
        if r.pid == pid and r.result == 0 and (ready is None or r.time_ns < ready)
    ]


def _seen(e: Evidence) -> list[str]:
    """Where the auditor saw the shim."""
    if not e.facts.audit:
        return ["no auditor in this run: what is mapped is not recorded"]
    pids = [pid for pid in dict.fromkeys((e.root, *e.children)) if e.shim_mapped(pid)]
    return [f"trace: the shim is mapped in {len(pids)} of {len({e.root, *e.children})} processes"]

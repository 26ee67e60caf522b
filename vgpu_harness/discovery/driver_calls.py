"""The stages at which the driver itself has the word: S7, S8 and S9, as the traced calls tell them."""

from collections.abc import Sequence

from vgpu_harness.discovery.codes import code_of, described, described_nvml
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.log import Line
from vgpu_harness.discovery.stages import Outcome, holds, stops, undecided
from vgpu_harness.trace import Kind, Library, Record

# What a client calls to describe a device. A failure of one of these ends a backend's process (CU_CHECK aborts).
DESCRIBING = (
    "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute", "cuDeviceGetUuid", "cuDeviceTotalMem",
    "cuMemGetAllocationGranularity",
)  # fmt: skip
MEMORY = ("cuCtxCreate", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuMemGetInfo")


def shown(record: Record) -> str:
    """A call as evidence quotes it: ``cuDeviceGetCount() = 0, out 1``."""
    inputs = ", ".join(str(value) for value in record.inputs)
    outputs = f", out {', '.join(str(value) for value in record.outputs)}" if record.outputs else ""
    text = f", {record.text!r}" if record.text else ""
    return f"trace: {record.name}({inputs}) = {answer(record) if record.result else 0}{outputs}{text}"


def answer(record: Record) -> str:
    """The code that a call answered, with its name in the API that the call is of."""
    return described_nvml(record.result) if record.library == Library.NVML else described(record.result)


def failed(e: Evidence, names: tuple[str, ...]) -> Record | None:
    """The earliest call of one of `names`, in any version, that did not answer 0: what fails after it may follow."""
    bad = (r for name in names for r in e.calls(name, all_versions=True) if r.result != 0)
    return min(bad, key=lambda r: r.time_ns, default=None)


def check_init(e: Evidence) -> Outcome:
    """S7: a process of the client called cuInit, and it answered 0."""
    calls = e.calls("cuInit")
    good = [r for r in calls if r.result == 0]
    if good:
        return holds(shown(good[0]))
    if calls:
        code = code_of(calls[0].result)
        return stops(
            f"cuInit answered {described(calls[0].result)}: {code.meaning}.", code.remedy, shown(calls[0]), *_said(e)
        )
    if e.unreturned("cuInit"):
        words = "trace: cuInit was entered and had not returned when the process ended"
        if e.late:
            return undecided(words)
        return stops("cuInit was entered and never returned.", "See what cuInit waits for, or where it crashed.", words)
    return _never_called(e)


def _said(e: Evidence) -> list[str]:
    lines = (
        *e.log.find("init failure"),
        *e.log.find("failed to initialize CUDA"),
        *e.log.find("initializing cuda driver"),
    )
    return list(dict.fromkeys(line.text for line in lines))


def _never_called(e: Evidence) -> Outcome:
    said = _said(e)
    if ended := _ended(e):
        return ended
    if said:
        bare = [p for p in e.facts.processes if p.parent == e.root and not p.preloaded]
        why = ": a shim without its environment, which was rebuilt for the children" if bare else ""
        drivers = _drivers(e)
        named = f" ({', '.join(drivers)})" if drivers else ""
        return stops(
            f"No call of cuInit is in the trace, and the client says: {said[0]}. A driver library{named} answered that "
            f"writes no trace{why}.",
            "Give the process its environment: without VGPU_HOST a shim answers as a driver without a GPU does. Take "
            "other driver libraries out of LD_LIBRARY_PATH.",
            *said,
            *([f"/proc: children seen without LD_PRELOAD: {len(bare)}"] if bare else []),
        )
    return stops(
        "The shim is mapped and was never called: no cuInit in the trace.",
        "See which library the client's handle is of (the mapped libraries), and what the client did after loading it.",
    )


def _drivers(e: Evidence) -> list[str]:
    """The driver libraries that the auditor saw where the driver should have been called."""
    return list(dict.fromkeys(f.path for pid in e.deciders for f in e.mapped(pid) if f.role == "cuda"))


def _ended(e: Evidence) -> Outcome | None:
    """A process ended with a driver library mapped, of which no call is in the trace."""
    drivers = _drivers(e)
    words = ("failure during", "runner exited", "runner crashed", "llama-server --list-devices failed")
    ends = [line for line in e.log.lines if line.message.startswith(words) and line not in e.late]
    if not drivers or not ends or any(record.pid in e.deciders for record in e.of_kind(Kind.INIT, Library.CUDA)):
        return None
    return stops(
        f"A child ended with the driver library {drivers[0]} mapped, and the trace has no call of it: {ends[0].text}.",
        "If the library is not one of vgpu-harness's, which alone write a trace, run the child's command line in a "
        "debugger: it ends in one of the library's functions or in a constructor.",
        *[line.text for line in ends[:2]],
    )


def check_count(e: Evidence) -> Outcome:
    """S8, the part that all generations share: at least one device, and each call that describes it succeeds."""
    counts = e.calls("cuDeviceGetCount")
    good = [r for r in counts if r.result == 0 and r.outputs[:1] > (0,)]
    if not good and e.unreturned("cuInit"):
        return undecided()
    if not good and counts:
        answer = counts[0]
        if answer.result != 0:
            code = code_of(answer.result)
            return stops(
                f"cuDeviceGetCount answered {described(answer.result)}: {code.meaning}.", code.remedy, shown(answer)
            )
        return stops(
            "cuDeviceGetCount answered 0 devices.",
            "Check CUDA_VISIBLE_DEVICES (empty, -1 or a stale GPU-... hides all devices), and that the host has a GPU.",
            shown(answer),
        )
    if not good:
        return stops(
            "cuInit succeeded, but cuDeviceGetCount was never called.",
            "See the client's log for what it did between cuInit and counting the devices.",
        )
    bad = failed(e, DESCRIBING)
    if bad is not None and not e.answers_cuda:
        code = code_of(bad.result)
        return stops(
            f"{bad.name} answered {described(bad.result)}: {code.meaning}.",
            f"Let {bad.name} answer 0 for each device that was counted. If the driver is NVIDIA's own: {code.remedy}",
            shown(bad),
        )
    names = e.calls("cuDeviceGetName")
    return holds(shown(good[0]), *[shown(r) for r in names[:1]])


def check_ended(e: Evidence, failures: Sequence[Line]) -> Outcome | None:
    """A child that ended after the driver had answered, and before it had told the client of a device."""
    calls = [r for r in e.of_kind(Kind.CALL, Library.CUDA) if r.pid in e.deciders]
    if e.answers_cuda or not failures or not calls or not any(r.result == 0 and r.name == "cuInit" for r in calls):
        return None
    inside = [r.name for r in e.hanging if r.pid in e.deciders]
    where = f"inside {inside[0]}" if inside else f"after {shown(calls[-1]).removeprefix('trace: ')}"
    return stops(
        f"A child ended {where}, before it had told the client of its devices: {failures[0].text}.",
        "See the child's own lines in the client's log, and run its command line in a debugger.",
        *dict.fromkeys(line.text for line in failures),
        f"last driver call: {shown(calls[-1]).removeprefix('trace: ')}",
    )


def check_memory(e: Evidence) -> Outcome:
    """S9, from the traced calls: the context is made and memory is read."""
    bad = failed(e, MEMORY)
    if bad is not None and not e.answers_cuda:
        code = code_of(bad.result)
        return stops(f"{bad.name} answered {described(bad.result)}: {code.meaning}.", code.remedy, shown(bad))
    read = [
        r
        for name in ("nvmlDeviceGetMemoryInfo", "cuMemGetInfo")
        for r in e.calls(name, all_versions=True)
        if r.result == 0
    ]
    return holds(*[shown(r) for r in read[:1]])

"""Findings: what is wrong although, or besides that, discovery answered. Each is one sentence with its evidence."""

from collections.abc import Iterator

from vgpu_harness.discovery.answer import devices_of, driver_address
from vgpu_harness.discovery.arrival import denials, preload_problems, suspects
from vgpu_harness.discovery.backend import backend_problems, in_words, lost_backends
from vgpu_harness.discovery.driver_calls import answer, shown
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.findings_c import lost_by_probe, probe_findings, stray_device
from vgpu_harness.trace import Kind, Library, Record

SLOW_NS = 1_000_000_000
"""A cuInit that takes longer is worth a word: each child of generations B and C calls it anew within its limits."""

# What the clients log where a call gave them nothing, and what would have given it.
_LOST: tuple[tuple[str, str, str], ...] = (
    ("id", "0", "Answer cuDeviceGetUuid"),
    ("name", "", "Answer cuDeviceGetName"),
    ("compute", "0.0", "Answer cuDeviceGetAttribute 75 and 76"),
    ("driver", "0.0", "Answer cuDriverGetVersion"),
    ("total", "0 B", "Answer the memory size"),
    ("available", "0 B", "Answer the free memory"),
)

# A CUDA runtime asks for the current context's device, and takes "there is none" for an answer.
_ASKED = frozenset({("cuCtxGetDevice", 201)})

# What generation B asks of NVML for a device's memory, in its order; a failure is told by `_nvml`.
_NVML_STEPS = ("nvmlInit_v2", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo")
_NVML_NOT_FOUND = 6

_TOTALS = ("cuMemGetInfo", "nvmlDeviceGetMemoryInfo")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def findings_of(e: Evidence) -> tuple[str, ...]:
    """All findings, in a fixed order, each once."""
    parts = (
        _preload,
        _foreign,
        _dropped,
        _gate,
        _slow,
        *((probe_findings, _lost_fields, _backends, _memory, _nvml, _tolerated) if e.answers_cuda else ()),
    )
    return tuple(dict.fromkeys(text for part in parts for text in part(e)))


def _preload(e: Evidence) -> Iterator[str]:
    for file in preload_problems(e):
        yield f"LD_PRELOAD names {file.path}, which {file.problem}; the dynamic linker ignores it. Correct LD_PRELOAD."


def _foreign(e: Evidence) -> Iterator[str]:
    for pid in (e.root, *e.children):
        mapped = e.mapped(pid)
        shim = next((f for f in mapped if f.delivered and f.role == "cuda"), None)
        for file in mapped:
            if file.role == "cuda" and not file.delivered:
                beside = f"beside the shim {shim.path}" if shim else "and not the shim"
                yield (
                    f"Another CUDA driver library is mapped, {file.path}, {beside}: its functions may answer instead. "
                    "Take its directory out of LD_LIBRARY_PATH."
                )
        copies = {f.identity: f.path for f in mapped if f.delivered and f.role == "cuda"}
        if len(copies) > 1:
            yield (
                f"Two copies of the CUDA shim are mapped in one process, each with a state of its own: "
                f"{', '.join(copies.values())}. Deliver one file only, and links to it instead of copies."
            )


def _dropped(e: Evidence) -> Iterator[str]:
    if e.dropped:
        yield f"The trace was full: {e.dropped} records were dropped, so evidence is missing. Raise --trace-size."


def _gate(e: Evidence) -> Iterator[str]:
    if not e.answers_cuda:
        return
    for library in (Library.CUDA, Library.NVML, Library.SYSCALL):
        for denial in denials(e, library, e.seekers):
            yield f"The process gate of the {library.name} shim denied a call of the client: {denial.text}."
    for refused in e.of_kind(Kind.REFUSED):
        yield f"A shim refused the host image: {refused.text}."


def _slow(e: Evidence) -> Iterator[str]:
    for entered in e.of_kind(Kind.ENTERED):
        returned = [
            r for r in e.calls(entered.name, everywhere=True) if r.pid == entered.pid and r.time_ns >= entered.time_ns
        ]
        if returned and returned[0].time_ns - entered.time_ns > SLOW_NS:
            seconds = (returned[0].time_ns - entered.time_ns) / 1e9
            yield (
                f"{entered.name} took {seconds:.1f} s: clients with a time limit (30 s, for all that a child does) "
                "may give up. Make the driver's initialisation faster."
            )


def _lost_fields(e: Evidence) -> Iterator[str]:
    remedy = "Answer cuDeviceGetAttribute 33, 34 and 50 (bus, device, domain)."
    explained = lost_by_probe(e)
    for device in devices_of(e):
        which = f"device {device['id']}"
        answered = driver_address(e, device)
        if not device["pci_id"] and "pci_id" in explained:
            pass
        elif not device["pci_id"]:
            yield f"The client's answer has no PCI address for {which}. {remedy}"
        elif answered and answered != device["pci_id"]:
            yield f"The client has {which} at {device['pci_id']}, and the driver at {answered}. {remedy}"
        for field, lost, how in _LOST:
            if (device[field] or "") in {"", lost} and field not in explained and not _is_ordinal(e, field):
                yield f"The client's answer has lost a field of {which}: {field}={device[field] or ''!r}. {how}."
    counted = [r.outputs[0] for r in e.calls("cuDeviceGetCount") if r.result == 0 and r.outputs]
    kept = len(devices_of(e))
    if counted and max(counted) > kept:
        yield f"The driver counted {max(counted)} devices and the client kept {kept}. See its log for the others."
    if counted and max(counted) < kept:
        yield (
            f"The client has {kept} devices, and the driver counted {max(counted)}: it took a line for a device that "
            f"is none{stray_device(e)}; {suspects(e)}. Write nothing to stdout or stderr in a preloaded library."
        )


def _is_ordinal(e: Evidence, field: str) -> bool:
    """Generation C numbers its devices from 0, where the others have a UUID and A puts 0 for a lost one."""
    return e.facts.generation == "c" and field == "id"


def _backends(e: Evidence) -> Iterator[str]:
    for problem in backend_problems(e):
        yield f"{problem}; another backend answered. Replace that file, or deliver what it needs."
    for needs in lost_backends(e):
        yield f"{in_words(needs)}, which {needs.client} needs; the client answered all the same. Export it."


def _memory(e: Evidence) -> Iterator[str]:
    """Two ways to ask for a device's memory agree.

    CUDA counts what NVML counts, less what the driver keeps for itself: never more, and not far less.
    """
    cuda = [r.outputs[0] for r in e.calls("cuDeviceTotalMem", all_versions=True) if r.result == 0 and r.outputs]
    name = "cuMemGetInfo" if e.facts.generation == "c" else "nvmlDeviceGetMemoryInfo"
    other = [r.outputs[1] for r in e.calls(name, all_versions=True) if r.result == 0 and len(r.outputs) > 1]
    if other and cuda and not 0.5 * max(other) <= max(cuda) <= max(other):
        yield (
            f"{name} and cuDeviceTotalMem disagree on memory: {max(other)} and {max(cuda)} bytes in total. Answer the "
            "same device's memory in both."
        )
    answered = [*cuda, *(r.outputs[1] for name in _TOTALS for r in _good(e, name) if len(r.outputs) > 1)]
    for device in devices_of(e):
        total = _bytes(device["total"] or "")
        if answered and total and not any(0.9 * known <= total <= 1.1 * known for known in answered):
            yield (
                f"The client has device {device['id']} ({device['name']}) with {device['total']}, and the driver "
                f"answered {max(answered)} bytes: the client read its memory from another text. See the name that "
                "cuDeviceGetName answers, and what preloaded libraries print."
            )


def _good(e: Evidence, name: str) -> list[Record]:
    return [r for r in e.calls(name, all_versions=True) if r.result == 0]


def _bytes(text: str) -> float:
    """Bytes of ``79.2 GiB``, as clients log them; 0 for another text."""
    number, _, unit = text.partition(" ")
    return float(number) * _UNITS[unit] if unit in _UNITS and number.replace(".", "", 1).isdecimal() else 0.0


def _nvml(e: Evidence) -> Iterator[str]:
    """Generation B reads memory from NVML, by the UUID that CUDA answered; failing that, by a context of its own."""
    if e.facts.generation != "b" or any(r.result == 0 for r in e.calls("nvmlDeviceGetMemoryInfo")):
        return
    if e.log.first("utilizing NVML memory reporting"):
        return  # by an NVML that writes no trace
    asked = [r for r in e.calls("nvmlDeviceGetHandleByUUID") if r.result == _NVML_NOT_FOUND]
    calls = [r for name in _NVML_STEPS for r in e.calls(name) if r.result != 0]
    context = [r for name in ("cuDevicePrimaryCtxRetain", "cuMemGetInfo_v2") for r in e.calls(name)[:1]]
    way = f" ({'; '.join(shown(r) for r in context)})" if context else ""
    if asked:
        yield (
            f"NVML does not know the UUID that CUDA answers: {shown(asked[0])}. So the client made a context and took "
            f"memory from CUDA{way}. Answer the same UUID in nvmlDeviceGetUUID and cuDeviceGetUuid."
        )
        return
    if calls:
        yield (
            f"NVML was not used: {shown(calls[0])}. So the client made a context and took memory from CUDA{way}. Let "
            f"{calls[0].name} answer 0."
        )
        return
    missing = [
        f"{n.library} does not export {', '.join(n.missing)}"
        for n in e.facts.needs
        if n.missing and _is_nvml(e, n.library)
    ]
    why = missing[0] if missing else "no successful call of nvmlDeviceGetMemoryInfo is in the trace"
    yield (
        f"NVML was not used: {why}. So the client made a context and took memory from CUDA{way}. Deliver the "
        "NVML shim (libvgpu-nvml.so), a library with the SONAME libnvidia-ml.so.1."
    )


def _is_nvml(e: Evidence, path: str) -> bool:
    return path in e.files and e.files[path].role == "nvml"


def _tolerated(e: Evidence) -> Iterator[str]:
    """Calls that failed and that the client did without."""
    seen: set[tuple[str, int]] = set()
    for record in e.of_kind(Kind.CALL):
        if record.result == 0 or record.pid not in e.seekers:
            continue
        if (record.name, record.result) in _ASKED or (e.facts.generation == "b" and record.name in _NVML_STEPS):
            continue
        if record.library not in {Library.CUDA, Library.NVML} or (record.name, record.result) in seen:
            continue
        seen.add((record.name, record.result))
        yield f"{record.name} answered {answer(record)}; the client went on without it."

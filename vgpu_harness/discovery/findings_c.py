"""Findings of generation C, whose third child (`ollama gpu-discover`) may be lost while the device survives.

That child's JSON brings the device's address and the driver's version. Its entries from ggml and from the driver are
joined by the text of the PCI address, and the driver's are discarded where no text is the same.
"""

import re
from collections.abc import Iterator

from vgpu_harness.discovery.answer import devices_of
from vgpu_harness.discovery.arrival import suspects
from vgpu_harness.discovery.driver_calls import shown
from vgpu_harness.discovery.evidence import PROBE_FAILED, Evidence
from vgpu_harness.discovery.log import Line
from vgpu_harness.trace import Record

# llama_server.go of Ollama v0.33.0: a device in what --list-devices prints.
LISTED = re.compile(r"^\s+(.+?):\s+(.+?)\s+\((\d+)\s+MiB,\s+(\d+)\s+MiB\s+free\)")
TOO_OLD = "NVIDIA driver too old"
_UNFILTERED = (
    "llama-server discovery: system_info line not found",
    "llama-server discovery: could not determine",
)
UNVERIFIED = "could not verify NVIDIA driver compatibility"
_NVML_FORM = re.compile(r"[0-9a-fA-F]{8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.")
_SHOWN = 60
"""Characters of stray output that a finding quotes."""

# Of the final line. Without the driver's entry the client logs the CUDA runtime's version, which it takes from the name
# of the runtime's file (discover/llama_server.go of Ollama v0.33.0).
_BY_PROBE = ("pci_id", "driver")
_BY_DRIVER = ("driver",)


def lost_by_probe(e: Evidence) -> frozenset[str]:
    """The fields of the final line whose loss a finding of this module tells."""
    if e.facts.generation != "c":
        return frozenset()
    if e.log.messages(PROBE_FAILED):
        return frozenset(_BY_PROBE)
    return frozenset(_BY_DRIVER if _misnamed(e) else ())


def probe_findings(e: Evidence) -> Iterator[str]:
    """What is lost of an answer that is cuda."""
    if e.facts.generation == "c":
        yield from _unreadable(e)
        yield from _discarded(e)
        yield from _unverified(e)
        yield from _dropped(e)
        yield from _unfiltered(e)


def _lost(e: Evidence, fields: tuple[str, ...]) -> str:
    """What the final lines have for `fields`, which are lost whatever they have."""
    devices = [device for device in devices_of(e) if "pci_id" not in fields or not device["pci_id"]]
    values = [f"{name}={device[name] or chr(34) * 2}" for device in devices[:1] for name in fields]
    if not values:
        return "The final line has an address all the same, of another directory's answer"
    note = "the driver's version there is the CUDA runtime's, and NVIDIA's is not checked"
    return f"Lost of the final line: {', '.join(fields)} ({', '.join(values)}; {note})"


def _unreadable(e: Evidence) -> Iterator[str]:
    lines = e.log.messages(PROBE_FAILED)
    if not lines:
        return
    written = next((line.strip() for line in e.stdout.splitlines() if line.strip()), "")
    if written:
        text = written if len(written) <= _SHOWN else written[:_SHOWN] + "..."
        why = f"something in the client's processes writes to stdout ({text!r}); {suspects(e)}"
        remedy = "Write nothing to stdout in a preloaded library: this child's stdout has to be JSON."
    else:
        hanging = [r.name for r in e.hanging if r.pid not in e.deciders]
        said = [text for text in lines[0].fields.get("stderr", "").splitlines() if text.startswith("Error: ")]
        remedy = "See what gpu-discover answers, and how long it takes (15 s are allowed)."
        if hanging:
            why = f"{hanging[0]} was entered and had not returned"
        elif said:
            why, remedy = f"it says {said[-1]!r}", f"See why, in the process of {lines[0].fields.get('libDirs', '')}."
        elif "signal:" in lines[0].fields.get("error", ""):
            why = f"the process crashed; {suspects(e)}"
            remedy = "Run `ollama gpu-discover` by hand, with the same environment, in a debugger."
        else:
            why = "the client gave its answer up"
    yield f"The answer of gpu-discover is lost ({_error(lines[0])}): {why}. {_lost(e, _BY_PROBE)}. {remedy}"


def _error(line: Line) -> str:
    """The error alone: the line has all of the child's stderr too."""
    return f"{line.message}: {line.fields.get('error', '')}"


def _misnamed(e: Evidence) -> Record | None:
    """The first answer of cuDeviceGetPCIBusId that is not the address of its device; letters of either case are."""
    answers = (r for r in e.calls("cuDeviceGetPCIBusId", everywhere=True) if r.result == 0 and r.text)
    return next((r for r in answers if r.text.lower() not in _addresses(e, r)), None)


def _addresses(e: Evidence, asked: Record) -> set[str]:
    """What cuDeviceGet answered for the device that `asked` is about; failing that, every address that is known."""
    gets = [r for r in e.calls("cuDeviceGet", everywhere=True) if r.result == 0 and r.text]
    own = {r.text.lower() for r in gets if r.pid == asked.pid and r.inputs[:1] == asked.inputs[1:2]}
    return own or {r.text.lower() for r in gets} | {(device["pci_id"] or "").lower() for device in devices_of(e)}


def _discarded(e: Evidence) -> Iterator[str]:
    answer = _misnamed(e)
    if answer is not None:
        pci = ", ".join(sorted(_addresses(e, answer)))
        remedy = (
            "Answer cuDeviceGetPCIBusId with a domain of four digits (0000:00:05.0); eight is NVML's form."
            if _NVML_FORM.match(answer.text)
            else "Answer cuDeviceGetPCIBusId with the address of that very device, as domain:bus:device.function."
        )
        yield (
            f"The driver's entry of gpu-discover is discarded: {shown(answer)} is not the address that ggml has, "
            f"{pci}, and the two are compared as texts. {_lost(e, _BY_DRIVER)}. {remedy}"
        )


def _unverified(e: Evidence) -> Iterator[str]:
    lines = [line for line in e.log.lines if line.message.startswith(UNVERIFIED)]
    if not lines or lost_by_probe(e):
        return  # the loss of the driver's entry has been told
    why, remedy = _why_unverified(e)
    yield f"The client could not check the driver's version ({lines[0].text}): {why}. {remedy}"


def _why_unverified(e: Evidence) -> tuple[str, str]:
    """The first thing that went wrong on gpu-discover's way to the driver's version, and what to change."""
    probes = [pid for pid in e.seekers if pid not in e.deciders]
    for name in ("cuInit", "nvmlInit_v2", "nvmlSystemGetDriverVersion", "cuDeviceGetCount"):
        bad = [r for r in e.calls(name, everywhere=True) if r.pid in probes and r.result != 0]
        if bad:
            return f"in gpu-discover, {shown(bad[0])}", f"Let {name} answer 0 each time that it is called."
    lacks = [n for n in e.facts.needs if n.missing and n.optional]
    if lacks:
        names = ", ".join(lacks[0].missing)
        return f"{lacks[0].library} does not export {names}", f"Export {names} from it."
    versions = [r for r in e.calls("nvmlSystemGetDriverVersion", everywhere=True) if r.pid in probes]
    if versions:
        return (
            f"{shown(versions[0])}, which is no version to it",
            "Answer nvmlSystemGetDriverVersion with a version that begins with the branch's number, as in 580.95.05.",
        )
    return (
        "no call of nvmlSystemGetDriverVersion is in the trace",
        "Deliver the NVML shim (libvgpu-nvml.so), a library with the SONAME libnvidia-ml.so.1.",
    )


def _dropped(e: Evidence) -> Iterator[str]:
    """One directory's device was dropped, and another's kept."""
    for line in e.log.lines:
        if line.level and line.message.startswith(TOO_OLD):
            yield (
                f"The client dropped a device of one directory: {line.text}; another directory's was kept. Answer "
                "nvmlSystemGetDriverVersion with a driver's version that has the CUDA version of cuDriverGetVersion."
            )
            return


def _unfiltered(e: Evidence) -> Iterator[str]:
    """What the client's own warnings say of llama-server's output, if that came to its end."""
    if e.log.messages("failure during llama-server GPU discovery"):
        return
    for line in e.log.lines:
        if line.level == "WARN" and line.message.startswith(_UNFILTERED):
            yield (
                f"The client could not check whether the backend is compiled for the device ({line.text}): "
                f"llama-server's output is not as it expects; {suspects(e)}. Write nothing to stderr in a preloaded "
                "library."
            )
            return


def stray_device(e: Evidence) -> str:
    """The line of another library that the client took for a device, if the log shows one."""
    names = {r.text for r in e.calls("cuDeviceGetName") if r.result == 0}
    for line in e.log.lines:
        listed = None if line.level else LISTED.match(line.raw)
        if listed is not None and listed[2] not in names:
            return f" ({line.text!r})"
    return ""

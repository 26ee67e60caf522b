"""Findings of generation C, whose third child (`ollama gpu-discover`) may be lost while the device survives.

That child's JSON brings the device's address and the driver's version. Its entries from ggml and from the driver are
joined by the text of the PCI address, and the driver's are discarded where no text is the same.
"""

from collections.abc import Iterator
from pathlib import Path

from vgpu_harness.discovery.answer import devices_of
from vgpu_harness.discovery.driver_calls import shown
from vgpu_harness.discovery.evidence import PROBE_FAILED, Evidence
from vgpu_harness.discovery.log import Line
from vgpu_harness.trace import Record

UNVERIFIED = "could not verify NVIDIA driver compatibility"
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


def _lost(e: Evidence, fields: tuple[str, ...]) -> str:
    """What the final lines have for `fields`, which are lost whatever they have."""
    values = [f"{name}={device[name] or chr(34) * 2}" for device in devices_of(e)[:1] for name in fields]
    note = "the driver's version there is the CUDA runtime's, and NVIDIA's is not checked"
    return f"Lost of the final line: {', '.join(fields)} ({', '.join(values)}; {note})"


def _unreadable(e: Evidence) -> Iterator[str]:
    lines = e.log.messages(PROBE_FAILED)
    if not lines:
        return
    written = next((line.strip() for line in e.stdout.splitlines() if line.strip()), "")
    if written:
        text = written if len(written) <= _SHOWN else written[:_SHOWN] + "..."
        why = f"something in the client's processes writes to stdout ({text!r}); {_source(e)}"
        remedy = "Write nothing to stdout in a preloaded library: this child's stdout has to be JSON."
    else:
        hanging = [r.name for r in e.hanging if r.pid not in e.deciders]
        why = f"{hanging[0]} was entered and had not returned" if hanging else "the client gave its answer up"
        remedy = "See what gpu-discover answers, and how long it takes (15 s are allowed)."
    yield f"The answer of gpu-discover is lost ({_error(lines[0])}): {why}. {_lost(e, _BY_PROBE)}. {remedy}"


def _error(line: Line) -> str:
    """The error alone: the line has all of the child's stderr too."""
    return f"{line.message}: {line.fields.get('error', '')}"


def _source(e: Evidence) -> str:
    """Who it may be: what is preloaded and stands in for nothing."""
    strangers = [file.path for file in e.facts.preload if file.problem is None and file.role is None]
    if strangers:
        return f"likely {', '.join(strangers)}, which LD_PRELOAD names and which is none of the shims"
    return f"likely one of LD_PRELOAD: {', '.join(Path(file.path).name for file in e.facts.preload)}"


def _misnamed(e: Evidence) -> Record | None:
    """The first answer of cuDeviceGetPCIBusId that is the address of no device."""
    known = {device["pci_id"] for device in devices_of(e)} | {
        r.text for r in e.calls("cuDeviceGet", everywhere=True) if r.result == 0
    }
    answers = (r for r in e.calls("cuDeviceGetPCIBusId", everywhere=True) if r.result == 0 and r.text)
    return next((r for r in answers if r.text not in known), None)


def _discarded(e: Evidence) -> Iterator[str]:
    answer = _misnamed(e)
    if answer is not None:
        pci = devices_of(e)[0]["pci_id"]
        yield (
            f"The driver's entry of gpu-discover is discarded: {shown(answer)} is not the address that ggml has, "
            f"{pci}, and the two are compared as texts. {_lost(e, _BY_DRIVER)}. Answer cuDeviceGetPCIBusId with a "
            "domain of four digits (0000:00:05.0); eight is NVML's form."
        )


def _unverified(e: Evidence) -> Iterator[str]:
    lines = [line for line in e.log.lines if line.message.startswith(UNVERIFIED)]
    if not lines or lost_by_probe(e):
        return  # the loss of the driver's entry has been told
    versions = e.calls("nvmlSystemGetDriverVersion", everywhere=True)
    why = shown(versions[0]) if versions else "no call of nvmlSystemGetDriverVersion is in the trace"
    yield (
        f"The client could not check the driver's version ({lines[0].text}): {why}. Deliver the NVML shim "
        "(libvgpu-nvml.so), a library with the SONAME libnvidia-ml.so.1."
    )

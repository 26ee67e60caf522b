"""Stage S6: does the CUDA runtime that a backend links start on the driver?

cudaGetDeviceCount is the backend's first call. The runtime then looks the driver's functions up by cuGetProcAddress,
asks for the driver's version and calls cuInit; NVIDIA's own goes on to private tables of the driver
(cuGetExportTable), before it counts the devices. What it answers if it gives up stands in the client's log in words.
"""

import re
from collections.abc import Callable, Iterator

from vgpu_harness.discovery.clients import RUNTIME_SYMBOLS
from vgpu_harness.discovery.codes import described, runtime_code
from vgpu_harness.discovery.driver_calls import shown
from vgpu_harness.discovery.evidence import Evidence
from vgpu_harness.discovery.stages import Outcome, holds, stops, undecided
from vgpu_harness.trace import Kind, Library, Record

FAILED = "failed to initialize CUDA: "
FOUND = "ggml_cuda_init: found "

# Names as ZLUDA's sources have them; the order in which NVIDIA's libcudart 12.8 and 13.0 ask is measured.
TABLES = {
    "6bd5fb6c": "CUDART_INTERFACE",
    "a094798c": "TOOLS_RUNTIME_CALLBACK_HOOKS",
    "42d85a81": "TOOLS_TLS",
    "c693336e": "CONTEXT_LOCAL_STORAGE",
    "263e8860": "CONTEXT_CHECKS",
    "d4082055": "INTEGRITY_CHECK",
}
_SUCCESS = 0
_INTEGRITY = 103
_LOOKUPS = ("cuGetProcAddress_v2", "cuGetProcAddress")
# What cuGetProcAddress knows a symbol by: its name without the version at the end.
_NEEDED = frozenset(re.sub(r"_v\d+$", "", name) for name in RUNTIME_SYMBOLS) | {"cuGetExportTable"}


def check_runtime(e: Evidence) -> Outcome:
    """S6: the runtime got through its start in one child; else why not, unless a later stage is to blame."""
    started = e.log.first(FOUND)
    counted = [r for pid in e.deciders for r in _of(e, pid, "cuDeviceGetCount")]
    stopped = None if started is not None else _first(e, _tables) or _first(e, _lookup)
    if stopped is None and (started is not None or counted):
        lookups = sum(len(_of(e, pid, *_LOOKUPS)) for pid in e.deciders)
        versions = [r for pid in e.deciders for r in _of(e, pid, "cuDriverGetVersion")]
        return holds(
            *([started.text] if started else []),
            *[shown(r) for r in versions[:1]],
            *([f"trace: {lookups} calls of cuGetProcAddress"] if lookups else []),
        )
    # A cuInit that failed or hangs is a later stage's.
    return stopped or _first(e, _version) or undecided()


def _first(e: Evidence, reason: Callable[[Evidence, int], Outcome | None]) -> Outcome | None:
    return next((outcome for pid in e.deciders if (outcome := reason(e, pid)) is not None), None)


def _of(e: Evidence, pid: int, *names: str) -> list[Record]:
    return [r for r in e.of_kind(Kind.CALL, Library.CUDA) if r.pid == pid and r.name in names]


def _said_text(e: Evidence) -> str:
    """What the client says that cudaGetDeviceCount failed with, in words; "" if it says nothing."""
    line = e.log.first(FAILED)
    return "" if line is None else line.raw.partition(FAILED)[2].strip()


def _answered(e: Evidence) -> str:
    """The same as a sentence, with the number."""
    text = _said_text(e)
    code = runtime_code(text)
    if not text:
        return "cudaGetDeviceCount failed"
    return f"cudaGetDeviceCount answered {text!r}" if code is None else f"cudaGetDeviceCount answered {code} ({text})"


def _evidence(e: Evidence, pid: int, *records: Record) -> Iterator[str]:
    """The records, the client's line, and the process's last call of the driver."""
    calls = list(e.of_kind(Kind.CALL, Library.CUDA))
    yield from (shown(r) for r in records)
    line = e.log.first(FAILED)
    if line is not None:
        yield line.text
        yield _answered(e)
    for last in [r for r in calls if r.pid == pid][-1:]:
        yield f"last driver call of process {pid}: {shown(last).removeprefix('trace: ')}"


def _tables(e: Evidence, pid: int) -> Outcome | None:
    """NVIDIA's own runtime: cuInit is over, and a private table is not what it must be."""
    good = [r for r in _of(e, pid, "cuInit") if r.result == _SUCCESS]
    asked = [r for r in _of(e, pid, "cuGetExportTable") if good and r.time_ns >= good[0].time_ns]
    answered = _answered(e)
    refused = next((r for r in asked if r.result != _SUCCESS), None)
    remedy = (
        "Nothing is to be changed in the shim: these tables are NVIDIA's own business and no stand-in for the driver "
        "has them. For tests of discovery use the stand-ins of libcudart and libcublas, which are the default (leave "
        "--libraries out, or these two files out of its directory)."
    )
    if refused is not None:
        return stops(
            f"NVIDIA's own CUDA runtime stopped at the driver's private export tables: cuGetExportTable answered "
            f"{described(refused.result)} for {table_name(refused.text)}, and so {answered}.",
            remedy,
            *_evidence(e, pid, refused),
        )
    if asked and runtime_code(_said_text(e)) == _INTEGRITY:
        return stops(
            f"NVIDIA's own CUDA runtime stopped at its integrity check, behind the private export table "
            f"{table_name(asked[-1].text)}: {answered}.",
            remedy,
            *_evidence(e, pid, asked[-1]),
        )
    return None


def table_name(uuid: str) -> str:
    """The UUID of an export table, with its name if it has a known one."""
    name = TABLES.get(uuid[:8])
    return f"{uuid} ({name})" if name else uuid


def _lookup(e: Evidence, pid: int) -> Outcome | None:
    """A function that the runtime needs cannot be obtained."""
    calls = [r for r in _of(e, pid, *_LOOKUPS) if r.text in _NEEDED or not r.text]
    refused = next((r for r in calls if r.result != _SUCCESS or r.outputs[-1:] > (0,)), None)
    counts = _of(e, pid, "cuDeviceGetCount")
    if refused is None or _of(e, pid, "cuDeviceGet") or any(r.result or r.outputs[:1] == (0,) for r in counts):
        return None  # it got further, or the count itself is to blame
    name = refused.text or "its functions"
    return stops(
        f"The CUDA runtime could not obtain {name} from the driver ({shown(refused).removeprefix('trace: ')}), and so "
        f"{_answered(e)}.",
        f"Let cuGetProcAddress answer {name} for the version that the runtime asks for.",
        *_evidence(e, pid, refused),
    )


def _version(e: Evidence, pid: int) -> Outcome | None:
    """The driver's version is too low for the runtime: it never comes to cuInit."""
    versions = _of(e, pid, "cuDriverGetVersion")
    if not versions or _of(e, pid, "cuInit") or any(r.pid == pid for r in e.unreturned("cuInit")):
        return None
    answer = versions[0]
    value = described(answer.result) if answer.result or not answer.outputs else str(answer.outputs[0])
    why = "driver's version is too low for this CUDA runtime"
    if answer.result:
        why = "CUDA runtime did not get the driver's version"
    return stops(
        f"The {why}: cuDriverGetVersion answered {value}, cuInit was never called, and {_answered(e)}.",
        "Answer a driver version of the runtime's CUDA major or later (12000 for cuda_v12, 13000 for cuda_v13).",
        *_evidence(e, pid, answer),
    )

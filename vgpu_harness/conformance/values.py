"""What a library says of its devices, where its initialisation succeeds: attributes, texts, and NVML's simple getters.

Which getters are simple is read off this package's own list of NVML: those that take a device and then only room for
numbers, for one text and its size, or for one structure of numbers and texts that has no version.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vgpu_harness.conformance.probes import INIT, Answer, Prober, parsed

Value = int | float | str | list["Value"] | dict[str, "Value"] | None
Device = dict[str, tuple[Answer, Value]]
"""By call, as in "cuDeviceGetAttribute 75": what came of it, and its output; None: not written, or not kept."""

ATTRIBUTES = range(1, 201)
"""Numbers of CUdevice_attribute; cuda.h 13.5 ends below 150, a newer driver may know more."""

_TEXT, _POISON, _DEVICES_MAX = 96, 0xA5, 32

_VOLATILE = re.compile(
    r"^nvml(?!.*Supported).*("
    r"Clock(?!Offset)|Temperature|MemoryInfo|MemoryUsage|BAR1|Utilization|Power(?!Management|Source)|Energy|FanSpeed"
    r"|Throughput|Replay|PerformanceState|Processes|Samples|Retired|Rows|Violation|Curr|Reasons|PcieSpeed|FlushTime)"
)
"""Of what these functions answer, the codes are compared and not the values: they differ from minute to minute."""


@dataclass(frozen=True)
class _Call:
    label: str
    task: str
    read: Callable[[list[bytes]], Value]


def is_volatile(label: str) -> bool:
    """May the value of this call differ from one run to the next, on one machine?"""
    return _VOLATILE.search(label) is not None


def init_code(prober: Prober) -> Answer:
    """What the initialisation answers."""
    return parsed(prober.ask(["child before", f"call {INIT[prober.api]}"])[0])[0]


def version(prober: Prober) -> int | str | None:
    """cuDriverGetVersion, nvmlSystemGetNVMLVersion: what the library says without being initialised; None: nothing."""
    function = "cuDriverGetVersion o4" if prober.api == "cuda" else f"nvmlSystemGetNVMLVersion o{_TEXT} i{_TEXT}"
    code, outputs = parsed(prober.ask(["child before", f"call {function}"])[0])
    if code != 0:
        return None
    return int.from_bytes(outputs[0], "little") if prober.api == "cuda" else _text(outputs[0])


def devices(prober: Prober) -> list[Device]:
    """What the library says of each device; none where its initialisation fails."""
    count_of = {"cuda": "cuDeviceGetCount", "nvml": "nvmlDeviceGetCount_v2"}[prober.api]
    code, outputs = parsed(prober.ask(["child after", f"call {count_of} o4"])[0])
    count = int.from_bytes(outputs[0], "little") if code == 0 else 0
    handle = {"cuda": "cuDeviceGet o4 i{}", "nvml": "nvmlDeviceGetHandleByIndex_v2 i{} o8"}[prober.api]
    numbers = range(min(count, _DEVICES_MAX))
    tasks = ["setup " + handle.format(i) for i in numbers] + ["child after"]
    calls = {i: list(_cuda_calls(f"r{i}") if prober.api == "cuda" else _nvml_calls(f"r{i}")) for i in numbers}
    tasks += [f"call {call.task}" for i in numbers for call in calls[i]]
    answers = iter(prober.ask(tasks) if calls else [])
    return [{call.label: _kept(call, next(answers)) for call in calls[i]} for i in numbers]


def _kept(call: _Call, line: str) -> tuple[Answer, Value]:
    code, outputs = parsed(line)
    return code, call.read(outputs) if code == 0 and not is_volatile(call.label) else None


def _cuda_calls(device: str) -> Iterator[_Call]:
    yield _Call("cuDeviceGetName", f"cuDeviceGetName o{_TEXT} i{_TEXT} {device}", lambda out: _text(out[0]))
    yield _Call("cuDeviceGetPCIBusId", f"cuDeviceGetPCIBusId o{_TEXT} i{_TEXT} {device}", lambda out: _text(out[0]))
    yield _Call("cuDeviceGetUuid_v2", f"cuDeviceGetUuid_v2 o16 {device}", lambda out: out[0].hex())
    yield _Call("cuDeviceTotalMem_v2", f"cuDeviceTotalMem_v2 o8 {device}", lambda out: _number(out[0]))
    for attribute in ATTRIBUTES:
        yield _Call(
            f"cuDeviceGetAttribute {attribute}",
            f"cuDeviceGetAttribute o4 i{attribute} {device}",
            lambda out: _number(out[0], signed=True),
        )


def _nvml_calls(device: str) -> Iterator[_Call]:
    from vgpu_harness._wire import ffi, lib

    for entry in sorted(name for name in dir(lib) if name.startswith("vgpu_call_nvmlDeviceGet")):
        name = entry.removeprefix("vgpu_call_")
        _, *arguments = ffi.typeof(getattr(lib, entry)).args
        if len(arguments) < 2 or arguments[0].cname != "nvmlDevice_t" and "nvmlDevice_st" not in arguments[0].cname:  # noqa: RUF021
            continue
        if [argument.cname for argument in arguments[1:]] == ["char *", "unsigned int"]:
            yield _Call(name, f"{name} {device} o{_TEXT} i{_TEXT}", lambda out: _text(out[0]))
            continue
        outputs = [_pointed_at(argument) for argument in arguments[1:]]
        if all(_is_simple(output) for output in outputs):
            sizes = " ".join(f"o{ffi.sizeof(output)}" for output in outputs)
            yield _Call(name, f"{name} {device} {sizes}", _reader(outputs))


def _pointed_at(kind: Any) -> Any:
    return kind.item if kind.kind == "pointer" else None


def _is_simple(kind: Any) -> bool:
    if kind is None or kind.cname in {"char", "void"}:
        return False
    if kind.kind == "struct":
        fields = _fields(kind)
        return bool(fields) and fields[0][0] != "version" and all(_is_field(field.type) for _, field in fields)
    return kind.kind in {"primitive", "enum"}


def _fields(kind: Any) -> list[tuple[str, Any]]:
    """The fields of a structure; none where only its name is known."""
    from vgpu_harness._wire import ffi

    try:
        ffi.sizeof(kind)  # before it cffi has not read the fields
    except ffi.error:
        return []
    return list(kind.fields or [])


def _is_field(kind: Any) -> bool:
    return kind.kind in {"primitive", "enum"} or (kind.kind == "array" and kind.item.kind == "primitive")


def _reader(kinds: Sequence[Any]) -> Callable[[list[bytes]], Value]:
    def read(outputs: list[bytes]) -> Value:
        values: list[Value] = [_decoded(kind, data) for kind, data in zip(kinds, outputs, strict=True)]
        return values[0] if len(values) == 1 else values

    return read


def _decoded(kind: Any, data: bytes) -> Value:
    from vgpu_harness._wire import ffi

    if _untouched(data):
        return None
    if kind.kind != "struct":
        return _plain(ffi.from_buffer(ffi.getctype(kind, "*"), data)[0])
    struct = ffi.from_buffer(ffi.getctype(kind, "*"), data)
    return {name: _plain(getattr(struct, name)) for name, _ in kind.fields}


def _plain(value: Any) -> Value:
    from vgpu_harness._wire import ffi

    if isinstance(value, ffi.CData):
        if ffi.typeof(value).item.cname == "char":
            return str(ffi.string(value).decode("utf-8", "replace"))
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return int(value)


def _untouched(data: bytes) -> bool:
    return set(data) <= {_POISON}


def _text(data: bytes) -> str | None:
    return None if _untouched(data) else data.partition(b"\0")[0].decode("utf-8", "replace")


def _number(data: bytes, *, signed: bool = False) -> int | None:
    return None if _untouched(data) else int.from_bytes(data, "little", signed=signed)

"""Recordings: what a library answers, in a file, so that it can be compared with another one later.

    record(cuda=PATH, nvml=PATH, host=HOST) -> Recording     calls the libraries; a foreign one in the sandbox
    Recording.write(path), Recording.read(path)              a JSON file of schema 1

A recording from a machine with a GPU says what its devices are; one without has codes, texts and the table of
cuGetProcAddress. It holds no variable of the environment and no name of the machine.
"""

import datetime
import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgpu_harness.conformance.probes import (
    BUFFERS_AT,
    Answer,
    Api,
    Prober,
    Resolved,
    functions_of,
    resolve,
    sweep,
    symbols_and_versions,
)
from vgpu_harness.conformance.values import Device, devices, init_code, version
from vgpu_harness.errors import ShimError, VgpuHarnessError
from vgpu_harness.shims.elf import read_elf
from vgpu_harness.shims.elf_tables import Tables

if TYPE_CHECKING:
    from vgpu_harness.host import Host

SCHEMA = 1
_BROKEN = 6
"""So many levels of a recording are a line for each entry: diff then shows which function answers otherwise."""
_PT_NOTE, _NT_GNU_BUILD_ID = 4, 3


class RecordingError(VgpuHarnessError, ValueError):
    """A recording cannot be read: it is no recording, damaged, or of a newer schema."""


@dataclass(frozen=True)
class Provenance:
    """Which file a library was.

    Attributes:
        file: its name, without its folder.
        soname: DT_SONAME.
        size: in bytes.
        sha256: of the file.
        build_id: of its note, in hexadecimal.
        version: what it answers for itself: cuDriverGetVersion, nvmlSystemGetNVMLVersion.
        date: day of the recording, UTC, in ISO form.
        host: the simulated host that it showed, as a host file; None: none.
    """

    file: str
    soname: str | None
    size: int
    sha256: str
    build_id: str | None
    version: int | str | None
    date: str
    host: str | None = None


@dataclass(frozen=True)
class Library:
    """What one library answers.

    Attributes:
        provenance: which file it was.
        init: what its initialisation answers.
        buffers: where the zeroed memory of the sweep lay.
        sweep: by function: NULL before, zeroed before, NULL after, zeroed after the initialisation.
        resolved: what cuGetProcAddress answers; None for NVML.
        devices: what it says of each device; empty where its initialisation fails.
    """

    provenance: Provenance
    init: Answer
    buffers: int
    sweep: dict[str, list[Answer]]
    resolved: Resolved | None = None
    devices: list[Device] = field(default_factory=list)


@dataclass(frozen=True)
class Recording:
    """What one or two libraries answer, by API."""

    libraries: dict[Api, Library]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the recording; the file appears whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        path = Path(path)
        text = _text({"schema": SCHEMA, "libraries": {k: asdict(v) for k, v in self.libraries.items()}}, _BROKEN)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                os.fchmod(file.fileno(), 0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink()
            raise

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Recording":
        """Reads a recording of this schema.

        Raises:
            RecordingError: it is none.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data["schema"] != SCHEMA:
                raise RecordingError(
                    f"{path}: has schema {data['schema']}, this reads {SCHEMA}; use a newer vgpu-harness"
                )
            return cls({api: _library(found) for api, found in data["libraries"].items()})
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read: {error.strerror}; make it with conform --record") from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, RecordingError):
                raise
            raise RecordingError(f"{path}: is no recording ({error!r}); make it with conform --record") from error


def _text(value: object, depth: int) -> str:
    if depth == 0 or not isinstance(value, dict) or not value:
        return json.dumps(value)
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_text(item, depth - 1)}" for key, item in value.items()) + "\n}"


def _library(data: dict[str, Any]) -> Library:
    resolved = data["resolved"]
    if resolved is not None:
        answers = {
            form: {name: [[(int(v), str(a)) for v, a in runs] for runs in flags] for name, flags in found.items()}
            for form, found in resolved["answers"].items()
        }
        resolved = Resolved(resolved["versions"], answers, resolved["aliases"])
    found = [{label: (code, value) for label, (code, value) in device.items()} for device in data["devices"]]
    return Library(
        Provenance(**data["provenance"]), data["init"], data["buffers"], dict(data["sweep"]), resolved, found
    )


def record(
    cuda: Path | None = None,
    nvml: Path | None = None,
    host: "Host | None" = None,
    *,
    functions: Sequence[str] | None = None,
    buffers: int = BUFFERS_AT,
    sandboxed: bool = True,
) -> Recording:
    """Records libraries.

    Args:
        cuda: a libcuda; None: none.
        nvml: a libnvidia-ml; None: none.
        host: the simulated host that shims of this package show; None: none, they are transparent.
        functions: only these, for a quick look; None: all that the library exports.
        buffers: where the zeroed memory of the sweep lies.
        sandboxed: are foreign libraries called in the sandbox only?

    Raises:
        ShimError: a library is missing or cannot be loaded.
        RunError: the sandbox for a foreign library cannot be made here, or the prober failed.
    """
    given: dict[Api, Path | None] = {"cuda": cuda, "nvml": nvml}
    with tempfile.TemporaryDirectory(prefix="vgpu-record-") as folder:
        image = None if host is None else _image(host, Path(folder))
        return Recording({
            api: _record_one(Prober(api, path, image, buffers, sandboxed=sandboxed), host, functions)
            for api, path in given.items()
            if path is not None
        })  # fmt: skip


def _image(host: "Host", folder: Path) -> Path:
    """A host image without a tree: neither library reads a file of the host."""
    from vgpu_harness.host import Tree, write_image

    return write_image(host, Tree(folder, ()), folder / "host.image")


def _record_one(prober: Prober, host: "Host | None", functions: Sequence[str] | None) -> Library:
    if not prober.library.is_file():
        raise ShimError(f"{prober.library}: is not a file; give the path of a shared library")
    exported = functions_of(prober.api, prober.library)
    swept = exported if functions is None else [name for name in exported if name in functions]
    return Library(
        provenance=_provenance(prober, host),
        init=init_code(prober),
        buffers=prober.buffers,
        sweep=sweep(prober, swept),
        resolved=_resolved(prober, exported, swept, whole=functions is None) if prober.api == "cuda" else None,
        devices=devices(prober),
    )


def _resolved(prober: Prober, exported: Sequence[str], swept: Sequence[str], *, whole: bool) -> Resolved:
    symbols, versions = symbols_and_versions(exported)
    return resolve(prober, exported, symbols if whole else [name for name in symbols if name in swept], versions)


def _provenance(prober: Prober, host: "Host | None") -> Provenance:
    data = prober.library.read_bytes()
    return Provenance(
        file=prober.library.resolve().name,
        soname=read_elf(prober.library).soname,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        build_id=_build_id(data),
        version=version(prober),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        host=None if host is None else host.dump(),
    )


def _build_id(data: bytes) -> str | None:
    """The note that ld writes with --build-id (gABI: name size, descriptor size, type, name, descriptor)."""
    for segment in Tables(data).segments:
        at = segment.offset
        while segment.type == _PT_NOTE and at + 12 <= segment.offset + segment.in_file:
            name, size, kind = struct.unpack_from("<III", data, at)
            start = at + 12 + -(-name // 4) * 4
            if kind == _NT_GNU_BUILD_ID and data[at + 12 : at + 16] == b"GNU\0":
                return data[start : start + size].hex()
            at = start + -(-size // 4) * 4
    return None

"""Negative controls: a host with one thing wrong, and where the verdict on it has to stop."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vgpu_harness.discovery import Verdict, discover, verdict_of
from vgpu_harness.host import Host
from vgpu_harness.shims import client_path

TRACE_SIZE = 1 << 20


@dataclass(frozen=True)
class Control:
    """A host with a fault, and per generation the stage at which discovery stops (None: cuda, with `finding`)."""

    name: str
    host: dict[str, Any]
    stops: dict[str, str | None]
    words: str = ""
    finding: str = ""
    scale: float = 1.0
    sound: dict[str, Any] = field(default_factory=dict)
    """The same host without the fault."""


def fault(**keys: Any) -> dict[str, Any]:
    """A host with one fault."""
    return {"faults": [keys]}


def made(host: dict[str, Any], foreign: bool) -> Host:
    """The host, with the other libcuda.so.1 in its library path if so asked."""
    if foreign:
        path = [str(client_path("stub/libcuda.so.1").parent)]
        host = host | {"delivery": host.get("delivery", {}) | {"library_path": path}}
    return Host.model_validate(host)


def discovered(host: Host, generation: str, directory: Path, scale: float = 1.0, **options: Any) -> Verdict:
    """The verdict, after a look that it follows from the evidence alone."""
    (verdict,) = discover((generation,), host, directory=directory, scale=scale, trace_size=TRACE_SIZE, **options)
    stripped = directory / "stripped"
    assert verdict.directory is not None
    shutil.copytree(
        verdict.directory,
        stripped,
        symlinks=True,
        ignore=shutil.ignore_patterns("host.image", "tree", "shims", "ollama"),
    )
    assert not (stripped / "host.image").exists()
    assert json.dumps(verdict_of(stripped).to_json()) == json.dumps(verdict.to_json())
    return verdict

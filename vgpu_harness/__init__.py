"""A test harness for GPU shims: at which stage did discovery stop, why, and what is to be changed.

The names below are the public surface. They are imported at first use, so that the pytest plugin costs little to load.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vgpu_harness.discovery import Funnel, Verdict
    from vgpu_harness.discovery.discover import discover
    from vgpu_harness.errors import (
        HostError,
        ImageError,
        ProgramError,
        RunError,
        ShimError,
        TraceError,
        VgpuHarnessError,
    )
    from vgpu_harness.host import Host
    from vgpu_harness.run import Run, run
    from vgpu_harness.shims import shim_path
    from vgpu_harness.trace import Trace

__all__ = [
    "Funnel",
    "Host",
    "HostError",
    "ImageError",
    "ProgramError",
    "Run",
    "RunError",
    "ShimError",
    "Trace",
    "TraceError",
    "Verdict",
    "VgpuHarnessError",
    "discover",
    "run",
    "shim_path",
]

_ROOMS = {
    "Funnel": "discovery",
    "Host": "host",
    "Run": "run",
    "Trace": "trace",
    "Verdict": "discovery",
    "discover": "discovery",
    "run": "run",
    "shim_path": "shims",
}


class _Package(ModuleType):
    """Keeps ``vgpu_harness.run`` the function: importing the room of that name would bind the module over it."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name == "run" and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

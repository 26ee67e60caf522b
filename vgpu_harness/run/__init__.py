"""One program run on the simulated host: its environment, how the shims get in, its processes, its result."""

from vgpu_harness.run.delivery import Delivered, deliver
from vgpu_harness.run.result import Run
from vgpu_harness.run.runner import run

__all__ = ["Delivered", "Run", "deliver", "run"]

"""Call-order fuzzing: strategies for hosts and facts, a reference model, and a state machine that compares with it."""

from vgpu_harness.fuzz.answer import Answer
from vgpu_harness.fuzz.machine import DriverMachine
from vgpu_harness.fuzz.reference import ReferenceCuda, ReferenceNvml
from vgpu_harness.fuzz.subject import InProcessDriver

__all__ = ["Answer", "DriverMachine", "InProcessDriver", "ReferenceCuda", "ReferenceNvml"]

"""Call-order fuzzing: strategies, a reference model, a state machine that compares, and isolated sequences of calls."""

from vgpu_harness.fuzz.answer import Answer
from vgpu_harness.fuzz.calls import Call, Kept, Memory, TextAt, c_string
from vgpu_harness.fuzz.format import ExecutorError
from vgpu_harness.fuzz.isolated import Executor
from vgpu_harness.fuzz.machine import DriverMachine
from vgpu_harness.fuzz.outcome import Descriptor, Ended, Handle, Outcome, Problem, Result
from vgpu_harness.fuzz.reference import ReferenceCuda, ReferenceNvml
from vgpu_harness.fuzz.session import Session
from vgpu_harness.fuzz.subject import InProcessDriver, IsolatedDriver

__all__ = [
    "Answer",
    "Call",
    "Descriptor",
    "DriverMachine",
    "Ended",
    "Executor",
    "ExecutorError",
    "Handle",
    "InProcessDriver",
    "IsolatedDriver",
    "Kept",
    "Memory",
    "Outcome",
    "Problem",
    "ReferenceCuda",
    "ReferenceNvml",
    "Result",
    "Session",
    "TextAt",
    "c_string",
]

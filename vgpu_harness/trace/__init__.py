"""The trace: one preallocated file that every process of a run writes to; made, read and printed here."""

from vgpu_harness.trace.create import DEFAULT_SIZE, MINIMUM_SIZE, create_trace, release_unused
from vgpu_harness.trace.reader import Trace
from vgpu_harness.trace.record import Kind, Library, Record

__all__ = ["DEFAULT_SIZE", "MINIMUM_SIZE", "Kind", "Library", "Record", "Trace", "create_trace", "release_unused"]

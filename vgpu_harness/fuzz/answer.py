"""What a call answers, in a form that the reference model and the C models share, and the codes that matter here."""

from enum import IntEnum
from typing import NamedTuple

Value = int | str


class Answer(NamedTuple):
    """A return code and, where it is 0, the outputs in the order of the parameters.

    Handles (contexts, allocations, NVML devices) are numbers that only the side that gave them out understands.
    """

    code: int
    values: tuple[Value, ...] = ()

    def __str__(self) -> str:
        return f"{int(self.code)}{''.join(f' {value!r}' for value in self.values)}"


class Cuda(IntEnum):
    """CUresult, cuda.h 12.9."""

    SUCCESS = 0
    INVALID_VALUE = 1
    OUT_OF_MEMORY = 2
    NOT_INITIALIZED = 3
    NO_DEVICE = 100
    INVALID_DEVICE = 101
    INVALID_CONTEXT = 201
    CONTEXT_IS_DESTROYED = 709


class Nvml(IntEnum):
    """nvmlReturn_t, nvml.h 12.9."""

    SUCCESS = 0
    UNINITIALIZED = 1
    INVALID_ARGUMENT = 2
    NOT_FOUND = 6
    INSUFFICIENT_SIZE = 7
    DRIVER_NOT_LOADED = 9

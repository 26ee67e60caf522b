"""Hypothesis strategies for sequences of calls of any entry point, with good arguments and with bad ones.

Bad is what a library has to refuse or to bear: NULL, handles that nobody gave out or that are dead, numbers out of
range, texts of no meaning, memory that is just as large as is said. What no library can know is kept right: memory is
there, and as large as its type or as the length beside it says.
"""

import itertools
import struct
from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from vgpu_harness.fuzz.calls import (
    Argument,
    Call,
    Kept,
    Kind,
    Memory,
    Parameter,
    Signature,
    TextAt,
    c_string,
    signatures,
)
from vgpu_harness.fuzz.subject import THREADS
from vgpu_harness.host import Host

REGISTERS = range(1, 6)
"""Where handles are kept: few, so that a call often meets one of another kind, or a dead one."""

LENGTHS = (0, 1, 2, 12, 13, 32, 64, 80, 96, 128)

NUMBERS = (0, 1, 2, 3, 5, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)

ARRAYS = ("CUmemAccessDesc", "CUexecAffinityParam")
"""Structs of which the next parameter is the count."""

MEMORY_V2 = 40 | 2 << 24
"""The `version` that nvmlDeviceGetMemoryInfo_v2 asks for: size and number, NVML_STRUCT_VERSION of nvml.h."""

registers = st.sampled_from(REGISTERS)
null = st.just(0)


def _numbers(parameter: Parameter) -> st.SearchStrategy[Argument]:
    small: st.SearchStrategy[Argument] = st.sampled_from((0, 0, 0, 1, -1)) | st.sampled_from(NUMBERS)
    if parameter.size < 8:
        return small | st.integers(0, 160)
    return small | registers.map(Kept) | st.integers(1, 8).map(lambda steps: steps << 21)


def _texts(host: Host) -> st.SearchStrategy[Argument]:
    """What a text that is read may be: what the host has, names of entry points, and anything."""
    known = [text for gpu in host.gpu for text in (gpu.pci, f"0000{gpu.pci}", gpu.uuid, gpu.nvml_uuid)]
    known += [name.partition("_v")[0] for name in signatures()]
    noise = st.binary(max_size=80).map(lambda raw: raw.replace(b"\0", b" "))
    return st.sampled_from(known).map(c_string) | noise.map(c_string) | null


@st.composite
def _text_and_length(draw: st.DrawFn) -> tuple[Argument, Argument]:
    length = draw(st.sampled_from(LENGTHS))
    said = draw(st.sampled_from((length, length, length, 0, -1)))
    # A negative length is a huge one where the type is unsigned: only NULL can be meant by that.
    return (0 if said < 0 else Memory(length)), said


@st.composite
def _array_and_count(draw: st.DrawFn, parameter: Parameter) -> tuple[Argument, Argument]:
    count = draw(st.integers(0, 3))
    words = draw(
        st.lists(st.sampled_from((0, 1, 2, 3, -1, 2**31 - 1)), min_size=0, max_size=count * parameter.size // 4)
    )
    memory = Memory(count * parameter.size, struct.pack(f"={len(words)}i", *words))
    return (memory, count) if draw(st.booleans()) else (0, draw(st.sampled_from((count, 2**31 - 1))))


def _structs(parameter: Parameter) -> st.SearchStrategy[Argument]:
    size = parameter.size
    words = st.lists(st.sampled_from((0, 1, 2, 3, -1)), max_size=size // 4)
    given = words.map(lambda some: struct.pack(f"={len(some)}i", *some)) | st.just(bytes(size))
    if "CUctxCreateParams" in parameter.type:
        # Two of its fields are addresses, which a library may follow.
        given = st.tuples(st.integers(-1, 2), st.booleans()).map(
            lambda some: struct.pack("=QiiQ", 0, some[0], 0, some[1])
        )
    elif "CUmemAllocationProp" in parameter.type:
        # Pinned memory of a device; the rest is zero.
        sound = st.integers(-1, 4).map(lambda device: struct.pack("=iiii", 1, 0, 1, device).ljust(size, b"\0"))
        given |= sound
    elif "nvmlMemory_v2" in parameter.type:
        given |= st.just(struct.pack("=I", MEMORY_V2))
    return given.map(lambda raw: Memory(size, raw)) | null


def _one(parameter: Parameter, host: Host) -> st.SearchStrategy[Argument]:
    match parameter.kind:
        case Kind.NUMBER:
            return _numbers(parameter)
        case Kind.HANDLE:
            return registers.map(Kept) | st.sampled_from((0, 1, 0x5EED0, 2**64 - 1))
        case Kind.STRING:
            return _texts(host)
        case Kind.TEXT_AT:
            return st.just(TextAt()) | null
        case Kind.OUT_HANDLE:
            return registers.map(lambda register: Memory(8, keep=register)) | null
        case Kind.STRUCT:
            return _structs(parameter)
        case _:
            return st.just(Memory(parameter.size)) | null


def arguments(signature: Signature, host: Host) -> st.SearchStrategy[tuple[Argument, ...]]:
    """Arguments for an entry point."""
    parts: list[st.SearchStrategy[tuple[Argument, ...]]] = []
    with_next = False
    for parameter in signature.parameters:
        if with_next:
            with_next = False
            continue
        if parameter.kind is Kind.TEXT:
            parts.append(_text_and_length())
            with_next = True
        elif parameter.kind is Kind.STRUCT and any(name in parameter.type for name in ARRAYS):
            parts.append(_array_and_count(parameter))
            with_next = True
        else:
            parts.append(st.tuples(_one(parameter, host)))
    return st.tuples(*parts).map(lambda drawn: tuple(itertools.chain(*drawn)))


def calls(host: Host, functions: Iterable[str] | None = None) -> st.SearchStrategy[Call]:
    """One call of one of the functions, all entry points for None, in either thread."""
    threads = st.sampled_from((THREADS[0], *THREADS))
    names = tuple(signatures() if functions is None else functions)
    return st.one_of([st.builds(Call, st.just(name), arguments(signatures()[name], host), threads) for name in names])


BEGINNINGS = (
    (),
    (Call("cuInit", (0,)), Call("nvmlInit_v2")),
    (
        Call("cuInit", (0,)),
        Call("nvmlInit_v2"),
        Call("cuCtxCreate_v2", (Memory(8, keep=1), 0, 0)),
        Call("nvmlDeviceGetHandleByIndex_v2", (0, Memory(8, keep=2))),
        Call("cuMemAlloc_v2", (Memory(8, keep=3), 1 << 20)),
    ),
)
"""What a sequence may begin with: mostly so that there is something that can be asked."""


def sequences(
    host: Host,
    functions: Iterable[str] | None = None,
    *,
    beginnings: Sequence[tuple[Call, ...]] = BEGINNINGS,
    max_size: int = 12,
) -> st.SearchStrategy[tuple[Call, ...]]:
    """Some calls behind a beginning.

    Args:
        host: where they are to be made: texts are taken from there.
        functions: entry points to call; all for None.
        beginnings: what a sequence may begin with.
        max_size: at most so many calls behind that.
    """
    more = st.lists(calls(host, functions), min_size=1, max_size=max_size)
    return st.builds(lambda first, rest: (*first, *rest), st.sampled_from(beginnings), more)

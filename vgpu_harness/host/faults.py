"""What a simulated host does wrong on purpose: the ``[[faults]]`` of a host file.

A fault is one of four kinds, told apart by the key that only this kind has: ``function``, ``missing_symbol``,
``soname`` or ``image``.
"""

import difflib
import functools
import itertools
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from vgpu_harness.host.base import TEMPLATE, Model, wrong
from vgpu_harness.host.fields import Program, label
from vgpu_harness.host.outputs import answers_number

SONAMES = {"cuda": "libcuda.so.1", "nvml": "libnvidia-ml.so.1"}
"""DT_SONAME of the shims that stand in for a library of NVIDIA's, by the shim's short name."""

GPUS_MAX = 8
THREAD_BYTES = 15
"""The kernel keeps no more of a thread's name (TASK_COMM_LEN)."""
TEXT_MAX = 255
"""Characters in the text of a fault; NVIDIA's own buffers are shorter."""

_CALL = "vgpu_call_"
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def _identifier(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise wrong("is not the name of a C function", "write it as the library exports it, as in 'cuCtxCreate_v3'")
    return name


Identifier = Annotated[str, AfterValidator(_identifier)]


@functools.cache
def file_functions() -> frozenset[str]:
    """Those of `known_functions` that are libc's file functions."""
    from vgpu_harness._wire import ffi, lib

    count = itertools.count()
    return frozenset(ffi.string(name).decode() for name in iter(lambda: lib.vgpu_file_name(next(count)), ffi.NULL))


@functools.cache
def known_functions() -> frozenset[str]:
    """What the CUDA, NVML and file shims answer, as their own lists have it."""
    from vgpu_harness._wire import lib

    return file_functions() | {name.removeprefix(_CALL) for name in dir(lib) if name.startswith(_CALL)}


@functools.cache
def text_functions() -> frozenset[str]:
    """Those of `known_functions` that write a text to a buffer of the caller's: they take it and its size.

    cffi does not tell `const char *`: a text that is read stands before a number too (cuLinkAddFile), but not in a
    function that gets something.
    """
    from vgpu_harness._wire import ffi, lib

    found = set()
    for entry in (name for name in dir(lib) if name.startswith(_CALL)):
        arguments = [argument.cname for argument in ffi.typeof(getattr(lib, entry)).args]
        pairs = set(itertools.pairwise(arguments))
        if "Get" in entry and pairs & {("char *", "int"), ("char *", "unsigned int")}:
            found.add(entry.removeprefix(_CALL))
    return frozenset(found)


def _answers_text(function: str) -> bool:
    """Does an entry point of the CUDA or NVML shim answer a text in place of a code?"""
    from vgpu_harness._wire import ffi, lib

    return bool(ffi.typeof(getattr(lib, _CALL + function)).result.kind == "pointer")


def _function(name: str) -> str:
    known = known_functions()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "write one that a client calls"
        raise wrong("no shim has this function", remedy)
    return name


class FunctionFault(Model):
    """One function answers otherwise or late, never comes back, or loses a GPU.

    Calls are counted per process. The faults of a function are asked in the order of the host file, and a call that one
    of them takes is not counted by those behind it: so they can follow one another.
    """

    function: Annotated[Identifier, AfterValidator(_function)]
    """An entry point (``cuInit``, ``nvmlInit_v2``) or a file function (``open``)."""
    result: int | None = Field(None, ge=-(2**31), lt=2**31)
    """Answered instead of asking the model: a CUresult, an nvmlReturn_t, or an errno for a file function."""
    value: int | None = Field(None, ge=-(2**63), lt=2**63)
    """Written where one of the function's outputs goes: `output` says which."""
    output: int = Field(0, ge=0, le=1)
    """Which output `value` is for, from 0."""
    text: str | None = Field(None, max_length=TEXT_MAX)
    """Written where the function's text goes, cut to the caller's buffer: a name, a bus id, a version, a UUID."""
    after: int = Field(0, ge=0, lt=2**32)
    """Calls that pass unharmed first."""
    times: int = Field(0, ge=0, lt=2**32)
    """Calls that it takes after those; then all is well again. 0: all."""
    delay: float = Field(0.0, ge=0.0, le=3600.0, allow_inf_nan=False)
    """Seconds slept before the answer."""
    crash: bool = False
    """The process dies by SIGSEGV inside of the call."""
    hang: bool = False
    """The call never returns."""
    lost: int | None = Field(None, ge=0, lt=GPUS_MAX)
    """The GPU at this position falls off the bus: from now on both APIs answer so for it, to all processes of a run."""
    program: Program | None = None
    """The program that it is for, by its file name; ``*`` at the end stands for any rest. None: all."""
    thread: Annotated[str, label(THREAD_BYTES)] | None = None
    """The thread that it is for, by its name, likewise; ``main`` is the first thread of a process. None: all."""
    gpu: int | None = Field(None, ge=0, lt=GPUS_MAX)
    """The GPU that a call must be about, by its position. None: any."""

    @model_validator(mode="after")
    def _does_something(self) -> "FunctionFault":
        answers = self.result is not None or self.value is not None or self.text is not None
        if not (answers or self.delay or self.crash or self.hang or self.lost is not None):
            raise wrong(
                "a fault that changes nothing", "give it result, value, text, delay, crash = true, hang = true or lost"
            )
        if (self.crash and self.hang) or ((self.crash or self.hang) and answers):
            raise wrong("a call that does not return has no answer", "keep one of crash, hang, and the answer")
        if self.lost is not None and self.value is not None:
            raise wrong("both lost and value", "keep one of them")
        if self.function in file_functions():
            self._fits_a_file()
        else:
            self._fits_an_entry_point()
        if self.text is not None:
            self._has_text()
        return self

    def _fits_a_file(self) -> None:
        if self.value is not None or self.text is not None or self.gpu is not None:
            raise wrong(
                f"{self.function} is a file function: it has no value, text or gpu",
                "give it result, an errno, or delay",
            )

    def _fits_an_entry_point(self) -> None:
        if self.result is not None and _answers_text(self.function):
            raise wrong(
                f"{self.function} answers a text, no result", "give it delay, crash = true, hang = true, or lost"
            )
        if self.value is not None and not answers_number(self.function):
            raise wrong(f"{self.function} writes no number", "give it result, or take a function that answers one")
        if self.output and self.value is None:
            raise wrong(f"output {self.output} without value", "give the value that is to be written there")

    def _has_text(self) -> None:
        if "\0" in str(self.text):
            raise wrong("text holds a NUL", "write a text without \\u0000; C ends it there")
        if self.function not in text_functions():
            raise wrong(
                f"{self.function} answers no text",
                "take a function that fills a buffer, such as cuDeviceGetName, or give value",
            )


class SymbolFault(Model):
    """A shim that lacks one of its symbols; made on a copy, by changing one byte of the name.

    The CUDA shim's cuGetProcAddress does not know the symbol either: it answers the next older one of the same name.
    """

    library: Literal["exec", "syscall", "cuda", "nvml"]
    missing_symbol: Identifier


class SonameFault(Model):
    """A shim with another DT_SONAME; made on a copy, so it differs from the real one in exactly one byte."""

    library: Literal["cuda", "nvml"]
    soname: str

    @model_validator(mode="after")
    def _one_byte(self) -> "SonameFault":
        real = SONAMES[self.library]
        different = sum(a != b for a, b in zip(self.soname.encode(), real.encode(), strict=False))
        if len(self.soname.encode()) != len(real) or different != 1 or not self.soname.isprintable():
            raise wrong(
                f"soname {self.soname!r} does not differ from {real!r} in exactly one byte",
                f"write one like {real.replace('a', 'b', 1) if self.library == 'cuda' else 'libnvidia-mm.so.1'!r}",
            )
        return self


class ImageFault(Model):
    """A host image that the shims must refuse."""

    image: Literal["truncated", "foreign", "version"]


def _kind(data: Any) -> str | None:
    for key in ("function", "missing_symbol", "soname", "image"):
        if (key in data) if isinstance(data, dict) else hasattr(data, key):
            return key
    return None


Fault = Annotated[
    Annotated[FunctionFault, Tag("function")]
    | Annotated[SymbolFault, Tag("missing_symbol")]
    | Annotated[SonameFault, Tag("soname")]
    | Annotated[ImageFault, Tag("image")],
    Discriminator(
        _kind,
        custom_error_type="wrong",
        custom_error_message=TEMPLATE,
        custom_error_context={
            "what": "a fault of no known kind",
            "instead": "give it one of function, missing_symbol, soname, image",
        },
    ),
]
FAULT_KINDS = {"function": FunctionFault, "missing_symbol": SymbolFault, "soname": SonameFault, "image": ImageFault}
"""The model of each kind of fault, by the key that tells it."""

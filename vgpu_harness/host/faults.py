"""What a simulated host does wrong on purpose: the ``[[faults]]`` of a host file.

A fault is one of four kinds, told apart by the key that only this kind has: ``function``, ``missing_symbol``,
``soname`` or ``image``.
"""

import difflib
import itertools
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from vgpu_harness.host.base import TEMPLATE, Model, wrong

SONAMES = {"cuda": "libcuda.so.1", "nvml": "libnvidia-ml.so.1"}
"""DT_SONAME of the shims that stand in for a library of NVIDIA's, by the shim's short name."""

TEXT_MAX = 255
"""Characters in the text of a fault; NVIDIA's own buffers are shorter."""

_CALL = "vgpu_call_"
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def _identifier(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name):
        raise wrong("is not the name of a C function", "write it as the library exports it, as in 'cuCtxCreate_v3'")
    return name


Identifier = Annotated[str, AfterValidator(_identifier)]


def known_functions() -> frozenset[str]:
    """What the CUDA, NVML and file shims answer, as their own lists have it."""
    from vgpu_harness._wire import ffi, lib

    entries = {name.removeprefix(_CALL) for name in dir(lib) if name.startswith(_CALL)}
    count = itertools.count()
    files = iter(lambda: lib.vgpu_file_name(next(count)), ffi.NULL)
    return frozenset(entries | {ffi.string(name).decode() for name in files})


def text_functions() -> frozenset[str]:
    """Those of `known_functions` that write a text to a buffer of the caller's: they take it and its size."""
    from vgpu_harness._wire import ffi, lib

    found = set()
    for entry in (name for name in dir(lib) if name.startswith(_CALL)):
        arguments = [argument.cname for argument in ffi.typeof(getattr(lib, entry)).args]
        if any(pair in {("char *", "int"), ("char *", "unsigned int")} for pair in itertools.pairwise(arguments)):
            found.add(entry.removeprefix(_CALL))
    return frozenset(found)


def _function(name: str) -> str:
    known = known_functions()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else "write one that a client calls"
        raise wrong("no shim has this function", remedy)
    return name


class FunctionFault(Model):
    """One function answers otherwise, or late.

    Calls are counted per process. Of several faults of one function, the first that is past its ``after`` holds.
    """

    function: Annotated[Identifier, AfterValidator(_function)]
    """An entry point (``cuInit``, ``nvmlInit_v2``) or a file function (``open``)."""
    result: int | None = Field(None, ge=-(2**31), lt=2**31)
    """Answered instead of asking the model: a CUresult, an nvmlReturn_t, or an errno for a file function."""
    value: int | None = Field(None, ge=-(2**63), lt=2**63)
    """Written where the function's first output goes."""
    text: str | None = Field(None, max_length=TEXT_MAX)
    """Written where the function's text goes, cut to the caller's buffer: a name, a bus id, a version, a UUID."""
    after: int = Field(0, ge=0, lt=2**32)
    """Calls that pass unharmed first."""
    delay: float = Field(0.0, ge=0.0, le=3600.0, allow_inf_nan=False)
    """Seconds slept before the answer."""

    @model_validator(mode="after")
    def _does_something(self) -> "FunctionFault":
        if self.result is None and self.value is None and self.text is None and self.delay == 0.0:
            raise wrong("a fault that changes nothing", "give it result, value, text or delay")
        if self.text is not None:
            self._has_text()
        return self

    def _has_text(self) -> None:
        if "\0" in str(self.text):
            raise wrong("text holds a NUL", "write a text without \\u0000; C ends it there")
        if self.function not in (known := text_functions()):
            remedy = f"use one of {', '.join(sorted(known))}"
            raise wrong(f"{self.function} answers no text", remedy)


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

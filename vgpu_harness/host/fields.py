"""The kinds of value that several tables of a host file have."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from vgpu_harness.host.base import wrong

MIB_MAX = 2**24
"""16 TiB: far above any GPU, far below what overflows 64 bits of bytes."""

_PAIR = re.compile(r"(\d{1,2})\.(\d{1,2})", re.ASCII)
_PROGRAM = re.compile(r"[^/*\x00-\x1f]{1,254}\*?")


def label(limit: int) -> AfterValidator:
    """Text that fits a C buffer: not empty, at most `limit` bytes of UTF-8, no control character."""

    def check(text: str) -> str:
        if not text or not text.isprintable():
            raise wrong("is empty or has a control character", "write printable text")
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise wrong("is not text", "write characters that UTF-8 has") from None
        if size > limit:
            raise wrong(f"is {size} bytes long", f"write {limit} bytes or fewer")
        return text

    return AfterValidator(check)


def matches(pattern: re.Pattern[str], problem: str, remedy: str) -> AfterValidator:
    """Text of which the pattern matches the whole."""

    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise wrong(problem, remedy)
        return text

    return AfterValidator(check)


Pair = matches(_PAIR, "is not two numbers", "write major.minor, as in '9.0'")
Program = Annotated[
    str, matches(_PROGRAM, "is not the name of a program", "write a file name without '/'; '*' stands only at its end")
]
Mib = Annotated[int, Field(ge=0, le=MIB_MAX)]
Percent = Annotated[int, Field(ge=0, le=100)]

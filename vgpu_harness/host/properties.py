"""What NVML tells of a GPU: the ``[nvml]`` table of a profile, and of a GPU in a host file.

The keys are the names of csrc/vgpu/properties.def. A value is a number or a text; where there are several of a kind, a
list (the position is the index), a table of index and value, or a table ``{ high, low, step }`` for evenly spaced
numbers, highest first. An empty list: the GPU does not have it.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from vgpu_harness.host.base import wrong
from vgpu_harness.host.ranges import TEXTS, check_range

INDEX_MAX = 2**16 - 1
TEXT_BYTES = 255
_NUMBER, _TEXT = "VGPU_PROPERTY_", "VGPU_TEXT_"
_EVEN = {"high", "low", "step"}

Entries = dict[int, int | str]
"""Index and value of each property of one kind."""


def _ids(enum: str, prefix: str) -> dict[str, int]:
    from vgpu_harness._wire import ffi

    return {name.removeprefix(prefix): number for name, number in ffi.typeof(f"enum {enum}").relements.items()}


@functools.cache
def property_ids() -> dict[str, int]:
    """The number of each numeric property, by its name in properties.def."""
    return _ids("vgpu_property_id", _NUMBER)


@functools.cache
def text_ids() -> dict[str, int]:
    """The number of each text, by its name in properties.def."""
    return _ids("vgpu_text_id", _TEXT)


def entries(value: Any) -> Entries:
    """A value of the table, taken apart.

    Raises:
        PydanticCustomError: it is none of the forms, with words and remedy.
    """
    if isinstance(value, dict) and set(value) == _EVEN:
        return dict(enumerate(_even(value)))
    if isinstance(value, list | tuple):
        _check_count(len(value))
        found = dict(enumerate(value))
    elif isinstance(value, dict):
        found = {_index(key): entry for key, entry in value.items()}
    else:
        found = {0: value}
    return found


def _even(value: Mapping[str, Any]) -> range:
    high, low, step = (value[key] for key in ("high", "low", "step"))
    if any(type(part) is not int for part in (high, low, step)) or step < 1 or not 0 <= low <= high:
        raise wrong("is not a falling series", "write { high = 1980, low = 210, step = 15 }")
    _check_count((high - low) // step + 1)
    return range(high, low - 1, -step)


def _check_count(count: int) -> None:
    if count > INDEX_MAX + 1:
        raise wrong("has too many entries", f"write {INDEX_MAX + 1} or fewer")


def _index(key: Any) -> int:
    number = int(key) if isinstance(key, str) and key.isascii() and key.isdigit() else key
    if type(number) is not int or not 0 <= number <= INDEX_MAX:
        raise wrong(f"{key!r} is not an index", f"write a number from 0 to {INDEX_MAX} as key")
    return number


def _number(value: Any) -> int:
    if type(value) is not int:
        raise wrong("is not a number", "write an integer, a list of them, or a table of index and integer")
    return value


def _check_text(key: str, value: Any) -> None:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise wrong("is not a text", "write printable text in quotes, a list of such, or a table of index and text")
    if len(value.encode(errors="replace")) > TEXT_BYTES:
        raise wrong("is too long", f"write {TEXT_BYTES} bytes or fewer")
    if key in TEXTS:
        TEXTS[key](value)


def _check(key: str, value: Any) -> None:
    for index, entry in entries(value).items():
        if key in property_ids():
            check_range(key, index, _number(entry), single=entry is value)
        else:
            _check_text(key, entry)


def _plain(value: Any) -> Any:
    """The value as a host file has it: tuples as lists, the keys of tables as text."""
    if isinstance(value, list | tuple):
        return list(value)
    return {str(key): entry for key, entry in value.items()} if isinstance(value, dict) else value


def _unknown(key: str) -> PydanticCustomError:
    from vgpu_harness.host.messages import suggest

    known = {**property_ids(), **text_ids()}
    near = suggest(key, known)
    remedy = near if near.startswith("did") else "see csrc/vgpu/properties.def for those that there are"
    return wrong("unknown property", remedy)


def _checked(table: dict[str, Any]) -> dict[str, Any]:
    errors = []
    for key, value in table.items():
        try:
            if key not in property_ids() and key not in text_ids():
                raise _unknown(key)
            _check(key, value)
        except PydanticCustomError as error:
            errors.append(InitErrorDetails(type=error, loc=(key,), input=value))
    if errors:
        raise ValidationError.from_exception_data("nvml", errors)
    return {key: _plain(value) for key, value in table.items()}


NvmlTable = Annotated[dict[str, Any], AfterValidator(_checked)]


def merged(*tables: Mapping[str, Any]) -> dict[str, Entries]:
    """The properties by name. A later table wins: a table of index and value for these indices, else for the key."""
    found: dict[str, Entries] = {}
    for table in tables:
        for key, value in table.items():
            single = isinstance(value, dict) and set(value) != _EVEN
            found[key] = (found.get(key, {}) if single else {}) | entries(value)
    return {key: values for key, values in found.items() if values}

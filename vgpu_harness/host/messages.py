"""The words of a ``HostError``: every wrong value of a host on a line of its own, with place, value and remedy."""

import difflib
import typing
from collections.abc import Callable, Collection, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from vgpu_harness.errors import HostError

Place = tuple[str | int, ...]

# An error that only repeats another one: a default that is made from a key which is itself wrong.
_ECHO = "default_factory_not_called"

# Words and remedy by pydantic's type of error; {} is filled from the error's context.
_WORDS = {
    "string_type": ("must be a string", "write it in quotes"),
    "int_type": ("must be an integer", "write it without quotes"),
    "float_type": ("must be a number", "write it without quotes"),
    "bool_type": ("must be true or false", "write it without quotes"),
    "finite_number": ("must be a finite number", "write one in decimal digits"),
    "missing": ("missing", "add it"),
    "greater_than_equal": ("too small", "write {ge} or more"),
    "less_than_equal": ("too large", "write {le} or less"),
    "less_than": ("too large", "write less than {lt}"),
    "too_short": ("too few entries", "write {min_length} or more"),
    "too_long": ("too many entries", "write {max_length} or fewer"),
    "wrong": ("{what}", "{instead}"),
}


def spell(place: Sequence[str | int]) -> str:
    """A place as a person writes it: ``("gpu", 1, "pci")`` is ``gpu[1].pci``."""
    text = ""
    for step in place:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def suggest(word: str, known: Collection[str]) -> str:
    """The remedy for a word that is not among the known ones."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else "known are " + ", ".join(sorted(known))


def _models_of(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_of(part)]


def _walk(model: type[BaseModel], place: Place) -> tuple[Place, list[str]]:
    """The place without the names of kinds that pydantic puts into it, and the keys of the table that it is in."""
    kept: list[str | int] = []
    models, keys = [model], list(model.model_fields)
    for step in place:
        if isinstance(step, str) and len(models) > 1:
            models = [one for one in models if step in one.model_fields]
        else:
            kept.append(step)
            if isinstance(step, str):
                keys = list(models[0].model_fields) if models else []
                field = models[0].model_fields.get(step) if models else None
                models = _models_of(field.annotation) if field else []
    return tuple(kept), keys


def _sentence(error: ErrorDetails, place: Place, keys: Collection[str]) -> str:
    kind, value = error["type"], error["input"]
    got = "" if isinstance(value, dict | list | tuple | BaseModel) or kind == "missing" else f", got {value!r}"
    last = place[-1] if place else ""
    if kind == "extra_forbidden":
        return f"unknown key, got {value!r}; {suggest(str(last), keys)}"
    if kind == "literal_error":
        known = [word.strip("'") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        return f"unknown value{got}; {suggest(str(value), known)}"
    if kind == "tuple_type" and isinstance(value, dict):
        return f"must be a list of tables; write [[{last}]]"
    if kind == "tuple_type":
        return f"must be a list{got}; write it in [ ]"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a table{got}; write [{last}] and its keys below"
    problem, remedy = _WORDS.get(kind, (error["msg"], "see docs/host-file.md"))
    context = error.get("ctx", {})
    return f"{problem.format(**context)}{got}; {remedy.format(**context)}"


def host_error(
    error: ValidationError, model: type[BaseModel], source: str, line_of: Callable[[Place], int | None] | None = None
) -> HostError:
    """All errors of one validation as one exception, a line each.

    Args:
        error: what pydantic found.
        model: the model that was validated.
        source: what the value came from: a file, or the name of the class.
        line_of: the line of the file that holds a place, counted from 1, or None if it has none.
    """
    lines: list[tuple[int, str]] = []
    for details in error.errors(include_url=False):
        if details["type"] == _ECHO:
            continue
        place, keys = _walk(model, details["loc"])
        sentence = _sentence(details, place, keys)
        where = f"{spell(place)}: " if place else ""
        line = line_of(place) if line_of else None
        lines.append((line or 0, f"{source}{f':{line}' if line else ''}: {where}{sentence}"))
    return HostError("\n".join(text for _, text in sorted(lines, key=_line)))


def _line(pair: tuple[int, Any]) -> int:
    return pair[0]

"""The rules of the process gate: which processes the virtual GPU is for."""

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, PlainSerializer, PlainValidator, model_validator

from vgpu_harness.host.base import Model, wrong
from vgpu_harness.host.fields import matches

_STAR = "'*' stands only at its end"
# At most 254 bytes of a name fit enum vgpu_fact_size, and 4094 of a path.
_NAME = re.compile(r"[^/*\x00-\x1f]{0,254}\*|[^/*\x00-\x1f]{1,254}")
_PATH = re.compile(r"/[^*\x00-\x1f]{0,4093}\*?")
_WORD = re.compile(r"[^*\x00-\x1f]{0,4094}\*|[^*\x00-\x1f]{1,4094}")

Name = Annotated[
    str, matches(_NAME, "is not the name of a program or process", f"write a name without '/'; {_STAR}, may be all")
]
Path = Annotated[str, matches(_PATH, "is not the full path of a program", f"let it begin with '/'; {_STAR}")]
Word = Annotated[
    str, matches(_WORD, "is not a word of a command line", f"write one word, or how it begins; {_STAR}, may be all")
]


def _unit(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise wrong("is not one component of a control group", f"write it as in 'ollama.service', without '/'; {_STAR}")
    return text


class Rule(Model):
    """Names the processes that have all that it asks for; a text that ends in ``*`` stands for all that start so."""

    program: Name | None = None
    """The file name of its executable; where that cannot be read, its `comm`."""
    path: Path | None = None
    """Its executable, as /proc/PID/exe has it."""
    comm: Name | None = None
    """The name of its main thread, of which the kernel keeps 15 bytes."""
    argument: Word | None = None
    """A word of its command line behind the first."""
    ancestor: Name | None = None
    """The `comm` of its parent, or of that one's parent, and so on up to init."""
    unit: Annotated[str, AfterValidator(_unit)] | None = None
    """A component of its control group: a unit of systemd, a container's scope."""

    @model_validator(mode="after")
    def _asks_something(self) -> "Rule":
        if not self.asks:
            raise wrong("a rule that asks for nothing", f"give it one or more of {', '.join(FACTS)}")
        return self

    @property
    def asks(self) -> dict[str, str]:
        """What it asks for: the texts, by the key."""
        return {key: value for key in FACTS if (value := getattr(self, key)) is not None}


FACTS = tuple(Rule.model_fields)
"""The keys of a rule, in the order of enum vgpu_rule_fact in csrc/vgpu/wire.h."""


def rule_of(entry: "str | Rule") -> Rule:
    """The rule that an entry of a list is: a text with a `/` is a program's path, another one its file name."""
    if isinstance(entry, Rule):
        return entry
    return Rule(path=entry) if "/" in entry else Rule(program=entry)


def reason_of(which: str, entry: "str | Rule") -> str:
    """What the trace has where this entry of the list `which` ("allow", "deny") decides."""
    asks = [f"{key} {json.dumps(text, ensure_ascii=False)}" for key, text in rule_of(entry).asks.items()]
    said = "an application" if which == "allow" else "not an application"
    return f"{said}: gate.{which} names the {' and the '.join(asks)}"


def _entry(value: Any) -> "str | Rule":
    if isinstance(value, str):
        # The error is the text's own, and not that of a key which nobody has written.
        pattern, what, remedy = (
            (_PATH, "is not the full path of a program", "let it begin with '/'")
            if "/" in value
            else (_NAME, "is not the name of a program", "write its file name, or its full path")
        )
        if not pattern.fullmatch(value):
            raise wrong(what, f"{remedy}; {_STAR}")
        return value
    if isinstance(value, dict | Rule):
        return Rule.model_validate(value)
    raise wrong("is no rule", 'write a program\'s name in quotes, or a table as in { argument = "runner" }')


def _written(value: "str | Rule") -> "str | dict[str, str]":
    return value.asks if isinstance(value, Rule) else value


Entry = Annotated[str | Rule, PlainValidator(_entry), PlainSerializer(_written)]

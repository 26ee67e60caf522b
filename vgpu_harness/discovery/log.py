"""What a client said: the log that Ollama writes to stderr, in the text form of Go's ``log/slog``.

A line is ``time=... level=INFO source=gpu.go:217 msg="looking for compatible GPUs" key=value ...``. Between such lines
stand the raw lines of C code and of the children (at OLLAMA_DEBUG=2). Nothing here ever fails on a line: what is not
a slog line is kept as text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_PAIR = re.compile(r'([^\s="]+)=("(?:[^"\\]|\\.)*"|\S*)')
# The escapes that Go's strconv.Quote writes, which is how slog quotes a value.
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}

FINAL = "inference compute"


@dataclass(frozen=True)
class Line:
    """One line of a client's log.

    ``raw`` is the line as written. ``level`` and ``message`` are empty, and ``fields`` has nothing, where it is not a
    slog line. ``fields`` has every pair but time, level, source and msg.
    """

    raw: str
    level: str = ""
    message: str = ""
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The line as evidence quotes it: without its time, level and source."""
        if not self.level:
            return self.raw.strip()
        rest = "".join(f" {key}={_shown(value)}" for key, value in self.fields.items())
        return f"msg={_shown(self.message)}{rest}"


@dataclass(frozen=True)
class Log:
    """A client's whole log, in order."""

    lines: tuple[Line, ...]

    def find(self, *words: str) -> Iterator[Line]:
        """The lines in which every one of `words` occurs, message, fields and raw text alike."""
        return (line for line in self.lines if all(word in line.raw for word in words))

    def messages(self, message: str) -> tuple[Line, ...]:
        """The slog lines whose message is, or starts with, `message`."""
        return tuple(line for line in self.lines if line.level and line.message.startswith(message))

    def first(self, *words: str) -> Line | None:
        """The first line with all of `words`, or None."""
        return next(self.find(*words), None)

    @property
    def final(self) -> tuple[Line, ...]:
        """The answer: one ``inference compute`` line a device."""
        return tuple(line for line in self.lines if line.level and line.message == FINAL)


def _shown(value: str) -> str:
    if value and not re.search(r'[\s="]', value):
        return value
    return '"' + value.replace('"', '\\"').replace("\n", "\\n") + '"'


def _unescape(match: re.Match[str]) -> str:
    byte, short, long, char = match.groups()
    code = byte or short or long
    if code is None:
        return _SIMPLE.get(char, char)
    number = int(code, 16)
    return chr(number) if number < 0x110000 else "�"


def _value(token: str) -> str:
    return _ESCAPE.sub(_unescape, token[1:-1]) if len(token) > 1 and token.startswith('"') else token


def parse_line(raw: str) -> Line:
    """One line, without its newline."""
    pairs = {key: _value(token) for key, token in _PAIR.findall(raw)} if raw.startswith("time=") else {}
    if "level" not in pairs or "msg" not in pairs:
        return Line(raw)
    level, message = pairs.pop("level"), pairs.pop("msg")
    for key in ("time", "source"):
        pairs.pop(key, None)
    return Line(raw, level, message, pairs)


def parse(text: str) -> Log:
    """The log of a client from its stderr."""
    return Log(tuple(parse_line(raw) for raw in text.split("\n") if raw.strip()))


def items(value: str) -> tuple[str, ...]:
    """The members of a Go slice as slog prints it: ``[/a /b]``. A path with a space cannot be told from two."""
    return tuple(value.strip().removeprefix("[").removesuffix("]").split())

"""Host files: reading them with errors that name the line, and writing them."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vgpu_harness.errors import HostError
from vgpu_harness.host.messages import Place, host_error
from vgpu_harness.host.model import Host


def line_of(text: str, place: Place) -> int | None:
    """The line of TOML text, counted from 1, on which the key at ``place`` stands; None if the text has no such key.

    tomllib keeps no positions. It is asked instead which prefixes of the text already have the key: absent after
    ``low`` lines, there in every whole prefix of ``high`` lines and more.
    """
    lines = text.splitlines(keepends=True)

    def has(count: int) -> bool | None:
        try:
            node: Any = tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            return None  # the prefix ends inside of a statement
        try:
            for step in place:
                node = node[step]
        except (KeyError, IndexError, TypeError):
            return False
        return True

    low, high = 0, len(lines)
    if not place or not has(high):
        return None
    while high - low > 1:
        middle = probe = (low + high) // 2
        found = None
        while probe < high and (found := has(probe)) is None:
            probe += 1
        if probe < high and not found:
            low = probe
        else:
            high = middle
    return low + 1


def _nearest_line(text: str, place: Place) -> int | None:
    """The line of the place, or of the table around it if the place itself is not written in the file."""
    for length in range(len(place), 0, -1):
        if (line := line_of(text, place[:length])) is not None:
            return line
    return None


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise HostError(f"{path}: no such host file; create it (an empty file is the default host)") from None
    except IsADirectoryError:
        raise HostError(f"{path}: is a directory, not a host file; name the file in it") from None
    except OSError as error:
        raise HostError(f"{path}: cannot be read: {error.strerror}; check its permissions") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise HostError(f"{path}:{line}: is not UTF-8; save the file in UTF-8, as TOML demands") from None


def load(path: str | Path) -> Host:
    """Reads a host file; see ``Host.load``."""
    path = Path(path)
    text = _read(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words = str(error)
        line = _syntax_line(text, words)
        raise HostError(f"{path}:{line}: not TOML: {words.partition(' (at ')[0]}; see https://toml.io") from None
    try:
        return Host.model_validate(data)
    except ValidationError as error:
        raise host_error(error, Host, str(path), lambda place: _nearest_line(text, place)) from None


def _syntax_line(text: str, words: str) -> int:
    """The line of a syntax error, which tomllib has only in words: "(at line 3, column 7)", "(at end of document)"."""
    _, _, after = words.partition("(at line ")
    number = after.partition(",")[0]
    return int(number) if number.isdigit() else max(1, len(text.splitlines()))


def dump(host: Host) -> str:
    """The host as TOML text; see ``Host.dump``."""
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment("A simulated host of vgpu-harness. docs/host-file.md describes the keys."))
    for name, value in host.model_dump(mode="json", exclude_none=True).items():
        if isinstance(value, list):
            tables = tomlkit.aot()
            for entry in value:
                tables.append(tomlkit.item(entry))
            if value:
                document.add(name, tables)
        else:
            document.add(name, tomlkit.item(value))
    return tomlkit.dumps(document)

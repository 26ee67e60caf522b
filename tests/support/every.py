"""The probe of every way to look at a path (every.c), and what it says, put in order."""

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from support.compile import compile_library, compile_program

PLACES = ("main", "constructor", "child", "thread", "handler")
"""Where the ways are tried: also in another library's constructor, a forked child, a thread, a signal handler."""

_PARTS = ("every.c", "every_ways.c", "every_lists.c")
_PROGRAM = """
int every_main(int count, char **words);
int main(int count, char **words) {
    return every_main(count, words);
}
"""

Answers = dict[str, dict[str, dict[str, str]]]
"""What each way says: path -> what is told ("stat", "bytes") -> way -> answer."""


@functools.cache
def every_path() -> Path:
    """The program: a thin main around a library that has all the rest, so that this one has a constructor."""
    folder = Path(__file__).parent
    source = "".join((folder / part).read_text(encoding="utf-8") for part in _PARTS)
    library = compile_library(source, "libevery.so")
    return compile_program(_PROGRAM, "every", str(library), f"-Wl,-rpath,{library.parent}")


def answers(text: str) -> Answers:
    """The probe's output, in order."""
    found: Answers = {}
    for line in text.splitlines():
        path, way, answer = line.split("\t")
        kind, _, name = way.partition(": ")
        found.setdefault(path, {}).setdefault(kind, {})[name] = answer
    return found


@contextlib.contextmanager
def held_still(paths: Iterable[str]) -> Iterator[None]:
    """While this lasts, the machine's own directories behind the paths keep the times that they have.

    The subsystem of a GPU is /sys/bus/pci, the real one. An inode of sysfs that the kernel has let go gets the time of
    its new making (fs/kernfs/inode.c), and relatime notes the first reading after that; neither happens to one that is
    open and has been read.
    """
    with contextlib.ExitStack() as stack:
        for place in {os.path.realpath(path) for path in paths}:
            if Path(place).is_dir():
                stack.callback(os.close, os.open(place, os.O_RDONLY | os.O_DIRECTORY))
                list(Path(place).iterdir())
        yield


def agreed(kinds: dict[str, dict[str, str]]) -> dict[str, str]:
    """What most ways say of one path, by what is told."""
    return {kind: Counter(ways.values()).most_common(1)[0][0] for kind, ways in kinds.items()}


def disagreements(found: Answers) -> set[tuple[str, str, str]]:
    """The ways that say something else than most of those that tell the same: (what is told, way, path)."""
    return {
        (kind, way, path)
        for path, kinds in found.items()
        for kind, most in agreed(kinds).items()
        for way, answer in kinds[kind].items()
        if answer != most
    }


def facts(answer: str) -> dict[str, str]:
    """The fields of an answer: "mode=100444 size=7"."""
    return dict(word.split("=", 1) for word in answer.split())


def fnv(content: bytes) -> str:
    """How the probe shows bytes: their number and their FNV-1a hash."""
    value = 0xCBF29CE484222325
    for byte in content:
        value = (value ^ byte) * 0x100000001B3 & (1 << 64) - 1
    return f"{len(content)} bytes {value:016x}"


def write_list(place: Path, paths: Iterable[str], *, changing: Iterable[str] = ()) -> Path:
    """The probe's list: all paths, of which those in `changing` are attempted to be changed too."""
    allowed = set(changing)
    place.write_text("".join(f"{path if path in allowed else f'-{path}'}\n" for path in sorted(paths)))
    return place

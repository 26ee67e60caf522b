"""Compares what a program did with the libraries to what it did without them."""

import os
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from vgpu_harness.conformance.result import signal_name
from vgpu_harness.preflight.boot import failed_units, last_words, maps_of_init, reached
from vgpu_harness.preflight.enclosure import CHANGED
from vgpu_harness.preflight.programs import Program
from vgpu_harness.preflight.stage import CROWD
from vgpu_harness.preflight.trial import PRELOAD_FILE, Boot, Outcome

_LOADER = re.compile(r"ERROR: ld\.so: object '(?P<path>[^']*)' from \S+ cannot be preloaded \((?P<why>.*)\): ignored\.")
"""What ld.so says of a library that it leaves out (glibc, elf/rtld.c, do_preload)."""

_REFUSED = re.compile(r": (error while loading shared libraries|symbol lookup error|relocation error): ")
"""What ld.so says when it ends a program; a library of /etc/ld.so.preload that lacks another one ends all of them."""

LOADER_FAILED = 127
"""Exit status of a program that ld.so ends."""

_LINES = 3
_WIDTH = 200

REMEDIES = {
    "crash": "do nothing in the constructor: initialise at the first call, and let what fails there go unnoticed",
    "hang": "take no lock and wait for nothing in the constructor, nor in a call that is not for the library",
    "crowd": "start no program from the constructor: it loads the library as well, which starts the next",
    "status": "do not end the program, and let calls that are not for the library answer as libc's do",
    "output": "write nothing to stdout and stderr, and let calls that are not for the library answer as libc's do",
    "state": "leave the process as it is: rights, signals, masks, limits, variables and descriptors are handed on",
    "changes": "leave the files of the machine alone; a log of one's own belongs to the program that is looked at",
    "absent": "give a library for this machine, with all that it needs, in a folder that every user may search",
    "boot": "do not deploy it: the machine would not start; see the other steps for what is wrong",
}


@dataclass(frozen=True)
class Trouble:
    """What a library has done to a program.

    Attributes:
        kind: key of REMEDIES.
        what: one sentence.
        evidence: what was seen.
        libraries: those that the evidence itself names.
    """

    kind: str
    what: str
    evidence: tuple[str, ...]
    libraries: tuple[str, ...] = ()

    @property
    def remedy(self) -> str:
        """What to change."""
        return REMEDIES[self.kind]


def ended(outcome: Outcome) -> str:
    """How a program ended, in words."""
    if outcome.missing is not None:
        return outcome.missing
    if outcome.crowd > CROWD:
        return f"was ended when there were {outcome.crowd} processes"
    if outcome.timed_out:
        return f"was ended after {outcome.seconds[-1]:.1f} s"
    if outcome.stayed:
        return f"stayed for {outcome.seconds[-1]:.1f} s"
    if outcome.status is None:
        return "was ended"
    return f"exit status {outcome.status}" if outcome.status >= 0 else f"killed by {signal_name(-outcome.status)}"


def unusable(program: Program, outcome: Outcome) -> str | None:
    """Why nothing can be said by a program, from how it ended without the libraries; None if something can."""
    if outcome.missing is not None:
        return f"it cannot be started here: {outcome.missing}"
    good = outcome.stayed if program.alive is not None else outcome.status == program.wanted
    if good:
        return None
    said = outcome.stderr.strip().splitlines()
    return f"without the libraries it does not work here either: {ended(outcome)}{': ' + said[-1] if said else ''}"


def trouble(program: Program, plain: Sequence[Outcome], tried: Outcome, libraries: Sequence[str]) -> Trouble | None:
    """What the libraries have done to a program; None if nothing.

    Args:
        program: which one.
        plain: what became of it without them, two times.
        tried: what became of it with them.
        libraries: their paths.
    """
    before, now = ended(plain[0]), ended(tried)
    both = (f"without: {before}", f"with: {now}", *_cut(tried.stderr))
    if tried.crowd > CROWD:
        return Trouble("crowd", "processes are started without end", both)
    if tried.timed_out:
        return Trouble("hang", "it hangs", both)
    if tried.status is not None and tried.status < 0 and tried.status != plain[0].status:
        return Trouble("crash", f"it crashes: {now}", both)
    left_out = _left_out(tried.stderr)
    if left_out:
        return Trouble("absent", "a library cannot be loaded", tuple(left_out.values()), tuple(left_out))
    if tried.status == LOADER_FAILED and _REFUSED.search(tried.stderr):
        return Trouble("absent", "the loader refuses to start it", both)
    if (tried.status, tried.stayed) != (plain[0].status, plain[0].stayed):
        return Trouble("status", f"its end has changed: {now}, and {before} without the libraries", both)
    looks = {
        "mapped": lambda: _not_mapped(tried.stdout, libraries),
        "changes": lambda: _spoiled(plain, tried, libraries),
    }
    return looks.get(program.check, lambda: _said(program, plain, tried))()


def _said(program: Program, plain: Sequence[Outcome], tried: Outcome) -> Trouble | None:
    for name, streams in (
        ("stderr", [o.stderr for o in (*plain, tried)]),
        ("stdout", [o.stdout for o in (*plain, tried)]),
    ):
        if streams[0] == streams[1] != streams[2]:
            kind = "state" if program.check == "state" else "output"
            return Trouble(kind, f"{name} is not what it is without the libraries", _difference(streams[0], streams[2]))
    return None


def boot_unusable(plain: Boot) -> str | None:
    """Why nothing can be said by systemd here; None if something can."""
    if plain.missing is not None:
        return f"it needs a cgroup of its own: {plain.missing}"
    if reached(plain):
        return None
    return f"without the libraries it does not reach basic.target here either: {'; '.join(last_words(plain.console))}"


def boot_trouble(plain: Boot, tried: Boot, libraries: Sequence[str]) -> Trouble | None:
    """What the libraries have done to the start of the machine; None if nothing."""
    if not reached(tried):
        how = "process 1 ended" if tried.ended else f"not reached in {tried.seconds:.0f} s"
        where = f"without: basic.target after {plain.seconds:.1f} s"
        evidence = (where, f"with: {how}", *(line[:_WIDTH] for line in last_words(tried.console)))
        return Trouble("boot", "systemd does not reach basic.target", evidence)
    more = sorted(set(failed_units(tried.report)) - set(failed_units(plain.report)))
    if more:
        return Trouble("boot", f"units fail: {', '.join(more)}", tuple(last_words(tried.console)))
    return _not_mapped(maps_of_init(tried.report), libraries)


def remark(program: Program, plain: Sequence[Outcome], tried: Outcome) -> str:
    """What is to be known of a step that passed, in words; "" if nothing."""
    if program.check == "speed":
        return start_time(plain[0], tried)
    if program.check == "changes":
        left = [path.removeprefix(CHANGED) for _, path in _new(plain, tried) if path != f"{CHANGED}{PRELOAD_FILE}"]
        return (
            f"files were left: {', '.join(left[:_LINES])}{' and others' if len(left) > _LINES else ''}" if left else ""
        )
    if program.check in {"compare", "state"} and (plain[0].stdout, plain[0].stderr) != (
        plain[1].stdout,
        plain[1].stderr,
    ):
        return "it does not write the same each time, so only its end was compared"
    return ""


def start_time(plain: Outcome, tried: Outcome) -> str:
    """How long a program takes to start, in words; it is shown, and never counts."""
    without, now = (statistics.median(each.seconds) * 1000 for each in (plain, tried))
    return f"true takes {now:.2f} ms, {without:.2f} ms without the libraries"


def _new(plain: Sequence[Outcome], tried: Outcome) -> list[tuple[str, str]]:
    """Type and path of what is there, or otherwise than it was, with the libraries alone."""
    known = {line for each in plain for line in each.stdout.splitlines()}
    lines = [line.split(" ", 3) for line in tried.stdout.splitlines() if line not in known]
    return [(fields[0], fields[3]) for fields in lines if len(fields) == 4]


def _spoiled(plain: Sequence[Outcome], tried: Outcome, libraries: Sequence[str]) -> Trouble | None:
    """What has become of the machine's own files: all that is new in /etc, and what is gone from /var."""
    found = [
        f"{path.removeprefix(CHANGED)} {'was removed' if kind == 'c' else 'was written'}"
        for kind, path in _new(plain, tried)
        if kind != "d"
        and path != f"{CHANGED}{PRELOAD_FILE}"
        and path.startswith(f"{CHANGED}/" if kind == "c" else f"{CHANGED}/etc/")
    ]
    if not found:
        return None
    return Trouble("changes", "files of the machine are changed", tuple(found[:_LINES]), tuple(libraries))


def _left_out(stderr: str) -> dict[str, str]:
    return {found["path"]: f"ld.so: {found['path']}: {found['why']}" for found in _LOADER.finditer(stderr)}


def _not_mapped(maps: str, libraries: Sequence[str]) -> Trouble | None:
    lines = [line.split(maxsplit=5) for line in maps.splitlines()]
    mapped = [(fields[4], fields[5]) for fields in lines if len(fields) == 6]  # proc_pid_maps(5)
    absent = tuple(path for path in libraries if not _is_mapped(path, mapped))
    if not absent:
        return None
    evidence = tuple(f"{path} is in {PRELOAD_FILE}, and not in the process's map of its memory" for path in absent)
    return Trouble("absent", "a library is not loaded", evidence, absent)


def _is_mapped(path: str, mapped: Sequence[tuple[str, str]]) -> bool:
    """Is the file of a path among (inode, path)s? Links are resolved in a map, and not where they had to be kept."""
    real = os.path.realpath(path)
    if any(place in {path, real} for _, place in mapped):
        return True
    try:
        wanted = (str(os.stat(real).st_ino), os.path.basename(real))  # noqa: PTH116, PTH119
    except OSError:
        return False
    return any((inode, os.path.basename(place)) == wanted for inode, place in mapped)  # noqa: PTH119


def _difference(before: str, now: str) -> tuple[str, ...]:
    import difflib

    lines = difflib.unified_diff(before.splitlines(), now.splitlines(), lineterm="", n=0)
    found = [_plain(line) for line in lines if not line.startswith(("---", "+++", "@@"))]
    return tuple(line[:_WIDTH] for line in found[:_LINES]) or ("only the ends of lines differ",)


def _cut(text: str) -> tuple[str, ...]:
    return tuple(f"stderr: {_plain(line)[:_WIDTH]}" for line in text.strip().splitlines()[-_LINES:])


def _plain(line: str) -> str:
    """A line that does nothing to a terminal."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)

"""What the tests of preflight share: libraries with a constructor, a place for them, fewer programs."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.compile import compile_library
from vgpu_harness.preflight.programs import PROGRAMS, Program
from vgpu_harness.preflight.trial import PRELOAD_FILE, Outcome, Setting, try_programs

AT_START = """#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
__attribute__((constructor)) static void start(void)
{
    %s
}
"""
"""A library with one statement in its constructor."""

NO_WRITE = """#include <sys/types.h>
ssize_t write(int descriptor, const void *data, size_t size);
ssize_t write(int descriptor, const void *data, size_t size)
{
    (void)descriptor, (void)data;
    return (ssize_t)size;
}
"""
"""A library that lets all output vanish, with every exit status as it was."""


def chosen(*names: str) -> tuple[Program, ...]:
    """The programs of these names."""
    return tuple(program for program in PROGRAMS if program.name in names)


FEW = chosen("start", "loaded", "cat", "shell")
"""Programs that every machine has; without a shell profile, so that each takes some milliseconds."""


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may search, as a deployed library's; that of pytest is closed."""
    with tempfile.TemporaryDirectory(prefix="vgpu-libraries-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def put(folder: Path, name: str, source: str, *flags: str) -> Path:
    """Compiles a library and puts it where everybody may read it."""
    place = folder / name
    shutil.copy(compile_library(source, name, *flags), place)
    place.chmod(0o755)
    return place


_PLAIN: dict[tuple[Program, ...], list[dict[str, Outcome]]] = {}


def plain_once(setting: Setting, programs: Iterable[Program], timeout: float) -> dict[str, Outcome]:
    """`try_programs`, which remembers what was tried without libraries: twice each, as preflight does."""
    programs = tuple(programs)
    if PRELOAD_FILE in setting.files:
        return try_programs(setting, programs, timeout)
    known = _PLAIN.setdefault(programs, [])
    known.append(try_programs(setting, programs, timeout) if len(known) < 2 else known.pop(0))
    return known[-1]

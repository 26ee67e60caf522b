"""The sandbox for libraries that are not ours: NVIDIA's, or a user's.

As root, NVIDIA's cuInit makes device nodes in /dev (measured on 535.261.03). So a foreign library runs as nobody, or as
the ordinary user who started it, in a mount namespace of its own, with

- a /dev of its own: null, zero, full, random, urandom, tty, and the nodes of NVIDIA's that are there;
- a /tmp of its own, and an empty HOME in it;
- everything else read-only, programs without their setuid bits, no capability, no new rights, no core file.

Two ways in:

    command([PROGRAM, ARGUMENT...], keep=[...]) -> the command line that starts a program there
    enter(keep=[...])                           takes this process there; for a worker that has imported all it needs

`keep` are paths below /tmp that have to stay visible (a library, a package in a virtual environment there); they are
read-only. `interpreter_paths()` are those that Python itself needs. `refusal()` says whether this machine can do it.
"""

import os
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vgpu_harness.conformance import enter as _enter
from vgpu_harness.errors import RunError

HOME = _enter.HOME
"""HOME of what runs in the sandbox."""

_PATIENCE = 30.0


def command(
    program: Sequence[str],
    keep: Iterable[str | os.PathLike[str]] = (),
    show: Mapping[str, str | os.PathLike[str]] | None = None,
) -> list[str]:
    """The command line that starts a program in the sandbox; its streams are those that it is started with.

    The user nobody must be allowed to execute the program. Where the sandbox cannot be made, the exit status is 125
    and stderr says why.

    Args:
        program: absolute path, and arguments.
        keep: paths that stay visible although they lie below /tmp or /dev/shm.
        show: files and folders that appear at another path, one below /tmp; by that path. So the user nobody can read
            what lies in a folder that he may not search.
    """
    options = [word for path in keep for word in ("--keep", os.fspath(path))]
    options += [word for place, path in (show or {}).items() for word in ("--show", os.fspath(path), place)]
    return [sys.executable, "-I", str(Path(_enter.__file__).absolute()), *options, "--", *program]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a program in the sandbox: no variable that a CUDA library reads, unless in `more`."""
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "HOME": HOME, "TMPDIR": "/tmp"} | dict(more or {})  # noqa: S108


def enter(keep: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Takes this process, which must have a single thread, into the sandbox for good, and changes to its HOME there.

    What is imported afterwards is found only if the user nobody may read it, and not below /tmp unless in `keep`.

    Raises:
        RunError: the kernel refused; the process should end.
    """
    try:
        _enter.enter([os.fspath(path) for path in keep])
    except OSError as error:
        raise RunError(f"the sandbox cannot be made: {error.strerror or error}") from error
    os.environ |= {"HOME": HOME, "TMPDIR": "/tmp"}  # noqa: S108


def interpreter_paths() -> list[str]:
    """Folders that this Python imports from, and its own: to be kept where they lie below /tmp."""
    folders = [sys.prefix, sys.base_prefix, *sys.path]
    return sorted({str(Path(folder).absolute()) for folder in folders if folder and Path(folder).exists()})


def library_folders() -> list[str]:
    """The folders of LD_LIBRARY_PATH: to be kept, as ld.so finds there what a library needs."""
    return [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if Path(folder).is_absolute()]


def closed_to_nobody(library: Path) -> str | None:
    """Why the user of the sandbox cannot load a library whose folder is shown there, and what to do.

    It is asked when the library could not be loaded. What lies above its folder does not matter.

    Args:
        library: the file, with no link in its path.

    Returns:
        None if neither the file, its folder, nor a folder of `library_folders()` is closed to that user.
    """
    if os.geteuid() != 0:
        return None  # then it is this user who loads it
    folders = [library.parent, *(Path(folder) for folder in library_folders() if Path(folder).is_dir())]
    for verb, bit, letter, paths in (("enter", stat.S_IXOTH, "x", folders), ("read", stat.S_IROTH, "r", [library])):
        for path in paths:
            facts = path.stat()
            if facts.st_uid != _enter.NOBODY and not facts.st_mode & bit:
                return (
                    f"the user nobody, who loads it in the sandbox, may not {verb} {path}; "
                    f"run chmod o+{letter} {path}, or copy it to a folder that all may read"
                )
    return None


def refusal() -> str | None:
    """Why no sandbox can be made here; None if it can."""
    try:
        done = subprocess.run(
            command(["/bin/true"]), env=environment(), capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{sys.executable}: {error}"
    return None if done.returncode == 0 else done.stderr.strip() or f"exit status {done.returncode}"

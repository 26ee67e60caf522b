"""One command line twice: as it is, and with all four shims, a host image and a trace; what is seen from outside."""

import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vgpu_harness import run
from vgpu_harness.host import Host
from vgpu_harness.run import Run
from vgpu_harness.run.child import Observe
from vgpu_harness.run.environment import build_environment
from vgpu_harness.run.verify import mapped_shims
from vgpu_harness.trace import Kind, Library

SHIMS = 4
_GIT = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "someone"), ("EMAIL", "someone@example.com"), ("DATE", "1600000000 +0000"))
}
"""git asks for these, and writes them into what it makes."""


@dataclass(frozen=True)
class Outcome:
    """What a command line leaves behind.

    Attributes:
        status: its exit status; -n if signal n killed it.
        stdout: what it wrote there.
        stderr: likewise.
        files: of its working directory afterwards: type, mode, and the hash of the content or the link's text, by path.
    """

    status: int
    stdout: bytes
    stderr: bytes
    files: Mapping[str, str]

    def differences(self, other: "Outcome") -> list[str]:
        """What is not the same, one line each; [] if nothing is."""
        told = [
            f"{name}: {getattr(self, name)!r} and {getattr(other, name)!r}"
            for name in ("status", "stdout", "stderr")
            if getattr(self, name) != getattr(other, name)
        ]
        paths = sorted(self.files.keys() | other.files.keys())
        return told + [
            f"file {path}: {self.files.get(path)} and {other.files.get(path)}"
            for path in paths
            if self.files.get(path) != other.files.get(path)
        ]


def files_of(folder: Path) -> dict[str, str]:
    """All that lies in a folder, by path from there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = ""
        found[str(path.relative_to(folder))] = f"{state.st_mode:o} {content}".strip()
    return found


class Both:
    """A place in which command lines run, one at a time, each in a working directory of the same name and content.

    Args:
        place: an empty folder.
        fill: puts into the new working directory what is there at the start of each command line.
    """

    def __init__(self, place: Path, fill: Callable[[Path], object]) -> None:
        self.place, self.fill = place, fill
        self.work, self.home, self.temporary = place / "work", place / "home", place / "tmp"
        self._runs = 0

    def _fresh(self) -> dict[str, str]:
        """The folders as they are at a start, and the variables that lead to them."""
        for folder in (self.work, self.home, self.temporary):
            subprocess.run(["rm", "-rf", folder], check=True)
            folder.mkdir(parents=True)
        self.fill(self.work)
        return {"HOME": str(self.home), "TMPDIR": str(self.temporary), "LC_ALL": "C.UTF-8", "TZ": "UTC", **_GIT}

    def plain(self, argv: Sequence[str], env: Mapping[str, str], timeout: float) -> Outcome:
        """As it is: no shim, and nothing of the harness."""
        environment = build_environment(self.place, extra={**self._fresh(), **env})
        with (self.place / "stdout").open("wb") as out, (self.place / "stderr").open("wb") as err:
            child = subprocess.Popen(
                argv, env=environment, cwd=self.work, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
            try:
                status = child.wait(timeout)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)  # what it left behind; the harness ends its own
                child.wait()
        return self._outcome(self.place, status)

    def shimmed(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        timeout: float,
        *,
        host: Host | None = None,
        observe: Observe = "auto",
    ) -> tuple[Outcome, Run]:
        """With the shims, and whatever else the host preloads."""
        self._runs += 1
        extra = {**self._fresh(), **env}
        folder = self.place / f"run-{self._runs}"
        result = run(argv, host, directory=folder, env=extra, cwd=self.work, timeout=timeout, observe=observe)
        assert not result.timed_out, result.explain()
        assert mapped_shims(result) == result.preload, result.explain()
        assert len(result.preload) >= SHIMS, result.preload
        return self._outcome(folder, result.returncode), result

    def _outcome(self, streams: Path, status: int) -> Outcome:
        stdout, stderr = ((streams / name).read_bytes() for name in ("stdout", "stderr"))
        return Outcome(status, stdout, stderr, files_of(self.work))


def require_an_ordinary_user() -> None:
    """Root may do to the machine what no comparison of a folder shows; tests of CPython's do other things for root."""
    assert os.geteuid() != 0, "this runs as an ordinary user: nox -s unnoticed"


def first_uses(run: Run) -> set[tuple[str, Library]]:
    """Programs of the run that called a hooked function, by file name, each with the shim that it called.

    A shim writes one record (INIT) at the first call in a process that it has to look at: one with an absolute path,
    whatever that leads to, or any call that starts a program. Nothing else writes one; a program that was merely loaded
    with the shims has none.
    """
    return {(Path(record.text).name, record.library) for record in run.trace.records if record.kind == Kind.INIT}

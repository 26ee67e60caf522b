"""The CUDA runtime stand-ins in a child process: a C program that is linked to one, on a simulated host."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.compile import compile_program
from vgpu_harness.host import Host
from vgpu_harness.run import Run
from vgpu_harness.run import run as run_program
from vgpu_harness.shims.paths import cudalib_path

MAJORS = (12, 13)
CUDALIBS = Path(__file__).resolve().parents[2] / "csrc" / "cudalibs"
"""Where runtime.h and the lists of entry points are."""
PROBE = Path(__file__).with_name("cudart_probe.c")


@dataclass(frozen=True)
class Answer:
    """What one call of the runtime answered."""

    name: str
    code: int
    values: dict[str, str]


@dataclass(frozen=True)
class Asked:
    """What a program asked the runtime, what came back, and the run in which it did."""

    answers: list[Answer]
    run: Run

    @property
    def codes(self) -> list[int]:
        """The result codes, in order."""
        return [answer.code for answer in self.answers]

    @property
    def calls(self) -> list[str]:
        """The calls of the driver, in order; how functions were found is left out."""
        names = [record.name for record in self.run.trace if record.kind.name == "CALL"]
        return [name for name in names if not name.startswith("cuGetProcAddress")]


def header_flags(major: int) -> tuple[str, ...]:
    """What a compiler needs to find runtime.h, for this major version."""
    return (f"-DCUDART_MAJOR={major}", f"-I{CUDALIBS}", "-D_GNU_SOURCE")


def probe(major: int) -> Path:
    """The program of cudart_probe.c, linked to a stand-in."""
    library = cudalib_path(f"libcudart.so.{major}")
    return compile_program(PROBE.read_text(), f"probe-{major}", *header_flags(major), str(library), "-pthread")


def answers(text: str) -> list[Answer]:
    """Reads what the program has printed."""
    found = []
    for line in text.splitlines():
        name, code, *rest = line.split(" ")
        found.append(Answer(name, int(code), dict(pair.split("=", 1) for pair in rest)))
    return found


class Runtime:
    """Asks the stand-ins; the directories of its runs are made below one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, major: int, *calls: str, env: dict[str, str] | None = None, **host: Any) -> Asked:
        """Has the program call the runtime on a simulated host.

        Args:
            major: of the stand-in.
            calls: as cudart_probe.c takes them, "count" or "attribute:75:0"; words that are apart stand for themselves.
            env: variables of the program.
            host: keys of the host file.
        """
        words = [word for text in calls for word in text.split()]
        library = cudalib_path(f"libcudart.so.{major}")
        directory = tempfile.mkdtemp(dir=self.directory)
        done = run_program(
            [probe(major), *words], Host(**host), library_path=[library.parent], env=env, directory=directory
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return Asked(answers(done.stdout), done)


def listed(name: str, major: int) -> set[str]:
    """The names of a list of entry points, csrc/cudalibs/NAME.def, that are of this major version."""
    text = (CUDALIBS / f"{name}.def").read_text()
    rows = re.findall(rf"^{name.upper()}(?:_(\d+))?\([^,]+,\s*(\w+),", text, re.MULTILINE)
    return {entry for only, entry in rows if only in {"", str(major)}}

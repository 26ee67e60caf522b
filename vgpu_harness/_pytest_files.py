"""The object behind the fixture ``vgpu_files``: the files of a simulated host, seen in two ways.

``find`` asks the path table in this process. ``read``, ``stat`` and ``listdir`` ask a Python interpreter that runs with
the shims preloaded, so they see what any program on the host sees; errors come back as the ``OSError`` raised there.
"""

import base64
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vgpu_harness.run import Run

_PROGRAM = """
import base64, json, os, sys
def read(path):
    with open(path, "rb") as file:
        return base64.b64encode(file.read()).decode()
def stat(path):
    facts = os.stat(path)
    return {name: getattr(facts, name) for name in dir(facts) if name.startswith("st_")}
try:
    answer = {"value": {"read": read, "stat": stat, "listdir": os.listdir}[sys.argv[1]](sys.argv[2])}
except OSError as error:
    answer = {"errno": error.errno}
json.dump(answer, sys.stdout)
"""

_STAT_FIELDS = (
    "st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size", "st_atime", "st_mtime", "st_ctime",
)  # fmt: skip


class HostFiles:
    """The files of a simulated host.

    Args:
        image: the host image.
        run: starts a program on the same host, as the fixture ``vgpu_run`` does.
    """

    def __init__(self, image: Path, run: Callable[..., "Run"]) -> None:
        from vgpu_harness.shims.inprocess import Files

        self._run = run
        self._table = Files(image)

    def close(self) -> None:
        """Lets go of the path table; ``find`` may not be called any more."""
        self._table.close()

    def find(self, path: str | os.PathLike[str]) -> Path | None:
        """Where the tree of virtual files has an absolute path, or None where the real file is meant.

        Raises:
            OSError: ENAMETOOLONG, as the shim answers; never the real file.
        """
        return self._table.find(path)

    def _ask(self, question: str, path: str | os.PathLike[str]) -> Any:
        run = self._run([sys.executable, "-I", "-S", "-c", _PROGRAM, question, os.fspath(path)])
        try:
            answer = json.loads(run.stdout)
        except ValueError:
            from vgpu_harness.errors import RunError

            raise RunError(f"{path}: {question} under the shims gave no answer: {run.stderr or run!r}") from None
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]), os.fspath(path))
        return answer["value"]

    def read(self, path: str | os.PathLike[str]) -> bytes:
        """The content of a file, as ``open`` and ``read`` give it to a program."""
        return base64.b64decode(self._ask("read", path))

    def stat(self, path: str | os.PathLike[str]) -> os.stat_result:
        """What ``os.stat`` answers to a program."""
        facts = self._ask("stat", path)
        return os.stat_result([facts[name] for name in _STAT_FIELDS], facts)

    def listdir(self, path: str | os.PathLike[str]) -> list[str]:
        """The names in a directory, sorted."""
        return sorted(self._ask("listdir", path))

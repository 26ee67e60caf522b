"""What another user's processes see: a forked child that becomes that user, and a directory that is open to it."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOBODY = 65534


def in_child(function: Callable[[], Any], user: int | None = NOBODY) -> Any:
    """What `function` answers, as JSON has it, in a forked child of another user; pytest itself stays who it is."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if user is not None and os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            os.write(writer, json.dumps(function()).encode())
        except BaseException as error:
            os.write(writer, json.dumps(repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    return json.loads(data) if data else None


@contextmanager
def open_to_all(program: Path) -> Iterator[tuple[Path, Path]]:
    """A directory that any user may write to, and a copy of the program in it."""
    place = Path(tempfile.mkdtemp(prefix="vgpu-test-"))
    try:
        place.chmod(0o777)
        copy = Path(shutil.copy(program, place / program.name))
        copy.chmod(0o755)
        yield place, copy
    finally:
        shutil.rmtree(place, ignore_errors=True)

"""Compiles C source text for tests, once a session: the result is kept under a hash of compiler, flags and source.

Two processes that compile the same make the same file, and the later one replaces the earlier in one step; so no lock
is needed under pytest-xdist. A compiler that is missing fails the test: these tests are about C libraries.
"""

import functools
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

PROGRAMS = "VGPU_TEST_PROGRAMS"
"""Environment variable with the session's folder; conftest.py makes and removes it."""
WARNINGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror")


@functools.cache
def _compiler() -> tuple[str, bytes]:
    name = os.environ.get("CC", "cc")
    return name, subprocess.run([name, "--version"], capture_output=True, check=True, timeout=30).stdout


def _compiled(source: str, name: str, flags: tuple[str, ...]) -> Path:
    compiler, version = _compiler()
    key = hashlib.sha256(b"\0".join([version, *(os.fsencode(flag) for flag in flags), source.encode()])).hexdigest()
    target = Path(os.environ[PROGRAMS], key[:32], name)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            text, fresh = Path(scratch, "source.c"), Path(scratch, "result")
            text.write_text(source)
            command = [compiler, *WARNINGS, "-o", str(fresh), str(text), *flags]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
            fresh.replace(target)
    return target


def compile_program(source: str, name: str, *flags: str) -> Path:
    """Compiles `source` to a program whose file is called `name`."""
    return _compiled(source, name, flags)


def compile_library(source: str, soname: str, *flags: str) -> Path:
    """Compiles `source` to a shared library of this DT_SONAME, which is its file name too; none for ""."""
    naming = (f"-Wl,-soname,{soname}",) if soname else ()
    return _compiled(source, soname or "library.so", ("-shared", "-fPIC", *naming, *flags))

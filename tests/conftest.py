"""What all tests share: the profiles of Hypothesis, and C programs that are compiled once."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# `ci` finds the same examples in each run: what is red stays red until it is mended. `random` looks for new ones.
COMMON = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=50, **COMMON)
settings.register_profile("ci", max_examples=50, derandomize=True, database=None, **COMMON)
settings.register_profile("random", max_examples=500, derandomize=False, **COMMON)

Compile = Callable[..., Path]


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    """Compiles C source text to a program, once for a session: ``compile_c(source, *flags) -> Path``."""
    directory = tmp_path_factory.mktemp("programs")

    def compiled(source: str, *flags: str) -> Path:
        key = hashlib.sha256("\0".join([source, *flags]).encode()).hexdigest()
        program = directory / key[:32]
        if not program.exists():
            text = program.with_suffix(".c")
            text.write_text(source)
            command = [
                os.environ.get("CC", "cc"),
                "-std=gnu11",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Werror",
                text,
                "-o",
                program,
            ]
            subprocess.run([*command, *flags], check=True, timeout=60)
        return program

    return compiled


@pytest.fixture
def copy_as(tmp_path: Path) -> Callable[[Path, str], Path]:
    """Copies a program under another name: ``copy_as(program, name) -> Path``."""

    def copied(program: Path, name: str) -> Path:
        place = tmp_path / "programs"
        place.mkdir(exist_ok=True)
        return Path(shutil.copy(program, place / name))

    return copied

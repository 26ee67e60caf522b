"""What all tests share: the profiles of Hypothesis, and a folder for C programs that are compiled once a session."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.compile import PROGRAMS

# `ci` finds the same examples in each run: what is red stays red until it is mended. `random` looks for new ones.
COMMON = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=50, **COMMON)
settings.register_profile("ci", max_examples=50, derandomize=True, database=None, **COMMON)
settings.register_profile("random", max_examples=500, derandomize=False, **COMMON)


def pytest_configure(config: pytest.Config) -> None:
    """Gives all processes of a session one folder for the programs that tests compile, and takes it away again."""
    # A shell has its background jobs ignore Ctrl-C; the programs that tests start are to hear it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if PROGRAMS not in os.environ:  # a worker of pytest-xdist has it from the controller
        os.environ[PROGRAMS] = tempfile.mkdtemp(prefix="vgpu-test-programs-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(PROGRAMS), ignore_errors=True))


@pytest.fixture
def copy_as(tmp_path: Path) -> Callable[[Path, str], Path]:
    """Copies a program under another name: ``copy_as(program, name) -> Path``."""

    def copied(program: Path, name: str) -> Path:
        place = tmp_path / "programs"
        place.mkdir(exist_ok=True)
        return Path(shutil.copy(program, place / name))

    return copied

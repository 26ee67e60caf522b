"""Many threads in one process state. `nox -s sanitize` builds the program with a sanitizer; without it a test fails."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from vgpu_harness.trace.create import create_trace

BUILD = "VGPU_STRESS_BUILD"
"""Environment variable with the folder in which the session has built the programs."""

SECONDS = int(os.environ.get("VGPU_STRESS_SECONDS", "10"))
TRACE_BYTES = 256 << 20
ENVIRONMENT = {"TSAN_OPTIONS": "halt_on_error=1 exitcode=66", "ASAN_OPTIONS": "exitcode=66", "PATH": os.environ["PATH"]}


@pytest.fixture
def program() -> Path:
    """The folder of the programs."""
    named = os.environ.get(BUILD)
    assert named, f"{BUILD} is not set; run it as `nox -s sanitize`, which builds the program"
    return Path(named)


def stress(program: Path, image: Path, threads: int, seconds: float) -> subprocess.CompletedProcess[str]:
    """Runs the program on this host image."""
    trace = create_trace(image.with_name("stress.trace"), TRACE_BYTES)
    command = [str(program), str(image), str(trace), str(threads), str(seconds)]
    limit = 60 + 20 * seconds
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=limit, env=ENVIRONMENT)


def test_sixteen_threads_make_no_race_and_lose_no_record(program, vgpu_image):
    """Each answer is the one that the thread's own calls explain, all is given back, and every call is in the trace."""
    run = stress(program / "vgpu-stress", vgpu_image, 16, SECONDS)
    assert run.returncode == 0, run.stdout + run.stderr[-4000:]
    calls = int(re.match(r"(\d+) calls, 0 wrong", run.stdout)[1])
    assert calls > 16 * 100


def test_without_the_lock_it_fails(program, vgpu_image):
    """The control: the same threads with a lock that does nothing are found out."""
    run = stress(program / "vgpu-stress-unlocked", vgpu_image, 16, 2)
    assert run.returncode != 0, run.stdout

"""Whenever preflight is ended, and whatever an init does: nothing of the enclosure stays, and nobody waits for it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.compile import compile_program
from support.preflight import open_folder, put

from vgpu_harness.preflight import check
from vgpu_harness.preflight.stage import CROWD


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may search."""
    with open_folder() as place:
        yield place


def named(name: str) -> list[int]:
    """The processes of a program."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline", "status"])
        if (process.info["cmdline"] or [""])[0] == name and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def hanging(folder: Path) -> str:
    """A program that never ends, by a name of its own."""
    name = f"hang-{os.getpid()}"
    source = "#include <unistd.h>\nint main(void) { for (;;) { pause(); } }\n"
    return str(shutil.copy(compile_program(source, name), folder / name))


HANG = """import sys
from vgpu_harness.preflight.programs import Program
from vgpu_harness.preflight.trial import Setting, try_programs
try_programs(Setting(keep=(sys.argv[1],)), [Program("start", (sys.argv[1],))], 60.0)
"""


@pytest.mark.parametrize(
    ("whom", "number"),
    [("stage", signal.SIGKILL), ("stage", signal.SIGTERM), ("harness", signal.SIGKILL), ("harness", signal.SIGINT)],
)
def test_the_enclosure_ends_with_the_process_that_made_it(hanging: str, whom: str, number: signal.Signals) -> None:
    """Whoever of the two outside is ended while a program hangs, everything in the enclosure ends, too."""
    harness = subprocess.Popen([sys.executable, "-P", "-c", HANG, hanging], stderr=subprocess.PIPE)
    try:
        assert wait_for(lambda: named(hanging) != [])
        (stage,) = psutil.Process(harness.pid).children()
        os.kill({"stage": stage.pid, "harness": harness.pid}[whom], number)
        harness.communicate(timeout=30)
        assert harness.returncode != 0
        assert wait_for(lambda: named(hanging) == [])
        assert wait_for(lambda: not stage.is_running())
    finally:
        harness.kill()
        harness.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_ended_leaves_nothing(folder: Path, number: signal.Signals) -> None:
    """A signal in the middle of the command: its folder in /tmp and its processes are gone, and it gives no verdict."""
    library = put(
        folder, "libhang.so", "#include <unistd.h>\n__attribute__((constructor)) static void start(void) { pause(); }\n"
    )
    (folder / "tmp").mkdir(mode=0o755)
    environment = {**os.environ, "TMPDIR": str(folder / "tmp")}
    command = [sys.executable, "-P", "-m", "vgpu_harness", "preflight", str(library), "--timeout", "60"]
    words = [*command, *(word for name in check.STEPS if name != "start" for word in ("--without", name))]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as harness:
        # The third enclosure is the one with the library, in which the program hangs.
        try:
            assert wait_for(lambda: any("true" in arguments(each) for each in family(harness.pid)))
            processes = family(harness.pid)
        finally:
            harness.send_signal(number)
        assert harness.communicate(timeout=30)[0] == b""
    assert harness.returncode == 128 + number
    assert list((folder / "tmp").iterdir()) == []
    assert wait_for(lambda: not any(each.is_running() for each in processes))


def arguments(process: psutil.Process) -> list[str]:
    """The command line of a process; none of one that has ended meanwhile."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def family(pid: int) -> list[psutil.Process]:
    """The processes below a process."""
    return psutil.Process(pid).children(recursive=True)


NOISY_CROWD = r"""#include <unistd.h>
int main(void)
{
    if (fork() == 0) {
        while (write(2, "again\n", 6) == 6) {
        }
    }
    while (fork() > 0) {
        usleep(500);
    }
    pause();
    return 0;
}
"""

# As it is on an idle machine: there is always something to be read.
NEVER_SILENT = """import select, sys
real = select.select
def never_silent(readers, writers, others, seconds):
    while not any(found := real(readers, writers, others, seconds)): pass
    return found
select.select = never_silent
from vgpu_harness.preflight import stage
sys.exit(stage.main())
"""


def test_a_crowd_that_writes_all_the_time_is_counted(folder: Path) -> None:
    """Processes without end are ended when there are too many, however much they write."""
    crowd = str(shutil.copy(compile_program(NOISY_CROWD, "crowd"), folder / "crowd"))
    program = {"name": "crowd", "command": [crowd], "user": None, "alive": None, "repeat": 1, "seconds": 5.0}
    job = {
        "parent": os.getpid(), "keep": [str(folder)], "files": {}, "copies": {}, "environment": {},
        "programs": [program], "first": "", "init": None,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-c", NEVER_SILENT], input=json.dumps(job), capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert answer["crowd"] > CROWD
    assert not answer["timed_out"]

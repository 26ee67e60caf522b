"""What an init may do in an enclosure: whoever waits for it outside is neither misled nor held up."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compile import compile_program
from support.preflight import open_folder

from vgpu_harness.preflight import trial
from vgpu_harness.preflight.trial import Boot


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may search."""
    with open_folder() as place:
        yield place


TRACED = """#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <unistd.h>
int main(void)
{
    %s
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGUSR1);
    return 0;
}
"""

PAUSES = "#include <unistd.h>\nint main(void) { for (;;) { pause(); } }\n"

# After a hangup, which systemd makes of its console at times, what select(2) has said is no longer true.
WRONG_SELECT = """import select, sys
select.select = lambda readers, writers, others, seconds: (readers, writers, others)
from vgpu_harness.preflight import stage
sys.exit(stage.main())
"""


def started(folder: Path, source: str, timeout: float) -> Boot:
    """A program as the init of an enclosure."""
    program = shutil.copy(compile_program(source, "init"), folder / "init")
    return trial.try_init(
        trial.Setting(keep=(str(folder),)), [str(program)], done="/run/done", report="/run/report", timeout=timeout
    )


def test_an_init_that_lets_itself_be_traced_has_not_ended(folder: Path) -> None:
    """It is stopped for its parent, outside, at the next signal: it has not ended, and is ended at the limit."""
    found = started(folder, TRACED % "", 0.5)
    assert (found.missing, found.done, found.ended) == (None, False, False)
    control = started(folder, TRACED % "return 0;", 10.0)
    assert (control.done, control.ended) == (False, True)


def test_nobody_waits_for_a_console_that_says_nothing(folder: Path) -> None:
    """A console of which it is wrongly said that it can be read holds nobody: the init is ended at its limit."""
    hanging = str(shutil.copy(compile_program(PAUSES, "init"), folder / "init"))
    init = {"command": [hanging], "done": "/run/done", "report": "/run/report", "seconds": 0.5}
    job = {
        "parent": os.getpid(), "keep": [hanging], "files": {}, "copies": {}, "environment": {}, "programs": [],
        "first": "", "init": init,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-c", WRONG_SELECT], input=json.dumps(job), capture_output=True, text=True, timeout=20,
        check=True,
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert (answer["done"], answer["ended"]) == (False, False)

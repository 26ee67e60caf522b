"""One enclosure, from outside: what is to be tried in it, and what came of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vgpu_harness.errors import RunError
from vgpu_harness.preflight.programs import FIRST, Program

PRELOAD_FILE = "/etc/ld.so.preload"

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_REFUSED = 125
_SLACK = 60.0
_PATIENCE = 5.0


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Attributes:
        missing: why it could not be started; None if it could.
        status: exit status, -N for signal N; None if it had to be ended.
        stdout: what it wrote there, as far as it is kept.
        stderr: the same.
        timed_out: it was ended at its time limit.
        stayed: it was ended as it had stayed for as long as it should.
        crowd: the most processes that were seen at once, where it was slow enough to be looked at.
        seconds: of each run.
    """

    missing: str | None = None
    status: int | None = None
    stdout: str = ""
    stderr: str = ""
    timed_out: bool = False
    stayed: bool = False
    crowd: int = 0
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Boot:
    """What became of an init.

    Attributes:
        missing: why it could not be tried; None if it could.
        done: it came to where it should.
        ended: process 1 ended.
        report: what was written there.
        console: the end of what was written to the console.
        seconds: until then.
    """

    missing: str | None = None
    done: bool = False
    ended: bool = False
    report: str = ""
    console: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Setting:
    """What an enclosure has, beside the machine's own files.

    Attributes:
        keep: paths below /tmp, /run and /dev that stay visible.
        environment: variables on top of PATH, HOME, LC_ALL and TERM.
        files: the text of files that are written, by path.
        copies: files whose bytes are copied, by path; anybody may write to these.
    """

    keep: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)

    def with_libraries(self, libraries: Sequence[str]) -> "Setting":
        """The same with /etc/ld.so.preload."""
        files = {**self.files, PRELOAD_FILE: "".join(f"{path}\n" for path in libraries)}
        return Setting(self.keep, self.environment, files, self.copies)

    def _job(self) -> dict[str, Any]:
        basic = {"PATH": SYSTEM_PATH, "HOME": "/root", "LC_ALL": "C", "TERM": "dumb"}
        return {
            "keep": self.keep, "environment": {**basic, **self.environment}, "files": dict(self.files),
            "copies": dict(self.copies), "parent": os.getpid(), "programs": [], "first": FIRST, "init": None,
        }  # fmt: skip


def try_programs(setting: Setting, programs: Iterable[Program], timeout: float) -> dict[str, Outcome]:
    """Runs programs, one after another, in one enclosure.

    Args:
        setting: of the enclosure.
        programs: where one with the name FIRST fails, those after it are not run.
        timeout: seconds that each may take.

    Returns:
        What became of them, by name; without those that were not run.

    Raises:
        RunError: no enclosure can be made.
    """
    job = setting._job()  # noqa: SLF001 - this module's own
    jobs = [program.to_job(timeout) for program in programs]
    answers = _answers({**job, "programs": jobs}, sum(timeout * each["repeat"] for each in jobs))
    return {
        answer.pop("name"): Outcome(**{**answer, "seconds": tuple(answer.get("seconds", ()))}) for answer in answers
    }


def try_init(setting: Setting, command: Sequence[str], *, done: str, report: str, timeout: float) -> Boot:
    """Lets an init be process 1 of an enclosure, until the file `done` is there.

    Args:
        setting: of the enclosure; its environment is all that the init gets.
        command: absolute path, and arguments.
        done: path of the file that tells the end.
        report: path of the file that is read then.
        timeout: seconds that it may take.

    Raises:
        RunError: no enclosure can be made.
    """
    job = setting._job()  # noqa: SLF001
    init = {"command": list(command), "done": done, "report": report, "seconds": timeout}
    (answer,) = _answers({**job, "init": init}, timeout)
    del answer["name"]
    return Boot(**answer)


def refusal() -> str | None:
    """Why no enclosure can be made here; None if it can."""
    try:
        try_programs(Setting(), (), 1.0)
    except RunError as error:
        return str(error)
    return None


def _answers(job: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    # A program's own limits are kept inside; this one is for an enclosure that hangs as a whole.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    command = [sys.executable, "-P", "-m", "vgpu_harness.preflight.stage"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    ) as stage:  # fmt: skip
        try:
            stdout, stderr = stage.communicate(json.dumps(job), seconds + _SLACK)
        except subprocess.TimeoutExpired as error:
            _end(stage)
            raise RunError(f"the enclosure did not end in {error.timeout:.0f} s; give a shorter --timeout") from error
        except BaseException:
            _end(stage)
            raise
    if stage.returncode != 0:
        reason = stderr.strip() or f"exit status {stage.returncode}"
        hint = "" if stage.returncode == _REFUSED else " (this is a fault of vgpu-harness)"
        raise RunError(f"no enclosure can be made: {reason}{hint}; preflight needs root, or user namespaces")
    return [json.loads(line) for line in stdout.splitlines()]


def _end(stage: "subprocess.Popen[str]") -> None:
    """Ends an enclosure by its stage, which tidies up; at once, if it does not answer."""
    stage.terminate()
    try:
        stage.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        stage.kill()

"""One job in an enclosure of its own: `python -P -m vgpu_harness.preflight.stage`, a JSON job on stdin.

The job's keys: `parent` (the process that gives the job, with which this one ends), `keep` (paths to show), `files`
(path: text, written inside), `copies` (path: file outside whose bytes are written there), `environment`, `programs`
(see `_Watched`), `first` (a program; if it fails, no other is tried), and `init` (null, or `command`, `done`, `report`,
`seconds`: what becomes process 1 after the programs' place is furnished, which file tells that it is done, which file
to read then).

Answers are JSON lines on stdout, one a program, or one of the init. Exit status 125: no enclosure; stderr says why.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from vgpu_harness.conformance.enter import REFUSED, NotEnteredError
from vgpu_harness.preflight import enclosure, group

KEPT_OUTPUT = 1 << 18
"""Bytes of each stream that are kept."""

CROWD = 400
"""So many processes at once, and it is ended: a library that starts programs, which load it, never comes to an end."""

HANGS = 3
"""So many programs that hang, and no other is tried: each takes its whole time."""

_TICK = 0.02

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_TERMINATED = 128 + signal.SIGTERM


def _say(answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


class _Watched:
    """A program, watched from process 1: its streams, its end, the number of processes.

    Keys of a program: `name`, `command`, `user` (number, or null for the user of process 1), `seconds` (limit), `alive`
    (null, or the seconds for which it must stay; then it is ended), `repeat` (so often; what is answered is the last
    one, with the seconds of each).
    """

    def __init__(self, program: dict[str, Any], environment: dict[str, str]) -> None:
        self.crowd = 0
        self.timed_out = self.stayed = False
        rights: dict[str, Any] = {}
        if program["user"] is not None:
            rights = {"user": program["user"], "group": program["user"], "extra_groups": []}
        began = time.monotonic()
        self._child = subprocess.Popen(
            program["command"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            env=environment, start_new_session=True, **rights,
        )  # fmt: skip
        self._follow(began, program["seconds"], program["alive"])
        self.seconds = time.monotonic() - began
        self.status = self._end()

    def _follow(self, began: float, limit: float, alive: float | None) -> None:
        """Reads the streams until the program has ended, or has to be."""
        if self._child.stdout is None or self._child.stderr is None:
            raise RuntimeError("the streams of a program are pipes")
        self._streams = {self._child.stdout.fileno(): bytearray(), self._child.stderr.fileno(): bytearray()}
        open_streams = set(self._streams)
        counted = 0.0
        ended = os.pidfd_open(self._child.pid)
        try:
            while True:
                ready = select.select([*open_streams, ended], [], [], _TICK)[0]
                for stream in set(ready) & open_streams:
                    data = os.read(stream, 1 << 16)
                    if not data:
                        open_streams.discard(stream)
                    self._streams[stream] += data[: KEPT_OUTPUT - len(self._streams[stream])]
                spent = time.monotonic() - began
                if ended in ready and not set(ready) & open_streams:
                    return
                if spent > counted + _TICK:
                    counted = spent
                    self.crowd = max(self.crowd, sum(name.isdigit() for name in os.listdir("/proc")))  # noqa: PTH208
                self.stayed = alive is not None and spent > alive
                self.timed_out = spent > limit and not self.stayed
                if self.stayed or self.timed_out or self.crowd > CROWD:
                    return
        finally:
            os.close(ended)

    def _end(self) -> int | None:
        """Ends whatever is left of it; answers its exit status, None if it had not ended by itself."""
        status = self._child.poll()
        _kill_all()
        if status is None:
            self._child.wait()
        while True:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                break
        streams = list(self._streams.values())
        self.stdout, self.stderr = _text(bytes(streams[0])), _text(bytes(streams[1]))
        for pipe in (self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
        return status


def _kill_all() -> None:
    """Every process of the enclosure but process 1, which this is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)


def _try(program: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    try:
        watched = _Watched(program, environment)
        seconds = [watched.seconds]
        while watched.status == 0 and len(seconds) < program["repeat"]:
            watched = _Watched(program, environment)
            seconds.append(watched.seconds)
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        return {"name": program["name"], "missing": f"{program['command'][0]}: {error.strerror}"}
    return {
        "name": program["name"], "missing": None, "status": watched.status, "stdout": watched.stdout,
        "stderr": watched.stderr, "timed_out": watched.timed_out, "stayed": watched.stayed, "crowd": watched.crowd,
        "seconds": seconds,
    }  # fmt: skip


def _inside(job: dict[str, Any], copies: dict[str, bytes]) -> None:
    """Process 1: furnishes the enclosure, then tries the programs or becomes the init."""
    for path, data in [*copies.items(), *((path, text.encode()) for path, text in job["files"].items())]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)
    for path in copies:
        Path(path).chmod(0o666)
    if job["init"] is not None:
        group.mount_cgroup()
        os.setsid()
        console = os.open("/dev/console", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(console, stream)
        os.closerange(3, 1 << 10)
        os.execve(job["init"]["command"][0], job["init"]["command"], job["environment"])  # noqa: S606
    hung = 0
    for program in job["programs"]:
        answer = _try(program, job["environment"])
        _say(answer)
        hung += bool(answer.get("timed_out"))
        if hung == HANGS or (program["name"] == job["first"] and (answer["missing"] or answer["status"] != 0)):
            return


def _has_ended(pid: int) -> bool:
    """Whether a child has ended; one that lets itself be traced is reported when it stops, too."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    return found is not None and found.si_code in {os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED}


def _outside(warden: enclosure.Warden, job: dict[str, Any]) -> int:
    """Waits for the end of an enclosure; for its init, until it is done. Answers the exit status of this process."""
    if job["init"] is None:
        os.waitid(os.P_PID, warden.pid, os.WEXITED | os.WNOWAIT)
        status = warden.end()
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else REFUSED
    root = Path(f"/proc/{warden.pid}/root")
    log, began, done, ended = bytearray(), time.monotonic(), False, False
    while not (done or ended) and time.monotonic() - began < job["init"]["seconds"]:
        ended = _has_ended(warden.pid)
        done = os.path.exists(f"{root}{job['init']['done']}")  # noqa: PTH110 - no error where nobody may look
        if not select.select([warden.console], [], [], _TICK)[0]:
            continue
        try:
            log += os.read(warden.console, 1 << 12)
        except OSError:  # nobody has it open at the moment, or it was hung up after select(2) had seen something
            time.sleep(_TICK)
    seconds = time.monotonic() - began
    report = ""
    with contextlib.suppress(OSError):
        report = Path(f"{root}{job['init']['report']}").read_text()
    status = warden.end()
    if ended and os.WIFEXITED(status) and os.WEXITSTATUS(status) == REFUSED:
        return REFUSED
    text = _text(bytes(log[-KEPT_OUTPUT:])).replace("\r", "")
    _say({"name": "init", "done": done, "ended": ended, "report": report, "console": text, "seconds": seconds})
    return 0


def _end_with(parent: int) -> None:
    """Ends this process when its parent does, or when it is told to; main ends the enclosure then."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(_TERMINATED)


def main() -> int:
    """The program; it is two processes after the first lines, and only the one outside comes back."""
    job = json.load(sys.stdin)
    _end_with(job["parent"])
    copies = {path: Path(source).read_bytes() for path, source in job["copies"].items()}
    warden = None
    try:
        warden = enclosure.make(job["keep"], with_group=job["init"] is not None)
        if warden is not None:
            if job["init"] is not None and warden.no_cgroup is not None:
                _say({"name": "init", "missing": warden.no_cgroup})
                warden.end()
                return 0
            return _outside(warden, job)
        _inside(job, copies)
    except NotEnteredError as error:
        sys.stderr.write(f"{error.strerror}\n")
        sys.stderr.flush()
        os._exit(REFUSED)
    except SystemExit:
        if warden is not None:
            with contextlib.suppress(ChildProcessError):  # it had been ended already
                warden.end()
        os._exit(_TERMINATED)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(REFUSED)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())

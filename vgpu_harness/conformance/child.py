"""The worker process of the suite: it forks for each request, and the child loads the library and does one rule.

Started as ``python -m vgpu_harness.conformance.child [OPTION VALUE]...``; see `main`. Requests come in as JSON
lines on stdin, results go out as JSON lines on stdout. The worker itself never loads a library that is tested:
no request meets what an earlier one has left.
"""

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vgpu_harness.conformance.api import Api, Broken, Cuda, Nvml
from vgpu_harness.conformance.library import Library, Missing
from vgpu_harness.conformance.result import signal_name
from vgpu_harness.conformance.rule import all_rules, load
from vgpu_harness.errors import RunError, VgpuHarnessError

if TYPE_CHECKING:
    from vgpu_harness.host import Host

_SAID = 600
"""Characters of a message that are kept: a wrong count can make a list in it very long."""

_FIRST_OWN_FD = 64
"""A library that writes to descriptors that are not its own tries the low ones."""

_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>

APIS: dict[str, type[Api]] = {"cuda": Cuda, "nvml": Nvml}


@lru_cache(maxsize=64)
def _host(file: str) -> "Host":
    from vgpu_harness.host import Host

    return Host.load(file)


class _Teller:
    """Writes what happens in the child as JSON lines: what was said before a crash is known after it."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def __call__(self, said: dict[str, Any]) -> None:
        data = json.dumps(said).encode() + b"\n"
        while data:
            data = data[os.write(self._pipe, data) :]


def _probe(api: Api) -> dict[str, Any]:
    """How the library's initialisation answers, and how many devices there are then."""
    init, count = ("cuInit", "cuDeviceGetCount") if isinstance(api, Cuda) else ("nvmlInit_v2", "nvmlDeviceGetCount_v2")
    code = api.call(init, *([0] if isinstance(api, Cuda) else []))
    devices = api.out("unsigned int")
    return {
        "verdict": "probed",
        "function": init,
        "code": code,
        "devices": api.values(devices)[0] if code == 0 and api.call(count, api.ffi.cast("void *", devices)) == 0 else 0,
    }


def _do(request: dict[str, Any], tell: _Teller) -> dict[str, Any]:
    """One request, in the child: what is to be said of it at the end."""
    try:
        library = Library(request["library"])
    except OSError as error:
        return {"verdict": "unloadable", "message": str(error)}
    tell({"loaded": True})
    host = None if request["host"] is None else _host(request["host"])
    api = APIS[request["api"]](library, host, tell, request["silence"])
    if request["rule"] is None:
        try:
            return _probe(api)
        except Missing as missing:
            return {"verdict": "missing", "message": f"does not export {missing}"}
    rule = all_rules()[request["rule"]]
    absent = [name for name in rule.functions if not library.has(name)]
    if absent:
        return {"verdict": "missing", "message": f"does not export {', '.join(absent)}"}
    try:
        rule.body(api)
    except Broken as broken:
        message = str(broken)
        return {"verdict": "failed", "message": message[:_SAID] + "..." * (len(message) > _SAID)}
    except Missing as missing:
        return {"verdict": "missing", "message": f"does not export {missing}"}
    except BaseException as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{at.filename.rpartition('/')[2]}:{at.lineno}"
        return {"verdict": "failed", "message": f"the rule itself ended with {error!r} at {where}"}
    return {"verdict": "passed", "message": ""}


def _in_child(request: dict[str, Any], pipe: int) -> None:
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for name in ("VGPU_HOST", "VGPU_TRACE"):
        os.environ.pop(name, None)
    if request["image"] is not None:
        os.environ["VGPU_HOST"] = request["image"]
    tell = _Teller(fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, _FIRST_OWN_FD))
    os.close(pipe)
    tell(_do(request, tell))


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Does a request in a forked child.

    Args:
        request: library, api, rule (None: the probe), image, host (a host file), silence (see `Api`), timeout
            in seconds.

    Returns:
        verdict, message, calls, seconds; for a probe what `_probe` says.
    """
    started = time.monotonic()
    if request["host"] is not None:
        _host(request["host"])  # read once here, not in each child
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(ours)
            _in_child(request, theirs)
        finally:
            os._exit(0)
    os.close(theirs)
    said, in_time = _listen(child, ours, started + request["timeout"])
    os.close(ours)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # What a rule has forked is in the child's group, and goes with it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    lines = _lines(said)
    calls = _calls(lines)
    result = _ended(lines, status, in_time, request["timeout"], calls)
    return result | {"calls": calls, "seconds": round(time.monotonic() - started, 4)}


def _listen(child: int, pipe: int, deadline: float) -> tuple[bytes, bool]:
    """What the child writes until it is gone, and whether it was gone in time. Others may hold the pipe open."""
    said = b""
    process = os.pidfd_open(child)
    try:
        while (left := deadline - time.monotonic()) > 0:
            ready = select.select([pipe, process], [], [], left)[0]
            if pipe in ready:
                piece = os.read(pipe, 1 << 16)
                said += piece
                if piece:
                    continue
                ready = select.select([process], [], [], max(0.0, deadline - time.monotonic()))[0]
            if process in ready:
                return said, True
    finally:
        os.close(process)
    return said, False


def _lines(said: bytes) -> list[dict[str, Any]]:
    """What the child has told; a line that its end has cut, or that is the library's own, is none."""
    lines = []
    for line in said.split(b"\n"):
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            lines += [told] if isinstance(told, dict) else []
    return lines


def _calls(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The calls with their answers; a call without one is where the process ended."""
    calls: list[dict[str, Any]] = []
    open_calls: dict[int, dict[str, Any]] = {}  # by thread
    for line in lines:
        if "call" in line:
            call = {"function": line["call"], "arguments": line["arguments"], "answer": None, "outputs": []}
            calls.append(call)
            open_calls[line["by"]] = call
        elif "answer" in line:
            open_calls.pop(line["by"]).update(answer=line["answer"], outputs=line["outputs"])
    return calls


def _not_loaded(status: int, in_time: bool, timeout: float) -> str:
    if not in_time:
        return f"loading it takes more than {timeout:g} s; mend its constructors, or give it more time (--timeout)"
    how = signal_name(-status) if status < 0 else f"exit status {status}"
    return f"loading it ends the process: {how}; mend its constructors"


def _ended(
    lines: list[dict[str, Any]], status: int, in_time: bool, timeout: float, calls: list[dict[str, Any]]
) -> dict[str, Any]:
    last: dict[str, Any] | None = next((line for line in reversed(lines) if "verdict" in line), None)
    if in_time and status == 0 and last is not None:
        return last
    if not any("loaded" in line for line in lines):
        return {"verdict": "unloadable", "message": _not_loaded(status, in_time, timeout)}
    unanswered = [call["function"] for call in calls if call["answer"] is None]
    where = f"in {unanswered[-1]}" if unanswered else "outside of any call"
    if last is not None:
        where = "after the rule had ended"
    if not in_time:
        return {"verdict": "hung", "message": f"{where}: killed after {timeout:g} s"}
    if status < 0:
        return {"verdict": "crashed", "message": f"{where}: {signal_name(-status)}"}
    return {"verdict": "crashed", "message": f"{where}: the process exited with status {status}"}


def _end_strays() -> None:
    """Ends what a library has started and moved to a group of its own: this process is its parent by now."""
    children = Path("/proc/thread-self/children")
    while pids := children.read_text().split() if children.exists() else []:
        for pid in map(int, pids):
            try:
                os.kill(pid, signal.SIGKILL)
            except PermissionError:
                return  # outside of the sandbox it can have become somebody else
            os.waitpid(pid, 0)


def _answer(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def _enter_sandbox(options: dict[str, list[str]]) -> None:
    from vgpu_harness.conformance import enter, sandbox

    for file in options["--host"]:
        _host(file)  # in the sandbox nothing more can be imported
    show = dict(value.split("=", 1) for value in options["--show"])
    try:
        enter.enter([*options["--keep"], *sandbox.interpreter_paths()], show)
    except OSError as error:
        raise RunError(f"the sandbox cannot be made: {error.strerror or error}") from error
    os.environ |= {"HOME": enter.HOME, "TMPDIR": "/tmp"}  # noqa: S108 - the sandbox's own /tmp


def main(argv: list[str]) -> None:
    """The worker: says whether it is ready, and then does requests.

    Args:
        argv: ``--rules FILE``, more rules; ``--keep PATH``, the libraries are foreign, and this has to stay visible in
            their sandbox; ``--show PLACE=PATH``, what appears at a place there; ``--host FILE``, a host that they will
            show there. Each any number of times.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    options: dict[str, list[str]] = {"--rules": [], "--keep": [], "--show": [], "--host": []}
    for option, value in zip(argv[::2], argv[1::2], strict=True):
        options[option].append(value)
    try:
        for file in options["--rules"]:
            load(Path(file))
        all_rules()
        if options["--keep"]:
            _enter_sandbox(options)
    except VgpuHarnessError as error:
        _answer({"verdict": "refused", "message": str(error)})
        return
    _answer({"verdict": "ready"})
    gc.freeze()
    gc.disable()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for line in sys.stdin:
        result = serve(json.loads(line))
        _end_strays()
        _answer(result)


if __name__ == "__main__":
    main(sys.argv[1:])

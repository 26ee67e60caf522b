"""The suite: which rules are tried on which library, in a worker process, and what came of each."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from vgpu_harness.conformance import sandbox
from vgpu_harness.conformance.result import Result, Verdict
from vgpu_harness.conformance.rule import ApiName, Rule
from vgpu_harness.conformance.subject import Subject
from vgpu_harness.errors import RunError, ShimError
from vgpu_harness.host import Host, Tree, write_image
from vgpu_harness.host.faults import FunctionFault

TIMEOUT = 10.0
"""Seconds that a rule has unless told otherwise."""

KEPT = (
    "PATH",
    "LANG",
    "TZ",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "PYTHONSAFEPATH",
    "PYTHONDONTWRITEBYTECODE",
    "VIRTUAL_ENV",
)
"""Variables that the worker takes over. None that a CUDA library reads is among them, and nothing is preloaded."""


class Lie(Enum):
    """How a function of the shims lies in a control."""

    SILENCE = "silence"
    SUCCESS = "success"
    VALUE = "value"


VALUE = 9973
"""What the lie of a value puts in place of a function's first output: no answer has it, and as a count it is small."""


@dataclass
class _Shown:
    """A host as the worker and the shims are told of it."""

    image: str
    file: str


@dataclass
class Suite:
    """A worker, and the libraries that rules are tried on. A context manager.

    Args:
        subjects: the library for each API.
        timeout: seconds that a rule has.
        sandbox: whether foreign libraries run as an unprivileged user in a mount namespace of their own.
        files: Python files with rules besides those of this package; see `vgpu_harness.conformance.rule.load`.
    """

    subjects: Mapping[ApiName, Subject]
    timeout: float = TIMEOUT
    sandbox: bool = True
    files: Sequence[Path] = ()
    _shown: dict[str, _Shown] = field(default_factory=dict)
    _paths: dict[ApiName, str] = field(default_factory=dict)
    _unloadable: dict[ApiName, str] = field(default_factory=dict)
    _without_gpu: dict[tuple[ApiName, str], str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Starts the worker.

        Raises:
            RunError: it did not start, or the sandbox for foreign libraries cannot be made here.
        """
        self._stack = contextlib.ExitStack()
        try:
            self._place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vgpu-conform-")))
            self._inside = self._place
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _start(self) -> None:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        line = [sys.executable, "-P", "-m", "vgpu_harness.conformance.child"]
        for file in self.files:
            line += ["--rules", str(file.absolute())]
        if self.sandbox and any(subject.foreign for subject in self.subjects.values()):
            self._place.chmod(0o755)  # the user in the sandbox reads the images there
            self._inside = Path("/tmp/vgpu-conform")  # noqa: S108 - the sandbox's own /tmp
            line += ["--keep", str(self._place), "--show", f"{self._inside}={self._place}"]
            line += [word for folder in sandbox.library_folders() for word in ("--keep", folder)]
            for api, tested in self.subjects.items():
                # Nobody may be unable to search the folders above the library's own.
                library = tested.path.resolve()
                self._paths[api] = f"/tmp/vgpu-{api}/{library.name}"  # noqa: S108 - the sandbox's own /tmp
                line += ["--show", f"/tmp/vgpu-{api}={library.parent}"]  # noqa: S108
            shown = [self._show(subject.host) for subject in self.subjects.values()]
            files = [str(self._place / Path(host.file).name) for host in shown if host is not None]
            line += [word for file in files for word in ("--host", file)]
        self._worker = worker = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment | {"HOME": str(self._place), "TMPDIR": str(self._place)},
        )
        self._stack.callback(self._end)
        self._stdin, self._stdout = cast("IO[bytes]", worker.stdin), cast("IO[bytes]", worker.stdout)
        said = self._listen()
        if said["verdict"] != "ready":
            raise RunError(f"{said['message']}; if you trust the libraries, do without it (--no-sandbox)")

    def _end(self) -> None:
        self._worker.kill()
        self._worker.communicate()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # Requests

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["api"] in self._unloadable:
            raise ShimError(self._unloadable[request["api"]])
        try:
            self._stdin.write(json.dumps(request).encode() + b"\n")
            self._stdin.flush()
        except BrokenPipeError:
            pass  # the worker is gone, as its silence will say
        answer = self._listen()
        tested = self.subjects[request["api"]].path
        inside = self._paths.get(request["api"])
        if inside is not None:
            answer["message"] = answer.get("message", "").replace(inside, str(tested))
        if answer["verdict"] == "unloadable":
            why = None if inside is None else sandbox.closed_to_nobody(tested.resolve())
            text = f"{tested}: cannot be loaded: {answer['message']}{f'; {why}' if why else ''}"
            self._unloadable[request["api"]] = text
            raise ShimError(text)
        return answer

    def _listen(self) -> dict[str, Any]:
        line = self._stdout.readline()
        if not line:
            status = self._worker.wait()
            raise RunError(f"the conformance worker ended with status {status}; what it said of it is on stderr")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _host_of(self, rule: Rule) -> Host | None:
        """The host that a rule's subject shows."""
        chosen = self.subjects[rule.api]
        if not chosen.adaptable or rule.host is None:
            return chosen.host
        return Host(**rule.host)

    def _show(self, host: Host | None) -> _Shown | None:
        """Writes a host image; neither API reads a file of the host, so it needs no tree."""
        if host is None:
            return None
        key = host.model_dump_json()
        if key not in self._shown:
            name = f"host{len(self._shown)}"
            image = write_image(host, Tree(self._place, ()), self._place / f"{name}.image")
            file = self._place / f"{name}.toml"
            file.write_text(host.dump())
            for written in (image, file):
                written.chmod(0o644)  # whatever the umask is, nobody has to read it
            self._shown[key] = _Shown(self._seen(image), self._seen(file))
        return self._shown[key]

    def _seen(self, file: Path) -> str:
        """The path by which the worker reads a file of `_place`: in the sandbox nobody may search its folders."""
        return str(self._inside / file.name)

    def _request(self, api: ApiName, rule: str | None, shown: _Shown | None) -> dict[str, Any]:
        return {
            "library": self._paths.get(api, str(self.subjects[api].path)),
            "api": api,
            "rule": rule,
            "image": None if shown is None else shown.image,
            "host": None if shown is None else shown.file,
            "silence": None,
            "timeout": self.timeout,
        }

    def why_not(self, rule: Rule) -> str:
        """Why the rule cannot be tried here; "" if it can.

        Raises:
            ShimError: the library cannot be loaded.
            RunError: the worker ended.
        """
        if rule.api not in self.subjects:
            return f"no library for {rule.api} was given"
        if not rule.gpu:
            return ""
        shown = self._show(self._host_of(rule))
        key = rule.api, "" if shown is None else shown.image
        if key not in self._without_gpu:
            self._without_gpu[key] = _no_gpu(self._ask(self._request(rule.api, None, shown)))
        return self._without_gpu[key]

    def try_rule(self, rule: Rule) -> Result:
        """Tries one rule.

        Raises:
            ShimError: the library cannot be loaded.
            RunError: the worker ended.
        """
        if why := self.why_not(rule):
            return Result(rule, Verdict.NOT_RUN, why)
        return self._result(rule, self._request(rule.api, rule.name, self._show(self._host_of(rule))))

    def _result(self, rule: Rule, request: Mapping[str, Any]) -> Result:
        answer = self._ask(request)
        return Result(rule, Verdict(answer["verdict"]), answer["message"], answer["calls"], answer["seconds"])

    def try_lie(self, honest: Result, function: str, lie: Lie) -> Result:
        """Tries a rule again while a function of the shims lies.

        Args:
            honest: how the rule passed; it names the function.
            function: the entry point that lies.
            lie: see `vgpu_harness.conformance.control`.

        Raises:
            ShimError: the library shows no host, so nothing can be made wrong with it.
            RunError: the worker ended.
        """
        rule = honest.rule
        host = self._host_of(rule)
        shown = self._show(host)
        if host is None or shown is None:
            raise ShimError(f"{self.subjects[rule.api].path}: shows no host of ours; controls need our own shims")
        request = self._request(rule.api, rule.name, shown)
        if lie is Lie.SILENCE or (lie is Lie.SUCCESS and answers_text(function)):
            answers = [call["answer"] for call in honest.calls if call["function"] == function]
            return self._result(rule, request | {"silence": (function, [is_success(answer) for answer in answers])})
        how = {"result": 0} if lie is Lie.SUCCESS else {"value": VALUE}
        lying = host.model_copy(update={"faults": (FunctionFault(function=function, **how), *host.faults)})
        image = self._place / "lie.image"
        write_image(lying, Tree(self._place, ()), image)
        return self._result(rule, request | {"image": self._seen(image)})

    def run(self, rules: Iterable[Rule]) -> Iterator[Result]:
        """Tries rules one after the other, those whose API has a subject."""
        for rule in rules:
            if rule.api in self.subjects:
                yield self.try_rule(rule)


def _no_gpu(probe: Mapping[str, Any]) -> str:
    """What a probe says against rules that need a GPU."""
    if probe["verdict"] == "missing":
        return f"no GPU (the library {probe['message']})"
    if probe["verdict"] != "probed":
        return f"no GPU (the initialisation {probe['verdict']} {probe['message']})"
    if probe["code"] != 0:
        return f"no GPU ({probe['function']} answers {probe['code']})"
    return "" if probe["devices"] > 0 else "no GPU (0 devices are counted)"


def is_success(answer: int | str | None) -> bool:
    """Is an answer in the log of calls a success, or a text?"""
    return answer == 0 or isinstance(answer, str)


def answers_text(function: str) -> bool:
    """Does an entry point answer a text in place of a code?"""
    from vgpu_harness._wire import ffi, lib

    return bool(ffi.typeof(getattr(lib, f"vgpu_call_{function}")).result.kind == "pointer")

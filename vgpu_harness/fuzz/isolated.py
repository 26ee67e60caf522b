"""Calls of the shims, or of any libcuda and libnvidia-ml, each sequence in a process of its own.

`vgpu-executor` (csrc/clients/executor) is started once, with the libraries preloaded, and forks for each sequence. So a
crash, a hang or an exit is a result like any other, and no sequence meets what an earlier one has left.
"""

import functools
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Literal, Self

from vgpu_harness.fuzz.calls import Call, signatures
from vgpu_harness.fuzz.connection import Connection, LostError
from vgpu_harness.fuzz.format import ExecutorError
from vgpu_harness.fuzz.outcome import Ended, Outcome
from vgpu_harness.fuzz.session import Session
from vgpu_harness.host import Host, Tree, write_image
from vgpu_harness.run.delivery import deliver
from vgpu_harness.run.environment import build_environment
from vgpu_harness.shims.build import check_fresh
from vgpu_harness.trace import create_trace, release_unused

TIMEOUT = 10.0
"""Seconds that a sequence has unless told otherwise."""

BATCH = 64
"""Sequences that are asked for at once."""

VARIABLE = 256
"""Bytes for the name of a variable, its NUL included."""

Leave = Literal["_exit", "exit"]
"""How a process leaves after the last call: `exit` runs the destructors of the libraries."""

PathLike = str | os.PathLike[str]


class Executor:
    """An executor, from `with` to its end. One thread at a time may use it.

    Args:
        host: the simulated host: a value, a host file, a host image; None is the default host. Its
            ``delivery.preload`` says which libraries are in the executor.
        functions: names that calls may have besides the entry points of both APIs; any that the dynamic linker finds.
        library_path: directories for LD_LIBRARY_PATH; libcuda.so.1 and libnvidia-ml.so.1 are loaded from there where
            nothing that is preloaded has the function.
        env: variables for the executor.
        trace: a trace file to make, in which the shims record each call; None for none.
    """

    def __init__(
        self,
        host: Host | PathLike | None = None,
        *,
        functions: Sequence[str] = (),
        library_path: Sequence[PathLike] = (),
        env: Mapping[str, str] | None = None,
        trace: PathLike | None = None,
    ) -> None:
        self._host: Host | PathLike | None = host
        self._functions = tuple(dict.fromkeys((*signatures(), *functions)))
        self._extra = tuple(functions)
        self._library_path = tuple(os.fspath(entry) for entry in library_path)
        self._env = dict(env or {})
        self._variables: dict[str, str] = {}
        self._trace = trace
        self._session_open = False
        self._running: Connection | None = None
        self._directory: TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        """Starts it.

        Raises:
            HostError, ImageError, ShimError, TraceError, RunError: it cannot be started so.
            ExecutorError: it did not start.
        """
        from vgpu_harness.run.runner import load_host

        check_fresh()
        self._directory = TemporaryDirectory(prefix="vgpu-executor-")
        try:
            self._place = Path(self._directory.name)
            for name in ("home", "tmp"):
                (self._place / name).mkdir()
            delivered = deliver(load_host(self._host), self._place)
            self._environment = build_environment(
                self._place,
                host_image=delivered.image,
                trace=None if self._trace is None else create_trace(self._trace),
                preload=delivered.preload,
                library_path=[*self._library_path, *delivered.library_path],
                extra=self._env,
            )
            # A variable that is missing is looked for in /proc/self/environ as well, in each process again.
            self._environment.setdefault("VGPU_TRACE", "")
            self._running = self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> Connection:
        return Connection(self._place, self._environment | self._variables, self._functions)

    @property
    def _connection(self) -> Connection:
        if self._running is None:
            raise ExecutorError("vgpu-executor: is not running; use it inside of `with`")
        return self._running

    @property
    def libraries(self) -> Mapping[str, str]:
        """The file that each function comes from; "" where no library has it."""
        return self._connection.libraries

    @property
    def pid(self) -> int:
        """The executor's process, the parent of all that is forked."""
        return self._connection.pid

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it and all it has started; a second time does nothing."""
        if self._running is not None:
            self._running.close()
            self._running = None
            if self._trace is not None:
                release_unused(self._trace)
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    # What is set for the sequences that follow

    def set_variable(self, name: str, value: str) -> None:
        """Sets a variable in the environment of the processes that start from now on.

        Raises:
            ExecutorError: a session is open, the executor is gone, or there cannot be such a variable.
        """
        self._check_free()
        if not 0 < len(os.fsencode(name)) < VARIABLE or "=" in name or "\0" in name + value:
            raise ExecutorError(
                f"{name[:60]!r}: cannot be set to {value[:60]!r}; a name has 1 to {VARIABLE - 1} bytes and no '=', "
                "and neither has a NUL"
            )
        self._variables[name] = value
        connection = self._connection
        connection.set_deadline(0)
        connection.send(connection.format.request("VARIABLE", 1, os.fsencode(f"{name}={value}") + b"\0"))

    def set_host(self, host: Host) -> None:
        """Gives the processes that start from now on another host. What is preloaded stays as it was.

        Raises:
            HostError: the host cannot be written as an image.
            ExecutorError: see `set_variable`.
        """
        image = self._place / "next.image"
        # Neither API reads a file of the host, so the image needs no tree.
        write_image(host, Tree(self._place, ()), image)
        self._host = host
        self.set_variable("VGPU_HOST", str(image))

    def _check_free(self) -> None:
        if self._session_open:
            raise ExecutorError("vgpu-executor: a session is open; close it first")

    # Sequences

    def run(self, calls: Iterable[Call], timeout: float = TIMEOUT, leave: Leave = "_exit") -> Outcome:
        """Does one sequence in a process of its own.

        Args:
            calls: what is called.
            timeout: seconds after which the process is killed.
            leave: how it leaves after the last call.

        Raises:
            ExecutorError: a call cannot be encoded; nothing was called then.
        """
        return next(self.run_many([calls], timeout, leave))

    def run_many(
        self, sequences: Iterable[Iterable[Call]], timeout: float = TIMEOUT, leave: Leave = "_exit"
    ) -> Iterator[Outcome]:
        """Does sequences one after the other, each in a process of its own; `BATCH` of them are asked for at once.

        Args:
            sequences: they are taken as they are needed.
            timeout: seconds that each of them has.
            leave: how each process leaves.

        Yields:
            An outcome for each, in their order.

        Raises:
            ExecutorError: see `run`.
        """
        self._check_free()
        waiting = iter(sequences)
        while batch := [tuple(calls) for calls in itertools.islice(waiting, BATCH)]:
            flags = ("EXITS",) if leave == "exit" else ()
            encoded = [self._connection.format.example(calls, timeout, flags) for calls in batch]
            made_by = self._made_by(timeout, leave)
            for part in self._parts([len(example) for example in encoded]):
                yield from self._run_part(batch[part], encoded[part], timeout, made_by)

    def _parts(self, sizes: list[int]) -> Iterator[slice]:
        """Cuts a batch so that each part fits a request."""
        most = self._connection.format.number["REQUEST_BYTES"]
        start, size = 0, 0
        for i, more in enumerate(sizes):
            if more > most:
                raise ExecutorError(f"a sequence of {more} bytes: does not fit a request of {most}; make it shorter")
            if size + more > most:
                yield slice(start, i)
                start, size = i, 0
            size += more
        yield slice(start, len(sizes))

    def _run_part(
        self, batch: list[tuple[Call, ...]], encoded: list[bytes], timeout: float, made_by: Mapping[str, Any]
    ) -> list[Outcome]:
        """All outcomes of a request: nothing is left in the socket, whoever stops asking for the next one."""
        try:
            self._ask(encoded, timeout)
            return [self._outcome(calls, made_by) for calls in batch]
        except LostError:
            self._restart()
            if len(batch) == 1:
                return [Outcome(batch[0], (), Ended.LOST, made_by=made_by)]
        except BaseException:
            # Ctrl-C, too: the rest of the answer must not be taken for that of the next request.
            self._restart()
            raise
        # One of them takes the executor with it; one by one it shows which.
        singly = (
            self._run_part([calls], [example], timeout, made_by) for calls, example in zip(batch, encoded, strict=True)
        )
        return list(itertools.chain(*singly))

    def _made_by(self, timeout: float, leave: Leave) -> dict[str, Any]:
        host = self._host
        variables = {name: value for name, value in self._variables.items() if name != "VGPU_HOST"}
        return {
            "host": host if host is None or isinstance(host, Host) else os.fspath(host),
            "functions": self._extra,
            "library_path": self._library_path,
            "env": self._env | variables,
            "timeout": timeout if timeout != TIMEOUT else None,
            "leave": leave if leave != "_exit" else None,
        }

    def _ask(self, examples: list[bytes], timeout: float) -> None:
        connection = self._connection
        connection.set_deadline(timeout * len(examples))
        connection.send(connection.format.request("EXAMPLES", len(examples), b"".join(examples)))

    def _outcome(self, calls: tuple[Call, ...], made_by: Mapping[str, Any]) -> Outcome:
        connection = self._connection
        header = connection.receive(connection.format.header_size)
        body = connection.receive(connection.format.outcome_size(header))
        return connection.format.outcome(header, body, calls, made_by)

    def _restart(self) -> None:
        """Sequences can end the executor: it is their parent, and of the same user."""
        self._connection.kill()
        self._running = self._start()

    def session(self, timeout: float = TIMEOUT) -> Session:
        """One process that is asked call by call; a context manager.

        Args:
            timeout: seconds that each call has.
        """
        self._check_free()
        self._session_open = True
        return Session(functools.partial(self._step, timeout=timeout), self._made_by(timeout, "_exit"))

    def _step(self, calls: tuple[Call, ...], *, timeout: float, stays: bool) -> Outcome:
        encoded = self._connection.format.example(calls, timeout, ("STAYS",) if stays else ())
        try:
            self._ask([encoded], timeout)
            outcome = self._outcome(calls, {})
        except LostError:
            self._restart()
            outcome = Outcome(calls, (), Ended.LOST)
        except BaseException:
            self._session_open = False
            self._restart()
            raise
        self._session_open = outcome.ended is Ended.STAYS
        return outcome

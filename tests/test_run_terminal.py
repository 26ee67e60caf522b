"""`vgpu-harness run` at a terminal: Ctrl-C, Ctrl-Z and fg do what they do without the harness, with each observer."""

import contextlib
import os
import pty
import re
import select
import shlex
import signal
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

OBSERVERS = ("ptrace", "sampled")
STOPPED = {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}


class Terminal:
    """A shell at a terminal of its own, as a person has it."""

    def __init__(self) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.execvpe("sh", ["sh", "-i"], {**os.environ, "PS1": "% ", "ENV": ""})
        self.text = ""

    def type(self, text: str) -> None:
        """Types."""
        os.write(self._descriptor, text.encode())

    def expect(self, pattern: str) -> re.Match[str]:
        """Waits for text on the screen, and forgets all up to its end."""
        deadline = time.monotonic() + 20
        while (found := re.search(pattern, self.text)) is None:
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{pattern!r} did not come; on the screen: {self.text!r}"
            self.text += os.read(self._descriptor, 4096).decode(errors="replace")
        self.text = self.text[found.end() :]
        return found

    def states(self, name: str) -> set[str]:
        """In which states the programs of this name are."""
        found = set()
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == name:
                    found.add(process.status())
        return found

    def wait_until(self, name: str, *, stopped: bool) -> None:
        """Waits until there are programs of this name, and all of them are stopped, or none is."""
        deadline = time.monotonic() + 20
        while not (states := self.states(name)) or (not states <= STOPPED if stopped else states & STOPPED):
            assert time.monotonic() < deadline, f"{name}: {states}"
            time.sleep(0.01)

    def close(self) -> None:
        """Ends the shell and what is in it."""
        for process in [*psutil.Process(self.pid).children(recursive=True), psutil.Process(self.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._descriptor)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal with a shell that waits for a command."""
    opened = Terminal()
    try:
        opened.expect("% ")
        yield opened
    finally:
        opened.close()


def command(observe: str, *words: str) -> str:
    """A command line of the harness, to be typed."""
    harness = [sys.executable, "-m", "vgpu_harness", "run", "--trace-size", "1M", "--observe", observe, "--"]
    return shlex.join([*harness, *words]) + "\n"


@pytest.mark.parametrize("observe", OBSERVERS)
def test_a_program_is_stopped_and_goes_on(terminal: Terminal, observe: str) -> None:
    """Ctrl-Z stops harness and program; fg lets both go on, and the program still has the terminal."""
    terminal.type(command(observe, "sh", "-c", "echo rea''dy; cat; echo o''ver"))
    terminal.expect("ready\r\n")
    terminal.type("first\n")
    terminal.expect("first\r\nfirst\r\n")
    for _ in range(3):
        terminal.type("\x1a")
        terminal.expect("Stopped")
        terminal.expect("% ")
        terminal.wait_until("cat", stopped=True)
        terminal.type("fg\n")
        terminal.expect("fg\r\n.*\r\n")
        terminal.wait_until("cat", stopped=False)
        terminal.type("second\n")
        terminal.expect("second\r\nsecond\r\n")
    terminal.type("\x04")
    terminal.expect("over\r\n")
    terminal.expect("% ")
    terminal.type("echo status=$?\n")
    assert terminal.expect(r"status=(\d+)")[1] == "0"


@pytest.mark.parametrize("observe", OBSERVERS)
def test_a_program_is_interrupted(terminal: Terminal, observe: str) -> None:
    """Ctrl-C ends harness and program, with the status of that signal."""
    terminal.type(command(observe, "sh", "-c", "echo rea''dy; sleep 60"))
    terminal.expect("ready\r\n")
    terminal.type("\x03")
    terminal.expect("% ")
    terminal.type("echo status=$?\n")
    assert terminal.expect(r"status=(\d+)")[1] == "130"
    assert terminal.states("sleep") == set()


@pytest.mark.parametrize("observe", OBSERVERS)
def test_a_shell_in_a_run_has_job_control(terminal: Terminal, observe: str) -> None:
    """In an interactive shell Ctrl-C and Ctrl-Z are for its jobs, not for the harness or the shell."""
    terminal.type(command(observe, "sh", "-i"))
    terminal.expect("[%$#] ")
    terminal.type("PS1='inner> '\n")
    terminal.expect("'\r\n.*inner> ")
    terminal.type("sleep 60\n")
    terminal.expect("sleep 60\r\n")
    terminal.wait_until("sleep", stopped=False)
    terminal.type("\x1a")
    terminal.expect("Stopped")
    terminal.expect("inner> ")
    terminal.wait_until("sleep", stopped=True)
    terminal.type("fg\n")
    terminal.expect("fg\r\n.*\r\n")
    terminal.wait_until("sleep", stopped=False)
    terminal.type("\x03")
    terminal.expect("inner> ")
    assert terminal.states("sleep") == set()
    terminal.type("exit 7\n")
    terminal.expect("% ")
    terminal.type("echo status=$?\n")
    assert terminal.expect(r"status=(\d+)")[1] == "7"

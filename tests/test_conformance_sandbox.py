"""The sandbox of foreign libraries: what runs there can read what it needs, and changes nothing outside."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from vgpu_harness.conformance import enter, sandbox

NAME = f"left-by-{os.getpid()}"
TRY = """
for place in "$@"; do
    if (echo left > "$place") 2>/dev/null; then echo "$place"; fi
done
"""
"""Prints those of its arguments at which it could leave a file."""


def inside(*program: str, **how: object) -> subprocess.CompletedProcess[str]:
    """Runs a program in the sandbox."""
    command = sandbox.command(program, **how)  # type: ignore[arg-type]
    return subprocess.run(command, env=sandbox.environment(), capture_output=True, text=True, timeout=30, check=False)


def listing() -> dict[str, set[str]]:
    """What is in the folders that a library might write to."""
    folders = (Path("/dev"), Path("/etc"), Path.home(), Path("/tmp"), Path("/var/tmp"))
    return {str(place): {path.name for path in place.iterdir()} for place in folders}


def test_only_its_own_folders_can_be_written(tmp_path: Path) -> None:
    """A program there writes to its own /dev, HOME and /tmp alone, and nothing of it is left outside."""
    tmp_path.chmod(0o777)
    own = {f"{sandbox.HOME}/{NAME}", f"/tmp/{NAME}"}
    places = [
        str(tmp_path / NAME),
        f"{Path.home()}/{NAME}",
        *(f"{place}/{NAME}" for place in ("/dev", "/etc", "/var/tmp")),
    ]
    done = inside("/bin/sh", "-c", TRY, "sh", *places, *own, keep=[tmp_path])
    written = done.stdout.split()
    home = {places[1]} if Path.home().is_relative_to("/tmp") else set()  # that is below the sandbox's own /tmp
    assert own <= set(written) <= own | home | {f"/dev/{NAME}"}
    assert not any(NAME in names for names in listing().values())
    assert list(tmp_path.iterdir()) == []


def test_outside_the_same_program_leaves_its_file(tmp_path: Path) -> None:
    """The control: what the sandbox keeps from writing is a program that does write."""
    subprocess.run(["/bin/sh", "-c", TRY, "sh", str(tmp_path / NAME)], check=True, timeout=10, capture_output=True)
    assert (tmp_path / NAME).read_text() == "left\n"


def test_it_has_no_rights() -> None:
    """It is not root, has no capability, may not get any, and cannot make a device node even in its own /dev."""
    done = inside("/bin/sh", "-c", "id -u; mknod /tmp/n c 1 3 && echo made; cat /proc/self/status")
    uid, *status = done.stdout.splitlines()
    facts = dict(line.split(":\t", 1) for line in status if ":\t" in line)
    assert int(uid) == (enter.NOBODY if os.geteuid() == 0 else os.geteuid())
    assert "made" not in status
    assert (int(facts["CapEff"], 16), int(facts["CapPrm"], 16), facts["NoNewPrivs"]) == (0, 0, "1")
    outside = subprocess.run(["/bin/cat", "/proc/self/status"], capture_output=True, text=True, timeout=10, check=True)
    assert "NoNewPrivs:\t0" in outside.stdout


def test_dev_has_the_harmless_nodes_that_work() -> None:
    """/dev is a new one with null, zero, full, random and urandom, which work; disks and consoles are not there."""
    done = inside("/bin/sh", "-c", "ls /dev; echo x > /dev/null && head -c 3 /dev/zero | wc -c")
    *nodes, count = done.stdout.split()
    assert {"null", "zero", "full", "random", "urandom", "shm"} <= set(nodes)
    assert {node for node in nodes if node.startswith(("sd", "vd", "nvme", "console", "mem", "kmsg"))} == set()
    assert count == "3"


def test_dev_is_not_searched_for_nvidias_nodes() -> None:
    """They are in /dev and in folders of their own; what others keep in /dev/shm comes and goes while one looks."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        Path(folder, "nvidia0").symlink_to("/dev/null")
        done = inside("/bin/ls", "-A", "/dev/shm")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.fixture
def below_tmp() -> Iterator[Path]:
    """A folder below /tmp, which the sandbox hides; pytest can have been given another place for its own."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_what_is_kept_is_seen_and_nothing_else_of_tmp(below_tmp: Path) -> None:
    """A file below /tmp is there only if it is kept, or shown at another place; then it can be read, not changed."""
    secret = below_tmp / "closed"
    secret.mkdir()
    (secret / "file").write_text("content\n")
    (secret / "file").chmod(0o666)
    secret.chmod(0o755)
    there = str(secret / "file")
    assert inside("/bin/cat", there).returncode != 0
    assert inside("/bin/cat", there, keep=[secret]).stdout == "content\n"
    below_tmp.chmod(0o700)
    shown = inside("/bin/sh", "-c", "cat /tmp/here/file; echo > /tmp/here/file", show={"/tmp/here": secret})
    assert (shown.stdout, shown.returncode == 0) == ("content\n", False)
    assert Path(there).read_text() == "content\n"


def test_streams_status_and_environment_pass() -> None:
    """The program's streams and exit status are the command's; its environment has nothing that was inherited."""
    done = inside("/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)
    names = {line.partition("=")[0] for line in inside("/usr/bin/env").stdout.splitlines()}
    assert names <= {"PATH", "LC_ALL", "HOME", "TMPDIR", "PWD", "SHLVL", "_", "OLDPWD"}


def test_a_program_that_is_not_there_is_named() -> None:
    """A start that fails says so, with exit status 125."""
    done = inside(f"/tmp/{NAME}")  # the sandbox's own /tmp: nobody can have made it
    assert done.returncode == enter.REFUSED
    assert "No such file" in done.stderr


@pytest.mark.parametrize("uid", [0, 1000])
def test_a_kernel_that_refuses_is_said_with_the_remedy(uid: int) -> None:
    """Where namespaces are not allowed nothing is started, and the message says what would help."""
    code = """
import ctypes, json, os, sys
sys.path.insert(0, sys.argv[1])
import enter
class Refusing:
    def unshare(self, flags):
        ctypes.set_errno(1)
        return -1
ctypes.CDLL = lambda *_, **__: Refusing()
os.geteuid = lambda: int(sys.argv[2])
sys.exit(enter.main(["--", "/bin/echo", "started"]))
"""
    place = str(Path(enter.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, place, str(uid)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (enter.REFUSED, "")
    assert ("SYS_ADMIN" if uid == 0 else "user namespaces") in done.stderr


def test_a_process_can_go_there_itself() -> None:
    """`enter` takes the calling process there: it keeps its modules, loses its rights and finds its new HOME."""
    code = """
import json, os
from pathlib import Path
from vgpu_harness.conformance import sandbox
sandbox.enter(keep=sandbox.interpreter_paths())
try:
    Path("/etc/x").write_text("")
    wrote = True
except OSError:
    wrote = False
print(json.dumps([os.geteuid(), os.getcwd(), os.environ["HOME"], wrote, os.listdir("/tmp/home")]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True, cwd="/")
    uid, folder, home, wrote, files = json.loads(done.stdout)
    assert uid != 0
    assert (folder, home, wrote, files) == (sandbox.HOME, sandbox.HOME, False, [])


def test_refusal_says_whether_it_can_be_made() -> None:
    """On a machine where the tests above pass, nothing stands in its way."""
    assert sandbox.refusal() is None


def test_refusal_gives_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the way is told, not hidden."""
    monkeypatch.setattr(sandbox.sys, "executable", "/nonexistent/python")
    assert "/nonexistent/python" in str(sandbox.refusal())

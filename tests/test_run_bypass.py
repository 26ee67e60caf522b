"""Programs that go past the preloaded shims are found by two witnesses that do not ask the shims."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_program

from vgpu_harness._wire import lib
from vgpu_harness.errors import RunError
from vgpu_harness.host import Gate, Host, Tree, write_image
from vgpu_harness.host.tree import Row
from vgpu_harness.run import Run, run
from vgpu_harness.run.bypass import Bypass, RealFiles, bypasses, image_rows
from vgpu_harness.run.notification import Sight
from vgpu_harness.run.observer import Image, Process
from vgpu_harness.run.started import Started
from vgpu_harness.run.witness import ObserveFiles, Watch
from vgpu_harness.shims import shim_path
from vgpu_harness.trace import Record, Trace, create_trace

HAS_FANOTIFY = lib.vgpu_notify_real_files(1) >= 0
"""Root may use it; the descriptor stays open as long as the tests run, and watches nothing."""

READ = r"""
/* Reads the file that it is told of, by libc, by a raw system call, or through an io_uring; says what it found. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static long raw_open(const char *path) {
    long answer;
    register long flags __asm__("rdx") = O_RDONLY;
    register long mode __asm__("r10") = 0;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(SYS_openat), "D"((long)AT_FDCWD), "S"(path), "r"(flags), "r"(mode)
                     : "rcx", "r11", "memory");
    return answer;
}

static long ring_open(const char *path) {
    struct io_uring_params p = {0};
    long ring = syscall(SYS_io_uring_setup, 1, &p);
    if (ring < 0) {
        return -errno;
    }
    size_t size = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t room = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, (int)ring, IORING_OFF_SQ_RING);
    char *cq = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED, (int)ring, IORING_OFF_CQ_RING);
    struct io_uring_sqe *entries =
        mmap(NULL, p.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED, (int)ring, IORING_OFF_SQES);
    if (sq == MAP_FAILED || cq == MAP_FAILED || entries == MAP_FAILED) {
        return -errno;
    }
    entries[0] = (struct io_uring_sqe){
        .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (unsigned long)path, .open_flags = O_RDONLY};
    unsigned *array = (unsigned *)(sq + p.sq_off.array);
    array[0] = 0;
    __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) {
        return -errno;
    }
    return ((struct io_uring_cqe *)(cq + p.cq_off.cqes))[0].res;
}

int main(int argc, char **argv) {
    char text[64] = "";
    if (argc != 3) {
        return 2;
    }
    long fd = strcmp(argv[1], "libc") == 0  ? open(argv[2], O_RDONLY)
              : strcmp(argv[1], "raw") == 0 ? raw_open(argv[2])
                                            : ring_open(argv[2]);
    ssize_t got = fd >= 0 ? read((int)fd, text, sizeof(text) - 1) : 0;
    printf("%s\n", fd < 0 ? strerror(-(int)fd) : got < 0 ? "unreadable" : text);
    return 0;
}
"""


@dataclass(frozen=True)
class Machine:
    """A table with one directory, which the machine has too: `real` says "real" where the tree says "virtual"."""

    directory: Path
    real: Path
    image: Path

    def look(
        self, how: ObserveFiles, program: Path, *words: str, shim: bool = True
    ) -> tuple[str, tuple[Bypass, ...], int]:
        """What the program printed under the file shim, what the witness found, and the process's number."""
        trace = create_trace(Path(tempfile.mkdtemp(dir=self.directory)) / "trace", 1 << 20)
        environment = {"VGPU_HOST": str(self.image), "VGPU_TRACE": str(trace)}
        if shim:
            environment["LD_PRELOAD"] = str(shim_path("syscall"))
        started = Started()
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
        with Watch(self.image, how) as watch:
            started.launch(
                [program.name, *words], program, environment, Path("/"), own_session=False, streams=streams
            )  # fmt: skip
            if watch.enclosure is not None:
                watch.enclosure.waiting(started)
            started.go()
            assert started.process is not None
            out = started.process.communicate(timeout=20)[0].decode().strip()
        image = Image(str(program), (program.name,), traced=True, preloaded=True, static="static" in program.name)
        process = Process(started.pid, 1, image.program, (), True, True, False, image.static, 0, (image,))  # noqa: FBT003
        return out, watch.found([process], Trace.open(trace).records), started.pid


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine; its directory is one of /dev/shm, as every path of a table is below /sys, /proc or /dev."""
    yield from make_machine(tmp_path, Host())


def make_machine(directory: Path, host: Host) -> Iterator[Machine]:
    """A machine with this host's gate."""
    real = Path(tempfile.mkdtemp(prefix="vgpu-test-", dir="/dev/shm"))
    try:
        tree = directory / "tree"
        for place, text in ((real, "real"), (Path(f"{tree}{real}"), "virtual")):
            (place / "power").mkdir(parents=True, exist_ok=True)
            (place / "vendor").write_text(text)
            (place / "power" / "state").write_text(text)
        table = Tree(tree, (Row(str(real), f"{tree}{real}", whole=True),))
        yield Machine(directory, real, write_image(host, table, directory / "host.image"))
    finally:
        shutil.rmtree(real)


@pytest.fixture
def dynamic() -> Path:
    """The reading program."""
    return compile_program(READ, "reads")


@pytest.fixture
def static() -> Path:
    """The same, static."""
    return compile_program(READ, "reads-static", "-static")


def test_what_the_shim_serves_is_no_bypass(machine: Machine, dynamic: Path) -> None:
    """In a sound run neither witness has anything to say, however the path is spelled."""
    link = machine.directory / "link"
    link.symlink_to(machine.real)
    for how in ("watch", "inotify", "notification", "none"):
        for path in (f"{machine.real}/vendor", f"/{machine.real}/./power/../vendor", f"{link}/vendor"):
            assert machine.look(how, dynamic, "libc", path)[:2] == ("virtual", ()), (how, path)


def test_a_raw_call_is_a_bypass(machine: Machine, dynamic: Path) -> None:
    """inotify tells the file, the supervisor the process, its program and the call as well."""
    path = f"{machine.real}/vendor"
    out, (seen,), _ = machine.look("inotify", dynamic, "raw", path)
    assert (out, seen.path, seen.seen_by, seen.pid, seen.suspects, seen.denied) == (
        "real", path, "inotify", None, (), False
    )  # fmt: skip
    out, (seen,), pid = machine.look("watch", dynamic, "raw", path)
    assert (out, seen.path, seen.seen_by, seen.pid, seen.program) == (
        ("real", path, "fanotify", pid, str(dynamic)) if HAS_FANOTIFY else ("real", path, "inotify", None, "")
    )
    out, (seen,), pid = machine.look("notification", dynamic, "raw", path)
    assert out == "real"
    assert seen == Bypass(path, "notification", pid, str(dynamic), "openat")
    assert str(seen) == (
        f"{path}: bypassed: {dynamic} (process {pid}) got the real file by openat; use the provider namespace or "
        "notification, which such programs cannot bypass"
    )
    assert machine.look("none", dynamic, "raw", path)[:2] == ("real", ())


def test_a_static_program_is_a_bypass(machine: Machine, static: Path) -> None:
    """The run's processes say who may have done it; directories below the row's are watched too."""
    path = f"{machine.real}/power/state"
    out, (seen,), pid = machine.look("inotify", static, "libc", path)
    assert (out, seen.path, seen.suspects) == ("real", path, (f"{static} (process {pid})",))
    assert f"inotify does not name ({static} (process {pid}), or another on this machine) got the real" in str(seen)
    out, (seen,), pid = machine.look("notification", static, "libc", path)
    assert (out, seen.path, seen.pid, seen.call) == ("real", path, pid, "openat")


def test_an_io_uring_is_a_bypass(machine: Machine, static: Path) -> None:
    """inotify sees the file that it opens, the supervisor the ring; where rings are forbidden, none opens it."""
    path = f"{machine.real}/vendor"
    out, found, _ = machine.look("inotify", static, "ring", path)
    assert (out, [seen.path for seen in found]) in [
        ("real", [path]), ("Operation not permitted", []), ("Function not implemented", [])
    ]  # fmt: skip
    out, (seen,), pid = machine.look("notification", static, "ring", path)
    assert (seen.path, seen.pid, seen.call) == ("", pid, "io_uring_setup")
    assert str(seen).startswith(f"an io_uring was made by {static} (process {pid}): what it opens bypasses the shims; ")


def test_a_path_that_the_machine_has_not(machine: Machine, dynamic: Path) -> None:
    """Only the supervisor sees who looks for it in vain."""
    path = f"{machine.real}/missing"
    assert machine.look("inotify", dynamic, "raw", path)[1] == ()
    out, (seen,), pid = machine.look("notification", dynamic, "raw", path)
    assert (out, seen.path, seen.pid) == ("No such file or directory", path, pid)


def test_who_is_denied_by_the_gate_has_not_bypassed(tmp_path: Path, dynamic: Path) -> None:
    """It was to see the real file, and the witness says that it did."""
    for machine in make_machine(tmp_path, Host(gate=Gate(deny=("reads",)))):
        path = f"{machine.real}/vendor"
        for how in ("watch", "inotify", "notification"):
            out, (seen,), _ = machine.look(how, dynamic, "libc", path)
            assert (out, seen.path, seen.denied) == ("real", path, True)
            assert str(seen).startswith(f"{path}: denied by the gate: ")


def test_without_a_shim_all_is_a_bypass(machine: Machine, dynamic: Path) -> None:
    """The control: the same program and the same path as in a sound run, and both witnesses speak."""
    for how in ("watch", "inotify", "notification"):
        out, found, _ = machine.look(how, dynamic, "libc", f"{machine.real}/vendor", shim=False)
        assert (out, [seen.path for seen in found]) == ("real", [f"{machine.real}/vendor"])


@pytest.mark.parametrize("named", [False, True])
def test_the_watch_begins_empty_and_counts(machine: Machine, *, named: bool) -> None:
    """Setting it up is no event; an open and a read are; a machine without the path is watched in vain."""
    rows = [*image_rows(machine.image), Row("/sys/no/such/directory", "/nowhere", whole=True)]
    with RealFiles(rows, named=named) as real:
        pass
    assert real.opened == {}
    with RealFiles(rows, named=named) as real:
        (machine.real / "vendor").read_bytes()
        os.listdir(machine.real)  # noqa: PTH208 - an open of the directory
    pid = os.getpid() if named and HAS_FANOTIFY else None
    assert real.seen_by == ("fanotify" if pid else "inotify")
    assert real.opened[f"{machine.real}/vendor", pid] >= 1
    assert real.opened[str(machine.real), pid] >= 1
    with RealFiles([], named=named) as real:
        (machine.real / "vendor").read_bytes()
    assert real.opened == {}
    assert not real.lost


def test_the_table_of_an_image_is_that_of_its_tree(machine: Machine) -> None:
    """Also where only the image was given; the shims serve no path of one that they refuse."""
    (row,) = image_rows(machine.image)
    assert row == Row(str(machine.real), f"{machine.directory}/tree{machine.real}", whole=True)
    damaged = machine.directory / "damaged"
    damaged.write_bytes(machine.image.read_bytes()[:-1])
    assert image_rows(damaged) == ()


def test_a_bypass_goes_through_json() -> None:
    """What run.json has of it is the value."""
    seen = Bypass("/sys/x", "inotify", times=3, suspects=("a (process 1)", "b (process 2)"))
    assert Bypass.from_json(seen.to_json()) == seen


def test_each_path_is_told_once_and_others_are_not_told_of() -> None:
    """The witness that knows the process is heard first; a process that is not of the run is left out."""
    image = Image("/bin/x", (), traced=True, preloaded=True)
    process = Process(7, 1, "/bin/x", (), True, True, False, False, 0, (image,))  # noqa: FBT003
    with RealFiles([], named=False) as real:
        pass
    real.opened = {("/sys/x", None): 2, ("/sys/y", None): 1, ("/sys/z", 7): 1, ("/sys/z", 8): 1}
    records: list[Record] = []
    found = bypasses(real, [Sight(7, "/bin/x", "/sys/x", "open", 1)], [process], records)
    assert [(seen.path, seen.seen_by, seen.pid, seen.is_of_run) for seen in found] == [
        ("/sys/x", "notification", 7, True), ("/sys/y", "inotify", None, False), ("/sys/z", "inotify", 7, True)
    ]  # fmt: skip


def test_a_run_tells_of_it(tmp_path: Path, static: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its value, in run.json, for a failed test, and on stderr of `vgpu-harness run`; a sound run has none."""
    path = "/sys/bus/pci/devices/0000:00:05.0/vendor"
    script = f"{static} libc {path} >/dev/null; cat {path}"
    done = run(["sh", "-c", script], directory=tmp_path / "run", trace_size=1 << 20, observe_files="notification")
    assert done.stdout == "0x10de\n"
    (seen,) = done.bypassed
    assert (Path(seen.program), seen.call, seen.denied) == (static, "openat", False)
    assert f"finding: {seen}\n" in done.explain()
    assert Run.load(tmp_path / "run").bypassed == (seen,)
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-P", "-m", "vgpu_harness", "run", "--observe-files", "notification", "--", "sh", "-c"]
    told = subprocess.run([*words, script], capture_output=True, text=True, timeout=60, check=True)
    assert ": bypassed: " in told.stderr
    assert len(told.stderr.splitlines()) == 1
    for how in ("watch", "inotify", "notification"):
        sound = run(["cat", path], directory=tmp_path / how, trace_size=1 << 20, observe_files=how)
        assert [seen for seen in sound.bypassed if seen.is_of_run] == []
    with pytest.raises(RunError, match="observe_files 'strace': is none of 'auto', 'watch', 'inotify', 'notification"):
        run(["true"], directory=tmp_path / "wrong", observe_files="strace")

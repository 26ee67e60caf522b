"""Nothing outside the enclosure is harmed, whatever a library does in it."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.compile import compile_library, compile_program

from vgpu_harness.preflight import check, trial
from vgpu_harness.preflight.programs import PROGRAMS, Program

DESTROYER = r"""#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void spoil(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    if (file >= 0) {
        if (write(file, text, strlen(text)) < 0) {
            close(file);
        }
        close(file);
    }
}

static void destroy(void)
{
    static const char *const files[] = {"/etc/passwd", "/etc/ld.so.preload", "/etc/shadow", "/run/vgpu-left",
                                        "/tmp/vgpu-left", "/var/tmp/vgpu-left", "/vgpu-left", "/dev/vgpu-left",
                                        "/usr/lib/vgpu-left", "/root/vgpu-left", "/dev/shm/vgpu-left"};
    static const struct timespec past = {1, 0};

    if (access("/run/vgpu-preflight/changed", F_OK) != 0) {
        return; /* not in an enclosure: whoever starts this by accident keeps his machine */
    }
    mount(NULL, "/", NULL, MS_REMOUNT, NULL);
    mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL);
    umount2("/etc", MNT_DETACH);
    umount2("/run", MNT_DETACH);
    umount2("/proc/sys", MNT_DETACH);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        spoil(files[i], "spoiled\n");
        unlink(files[i]);
    }
    rmdir("/tmp");
    spoil("/proc/sys/kernel/hostname", "spoiled\n");
    spoil("/proc/sys/vm/swappiness", "7\n");
    spoil("/proc/sysrq-trigger", "h");
    sethostname("spoiled", 7);
    setdomainname("spoiled", 7);
    clock_settime(CLOCK_REALTIME, &past);
    mknod("/dev/spoiled", S_IFBLK | 0600, 0xfe00);
    reboot(RB_POWER_OFF);
    kill(1, SIGKILL);
    kill(-1, SIGKILL);
}
"""

IN_CONSTRUCTOR = DESTROYER + "__attribute__((constructor)) static void start(void) { destroy(); abort(); }\n"
AS_PROGRAM = (
    DESTROYER
    + 'int main(void) { destroy(); return access("/etc/passwd", F_OK) == 0 || access("/run/vgpu-left", F_OK) == 0; }\n'
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may search."""
    with tempfile.TemporaryDirectory(prefix="vgpu-libraries-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def listing(place: str) -> dict[str, tuple[int, int]]:
    """Size and time of what is in a folder, by name."""
    facts = {entry.name: entry.stat(follow_symlinks=False) for entry in os.scandir(place)}
    return {name: (fact.st_size, fact.st_mtime_ns) for name, fact in facts.items()}


def outside() -> dict[str, object]:
    """What a machine has that an enclosure must leave alone. Directories of other tests come and go meanwhile."""
    places = ("/", "/etc", "/dev", "/usr/lib", "/run", "/var/tmp", str(Path.home()))
    return {
        **{place: {name for name in listing(place) if "vgpu-left" in name or "spoiled" in name} for place in places},
        "passwd": Path("/etc/passwd").read_bytes(),
        "etc": listing("/etc"),
        "run": set(listing("/run")),
        "hostname": socket.gethostname(),
        "swappiness": Path("/proc/sys/vm/swappiness").read_text(),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "root": os.statvfs("/").f_flag,
    }


def marked(mark: str) -> list[str]:
    """The command lines of processes that have a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.environ().values() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def put(folder: Path, source: str) -> Path:
    """Compiles a library and puts it where everybody may read it."""
    place = folder / "libdestroyer.so"
    shutil.copy(compile_library(source, place.name), place)
    place.chmod(0o755)
    return place


def test_a_constructor_that_destroys_everything_harms_nothing_outside(folder: Path) -> None:
    """Files, mounts, settings, the clock and processes outside are as they were, and the library is not safe."""
    few = tuple(program for program in PROGRAMS if program.name in {"start", "cat", "su"})
    before, clock = outside(), time.time()
    report = check.preflight([put(folder, IN_CONSTRUCTOR)], without=[check.BOOT], programs=few, timeout=5.0)
    assert outside() == before
    assert clock <= time.time() < clock + 60
    assert report.verdict == "not safe"
    assert report.failed[0].name == "start"


def test_inside_the_same_does_destroy(folder: Path) -> None:
    """The control: what harms nothing outside has removed the enclosure's own /etc/passwd, as it may write there."""
    program = folder / "destroyer"
    shutil.copy(compile_program(AS_PROGRAM, "destroyer"), program)
    tries = [Program("start", ("true",)), Program("destroy", (str(program),)), Program("cat", ("cat", "/etc/passwd"))]
    setting = trial.Setting(keep=(str(folder),))
    outcomes = trial.try_programs(setting, tries, 5.0)
    assert outcomes["start"].status == 0
    assert outcomes["destroy"].status == 0
    assert outcomes["cat"].status == 1
    assert Path("/etc/passwd").exists()


def test_a_hang_and_a_crowd_leave_no_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library has started, in sessions of its own too, ends with the enclosure."""
    source = """#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void start(void)
{
    for (int i = 0; i < 3; i++) {
        if (fork() == 0 && setsid() > 0) {
            for (;;) {
                pause();
            }
        }
    }
    pause();
}
"""
    mark = f"preflight-{os.getpid()}"
    monkeypatch.setenv("VGPU_TEST_MARK", mark)
    few = tuple(program for program in PROGRAMS if program.name == "start")
    setting = trial.Setting(environment={"VGPU_TEST_MARK": mark})
    report = check.preflight([put(folder, source)], without=[check.BOOT], programs=few, timeout=0.5, setting=setting)
    assert [step.reason for step in report.failed] == ["it hangs"]
    with subprocess.Popen(["sleep", "60"]) as control:
        assert marked(mark) == ["sleep 60"]
        control.kill()
    assert marked(mark) == []


def test_the_machine_file_is_never_written(folder: Path) -> None:
    """/etc/ld.so.preload is written inside, where programs see it, and never outside."""
    look = Program("start", ("cat", "/etc/ld.so.preload"))
    library = put(folder, "extern int nothing;")
    setting = trial.Setting(keep=(str(folder),)).with_libraries([str(library)])
    before = Path("/etc/ld.so.preload").exists()
    assert trial.try_programs(setting, [look], 5.0)["start"].stdout == f"{library}\n"
    assert Path("/etc/ld.so.preload").exists() == before


def test_set_user_id_programs_keep_their_rights() -> None:
    """The enclosure does not switch off set-user-ID: no "no new rights", and nosuid only where all is its own."""
    look = Program("start", ("cat", "/proc/self/status"))
    status = trial.try_programs(trial.Setting(), [look], 5.0)["start"].stdout
    assert "NoNewPrivs:\t0\n" in status


def test_what_takes_all_memory_or_processes_is_ended_inside() -> None:
    """The machine kills a program of the enclosure first, and lets it start a limited number of them."""
    look = Program("start", ("cat", "/proc/self/oom_score_adj", "/proc/self/limits"))
    lines = trial.try_programs(trial.Setting(), [look], 5.0)["start"].stdout.splitlines()
    assert lines[0] == "1000"
    (processes,) = [line.split() for line in lines if line.startswith("Max processes")]
    assert int(processes[2]) <= 4096

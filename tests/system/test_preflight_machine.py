"""Preflight with everything that it knows: systemd, sshd with a login, cron, su. `nox -s preflight` is what runs this.

VGPU_PREFLIGHT_PROGRAMS names a folder with Debian's sshd, cron and libwrap; they are not installed. systemd has to be.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.compile import compile_library

from vgpu_harness.host import Host
from vgpu_harness.preflight.check import BOOT, preflight
from vgpu_harness.preflight.programs import PROGRAMS
from vgpu_harness.preflight.report import Report
from vgpu_harness.preflight.trial import SYSTEM_PATH, Setting
from vgpu_harness.shims import shim_path

FOLDER = Path(os.environ["VGPU_PREFLIGHT_PROGRAMS"])

VITAL = {program.name for program in PROGRAMS if program.vital} | {BOOT}

ONLY_IN_SYSTEMD = """#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <errno.h>
__attribute__((constructor)) static void start(void)
{
    if (strcmp(program_invocation_short_name, "systemd") == 0) {
        abort();
    }
}
"""

# As ssh's pre-authentication process runs it: in a sandbox that kills for a system call that sshd does not need.
ONLY_IN_THE_SANDBOX = """#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>
ssize_t write(int descriptor, const void *data, size_t size);
ssize_t write(int descriptor, const void *data, size_t size)
{
    syscall(SYS_personality, 0xffffffff);
    return syscall(SYS_write, descriptor, data, size);
}
"""

ONLY_SET_USER_ID = """#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void start(void)
{
    if (getuid() != geteuid()) {
        _exit(1);
    }
}
"""

ONLY_IN_A_CLOSED_SERVICE = """#include <stdlib.h>
#include <sys/mman.h>
__attribute__((constructor)) static void start(void)
{
    if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
        abort();
    }
}
"""

# A user's program that he may not look into: debuggers, core dumps and /proc/self are closed to him.
ONLY_FOR_USERS = """#include <sys/prctl.h>
__attribute__((constructor)) static void start(void)
{
    prctl(PR_SET_DUMPABLE, 0);
}
"""

# The field's mistake that no program shows which is started by a good one: rights that are no longer to be had.
NO_NEW_RIGHTS = """#include <sys/prctl.h>
__attribute__((constructor)) static void start(void)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}
"""


@pytest.fixture(scope="module")
def setting() -> Setting:
    """A machine with sshd and cron: the folder's programs come first; what their packages would set up is there."""
    users, groups = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    if "\nsshd:" not in users:
        users += "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    if "\ncrontab:" not in groups:
        groups += "crontab:x:65533:\n"
    variables = {"PATH": f"{FOLDER}:{SYSTEM_PATH}", "LD_LIBRARY_PATH": str(FOLDER)}
    files = {"/etc/passwd": users, "/etc/group": groups, "/etc/ssh/sshd_config": "UsePAM yes\n"}
    return Setting((str(FOLDER),), variables, files)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may search."""
    with tempfile.TemporaryDirectory(prefix="vgpu-libraries-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def put(folder: Path, source: str) -> Path:
    """Compiles a library and puts it where everybody may read it."""
    place = folder / "libtried.so"
    shutil.copy(compile_library(source, place.name), place)
    place.chmod(0o755)
    return place


def failed(report: Report) -> set[str]:
    """The steps that failed."""
    return {step.name for step in report.failed}


def test_our_shims_are_safe_and_everything_vital_was_tried(setting: Setting) -> None:
    """systemd starts, sshd lets in, su, cron and the others work with the four shims, under all six conditions."""
    report = preflight([shim_path(name) for name in Host().delivery.preload], setting=setting)
    assert [step.to_json() for step in report.failed] == []
    assert report.verdict == "safe"
    assert {(step.name, step.condition) for step in report.steps if step.verdict == "passed"} >= {
        (name, condition) for name in VITAL for condition in {step.condition for step in report.steps}
    }
    assert len({step.condition for step in report.steps}) == 6


def test_an_empty_library_is_safe(setting: Setting, folder: Path) -> None:
    """The control: what does nothing passes everything."""
    report = preflight([put(folder, "extern int nothing;")], setting=setting)
    assert (report.verdict, failed(report)) == ("safe", set())


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        (ONLY_IN_SYSTEMD, {BOOT}),
        (ONLY_IN_THE_SANDBOX, {"ssh login"}),
        (ONLY_SET_USER_ID, {"set-user-ID"}),
        (ONLY_IN_A_CLOSED_SERVICE, {BOOT}),
        (ONLY_FOR_USERS, {"state of a user"}),
        (NO_NEW_RIGHTS, {"state", "state of a user", "set-user-ID"}),
    ],
    ids=["systemd", "sandbox", "set-user-id", "closed service", "users", "rights"],
)
def test_what_harms_one_program_alone_is_found(setting: Setting, folder: Path, source: str, steps: set[str]) -> None:
    """Harm that no simple program shows is found by the one step that is there for it."""
    library = put(folder, source)
    report = preflight([library], setting=setting, timeout=5.0)
    assert report.verdict == "not safe"
    assert failed(report) == steps
    assert all(step.libraries == (str(library),) for step in report.failed)


def test_a_shim_that_crashes_at_its_start_keeps_systemd_from_its_target(setting: Setting, folder: Path) -> None:
    """The library of the field report: with a constructor that crashes, the machine does not start; so it is told."""
    source = "#include <stdlib.h>\n__attribute__((constructor)) static void start(void) { abort(); }\n"
    library = put(folder, source)
    report = preflight([library], setting=setting, timeout=2.0)
    assert failed(report) == {BOOT, "start"}
    (boot,) = [step for step in report.failed if step.name == BOOT]
    assert boot.reason == "systemd does not reach basic.target"
    assert boot.libraries == (str(library),)


def cgroups() -> list[str]:
    """Where cgroup2 is mounted; this process's own cgroup is the topmost one, or below it."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    roots = [fields[4] for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"]
    (own,) = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    return [f"{root}{own}" for root in roots]


def left_outside() -> dict[str, object]:
    """What a start of systemd would change where it is not enclosed."""
    return {
        "etc": sorted(Path("/etc").iterdir()),
        "run": sorted(Path("/run").iterdir()),
        "hostname": socket.gethostname(),
        "mounts": Path("/proc/self/mountinfo").read_text(),
        "groups": [folder for root in cgroups() for folder, _, _ in os.walk(root) if "vgpu-preflight" in folder],
    }


@pytest.mark.parametrize("statement", ["kill(-1, SIGKILL);", "for (;;) { pause(); }", ""], ids=["kill", "hang", "good"])
def test_a_start_of_systemd_leaves_nothing_outside(setting: Setting, folder: Path, statement: str) -> None:
    """Files, mounts and cgroups outside are as they were, whether systemd starts, hangs or loses all its processes."""
    source = (
        "#include <signal.h>\n#include <unistd.h>\n"
        f"__attribute__((constructor)) static void start(void) {{ {statement} }}\n"
    )
    old = folder / "old"
    old.touch()
    os.utime(old, (0, 0))  # what systemd-tmpfiles would remove from a /tmp
    stale = Path(cgroups()[0], "vgpu-preflight-4194305")  # of a process that there cannot be; PID_MAX_LIMIT is 4194304
    before = left_outside()
    (stale / "below").mkdir(parents=True)
    report = preflight([put(folder, source)], setting=setting, timeout=1.0 if statement else 10.0, programs=())
    assert left_outside() == before
    assert old.exists()
    assert (BOOT in failed(report)) == bool(statement)
    assert {step.name for step in report.steps} == {"readable", BOOT}

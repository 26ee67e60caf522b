"""Where the kernel refuses ptrace the processes are sampled, and who insists on ptrace is told."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.compile import compile_program

REFUSE = r"""
/* Executes a program under a seccomp filter that answers ptrace(2) with EPERM, as some containers have. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    if (argc < 2 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("seccomp");
        return 1;
    }
    execv(argv[1], argv + 1);
    perror("execv");
    return 1;
}
"""
TRACES = r"""
/* Traces a child of its own, as a debugger or strace does; says what the kernel answers. */
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : errno);
    }
    waitpid(child, &status, 0);
    printf("%s\n", strerror(WEXITSTATUS(status)));
    return 0;
}
"""
EPOLL = r"""
/* Waits for events while a child ends; SIGCHLD has its default action, to be ignored. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

int main(void) {
    struct epoll_event event;
    int set = epoll_create1(EPOLL_CLOEXEC);
    if (fork() == 0) {
        usleep(50000);
        _exit(0);
    }
    printf("%s\n", epoll_wait(set, &event, 1, 500) == 0 ? "waited" : strerror(errno));
    return 0;
}
"""
SCRIPT = """
import json, sys, threading
import psutil
from pathlib import Path
from vgpu_harness.errors import RunError
from vgpu_harness.run import run
found = {}
for observe in ("auto", "sampled", "ptrace"):
    directory = Path(sys.argv[1]) / observe
    try:
        done = run(["sh", "-c", "sleep 0.2; exit 4"], directory=directory, trace_size=1 << 20, observe=observe)
        names = sorted({p.argv[0] for p in done.processes})
        found[observe] = [done.observed, done.returncode, names, done.processes[0].status]
    except RunError as error:
        found[observe] = [type(error).__name__, str(error), directory.exists()]
found["left"] = [threading.active_count(), len(psutil.Process().children())]
print(json.dumps(found))
"""


def answers(directory: Path, *before: Any) -> dict[str, Any]:
    """What three runs find in a harness process that `before` executes."""
    directory.mkdir()
    # Python warns of a child that nobody has waited for.
    command = [*before, sys.executable, "-P", "-W", "always::ResourceWarning", "-c", SCRIPT, directory]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def test_a_refusal_leads_to_sampling(tmp_path: Path) -> None:
    """With EPERM from the kernel the run goes on and says "sampled"; to insist is an error that says why."""
    found = answers(tmp_path / "refused", compile_program(REFUSE, "refuse"))
    assert found["auto"] == found["sampled"] == ["sampled", 4, ["sh", "sleep"], 4]
    kind, message, left = found["ptrace"]
    assert (kind, left, found["left"]) == ("RefusedError", False, [1, 0])
    assert message.startswith("ptrace: refused by the kernel: Operation not permitted; observe by sampling, or look at")
    control = answers(tmp_path / "allowed")
    assert control["auto"] == control["ptrace"] == ["ptrace", 4, ["sh", "sleep"], 4]
    assert control["sampled"] == found["sampled"]


def test_the_command_line_says_how(tmp_path: Path) -> None:
    """--observe is passed on; what is refused exits 2, before the start."""
    command = [sys.executable, "-m", "vgpu_harness", "run", "--trace-size", "1M"]
    for observe, program in (("ptrace", "true"), ("sampled", "true"), ("auto", "true")):
        summary = tmp_path / f"{observe}.json"
        words = [*command, "--observe", observe, "--json", str(summary), "--", program]
        assert subprocess.run(words, timeout=60, check=False).returncode == 0
        assert json.loads(summary.read_text())["observed"] == ("sampled" if observe == "sampled" else "ptrace")
    words = [str(compile_program(REFUSE, "refuse")), *command, "--observe", "ptrace", "--", "true"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "ptrace: refused by the kernel" in done.stderr


@pytest.mark.parametrize(("observe", "answer"), [("ptrace", "Operation not permitted"), ("sampled", "Success")])
def test_a_debugger_in_a_run_needs_sampling(tmp_path: Path, observe: str, answer: str) -> None:
    """A process has one tracer: what a run traces cannot be traced by a program of the run."""
    assert _said(TRACES, "traces", tmp_path, observe) == answer


@pytest.mark.parametrize(("observe", "answer"), [("ptrace", "Interrupted system call"), ("sampled", "waited")])
def test_ignored_signals_wake_a_traced_program(tmp_path: Path, observe: str, answer: str) -> None:
    """A tracer is asked about ignored signals too, so what never restarts (signal(7)) is interrupted by them."""
    assert _said(EPOLL, "waits", tmp_path, observe) == answer


def _said(source: str, name: str, directory: Path, observe: str) -> str:
    from vgpu_harness.run import run

    program = compile_program(source, name)
    done = run([str(program)], directory=directory / "run", trace_size=1 << 20, observe=observe)  # type: ignore[arg-type]
    return done.stdout.strip()

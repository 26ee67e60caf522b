"""Odd spellings in places where a program may do little, and what descriptors of the tree survive."""

import json
import subprocess
import sys

import pytest
from support.compile import compile_library, compile_program
from test_syscall_files import GPU, Machine, MakeMachine, make_machine  # noqa: F401

from vgpu_harness.host import Gpu, Host

# A library whose constructor asks, and a program that asks in each place; `cwd` is a directory below which "alias" is a
# link to /sys/bus/pci. Each place tells "place answers", an answer for each spelling.
ASK = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GPU "/sys/bus/pci/devices/0000:00:05.0"

static int is_vendor(int fd) {
    char text[8] = "";
    int answer = fd >= 0 && read(fd, text, 7) == 7 && memcmp(text, "0x10de\n", 7) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return answer;
}

/* Async-signal-safe. */
static void ask(char *to) {
    int root = open("/", O_RDONLY | O_DIRECTORY);
    to[0] = (char)('0' + is_vendor(open("/usr/.." GPU "/vendor", O_RDONLY)));
    to[1] = (char)('0' + is_vendor(open("/proc/self/root" GPU "/vendor", O_RDONLY)));
    to[2] = (char)('0' + is_vendor(openat(root, GPU "/vendor" + 1, O_RDONLY)));
    to[3] = (char)('0' + is_vendor(open("alias/devices/0000:00:05.0/vendor", O_RDONLY)));
    to[4] = (char)('0' + is_vendor((int)syscall(SYS_openat, AT_FDCWD, GPU "/vendor", O_RDONLY)));
    to[5] = (char)('0' + (access("/dev/../dev/nvidia99", W_OK) == 0));
    to[6] = '\0';
    close(root);
}
"""
EARLY = (
    ASK
    + r"""
static char early[8];
__attribute__((constructor)) static void begin(void) { ask(early); }
const char *asked_early(void);
const char *asked_early(void) { return early; }
"""
)
PROGRAM = (
    ASK
    + r"""
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

const char *asked_early(void);
static char answers[8];

static void handler(int number) { (void)number; ask(answers); }
static void *thread(void *to) { ask(to); return NULL; }

int main(void) {
    printf("constructor %s\n", asked_early());
    size_t size = 16 << 10;
    char *memory = mmap(NULL, 4096 + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(memory, 4096, PROT_NONE);
    stack_t stack = {.ss_sp = memory + 4096, .ss_size = size};
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    printf("handler %s\n", answers);
    pthread_t id;
    char other[8];
    pthread_create(&id, NULL, thread, other);
    pthread_join(id, NULL);
    printf("thread %s\n", other);
    fflush(stdout);
    volatile pid_t child = vfork();
    if (child == 0) {
        close(0);
        chdir("/usr");
        chdir(GPU);
        ask(answers);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    printf("vfork %s\n", answers);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        ask(answers);
        printf("fork %s\n", answers);
        exit(0);
    }
    waitpid(child, NULL, 0);
    ask(answers);
    printf("after %s\n", answers);
    return 0;
}
"""
)
DESCRIPTORS = f"""
import array, json, mmap, os, socket
answers = {{}}
fd = os.open("/usr/..{GPU}/config", os.O_RDONLY)
answers["pread"] = os.pread(fd, 4, 0).hex()
os.lseek(fd, 10, os.SEEK_SET)
answers["lseek"] = os.read(fd, 2).hex()
answers["mmap"] = mmap.mmap(fd, 256, prot=mmap.PROT_READ)[:4].hex()
copy = os.dup(fd)
os.close(fd)
answers["dup"] = os.pread(copy, 4, 0).hex()
buffers = [bytearray(2), bytearray(2)]
os.preadv(copy, buffers, 0)
answers["preadv"] = (buffers[0] + buffers[1]).hex()
left, right = socket.socketpair()
os.sendfile(left.fileno(), copy, 0, 4)
answers["sendfile"] = right.recv(4).hex()
socket.send_fds(left, [b"x"], [copy])
answers["sent"] = os.pread(socket.recv_fds(right, 1, 1)[1][0], 4, 0).hex()
child = os.fork()
if child == 0:
    os._exit(0 if os.pread(copy, 4, 0).hex() == "de103123" else 1)
answers["fork"] = os.waitpid(child, 0)[1]
os.lseek(copy, 0, os.SEEK_SET)
out, into = os.pipe()
actions = [(os.POSIX_SPAWN_DUP2, copy, 0), (os.POSIX_SPAWN_DUP2, into, 1)]
os.waitpid(os.posix_spawn("/usr/bin/wc", ["wc", "-c"], os.environ, file_actions=actions), 0)
answers["exec"] = os.read(out, 9).decode().strip()
for _ in range(2000):
    os.close(os.open("/dev/../dev/nvidia99", os.O_RDWR))
answers["opened"] = os.open("/dev/nvidia99", os.O_RDWR) < 20
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def machine(make_machine: MakeMachine) -> Machine:  # noqa: F811
    """A host whose device no machine has, and a link into sysfs from elsewhere."""
    machine = make_machine(Host(gpu=(Gpu(minor=99),)))
    (machine.directory / "alias").symlink_to("/sys/bus/pci")
    return machine


def places(machine: Machine, *, shim: bool = True) -> dict[str, str]:
    """What each place sees: a digit for each spelling."""
    library = compile_library(EARLY, "libearly.so")
    program = compile_program(PROGRAM, "places", str(library), f"-Wl,-rpath,{library.parent}", "-Wno-unused-result")
    run = subprocess.run(
        [program], env=machine.environment if shim else {}, cwd=machine.directory, capture_output=True, text=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    return dict(line.split() for line in run.stdout.splitlines())


def test_every_place_sees_every_spelling(machine: Machine) -> None:
    """A library's constructor, a handler on a small stack, a thread, vfork and fork children all see the GPU.

    The vfork child has left for another directory, where "alias" is not; its parent is where it was.
    """
    everywhere = dict.fromkeys(("constructor", "handler", "thread", "fork", "after"), "111111")
    assert places(machine) == everywhere | {"vfork": "111011"}


def test_without_the_shim_no_place_does(machine: Machine) -> None:
    """Control: the same program without the shim sees nothing of it."""
    assert set(places(machine, shim=False).values()) == {"000000"}


def test_descriptors_are_real(machine: Machine) -> None:
    """What is opened by an odd spelling is an ordinary descriptor, to be read, mapped, handed on and closed."""
    run = machine.run(sys.executable, "-I", "-S", "-c", DESCRIPTORS)
    assert run.stderr == ""
    answers = json.loads(run.stdout)
    same = ("pread", "mmap", "dup", "preadv", "sendfile", "sent")
    assert answers == dict.fromkeys(same, "de103123") | {"lseek": "0203", "fork": 0, "exec": "256", "opened": True}


def test_without_the_shim_there_is_no_config(machine: Machine) -> None:
    """Control: the program of the test above has nothing to show without the shim."""
    run = machine.run(sys.executable, "-I", "-S", "-c", DESCRIPTORS, shim=False)
    assert run.returncode != 0
    assert "de103123" not in run.stdout

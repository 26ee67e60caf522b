"""The programs that preflight tries: what a machine needs to start, to be reached, and to be repaired.

Each is run without the libraries first, twice. It counts only if it then ends as it should; its output is compared
only if it was the same both times.
"""

import shutil
from dataclasses import dataclass
from typing import Any, Literal

from vgpu_harness.preflight.enclosure import CHANGED

NOBODY = 65534

Check = Literal["compare", "state", "mapped", "changes", "speed"]


@dataclass(frozen=True)
class Program:
    """One program to try.

    Attributes:
        name: of the step.
        command: of what is run; a program without a slash is looked up in PATH.
        needs: programs that have to be installed, beside the command itself.
        wanted: the exit status without the libraries; anything else, and nothing can be said.
        user: the number of the user who runs it; None for root (an ordinary user's own enclosure has one user alone).
        root: only root can make an enclosure in which it works.
        vital: without it, it is not known whether the libraries are safe; the others may be missing from a machine.
        alive: seconds that it has to stay; None for one that ends.
        repeat: how often it is run.
        check: what is looked at: end and streams (which tell the process's state), whether the libraries are mapped,
            which files the programs before it have left, how long it takes.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    wanted: int = 0
    user: int | None = None
    root: bool = False
    vital: bool = True
    alive: float | None = None
    repeat: int = 1
    check: Check = "compare"

    def absent(self, path: str) -> str | None:
        """The first program that it needs and that is in no folder of `path`; None if all are there."""
        return next((name for name in (self.command[0], *self.needs) if shutil.which(name, path=path) is None), None)

    def to_job(self, seconds: float) -> dict[str, Any]:
        """As `vgpu_harness.preflight.stage` takes it; `seconds` is its limit."""
        return {
            "name": self.name, "command": self.command, "user": self.user, "alive": self.alive,
            "repeat": self.repeat, "seconds": seconds,
        }  # fmt: skip


_SSH = """set -e
mkdir -p -m 755 /run/sshd /run/vgpu-preflight
cd /run/vgpu-preflight
rm -f key key.pub
ssh-keygen -q -t ed25519 -N '' -f key </dev/null >/dev/null
sshd=$(command -v sshd)
"""
_SSHD_TEST = _SSH + 'exec "$sshd" -t -h /run/vgpu-preflight/key'
# A whole login, without a network: the server in ssh's pipe, its seccomp sandbox and its re-execution included.
_SSH_LOGIN = (
    _SSH
    + """cp key.pub authorized
printf '%s\n' 'HostKey /run/vgpu-preflight/key' 'AuthorizedKeysFile /run/vgpu-preflight/authorized' 'UsePAM no' \
    'PermitRootLogin yes' 'StrictModes no' 'PrintMotd no' 'PrintLastLog no' 'LogLevel QUIET' >config
exec ssh -q -F none -i key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o GlobalKnownHostsFile=/dev/null -o "ProxyCommand=$sshd -i -f /run/vgpu-preflight/config" root@preflight \
    'echo in; exit 5'
"""
)

# What a process hands on to the programs that it starts, and what others can see of it. A descriptor that a library
# keeps to itself does not count here; one that each program hands on to the next does.
_STATE = r"""cat /proc/self/cmdline /proc/self/limits /proc/self/personality
grep -E '^(Name|Umask|Groups|Threads|SigBlk|SigIgn|ShdPnd|Cap|NoNewPrivs|Seccomp)' /proc/self/status
pwd -P; nice; env | grep -v -e ^VGPU_HOST= -e ^VGPU_TRACE=
here=$(ls /proc/self/fd | wc -l); below=$(sh -c 'ls /proc/self/fd | wc -l; :'); echo "$((below - here)) descriptors"
sh -c 'read -r pid name state parent group session rest </proc/self/stat
       test "$pid" != "$group" && test "$group" = "$session" && echo "in the group of its parent"'
for signal in TERM HUP SEGV ALRM; do sh -c "kill -$signal \$\$; sleep 1"; echo "$signal $?"; done
"""
# Files are made, copied, moved, linked, packed; with their modes, owners and times.
_FILES = r"""set -e; umask 027; place=$(mktemp -d); cd "$place"; mkdir -p a/b; echo one >a/b/file; cp a/b/file copy
ln -s copy link; ln copy hard; mv a/b/file moved; rm -r a; sed -n 'w written' copy; printf 'b\na\n' | sort -o sorted
tar -cf archive copy link; tar -tf archive; gzip -c copy | gzip -dc; readlink link; realpath link | sed 's#.*/##'
find . | sort; stat -c '%n %s %A %h %U' *; test $(($(date +%s) - $(stat -c %Y sorted))) -lt 60
echo 'echo script' >script; chmod 755 script; ./script; rm -r "$place"
"""
# What a machine is repaired with, as far as it has it.
_TOOLS = """for tool in mount umount fsck blkid lsblk agetty systemctl journalctl udevadm \
    /usr/lib/systemd/systemd-udevd modprobe ip ss ping hostname date ps dmesg chroot awk sed grep find tar gzip \
    vi nano apt-get apt-cache rpm dnf curl wget git gcc; do
    command -v "$tool" >/dev/null || continue
    said=$("$tool" --version 2>&1 </dev/null); echo "$tool $? $said"
done
getent passwd root; getent group root; getent hosts localhost; find /etc/passwd -user root
mount >/dev/null; ip link show lo
"""
# All that is new, and all that is changed in /etc and /var.
_CHANGES = f"""find /run /tmp /dev/shm -xdev -path {CHANGED.rpartition("/")[0]} -prune -o -printf '%y %m %U %p\\n'
find {CHANGED} -mindepth 1 -printf '%y %m %U %p\\n'
"""
_SHELL = 'for i in 1 2 3; do echo "$i" | cat; done; /nonexistent; echo "$?"; /etc/passwd; echo "$?"; exit 7'
_BARE = "mount -t tmpfs none /proc && mount -t tmpfs none /dev && exec cat /etc/passwd"
_UTF8 = "export LC_ALL=C.UTF-8; date -u -d @0; bash -c 'x=äöü; echo ${#x}'; ls /nonexistent"
_MANY = "export LONG=$(printf %0100000d 1); exec env printf '%s\n' $(seq 1 20000)"
# A FIFO without a writer holds the thread that opens it, and must hold no other one.
_PYTHON = """import mmap, os, select, socket, subprocess, sys, threading
subprocess.run(['true'], check=True)
for child in (os.posix_spawnp('true', ['true'], os.environ), os.fork() or os._exit(0)):
    assert os.waitpid(child, 0)[1] == 0
assert os.system('true') == 0 and select.select([], [], [], 0) == ([], [], [])
near, far = socket.socketpair()
assert near.send(b'1') == len(far.recv(9)) and os.path.getsize(os.path.realpath('/proc/self/exe')) > 0
with open('/etc/passwd', 'rb') as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data: assert data[:1]
place = f'/tmp/preflight-{os.getpid()}'
os.mkfifo(place)
waits = threading.Thread(target=lambda: open(place).close(), daemon=True)
waits.start()
for _ in range(100): os.stat('/etc/passwd'); os.path.exists('/nonexistent'); os.listdir('/')
open(place, 'w').close()
waits.join()
os.remove(place)
"""
# No shell for the signals: it sets some of them anew.
_PERL = r"""print `id -u`, alarm 0, " ", time > 1.7e9, "\n";
for my $name (qw(HUP INT TERM USR1)) { if (!fork) { kill $name, $$; exit 1 } wait; print "$name $?\n" }
"""

FIRST = "start"
"""The name of the program without which nothing starts; no other is tried where it fails."""

PROGRAMS = (
    Program(FIRST, ("true",)),
    Program("loaded", ("cat", "/proc/self/maps"), check="mapped"),
    Program("cat", ("cat", "/etc/passwd")),
    Program("ls", ("ls", "-l", "/usr")),
    Program("shell", ("sh", "-c", _SHELL), wanted=7),
    Program("login shell", ("bash", "-l", "-c", "id; umask; exit 4"), wanted=4),
    Program("empty environment", ("env", "-i", "sh", "-c", "cat /etc/hostname")),
    Program("few descriptors", ("sh", "-c", "ulimit -n 4; exec cat /etc/passwd")),
    Program("closed streams", ("sh", "-c", "exec <&- 2>&-; exec cat /etc/passwd")),
    Program("closed output", ("sh", "-c", "exec <&- >&- 2>&-; sh -c 'exit 3'"), wanted=3),
    Program("state", ("sh", "-c", _STATE), check="state"),
    Program("files", ("sh", "-c", _FILES)),
    Program("tools", ("sh", "-c", _TOOLS)),
    Program("many arguments", ("sh", "-c", _MANY)),
    Program("UTF-8", ("sh", "-c", _UTF8), needs=("bash",), wanted=2),
    Program("no /proc, no /dev", ("unshare", "-m", "sh", "-c", _BARE)),
    Program(
        "terminal", ("script", "-qec", "export TERM=linux; tty; stty -a; ls -C /usr; exit 3", "/dev/null"), wanted=3
    ),
    Program("ordinary user", ("sh", "-c", "id -u; cat /etc/passwd | wc -l"), user=NOBODY, root=True),
    Program("state of a user", ("sh", "-c", _STATE), user=NOBODY, root=True, check="state"),
    Program("set-user-ID", ("sh", "-c", "passwd -S"), needs=("passwd",), user=NOBODY, root=True),
    Program("su", ("su", "-s", "/bin/sh", "-c", "id; exit 3", "nobody"), wanted=3, root=True),
    Program("login", ("script", "-qec", "login -f nobody", "/dev/null"), needs=("login",), vital=False, root=True),
    Program("cron", ("cron", "-f"), alive=1.0, root=True),
    Program("sshd -t", ("sh", "-c", _SSHD_TEST), needs=("sshd", "ssh-keygen"), root=True),
    Program("ssh login", ("sh", "-c", _SSH_LOGIN), needs=("sshd", "ssh-keygen", "ssh"), wanted=5, root=True),
    Program("ldconfig", ("ldconfig", "-p")),
    Program("lspci", ("lspci", "-n"), vital=False),
    Program("python", ("python3", "-I", "-c", _PYTHON), vital=False),
    Program("perl", ("perl", "-e", _PERL), vital=False),
    Program("dpkg", ("dpkg", "--version"), vital=False),
    Program("sudo", ("sudo", "-n", "-u", "nobody", "id", "-u"), vital=False, root=True),
    Program("changes", ("sh", "-c", _CHANGES), check="changes"),
    Program("start-up time", ("true",), repeat=15, vital=False, check="speed"),
)
"""In the order in which they are tried."""

"""The programs that preflight tries: what a machine needs to start, to be reached, and to be repaired.

Each is run without the libraries first, twice. It counts only if it then ends as it should; its output is compared
only if it was the same both times.
"""

import shutil
from dataclasses import dataclass
from typing import Any, Literal

NOBODY = 65534

Check = Literal["compare", "mapped", "speed"]


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
        check: what is looked at: end and streams, whether the libraries are mapped, how long it takes.
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
printf '%s\\n' 'HostKey /run/vgpu-preflight/key' 'AuthorizedKeysFile /run/vgpu-preflight/authorized' 'UsePAM no' \
    'PermitRootLogin yes' 'StrictModes no' 'PrintMotd no' 'PrintLastLog no' 'LogLevel QUIET' >config
exec ssh -q -F none -i key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o GlobalKnownHostsFile=/dev/null -o "ProxyCommand=$sshd -i -f /run/vgpu-preflight/config" root@preflight \
    'echo in; exit 5'
"""
)

FIRST = "start"
"""The name of the program without which nothing starts; no other is tried where it fails."""

PROGRAMS = (
    Program(FIRST, ("true",)),
    Program("loaded", ("cat", "/proc/self/maps"), check="mapped"),
    Program("cat", ("cat", "/etc/passwd")),
    Program("ls", ("ls", "-l", "/usr")),
    Program("shell", ("sh", "-c", 'for i in 1 2 3; do echo "$i" | cat; done; exit 7'), wanted=7),
    Program("login shell", ("bash", "-l", "-c", "id; umask; exit 4"), wanted=4),
    Program("empty environment", ("env", "-i", "sh", "-c", "cat /etc/hostname")),
    Program("few descriptors", ("sh", "-c", "ulimit -n 4; exec cat /etc/passwd")),
    Program("closed streams", ("sh", "-c", "exec <&- 2>&-; exec cat /etc/passwd")),
    Program("ordinary user", ("sh", "-c", "id -u; cat /etc/passwd | wc -l"), user=NOBODY, root=True),
    Program("set-user-ID", ("passwd", "-S"), user=NOBODY, root=True),
    Program("su", ("su", "-s", "/bin/sh", "-c", "id; exit 3", "nobody"), wanted=3, root=True),
    Program("cron", ("cron", "-f"), alive=1.0, root=True),
    Program("sshd -t", ("sh", "-c", _SSHD_TEST), needs=("sshd", "ssh-keygen"), root=True),
    Program("ssh login", ("sh", "-c", _SSH_LOGIN), needs=("sshd", "ssh-keygen", "ssh"), wanted=5, root=True),
    Program("ldconfig", ("ldconfig", "-p")),
    Program("lspci", ("lspci", "-n"), vital=False),
    Program("python", ("python3", "-I", "-c", "import subprocess; subprocess.run(['true'], check=True)"), vital=False),
    Program("perl", ("perl", "-e", "print `id -u`"), vital=False),
    Program("dpkg", ("dpkg", "--version"), vital=False),
    Program("sudo", ("sudo", "-n", "-u", "nobody", "id", "-u"), vital=False, root=True),
    Program("start-up time", ("true",), repeat=15, vital=False, check="speed"),
)
"""In the order in which they are tried."""

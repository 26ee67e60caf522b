"""systemd as process 1 of an enclosure: does it reach basic.target, and do the same units work?"""

from collections.abc import Mapping
from pathlib import Path

from vgpu_harness.preflight.trial import SYSTEM_PATH, Boot, Setting, try_init

SYSTEMD = next(
    (path for path in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if Path(path).is_file()),
    "/usr/lib/systemd/systemd",
)

_UNITS = "/run/systemd/system"
_PLACE = "/run/vgpu-preflight"

SERVICES = ("dbus.service", "systemd-logind.service", "cron.service", "ssh.service", "systemd-journald.service")
"""Services that are wanted on top of basic.target, where the machine has them."""

_TARGET = f"""[Unit]
Requires=basic.target
After=basic.target
Wants=vgpu-report.service vgpu-closed.service vgpu-user.service {" ".join(SERVICES)}
"""

# What a service's author may have closed. systemd.exec(5); a library in it must make do with what is left.
_CLOSED = """[Unit]
After=basic.target
[Service]
Type=oneshot
RemainAfterExit=yes
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
LimitNOFILE=16
ExecStart=/bin/sh -c 'cat /etc/passwd >/dev/null; id'
"""

_USER = """[Unit]
After=basic.target
[Service]
Type=oneshot
RemainAfterExit=yes
User=nobody
ExecStart=/bin/sh -c 'cat /etc/passwd >/dev/null; id'
"""

_REPORT = f"""[Unit]
After=basic.target vgpu-closed.service vgpu-user.service {" ".join(SERVICES)}
[Service]
Type=oneshot
StandardOutput=file:{_PLACE}/report
ExecStart=/bin/sh -c 'systemctl is-active basic.target; systemctl list-units --failed --plain --no-legend --no-pager; \\
    echo; cat /proc/1/maps'
ExecStart=/bin/touch {_PLACE}/done
"""


def _manager(environment: Mapping[str, str]) -> str:
    words = " ".join(f'"{name}={value}"' for name, value in environment.items())
    return f"[Manager]\nDefaultEnvironment={words}\nDefaultTimeoutStartSec=10s\n"


def boot(setting: Setting, timeout: float) -> Boot:
    """Starts systemd in an enclosure, and lets all services have the setting's variables.

    Args:
        setting: of the enclosure.
        timeout: seconds until it must have come to its target.

    Raises:
        RunError: no enclosure can be made.
    """
    files = {
        f"{_UNITS}/vgpu-preflight.target": _TARGET,
        f"{_UNITS}/vgpu-closed.service": _CLOSED,
        f"{_UNITS}/vgpu-user.service": _USER,
        f"{_UNITS}/vgpu-report.service": _REPORT,
        f"{_PLACE}/README": "The enclosure of vgpu-harness preflight.\n",
        "/run/systemd/system.conf.d/vgpu-preflight.conf": _manager(setting.environment),
    }
    environment = {**setting.environment, "container": "vgpu-preflight", "PATH": SYSTEM_PATH}
    given = Setting(setting.keep, environment, {**setting.files, **files}, setting.copies)
    command = [
        SYSTEMD, "--system", "--unit=vgpu-preflight.target", "--log-target=console", "--log-level=info",
        "--show-status=no", "--crash-shell=no", "--crash-reboot=no",
    ]  # fmt: skip
    return try_init(given, command, done=f"{_PLACE}/done", report=f"{_PLACE}/report", timeout=timeout)


def failed_units(report: str) -> list[str]:
    """The units that a report names as failed."""
    return sorted(line.split()[0] for line in report.partition("\n\n")[0].splitlines()[1:])


def maps_of_init(report: str) -> str:
    """What /proc/1/maps was."""
    return report.partition("\n\n")[2]


def reached(outcome: Boot) -> bool:
    """Did systemd reach basic.target, and go on to the report?"""
    return outcome.done and outcome.report.startswith("active\n")


def last_words(console: str, count: int = 3) -> list[str]:
    """The last lines of a console that say that something went wrong; the last ones at all, if none does."""
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    bad = [
        line for line in lines if any(word in line.lower() for word in ("error", "fail", "caught", "freez", "cannot"))
    ]
    return (bad or lines)[-count:]

"""What this session tells at its end, whether or not a test failed."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TOLD = ("results", "hung", "differed")


@pytest.fixture(autouse=True)
def _debians_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the system's programs are found: what the session itself put into PATH may be closed to this user."""
    monkeypatch.setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")


@pytest.fixture
def near_the_root() -> Iterator[Path]:
    """A folder with a short name: multiprocessing makes sockets in it, whose paths have 107 bytes (unix(7))."""
    with tempfile.TemporaryDirectory(prefix="py-", dir="/tmp") as name:
        yield Path(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests CPython's modules have, and which of them did not end in one way."""
    reports = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    lines = [value for report in reports for name, value in report.user_properties if name in TOLD]
    for line in sorted(set(lines)):
        terminalreporter.write_line(line)

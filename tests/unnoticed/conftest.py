"""What this session tells at its end, whether or not a test failed."""

import pytest

TOLD = ("results", "hung", "differed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests CPython's modules have, and which of them did not end in one way."""
    reports = [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]
    lines = [value for report in reports for name, value in report.user_properties if name in TOLD]
    for line in sorted(set(lines)):
        terminalreporter.write_line(line)

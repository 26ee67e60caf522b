"""CPython's own test modules, each to be run without and with the shims.

VGPU_UNNOTICED_PYTHON names a folder with Debian's packages of one version of Python and of its tests, unpacked: in
place, as several tests start Python anew with the environment ignored.
"""

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from pathlib import Path

from both import Both, Outcome, first_uses

from vgpu_harness.trace import Library

_SPAWN = "test_multiprocessing_spawn"
PARTS = {
    f"{_SPAWN}: processes": [_SPAWN, "-m", "WithProcesses*", "-i", "WithProcessesTestPool*"],
    f"{_SPAWN}: pools": [_SPAWN, "-m", "WithProcessesTestPool*"],
    f"{_SPAWN}: managers": [_SPAWN, "-m", "WithManager*"],
    f"{_SPAWN}: the rest": [_SPAWN, "-i", "WithProcesses*", "-i", "WithManager*"],
} | {
    name: [name]
    for name in (
        "test_signal", "test_io", "test_subprocess", "test_threading", "test_select", "test_os", "test_posix",
        "test_tempfile", "test_pathlib", "test_shutil", "test_glob", "test_fileio", "test_mmap",
    )
}  # fmt: skip
"""What CPython's test runner is asked for, the longest first: whole modules, and the longest one in four parts."""
PATIENCE = 900.0
"""Seconds after which the test runner gives up; the longest part takes 75 on an idle machine."""
ATTEMPTS = 2
"""A run that does not end is repeated, and named."""

Results = Mapping[str, str]
"""How each test ended, by id: "passed", "skipped", "failure", "error"; all of them where it ended in several ways."""


_IN_TEST = re.compile(r"in (test_\w+)$", re.MULTILINE)


def read_results(report: Path) -> Results:
    """The results of a JUnit report, such as CPython's test runner writes."""
    found: dict[str, set[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case} & {"skipped", "failure", "error"} or {"passed"}
        found.setdefault(case.attrib["name"], set()).update(kinds)
    return {name: "+".join(sorted(kinds)) for name, kinds in found.items()}


def differing(first: Results, second: Results) -> dict[str, tuple[str | None, str | None]]:
    """Which tests ended in two ways, and in which; None: was not run."""
    names = sorted(first.keys() | second.keys())
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}


class Part:
    """One of the parts.

    Args:
        name: see `PARTS`.
        place: an empty folder.

    Attributes:
        hung: what was said of runs that did not end, a line each.
    """

    def __init__(self, name: str, place: Path) -> None:
        self.both = Both(place, lambda _: None)
        self.hung: list[str] = []
        self._report = place / "report.xml"
        python = Path(os.environ["VGPU_UNNOTICED_PYTHON"], "usr/bin/python3.11")
        limits = ["--timeout", str(PATIENCE), "--junit-xml", str(self._report)]
        self._argv = [str(python), "-P", "-m", "test", *limits, *PARTS[name]]

    def _results(self, run: Callable[[], Outcome], how: str) -> Results:
        for _ in range(ATTEMPTS):
            outcome = run()
            if self._report.is_file():
                found = read_results(self._report)
                self._report.unlink()
                return found
            said = (outcome.stdout + outcome.stderr).decode(errors="replace")
            assert "Timeout (" in said, f"{how}: no report: {said[-3000:]}"  # faulthandler's word
            self.hung.append(f"{how} the shims, a run did not end: in {', '.join(_IN_TEST.findall(said)) or said}")
        raise AssertionError(f"{ATTEMPTS} runs of {ATTEMPTS} did not end: {self.hung}")

    def plain(self) -> Results:
        """Without the shims."""
        return self._results(lambda: self.both.plain(self._argv, {}, PATIENCE + 60), "without")

    def shimmed(self, **env: str) -> Results:
        """With them."""

        def run() -> Outcome:
            outcome, run = self.both.shimmed(self._argv, env, PATIENCE + 60)
            assert ("python3.11", Library.SYSCALL) in first_uses(run), run.explain()
            assert run.trace.dropped == 0, run.explain()
            return outcome

        return self._results(run, "with")

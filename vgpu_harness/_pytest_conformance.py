"""What the conformance suite needs of every pytest session: its options, and what workers of pytest-xdist have to say.

The suite's own conftest.py is loaded only where the rules are collected.
"""

from typing import Any

import pytest

not_run_of_workers = pytest.StashKey[dict[str, int]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of ``pytest --pyargs vgpu_harness.conformance``."""
    group = parser.getgroup("vgpu")
    for api, library in (("cuda", "libcuda"), ("nvml", "libnvidia-ml")):
        group.addoption(
            f"--vgpu-{api}",
            metavar="LIB",
            help=f"the {library} that pytest --pyargs vgpu_harness.conformance tries (default: our shims)",
        )
    group.addoption(
        "--vgpu-no-sandbox",
        action="store_true",
        help="try libraries of --vgpu-cuda and --vgpu-nvml as this user, and let them see /dev",
    )
    group.addoption(
        "--vgpu-allow-missing",
        action="store_true",
        help="a rule whose function the library does not export is an expected failure",
    )


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keeps which rules a worker of pytest-xdist has left out; each of them leaves out the same."""
    node.config.stash[not_run_of_workers] = getattr(node, "workeroutput", {}).get("vgpu_not_run", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says why workers of pytest-xdist have left out rules: the controller has collected none itself."""
    for why, count in config.stash.get(not_run_of_workers, {}).items():
        terminalreporter.write_line(f"vgpu conformance: {count} rules not run: {why}")

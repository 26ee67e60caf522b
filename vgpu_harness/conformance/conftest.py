"""`pytest --pyargs vgpu_harness.conformance`: which rules are tests, and on which libraries.

Rules that cannot be tried are deselected before any test runs, and the summary says why; none of them is counted as a
skipped or a passed test. If no rule is left, pytest's exit status is 5.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from vgpu_harness.conformance.rule import Rule
from vgpu_harness.conformance.subject import subjects
from vgpu_harness.conformance.suite import Suite
from vgpu_harness.errors import VgpuHarnessError
from vgpu_harness.host import Host

suite_of_session = pytest.StashKey[Suite]()
not_run = pytest.StashKey[Counter[str]]()


def _library(config: pytest.Config, api: str) -> Path | None:
    given = config.getoption(f"--vgpu-{api}")
    return None if given is None else config.invocation_params.dir / given


def _rule(item: pytest.Item) -> Rule | None:
    parameters: dict[str, Any] = (
        item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    )
    found = parameters.get("conformance_rule")
    return found if isinstance(found, Rule) else None


def _start(config: pytest.Config) -> Suite:
    given = config.getoption("--vgpu-host")
    try:
        host = None if given is None else Host.load(given)
        chosen = subjects(_library(config, "cuda"), _library(config, "nvml"), host)
        suite = Suite(chosen, sandbox=not config.getoption("--vgpu-no-sandbox"))
        suite.__enter__()
    except VgpuHarnessError as error:
        raise pytest.UsageError(f"vgpu conformance: {error}") from None
    config.add_cleanup(lambda: suite.__exit__(None, None, None))
    return suite


@pytest.hookimpl(trylast=True)  # after pytest's own, for -k and -m
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Starts the worker, and leaves out what cannot be tried."""
    if not any(_rule(item) for item in items):
        return
    config.stash[suite_of_session] = suite = _start(config)
    reasons: Counter[str] = Counter()
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        rule = _rule(item)
        try:
            why = "" if rule is None else suite.why_not(rule)
        except VgpuHarnessError as error:
            raise pytest.UsageError(f"vgpu conformance: {error}") from None
        (left_out if why else kept).append(item)
        reasons.update([why] if why else [])
    items[:] = kept
    config.stash[not_run] = reasons
    if (output := getattr(config, "workeroutput", None)) is not None:  # of pytest-xdist; see _pytest_conformance.py
        output["vgpu_not_run"] = dict(reasons)
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says why rules were not tried."""
    for why, count in config.stash.get(not_run, Counter()).items():
        terminalreporter.write_line(f"vgpu conformance: {count} rules not run: {why}")


@pytest.fixture
def conformance_suite(request: pytest.FixtureRequest) -> Suite:
    """The worker of this session."""
    return request.config.stash[suite_of_session]

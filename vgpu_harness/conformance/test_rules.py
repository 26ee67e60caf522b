"""The rules as tests: `pytest --pyargs vgpu_harness.conformance [--vgpu-cuda LIB] [--vgpu-nvml LIB]`."""

import pytest

from vgpu_harness.conformance.report import to_text
from vgpu_harness.conformance.result import Verdict
from vgpu_harness.conformance.rule import Rule, all_rules
from vgpu_harness.conformance.suite import Suite


@pytest.mark.parametrize("conformance_rule", [pytest.param(rule, id=name) for name, rule in all_rules().items()])
def test_rule(conformance_rule: Rule, conformance_suite: Suite, pytestconfig: pytest.Config) -> None:
    """The library keeps the rule."""
    result = conformance_suite.try_rule(conformance_rule)
    if result.verdict is Verdict.MISSING and pytestconfig.getoption("--vgpu-allow-missing"):
        pytest.xfail(result.message)
    if result.verdict is not Verdict.PASSED:
        pytest.fail(to_text(result), pytrace=False)

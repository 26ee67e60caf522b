"""NVIDIA's own libraries keep the rules of the conformance suite: a rule that they break is a wrong rule."""

import pytest
from recordings import library

from vgpu_harness.conformance.result import BAD, Verdict
from vgpu_harness.conformance.rule import all_rules, select
from vgpu_harness.conformance.subject import subjects
from vgpu_harness.conformance.suite import Suite


@pytest.mark.parametrize(("api", "name"), [("cuda", "libcuda.so.1"), ("nvml", "libnvidia-ml.so.1")])
def test_nvidias_library_keeps_the_rules(api: str, name: str) -> None:
    """Each rule that needs no GPU holds for NVIDIA's library, but for those about functions that it does not have."""
    chosen = subjects(**{"cuda": None, "nvml": None, "host": None, api: library(name)})
    with Suite(chosen) as suite:
        results = list(suite.run(rule for rule in select() if rule.api == api))
    broken = [
        f"{result.rule.name}: {result.verdict.value}: {result.message}" for result in results if result.verdict in BAD
    ]
    assert broken == []
    without_gpu = [rule for rule in all_rules().values() if rule.api == api and not rule.gpu]
    passed = [result for result in results if result.verdict is Verdict.PASSED]
    missing = [result for result in results if result.verdict is Verdict.MISSING]
    assert passed
    assert len(passed) + len(missing) >= len(without_gpu)

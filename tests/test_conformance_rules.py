"""The rules of this package: they are well made, and our shims keep them all."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from vgpu_harness.conformance.coverage import entries
from vgpu_harness.conformance.result import Verdict, as_hoped
from vgpu_harness.conformance.rule import Cuda, Nvml, Rule, all_rules, rule, select
from vgpu_harness.conformance.subject import subjects
from vgpu_harness.conformance.suite import Suite

SOURCE = re.compile(
    r"\.h\b|measured|read from|project|pull request|own choice|our rule|common sense|tests|doc|guide", re.IGNORECASE
)


def test_our_shims_keep_every_rule() -> None:
    """Every rule of this package passes on the shims of this package, each on a GPU where it needs one."""
    with Suite(subjects(None, None, None)) as suite:
        results = list(suite.run(select()))
    wrong = [result for result in results if result.verdict is not Verdict.PASSED]
    assert "\n".join(f"{result.rule.name}: {result.verdict.value} {result.message}" for result in wrong) == ""
    assert as_hoped(results)
    assert len(results) == len(all_rules()) >= 28


def test_rules_name_entry_points_of_their_api() -> None:
    """Each function that a rule names is in the list of its API, so the coverage table and the controls know it."""
    known = {api: {entry.name for entry in entries(api)} for api in ("cuda", "nvml")}
    for found in all_rules().values():
        assert set(found.functions) <= known[found.api], found.name


def test_rules_say_where_they_come_from() -> None:
    """A source names a header, a measurement, or a public project; the words end as a sentence does."""
    for found in all_rules().values():
        assert SOURCE.search(found.source), f"{found.name}: {found.source}"
        assert found.says.endswith((".", ";")), found.name


def test_a_pattern_selects_by_name_and_by_function() -> None:
    """A pattern matches the rule's name, or any function that it names; no pattern is all rules."""
    assert {found.name.partition(".")[0] for found in select(("cuda_errors.*",))} == {"cuda_errors"}
    assert all("cuInit" in found.functions for found in select(("cuInit",)))
    assert len(select(("cuInit",))) >= 2
    assert select(("no-such-rule",)) == []
    assert len(select()) == len(all_rules())


def _one(cuda: Cuda) -> None:
    """A rule."""


def _two(cuda: Cuda, nvml: Nvml) -> None:
    """A rule of two APIs."""


def _none(thing: object) -> None:
    """A rule of no API."""


def _mute(nvml: Nvml) -> None:
    pass


@pytest.mark.parametrize(
    ("functions", "source", "body"),
    [
        ((), "cuda.h", _one),
        (("cuInit",), "", _one),
        (("cuInit",), "cuda.h", _two),
        (("cuInit",), "cuda.h", _none),
        (("nvmlInit",), "nvml.h", _mute),
    ],
)
def test_a_rule_that_lacks_something_is_refused(
    functions: tuple[str, ...], source: str, body: Callable[[Any], None]
) -> None:
    """No function, no source, no docstring, or not one API as the parameter: a TypeError that names the rule."""
    with pytest.raises(TypeError, match=rf"^rule test_conformance_rules\.{body.__name__}: "):
        rule(*functions, source=source, gpu=False)(body)


def test_two_rules_of_one_name_are_refused() -> None:
    """The name is how a rule is asked for, so it must be its own."""
    found = next(iter(all_rules().values()))

    def body(cuda: Cuda) -> None:
        """Another rule of this name."""

    body.__module__, body.__name__ = found.body.__module__, found.body.__name__
    with pytest.raises(ValueError, match="there are two of that name"):
        rule("cuInit", source="cuda.h", gpu=False)(body)
    assert isinstance(found, Rule)
    assert all_rules()[found.name] is found

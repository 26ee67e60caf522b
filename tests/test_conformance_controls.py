"""Functions that a rule proves are made to lie, and a rule must notice. Some of them; tests/controls has all."""

from pathlib import Path

import pytest
from support.lies import FUNCTIONS, check_lies

from vgpu_harness.conformance.control import NEVER, Control, controls
from vgpu_harness.conformance.rule import Rule, select
from vgpu_harness.conformance.subject import subjects
from vgpu_harness.conformance.suite import Lie, Suite


def test_lies_are_noticed() -> None:
    """Those of every eighth function."""
    check_lies(FUNCTIONS[::8])


RULES = '''
"""Rules that notice too little."""

from vgpu_harness.conformance.rule import Cuda, rule


@rule("cuInit", source="none", gpu=True)
def initialises(cuda: Cuda) -> None:
    """It only asks for a code."""
    cuda.init()


@rule("cuDriverGetVersion", source="none", gpu=True)
def an_error(cuda: Cuda) -> None:
    """It only asks for an error."""
    cuda.expect(1, "cuDriverGetVersion", None)


@rule("cuDeviceGetCount", source="none", gpu=True)
def an_output(cuda: Cuda) -> None:
    """It does not look at the output's value."""
    cuda.init()
    count = cuda.out("int")
    cuda.ok("cuDeviceGetCount", count)
    cuda.value(count)


@rule("cuDeviceGet", source="none", gpu=True)
def wrong(cuda: Cuda) -> None:
    """It is broken without any lie."""
    cuda.expect(7, "cuDeviceGet", None, 0)


@rule("cuGetErrorName", source="none", gpu=False)
def without_a_gpu(cuda: Cuda) -> None:
    """It needs no GPU."""
    name = cuda.out("const char *")
    cuda.ok("cuGetErrorName", 0, name)
    cuda.equal(cuda.string(cuda.value(name)), "CUDA_SUCCESS", "the name")
'''


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Control]:
    """The controls of rules that notice too little, by function and lie."""
    from vgpu_harness.conformance import rule

    file = tmp_path_factory.mktemp("rules") / "lax.py"
    file.write_text(RULES)
    before = rule.all_rules()
    rule.load(file)
    rules: list[Rule] = select(("lax.*",))
    rule._rules.clear()
    rule._rules.update(before)
    with Suite({"cuda": subjects(None, None, None)["cuda"]}, files=(Path(file),)) as suite:
        return {(control.function, control.lie.value): control for control in controls(suite, rules)}


@pytest.mark.parametrize(
    ("function", "outcomes"),
    [
        ("cuInit", ["not noticed", "not noticed", "no effect"]),
        ("cuDriverGetVersion", ["not noticed", "noticed", "no effect"]),
        ("cuDeviceGetCount", ["noticed", "noticed", "not noticed"]),
        ("cuDeviceGet", ["not tried", "not tried", "not tried"]),
        ("cuGetErrorName", ["noticed"]),
    ],
)
def test_a_rule_that_notices_too_little_is_found(
    lax: dict[tuple[str, str], Control], function: str, outcomes: list[str]
) -> None:
    """Each lie has its own outcome for each kind of lax rule; for one without a GPU there is only one lie."""
    found = [control for (name, _), control in lax.items() if name == function]
    assert [control.outcome.value for control in found] == outcomes
    assert [control.lie for control in found] == (list(Lie) if len(outcomes) > 1 else [Lie.SUCCESS])


def test_a_control_says_why(lax: dict[tuple[str, str], Control]) -> None:
    """It names the rules that were tried, how the lie was noticed, and why a function was not tried."""
    noticed = lax["cuDeviceGetCount", "silence"]
    assert noticed.to_json() == {
        "schema": 1,
        "api": "cuda",
        "function": "cuDeviceGetCount",
        "lie": "silence",
        "outcome": "noticed",
        "rules": ["lax.an_output"],
        "message": "failed an output of int has not been written",
    }
    assert (lax["cuInit", "silence"].message, lax["cuDriverGetVersion", "silence"].message) == ("", NEVER)
    assert "lax.wrong: failed cuDeviceGet answers 3, not 7" in lax["cuDeviceGet", "silence"].message

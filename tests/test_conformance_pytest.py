"""`pytest --pyargs vgpu_harness.conformance`: each rule is a test; what cannot be tried is deselected, and said."""

from importlib.metadata import entry_points

import pytest
from support.compile import compile_library

# A libcuda of a machine without a GPU, which says a wrong text.
LIBRARY = """
int cuInit(unsigned flags);
int cuInit(unsigned flags) { return flags == 0 ? 100 : 1; }
int cuDeviceGetCount(int *count);
int cuDeviceGetCount(int *count) { (void)count; return 3; }
int cuGetErrorString(int code, const char **text);
int cuGetErrorString(int code, const char **text) { *text = code == 0 ? "fine" : "bad"; return 0; }
"""


def run(pytester: pytest.Pytester, *words: object) -> pytest.RunResult:
    """Runs pytest on the rules."""
    plugin = () if entry_points(group="pytest11", name="vgpu") else ("-p", "vgpu_harness.pytest_plugin")
    return pytester.runpytest_inprocess(
        *plugin, "-p", "no:cacheprovider", "--pyargs", "vgpu_harness.conformance", *map(str, words)
    )


def test_rules_are_tests_on_our_shims(pytester: pytest.Pytester) -> None:
    """Each rule has a test of its name, which passes."""
    result = run(pytester, "-k", "cuda_errors", "-v")
    result.assert_outcomes(passed=4, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(["*::test_rule?cuda_errors.unknown_codes? PASSED*"])
    assert result.ret == 0


def test_a_host_file_is_what_our_shims_show(pytester: pytest.Pytester) -> None:
    """--vgpu-host is shown to the rules; where its driver fails, rules that need a GPU are left out and none passes."""
    (pytester.path / "host.toml").write_text('[[faults]]\nfunction = "cuInit"\nresult = 101\n')
    result = run(pytester, "--vgpu-host", "host.toml", "-k", "init_again")
    result.stdout.fnmatch_lines(["vgpu conformance: 1 rules not run: no GPU (cuInit answers 101)"])
    # With an editable install pytest warns of its import hook: the outcomes have "warnings" then.
    result.assert_outcomes(deselected=result.parseoutcomes()["deselected"])
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_a_foreign_library(pytester: pytest.Pytester) -> None:
    """A broken rule fails with its calls and no traceback; rules of the other API, and with a GPU, are left out."""
    library = compile_library(LIBRARY, "libcuda.so.1")
    words = ("cuda_errors.texts_of_codes", "init_with_a_flag", "init_again", "nvml_errors.texts_of_codes")
    result = run(pytester, "--vgpu-cuda", library, "--vgpu-no-sandbox", "-k", " or ".join(words))
    result.assert_outcomes(passed=1, failed=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines([
        "failed cuda_errors.texts_of_codes",
        "*found: *the text of 0 is 'fine', not 'no error'",
        "*cuGetErrorString(0, &char *) = 0*",
        "vgpu conformance: 1 rules not run: no GPU (cuInit answers 100)",
        "vgpu conformance: 1 rules not run: no library for nvml was given",
    ])  # fmt: skip
    result.stdout.no_fnmatch_line("*Traceback*")


def test_what_an_old_library_lacks_can_be_allowed(pytester: pytest.Pytester) -> None:
    """A function that is not exported fails the rule; with --vgpu-allow-missing it is an expected failure, no pass."""
    library = compile_library(LIBRARY, "libcuda.so.1")
    words = ("--vgpu-cuda", library, "--vgpu-no-sandbox", "-k", "names_of_codes or init_with_a_flag", "-rx")
    strict = run(pytester, *words)
    strict.assert_outcomes(passed=1, failed=1, deselected=strict.parseoutcomes()["deselected"])
    allowed = run(pytester, *words, "--vgpu-allow-missing")
    allowed.assert_outcomes(passed=1, xfailed=1, deselected=allowed.parseoutcomes()["deselected"])
    allowed.stdout.fnmatch_lines(["XFAIL *names_of_codes* does not export cuGetErrorName"])
    assert (strict.ret, allowed.ret) == (1, 0)


def test_workers_of_xdist_say_what_they_left_out(pytester: pytest.Pytester) -> None:
    """With -n the reasons come from the workers: the controller itself collects nothing."""
    library = compile_library(LIBRARY, "libcuda.so.1")
    result = run(
        pytester, "-n", "1", "--vgpu-cuda", library, "--vgpu-no-sandbox", "-k", "init_with_a_flag or init_again"
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["vgpu conformance: 1 rules not run: no GPU (cuInit answers 100)"])


def test_a_library_that_is_not_there_is_a_usage_error(pytester: pytest.Pytester) -> None:
    """No test runs, and the message names the library."""
    result = run(pytester, "--vgpu-nvml", "no/such.so")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*vgpu conformance: */no/such.so: is not a file*"])

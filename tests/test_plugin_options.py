"""The plugin's options and marker, from outside: pytest as a user starts it."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest

HOST = """
[driver]
version = "575.10.01"

[[gpu]]
pci = "00ab:17:03.0"
"""

ASKS_HOST = """
def test_asks(vgpu_host):
    assert (vgpu_host.driver.version, vgpu_host.gpu[0].pci) == {expected!r}
"""

MARKED = """
import pathlib, tomllib
import pytest
from vgpu_harness.host import Host

HERE = pathlib.Path(__file__).parent
TEXT = {text!r}

def facts(host):
    return host.driver.version, host.gpu[0].pci

@pytest.mark.parametrize("_", [
    pytest.param(0, marks=pytest.mark.vgpu(host="other.toml")),
    pytest.param(1, marks=pytest.mark.vgpu(host=Host.load(HERE / "other.toml"))),
    pytest.param(2, marks=pytest.mark.vgpu(host=tomllib.loads(TEXT))),
])
def test_other(_, vgpu_host):
    assert facts(vgpu_host) == {other!r}

@pytest.mark.vgpu(host="other.toml")
class TestClass:
    def test_of_class(self, vgpu_host):
        assert facts(vgpu_host) == {other!r}

    @pytest.mark.vgpu(host={{}})
    def test_of_function(self, vgpu_host):
        assert facts(vgpu_host) == {default!r}
"""

DEFAULT = ("580.95.05", "0000:00:05.0")
OTHER = ("575.10.01", "00ab:17:03.0")


def plugin_arguments() -> tuple[str, ...]:
    """How pytest is told of the plugin where the package is not installed."""
    return () if entry_points(group="pytest11", name="vgpu") else ("-p", "vgpu_harness.pytest_plugin")


@pytest.fixture
def result(pytester: pytest.Pytester) -> "object":
    """Runs pytest in a process of its own: ``result(*arguments) -> RunResult``."""

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *plugin_arguments(), *arguments, timeout=120)

    return run


class TestHost:
    def test_without_option_or_marker_it_is_the_default_host(self, pytester, result):
        """vgpu_host is one H100 at 0000:00:05.0."""
        pytester.makepyfile(ASKS_HOST.format(expected=DEFAULT))
        result("--strict-markers").assert_outcomes(passed=1)

    def test_option_names_a_host_file(self, pytester, result):
        """--vgpu-host takes a path relative to where pytest was started."""
        pytester.makefile(".toml", other=HOST)
        pytester.makepyfile(ASKS_HOST.format(expected=OTHER))
        result("--vgpu-host=other.toml", "-n", "2").assert_outcomes(passed=1)
        result().assert_outcomes(failed=1)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("[drivr]\n", "*--vgpu-host: *other.toml:1: drivr: *driver*"),
            ("[[gpu]]\nmemory_mib = '80'\n", "*other.toml:2: gpu*memory_mib*"),
            (None, "*--vgpu-host: *other.toml*"),
        ],
    )
    def test_a_wrong_host_file_is_one_message_and_no_test_runs(self, content, message, pytester, result):
        """A file that is wrong or missing ends the session as a usage error, before the first test."""
        if content is not None:
            pytester.makefile(".toml", other=content)
        pytester.makepyfile("def test_passes(): pass")
        ended = result("--vgpu-host=other.toml")
        assert ended.ret == pytest.ExitCode.USAGE_ERROR
        ended.stderr.fnmatch_lines([message])
        ended.stdout.no_fnmatch_line("*passed*")
        ended.stderr.no_fnmatch_line("*Traceback*")

    def test_marker_takes_a_path_a_host_or_a_mapping(self, pytester, result):
        """It wins over the option, a function's over its class's; a path is relative to the test's file."""
        directory = pytester.mkdir("deep")
        (directory / "other.toml").write_text(HOST)
        (directory / "test_marked.py").write_text(MARKED.format(text=HOST, other=OTHER, default=DEFAULT))
        pytester.makefile(".toml", option="[driver]\nversion = '590.1.1'\n")
        result("--strict-markers", "--vgpu-host=option.toml").assert_outcomes(passed=5)


def test_a_wrong_marker_fails_its_test_in_words(pytester, result):
    """A mistake in a marker is one message, without the plugin's own code, whether a fixture reads it or not."""
    wrong = {
        "hots={}": "*@pytest.mark.vgpu has no argument 'hots'; did you mean 'host'?*",
        "'host.toml'": "*@pytest.mark.vgpu takes named arguments only: host, trace_size, scale*",
        "host=7": "*@pytest.mark.vgpu(host=7): give a Host, a dict*",
        "host={'gpus': []}": "*@pytest.mark.vgpu(host=...): *gpus*",
        "host='missing.toml'": "*@pytest.mark.vgpu(host=...): *missing.toml*",
    }
    tests = [f"@pytest.mark.vgpu({marker})\ndef test_{n}(vgpu_host): pass\n" for n, marker in enumerate(wrong)]
    tests.append("@pytest.mark.vgpu(hots={})\ndef test_without_fixture(): pass\ndef test_other(vgpu_host): pass\n")
    pytester.makepyfile("import pytest\n" + "".join(tests))
    ended = result("--strict-markers")
    ended.assert_outcomes(errors=len(wrong) + 1, passed=1)
    ended.stdout.fnmatch_lines_random(list(wrong.values()))
    ended.stdout.no_fnmatch_line("*pytest_plugin.py:*")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--vgpu-trace-size=big", "*--vgpu-trace-size: 'big' is not a size*64M*"),
        ("--vgpu-scale=0", "*--vgpu-scale: '0' is not a scale*"),
    ],
)
def test_a_wrong_option_is_a_usage_error(option, message, pytester, result):
    """An option that cannot be read is one message with the value and the remedy."""
    pytester.makepyfile("def test_passes(): pass")
    ended = result(option)
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    ended.stderr.fnmatch_lines([message])


def test_help_lists_the_options_in_a_group_of_their_own(result):
    """`pytest --help` has the group, and `--markers` the marker."""
    result("--help").stdout.fnmatch_lines(
        ["simulated NVIDIA GPUs*", "*--vgpu-host=FILE*", "*--vgpu-trace-size=BYTES*", "*--vgpu-scale=FACTOR*",
         "*--vgpu-trace-tail=N*"]
    )  # fmt: skip
    result("--markers").stdout.fnmatch_lines(["@pytest.mark.vgpu(host=*"])


def test_a_session_without_its_fixtures_imports_nothing_heavy(pytester, result):
    """The plugin alone loads neither pydantic nor the compiled module nor anything else that takes time."""
    pytester.makepyfile(
        """
        import sys
        def test_modules():
            heavy = {"pydantic", "click", "rich", "jinja2", "elftools", "tomlkit", "psutil", "vgpu_harness._wire"}
            assert heavy.isdisjoint(sys.modules)
        """
    )
    result("-p", "no:xdist", "-p", "no:cov").assert_outcomes(passed=1)


def test_the_plugin_file_is_thin():
    """Glue only: fewer than 300 lines."""
    import vgpu_harness.pytest_plugin as plugin

    assert len(Path(plugin.__file__).read_text().splitlines()) < 300

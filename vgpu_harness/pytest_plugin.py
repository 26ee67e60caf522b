"""The pytest plugin: options, the marker ``vgpu``, and fixtures over the public parts of this package.

Only pytest is imported here; all else inside the fixtures, so that a session that does not use them pays nothing.
"""

import difflib
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from vgpu_harness._pytest_files import HostFiles
    from vgpu_harness.discovery import Verdict
    from vgpu_harness.host import Host
    from vgpu_harness.run import Run
    from vgpu_harness.shims.inprocess import Cuda, Gate, Nvml

pytest_plugins = ["vgpu_harness._pytest_conformance"]

MARKER_ARGUMENTS = ("host", "trace_size", "scale")
TRACE_SIZE = "4M"
"""Room for some 30,000 records in each run of a test."""

TRACE_TAIL = 20
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

option_host = pytest.StashKey["Host"]()
evidence_of_item = pytest.StashKey[list["Run | Verdict"]]()


def _size(text: str) -> int:
    """``4M`` -> 4194304."""
    found = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not found:
        raise ValueError(f"{text!r} is not a size; write bytes, or a number with K, M or G, as in 64M")
    return int(found[1]) * _UNITS[found[2]]


def _option_type(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """A type for argparse, whose own message for a ValueError names nothing."""
    from argparse import ArgumentTypeError

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return converted


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(f"{text!r} is not a scale; write a number above 0, as in 2.5")
    return value


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options, each with the prefix ``--vgpu-``."""
    group = parser.getgroup("vgpu", "simulated NVIDIA GPUs (vgpu-harness)")
    group.addoption("--vgpu-host", metavar="FILE", help="host file (TOML) of the fixture vgpu_host")
    group.addoption(
        "--vgpu-trace-size", metavar="BYTES", type=_option_type(_size), default=_size(TRACE_SIZE),
        help=f"size of a run's trace, with K, M or G (default: {TRACE_SIZE})",
    )  # fmt: skip
    group.addoption(
        "--vgpu-scale", metavar="FACTOR", type=_option_type(_scale), default=1.0,
        help="the time limits of discovery clients are this many times as long (default: 1)",
    )  # fmt: skip
    group.addoption(
        "--vgpu-trace-tail", metavar="N", type=int, default=TRACE_TAIL,
        help=f"a failing test shows the last N records of its trace (default: {TRACE_TAIL})",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker, and reads the host file of the command line before any test runs."""
    config.addinivalue_line(
        "markers",
        "vgpu(host=FILE|Host|dict, trace_size=BYTES, scale=FACTOR): a test's simulated host, and how its runs go.",
    )
    if name := config.getoption("--vgpu-host"):
        from vgpu_harness.errors import HostError

        # Workers of pytest-xdist get the options as they are then, and may have another directory.
        config.option.vgpu_host = str(config.invocation_params.dir / name)
        try:
            config.stash[option_host] = _load(Path(config.option.vgpu_host))
        except HostError as error:
            raise pytest.UsageError(f"--vgpu-host: {error}") from None


def _load(path: Path) -> "Host":
    from vgpu_harness.host import Host

    return Host.load(path)


def _marked(item: pytest.Item) -> dict[str, Any]:
    """The arguments of a test's ``vgpu`` markers; those of the function win over those of its class and module."""
    arguments: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("vgpu"))):
        if marker.args:
            pytest.fail(f"@pytest.mark.vgpu takes named arguments only: {', '.join(MARKER_ARGUMENTS)}", pytrace=False)
        for name in marker.kwargs:
            if name not in MARKER_ARGUMENTS:
                near = difflib.get_close_matches(name, MARKER_ARGUMENTS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(MARKER_ARGUMENTS)}"
                pytest.fail(f"@pytest.mark.vgpu has no argument {name!r}; {hint}", pytrace=False)
        arguments |= marker.kwargs
    return arguments


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A misspelt marker fails its test, whether or not a fixture would read it."""
    _marked(item)


def _host(given: Any, item: pytest.Item) -> "Host":
    """A ``Host``, from one, from a mapping as in a host file, or from a file beside the test's own."""
    from vgpu_harness.errors import HostError
    from vgpu_harness.host import Host

    try:
        if isinstance(given, Host):
            return given
        if isinstance(given, dict):
            return Host(**given)
        if isinstance(given, str | Path):
            return Host.load(item.path.parent / given)
    except HostError as error:
        pytest.fail(f"@pytest.mark.vgpu(host=...): {error}", pytrace=False)
    pytest.fail(
        f"@pytest.mark.vgpu(host={given!r}): give a Host, a dict as in a host file, or the path of one", pytrace=False
    )


def _choice(request: pytest.FixtureRequest, name: str) -> Any:
    """What the marker says of a run, else the command line."""
    return _marked(request.node).get(name, request.config.getoption(f"--vgpu-{name.replace('_', '-')}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to a failure what its runs and discoveries left: the funnels and the ends of the traces."""
    report = yield
    if report.failed:
        for evidence in item.stash.get(evidence_of_item, []):
            report.sections.append(_section(evidence, item.config.getoption("--vgpu-trace-tail")))
    return report


def _section(evidence: "Run | Verdict", tail: int) -> tuple[str, str]:
    from vgpu_harness.errors import VgpuHarnessError
    from vgpu_harness.run import Run

    if isinstance(evidence, Run):
        title, funnel = f"vgpu run of {evidence.argv[0]}", ""
    else:
        title, funnel = f"vgpu discovery {evidence.generation}", _funnel(evidence)
    if evidence.directory is None:
        return title, funnel
    try:
        return title, funnel + Run.load(evidence.directory).explain(tail)
    except VgpuHarnessError as error:
        return title, funnel + str(error)


def _funnel(verdict: "Verdict") -> str:
    from io import StringIO

    from rich.console import Console

    from vgpu_harness.discovery.render import render

    text = StringIO()
    render([verdict], Console(file=text, color_system=None, force_terminal=False))
    return text.getvalue()


@pytest.fixture
def vgpu_host(request: pytest.FixtureRequest) -> "Host":
    """The simulated host: the marker's, else that of ``--vgpu-host``, else one H100 at 0000:00:05.0."""
    marked = _marked(request.node)
    if "host" in marked:
        return _host(marked["host"], request.node)
    if option_host in request.config.stash:
        return request.config.stash[option_host]
    from vgpu_harness.host import Host

    return Host()


@pytest.fixture
def vgpu_image(vgpu_host: "Host", tmp_path: Path) -> Iterator[Path]:
    """The host image of ``vgpu_host``; its tree lies in memory, where that is to be had, as long as the test lasts."""
    from vgpu_harness.host import write_image, write_tree
    from vgpu_harness.run.scratch import scratch

    directory = tmp_path / "vgpu"
    directory.mkdir()
    with scratch(directory) as (place, _):
        yield write_image(vgpu_host, write_tree(vgpu_host, place), directory / "host.image")


@pytest.fixture
def vgpu_cuda(vgpu_image: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Cuda"]:
    """The CUDA driver API in this process, as a program finds it that has not called it yet."""
    from vgpu_harness.shims.inprocess import Cuda

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with Cuda(vgpu_image) as cuda:
        yield cuda


@pytest.fixture
def vgpu_nvml(vgpu_image: Path) -> Iterator["Nvml"]:
    """NVML in this process, as a program finds it that has not called it yet."""
    from vgpu_harness.shims.inprocess import Nvml

    with Nvml(vgpu_image) as nvml:
        yield nvml


@pytest.fixture
def vgpu_gate(vgpu_image: Path) -> Iterator["Gate"]:
    """The process gate: its questions, asked about facts that are given as keyword arguments."""
    from vgpu_harness.shims.inprocess import Gate

    with Gate(vgpu_image) as gate:
        yield gate


@pytest.fixture
def vgpu_run(vgpu_host: "Host", request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., "Run"]:
    """``vgpu_run(argv, host=None, **options) -> Run``: a program on the simulated host.

    The options are those of ``vgpu_harness.run``, ``provider="namespace"`` for one. Each run has a directory of its own
    below ``tmp_path``.
    """
    evidence = request.node.stash.setdefault(evidence_of_item, [])

    def run_program(argv: Any, host: Any = None, **options: Any) -> "Run":
        from vgpu_harness.run import run

        options.setdefault("directory", _run_directory(tmp_path))
        options.setdefault("trace_size", _choice(request, "trace_size"))
        done = run(argv, vgpu_host if host is None else host, **options)
        evidence.append(done)
        return done

    return run_program


@pytest.fixture
def vgpu_files(vgpu_image: Path, vgpu_run: Callable[..., "Run"]) -> Iterator["HostFiles"]:
    """The host's files: ``find`` asks the path table; ``read``, ``stat`` and ``listdir`` ask a program on the host."""
    from vgpu_harness._pytest_files import HostFiles

    files = HostFiles(vgpu_image, vgpu_run)
    yield files
    files.close()


def _run_directory(tmp_path: Path) -> Path:
    return tmp_path / f"run{sum(1 for _ in tmp_path.glob('run*'))}"


@pytest.fixture
def vgpu_discover(vgpu_host: "Host", request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., "Verdict"]:
    """``vgpu_discover(generation, host=None, **options) -> Verdict``: what a discovery client finds on the host."""
    evidence = request.node.stash.setdefault(evidence_of_item, [])

    def discover_devices(generation: str, host: Any = None, **options: Any) -> "Verdict":
        from vgpu_harness.discovery import discover

        options.setdefault("directory", _run_directory(tmp_path))
        options.setdefault("trace_size", _choice(request, "trace_size"))
        options.setdefault("scale", _choice(request, "scale"))
        (verdict,) = discover((generation,), vgpu_host if host is None else host, **options)
        evidence.append(verdict)
        return verdict

    return discover_devices

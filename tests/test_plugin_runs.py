"""The fixtures that start programs, and what a failing test shows of them, from outside."""

import re
from importlib.metadata import entry_points

import psutil
import pytest

PLUGIN = () if entry_points(group="pytest11", name="vgpu") else ("-p", "vgpu_harness.pytest_plugin")

RUNS = """
    import pathlib, subprocess, sys
    import pytest

    def test_defaults(vgpu_run, tmp_path):
        first, second = (vgpu_run([sys.executable, "-I", "-S", "-c", "print(%d)" % n]) for n in (1, 2))
        assert (first.stdout, second.stdout) == ("1\\n", "2\\n")
        assert first.directory != second.directory
        assert {first.directory.parent, second.directory.parent} == {tmp_path}
        assert first.trace_path.stat().st_size == 4 << 20

    @pytest.mark.vgpu(host={"gpu": [{"pci": "0000:07:00.0"}]}, trace_size=1 << 20)
    def test_marked(vgpu_run):
        run = vgpu_run(["/bin/ls", "/sys/bus/pci/devices"])
        assert "0000:07:00.0" in run.stdout.split()
        assert run.trace_path.stat().st_size == 1 << 20

    def test_own_host(vgpu_run):
        from vgpu_harness.host import Gpu, Host
        run = vgpu_run(["/bin/ls", "/sys/bus/pci/devices"], Host(gpu=(Gpu(pci="0000:09:00.0"),)))
        assert "0000:09:00.0" in run.stdout.split()
        assert "0000:09:00.0" not in vgpu_run(["/bin/ls", "/sys/bus/pci/devices"]).stdout.split()

    def test_nothing_survives(vgpu_run):
        import psutil
        run = vgpu_run(["/bin/sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!"])
        try:
            state = psutil.Process(int(run.stdout)).status()
        except psutil.NoSuchProcess:
            return
        assert state == psutil.STATUS_ZOMBIE  # it has ended, and process 1 has yet to notice

    def test_files(vgpu_files):
        import os, stat
        gpu = "/sys/bus/pci/devices/0000:00:05.0"
        assert vgpu_files.find(gpu + "/vendor").read_bytes() == vgpu_files.read(gpu + "/vendor") == b"0x10de\\n"
        assert vgpu_files.find("/etc/passwd") is None
        assert vgpu_files.read("/etc/passwd") == pathlib.Path("/etc/passwd").read_bytes()
        facts = vgpu_files.stat("/dev/nvidia0")
        assert (stat.S_ISCHR(facts.st_mode), os.major(facts.st_rdev), os.minor(facts.st_rdev)) == (True, 195, 0)
        assert "0000:00:05.0" in vgpu_files.listdir("/sys/bus/pci/devices")
        with pytest.raises(FileNotFoundError) as caught:
            vgpu_files.read(gpu + "/no such file")
        assert caught.value.filename == gpu + "/no such file"
"""

FAILS = """
    import pytest, sys

    OPEN = 'import os; os.listdir("/sys/bus/pci/devices"); open("/sys/bus/pci/devices/0000:00:05.0/vendor").read()'

    def test_run_fails(vgpu_run):
        run = vgpu_run([sys.executable, "-I", "-S", "-c", OPEN])
        assert run.returncode == 77

    @pytest.mark.vgpu(host={"faults": [{"function": "cuInit", "result": 802}]})
    def test_discovery_fails(vgpu_discover):
        verdict = vgpu_discover("a")
        assert verdict.library == "cuda"

    def test_passes(vgpu_run):
        assert vgpu_run([sys.executable, "-I", "-S", "-c", "print('quiet')"]).returncode == 0

    def test_lost_files(vgpu_run):
        import shutil
        shutil.rmtree(vgpu_run(["/bin/true"]).directory)
        assert False
"""


@pytest.fixture
def result(pytester: pytest.Pytester) -> object:
    """Runs pytest in a process of its own: ``result(*arguments) -> RunResult``."""

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *PLUGIN, *arguments, timeout=120)

    return run


def test_runs_and_files_in_two_workers(pytester, result):
    """vgpu_run and vgpu_files answer as documented, also side by side in two workers, and leave no process."""
    pytester.makepyfile(RUNS)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    result("-n", "2").assert_outcomes(passed=5)
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


def test_trace_size_of_the_command_line_holds_where_no_marker_does(pytester, result):
    """--vgpu-trace-size sets the size of each run's trace."""
    pytester.makepyfile("def test_size(vgpu_run): assert vgpu_run(['/bin/true']).trace_path.stat().st_size == 2 << 20")
    result("--vgpu-trace-size=2M").assert_outcomes(passed=1)


def test_a_failure_shows_funnels_and_the_ends_of_traces(pytester, result):
    """A failing test shows each of its runs and discoveries, a passing one shows none; lost files hide nothing."""
    pytester.makepyfile(FAILS)
    ended = result("--vgpu-trace-tail=3", "-n", "2")
    ended.assert_outcomes(failed=3, passed=1)
    ended.stdout.fnmatch_lines_random(
        [
            "*- vgpu run of *python* -*", "command: *", "result:  exit status 0 *", "files:   *run0",
            "*- vgpu discovery a -*", "*generation A (*)*library=cpu*stopped at S7*", "*STOP *S7 *cuInit*",
            "*cause:*802*", "*cuda*cuInit(0) = 802*(fault)",
        ]
    )  # fmt: skip
    text = ended.stdout.str()
    assert "quiet" not in text
    assert re.search(r"^-- trace, the last 3 of \d+ lines --$", text, re.MULTILINE)
    assert re.search(r"run\.json: cannot be read: .*", text)
    assert "assert False" in text

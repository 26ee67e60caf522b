"""The fixtures that call the shims' code in this process: a new state for each test, closed behind it."""

import pytest

from vgpu_harness._wire import lib


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_has_a_state_of_its_own(turn, vgpu_cuda, vgpu_nvml):
    """Neither API has been called yet, whatever the test before did."""
    assert (vgpu_cuda.device_count()[0], vgpu_nvml.device_count()[0]) == (3, 1)
    assert (vgpu_cuda.cuInit(0), vgpu_nvml.nvmlInit_v2()) == (0, 0)
    assert (vgpu_cuda.device_count(), vgpu_nvml.device_count()) == ((0, 1), (0, 1))


KEEPS = """
import pytest
from vgpu_harness.errors import ShimError

kept = []

def test_keeps(vgpu_cuda, vgpu_nvml, vgpu_gate):
    kept.extend([vgpu_cuda, vgpu_nvml, vgpu_gate])
    assert all(state.process for state in kept)

def test_finds_them_closed():
    assert len(kept) == 3
    for state in kept:
        with pytest.raises(ShimError, match="closed"):
            state.process
"""


def test_states_are_closed_behind_their_test(pytester):
    """A state that was kept beyond its test raises instead of reaching freed memory."""
    pytester.makepyfile(KEEPS)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=120).assert_outcomes(passed=2)


@pytest.mark.vgpu(host={"gpu": [{"name": "One"}, {"name": "Two"}], "driver": {"version": "570.1.2"}})
def test_all_fixtures_are_of_the_same_host(vgpu_host, vgpu_cuda, vgpu_nvml, vgpu_gate, vgpu_files):
    """CUDA, NVML, gate and files answer what the test's host says."""
    vgpu_cuda.cuInit(0)
    vgpu_nvml.nvmlInit_v2()
    assert [vgpu_cuda.name(n)[1] for n in range(2)] == ["One", "Two"] == [gpu.name for gpu in vgpu_host.gpu]
    assert [vgpu_nvml.name(vgpu_nvml.device(n)[1])[1] for n in range(2)] == ["One", "Two"]
    assert vgpu_nvml.driver_version() == (0, "570.1.2")
    assert "570.1.2" in vgpu_files.find("/proc/driver/nvidia/version").read_text()
    assert vgpu_gate.ask(exe="ollama").ready == "ready"


class TestVisibleDevices:
    @pytest.fixture(autouse=True)
    def outside(self, monkeypatch):
        """The shell that started pytest hides all devices."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")

    def test_the_variable_outside_is_not_seen(self, vgpu_cuda):
        """A developer's own CUDA_VISIBLE_DEVICES does not reach vgpu_cuda."""
        assert (vgpu_cuda.cuInit(0), vgpu_cuda.device_count()) == (0, (0, 1))

    def test_a_test_may_set_it(self, vgpu_cuda, monkeypatch):
        """Set after the fixture was made, the variable holds."""
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        assert vgpu_cuda.cuInit(0) == 100


class TestGate:
    def test_answers_have_a_reason(self, vgpu_gate):
        """Each answer is one of four words, with its reason in words."""
        assert vgpu_gate.ask(exe="ollama") == ("ready", "an application")
        assert vgpu_gate.ask(exe="sshd").reason == 'not an application: gate.deny names the program "sshd*"'
        assert vgpu_gate.ask(exe="ollama", libc_ready=False).reason == "too early: libc has not started"

    def test_an_unknown_fact_is_an_error(self, vgpu_gate):
        """A misspelt fact is not silently left out."""
        with pytest.raises(TypeError, match="comn"):
            vgpu_gate.ask(comn="sshd")

    @pytest.mark.parametrize(("exe", "expected"), [("ollama", lib.VGPU_READY), ("sshd", lib.VGPU_NOT_AN_APPLICATION)])
    def test_ensure_init_asks_about_the_facts_that_were_set(self, exe, expected, vgpu_gate):
        """With fixed facts ensure_init gives the answer of the pure functions, and keeps it."""
        vgpu_gate.set_facts(exe=exe)
        assert [lib.ensure_init(vgpu_gate.process), lib.ensure_init(vgpu_gate.process)] == [expected] * 2

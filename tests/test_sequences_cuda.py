"""Sequences of calls around cuInit: flags, before and after it, gate, image, fork, faults, visible devices, trace."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

SUCCESS, INVALID_VALUE, NOT_INITIALIZED, NO_DEVICE, INVALID_DEVICE = 0, 1, 3, 100, 101
SYSTEM_NOT_READY = 802

QUESTIONS = ("device_count", "device", "name", "uuid", "total_memory", "pci_bus_id")
"""Questions that cuda.h answers with NOT_INITIALIZED before cuInit."""


def in_child(call: Callable[[], int]) -> int:
    """What a call answers in a forked child of this process."""
    child = os.fork()
    if child == 0:
        answer = 255
        with suppress(BaseException):
            answer = call()
        os._exit(answer)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(("flags", "code"), [(0, SUCCESS), (1, INVALID_VALUE), (2**32 - 1, INVALID_VALUE)])
def test_flags_must_be_zero(flags, code, vgpu_cuda):
    """cuInit takes no flag, and a refused cuInit initialises nothing."""
    assert vgpu_cuda.cuInit(flags) == code
    assert vgpu_cuda.device_count()[0] == (SUCCESS if code == SUCCESS else NOT_INITIALIZED)


@pytest.mark.parametrize("sequence", [(0, 0), (1, 0), (0, 1), (0, 1, 0), (1, 1, 0, 0)])
def test_init_may_be_repeated_in_any_order(sequence, vgpu_cuda):
    """Each cuInit answers by its own flags, and one success is enough for ever."""
    assert [vgpu_cuda.cuInit(flags) for flags in sequence] == list(sequence)
    assert vgpu_cuda.device_count() == (SUCCESS, 1)


@pytest.mark.parametrize("question", QUESTIONS)
def test_questions_need_init(question, vgpu_cuda):
    """Before cuInit a question answers NOT_INITIALIZED, afterwards it is answered."""
    ask = getattr(vgpu_cuda, question)
    assert ask()[0] == NOT_INITIALIZED
    assert vgpu_cuda.cuInit(0) == SUCCESS
    assert ask()[0] == SUCCESS


def test_the_check_for_init_comes_before_that_of_arguments(vgpu_cuda):
    """NULL and bad devices are NOT_INITIALIZED before cuInit, and what they are afterwards."""
    from vgpu_harness._wire import ffi

    assert vgpu_cuda.cuDeviceGetCount(ffi.NULL) == NOT_INITIALIZED
    assert vgpu_cuda.device(7)[0] == NOT_INITIALIZED
    vgpu_cuda.cuInit(0)
    assert vgpu_cuda.cuDeviceGetCount(ffi.NULL) == INVALID_VALUE
    assert vgpu_cuda.device(7)[0] == INVALID_DEVICE


def test_out_parameters_stay_untouched_before_init(vgpu_cuda):
    """A call that is refused for want of cuInit writes nothing."""
    from vgpu_harness._wire import ffi

    count = ffi.new("int *", 4711)
    assert vgpu_cuda.cuDeviceGetCount(count) == NOT_INITIALIZED
    assert count[0] == 4711
    vgpu_cuda.cuInit(0)
    assert (vgpu_cuda.cuDeviceGetCount(count), count[0]) == (SUCCESS, 1)


def test_some_questions_need_no_init(vgpu_cuda):
    """The driver's version, and names and texts of errors, are answered at any time."""
    from vgpu_harness._wire import ffi

    text = ffi.new("const char **")
    for _ in range(2):
        assert vgpu_cuda.driver_version() == (SUCCESS, 13000)
        assert vgpu_cuda.cuDriverGetVersion(ffi.NULL) == INVALID_VALUE
        assert vgpu_cuda.cuGetErrorName(3, text) == SUCCESS
        assert ffi.string(text[0]) == b"CUDA_ERROR_NOT_INITIALIZED"
        assert (vgpu_cuda.cuGetErrorName(12345, text), text[0]) == (INVALID_VALUE, ffi.NULL)
        vgpu_cuda.cuInit(0)


@pytest.mark.vgpu(host={"gate": {"auto_init": True}})
@pytest.mark.parametrize("question", QUESTIONS)
def test_auto_init_stands_for_the_first_init(question, vgpu_cuda):
    """With gate.auto_init a process that passes the gate need not call cuInit; it still may."""
    assert getattr(vgpu_cuda, question)()[0] == SUCCESS
    assert (vgpu_cuda.cuInit(0), vgpu_cuda.cuInit(1)) == (SUCCESS, INVALID_VALUE)


@pytest.mark.vgpu(host={"gate": {"auto_init": True}})
def test_auto_init_does_not_pass_the_gate(vgpu_cuda):
    """A denied program gets nothing from gate.auto_init."""
    vgpu_cuda.set_facts(exe="sshd", comm="sshd")
    assert vgpu_cuda.device_count()[0] == NOT_INITIALIZED


@pytest.mark.parametrize(
    "facts", [{"exe": "sshd"}, {"exe": "ollama", "secure": True}, {"exe": "ollama", "libc_ready": False}]
)
def test_without_the_gates_yes_everything_is_not_initialized(facts, vgpu_cuda):
    """Not an application, raised privileges, too early: each call answers 3, cuInit too."""
    vgpu_cuda.set_facts(**facts)
    assert vgpu_cuda.cuInit(0) == NOT_INITIALIZED
    assert vgpu_cuda.device_count()[0] == NOT_INITIALIZED
    assert vgpu_cuda.driver_version()[0] == NOT_INITIALIZED


@pytest.mark.vgpu(host={"gate": {"calls_before": 3}})
def test_too_early_is_not_for_ever(vgpu_cuda):
    """The first calls of a process are too early; the next one asks the gate anew."""
    assert [vgpu_cuda.cuInit(0) for _ in range(5)] == [NOT_INITIALIZED] * 3 + [SUCCESS] * 2


def test_without_an_image_it_is_a_machine_without_a_gpu():
    """A transparent shim answers as NVIDIA's library where there is no device: 100 from cuInit, 3 from the rest."""
    from vgpu_harness.shims.inprocess import Cuda

    with Cuda() as cuda:
        assert [cuda.device_count()[0], cuda.cuInit(1), cuda.cuInit(0), cuda.cuInit(0)] == [3, 1, NO_DEVICE, NO_DEVICE]
        assert cuda.device_count()[0] == NOT_INITIALIZED
        assert cuda.driver_version()[0] == SUCCESS


@pytest.mark.vgpu(host={"faults": [{"image": "truncated"}]})
def test_a_refused_image_is_no_device(vgpu_cuda):
    """A shim that refuses its image invents nothing."""
    assert vgpu_cuda.cuInit(0) == NO_DEVICE


class TestFork:
    def test_a_child_of_an_initialised_process_cannot_use_cuda(self, vgpu_cuda):
        """After cuInit in the parent, everything answers 3 in the child, cuInit too, and the parent goes on."""
        assert vgpu_cuda.cuInit(0) == SUCCESS
        assert in_child(lambda: vgpu_cuda.cuInit(0)) == NOT_INITIALIZED
        assert in_child(lambda: vgpu_cuda.device_count()[0]) == NOT_INITIALIZED
        assert vgpu_cuda.device_count() == (SUCCESS, 1)

    def test_a_child_may_initialise_where_its_parent_has_not(self, vgpu_cuda):
        """Before cuInit a fork changes nothing: the child initialises for itself alone."""
        assert vgpu_cuda.driver_version()[0] == SUCCESS
        assert in_child(lambda: vgpu_cuda.device_count()[0]) == NOT_INITIALIZED
        assert in_child(lambda: vgpu_cuda.cuInit(0) or vgpu_cuda.device_count()[0]) == SUCCESS
        assert vgpu_cuda.device_count()[0] == NOT_INITIALIZED

    def test_a_failed_init_in_the_parent_does_not_count(self, vgpu_cuda):
        """Only a cuInit that succeeded makes children of the process useless."""
        assert vgpu_cuda.cuInit(1) == INVALID_VALUE
        assert in_child(lambda: vgpu_cuda.cuInit(0)) == SUCCESS


class TestFaults:
    @pytest.mark.vgpu(host={"faults": [{"function": "cuInit", "result": SYSTEM_NOT_READY}]})
    def test_a_failed_init_initialises_nothing(self, vgpu_cuda):
        """The fault's code is answered as often as asked, and the driver stays uninitialised."""
        assert [vgpu_cuda.cuInit(0), vgpu_cuda.cuInit(0)] == [SYSTEM_NOT_READY] * 2
        assert vgpu_cuda.device_count()[0] == NOT_INITIALIZED

    @pytest.mark.vgpu(host={"faults": [{"function": "cuInit", "result": SYSTEM_NOT_READY, "after": 2}]})
    def test_a_fault_may_come_later(self, vgpu_cuda):
        """With ``after`` the first calls pass, and what they did stays done."""
        assert [vgpu_cuda.cuInit(0) for _ in range(4)] == [SUCCESS, SUCCESS, SYSTEM_NOT_READY, SYSTEM_NOT_READY]
        assert vgpu_cuda.device_count() == (SUCCESS, 1)

    @pytest.mark.vgpu(host={"faults": [{"function": "cuDeviceGetCount", "value": 0}]})
    def test_a_value_fault_changes_the_output_alone(self, vgpu_cuda):
        """The model is asked, and its output replaced."""
        assert vgpu_cuda.device_count()[0] == NOT_INITIALIZED
        vgpu_cuda.cuInit(0)
        assert vgpu_cuda.device_count() == (SUCCESS, 0)
        assert vgpu_cuda.device(0) == (SUCCESS, 0)


@pytest.mark.parametrize(
    ("visible", "code", "uuids"),
    [
        (None, SUCCESS, [0, 1]), ("1", SUCCESS, [1]), ("1,0", SUCCESS, [1, 0]), ("uuid", SUCCESS, [1]),
        ("", NO_DEVICE, []), ("-1", NO_DEVICE, []),
    ],
)  # fmt: skip
@pytest.mark.vgpu(host={"gpu": [{}, {}]})
def test_visible_devices_are_read_by_init(visible, code, uuids, vgpu_cuda, vgpu_host, monkeypatch):
    """CUDA_VISIBLE_DEVICES selects and orders devices, by index or by the UUID that the driver answers."""
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", vgpu_host.gpu[1].uuid if visible == "uuid" else visible)
    assert vgpu_cuda.cuInit(0) == code
    found = [vgpu_cuda.uuid(n)[1] for n in range(vgpu_cuda.device_count()[1])]
    assert found == [vgpu_host.gpu[n].uuid for n in uuids]


def test_each_call_is_in_the_trace_with_its_code(vgpu_image: Path, tmp_path: Path):
    """A sequence is recorded call by call: cuInit's ENTERED before its CALL, codes and values as answered."""
    from vgpu_harness.shims.inprocess import Cuda
    from vgpu_harness.trace import Kind, Trace, create_trace

    with Cuda(vgpu_image, trace=create_trace(tmp_path / "trace", 1 << 20)) as cuda:
        codes = [cuda.device_count()[0], cuda.cuInit(1), cuda.cuInit(0), cuda.device_count()[0]]
    records = [r for r in Trace.open(tmp_path / "trace") if r.kind in {Kind.CALL, Kind.ENTERED}]
    assert [r.result for r in records if r.kind == Kind.CALL] == codes
    assert [(r.kind.name, r.name, r.inputs, r.outputs) for r in records] == [
        ("CALL", "cuDeviceGetCount", (), ()),
        ("ENTERED", "cuInit", (1,), ()),
        ("CALL", "cuInit", (1,), ()),
        ("ENTERED", "cuInit", (0,), ()),
        ("CALL", "cuInit", (0,), ()),
        ("CALL", "cuDeviceGetCount", (), (1,)),
    ]

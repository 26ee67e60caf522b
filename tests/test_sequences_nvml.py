"""Sequences of NVML's init and shutdown: counting in all forms, flags, before and after, gate, image, fork, faults."""

import os
from collections.abc import Callable
from contextlib import suppress
from itertools import product

import pytest

SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, DRIVER_NOT_LOADED, UNKNOWN = 0, 1, 2, 9, 999
NO_GPUS, NO_ATTACH = 1, 2

FORMS = ("nvmlInit", "nvmlInit_v2", "nvmlInitWithFlags")


def init(nvml, form: str = "nvmlInit_v2", flags: int = 0) -> int:
    """One of the forms of NVML's initialisation."""
    return int(getattr(nvml, form)(*((flags,) if form == "nvmlInitWithFlags" else ())))


def in_child(call: Callable[[], int]) -> int:
    """What a call answers in a forked child of this process."""
    child = os.fork()
    if child == 0:
        answer = 255
        with suppress(BaseException):
            answer = call()
        os._exit(answer)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("forms", [*product(FORMS, repeat=1), *product(FORMS, repeat=2), FORMS])
def test_inits_are_counted_in_whatever_form(forms, vgpu_nvml):
    """N inits need N shutdowns; up to the last of them NVML answers, and after it a shutdown is one too many."""
    assert [init(vgpu_nvml, form) for form in forms] == [SUCCESS] * len(forms)
    for _ in forms:
        assert vgpu_nvml.device_count() == (SUCCESS, 1)
        assert vgpu_nvml.nvmlShutdown() == SUCCESS
    assert vgpu_nvml.device_count()[0] == UNINITIALIZED
    assert vgpu_nvml.nvmlShutdown() == UNINITIALIZED


@pytest.mark.parametrize(
    "sequence", ["s", "ss", "is", "iss", "iissi", "sis", "isisis", "iiissis", "iisssi", "ssiis"], ids=str
)
def test_the_count_never_goes_below_zero(sequence, vgpu_nvml):
    """A shutdown too many is refused and leaves no debt: after any sequence NVML answers exactly if inits are left."""
    count = 0
    for step in sequence:
        if step == "i":
            count += 1
            assert init(vgpu_nvml) == SUCCESS
        else:
            assert vgpu_nvml.nvmlShutdown() == (SUCCESS if count > 0 else UNINITIALIZED)
            count = max(count - 1, 0)
        assert (vgpu_nvml.device_count()[0] == SUCCESS) == (count > 0)


@pytest.mark.parametrize("flags", [0, NO_GPUS, NO_ATTACH, NO_GPUS | NO_ATTACH])
def test_documented_flags_are_taken(flags, vgpu_nvml):
    """nvmlInitWithFlags takes NO_GPUS and NO_ATTACH, and counts as the other forms do."""
    assert init(vgpu_nvml, "nvmlInitWithFlags", flags) == SUCCESS
    assert vgpu_nvml.device_count() == (SUCCESS, 1)
    assert [vgpu_nvml.nvmlShutdown(), vgpu_nvml.nvmlShutdown()] == [SUCCESS, UNINITIALIZED]


@pytest.mark.parametrize("question", ["device_count", "device", "driver_version"])
def test_questions_need_init(question, vgpu_nvml):
    """Uninitialised before nvmlInit and after the last shutdown; answered in between."""
    ask = getattr(vgpu_nvml, question)
    assert ask()[0] == UNINITIALIZED
    init(vgpu_nvml)
    assert ask()[0] == SUCCESS
    vgpu_nvml.nvmlShutdown()
    assert ask()[0] == UNINITIALIZED


def test_the_check_for_init_comes_before_that_of_arguments(vgpu_nvml):
    """NULL is UNINITIALIZED before nvmlInit and INVALID_ARGUMENT afterwards."""
    from vgpu_harness._wire import ffi

    assert vgpu_nvml.nvmlDeviceGetCount_v2(ffi.NULL) == UNINITIALIZED
    init(vgpu_nvml)
    assert vgpu_nvml.nvmlDeviceGetCount_v2(ffi.NULL) == INVALID_ARGUMENT


def test_some_questions_need_no_init(vgpu_nvml, vgpu_host):
    """NVML's own version and the texts of errors are answered at any time."""
    from vgpu_harness._wire import ffi

    for _ in range(2):
        assert vgpu_nvml.text("nvmlSystemGetNVMLVersion", 80) == (SUCCESS, vgpu_host.driver.nvml)
        assert ffi.string(error_text(vgpu_nvml, DRIVER_NOT_LOADED)) == b"Driver Not Loaded"
        assert ffi.string(error_text(vgpu_nvml, 998)) == b"Unknown Error"
        init(vgpu_nvml)


def error_text(nvml, code: int):
    """The text of a code, a C string."""
    from vgpu_harness._wire import lib

    return lib.vgpu_call_nvmlErrorString(nvml.process, code)


@pytest.mark.parametrize(
    "facts", [{"exe": "sshd"}, {"exe": "ollama", "secure": True}, {"exe": "ollama", "libc_ready": False}]
)
@pytest.mark.parametrize("form", FORMS)
def test_without_the_gates_yes_everything_is_uninitialized(form, facts, vgpu_nvml):
    """Not an application, raised privileges, too early: each call answers 1, the inits too."""
    vgpu_nvml.set_facts(**facts)
    assert init(vgpu_nvml, form) == UNINITIALIZED
    assert vgpu_nvml.device_count()[0] == UNINITIALIZED


@pytest.mark.vgpu(host={"gate": {"calls_before": 2}})
def test_too_early_is_not_for_ever(vgpu_nvml):
    """The first calls of a process are too early and are not counted as inits."""
    assert [init(vgpu_nvml) for _ in range(4)] == [UNINITIALIZED] * 2 + [SUCCESS] * 2
    assert [vgpu_nvml.nvmlShutdown() for _ in range(3)] == [SUCCESS, SUCCESS, UNINITIALIZED]


def test_gate_auto_init_is_no_init_of_nvml():
    """gate.auto_init stands for cuInit alone: NVML's counting stays the program's own."""
    from tempfile import TemporaryDirectory

    from vgpu_harness.host import Gate, Host, write_image, write_tree
    from vgpu_harness.shims.inprocess import Nvml

    host = Host(gate=Gate(auto_init=True))
    with (
        TemporaryDirectory() as place,
        Nvml(write_image(host, write_tree(host, f"{place}/tree"), f"{place}/image")) as nvml,
    ):
        assert nvml.device_count()[0] == UNINITIALIZED
        assert nvml.nvmlShutdown() == UNINITIALIZED


@pytest.mark.parametrize("form", FORMS)
def test_without_an_image_the_driver_is_not_loaded(form):
    """A transparent shim answers as NVIDIA's library without a driver, and what failed is not counted."""
    from vgpu_harness.shims.inprocess import Nvml

    with Nvml() as nvml:
        assert [init(nvml, form), init(nvml, form)] == [DRIVER_NOT_LOADED] * 2
        assert nvml.device_count()[0] == UNINITIALIZED


@pytest.mark.vgpu(host={"faults": [{"image": "foreign"}]})
def test_a_refused_image_is_no_driver(vgpu_nvml):
    """A shim that refuses its image invents nothing."""
    assert init(vgpu_nvml) == DRIVER_NOT_LOADED


class TestFork:
    def test_a_child_starts_uninitialised_and_may_initialise(self, vgpu_nvml):
        """The parent's inits are not the child's; the child's do not reach the parent."""
        init(vgpu_nvml)
        assert in_child(lambda: vgpu_nvml.device_count()[0]) == UNINITIALIZED
        assert in_child(lambda: init(vgpu_nvml) or vgpu_nvml.device_count()[0]) == SUCCESS
        assert (
            in_child(lambda: init(vgpu_nvml) or vgpu_nvml.nvmlShutdown() or vgpu_nvml.nvmlShutdown()) == UNINITIALIZED
        )
        assert vgpu_nvml.device_count() == (SUCCESS, 1)
        assert [vgpu_nvml.nvmlShutdown(), vgpu_nvml.nvmlShutdown()] == [SUCCESS, UNINITIALIZED]


class TestFaults:
    @pytest.mark.vgpu(host={"faults": [{"function": "nvmlInit_v2", "result": UNKNOWN}]})
    def test_a_failed_init_is_not_counted(self, vgpu_nvml):
        """The fault's code is answered, nothing is initialised, and another form still works."""
        assert [init(vgpu_nvml), init(vgpu_nvml)] == [UNKNOWN] * 2
        assert vgpu_nvml.nvmlShutdown() == UNINITIALIZED
        assert init(vgpu_nvml, "nvmlInitWithFlags") == SUCCESS
        assert [vgpu_nvml.nvmlShutdown(), vgpu_nvml.nvmlShutdown()] == [SUCCESS, UNINITIALIZED]

    @pytest.mark.vgpu(host={"faults": [{"function": "nvmlInit_v2", "result": UNKNOWN, "after": 1}]})
    def test_a_fault_may_come_later(self, vgpu_nvml):
        """With ``after`` the first init passes and stays the only one that counts."""
        assert [init(vgpu_nvml), init(vgpu_nvml)] == [SUCCESS, UNKNOWN]
        assert [vgpu_nvml.nvmlShutdown(), vgpu_nvml.nvmlShutdown()] == [SUCCESS, UNINITIALIZED]

    @pytest.mark.vgpu(host={"faults": [{"function": "nvmlDeviceGetCount_v2", "value": 0}]})
    def test_a_value_fault_changes_the_output_alone(self, vgpu_nvml):
        """The model is asked, and its output replaced."""
        assert vgpu_nvml.device_count()[0] == UNINITIALIZED
        init(vgpu_nvml)
        assert vgpu_nvml.device_count() == (SUCCESS, 0)
        assert vgpu_nvml.device(0)[0] == SUCCESS

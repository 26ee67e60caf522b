"""What a rule may claim of a library: each claim holds for a true answer, and fails for a lie."""

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from vgpu_harness._wire import ffi
from vgpu_harness.conformance.api import Api, Broken, Cuda, Nvml
from vgpu_harness.conformance.library import Library, Missing, pointer_type


class Answers(Library):
    """A library whose functions are Python functions."""

    def __init__(self, **functions: Callable[..., int]) -> None:
        self._found = {name: ffi.callback(pointer_type(name), function) for name, function in functions.items()}

    def _address(self, name: str) -> int | None:
        return int(ffi.cast("uintptr_t", self._found[name])) if name in self._found else None


def made(kind: type[Api] = Cuda, **functions: Callable[..., int]) -> tuple[Any, list[dict[str, Any]]]:
    """An API of these functions, and its log."""
    log: list[dict[str, Any]] = []
    return kind(Answers(**functions), None, log.append), log


def writes(value: int) -> Callable[..., int]:
    """A function that puts a number where its first argument points, and says success."""

    def call(pointer: Any, *_: Any) -> int:
        pointer[0] = value
        return 0

    return call


def nothing(*_: Any) -> int:
    """Says success and does nothing."""
    return 0


def test_an_output_that_was_not_written_is_noticed() -> None:
    """Success without an output breaks a rule; with one the value is there."""
    cuda, _ = made(cuDeviceGetCount=nothing, cuDriverGetVersion=writes(13000))
    count, version = cuda.out("int"), cuda.out("int")
    cuda.ok("cuDeviceGetCount", count)
    with pytest.raises(Broken, match="int has not been written"):
        cuda.value(count)
    cuda.untouched(count)
    cuda.ok("cuDriverGetVersion", version)
    assert cuda.value(version) == 13000
    with pytest.raises(Broken, match="was written: it is 13000"):
        cuda.untouched(version)


def test_each_of_several_outputs_must_be_written() -> None:
    """The first two of three are there; the third one is missing."""
    cuda, _ = made()
    box = cuda.out("unsigned int", 3)
    box[0], box[1] = 7, 8
    assert cuda.values(box, 2) == [7, 8]
    with pytest.raises(Broken, match="output 2 of 3"):
        cuda.values(box)


def test_a_text_has_an_end() -> None:
    """A text is read up to its NUL; without one, not written, or not UTF-8 it breaks a rule."""
    cuda, _ = made()
    box = cuda.out("char", 4)
    for raw, wrong in ((None, "not been written"), (b"abcd", "no NUL"), (b"\xff\xfe\0", "not UTF-8")):
        if raw is not None:
            ffi.memmove(box, raw, len(raw))
        with pytest.raises(Broken, match=wrong):
            cuda.text(box)
    ffi.memmove(box, b"H1\0x", 4)
    assert cuda.text(box) == "H1"


def test_a_code_must_be_the_expected_one() -> None:
    """`expect` takes a code or several, `ok` the success; any other code breaks the rule, `call` takes all."""
    cuda, log = made(cuInit=lambda _flags: 100)
    assert cuda.expect((0, 100), "cuInit", 0) == cuda.expect(100, "cuInit", 0) == cuda.call("cuInit", 0) == 100
    with pytest.raises(Broken, match="cuInit answers 100, not 0"):
        cuda.ok("cuInit", 0)
    with pytest.raises(Broken, match="cuInit answers 100, not 1 or 3"):
        cuda.expect((1, 3), "cuInit", 0)
    assert [line["answer"] for line in log if "answer" in line] == [100] * 5


def test_arguments_are_converted_as_c_does() -> None:
    """Numbers wrap, None is NULL, str and bytes are texts, a number for a pointer is an address and the reverse."""
    got: list[Any] = []

    def keep(*arguments: Any) -> int:
        got.extend(int(ffi.cast("uintptr_t", a)) if isinstance(a, ffi.CData) else a for a in arguments)
        return 0

    def text(pointer: Any, *_: Any) -> int:
        got.append(ffi.string(pointer))
        return 0

    cuda, log = made(
        cuInit=keep, cuCtxSetCurrent=keep, cuMemFree_v2=keep, cuGetProcAddress=text,
        cuDeviceGetByPCIBusId=lambda _, words: text(words),
    )  # fmt: skip
    cuda.ok("cuInit", -1)
    cuda.ok("cuCtxSetCurrent", None)
    cuda.ok("cuCtxSetCurrent", 0xDEAD)
    cuda.ok("cuMemFree_v2", ffi.cast("CUcontext", 0xBEEF))
    cuda.ok("cuGetProcAddress", "cuInit", None, 12000, 0)
    cuda.ok("cuDeviceGetByPCIBusId", cuda.out("CUdevice"), b"0000:00:05.0")
    assert got == [2**32 - 1, 0, 0xDEAD, 0xBEEF, b"cuInit", b"0000:00:05.0"]
    shown = [line["arguments"] for line in log if "call" in line]
    assert shown == [
        ["-1"], ["NULL"], ["57005"], ["0xbeef"], ["'cuInit'", "NULL", "12000", "0"], ["&int", "b'0000:00:05.0'"]
    ]  # fmt: skip


def test_a_wrong_call_is_the_rules_mistake() -> None:
    """A wrong number of arguments is a TypeError, a function that nobody declares an AttributeError."""
    cuda, _ = made(cuInit=nothing)
    with pytest.raises(TypeError, match="cuInit takes 1 arguments, the rule gives 0"):
        cuda.call("cuInit")
    with pytest.raises(AttributeError, match="cuNoSuchThing"):
        cuda.call("cuNoSuchThing")


def test_a_function_that_is_not_exported_is_missing() -> None:
    """Calling it says so by name; `has` answers beforehand."""
    cuda, _ = made(cuInit=nothing)
    assert (cuda.has("cuInit"), cuda.has("cuDeviceGet")) == (True, False)
    with pytest.raises(Missing, match=r"^cuDeviceGet$"):
        cuda.call("cuDeviceGet", None, 0)


def test_structs_keep_their_fields() -> None:
    """`struct` is zeroed but for the fields; `out` with fields is full of poison besides, and must be written."""
    nvml, _ = made(Nvml)
    zeroed = nvml.struct("nvmlMemory_v2_t", version=7)
    assert (zeroed[0].version, zeroed[0].total) == (7, 0)
    nvml.untouched(zeroed)
    poisoned = nvml.out("nvmlMemory_v2_t", version=7)
    assert poisoned[0].version == 7
    with pytest.raises(Broken, match="struct nvmlMemory_v2_st has not been written"):
        nvml.value(poisoned)
    poisoned[0].total = 1
    assert nvml.value(poisoned).total == 1


def test_silence_answers_in_place_of_the_library() -> None:
    """The calls that are named say success and do nothing; the others are made; those past the list's end are not."""
    calls: list[int] = []
    log: list[dict[str, Any]] = []

    def init(flags: int) -> int:
        calls.append(flags)
        return 1

    cuda = Cuda(Answers(cuInit=init), None, log.append, ("cuInit", [True, False]))
    assert [cuda.call("cuInit", flags) for flags in range(4)] == [0, 1, 0, 0]
    assert calls == [1]


def test_another_process_and_another_thread() -> None:
    """`in_fork` answers a child's number and `in_thread` a thread's value; what breaks there, breaks here."""
    cuda, _ = made(cuInit=int)
    pid = os.getpid()
    assert cuda.in_fork(lambda: int(os.getpid() != pid)) == 1
    assert cuda.in_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(Broken, match="in a forked child: cuInit answers 3, not 0"):
        cuda.in_fork(lambda: cuda.expect(0, "cuInit", 3))
    with pytest.raises(Broken, match="a forked child ended with -9"):
        cuda.in_fork(lambda: os.kill(os.getpid(), 9))
    with pytest.raises(Broken, match="cuInit answers 3, not 0"):
        cuda.in_thread(lambda: cuda.ok("cuInit", 3))


def test_variables_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`setenv` sets what C's getenv sees, and None unsets it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cuda, _ = made()
    cuda.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    cuda.setenv("CUDA_VISIBLE_DEVICES", None)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_claims_of_values() -> None:
    """`equal` and `check` are silent about what is true, and say what is not."""
    cuda, _ = made()
    cuda.equal(1, 1, "one")
    cuda.check(1, "one")
    with pytest.raises(Broken, match="the count is 2, not 1"):
        cuda.equal(2, 1, "the count")
    with pytest.raises(Broken, match="not true: it is"):
        cuda.check(0, "it is")
    with pytest.raises(Broken, match="a text is NULL"):
        cuda.string(ffi.NULL)

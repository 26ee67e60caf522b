"""Comparing with a recording: what is different is listed, what is not comparable is not counted."""

from dataclasses import replace

import pytest

from vgpu_harness.conformance.compare import MISSING, Comparison, compare
from vgpu_harness.conformance.probes import Answer, Api, Resolved
from vgpu_harness.conformance.record import Library, Provenance, Recording
from vgpu_harness.conformance.values import Device

ABOUT = Provenance("libcuda.so.1", "libcuda.so.1", 1, "00", None, 12020, "2026-01-01")
DEVICE: Device = {
    "cuDeviceGetName": (0, "NVIDIA H100"),
    "cuDeviceGetAttribute 75": (0, 9),
    "cuDeviceGetAttribute 199": (1, None),
    "nvmlDeviceGetMemoryInfo": (0, None),
}
STEPS = [(1999, "0,2,null"), (2000, "0,0,cuOne"), (3020, "0,0,cuOne_v2")]
RESOLVED = Resolved([1999, 2000, 3020], {"v2": {"cuOne": [STEPS, STEPS, STEPS]}}, [["cuOne", "cuUno"]])
SWEEP: dict[str, list[Answer]] = {
    "cuOne": [3, 3, 1, 0],
    "cuTwo": ["SIGSEGV", 3, "SIGSEGV", 400],
    "cuText": ["text A"] * 4,
}
LIBRARY = Library(ABOUT, 100, 0, SWEEP, RESOLVED, [DEVICE])


def recording(api: Api = "cuda", **changed: object) -> Recording:
    """A recording of one library, with some of it changed."""
    return Recording({api: replace(LIBRARY, **changed)})  # type: ignore[arg-type]


def swept(**changed: list[Answer]) -> Comparison:
    """The recording against one whose sweep is otherwise."""
    return compare(recording(), recording(sweep=SWEEP | changed))


def symbols(**changed: object) -> Comparison:
    """The recording against one whose table of cuGetProcAddress is otherwise."""
    return compare(recording(), recording(resolved=replace(RESOLVED, **changed)))  # type: ignore[arg-type]


def test_the_same_is_the_same() -> None:
    """A recording does not differ from itself, and what was compared is counted: not the two crashes."""
    found = compare(recording(), recording())
    assert found.differences == []
    assert dict(found.compared) == {("cuda", "codes"): 10, ("cuda", "symbols"): 9, ("cuda", "values"): 4}
    assert [found.percent(area) for area in ("codes", "symbols", "values")] == [100.0] * 3


def test_another_code_is_one_difference_with_its_call() -> None:
    """One code in one way of calling: function, arguments, state, both answers, and its share."""
    found = swept(cuOne=[3, 3, 1, 7])
    (difference,) = found.differences
    assert (difference.function, difference.arguments, difference.state) == ("cuOne", "buffers", "after")
    assert (difference.recorded, difference.now) == (0, 7)
    assert str(difference) == "cuOne (buffers, after init): recorded 0, now 7"
    assert found.percent("codes") == 90.0
    assert found.summary()[0] == "cuda codes: 9 of 10 agree (90.00 %)"


def test_a_missing_function_differs_in_each_call() -> None:
    """A function that only the recorded library has; one that only the other has is no difference."""
    less = {name: answers for name, answers in SWEEP.items() if name != "cuOne"} | {"cuMore": [0] * 4}
    found = compare(recording(), recording(sweep=less))
    assert {difference.now for difference in found.differences} == {MISSING}
    assert len(found.differences) == 4


def test_where_the_recorded_library_crashes_any_code_will_do() -> None:
    """Nothing is compared there, but a crash of the other library is told all the same."""
    assert swept(cuTwo=[1, 3, 1, 400]).differences == []
    assert len(swept(cuTwo=[1, 3, 1, 400]).crashes) == 0
    crashes = swept().crashes
    assert [(crash.function, crash.state, crash.now) for crash in crashes] == [
        ("cuTwo", "before", "SIGSEGV"), ("cuTwo", "after", "SIGSEGV"),
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["SIGSEGV", "SIGABRT", "SIGKILL", "signal 37", "timeout", "exit 3"])
def test_an_end_of_the_process_is_a_difference_and_a_crash(end: str) -> None:
    """Each way in which a call does not come back, where the recorded one does."""
    found = swept(cuOne=[3, end, 1, 0])
    assert [d.now for d in found.differences] == [end]
    assert end in [d.now for d in found.crashes]


def test_after_another_initialisation_nothing_is_compared() -> None:
    """Where one initialisation succeeds and the other fails, the calls after it are not in the same state."""
    found = compare(recording(), recording(init=0, sweep=SWEEP | {"cuOne": [3, 3, 8, 8]}))
    assert found.differences == []
    assert found.compared["cuda", "codes"] == 5


def test_texts_are_compared() -> None:
    """A function that answers a text differs when the text does."""
    assert len(swept(cuText=["text A", "text A", "text A", "text B"]).differences) == 1


def test_another_target_differs_from_its_version_on() -> None:
    """For each version and flag that leads to another function there is a difference; a second name is no other."""
    wrong = [(1999, "0,2,null"), (2000, "0,0,cuOne")]
    found = symbols(answers={"v2": {"cuOne": [STEPS, STEPS, wrong]}})
    assert [(d.function, d.arguments, d.recorded, d.now) for d in found.differences] == [
        ("cuOne", "v2, version 3020, flags 2", "0,0,cuOne_v2", "0,0,cuOne")
    ]
    other_name = [(1999, "0,2,null"), (2000, "0,0,cuUno"), (3020, "0,0,cuOne_v2")]
    assert symbols(answers={"v2": {"cuOne": [other_name] * 3}}).differences == []
    assert len(symbols(answers={"v2": {"cuOne": [other_name] * 3}}, aliases=[]).differences) == 0


def test_another_status_differs() -> None:
    """The same target with another status, or none, is another answer; so is a name that is not asked any more."""
    status = [(1999, "0,1,null"), *STEPS[1:]]
    assert len(symbols(answers={"v2": {"cuOne": [status, STEPS, STEPS]}}).differences) == 1
    assert len(symbols(answers={"v2": {}}).differences) == 9


def test_versions_that_only_one_was_asked_for_are_not_compared() -> None:
    """A recording of an older list of versions is still an oracle for those that both have."""
    found = symbols(versions=[1999, 2000], answers={"v2": {"cuOne": [STEPS[:2]] * 3}})
    assert (found.differences, found.compared["cuda", "symbols"]) == ([], 6)


@pytest.mark.parametrize(
    ("label", "answer", "recorded", "now"),
    [
        ("cuDeviceGetAttribute 75", (0, 8), 9, 8),
        ("cuDeviceGetName", (0, "NVIDIA A100"), "NVIDIA H100", "NVIDIA A100"),
        ("cuDeviceGetAttribute 199", (0, 5), 1, 0),
        ("nvmlDeviceGetMemoryInfo", (3, None), 0, 3),
    ],
)
def test_values_of_devices(label: str, answer: tuple[Answer, object], recorded: object, now: object) -> None:
    """Another value, and another code, is a difference that names the device."""
    found = compare(recording(), recording(devices=[DEVICE | {label: answer}]))
    (difference,) = found.differences
    assert (difference.function, difference.arguments) == (label, "device 0")
    assert (difference.recorded, difference.now) == (recorded, now)


def test_devices_that_are_gone_are_a_difference() -> None:
    """A device that only the recording has is a finding, whatever else agrees; so are more, in the same state."""
    found = compare(recording(devices=[DEVICE, DEVICE]), recording())
    assert [str(difference) for difference in found.differences] == [
        "devices (count, after init): recorded 2, now 1",
    ]
    assert found.percent("values") == 80.0
    assert len(compare(recording(), recording(init=0, devices=[])).differences) == 1
    assert compare(recording(init=0), recording(init=0, devices=[DEVICE, DEVICE])).differences[0].now == 2
    assert compare(recording(), recording(init=0, devices=[DEVICE, DEVICE])).differences == []


def test_volatile_values_are_compared_by_code() -> None:
    """A value that changes from minute to minute is not held against anybody."""
    found = compare(recording(), recording(devices=[DEVICE | {"nvmlDeviceGetMemoryInfo": (0, {"free": 5})}]))
    assert found.differences == []


def test_only_what_both_have_is_compared() -> None:
    """A recording of CUDA says nothing of NVML, and one without a GPU nothing of devices."""
    assert dict(compare(recording(), recording("nvml")).compared) == {}
    assert ("cuda", "values") not in compare(recording(devices=[]), recording()).compared
    assert compare(recording(), recording("nvml")).percent("codes") == 100.0


def test_a_difference_as_json() -> None:
    """`--json` shows all of it."""
    assert swept(cuOne=[3, 4, 1, 0]).differences[0].to_json() == {
        "api": "cuda", "area": "codes", "function": "cuOne", "arguments": "buffers", "state": "before", "recorded": 3,
        "now": 4,
    }  # fmt: skip

"""Which functions answer a number, where a fault's `value` can go: the list is that of the models."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from vgpu_harness._wire import lib
from vgpu_harness.errors import HostError
from vgpu_harness.host import Host
from vgpu_harness.host.outputs import NUMBERLESS, answers_number, has_room

CSRC = Path(__file__).parents[1] / "csrc"
FUNCTION = re.compile(r"^(?:static )?[A-Za-z_][\w \*]*?\b(\w+)\(([^;{}]*?)\) \{\n(.*?)^\}", re.DOTALL | re.MULTILINE)
MACRO = re.compile(r"^#define (\w+)\([^)]*\)((?:.*\\\n)*.*)$", re.MULTILINE)
UNMODELLED = re.compile(r"VGPU_(?:CUDA|NVML)_UNMODELLED\(\s*(\w+)")


def bodies(api: str) -> Iterator[tuple[tuple[str, str], set[str]]]:
    """Each function and macro of an API's models, by file and name, and the words in its body."""
    for file in sorted((CSRC / api).glob("*.c")):
        source = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)
        source = re.sub(r"\w+\(process, NULL,", "(", source)  # given no call, a function has nothing to tell
        pairs = [(found[1], found[3]) for found in FUNCTION.finditer(source)]
        for name, body in pairs + [(found[1], found[2]) for found in MACRO.finditer(source)]:
            yield (file.name, name), set(re.findall(r"\b[A-Za-z_]\w*\b", body))


def silent(api: str) -> set[str]:
    """The entry points whose models never come to vgpu_call_output, whatever they call."""
    words = dict(bodies(api))
    everywhere = {name: (file, name) for file, name in words if name.startswith("vgpu_")}
    telling = {key for key, body in words.items() if "vgpu_call_output" in body}
    while True:
        names = {name for _, name in telling}
        more = {
            (file, name)
            for (file, name), body in words.items()
            if (file, name) not in telling
            and any((file, word) in telling or (word in everywhere and word in names) for word in body)
        }
        if not more:
            break
        telling |= more
    models = {name.removeprefix("vgpu_") for _, name in words if hasattr(lib, name.replace("vgpu_", "vgpu_call_", 1))}
    return models - {name.removeprefix("vgpu_") for _, name in telling}


def unmodelled() -> set[str]:
    """The entry points without a model."""
    return {name for file in CSRC.glob("*/entries/*.def") for name in UNMODELLED.findall(file.read_text())}


def test_the_list_is_that_of_the_models() -> None:
    """Who answers a number is not in it, who has room for one and answers none is."""
    wanted = {name for name in silent("cuda") | silent("nvml") | unmodelled() if has_room(name)}
    wanted = {name for name in wanted if not name.endswith(("_ptsz", "_ptds"))}
    assert (wanted - NUMBERLESS, NUMBERLESS - wanted) == (set(), set())


@pytest.mark.parametrize(
    ("function", "answers"),
    [
        ("cuDeviceGetAttribute", True),
        ("nvmlDeviceGetMemoryInfo", True),
        ("nvmlDeviceGetPlatformInfo", True),
        ("cuStreamGetPriority_ptsz", True),
        ("cuInit", False),
        ("nvmlDeviceGetHandleByIndex_v2", False),
        ("cuMemcpyDtoH_v2_ptds", False),
        ("nvmlVgpuTypeGetFramebufferSize", False),
        ("cuDeviceGetName", False),
    ],
)
def test_who_answers_a_number(function: str, answers: bool) -> None:
    """Structs and per-thread forms count; texts, handles, memory of the caller's and what has no model do not."""
    assert answers_number(function) is answers


@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceSetClockOffsets", "cuMemcpyDtoH_v2"])
def test_a_value_without_a_place_is_refused(function: str) -> None:
    """The error names the function and what to do; a function that answers a number takes the value."""
    with pytest.raises(
        HostError, match=rf"faults\[0\]: {function} writes no number; give it result, or take a function"
    ):
        Host(faults=[{"function": function, "value": 1}])
    assert Host(faults=[{"function": "nvmlDeviceGetPlatformInfo", "value": 1}]).faults

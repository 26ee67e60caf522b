"""Records as lines and as JSON."""

import json
from dataclasses import fields, replace

import pytest

from vgpu_harness._wire import lib
from vgpu_harness.trace import Kind, Library, Record
from vgpu_harness.trace.text import to_json, to_line

CALL = Record(
    kind=Kind.CALL,
    time_ns=2_500_000_000,
    pid=41,
    tid=42,
    parent=40,
    library=Library.CUDA,
    name="cuDeviceGet",
    text="0000:00:05.0",
    inputs=(0,),
    outputs=(7,),
    result=0,
    caller=0x7F01,
    cut=False,
    faulted=False,
)


def test_a_call_is_a_line_with_all_that_matters() -> None:
    """Time since the start, process and thread, library, call, result, outputs, text and caller."""
    line = to_line(CALL, start_ns=1_000_000_000, caller="/lib/libggml-cuda.so")
    assert line == '   1.500000 41/42     cuda    call    cuDeviceGet(0) = 0 [7] "0000:00:05.0" <- /lib/libggml-cuda.so'


@pytest.mark.parametrize(
    ("change", "end"),
    [
        ({"kind": Kind.MAPPED, "inputs": (0x7F00,), "text": "/lib/a.so"}, "/lib/a.so at 0x7f00"),
        ({"kind": Kind.INIT, "inputs": (lib.VGPU_IMAGE_REFUSED,), "text": "/bin/x"}, "host image refused, in /bin/x"),
        ({"kind": Kind.GATE, "inputs": (lib.VGPU_TOO_EARLY,), "text": "why"}, "too early: why"),
        ({"kind": Kind.REFUSED, "text": "truncated: 3 bytes"}, "truncated: 3 bytes"),
        ({"kind": Kind.ENTERED, "outputs": (), "text": ""}, "cuDeviceGet(0)"),
        ({"inputs": (2**64 - 1, 2**47), "outputs": (), "text": ""}, "cuDeviceGet(-1, 0x800000000000) = 0"),
        ({"faulted": True, "cut": True, "result": 802}, '= 802 [7] "0000:00:05.0" (fault) (text cut)'),
        ({"text": 'a"b\n\x1b[31m', "outputs": ()}, '"a\\"b\\n\\x1b[31m"'),
    ],
)
def test_each_kind_says_what_it_tells(change: dict[str, object], end: str) -> None:
    """Numbers are words where the wire format names them; a terminal's control characters are escaped."""
    line = to_line(replace(CALL, **change))  # type: ignore[arg-type]
    assert line.endswith(end)
    assert line.isprintable()


def test_json_has_every_field() -> None:
    """Nothing that a record has is lost on the way to a program."""
    data = json.loads(json.dumps(to_json(CALL, caller="/x")))
    assert set(data) == {field.name for field in fields(Record)} | {"caller_object"}
    assert (data["kind"], data["library"], data["inputs"], data["caller_object"]) == ("call", "cuda", [0], "/x")

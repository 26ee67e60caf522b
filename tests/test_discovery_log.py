"""The reader of clients' logs."""

from hypothesis import given
from hypothesis import strategies as st

from vgpu_harness.discovery import log


def test_a_final_line_gives_its_fields() -> None:
    """Every pair of the final line is there, unquoted, time and source apart."""
    text = (
        'time=2026-11-21T04:00:00.000Z level=INFO source=types.go:42 msg="inference compute" id=GPU-1 filter_id="" '
        'library=CUDA name=CUDA0 description="NVIDIA \\"H100\\" \\u00e9\\x21" pci_id=0000:00:05.0\n'
    )
    (line,) = log.parse(text).final
    assert (line.level, line.message) == ("INFO", "inference compute")
    assert line.fields == {
        "id": "GPU-1",
        "filter_id": "",
        "library": "CUDA",
        "name": "CUDA0",
        "description": 'NVIDIA "H100" é!',
        "pci_id": "0000:00:05.0",
    }


def test_a_raw_line_is_kept_as_text() -> None:
    """A line of C code, even one with pairs in it, is not taken for the client's answer."""
    parsed = log.parse('level=INFO msg="inference compute" library=cuda\nggml_cuda_init: found 1 CUDA devices:\n')
    assert parsed.final == ()
    assert [line.text for line in parsed.find("found 1")] == ["ggml_cuda_init: found 1 CUDA devices:"]


def test_evidence_text_has_no_time() -> None:
    """The same line of two runs is quoted alike."""
    one, other = (log.parse_line(f'time={time} level=INFO source=a.go:1 msg="x y" k=v') for time in ("1", "2"))
    assert one.text == other.text == 'msg="x y" k=v'


def test_evidence_text_is_one_line() -> None:
    """A value with newlines, as a child's stderr is, is quoted on one line."""
    line = log.parse_line('time=1 level=DEBUG msg=m stderr="one\\ntwo"')
    assert line.fields["stderr"] == "one\ntwo"
    assert line.text == 'msg=m stderr="one\\ntwo"'


def test_a_slice_gives_its_members() -> None:
    """Go prints a slice of strings in brackets, with spaces between."""
    assert (log.items("[/a /b]"), log.items("[]")) == (("/a", "/b"), ())


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever a client writes, each non-empty line comes out once."""
    assert [line.raw for line in log.parse(text).lines] == [raw for raw in text.split("\n") if raw.strip()]


@given(st.text(st.characters(codec="utf-8", exclude_characters='"\\\r\n'), min_size=1))
def test_garbage_in_a_value_does_not_reach_other_fields(value: str) -> None:
    """A quoted value comes back as it was, and the field behind it too."""
    line = log.parse_line(f'time=1 level=INFO msg=m before="{value}" after=1')
    assert (line.fields["before"], line.fields["after"]) == (value, "1")

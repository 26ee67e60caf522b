"""The terminal picture of a funnel."""

import io

import pytest
from rich.console import Console
from support.evidence import SOUND, sound_a

from vgpu_harness.discovery.render import render, to_text
from vgpu_harness.discovery.verdict import Verdict


def stopped() -> Verdict:
    """A discovery that cuInit ended, with a path that rich's markup would take for a tag."""
    story = sound_a()
    story.answer("cuInit", result=802)
    story.change(argv=("/tmp/[red]x[/red]/ollama",), library_directory="/tmp/[bold]dir")
    story.no_gpu()
    return Verdict.of(story.evidence)


@pytest.mark.parametrize("generation", SOUND)
def test_the_header_has_answer_and_address(generation: str) -> None:
    """One greppable line a generation says library and address."""
    head = to_text(Verdict.of(SOUND[generation]().evidence)).splitlines()[0]
    assert "library=cuda pci_id=0000:00:05.0" in head
    assert "\x1b" not in head


def test_a_stop_shows_stage_cause_and_remedy() -> None:
    """The stopped stage is marked, its evidence is below it, and cause and remedy end the picture."""
    lines = to_text(stopped()).splitlines()
    at = next(n for n, line in enumerate(lines) if line.split()[:2] == ["STOP", "S7"])
    assert "802 CUDA_ERROR_SYSTEM_NOT_READY" in lines[at + 1]
    assert [line.split(":")[0].strip() for line in lines[-2:]] == ["cause", "remedy"]
    assert sum("STOP" in line for line in lines) == 1


def test_markup_in_a_path_stays_text() -> None:
    """Brackets in a path are printed, not obeyed."""
    assert "[bold]dir" in to_text(stopped())


def test_an_ascii_stream_gets_ascii() -> None:
    """Where the encoding has only ASCII, the picture is written all the same."""
    story = sound_a()
    story.log = story.log.replace("NVIDIA H100 80GB HBM3", "NVIDIA Größe")
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    render([Verdict.of(story.evidence)], Console(file=stream))
    stream.flush()
    assert b"name=NVIDIA Gr\\xf6\\xdfe" in raw.getvalue()


def test_colour_only_adds_colour() -> None:
    """On a terminal the words are the same."""
    stream = io.StringIO()
    verdict = stopped()
    render([verdict], Console(file=stream, force_terminal=True, width=200, color_system="standard"))
    words = Console(file=io.StringIO(), width=200)
    from rich.text import Text

    plain = Text.from_ansi(stream.getvalue()).plain
    assert words.encoding
    assert [line.split() for line in plain.splitlines()] == [line.split() for line in to_text(verdict).splitlines()]

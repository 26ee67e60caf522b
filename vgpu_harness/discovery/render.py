"""A picture of the funnel for a terminal. It needs neither colour nor Unicode, and in a pipe it is plain text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vgpu_harness.discovery.processes import RunProcess
from vgpu_harness.discovery.stages import NOT_APPLICABLE, NOT_REACHED, REACHED, STOPPED, Stage, Status
from vgpu_harness.discovery.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

OLLAMA = {"a": "Ollama up to v0.12.3", "b": "Ollama v0.12.4 to v0.24.0", "c": "Ollama from v0.30.0"}
MARKS: dict[Status, tuple[str, str]] = {
    REACHED: ("ok", "green"),
    STOPPED: ("STOP", "bold red"),
    NOT_REACHED: (".", "dim"),
    NOT_APPLICABLE: ("-", "dim"),
}
_TITLE_WIDTH = 44
_PIPE_WIDTH = 160


def headline(verdict: Verdict) -> str:
    """``library=cuda pci_id=0000:00:05.0``; the address is left out where the answer has none."""
    address = f" pci_id={verdict.pci_id}" if verdict.pci_id else ""
    return f"library={verdict.library}{address}"


def render(verdicts: Sequence[Verdict], console: "Console") -> None:
    """Prints the funnel of each verdict: the stages with their evidence, then cause, remedy and findings."""
    for number, verdict in enumerate(verdicts):
        if number:
            console.print()
        _render_one(verdict, console)


def to_text(verdict: Verdict) -> str:
    """The picture of one funnel as plain text."""
    from io import StringIO

    from rich.console import Console

    stream = StringIO()
    render([verdict], Console(file=stream, no_color=True, force_terminal=False))
    return stream.getvalue()


def _render_one(verdict: Verdict, console: "Console") -> None:
    from rich.text import Text

    stopped = f"  stopped at {verdict.stopped_at}" if verdict.stopped_at else ""
    head = Text(f"generation {verdict.generation.upper()} ({OLLAMA[verdict.generation]})  ")
    head.append(headline(verdict), style="bold green" if verdict.library == "cuda" else "bold red")
    head.append(stopped, style="bold red")
    _line(console, head)
    for stage in verdict.stages:
        _stage(console, stage)
    for device in verdict.devices:
        known = "  ".join(f"{key}={value}" for key, value in device.items() if value and key != "library")
        _line(console, Text(f"  device  {known}"))
    for line in process_lines(verdict.processes):
        _line(console, Text(f"  {line}", style="dim"))
    for title, text in (
        ("cause", verdict.cause),
        ("remedy", verdict.remedy),
        *(("finding", text) for text in verdict.findings),
    ):
        if text:
            _line(console, Text(f"  {title + ':':<9}", style="bold").append(text, style="not bold"))


def process_lines(processes: Sequence[RunProcess]) -> list[str]:
    """The processes of a run, those that differ in nothing but their number on one line."""
    alike: dict[tuple[str, str, str], int] = {}
    for process in processes:
        shims = " ".join(process.shims)
        state = f"{shims or 'no shim'}{'; ' if process.why_not else ''}{process.why_not or ''}"
        key = (process.role or "other", Path(process.program).name or "?", state)
        alike[key] = alike.get(key, 0) + 1
    how = " (sampled: short-lived ones may be missing)" if any(p.observed == "sampled" for p in processes) else ""
    lines = [f"processes: {len(processes)}{how}"]
    return lines + [f"  {count} {role} ({name}): {state}" for (role, name, state), count in alike.items()]


def _stage(console: "Console", stage: Stage) -> None:
    from rich.text import Text

    mark, style = MARKS[stage.status]
    quiet = "dim" if stage.status in {NOT_REACHED, NOT_APPLICABLE} else ""
    line = (
        Text("  ")
        .append(f"{mark:<5}", style=style)
        .append(f"{stage.stage:<4}")
        .append(f"{stage.title:<{_TITLE_WIDTH}}", style=quiet)
    )
    if stage.status == STOPPED:
        _line(console, line)
        for evidence in stage.evidence:
            _line(console, Text(f"           {evidence}"))
        return
    if stage.evidence:
        line.append(f"  {stage.evidence[0]}", style="dim")
    line.truncate(console.width if console.is_terminal else _PIPE_WIDTH, overflow="crop")
    _line(console, line)


def _line(console: "Console", text: "Text") -> None:
    """One line of output. A terminal wraps what is too long; in a pipe a line stays a line."""
    safe = text.plain.encode(console.encoding, "backslashreplace").decode(console.encoding)
    if safe != text.plain:
        text.plain = safe
    text.rstrip()
    console.print(text, soft_wrap=True, highlight=False, markup=False)

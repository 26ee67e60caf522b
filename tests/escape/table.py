"""The table of docs/escapes.md, from the list of known escapes: what is not listed is right."""

from collections.abc import Mapping
from pathlib import Path

from escape.ratchet import Ratchet
from vgpu_harness.run.provider import PROVIDERS

FILE = Path(__file__).resolve().parents[2] / "docs" / "escapes.md"

_TEXT = """\
# The escape matrix

{count} ways in which a program can look at the virtual GPU, tried by `vgpu-escape`, each in a process of its own, under
each provider of virtual files. *Seen*: the program finds the simulated GPU, not the real machine. *Right*: the names
and metadata are those of a real host: `st_rdev` and `S_IFCHR` of the device, sizes and modes of sysfs, the file
system's type, real paths and the current directory in the host's terms, types of directory entries.

Without a provider no way sees anything; in a directory where the same files are real all see them, and all is right.
So a gap in the table is the provider's. The reasons are numbered below it.

The preload column is that of a run with its auditor (`LD_AUDIT`, on unless `--no-audit` is given; a program with
elevated rights has none). It leads look-ups that go past the preloaded shims to libc back to them: `dlsym` and `dlvsym`
of libc's handle, look-ups with a version, calls and pointers of a library that was opened `RTLD_DEEPBIND`, calls of a
library that `dlmopen` has loaded. Not of an object that has the name itself, nor where another preloaded library behind
the shims has it: those mean what is behind them. Of another namespace's libc, only functions are led that deal in
numbers: its streams and memory are its own. Without the auditor those ways escape.

The table is made from the list of known escapes, `tests/escape/known.toml`, and the tests hold both: a new escape fails
them, and so does one that is listed and mended. After a change: `PYTHONPATH=tests python -m escape --update`.

"""


def _cells(known: Mapping[str, object] | None, probe: str, numbers: Mapping[tuple[str, str], int], name: str) -> str:
    if known is None or probe not in known:
        return "yes | yes"
    number = f" [{numbers[name, probe]}]"
    outcome = getattr(known[probe], "outcome", "")
    if outcome == "differs":
        return f"yes | **no**{number}"
    return f"**{'no' if outcome == 'escapes' else outcome}**{number} | **no**"


def render(ratchet: Ratchet, probes: Mapping[str, str]) -> str:
    """The page.

    Args:
        ratchet: the list of known escapes; its providers are the columns.
        probes: the group of each probe, by its name.
    """
    providers = [name for name in PROVIDERS if name in ratchet]
    reasons: dict[str, int] = {}
    numbers = {
        (name, probe): reasons.setdefault(entry.reason, len(reasons) + 1)
        for name in providers
        for probe, entry in ratchet[name].items()
    }
    lines = ["| provider | ways | seen | right |", "|---|---|---|---|"]
    for name in providers:
        seen = sum(entry.outcome == "differs" for entry in ratchet[name].values()) + len(probes) - len(ratchet[name])
        lines.append(f"| {name} | {len(probes)} | {seen} | {len(probes) - len(ratchet[name])} |")
    lines += ["", f"| way | {' | '.join(f'{name}: seen | right' for name in providers)} |"]
    lines.append("|---" * (1 + 2 * len(providers)) + "|")
    group = None
    for probe, its_group in probes.items():
        if its_group != group:
            group = its_group
            lines.append(f"| **{group}** |{' |' * (2 * len(providers))}")
        cells = " | ".join(_cells(ratchet[name], probe, numbers, name) for name in providers)
        lines.append(f"| `{probe.replace('|', chr(92) + '|')}` | {cells} |")
    lines += ["", "## Reasons", ""]
    lines += [f"{number}. {reason}" for reason, number in reasons.items()]
    return _TEXT.format(count=len(probes)) + "\n".join(lines) + "\n"

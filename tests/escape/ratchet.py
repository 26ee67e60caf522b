"""The list of known escapes: what a provider does not show, or not right, and why. It may only get shorter."""

import dataclasses
import json
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from escape.matrix import Results
from vgpu_harness.run.provider import PROVIDERS

FILE = Path(__file__).with_name("known.toml")
OUTCOMES = ("differs", "escapes", "crashed", "hung", "unavailable")

_HEADER = """\
# What the providers of virtual files do not show, or not right, and why. A way that is not listed must be right; one
# that is listed and comes out otherwise makes the tests fail too. `PYTHONPATH=tests python -m escape --update` rewrites
# this file: what is mended goes, and what is new comes without a reason, which is to be written before the tests pass.
# `differs`: the GPU is seen, with a name or metadata that a real host has otherwise. `escapes`: it is not seen.
"""


class RatchetError(Exception):
    """The list cannot be used as it is."""


@dataclasses.dataclass(frozen=True)
class Known:
    """One way under one provider that is not right."""

    outcome: str
    reason: str


Ratchet = dict[str, dict[str, Known]]
"""By provider, then by the probe's name. A provider that has no entry here has never been tried."""


def parse(text: str, probes: Collection[str] | None) -> Ratchet:
    """Reads the list.

    Args:
        text: the file's.
        probes: the names of all probes; None, for a list that is about to be rewritten: names and reasons may be wrong.

    Raises:
        RatchetError: a provider or a probe does not exist or is listed twice, or a reason is missing.
    """
    found: Ratchet = {}
    for provider, tables in tomllib.loads(text).items():
        if provider not in PROVIDERS:
            raise RatchetError(f"{provider}: no provider of this name; there are {', '.join(PROVIDERS)}")
        entries = found.setdefault(provider, {})
        for table in tables:
            outcome, reason = table["outcome"], table["reason"]
            if outcome not in OUTCOMES:
                raise RatchetError(f"{provider}: outcome {outcome!r} is none of {', '.join(OUTCOMES)}")
            for probe in table["probes"]:
                if probes is not None and not reason:
                    raise RatchetError(f"{provider}, {probe}: {outcome} without a reason; write why, or mend it")
                if probes is not None and probe not in probes:
                    raise RatchetError(f"{provider}, {probe}: there is no such probe; take it out")
                if probe in entries:
                    raise RatchetError(f"{provider}, {probe}: is listed twice; take one out")
                entries[probe] = Known(outcome, reason)
    return found


def load(probes: Collection[str]) -> Ratchet:
    """The list of this folder."""
    return parse(FILE.read_text(encoding="utf-8"), probes)


def differences(provider: str, results: Results, known: Mapping[str, Known], control: Results) -> list[str]:
    """What is not as the list has it, one line for each way.

    Args:
        provider: whose results these are.
        results: of the provider.
        known: its part of the list.
        control: results where the files are real; a way that this machine lacks there is left out.
    """
    found = []
    for probe, result in results.items():
        if control[probe].outcome == "unavailable":
            continue
        entry = known.get(probe)
        wanted = "right" if entry is None else entry.outcome
        if result.outcome == wanted:
            continue
        if entry is None:
            found.append(f"{provider}, {probe}: {result.outcome} and is not listed: {result.text}")
        else:
            found.append(f"{provider}, {probe}: is listed as {wanted}, and is {result.outcome}: {result.text}")
    return found


def updated(known: Mapping[str, Known], results: Results, control: Results) -> dict[str, Known]:
    """A provider's part of the list as the results have it; reasons are kept as long as the outcome is the same."""
    found = {}
    for probe, result in results.items():
        if control[probe].outcome == "unavailable":
            if probe in known:
                found[probe] = known[probe]
        elif result.outcome != "right":
            entry = known.get(probe)
            same = entry is not None and entry.outcome == result.outcome
            found[probe] = entry if entry is not None and same else Known(result.outcome, "")
    return found


def _table(provider: str, entry: Known, probes: Iterable[str]) -> str:
    names = "".join(f"    {json.dumps(probe, ensure_ascii=False)},\n" for probe in probes)
    reason = json.dumps(entry.reason, ensure_ascii=False)
    return f'\n[[{provider}]]\noutcome = "{entry.outcome}"\nreason = {reason}\nprobes = [\n{names}]\n'


def render(ratchet: Ratchet) -> str:
    """The file's text: ways with the same outcome and reason stand together."""
    parts = [_HEADER, *(f"\n{provider} = []\n" for provider in PROVIDERS if ratchet.get(provider) == {})]
    for provider in (name for name in PROVIDERS if name in ratchet):
        together: dict[Known, list[str]] = {}
        for probe, entry in ratchet[provider].items():
            together.setdefault(entry, []).append(probe)
        parts += [_table(provider, entry, probes) for entry, probes in together.items()]
    return "".join(parts)

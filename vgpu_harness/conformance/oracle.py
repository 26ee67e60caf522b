"""Our shims against recordings of NVIDIA's own libraries on a machine without a GPU: `nox -s oracle`.

Two runs of ours are compared, both after an initialisation that fails as NVIDIA's does there:

- "transparent": no host image;
- "failing": a host image with an H100, whose cuInit answers 100 and whose nvmlInit answers 9. Here every model has all
  the data of a host, so a code that agrees comes from the model.

What differs has to stand in a table of known differences, with the reason; an entry that explains nothing any more is
an error too.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vgpu_harness.conformance.compare import AREAS, Comparison, Difference, compare
from vgpu_harness.conformance.probes import Answer, Api
from vgpu_harness.conformance.record import Recording
from vgpu_harness.errors import VgpuHarnessError

if TYPE_CHECKING:
    from vgpu_harness.host import Host

RunName = Literal["transparent", "failing"]
RUNS: tuple[RunName, ...] = ("transparent", "failing")

UNINITIALISED: dict[Api, int] = {"cuda": 3, "nvml": 1}
"""CUDA_ERROR_NOT_INITIALIZED, NVML_ERROR_UNINITIALIZED."""

_FAILURES = {"cuInit": 100, "nvmlInit": 9, "nvmlInit_v2": 9, "nvmlInitWithFlags": 9}
_ENTRY = {"api", "area", "functions", "reason", "run", "arguments", "state", "recorded", "ours"}


class KnownError(VgpuHarnessError, ValueError):
    """The table of known differences is wrong: an entry without a reason, or with a key that there is not."""


def failing_host() -> "Host":
    """An H100 under the driver whose libraries were recorded, on which both initialisations fail as theirs do."""
    from vgpu_harness.host import Driver, Host
    from vgpu_harness.host.faults import FunctionFault

    faults = tuple(FunctionFault(function=name, result=code) for name, code in _FAILURES.items())
    return Host(driver=Driver(version="535.261.03"), faults=faults)


@dataclass(frozen=True)
class Known:
    """A difference that is meant.

    Attributes:
        api: "cuda" or "nvml".
        area: of `compare.AREAS`.
        functions: which ones; for "symbols" the names that cuGetProcAddress was asked for.
        reason: why.
        run: the run in which it is seen; None: in both.
        arguments: with these only; None: with all.
        state: "before" or "after" the initialisation only; None: in both.
        recorded: where NVIDIA's library answers this; None: whatever it answers.
        ours: where ours answers this; None: whatever it answers.
    """

    api: Api
    area: str
    functions: tuple[str, ...]
    reason: str
    run: RunName | None = None
    arguments: str | None = None
    state: str | None = None
    recorded: Answer | None = None
    ours: Answer | None = None

    def explains(self, run: RunName, difference: Difference, function: str) -> bool:
        """Is this difference of a run, of one of its functions, the one that is meant?"""
        asked = (self.run, self.arguments, self.state, self.recorded, self.ours)
        found = (run, difference.arguments, difference.state, difference.recorded, difference.now)
        return (
            (self.api, self.area, function) == (difference.api, difference.area, difference.function)
            and all(wanted in {None, got} for wanted, got in zip(asked, found, strict=True) if not _is_nested(got))
        )  # fmt: skip


def _is_nested(value: object) -> bool:
    return isinstance(value, list | dict)


@dataclass(frozen=True)
class Table:
    """What is known to differ.

    Attributes:
        known: the differences that are meant.
        varying: functions whose answers depend on the address that they are given, so they are not compared.
    """

    known: Sequence[Known]
    varying: Sequence[tuple[Api, str]]


def read_table(path: Path) -> Table:
    """Reads the table of known differences.

    It is TOML: ``[[known]]`` with the attributes of `Known` as keys, and ``[varying]``, lists of names by API.

    Raises:
        KnownError: an entry is wrong.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        known, names = data["known"], data["varying"]
        varying = [(api, name) for api in UNINITIALISED for name in sorted(names.get(api, []))]
    except (OSError, tomllib.TOMLDecodeError, KeyError, AttributeError) as error:
        raise KnownError(
            f"{path}: is no table of known differences ({error!r}); write [[known]] and [varying]"
        ) from error
    return Table([_known(path, i, entry) for i, entry in enumerate(known)], varying)


def _known(path: Path, i: int, entry: Mapping[str, object]) -> Known:
    place = f"{path}: known[{i}]"
    if unknown := sorted(set(entry) - _ENTRY):
        raise KnownError(f"{place}: has no key {unknown[0]!r}; known are {', '.join(sorted(_ENTRY))}")
    if not entry.get("functions") or not str(entry.get("reason", "")).strip():
        raise KnownError(f"{place}: names no function or no reason; give it both")
    if entry.get("api") not in UNINITIALISED or entry.get("area") not in AREAS or entry.get("run") not in {None, *RUNS}:
        raise KnownError(f"{place}: api, area or run is not one that there is; see vgpu_harness.conformance.oracle")
    return Known(**{**entry, "functions": tuple(entry["functions"])})  # type: ignore[arg-type]


def differing(first: Recording, second: Recording) -> list[tuple[Api, str]]:
    """The functions that answered otherwise in a second recording of the same library: they depend on an address."""
    found = compare(first, second)
    return sorted({(d.api, d.function) for d in (*found.differences, *compare(second, first).differences)})


def without(recording: Recording, left_out: Iterable[tuple[Api, str]]) -> Recording:
    """The recording without some functions."""
    gone = set(left_out)
    return Recording({
        api: replace(library, sweep={name: found for name, found in library.sweep.items() if (api, name) not in gone})
        for api, library in recording.libraries.items()
    })  # fmt: skip


def complaints(comparisons: Mapping[RunName, Comparison], known: Sequence[Known]) -> list[str]:
    """Differences that no entry explains, and functions of entries that explain none.

    The table of cuGetProcAddress is compared in the "failing" run alone, whose driver is as old as the recorded one.
    """
    used: set[tuple[int, str]] = set()
    found = []
    for run, comparison in comparisons.items():
        for difference in comparison.differences:
            if difference.area == "symbols" and run == "transparent":
                continue
            explained = {
                (i, function)
                for i, entry in enumerate(known)
                for function in entry.functions
                if entry.explains(run, difference, function)
            }
            used |= explained
            if not explained:
                found.append(f"unexplained, {run}: {difference}")
    for i, entry in enumerate(known):
        found += [
            f"stale: known[{i}] explains nothing any more of {function} ({entry.reason})"
            for function in entry.functions
            if (i, function) not in used and (entry.run is None or entry.run in comparisons)
        ]
    return found


def still_uninitialised(bare: Recording, ready: Recording) -> list[str]:
    """Functions that say "not initialised" before the initialisation, and after one that succeeded.

    Args:
        bare: the shims without a host.
        ready: the shims on a host whose initialisation succeeds.
    """
    found = []
    for api, library in ready.libraries.items():
        code = UNINITIALISED[api]
        for function, answers in library.sweep.items():
            before = bare.libraries[api].sweep.get(function, [])
            if any(pair == (code, code) for pair in zip(before[:2], answers[2:], strict=False)):
                found.append(f"{function}: answers {code} after {api}'s initialisation has succeeded: {answers[2:]}")
    return found


def document(table: Table) -> str:
    """The known differences as docs/oracle.md has them."""
    lines = ["| functions | where | NVIDIA's | ours | reason |", "|---|---|---|---|---|"]
    for entry in table.known:
        places = [entry.run and f"{entry.run} run", entry.arguments, entry.state and f"{entry.state} init"]
        where = ", ".join(place for place in places if place) or "everywhere"
        names = ", ".join(f"`{name}`" for name in entry.functions)
        if entry.area == "symbols":
            names = f"cuGetProcAddress of {names}"
        answers = ["various" if answer is None else str(answer) for answer in (entry.recorded, entry.ours)]
        lines.append(f"| {names} | {where} | {answers[0]} | {answers[1]} | {entry.reason} |")
    names = ", ".join(f"`{name}`" for _, name in table.varying)
    return "\n".join(
        [*lines, "", f"Not compared, because NVIDIA's library answers by the address it is given: {names}."]
    )

"""What a library answers otherwise than a recording says.

    compare(recorded, now) -> Comparison      .differences, .crashes, .compared, .percent(area), .summary()

Compared are the areas "codes" (the sweep: function x arguments x state), "symbols" (cuGetProcAddress: name x version x
flags x form) and "values" (devices). A call that ended the recorded library's process is not compared: there is nothing
to be true to. But a call that ends the other one's is always a difference, and in `crashes`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vgpu_harness.conformance.probes import SWEPT, Answer, Api, Resolved, expanded, is_crash
from vgpu_harness.conformance.record import Library, Recording
from vgpu_harness.conformance.values import Value, is_volatile

AREAS = ("codes", "symbols", "values")
MISSING = "missing"


@dataclass(frozen=True)
class Difference:
    """One call that is answered otherwise.

    Attributes:
        api: "cuda" or "nvml".
        area: of `AREAS`.
        function: what was called; for "symbols" the name that was asked for.
        arguments: what with.
        state: "before" or "after" the initialisation.
        recorded: the answer in the recording.
        now: the answer of the other library.
    """

    api: Api
    area: str
    function: str
    arguments: str
    state: str
    recorded: Value
    now: Value

    def __str__(self) -> str:
        return f"{self.function} ({self.arguments}, {self.state} init): recorded {self.recorded!r}, now {self.now!r}"

    def to_json(self) -> dict[str, Any]:
        """As `vgpu-harness conform --against --json` shows it."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """What came of comparing.

    Attributes:
        differences: in the order of APIs, areas and functions.
        crashes: calls that end the process of the library that is compared, also those where the recorded one's ended.
        compared: (api, area): how many answers were compared.
    """

    differences: list[Difference]
    crashes: list[Difference]
    compared: Mapping[tuple[Api, str], int]

    def percent(self, area: str, api: Api | None = None) -> float:
        """How many of the compared answers of an area agree, in percent; 100 where there are none."""
        compared = sum(n for (of, what), n in self.compared.items() if what == area and api in {None, of})
        other = sum(d.area == area and api in {None, d.api} for d in self.differences)
        return 100.0 * (compared - other) / compared if compared else 100.0

    def summary(self) -> list[str]:
        """A line for each API and area that was compared, and one for crashes."""
        different = Counter((d.api, d.area) for d in self.differences)
        lines = [
            f"{api} {area}: {n - different[api, area]} of {n} agree ({self.percent(area, api):.2f} %)"
            for (api, area), n in self.compared.items()
        ]
        return [*lines, f"crashes: {len(self.crashes)}"]


def compare(recorded: Recording, now: Recording) -> Comparison:
    """Compares a recording with another one, of those APIs that both have.

    Devices are compared by their order, as far as both have them, and one that only the recording has is a difference
    by itself. Where the recorded library's initialisation succeeds and the other's fails, or the other way round,
    "after the initialisation" is another state: calls are not compared then, nor are devices that only the other has.
    """
    differences: list[Difference] = []
    crashes: list[Difference] = []
    compared: Counter[tuple[Api, str]] = Counter()
    for api, one in recorded.libraries.items():
        if api not in now.libraries:
            continue
        for counted, difference in _pairs(api, one, now.libraries[api]):
            same = difference.recorded == difference.now
            compared[api, difference.area] += counted
            if counted and not same:
                differences.append(difference)
            if isinstance(difference.now, str) and is_crash(difference.now):
                crashes.append(difference)
    return Comparison(differences, crashes, compared)


def _pairs(api: Api, one: Library, other: Library) -> Iterator[tuple[bool, Difference]]:
    """Each pair of answers, and whether it counts."""
    yield from _codes(api, one, other)
    count, new_count = len(one.devices), len(other.devices)
    if count > new_count or (count < new_count and one.init == other.init == 0):
        yield True, Difference(api, "values", "devices", "count", "after", count, new_count)
    if one.resolved is not None and other.resolved is not None:
        yield from _symbols(api, one.resolved, other.resolved)
    for i, (first, second) in enumerate(zip(one.devices, other.devices, strict=False)):
        for label, (code, value) in first.items():
            new_code, new_value = second.get(label, (MISSING, None))
            difference = Difference(api, "values", label, f"device {i}", "after", code, new_code)
            if code == new_code == 0 and not is_volatile(label):
                difference = Difference(api, "values", label, f"device {i}", "after", value, new_value)
            yield not is_crash(code), difference


def _codes(api: Api, one: Library, other: Library) -> Iterator[tuple[bool, Difference]]:
    same_state = (one.init == 0) == (other.init == 0)
    for function, answers in one.sweep.items():
        others: list[Answer] = other.sweep.get(function, [MISSING] * len(SWEPT))
        for (state, arguments), answer, new in zip(SWEPT, answers, others, strict=True):
            counts = not is_crash(answer) and (state == "before" or same_state)
            yield counts, Difference(api, "codes", function, arguments, state, answer, new)


def _symbols(api: Api, one: Resolved, other: Resolved) -> Iterator[tuple[bool, Difference]]:
    names = {name: min(group) for found in (one, other) for group in found.aliases for name in group}
    for form, symbols in one.answers.items():
        for symbol, flags in symbols.items():
            others = other.answers.get(form, {}).get(symbol)
            for flag, runs in enumerate(flags):
                new = dict(expanded(others[flag], other.versions)) if others is not None else {}
                for version, answer in expanded(runs, one.versions):
                    if others is not None and version not in new:
                        continue
                    pair = _same_target(answer, new.get(version, MISSING), names)
                    yield (
                        not is_crash(answer),
                        Difference(api, "symbols", symbol, f"{form}, version {version}, flags {flag}", "before", *pair),
                    )


def _same_target(one: str, other: str, names: Mapping[str, str]) -> tuple[str, str]:
    """Both answers, the same where they are the same function: several names can be one."""
    pair = [answer.rpartition(",") for answer in (one, other)]
    same = pair[0][0] == pair[1][0] and names.get(pair[0][2], pair[0][2]) == names.get(pair[1][2], pair[1][2])
    return (one, one) if same else (one, other)

"""Ratios of times that were taken in rounds: what makes a round slow is in both of its numbers."""

import random
from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

RESOLVED = 1.01
"""The ratio of one configuration to itself above which smaller differences are not resolved."""


class Ratio(NamedTuple):
    """The median of the rounds' ratios, and between which two it lies in 95 of 100 draws of as many rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f}-{self.high:.3f})"


def ratio(times: Iterable[float], base: Iterable[float]) -> Ratio:
    """The ratio of two configurations, from one time of each for every round."""
    ratios = [a / b for a, b in zip(times, base, strict=True)]
    drawn = sorted(median(random.choices(ratios, k=len(ratios))) for _ in range(400))
    return Ratio(median(ratios), drawn[10], drawn[-11])


def mean(times: Iterable[float], again: Iterable[float]) -> list[float]:
    """Each round's time of a configuration that it has twice."""
    return [(a + b) / 2 for a, b in zip(times, again, strict=True)]

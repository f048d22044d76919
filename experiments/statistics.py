"""What repeats of a measurement say, and what they do not.

Belongs here: mean, spread, intervals, and when a difference is called one. Does not belong here: reading
results, words for people. Pure arithmetic over numbers (scipy for the distribution).

Intervals are Student's t, two-sided: mean +- t(n-1) x s / sqrt(n), with s the sample's standard deviation.
With three repeats t is 4.30, so an interval is 2.5 times the standard deviation to either side: wide, as it
must be. Differences are taken repeat by repeat, because the configurations of one repeat ran next to each
other and share what the machine was doing. Where values of another series are added, which pair with nothing,
the errors of both means count (Welch 1947), with the degrees of freedom of Satterthwaite (1946).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

CONFIDENCE = 0.95

Verdict = Literal["less", "more", "not decided", "not enough repeats", "different work"]


@dataclass(frozen=True, slots=True)
class Summary:
    """`low` and `high` are the interval of the mean; None with fewer than two values."""

    n: int
    mean: float
    median: float
    deviation: float | None
    """Sample standard deviation; None with fewer than two values."""

    least: float
    most: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A minus B over the repeats that both have. `ratio` is A's mean over B's, in those repeats."""

    pairs: int
    mean: float | None
    low: float | None
    high: float | None
    ratio: float | None
    verdict: Verdict


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The interval of the mean, or None with fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    mean, half = statistics.fmean(values), 0.0
    deviation = statistics.stdev(values)
    if deviation > 0:
        half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * deviation / math.sqrt(len(values))
    return mean - half, mean + half


def interval_of_sum(values: Sequence[float], others: Sequence[float]) -> tuple[float, float] | None:
    """The interval of the sum of two means that were measured apart; None where one has fewer than two
    values. With v = s^2 / n of each: sum +- t(df) sqrt(v1 + v2), df = (v1 + v2)^2 / (v1^2 / (n1 - 1) +
    v2^2 / (n2 - 1))."""
    from scipy.stats import t

    if len(values) < 2 or len(others) < 2:
        return None
    parts = [(statistics.variance(told) / len(told), len(told) - 1) for told in (values, others)]
    variance, half = sum(part for part, _ in parts), 0.0
    if variance > 0:
        degrees = variance**2 / sum(part**2 / degrees for part, degrees in parts)
        half = float(t.ppf((1 + CONFIDENCE) / 2, degrees)) * math.sqrt(variance)
    middle = statistics.fmean(values) + statistics.fmean(others)
    return middle - half, middle + half


def summary(values: Sequence[float]) -> Summary | None:
    """What `values` say together; None if there are none."""
    if not values:
        return None
    found = interval(values)
    return Summary(
        n=len(values),
        mean=statistics.fmean(values),
        median=statistics.median(values),
        deviation=statistics.stdev(values) if len(values) > 1 else None,
        least=min(values),
        most=max(values),
        low=found[0] if found else None,
        high=found[1] if found else None,
    )


def difference(
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    *,
    enough: int,
    added: Sequence[float] = (),
) -> Difference:
    """Ours minus theirs, both by repeat. A difference is called (`less`, `more`) only where the interval of
    the paired differences leaves 0 out and there are at least `enough` pairs. `added` were measured in a
    series of their own: their mean is added to ours, and of them there are to be `enough` as well."""
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        return Difference(0, None, None, None, None, "not enough repeats")
    differences = [ours[repeat] - theirs[repeat] for repeat in both]
    more = statistics.fmean(added) if added else 0.0
    beneath = statistics.fmean(theirs[repeat] for repeat in both)
    ratio = (statistics.fmean(ours[repeat] for repeat in both) + more) / beneath if beneath else None
    mean = statistics.fmean(differences) + more
    alone = interval(differences)
    found = interval_of_sum(differences, added) if added else alone
    low, high = found or (None, None)
    if len(both) < enough or (added and len(added) < enough) or low is None or high is None:
        verdict: Verdict = "not enough repeats"
    elif low > 0:
        verdict = "more"
    elif high < 0:
        verdict = "less"
    else:
        verdict = "not decided"
    return Difference(len(both), mean, low, high, ratio, verdict)

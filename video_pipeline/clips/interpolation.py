"""Values between key frames: the one interpolation of the clip suite.

Belongs here: curves through key frames, in exact time. Does not belong here: what the values mean, or the
requests that key frames come from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Literal

import numpy as np

from video_pipeline.errors import BadInput

Interpolation = Literal["linear", "monotone_cubic"]
METHODS: tuple[Interpolation, ...] = ("linear", "monotone_cubic")
_CIRCLE = 3.0  # Fritsch and Carlson's region: slopes over the secant, within a circle of this radius


class Curve:
    """k values as functions of time, through n knots.

    `times` are seconds, strictly increasing; they stay Fractions, so that a knot is met exactly however its
    time was reached. `values` are (n, k), float64, copied. Before the first knot and after the last one the
    curve is constant. It never leaves the range between the two knots around `t`, rounding included.

    `linear` joins the knots by straight lines. `monotone_cubic` is the cubic Hermite curve of F. N. Fritsch
    and R. E. Carlson, "Monotone Piecewise Cubic Interpolation", SIAM J. Numer. Anal. 17 (1980):
    continuous speed, no overshoot, at rest where the values turn round.

    Raises BadInput, naming `name`, for no knots, times that do not increase, values that are not finite or
    whose shape does not fit, and an unknown method.
    """

    def __init__(
        self,
        times: Sequence[Fraction],
        values: np.ndarray,
        method: Interpolation = "linear",
        *,
        name: str = "key frames",
    ) -> None:
        knots = np.array(values, dtype=np.float64)
        self.times = tuple(Fraction(time) for time in times)
        _check(self.times, knots, method, name)
        knots.setflags(write=False)
        self.values = knots
        self.method: Interpolation = method
        self._spans = np.array([float(b - a) for a, b in pairwise(self.times)])
        self._slopes = _monotone_slopes(self._spans, knots) if method == "monotone_cubic" else None

    def at(self, t: Fraction) -> np.ndarray:
        """The values (k,), float64, at `t` seconds; a copy of the knot's own values at a knot."""
        left = bisect_right(self.times, t) - 1
        if left < 0:
            return self.values[0].copy()
        if left == len(self.times) - 1 or self.times[left] == t:
            return self.values[left].copy()
        begin, end = self.times[left], self.times[left + 1]
        part = float((t - begin) / (end - begin))
        first, last = self.values[left], self.values[left + 1]
        if self._slopes is None:
            value = first + part * (last - first)
        else:
            eased = part * part * (3 - 2 * part)
            bend = self._slopes[left] * (1 - part) - self._slopes[left + 1] * part
            value = first + eased * (last - first) + self._spans[left] * part * (1 - part) * bend
        # What may be outside is rounding only (one unit in the last place): by the method it lies within.
        return np.clip(value, np.minimum(first, last), np.maximum(first, last))


def _check(times: tuple[Fraction, ...], values: np.ndarray, method: str, name: str) -> None:
    if not times:
        raise BadInput("There are no key frames.", input=name, what_to_do="Give at least one.")
    if values.ndim != 2 or len(values) != len(times):
        raise BadInput(f"{len(times)} key frames have values of shape {values.shape}.", input=name)
    if not np.isfinite(values).all():
        raise BadInput("A key frame has a value that is not a finite number.", input=name)
    for before, after in pairwise(times):
        if after <= before:
            raise BadInput(
                f"The key frame at {float(after):.6f} s is not after the one at {float(before):.6f} s.",
                input=name,
                what_to_do="Give key frames in the order of their times, one for each time.",
            )
    if method not in METHODS:
        raise BadInput(f"Unknown interpolation {method!r}; there are {', '.join(METHODS)}.", input=name)


def _monotone_slopes(spans: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The slope at each knot (n, k), in values a second.

    The paper's algorithm: take three-point slopes (of the parabola through a knot and its neighbours, which
    keeps straight lines straight however uneven the times are), rest where the secants turn or are flat, then
    shrink the pair of each interval into the circle in which a cubic is monotone. Shrinking for one interval
    only ever moves the neighbour's pair further in, so one pass is enough.
    """
    slopes = np.zeros_like(values)
    if len(values) < 2:
        return slopes
    secants = np.diff(values, axis=0) / spans[:, None]
    slopes[0], slopes[-1] = secants[0], secants[-1]
    if len(values) > 2:
        before, after = spans[:-1, None], spans[1:, None]
        parabola = (secants[:-1] * after + secants[1:] * before) / (before + after)
        same_way = np.sign(secants[:-1]) * np.sign(secants[1:]) > 0
        slopes[1:-1] = np.where(same_way, parabola, 0.0)
    for index, secant in enumerate(secants):
        limit = _CIRCLE * np.abs(secant)
        distance = np.sqrt(slopes[index] ** 2 + slopes[index + 1] ** 2)
        shrink = np.where(distance > limit, limit / np.where(distance > 0, distance, 1.0), 1.0)
        slopes[index] *= shrink
        slopes[index + 1] *= shrink
    return slopes

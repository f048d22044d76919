"""The sampling rule, in exact integers. Every path (CPU, GPU, tests, tools) takes it from here.

Sample k shows the picture presented at k / rate seconds after the first picture: the one with the largest PTS
not after that moment. The video ends at its last PTS plus that picture's duration; if that is not known, plus
the last positive step between two pictures; a single picture of unknown duration gives one sample. Samples
exist for k / rate before the end.

Picture i with PTS p_i therefore shows the samples first(p_i) <= k < first(p_{i+1}) with
first(p) = ceil((p - p_0) * time_base * rate): each picture's share depends on its own PTS and its successor's
only, which is what makes one streaming pass possible.

Belongs here: that rule, complete and streaming. Does not belong here: packets, codecs, pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

SAMPLING_RULE_VERSION = 1
"""Part of the `frames` recipe: another rule is another set of frames."""


class StreamingSampler:
    """Tells which samples a picture shows as soon as its successor's PTS is known.

    Pictures are pushed in presentation order. `push` returns the samples of the picture pushed before.
    """

    def __init__(self, time_base: Fraction, rate: Fraction) -> None:
        if time_base <= 0 or rate <= 0:
            raise ValueError(f"time base {time_base} and rate {rate} must be positive")
        self._scale = Fraction(time_base) * Fraction(rate)
        self._origin: int | None = None
        self._last_pts = 0
        self._last_step = 0
        self._next_sample = 0
        self._finished = False

    @property
    def first_pts(self) -> int | None:
        """The PTS of the first picture, or None before it came."""
        return self._origin

    @property
    def last_pts(self) -> int | None:
        """The PTS of the picture pushed last."""
        return None if self._origin is None else self._last_pts

    @property
    def samples(self) -> int:
        """How many samples have been told so far."""
        return self._next_sample

    def push(self, pts: int) -> range:
        """The next picture, in presentation order, has `pts`. Returns the samples its predecessor shows
        (empty for the first picture, and for one between two sampled moments)."""
        if self._finished:
            raise ValueError("push() after finish()")
        if self._origin is None:
            self._origin = self._last_pts = pts
            return range(0)
        if pts < self._last_pts:
            raise ValueError(f"PTS {pts} after {self._last_pts}: pictures must come in presentation order")
        if pts > self._last_pts:
            self._last_step = pts - self._last_pts
        self._last_pts = pts
        return self._take_until(self._first_sample_at(pts))

    def finish(self, last_duration: int | None) -> range:
        """The stream is over; `last_duration` is the last picture's, in ticks, None or 0 if unknown.
        Returns the samples the last picture shows (empty if there was no picture)."""
        if self._finished:
            raise ValueError("finish() twice")
        self._finished = True
        if self._origin is None:
            return range(0)
        duration = last_duration if last_duration and last_duration > 0 else self._last_step
        if duration <= 0:
            return self._take_until(self._next_sample + 1 if self._next_sample == 0 else self._next_sample)
        return self._take_until(self._first_sample_at(self._last_pts + duration))

    def _first_sample_at(self, pts: int) -> int:
        assert self._origin is not None
        return -(-(pts - self._origin) * self._scale.numerator // self._scale.denominator)

    def _take_until(self, stop: int) -> range:
        samples = range(self._next_sample, max(stop, self._next_sample))
        self._next_sample = samples.stop
        return samples


def sample_indices(pts: Sequence[int], end: int | None, time_base: Fraction, rate: Fraction) -> np.ndarray:
    """Which picture each sample shows, from the complete list: the reference that streaming is held to.

    `pts`: every picture's PTS in presentation order; `end`: the last PTS plus its duration, None if unknown.
    Returns an int64 array (K,): entry k is the position in `pts` of the picture that sample k shows.
    Written from the definition, by search, on purpose unlike `StreamingSampler`.
    """
    if not len(pts):
        return np.zeros(0, np.int64)
    if end is None or end <= pts[-1]:
        steps = [b - a for a, b in itertools.pairwise(pts) if b > a]
        if not steps:
            return np.array([len(pts) - 1], np.int64)
        end = pts[-1] + steps[-1]
    ticks_per_sample = 1 / (Fraction(time_base) * Fraction(rate))
    shown: list[int] = []
    position = 0
    while (moment := pts[0] + len(shown) * ticks_per_sample) < end:
        while position + 1 < len(pts) and pts[position + 1] <= moment:
            position += 1
        shown.append(position)
    return np.array(shown, np.int64)

"""Sound at another speed and the same pitch, by libav's atempo.

Belongs here: the filter chain, its warm-up and its measured lead. Does not belong here: decoding, spans.

atempo overlaps and adds windows of 2048 samples (43 ms) and moves each to where it fits its predecessor best
(libavfilter/af_atempo.c, WSOLA), so it shifts sound a little, by content. Measured over bursts of 150 Hz,
1 kHz, noise and a voice-like tone, alone and over noise or music, at twelve speeds:

- slower than 1: always early, in the mean 5 ms of source time for tones, 6 to 9 for voice, 13 for noise.
  `LEAD` takes 7 ms out. What is left: at most 11 ms early or 8 late in source time, so 44 ms early or 32 late
  in a clip at a quarter of the speed; voice 4 ms in the mean there.
- faster than 1: in the clip's time at most 10 ms early or 16 ms late. The sign depends on the content, so
  nothing is taken out.

It does not add up: atempo steers every window back to its ideal place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np

SLOWEST, FASTEST = Fraction(1, 10), Fraction(10)

LEAD = 340
"""Source samples at 48 kHz by which atempo plays early when it slows down."""

WARM_UP = 12000
"""Samples that go through atempo first and are dropped: about six windows, until it shifts as it then does
throughout."""


def at_speed(
    sound: Callable[[Fraction], Iterator[np.ndarray]], start: Fraction, speed: Fraction, rate: int
) -> Iterator[np.ndarray]:
    """`sound` from `start` (seconds) on at `speed` (0.1 to 10; 1 changes nothing), then silence without end.

    `sound(t)` gives float32 (n, 2) blocks at `rate` from second t on; so does this, in blocks of at most
    about a second. Sample k is what `sound` has at start + k * speed / rate, give or take the shift above.
    A window at the beginning also holds sound from just before `start`.
    """
    if not SLOWEST <= speed <= FASTEST:
        raise ValueError(f"speed {speed} is not between {SLOWEST} and {FASTEST}")
    if speed == 1:
        yield from _without_end(sound(start), rate)
        return
    drop = math.ceil(WARM_UP / min(Fraction(1), speed))
    lead = LEAD if speed < 1 else 0
    tempo = _Tempo(speed, rate)
    at_once = max(1, math.floor(rate * min(Fraction(1), speed)))
    for block in _without_end(sound(start - (drop * speed + lead) / rate), rate):
        for first in range(0, len(block), at_once):
            for data in tempo.push(block[first : first + at_once]):
                if drop < len(data):
                    yield data[drop:]
                drop = max(0, drop - len(data))


def _without_end(blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    yield from blocks
    yield from itertools.repeat(np.zeros((rate, 2), np.float32))


def tempo_factors(speed: Fraction) -> list[Fraction]:
    """Factors from 0.5 to 2 whose product is `speed`: below that range atempo refuses, above it skips sound
    instead of blending it. The smallest first: a shift at a later filter counts times the factors before."""
    factors = [speed]
    while factors[0] > 2:
        factors[:1] = [factors[0] / 2, Fraction(2)]
    while factors[-1] < Fraction(1, 2):
        factors[-1:] = [Fraction(1, 2), factors[-1] * 2]
    return factors


class _Tempo:
    """One chain of atempo filters."""

    def __init__(self, speed: Fraction, rate: int) -> None:
        import av.filter

        self._rate = rate
        self._pushed = 0
        self._graph = av.filter.Graph()
        last = self._graph.add_abuffer(
            sample_rate=rate, format="flt", layout="stereo", time_base=Fraction(1, rate)
        )
        for factor in tempo_factors(speed):
            filter_ = self._graph.add("atempo", tempo=f"{float(factor):.17g}")
            last.link_to(filter_)
            last = filter_
        last.link_to(self._graph.add("abuffersink"))
        self._graph.configure()

    def push(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """What comes out after `samples`, float32 (n, 2) each."""
        import av
        import av.error

        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples).reshape(1, -1), format="flt", layout="stereo"
        )
        frame.sample_rate = self._rate
        frame.pts, frame.time_base = self._pushed, Fraction(1, self._rate)
        self._pushed += len(samples)
        self._graph.push(frame)
        while True:
            try:
                out = self._graph.pull()
            except av.error.BlockingIOError:
                return
            yield out.to_ndarray().reshape(-1, 2)

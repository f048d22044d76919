"""Sound at other speeds: length, pitch, level, where things come out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from tests.media.clip_audio_media import level, pitch, sine
from video_pipeline.media.clip_audio import SAMPLE_RATE
from video_pipeline.media.clip_audio_speed import at_speed, tempo_factors

SPEEDS = [Fraction(s) for s in ("1/10", "1/4", "37/100", "1/2", "9/10", "11/10", "2", "7/3", "4", "10")]


def played(sound: np.ndarray) -> Callable[[Fraction], Iterator[np.ndarray]]:
    """`sound` (2, n) as a track that can be played from any second on."""

    def blocks(start: Fraction) -> Iterator[np.ndarray]:
        first = round(start * SAMPLE_RATE)
        if first < 0:
            yield np.zeros((-first, 2), np.float32)
        for at in range(max(0, first), sound.shape[1], 1024):
            yield np.ascontiguousarray(sound[:, at : at + 1024].T)

    return blocks


def take(blocks: Iterator[np.ndarray], samples: int) -> np.ndarray:
    got: list[np.ndarray] = []
    while sum(map(len, got)) < samples:
        got.append(next(blocks))
        assert 0 < len(got[-1]) <= 2 * SAMPLE_RATE
    return np.concatenate(got)[:samples]


@pytest.mark.parametrize("speed", SPEEDS)
def test_pitch_and_level_are_kept_throughout(speed: Fraction) -> None:
    sound = sine(440, 12 if speed > 1 else 4)
    stretched = take(at_speed(played(sound), Fraction(1), speed, SAMPLE_RATE), SAMPLE_RATE)
    assert pitch(stretched) == pytest.approx(440, abs=1.1)
    tenths = [level(stretched[at : at + 4800]) for at in range(0, SAMPLE_RATE, 4800)]
    assert np.allclose(tenths, 0.5 / np.sqrt(2), rtol=0.05)


def burst_shifts(kind: str, speed: Fraction, seconds: int) -> np.ndarray:
    """By how many seconds of the clip the bursts of `kind` come out late, one a second."""
    start = Fraction(1, 3)
    times = [k + Fraction(k, 397) for k in range(1, seconds - 1)]
    t = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    envelope = sum(np.exp(-(((t - float(at)) / 0.03) ** 2)) for at in times)
    sound = np.tile(np.float32(0.5 * envelope * carrier(kind, t)), (2, 1))
    count = round((seconds - start) / speed * SAMPLE_RATE)
    power = np.square(take(at_speed(played(sound), start, speed, SAMPLE_RATE), count)[:, 0], dtype=np.float64)
    reach = int(0.2 / speed * SAMPLE_RATE)
    shifts: list[float] = []
    for at in times:
        place = round((at - start) / speed * SAMPLE_RATE)
        first = max(0, place - reach)
        near = power[first : place + reach]
        shifts.append((np.average(np.arange(len(near)), weights=near) + first - place) / SAMPLE_RATE)
    return np.array(shifts)


def carrier(kind: str, t: np.ndarray) -> np.ndarray:
    if kind == "noise":
        return np.random.default_rng(5).standard_normal(len(t)) / 2
    if kind == "tone":
        return np.sin(2 * np.pi * 1000 * t)
    return np.sum([np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 20)], axis=0) / 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tone", "noise", "voice"])
@pytest.mark.parametrize("speed", SPEEDS)
def test_bursts_come_out_near_their_place(speed: Fraction, kind: str) -> None:
    late = burst_shifts(kind, speed, 6 if speed < 1 else 10) * float(min(Fraction(1), speed))
    early_at_most, late_at_most = (0.011, 0.008) if speed < 1 else (0.010, 0.016)
    assert -early_at_most < late.min() <= late.max() < late_at_most, late.round(4)


def test_a_tone_lies_nearer_when_slowed_down_than_atempo_puts_it() -> None:
    # Alone, atempo plays it 6 ms of source time early: 24 ms of the clip.
    assert np.abs(burst_shifts("tone", Fraction(1, 4), 6)).max() < 0.008


@pytest.mark.slow
@pytest.mark.parametrize("speed", [Fraction(7, 3), Fraction(37, 100)])
def test_the_shift_does_not_grow_with_time(speed: Fraction) -> None:
    shifts = burst_shifts("tone", speed, 45)
    assert abs(shifts[-10:].mean() - shifts[:10].mean()) < 0.002


def test_speed_one_changes_nothing() -> None:
    sound = np.random.default_rng(6).standard_normal((2, 50_000)).astype(np.float32)
    same = take(at_speed(played(sound), Fraction(1000, SAMPLE_RATE), Fraction(1), SAMPLE_RATE), 60_000)
    np.testing.assert_array_equal(same[:49_000], sound[:, 1000:].T)
    assert not same[49_000:].any()


def test_after_the_sound_there_is_silence_without_end() -> None:
    blocks = at_speed(played(sine(440, 1)), Fraction(0), Fraction(2), SAMPLE_RATE)
    stretched = take(blocks, 3 * SAMPLE_RATE)
    assert level(stretched[:22_000]) > 0.3
    assert not stretched[26_000:].any()


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_factors_are_what_atempo_takes_and_make_up_the_speed_exactly(speed: Fraction) -> None:
    factors = tempo_factors(speed)
    assert all(Fraction(1, 2) <= factor <= 2 for factor in factors)
    assert list(itertools.accumulate(factors, lambda a, b: a * b))[-1] == speed


@pytest.mark.parametrize("speed", [Fraction(0), Fraction(99, 1000), Fraction(101, 10), Fraction(-1)])
def test_other_speeds_are_refused(speed: Fraction) -> None:
    with pytest.raises(ValueError, match="is not between"):
        next(at_speed(played(sine(440, 1)), Fraction(0), speed, SAMPLE_RATE))

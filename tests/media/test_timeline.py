"""The sampling rule: the definition, the streaming form, and figures worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_pipeline.media.timeline import StreamingSampler, sample_indices

MS = Fraction(1, 1000)


def stream(pts: list[int], last_duration: int | None, time_base: Fraction, rate: Fraction) -> list[int]:
    """The streaming rule's answer as a list: entry k is the position of the picture that sample k shows."""
    sampler = StreamingSampler(time_base, rate)
    shares = [*[sampler.push(p) for p in pts][1:], sampler.finish(last_duration)]
    shown: list[int] = []
    for position, share in enumerate(shares[: len(pts)]):
        assert share.start == len(shown)
        shown += [position] * len(share)
    assert sampler.samples == len(shown)
    return shown


def test_25_to_10_takes_the_picture_shown_at_each_tenth_of_a_second() -> None:
    assert stream(list(range(25)), 1, Fraction(1, 25), Fraction(10)) == [0, 2, 5, 7, 10, 12, 15, 17, 20, 22]


def test_a_rate_above_the_source_repeats_pictures() -> None:
    assert stream([0, 40, 80], 40, MS, Fraction(50)) == [0, 0, 1, 1, 2, 2]


def test_a_picture_exactly_at_a_sampled_moment_is_the_one_shown() -> None:
    assert stream([0, 100, 200], 100, MS, Fraction(10)) == [0, 1, 2]
    assert stream([0, 101, 200], 100, MS, Fraction(10)) == [0, 0, 2]


def test_the_video_ends_at_the_last_pts_plus_its_duration() -> None:
    assert len(stream([0, 500], 500, MS, Fraction(10))) == 10
    assert len(stream([0, 500], 501, MS, Fraction(10))) == 11
    assert len(stream([0, 500], 1, MS, Fraction(10))) == 6


def test_an_unknown_last_duration_is_the_previous_step() -> None:
    assert len(stream([0, 40, 140], None, MS, Fraction(10))) == 3
    assert len(stream([0, 40, 140, 140], 0, MS, Fraction(10))) == 3


def test_one_picture_of_unknown_duration_is_one_sample() -> None:
    assert stream([777], None, MS, Fraction(10)) == [0]
    assert stream([777, 777], None, MS, Fraction(10)) == [1]
    assert stream([777], 250, MS, Fraction(10)) == [0, 0, 0]


def test_no_picture_is_no_sample() -> None:
    assert list(StreamingSampler(MS, Fraction(10)).finish(None)) == []
    assert sample_indices([], None, MS, Fraction(10)).tolist() == []


def test_the_first_pts_is_the_origin_wherever_it_lies() -> None:
    for origin in (-5000, 7, 10**12):
        pts = [origin + step for step in (0, 40, 80, 120, 160, 200)]
        assert stream(pts, 40, MS, Fraction(10)) == [0, 2, 5]


def test_ntsc_over_ten_hours_does_not_drift() -> None:
    rate, base = Fraction(10), Fraction(1, 30000)
    sampler = StreamingSampler(base, rate)
    count = 10 * 3600 * 30000 // 1001
    for k in (0, 1, count // 2, count):
        sampler.push(k * 1001)
    assert sampler.samples == -(-count * 1001 * 10 // 30000)


def test_it_says_which_pictures_came_first_and_last() -> None:
    sampler = StreamingSampler(MS, Fraction(10))
    assert (sampler.first_pts, sampler.last_pts, sampler.samples) == (None, None, 0)
    sampler.push(-40)
    assert (sampler.first_pts, sampler.last_pts) == (-40, -40)
    sampler.push(300)
    assert (sampler.first_pts, sampler.last_pts, sampler.samples) == (-40, 300, 4)


@pytest.mark.parametrize(("base", "rate"), [(0, 10), (-1, 10), (1, 0), (1, -1)])
def test_a_clock_or_a_rate_that_stands_still_is_refused(base: int, rate: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        StreamingSampler(Fraction(base), Fraction(rate))


def test_pictures_out_of_order_are_refused() -> None:
    sampler = StreamingSampler(MS, Fraction(10))
    sampler.push(100)
    with pytest.raises(ValueError, match="presentation order"):
        sampler.push(99)


def test_nothing_follows_the_end() -> None:
    sampler = StreamingSampler(MS, Fraction(10))
    sampler.finish(None)
    with pytest.raises(ValueError, match="after finish"):
        sampler.push(1)
    with pytest.raises(ValueError, match="twice"):
        sampler.finish(None)


steps = st.lists(st.integers(0, 3000), max_size=40)
rates = st.fractions(Fraction(1, 4), Fraction(120), max_denominator=1001)
bases = st.sampled_from([MS, Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 12800), Fraction(1, 7)])


@given(origin=st.integers(-(10**6), 10**9), steps=steps, last=st.integers(0, 3000), base=bases, rate=rates)
def test_streaming_equals_the_definition_for_any_timestamps(
    origin: int, steps: list[int], last: int, base: Fraction, rate: Fraction
) -> None:
    pts = [origin]
    for step in steps:
        pts.append(pts[-1] + step)
    if (pts[-1] + last - origin) * base * rate > 20_000:
        return
    expected = sample_indices(pts, pts[-1] + last if last else None, base, rate).tolist()
    assert stream(pts, last, base, rate) == expected


@pytest.mark.slow
@given(count=st.integers(1, 60), base=bases, rate=rates, step=st.integers(1, 2000))
def test_each_sample_shows_the_largest_pts_not_after_its_moment(
    count: int, base: Fraction, rate: Fraction, step: int
) -> None:
    pts = [5 + step * k + (k * k) % (step + 1) // 2 for k in range(count)]
    if step * count * base * rate > 20_000:
        return
    for k, position in enumerate(stream(pts, step, base, rate)):
        moment = pts[0] + k / rate / base
        assert pts[position] <= moment
        assert position + 1 == count or pts[position + 1] > moment

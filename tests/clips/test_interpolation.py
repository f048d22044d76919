"""The curves through key frames: exact at knots, never outside them, smooth in time."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_pipeline.clips.interpolation import METHODS, Curve, Interpolation
from video_pipeline.errors import BadInput

SECOND = Fraction(1)


@st.composite
def knots(draw: st.DrawFn) -> tuple[list[Fraction], np.ndarray]:
    """2..8 knots at times as uneven as frames and seconds are; 2 values each."""
    gaps = draw(
        st.lists(st.fractions(Fraction(1, 1000), 100, max_denominator=90_000), min_size=1, max_size=7)
    )
    times = [draw(st.fractions(-10, 10, max_denominator=90_000))]
    for gap in gaps:
        times.append(times[-1] + gap)
    number = st.floats(-1e5, 1e5, allow_nan=False)
    rows = draw(st.lists(st.tuples(number, number), min_size=len(times), max_size=len(times)))
    return times, np.array(rows)


def within(times: list[Fraction], steps: int) -> list[tuple[int, Fraction]]:
    """Instants inside each interval, with the interval's index."""
    return [
        (index, begin + (end - begin) * step / steps)
        for index, (begin, end) in enumerate(pairwise(times))
        for step in range(1, steps)
    ]


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60, deadline=None)
@given(given_knots=knots())
def test_a_curve_equals_its_knots_exactly(
    method: Interpolation, given_knots: tuple[list[Fraction], np.ndarray]
) -> None:
    times, values = given_knots
    curve = Curve(times, values, method)
    for time, value in zip(times, values, strict=True):
        assert curve.at(time).tolist() == value.tolist()
    assert curve.at(times[0] - SECOND).tolist() == values[0].tolist()
    assert curve.at(times[-1] + SECOND).tolist() == values[-1].tolist()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60, deadline=None)
@given(given_knots=knots())
def test_a_curve_never_leaves_the_range_of_the_knots_around_it(
    method: Interpolation, given_knots: tuple[list[Fraction], np.ndarray]
) -> None:
    times, values = given_knots
    curve = Curve(times, values, method)
    for index, time in within(times, 16):
        pair = values[index : index + 2]
        at = curve.at(time)
        assert (at >= pair.min(axis=0)).all()
        assert (at <= pair.max(axis=0)).all()


@settings(max_examples=60, deadline=None)
@given(given_knots=knots())
def test_the_cubic_goes_one_way_between_two_knots(given_knots: tuple[list[Fraction], np.ndarray]) -> None:
    times, values = given_knots
    curve = Curve(times, values, "monotone_cubic")
    for index, (begin, end) in enumerate(pairwise(times)):
        path = np.array([curve.at(begin + (end - begin) * step / 40) for step in range(41)])
        way = np.sign(values[index + 1] - values[index])
        assert (np.diff(path, axis=0) * way >= -1e-9 * np.abs(values).max()).all()


def test_the_cubic_is_monotone_by_its_slopes_and_not_by_the_clip_that_stops_rounding() -> None:
    """Steep beside flat, on uneven times, and a turn: where an ordinary spline overshoots most."""
    times = [Fraction(0), Fraction(1, 100), Fraction(2), Fraction(201, 100), Fraction(5), Fraction(6)]
    values = np.array([[0.0], [100.0], [101.0], [300.0], [301.0], [250.0]])
    curve = Curve(times, values, "monotone_cubic")
    assert curve._slopes is not None
    for index, time in within(times, 200):
        begin, end = times[index], times[index + 1]
        s, span = float((time - begin) / (end - begin)), float(end - begin)
        m0, m1 = float(curve._slopes[index, 0]), float(curve._slopes[index + 1, 0])
        y0, y1 = float(values[index, 0]), float(values[index + 1, 0])
        basis = (2 * s**3 - 3 * s**2 + 1, s**3 - 2 * s**2 + s, -2 * s**3 + 3 * s**2, s**3 - s**2)
        hermite = basis[0] * y0 + basis[1] * span * m0 + basis[2] * y1 + basis[3] * span * m1
        assert min(y0, y1) - 1e-9 <= hermite <= max(y0, y1) + 1e-9
        assert curve.at(time)[0] == pytest.approx(hermite, abs=1e-9)


@pytest.mark.parametrize("last", [8.5, 9.0, 10.0, 11.0])
def test_the_cubic_does_not_turn_back_where_a_slope_is_only_a_little_too_steep(last: float) -> None:
    """The middle slope is last / 2 before it is shrunk, 4.25 to 5.5 times the first secant; from 4 on a cubic
    turns back whose other slope is that secant."""
    curve = Curve([Fraction(0), Fraction(1), Fraction(2)], np.array([[0.0], [1.0], [last]]), "monotone_cubic")
    seen = [float(curve.at(Fraction(step, 40))[0]) for step in range(41)]
    assert all(before < after for before, after in pairwise(seen))


def test_the_cubics_speed_has_no_jump_at_a_knot() -> None:
    times = [Fraction(0), Fraction(1), Fraction(5, 2), Fraction(3)]
    curve = Curve(times, np.array([[0.0], [10.0], [40.0], [45.0]]), "monotone_cubic")
    step = Fraction(1, 10**6)
    for knot in times[1:-1]:
        before = (curve.at(knot) - curve.at(knot - step)) / float(step)
        after = (curve.at(knot + step) - curve.at(knot)) / float(step)
        assert before[0] == pytest.approx(after[0], rel=1e-3)
        assert before[0] > 1


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("method", METHODS)
def test_points_on_a_line_give_the_line_on_uneven_times(method: Interpolation, count: int) -> None:
    times = [Fraction(0), Fraction(1, 3), Fraction(7, 2), Fraction(4)][:count]
    values = np.array([[float(3 * time + 1), float(20 - time)] for time in times])
    curve = Curve(times, values, method)
    for _, time in within(times, 9):
        assert curve.at(time) == pytest.approx([float(3 * time + 1), float(20 - time)], abs=1e-12)


def test_knots_on_a_gentle_parabola_give_the_parabola_on_uneven_times() -> None:
    times = [Fraction(4), Fraction(5), Fraction(13, 2), Fraction(7), Fraction(9)]
    curve = Curve(times, np.array([[float(time * time)] for time in times]), "monotone_cubic")
    for index, time in within(times, 7):
        if 0 < index < len(times) - 2:
            assert curve.at(time)[0] == pytest.approx(float(time * time), abs=1e-9)


def test_linear_is_the_weighted_mean_of_its_neighbours() -> None:
    curve = Curve([Fraction(1), Fraction(3)], np.array([[10.0, -4.0], [20.0, 4.0]]))
    assert curve.at(Fraction(3, 2)).tolist() == [12.5, -2.0]


def test_a_time_reached_by_thirds_meets_its_knot() -> None:
    """30 frames of 1/30 s summed as floats are 0.9999999999999999, which once lost a last key frame."""
    knot = Fraction(1)
    curve = Curve([Fraction(0), knot], np.array([[0.0], [7.0]]))
    reached = sum((Fraction(1, 30) for _ in range(30)), Fraction(0))
    assert curve.at(reached).tolist() == [7.0]


def test_one_knot_is_constant_and_a_repeated_value_stays_flat() -> None:
    one = Curve([Fraction(2)], np.array([[5.0]]), "monotone_cubic")
    assert [one.at(Fraction(t))[0] for t in (0, 2, 9)] == [5.0, 5.0, 5.0]
    flat = Curve([Fraction(t) for t in range(4)], np.array([[0.0], [8.0], [8.0], [0.0]]), "monotone_cubic")
    assert all(flat.at(Fraction(1) + Fraction(step, 10))[0] == 8.0 for step in range(11))


def test_a_curve_is_not_changed_by_what_its_caller_does_later() -> None:
    values = np.array([[1.0], [2.0]])
    curve = Curve([Fraction(0), Fraction(1)], values)
    values[:] = 0
    curve.at(Fraction(0))[:] = 0
    assert curve.at(Fraction(0)).tolist() == [1.0]


@pytest.mark.parametrize("t", [Fraction(-1), Fraction(0), Fraction(1, 2), Fraction(1), Fraction(9)])
@pytest.mark.parametrize("method", METHODS)
def test_values_that_a_caller_works_on_are_its_own(method: Interpolation, t: Fraction) -> None:
    curve = Curve([Fraction(0), Fraction(1)], np.array([[1.0], [2.0]]), method)
    before = curve.at(t).copy()
    curve.at(t)[:] = 77
    assert curve.at(t) == before
    with pytest.raises(ValueError, match="read-only"):
        curve.values[0] = 77


@pytest.mark.parametrize(
    ("times", "values", "method", "message"),
    [
        ([], np.zeros((0, 1)), "linear", "no key frames"),
        ([Fraction(0)], np.zeros(1), "linear", "shape"),
        ([Fraction(0)], np.zeros((2, 1)), "linear", "shape"),
        ([Fraction(0)], np.array([[np.nan]]), "linear", "finite"),
        ([Fraction(1), Fraction(1)], np.zeros((2, 1)), "linear", "1.000000 s is not after"),
        ([Fraction(1), Fraction(0)], np.zeros((2, 1)), "linear", "0.000000 s is not after"),
        ([Fraction(0)], np.zeros((1, 1)), "spline", "spline"),
    ],
)
def test_a_curve_that_cannot_be_is_refused_by_name(times, values, method, message) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        Curve(times, values, method, name="crop of clip 3")
    assert caught.value.input == "crop of clip 3"

"""What may be said of repeats: intervals as scipy computes them, and a difference only where it is one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from experiments.statistics import difference, interval, interval_of_sum, summary


@pytest.mark.parametrize(
    "values", [[1.0, 2.0, 4.0], [310.0, 302.5, 299.0, 321.0], [0.1, 0.1, 0.11, 0.2, 0.3]]
)
def test_the_interval_is_students_t_as_scipy_computes_it(values: list[float]) -> None:
    low, high = scipy.stats.t.interval(
        0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values)
    )
    assert interval(values) == pytest.approx((low, high), rel=1e-12)


def test_a_known_interval() -> None:
    # Three values 1 apart: s = 1, t(2) = 4.3027, half = 4.3027 / sqrt(3).
    assert interval([9.0, 10.0, 11.0]) == pytest.approx((10 - 2.48414, 10 + 2.48414), abs=1e-4)


def test_two_values_have_an_interval_and_a_deviation() -> None:
    # s = sqrt(2), t(1) = 12.7062.
    assert interval([1.0, 3.0]) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)
    found = summary([1.0, 3.0])
    assert found is not None
    assert found.deviation == pytest.approx(math.sqrt(2))


def test_equal_values_have_an_interval_of_no_width_and_one_value_has_none() -> None:
    assert interval([2.0, 2.0, 2.0]) == (2.0, 2.0)
    assert interval([2.0]) is None


def test_a_summary_holds_mean_median_and_spread() -> None:
    found = summary([1.0, 2.0, 6.0])
    assert found is not None
    assert (found.n, found.mean, found.median, found.least, found.most) == (3, 3.0, 2.0, 1.0, 6.0)
    assert found.deviation == pytest.approx(math.sqrt(7))
    assert summary([]) is None


def test_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    draw = np.random.default_rng(7)
    inside = 0
    for _ in range(2000):
        low, high = interval(draw.normal(10, 3, size=4).tolist()) or (0, 0)
        inside += low <= 10 <= high
    assert 0.935 < inside / 2000 < 0.965


def test_a_difference_is_called_where_the_interval_of_the_pairs_leaves_nothing_out() -> None:
    # Far apart from repeat to repeat, but always one second less than the other of the same repeat.
    theirs = {0: 100.0, 1: 200.0, 2: 300.0}
    ours = {0: 99.0, 1: 198.9, 2: 299.1}
    found = difference(ours, theirs, enough=3)
    assert found.verdict == "less"
    assert found.mean == pytest.approx(-1.0)
    assert found.ratio == pytest.approx(597 / 600)
    assert difference(theirs, ours, enough=3).verdict == "more"


def test_what_lies_within_the_spread_is_not_decided() -> None:
    # The published "11 % slower": one call took 123, 144 and 192 s, the other is held against that.
    found = difference({0: 159.3, 1: 166.7, 2: 143.8}, {0: 123.0, 1: 144.0, 2: 192.0}, enough=3)
    assert found.verdict == "not decided"
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high


def test_equal_runs_are_no_less_and_no_more() -> None:
    """The interval is one point, and holds 0."""
    same = {0: 1.0, 1: 2.0, 2: 3.0}
    found = difference(same, same, enough=3)
    assert (found.low, found.high, found.verdict) == (0.0, 0.0, "not decided")


def test_one_value_has_a_mean_and_no_spread() -> None:
    found = summary([2.5])
    assert found is not None
    assert (found.n, found.mean, found.deviation, found.low, found.high) == (1, 2.5, None, None, None)
    assert summary([]) is None


def test_the_interval_of_a_summary_lies_around_its_mean() -> None:
    found = summary([1.0, 2.0, 4.0])
    assert found is not None
    assert (found.low, found.high) == interval([1.0, 2.0, 4.0])
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.mean < found.high


def test_two_repeats_decide_nothing_however_far_apart() -> None:
    found = difference({0: 1.0, 1: 1.0}, {0: 100.0, 1: 100.0}, enough=3)
    assert found.verdict == "not enough repeats"
    assert found.mean == -99.0


def test_the_interval_of_a_sum_of_means_is_welchs() -> None:
    """Of a difference, as scipy has it: the sum of one and the other with its sign turned."""
    ours, theirs = [2.0, 2.5, 2.2], [1.0, 1.9, 1.2, 1.6]
    said = scipy.stats.ttest_ind(ours, [-value for value in theirs], equal_var=False)
    between = said.confidence_interval(0.95)
    assert interval_of_sum(ours, theirs) == pytest.approx((between.low, between.high), rel=1e-12)
    assert interval_of_sum([2.0, 2.0], [1.0, 1.0]) == (3.0, 3.0)
    assert interval_of_sum([2.0], [1.0, 1.5]) is None
    assert interval_of_sum([1.0, 1.5], [2.0]) is None


def test_what_is_added_from_another_series_adds_its_spread_to_the_difference() -> None:
    ours, theirs = {0: 1.0, 1: 1.1, 2: 1.05}, {0: 2.7, 1: 2.8, 2: 2.75}
    sure = difference(ours, theirs, enough=3, added=[2.1, 2.2, 2.15])
    assert (sure.pairs, sure.verdict) == (3, "more")
    assert sure.mean == pytest.approx(1.05 + 2.15 - 2.75)
    assert sure.ratio == pytest.approx((1.05 + 2.15) / 2.75)
    assert (sure.low, sure.high) == pytest.approx(interval_of_sum([-1.7] * 3, [2.1, 2.2, 2.15]))
    wide = difference(ours, theirs, enough=3, added=[1.7, 2.15, 2.6])
    assert (wide.mean, wide.verdict) == (pytest.approx(sure.mean), "not decided")
    assert difference(ours, theirs, enough=3, added=[2.15, 2.15]).verdict == "not enough repeats"
    assert difference(ours, theirs, enough=1, added=[2.15]).verdict == "not enough repeats"


def test_only_repeats_that_both_have_are_paired() -> None:
    found = difference({0: 1.0, 2: 3.0, 3: 3.0, 4: 3.1}, {1: 9.0, 2: 5.0, 3: 5.1, 4: 5.0}, enough=3)
    assert found.pairs == 3
    assert found.verdict == "less"
    assert found.ratio == pytest.approx((3.0 + 3.0 + 3.1) / (5.0 + 5.1 + 5.0))
    assert difference({0: 1.0}, {1: 1.0}, enough=1).pairs == 0


def test_against_nothing_there_is_no_ratio() -> None:
    """GPU seconds of a CPU."""
    found = difference({0: 1.0, 1: 1.1, 2: 0.9}, {0: 0.0, 1: 0.0, 2: 0.0}, enough=3)
    assert (found.verdict, found.ratio) == ("more", None)

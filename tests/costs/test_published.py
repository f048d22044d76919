from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from video_pipeline.costs.predict import predict
from video_pipeline.costs.published import (
    comparisons,
    published,
    published_fit,
    published_runs,
    repeats_to_tell,
    report,
    spread,
)


def table(name: str):
    return next(table for table in published().tables if table.id == name)


def test_every_table_has_rows_as_wide_as_its_columns_and_lines_within_its_document() -> None:
    for one in published().tables:
        assert all(len(row) == len(one.columns) for row in one.rows), one.id
        first, last = one.lines
        assert 1 <= first < last <= published().documents[one.document].lines
    names = [one.id for one in published().tables]
    assert len(names) == len(set(names)) == 29


def test_every_table_names_its_flaws() -> None:
    assert [one.id for one in published().tables if not one.flaws] == []


def test_the_series_is_as_published() -> None:
    series = table("e7_framing")
    assert [(row[0], row[1], row[3]) for row in series.rows] == [
        (1, 310.0, 310),
        (2, 160.8, 300),
        (4, 87.0, 300),
        (8, 103.3, 707),
    ]
    for row in series.rows:
        assert row[2] == pytest.approx(310.0 / row[1], abs=0.005)


def test_derived_columns_follow_from_the_published_numbers() -> None:
    for name in ("e6_software_t4", "e6_software_l4"):
        for row in table(name).rows:
            assert row[2] == pytest.approx(180 / row[1], abs=0.006)
    mixed = table("monthly").rows
    assert sum(row[4] for row in mixed[:-1]) == pytest.approx(mixed[-1][4], abs=0.005)


def test_every_run_is_in_the_table_it_names_and_unusable_ones_say_why() -> None:
    for run in published().runs:
        numbers = [value for row in table(run.table).rows for value in row if isinstance(value, int | float)]
        limits = [
            value
            for row in table(run.table).rows
            for item in row
            if isinstance(item, tuple | list)
            for value in item
        ]
        assert run.wall_s in numbers or run.wall_s in limits
        assert run.usable == (run.why_not == "")
    assert published_runs()["wall_s"].tolist() == [310.0, 160.8, 87.0, 103.3, 122.7, 143.8]


def test_four_single_runs_leave_one_degree_of_freedom_and_tell_little() -> None:
    c = published_fit(table="e7_framing").coefficients
    assert (c.n_runs, c.degrees) == (4, 1)
    assert c.t95 == pytest.approx(12.706, abs=1e-3)
    assert {"chunk_fixed_s", "extra_s_per_frame", "join_s", "join_s_per_frame"} <= set(c.not_determined)
    per_chunk = c.estimates["join_s_per_chunk"]
    assert per_chunk.low == 0
    assert per_chunk.high is not None
    assert per_chunk.high > 5 * per_chunk.value


def test_four_and_eight_cannot_be_told_apart() -> None:
    (pair,) = [pair for pair in comparisons() if (pair.other, pair.chunks) == (4, 8)]
    assert pair.ratio == pytest.approx(87.0 / 103.3)
    assert min(pair.p_of_part, pair.p_of_seconds) > 0.5
    assert not pair.decided
    assert [pair for pair in comparisons() if pair.decided] == [], "nor any other pair, at this spread"


def test_p_is_of_the_two_sample_t_by_the_spread_of_one_call() -> None:
    """t = difference / (sd sqrt(2)), two-sided, with the two degrees of freedom of three runs."""
    same = np.array([123.0, 144.0, 192.0])
    for pair in comparisons():
        fewer, more = (
            next(row[1] for row in table("e7_framing").rows if row[0] == count)
            for count in (pair.other, pair.chunks)
        )
        parts = (np.log(fewer / more) / np.log(same).std(ddof=1), (fewer - more) / same.std(ddof=1))
        p = [2 * (1 - stats.t(2).cdf(abs(part) / np.sqrt(2))) for part in parts]
        assert (pair.p_of_part, pair.p_of_seconds) == (pytest.approx(p[0]), pytest.approx(p[1]))


def test_so_many_repeats_tell_the_published_difference_in_four_of_five_draws_and_one_fewer_do_not() -> None:
    """By drawing: normal logarithms, Student's two-sample t at 5 %, counted on the side of the difference."""
    draw, part = np.random.default_rng(3), spread()[0]
    walls = {row[0]: row[1] for row in table("e7_framing").rows}

    def found_in(runs: int, fewer: int, more: int) -> float:
        slow = draw.normal(np.log(walls[fewer]), part, (8000, runs))
        fast = draw.normal(np.log(walls[more]), part, (8000, runs))
        statistic, p = np.asarray(stats.ttest_ind(slow, fast, axis=1))
        return float(np.mean((p < 0.05) & ((statistic > 0) == (walls[fewer] > walls[more]))))

    told = {(fewer, more): repeats_to_tell(more, fewer) for fewer, more in ((1, 2), (1, 4), (2, 8), (4, 8))}
    assert told == {(1, 2): 4, (1, 4): 3, (2, 8): 6, (4, 8): 29}
    for (fewer, more), runs in told.items():
        assert found_in(runs, fewer, more) > 0.8
    # Of 4 against 8, 28 repeats miss by less than draws can tell.
    assert found_in(3, 1, 2) < 0.8
    assert found_in(5, 2, 8) < 0.8


def test_the_spread_is_that_of_one_call_at_three_times() -> None:
    part, seconds, degrees = spread()
    assert (part, seconds, degrees) == (pytest.approx(0.226, abs=1e-3), pytest.approx(35.2, abs=0.2), 2)


def test_the_report_says_what_is_decided_from_its_own_numbers() -> None:
    text = report()
    undecided = [f"{pair.other} and {pair.chunks}" for pair in comparisons() if not pair.decided]
    assert all(pair in text.partition("**Not decided**")[2] for pair in undecided)
    assert "4 and 8" in undecided
    # (707 - 310) / 7 is 57, and 57 + (310 - 57) / 4 is 120.
    assert "Were 707 true, each GPU would have a fixed cost of 57 s; then 4 GPUs would need 120 s" in text
    assert "took 87 s" in text
    assert "| `join_s_per_chunk` | 7.26 s (0 to 40.2) | 6.6 s (0.648 to 12.5) |" in text
    for number in (310, 160.8, 87, 103.3):
        assert f"| {number:g} |" in text


def test_the_model_of_all_usable_runs_is_near_the_published_ones() -> None:
    c = published_fit().coefficients
    assert predict(c, 449, 1).seconds == pytest.approx(310, rel=0.1)
    assert predict(c, 449, 4).seconds == pytest.approx(87, rel=0.25)
    assert predict(c, 449, 8).seconds == pytest.approx(103.3, rel=0.25)


def test_what_each_worker_adds_explains_why_eight_are_hardly_faster_than_four() -> None:
    """103 s were measured of them; without it the model would give 39 s."""
    c = published_fit().coefficients
    assert predict(c, 449, 8).seconds > 0.8 * predict(c, 449, 4).seconds
    free = c.model_copy(update={"join_s_per_chunk": 0.0})
    assert predict(free, 449, 8).seconds < 0.55 * 103.3

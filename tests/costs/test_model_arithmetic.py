"""The fit's figures against the textbook's formulas, written out beside them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import nnls

from tests.costs.runs_made import runs_made
from video_pipeline.costs.least_squares import choose_terms, read_runs
from video_pipeline.costs.model import Fit, fit
from video_pipeline.costs.predict import TERMS, Estimate, predict
from video_pipeline.errors import BadInput

LINE = ("s_per_frame", "startup_s")
TRUTH = {"s_per_frame": 0.05, "startup_s": 3.0}


def fitted(runs: pd.DataFrame, **options) -> Fit:
    return fit(runs, task="t", gpu=None, backend="local", source="experiments", **options)


def line_runs(seed: int = 1, repeats: int = 1, spread: float = 0.05) -> pd.DataFrame:
    """Seven lengths in one call: too few runs for weights, so least squares are the plain ones."""
    lengths = (100, 150, 250, 400, 600, 800, 1000)
    return runs_made(lengths, (1,), truth=TRUTH, repeats=repeats, spread=spread, seed=seed)  # type: ignore[arg-type]


def test_intervals_of_a_line_are_those_of_least_squares_relative_to_each_run() -> None:
    """b = (X'X)^-1 X'y, s^2 = RSS / (n - p), Cov b = s^2 (X'X)^-1, rows divided by their run's time."""
    runs = line_runs()
    c = fitted(runs, terms=LINE).coefficients
    wall = runs["wall_s"].to_numpy()
    x = np.stack([runs["frames"].to_numpy(), np.ones(len(runs))], axis=1) / wall[:, None]
    inverse = np.linalg.inv(x.T @ x)
    b = inverse @ x.T @ np.ones(len(runs))
    s = math.sqrt(((x @ b - 1) ** 2).sum() / 5)
    t = stats.t.ppf(0.975, 5)
    assert (c.s_per_frame, c.startup_s) == (pytest.approx(b[0]), pytest.approx(b[1]))
    assert (c.degrees, c.t95) == (5, pytest.approx(t))
    assert c.run_sd == pytest.approx(s)
    assert np.array(c.covariance) == pytest.approx(s**2 * inverse)
    for number, term in enumerate(LINE):
        se = s * math.sqrt(inverse[number, number])
        found = c.estimates[term]
        assert (found.value, found.se) == (pytest.approx(b[number]), pytest.approx(se))
        assert (found.low, found.high) == (
            pytest.approx(max(0.0, b[number] - t * se)),
            pytest.approx(b[number] + t * se),
        )


def test_a_parameter_on_its_bound_makes_no_other_one_less_sure() -> None:
    """It is taken as known to be nothing: what is left has the variance of a fit without it."""
    runs = line_runs()
    runs["wall_s"] -= 7.0
    long = runs.query("frames > 200")
    c = fitted(long, terms=LINE).coefficients
    x = np.asarray(long["frames"], float) / np.asarray(long["wall_s"], float)
    assert c.startup_s == 0
    assert c.degrees == len(long) - 2, "it was free to be something else"
    assert c.run_sd is not None
    assert np.array(c.covariance) == pytest.approx(np.diag([float(c.run_sd**2 / (x @ x)), 0.0]))


def test_no_interval_reaches_below_nothing() -> None:
    vague = fitted(line_runs(seed=0, spread=0.25), terms=LINE).coefficients.estimates["startup_s"]
    assert vague.se is not None
    assert vague.value - 2.57 * vague.se < 0
    assert vague.low == 0


def test_the_spread_of_a_run_yet_to_come_is_no_less_than_what_was_seen_on_configurations_left_out() -> None:
    """The standard deviation of a normal error is sqrt(pi / 2) times its mean absolute value."""
    bent = line_runs(spread=0.0)
    bent["wall_s"] *= 1 + 0.5 * np.sin(bent["frames"] / 150)
    straight = line_runs(seed=2)
    found = [fitted(runs, terms=LINE).coefficients for runs in (bent, straight)]
    for c in found:
        assert c.held_out_error is not None
        assert c.run_sd is not None
        assert c.relative_sd == pytest.approx(max(c.run_sd, math.sqrt(math.pi / 2) * c.held_out_error))
    assert any((c.relative_sd or 0) > 1.05 * (c.run_sd or 0) for c in found)


def test_the_spread_is_found_though_runs_far_off_weigh_less() -> None:
    """Huber's weights take a part of a normal variance away, which is given back."""
    spreads = [
        fitted(line_runs(seed=seed, repeats=8, spread=0.03), terms=LINE).coefficients.run_sd or 0.0
        for seed in range(12)
    ]
    assert float(np.mean(spreads)) == pytest.approx(0.03, rel=0.05)


@pytest.mark.slow
def test_held_out_runs_are_foretold_by_the_fit_to_all_others_with_terms_chosen_from_those() -> None:
    runs = runs_made((120, 480, 960), (1, 2, 4), repeats=2, spread=0.04, seed=9)
    found = fitted(runs).by_configuration
    assert found is not None
    for frames, chunks, wall, predicted in found.rows:
        others: Any = runs[(runs["frames"] != frames) | (runs["chunks"] != chunks)]
        assert predicted == pytest.approx(
            predict(fitted(others).coefficients, frames, chunks).seconds, rel=1e-6
        )
        assert wall in set(runs["wall_s"])
    errors = [abs(predicted - wall) / wall for _, _, wall, predicted in found.rows]
    assert (found.mape, found.worst) == (pytest.approx(float(np.mean(errors))), max(errors))


def test_two_configurations_leave_nothing_to_hold_out() -> None:
    assert fitted(runs_made((120, 480), (1,), repeats=4, spread=0.02)).by_configuration is None
    assert fitted(runs_made((120, 480, 960), (1,), repeats=4, spread=0.02)).by_configuration is not None


def test_a_quarter_of_the_runs_is_left_out_ten_times_where_that_is_one_at_least() -> None:
    assert fitted(line_runs().head(2)).by_run is None
    for runs, part in ((3, 1), (7, 2)):
        found = fitted(line_runs().head(runs)).by_run
        assert found is not None
        assert len(found.rows) == 10 * part


def test_two_runs_give_one_term_and_as_many_configurations_no_more_terms() -> None:
    """Two of two would go through both points, and say that they are sure."""
    assert fitted(line_runs().head(2)).coefficients.terms == ("s_per_frame",)
    many = runs_made((480,), (1, 2), repeats=6, spread=0.02)
    assert len(fitted(many, terms=TERMS).coefficients.terms) == 2


def test_equal_runs_give_equal_figures() -> None:
    runs = runs_made((120, 480, 960), (1, 2), repeats=3, spread=0.05, seed=4)
    assert fitted(runs) == fitted(runs)
    assert fitted(runs).by_run != fitted(runs, seed=1).by_run


def test_the_error_of_the_imbalance_is_that_of_the_quotient_to_first_order() -> None:
    """1 + e / f has the gradient (-e / f^2, 1 / f)."""
    terms = ("s_per_frame", "startup_s", "extra_s_per_frame")
    truth = {**TRUTH, "extra_s_per_frame": 0.01}
    runs = runs_made((120, 480, 960), (1, 4), truth=truth, repeats=2, spread=0.01, seed=2)  # type: ignore[arg-type]
    c = fitted(runs, terms=terms).coefficients
    extra = c.value("extra_s_per_frame")
    assert c.imbalance == pytest.approx(1 + extra / c.s_per_frame)
    assert c.imbalance == pytest.approx(1.2, abs=0.06)
    gradient = np.array([-extra / c.s_per_frame**2, 0.0, 1 / c.s_per_frame])
    se = math.sqrt(gradient @ np.array(c.covariance) @ gradient)
    found = c.estimates["imbalance"]
    assert found.se == pytest.approx(se)
    assert found.low == pytest.approx(max(1.0, c.imbalance - (c.t95 or 0) * se))
    assert found.high == pytest.approx(c.imbalance + (c.t95 or 0) * se)


def test_an_imbalance_of_nothing_is_on_its_bound_and_has_no_error() -> None:
    terms = ("s_per_frame", "startup_s", "extra_s_per_frame")
    truth = {**TRUTH, "extra_s_per_frame": -0.01}
    runs = runs_made((120, 480, 960), (1, 4), truth=truth, repeats=2, spread=0.01, seed=2)  # type: ignore[arg-type]
    c = fitted(runs, terms=terms).coefficients
    assert (c.imbalance, c.estimates["imbalance"]) == (1.0, Estimate(value=1.0))


def test_busy_seconds_weigh_a_quarter_of_a_run_of_their_own() -> None:
    """Their rows are halved: b = (sum x + sum z / 4) / (sum x^2 + sum z^2 / 4), z = frames / busy."""
    runs = pd.DataFrame(
        {
            "frames": [100, 300, 700],
            "chunks": 1,
            "wall_s": [9.0, 31.0, 65.0],
            "gpu_seconds": [5.0, 20.0, np.nan],
        }
    )
    x, z = runs["frames"] / runs["wall_s"], (runs["frames"] / runs["gpu_seconds"]).dropna()
    expected = (x.sum() + z.sum() / 4) / ((x**2).sum() + (z**2).sum() / 4)
    assert fitted(runs, terms=("s_per_frame",)).coefficients.s_per_frame == pytest.approx(expected)


def left_out_error(runs: pd.DataFrame, start: bool) -> float:
    """The mean error on lengths left out one at a time, of a line with a start or through nothing."""
    x, wall = runs["frames"].to_numpy(float), runs["wall_s"].to_numpy()
    errors = []
    for length in np.unique(x):
        kept = x != length
        columns = np.stack([x, np.ones(len(x))], axis=1)[:, : 1 + start]
        values, _ = nnls(columns[kept] / wall[kept, None], np.ones(kept.sum()))
        errors += list(np.abs(columns[~kept] @ values - wall[~kept]) / wall[~kept])
    return float(np.mean(errors))


def test_the_fewest_terms_are_chosen_whose_error_is_within_a_tenth_of_the_least() -> None:
    """Starts from nothing to what no fit can do without, of which some lie next to the limit."""
    ratios = []
    for number in range(40):
        truth = {"s_per_frame": 0.05, "startup_s": 0.02 * number}
        runs = runs_made((100, 200, 300, 500, 700, 900), (1,), truth=truth, spread=0.04, seed=number)  # type: ignore[arg-type]
        errors = [left_out_error(runs, start) for start in (False, True)]
        ratios.append(errors[0] / errors[1])
        chosen = fitted(runs).coefficients.terms
        assert chosen == (LINE if errors[0] > 1.1 * min(errors) else LINE[:1]), (number, errors)
    assert any(1.0 < ratio <= 1.1 for ratio in ratios), "else the tenth would not count"
    assert any(1.1 < ratio < 1.5 for ratio in ratios)


def test_a_run_that_weighs_nothing_has_no_say_in_which_terms_help() -> None:
    """A run five times as long as it should be, which is left out of the fit, would have each set of terms
    err by as much, so that they look alike and the fewest would do."""
    truth = {**TRUTH, "startup_s": 0.3}
    runs = runs_made((100, 200, 400, 800), (1,), truth=truth, repeats=2, spread=0.01, seed=3)  # type: ignore[arg-type]
    runs.loc[7, "wall_s"] *= 5
    data = read_runs(runs, None, None)
    weight = np.where(np.arange(8) == 7, 0.0, 1.0)
    weightless = replace(data, weight=weight)
    assert choose_terms(weightless) == choose_terms(data.only(weight > 0)) == LINE
    assert choose_terms(data) == LINE[:1]


def test_parts_that_take_longer_than_the_whole_are_refused_and_named() -> None:
    runs = runs_made((100, 400, 900), (1, 2))
    runs["wall_s"] = np.where(runs["chunks"] == 1, 5.0, 5.0 + 0.1 * runs["frames"])
    with pytest.raises(BadInput, match="took less time than a part") as refused:
        fitted(runs, terms=("s_per_frame", "startup_s", "extra_s_per_frame"))
    assert refused.value.input == "t"


def test_what_was_measured_is_said_with_its_ends() -> None:
    c = fitted(runs_made((120, 480, 960), (1, 2, 4), repeats=2)).coefficients
    assert (c.frames_range, c.chunks_range) == ((120, 960), (1, 4))
    assert (c.n_runs, c.n_configurations) == (18, 9)


@pytest.mark.parametrize("nothing", [0.0, math.nan])
def test_busy_seconds_that_were_not_measured_are_no_busy_seconds(nothing: float) -> None:
    runs = runs_made((120, 480, 960), (1, 2, 4), repeats=2, spread=0.02)
    assert fitted(runs.assign(gpu_seconds=nothing)).coefficients == fitted(runs).coefficients


def test_short_runs_count_as_much_as_long_ones() -> None:
    """Residuals are parts of each run's own time: a second off in ten is as bad as ten in a hundred."""
    runs = pd.DataFrame({"frames": [100, 10_000], "chunks": [1, 1], "wall_s": [10.0, 2000.0]})
    c = fitted(runs, terms=("s_per_frame",)).coefficients
    # The least sum of (0.1 b - ...)^2 in parts: b = sum(x) / sum(x^2) with x = frames / wall.
    x = np.array([100 / 10, 10_000 / 2000])
    assert c.s_per_frame == pytest.approx(x.sum() / (x**2).sum())

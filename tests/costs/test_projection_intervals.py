"""A month's interval against what statistics say of each thing that makes it wide, one at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.costs.test_projection import coefficients
from video_pipeline.costs.mix import DAYS, Mix, Workload
from video_pipeline.costs.predict import Coefficients
from video_pipeline.costs.projection import TRUSTED, project
from video_pipeline.costs.projection_table import Projection

MANY = 1e9
"""Calls a month of which neither the number nor the spread of single ones makes any difference."""


def said(per_month: float, **fields: Any) -> Mix:
    facts = {"task": "render_overlay", "per_month": per_month, "duration_s": 20.0}
    return Mix(workloads=(Workload.model_validate({**facts, **fields}),))


def seen(daily: tuple[int, ...], **fields: Any) -> Mix:
    """As the ledger tells it: jobs that cost a dollar each, on so many days."""
    facts = {"duration_s": None, "daily": daily, "values_usd": (1.0,), "backend": "local"}
    return said(sum(daily) / len(daily) * DAYS, **{**facts, **fields})


def sure(**fields: Any) -> Coefficients:
    """Known without any error, but for what is named."""
    nothing = {"covariance": ((0.0, 0.0), (0.0, 0.0)), "run_sd": 0.0, "relative_sd": 0.0}
    return coefficients(**{**nothing, **fields})


def part(found: Projection) -> float:
    """The standard deviation of the month, as a part of it."""
    return float(np.std(found.draws) / np.mean(found.draws))


def test_the_interval_is_the_middle_95_percent_of_the_draws_for_a_row_as_for_all() -> None:
    found = project(said(50), [coefficients()])
    ends = np.percentile(found.draws, 2.5), np.percentile(found.draws, 97.5)
    assert (found.usd_low, found.usd_high) == ends
    (row,) = found.rows.to_dict("records")
    assert (row["usd_low"], row["usd_high"]) == ends


def test_without_any_error_only_the_number_of_calls_is_open_and_that_is_poissons() -> None:
    assert part(project(said(400), [sure()])) == pytest.approx(1 / math.sqrt(400), rel=0.05)
    assert part(project(said(MANY), [sure()])) < 1e-4


def test_coefficients_are_drawn_from_students_t_with_the_fits_degrees_of_freedom() -> None:
    """Seconds a frame 0.1 with a standard error of 0.01, of 5 degrees, and no start-up: 10 % and t(5)."""
    c = sure(covariance=((1e-4, 0.0), (0.0, 0.0)), startup_s=0.0, degrees=5)
    found = project(said(MANY), [c], draws=40_000)
    assert found.usd_high is not None
    assert found.usd_high / found.usd - 1 == pytest.approx(0.1 * stats.t.ppf(0.975, 5), rel=0.04)
    assert found.usd_low is not None
    assert 1 - found.usd_low / found.usd == pytest.approx(0.1 * stats.t.ppf(0.975, 5), rel=0.04)


@pytest.mark.parametrize(("sign", "error"), [(-1, 0.0), (0, 0.1 / math.sqrt(2)), (1, 0.1)])
def test_errors_of_two_coefficients_undo_each_other_or_add_up_as_their_covariance_says(
    sign: int, error: float
) -> None:
    """Of 600 frames, 60 s of work and as many for every call, each with a standard error of 6 s."""
    fixed = {"terms": ("s_per_frame", "chunk_fixed_s"), "startup_s": 0.0, "chunk_fixed_s": 60.0}
    c = sure(covariance=((1e-4, 0.06 * sign), (0.06 * sign, 36.0)), degrees=1000, **fixed)
    assert part(project(said(MANY), [c])) == pytest.approx(error, rel=0.05, abs=1e-4)


def test_the_error_common_to_all_runs_is_what_configurations_left_out_add_to_the_spread_of_runs() -> None:
    c = sure(run_sd=0.2, relative_sd=0.3)
    assert part(project(said(MANY), [c])) == pytest.approx(math.sqrt(0.3**2 - 0.2**2), rel=0.05)
    assert part(project(said(MANY), [sure(run_sd=0.3, relative_sd=0.3)])) < 1e-4


def test_the_spread_of_single_runs_shrinks_with_their_number() -> None:
    """Of n calls, their number Poisson, each off by half: the variance of the sum is n (1 + 1 / 4)."""
    c = sure(run_sd=0.5, relative_sd=0.5)
    for calls in (100, 2500):
        assert part(project(said(calls), [c])) == pytest.approx(math.sqrt(1.25 / calls), rel=0.05)


def test_days_that_are_too_few_to_tell_how_days_differ_are_poissons_and_a_week_tells_it_itself() -> None:
    """A month has 30 of them."""
    few = project(seen((3,) * 6), [])
    assert part(few) == pytest.approx(1 / math.sqrt(30 * 3), rel=0.05)
    assert part(project(seen((3,) * 7), [])) == 0.0


def test_costs_from_the_ledger_are_drawn_with_the_weights_of_a_bayesian_bootstrap() -> None:
    """Rubin (1981): weights of n values are Dirichlet(1, ..., 1), so their mean has variance s^2 / (n + 1),
    s^2 with n beneath it. So many calls a day that the draw of each makes no difference."""
    values = (1.0, 2.0, 3.0, 6.0)
    found = project(seen((100_000,) * 7, values_usd=values), [])
    assert float(np.std(found.draws)) == pytest.approx(30 * 100_000 * np.std(values) / math.sqrt(5), rel=0.05)


def test_what_failed_and_the_region_are_on_top_of_what_jobs_cost() -> None:
    plain = project(seen((2, 3, 1)), [])
    dear = project(seen((2, 3, 1), failed_part=0.25), [], region_factor=1.5)
    assert plain.usd == pytest.approx(2 * DAYS)
    assert dear.usd == pytest.approx(1.5 * 1.25 * plain.usd)
    assert np.mean(dear.draws) == pytest.approx(1.5 * 1.25 * np.mean(plain.draws), rel=0.02)


def test_a_model_is_trusted_up_to_its_limit_and_one_of_unknown_error_is_not() -> None:
    jobs = seen((2, 3, 1), durations_s=(20.0,))
    for error, basis in ((TRUSTED, "model"), (TRUSTED + 0.001, "what"), (None, "what")):
        found = project(jobs, [sure(backend="local", held_out_error=error)])
        assert found.rows["basis"].tolist()[0].split()[0] == basis

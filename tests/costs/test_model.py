from __future__ import annotations

import math

import pandas as pd
import pytest

from tests.costs.runs_made import TRUTH, runs_made, seconds_of
from video_pipeline.costs.model import Fit, fit
from video_pipeline.costs.predict import TERMS, predict
from video_pipeline.errors import BadInput

FRAMES, CHUNKS = (120, 480, 960), (1, 2, 4, 8)


def fitted(runs: pd.DataFrame, **options) -> Fit:
    return fit(runs, task="t", gpu=None, backend="local", source="experiments", **options)


def test_exact_runs_give_their_coefficients_back() -> None:
    runs = runs_made(FRAMES, CHUNKS, busy=True)
    c = fitted(runs, terms=TERMS).coefficients
    assert c.startup_s == pytest.approx(3.0, abs=1e-6)
    assert c.chunk_fixed_s == pytest.approx(2.0, abs=1e-6)
    assert c.s_per_frame == pytest.approx(0.05, rel=1e-6)
    assert c.imbalance == pytest.approx(1.2, rel=1e-6)
    assert c.join_s == pytest.approx(1.0, abs=1e-5)
    assert c.join_s_per_chunk == pytest.approx(0.3, abs=1e-6)


def test_turns_tell_start_up_from_fixed_cost_without_busy_seconds() -> None:
    """Three chunks take two turns of two workers, as four do; from 1, 2, 4 and 8 alone nothing could tell
    what a turn costs from what a chunk does."""
    runs = runs_made(FRAMES, (*CHUNKS, 3), at_once=2)
    c = fitted(runs, at_once=2, terms=TERMS).coefficients
    assert (c.startup_s, c.chunk_fixed_s) == (pytest.approx(3, abs=1e-5), pytest.approx(2, abs=1e-5))


def test_what_runs_cannot_tell_is_not_determined_and_no_number_is_made_up() -> None:
    one_length = fitted(runs_made((480,), (1, 2, 4, 8), repeats=3)).coefficients
    assert "chunk_fixed_s" in one_length.not_determined
    assert "join_s_per_frame" in one_length.not_determined
    assert one_length.chunk_fixed_s == 0
    assert "chunk_fixed_s" not in one_length.estimates


def test_no_more_terms_than_runs_less_one_are_fitted() -> None:
    c = fitted(runs_made((480,), (1, 2, 4))).coefficients
    assert len(c.terms) <= 2
    assert c.degrees == 3 - len(c.terms)
    assert len(c.terms) + len(c.not_determined) + len(c.left_out) == len(TERMS)


def test_one_run_determines_nothing_and_is_refused() -> None:
    with pytest.raises(BadInput, match="determines no model"):
        fitted(runs_made((480,), (1,)))


@pytest.mark.parametrize("wrong", [0.0, math.nan, -3.0])
def test_a_run_without_a_time_is_refused(wrong: float) -> None:
    runs = runs_made((120, 480), (1, 2))
    runs.loc[1, "wall_s"] = wrong
    with pytest.raises(BadInput, match="wall_s"):
        fitted(runs)


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(BadInput, match="no column chunks"):
        fitted(runs_made((120,), (1, 2)).drop(columns="chunks"))


@pytest.mark.slow
def test_intervals_cover_what_they_promise() -> None:
    """40 fits to 18 noisy runs each; each foretells a run of a configuration that was not among them."""
    inside = 0
    for seed in range(40):
        c = fitted(runs_made((120, 480), (1, 2, 4), repeats=3, spread=0.03, seed=seed)).coefficients
        found = predict(c, 300, 3)
        run = float(runs_made((300,), (3,), spread=0.03, seed=1000 + seed)["wall_s"].iloc[0])
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= run <= found.high
    assert inside >= 36


def test_intervals_widen_as_runs_run_out() -> None:
    many = fitted(runs_made((120, 480), CHUNKS, repeats=3, spread=0.05), terms=TERMS[:2]).coefficients
    few = fitted(runs_made((120, 480), (1, 2), spread=0.05), terms=TERMS[:2]).coefficients
    assert (many.t95, few.t95) == (pytest.approx(2.074, abs=1e-3), pytest.approx(4.303, abs=1e-3))


def test_a_parameter_on_its_bound_has_no_standard_error() -> None:
    runs = runs_made((120, 480), (1, 2, 4), truth={"s_per_frame": 0.05}, spread=0.01, repeats=2, seed=3)
    c = fitted(runs, terms=TERMS).coefficients
    bound = [name for name, found in c.estimates.items() if found.value == 0]
    assert bound
    assert all(c.estimates[name].se is None for name in bound)


def test_held_out_runs_are_foretold_without_having_been_seen() -> None:
    runs = runs_made(FRAMES, CHUNKS, repeats=3, spread=0.02, seed=5)
    found = fitted(runs)
    assert found.by_configuration is not None
    assert found.by_run is not None
    assert len(found.by_configuration.rows) == len(runs)
    assert 0 < found.by_configuration.mape < 0.06
    assert 0 < found.by_run.mape < 0.05
    assert found.by_configuration.worst >= found.by_configuration.mape


def test_counts_that_come_to_the_same_chunks_are_one_configuration_and_held_out_together() -> None:
    """120 frames are two segments of 60: 2, 4 and 8 chunks of them are the same work."""
    runs = runs_made((120, 480, 960), (1, 2, 4, 8), repeats=2, spread=0.02, segment_frames=60)
    found = fitted(runs, segment_frames=60)
    assert found.by_configuration is not None
    pairs = {(frames, chunks) for frames, chunks, _, _ in found.by_configuration.rows}
    assert pairs == {(120, 1), (120, 2), *((length, n) for length in (480, 960) for n in (1, 2, 4, 8))}
    assert found.coefficients.n_configurations == len(pairs)
    assert len(found.by_configuration.rows) == len(runs)


def test_chunks_that_no_run_had_are_not_among_the_measured() -> None:
    c = fitted(runs_made((120, 60), (1, 8), repeats=2, segment_frames=60), segment_frames=60).coefficients
    assert c.chunks_range == (1, 2)


def test_held_out_error_sees_a_form_that_is_wrong() -> None:
    """Time that grows with the square of the length is foretold badly, however well it is fitted."""
    runs = runs_made((60, 240, 480, 960), (1,), truth={"s_per_frame": 0.05})
    runs["wall_s"] = 0.001 * runs["frames"] ** 2
    found = fitted(runs)
    assert found.by_configuration is not None
    assert found.by_configuration.mape > 0.3


@pytest.mark.parametrize("times", [4.0, 0.2], ids=["a cold start", "most of its work was there already"])
def test_one_run_that_is_far_off_does_not_bend_the_line(times: float) -> None:
    runs = runs_made(FRAMES, CHUNKS, repeats=3, spread=0.01, seed=7)
    calm = fitted(runs).coefficients
    runs.loc[4, "wall_s"] *= times
    hit = fitted(runs).coefficients
    for length, count in ((480, 2), (960, 8)):
        assert predict(hit, length, count).seconds == pytest.approx(
            predict(calm, length, count).seconds, rel=0.03
        )


def test_terms_that_do_not_help_are_left_out() -> None:
    runs = runs_made(
        (120, 480, 960), (1,), truth={"s_per_frame": 0.05, "startup_s": 3}, repeats=3, spread=0.01
    )
    c = fitted(runs).coefficients
    assert set(c.terms) == {"s_per_frame", "startup_s"}
    flat = runs_made((120, 480, 960), (1,), truth={"s_per_frame": 0.05}, repeats=3, spread=0.01)
    assert fitted(flat).coefficients.terms == ("s_per_frame",)


def test_the_model_foretells_lengths_and_counts_between_those_measured() -> None:
    c = fitted(runs_made(FRAMES, CHUNKS, repeats=3, spread=0.01, seed=2)).coefficients
    for length, count in ((300, 3), (700, 6)):
        assert predict(c, length, count).seconds == pytest.approx(seconds_of(TRUTH, length, count), rel=0.04)

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.costs.runs_made import RATES, known
from video_pipeline.clips.parallel import chunk_ranges
from video_pipeline.costs.predict import Coefficients, difference, largest_chunk, predict
from video_pipeline.errors import BadInput
from video_pipeline.media.h264 import segment_frames


def test_one_chunk_takes_start_up_fixed_cost_and_work() -> None:
    c = known(chunk_fixed_s=2.0, join_s=50.0, join_s_per_chunk=7.0, imbalance=3.0)
    found = predict(c, 200, 1)
    assert found.seconds == pytest.approx(10 + 2 + 200 * 0.1)
    assert found.gpu_seconds == pytest.approx(2 + 200 * 0.1)


def test_several_chunks_share_the_work_and_pay_for_joining() -> None:
    c = known(chunk_fixed_s=2.0, join_s=5.0, join_s_per_chunk=0.5, join_s_per_frame=0.01, imbalance=1.2)
    found = predict(c, 400, 4)
    assert found.seconds == pytest.approx(10 + 2 + 100 * 0.1 * 1.2 + 5 + 4 * 0.5 + 400 * 0.01)
    assert found.gpu_seconds == pytest.approx(4 * 2 + 400 * 0.1 * 1.2)


def test_chunks_that_do_not_fit_side_by_side_take_turns() -> None:
    c = known(chunk_fixed_s=2.0, at_once=2)
    assert predict(c, 400, 4).seconds == pytest.approx(10 + 2 * (2 + 100 * 0.1))
    assert predict(c, 300, 3).seconds == pytest.approx(10 + 2 * (2 + 100 * 0.1))
    slow = c.model_copy(update={"imbalance": 1.5})
    assert predict(slow, 400, 4).seconds == pytest.approx(10 + 2 * (2 + 100 * 0.1 * 1.5))


@given(
    frames=st.integers(1, 5000),
    wanted=st.integers(1, 64),
    rate=st.sampled_from(["1", "30", "30000/1001", "60"]),
)
def test_the_largest_chunk_is_the_one_that_the_render_cuts(frames: int, wanted: int, rate: str) -> None:
    from fractions import Fraction

    ranges = chunk_ranges(frames, Fraction(rate), wanted)
    count, largest = largest_chunk(frames, wanted, segment_frames(Fraction(rate)))
    assert count == len(ranges)
    longest = max(stop - start for start, stop in ranges)
    # The render may put a last, shorter segment into a largest chunk.
    assert longest <= largest < longest + segment_frames(Fraction(rate))


def test_cost_is_of_workers_and_of_the_call_that_waits_for_them() -> None:
    c = known(chunk_fixed_s=2.0, rates=RATES)
    found = predict(c, 400, 4)
    assert found.usd == pytest.approx(0.001 * (4 * 2 + 40) + 0.0001 * found.seconds)
    assert predict(known(), 400, 4).usd is None


def test_a_whole_clip_is_paid_by_its_own_machine_and_a_part_by_a_chunks() -> None:
    rates = RATES.model_copy(update={"whole_usd_per_s": 0.004, "orchestrator_usd_per_s": 0.0})
    c = known(chunk_fixed_s=2.0, rates=rates)
    assert predict(c, 400, 1).usd == pytest.approx(0.004 * (2 + 40))
    assert predict(c, 400, 2).usd == pytest.approx(0.001 * (2 * 2 + 40))
    # Two chunks of a clip of one segment are one call with the whole of it.
    assert predict(c.model_copy(update={"segment_frames": 400}), 400, 2).usd == pytest.approx(0.004 * 42)


def test_a_fixed_cost_that_could_not_be_told_is_taken_as_paid_by_every_worker() -> None:
    c = known(not_determined=("chunk_fixed_s",), join_s_per_chunk=3.0)
    assert predict(c, 400, 4).gpu_seconds == pytest.approx(4 * (10 + 3) + 40)
    assert predict(c, 400, 2).gpu_seconds == pytest.approx(2 * (10 + 3) + 40)
    assert predict(c, 400, 1).gpu_seconds == pytest.approx(10 + 40)


def test_the_interval_adds_what_is_unknown_of_the_parameters_to_the_spread_of_a_run() -> None:
    c = known(covariance=((1e-4, 0.0), (0.0, 4.0)), relative_sd=0.1, t95=2.0, rates=RATES)
    found = predict(c, 100, 1)
    wide = 2 * ((100**2 * 1e-4 + 4) + (0.1 * 20) ** 2) ** 0.5
    assert (found.low, found.high) == (pytest.approx(20 - wide), pytest.approx(20 + wide))
    assert found.usd is not None
    assert found.usd_low is not None
    assert found.usd_high is not None
    # Start-up is waited for by the call that spreads, and paid by nobody else.
    per_frame, start = 0.001 * 100 + 0.0001 * 100, 0.0001
    usd = per_frame * 0.1 + start * 10
    wide = 2 * ((per_frame**2 * 1e-4 + start**2 * 4) + (0.1 * usd) ** 2) ** 0.5
    assert (found.usd_low, found.usd_high) == (pytest.approx(usd - wide), pytest.approx(usd + wide))


def test_no_run_is_expected_to_take_or_cost_less_than_nothing() -> None:
    c = known(covariance=((1e-2, 0.0), (0.0, 400.0)), relative_sd=0.5, t95=4.0, rates=RATES)
    found = predict(c, 100, 1)
    assert (found.low, found.usd_low) == (0, 0)


def test_what_two_parameters_share_counts_in_the_interval() -> None:
    """x' C x with a covariance between them: they err together, or make up for each other."""
    errors = {
        sign: predict(
            known(covariance=((1e-4, sign * 0.01), (sign * 0.01, 4.0)), relative_sd=0.0, t95=1.0), 100, 1
        )
        for sign in (-1, 1)
    }
    for sign, found in errors.items():
        wide = (100**2 * 1e-4 + 2 * sign * 0.01 * 100 + 4) ** 0.5
        assert found.high == pytest.approx(20 + wide)


def test_without_degrees_of_freedom_there_is_no_interval() -> None:
    found = predict(known(), 100, 2)
    assert (found.low, found.high) == (None, None)
    assert difference(known(), 100, 2, 1)[1:] == (None, None)


def test_the_difference_of_two_counts_forgets_what_they_share() -> None:
    c = known(covariance=((0.0, 0.0), (0.0, 1e6)), relative_sd=0.1, t95=2.0)
    gain, low, high = difference(c, 400, 4, 1)
    assert gain == low == high == pytest.approx(30)
    unsure = known(covariance=((1e-4, 0.0), (0.0, 1e6)), relative_sd=0.1, t95=2.0)
    gain, low, high = difference(unsure, 400, 4, 1)
    assert (low, high) == (pytest.approx(30 - 2 * 300 * 0.01), pytest.approx(30 + 2 * 300 * 0.01))
    assert difference(unsure, 400, 1, 4)[0] == pytest.approx(-30)


def test_what_lies_outside_of_the_measurements_is_said() -> None:
    assert predict(known(), 500, 8).extrapolated == ()
    assert predict(known(), 1000, 1).extrapolated == predict(known(), 100, 8).extrapolated == ()
    assert predict(known(), 5000, 16).extrapolated == (
        "5000 frames: measured were 100 to 1000",
        "16 chunks: measured were 1 to 8",
    )


def test_coefficients_go_through_json() -> None:
    c = known(covariance=((1.0, 0.5), (0.5, 2.0)), relative_sd=0.1, t95=2.0, rates=RATES)
    assert predict(Coefficients.model_validate_json(c.model_dump_json()), 321, 3) == predict(c, 321, 3)


@pytest.mark.parametrize(("frames", "chunks"), [(0, 1), (10, 0)])
def test_no_work_is_refused(frames: int, chunks: int) -> None:
    with pytest.raises(BadInput, match="is no work"):
        predict(known(), frames, chunks)


def test_predicting_and_planning_import_no_scipy_and_no_pandas() -> None:
    code = (
        "import sys, video_pipeline.costs.plan, video_pipeline.costs.predict, video_pipeline.costs.in_use;"
        "assert not {'scipy', 'pandas', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_clip_that_ends_within_a_segment_is_as_long_as_it_is_and_gets_the_chunks_that_it_has() -> None:
    """Of 100 frames in segments of 60: two, of which the second has 40."""
    c = known(segment_frames=60, chunks_range=(1, 2))
    assert predict(c, 100, 1).seconds == pytest.approx(10 + 0.1 * 100)
    found = predict(c, 100, 8)
    assert (found.chunks, found.extrapolated) == (2, ())

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from tests.costs.runs_made import RATES, known
from video_pipeline.costs import plan, thresholds
from video_pipeline.costs.plan import (
    auto_chunks,
    break_even,
    choose_chunks,
    get_dynamic_gpu_config,
    get_framing_ai_gpu_config,
    shipped_plan,
)
from video_pipeline.costs.predict import Coefficients, difference, predict
from video_pipeline.errors import BadInput, Internal

JOINED = {"chunk_fixed_s": 5.0, "join_s": 4.0, "join_s_per_chunk": 1.0, "rates": RATES}


@pytest.mark.parametrize(("frames", "fastest"), [(100, 1), (200, 2), (1000, 8)])
def test_the_fastest_choice_is_the_minimum_of_all(frames: int, fastest: int) -> None:
    c = known(**JOINED)
    chosen = choose_chunks(c, frames, "fastest", tie=0.0)
    times = {n: predict(c, frames, n).seconds for n in range(1, 9)}
    assert times[chosen.chunks] == min(times.values())
    if frames != 200:
        assert chosen.chunks == fastest


def test_the_cheapest_choice_is_one_where_every_chunk_pays_a_start() -> None:
    assert choose_chunks(known(**JOINED), 1000, "cheapest").chunks == 1


@pytest.mark.parametrize(("whole", "cheapest"), [(0.00105, 2), (0.001004, 1)])
def test_a_cost_that_is_lower_by_half_a_per_cent_is_no_lower_cost(whole: float, cheapest: int) -> None:
    rates = RATES.model_copy(update={"whole_usd_per_s": whole, "orchestrator_usd_per_s": 0.0})
    assert choose_chunks(known(rates=rates), 1000, "cheapest").chunks == cheapest


def test_auto_takes_no_count_that_costs_a_fifth_more_than_one_call() -> None:
    c = known(**JOINED)
    assert choose_chunks(c, 400, "fastest", counts=(1, 2, 4)).chunks == 4
    assert auto_chunks(c, 400).chunks == 2
    assert auto_chunks(known(s_per_frame=1.0), 1000).chunks == 4, "and never more than four"


def test_one_call_is_always_among_what_is_looked_at() -> None:
    assert choose_chunks(known(**JOINED), 100, "cheapest", counts=(2, 4)).chunks == 1


def test_a_count_that_costs_just_as_much_more_as_it_may_is_taken() -> None:
    rates = RATES.model_copy(update={"orchestrator_usd_per_s": 0.0})
    c = known(startup_s=0.0, imbalance=1.2, rates=rates)
    assert choose_chunks(c, 1000, "fastest", dearer_by=0.2).chunks == 8
    assert choose_chunks(c, 1000, "fastest", dearer_by=0.199).chunks == 1


def test_the_limit_on_cost_is_held_against_one_call_even_where_several_are_cheaper() -> None:
    rates = RATES.model_copy(update={"whole_usd_per_s": 0.002, "orchestrator_usd_per_s": 0.0})
    c = known(chunk_fixed_s=5.0, rates=rates)
    costs = {n: predict(c, 1000, n).usd for n in (1, 2, 8)}
    assert costs[2] < costs[8] < costs[1]  # type: ignore[operator]
    assert choose_chunks(c, 1000, "fastest", dearer_by=0.0, tie=0.0).chunks == 8


def test_a_deadline_is_kept_where_the_prediction_keeps_it_whatever_its_interval() -> None:
    c = known(**JOINED, covariance=((1e-4, 0.0), (0.0, 4.0)), relative_sd=0.3, t95=2.0)
    single = predict(c, 100, 1)
    assert single.high is not None
    assert single.seconds < 26 < single.high
    chosen = choose_chunks(c, 100, "deadline", deadline_s=26)
    assert (chosen.chunks, chosen.met) == (1, True)


def test_tables_that_are_none_are_a_defect_that_says_how_to_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thresholds.json").write_text("{}")
    monkeypatch.setattr(plan, "files", lambda package: tmp_path)
    with pytest.raises(Internal, match="not a table of thresholds") as raised:
        shipped_plan.__wrapped__()
    assert raised.value.what_to_do == "run python -m video_pipeline.costs.thresholds"


def test_with_a_deadline_the_cheapest_that_keeps_it_is_chosen() -> None:
    c = known(**JOINED)
    chosen = choose_chunks(c, 1000, "deadline", deadline_s=60)
    cheaper = [option for option in chosen.others if option.usd < chosen.prediction.usd]  # type: ignore[operator]
    assert chosen.met
    assert chosen.prediction.seconds <= 60
    assert cheaper
    assert all(option.seconds > 60 for option in cheaper)


def test_a_deadline_that_nothing_keeps_gives_the_fastest_and_says_so() -> None:
    c = known(**JOINED)
    chosen = choose_chunks(c, 1000, "deadline", deadline_s=5)
    assert not chosen.met
    assert chosen.chunks == choose_chunks(c, 1000, "fastest").chunks
    assert "at most 5 s" in chosen.notes[0]


def test_counts_that_come_out_alike_go_to_the_fewest() -> None:
    flat = known(s_per_frame=1e-9)
    assert choose_chunks(flat, 1000, "fastest").chunks == 1
    # 10 + 100 / 9 s and 10 + 100 / 10 s are 6 % apart, / 19 and / 20 1.8 %.
    assert choose_chunks(known(), 1000, "fastest", max_chunks=10).chunks == 10
    assert choose_chunks(known(), 1000, "fastest", max_chunks=20).chunks == 19


def unsure(s_per_frame: float) -> Coefficients:
    """What a frame takes is known with that standard error, all else for certain."""
    return known(covariance=((s_per_frame**2, 0.0), (0.0, 0.0)), t95=2.0, run_sd=0.2, relative_sd=0.2)


def test_counts_are_alike_within_the_standard_error_of_their_mean_difference() -> None:
    between = (1 / 7 - 1 / 8) * 1000
    gap = predict(known(), 1000, 7).seconds - predict(known(), 1000, 8).seconds
    assert choose_chunks(unsure(0.99 * gap / between), 1000, "fastest").chunks == 8
    assert choose_chunks(unsure(1.01 * gap / between), 1000, "fastest").chunks < 8
    # The spread of single runs, 20 % here, does not matter: many runs make the mean sure all the same.
    assert choose_chunks(unsure(0.0), 1000, "fastest").chunks == 8


def test_a_limit_on_cost_holds_the_fastest_back() -> None:
    c = known(**JOINED)
    held = choose_chunks(c, 1000, "fastest", dearer_by=0.1, tie=0)
    one = predict(c, 1000, 1).usd
    assert one is not None
    assert held.prediction.usd is not None
    assert held.prediction.usd <= 1.1 * one
    assert 1 < held.chunks < choose_chunks(c, 1000, "fastest", tie=0).chunks


def test_no_choice_goes_beyond_what_was_measured_without_saying_so() -> None:
    c = known()
    assert choose_chunks(c, 1000, "fastest").chunks == 8
    assert choose_chunks(c, 1000, "fastest").notes == ()
    beyond = choose_chunks(c, 1000, "fastest", max_chunks=20, tie=0)
    assert beyond.chunks == 20
    assert any("20 chunks" in note for note in beyond.notes)
    assert any("50000 frames" in note for note in choose_chunks(c, 50_000, "fastest").notes)


def test_a_clip_gets_no_more_chunks_than_segments() -> None:
    assert choose_chunks(known(segment_frames=60), 120, "fastest").chunks == 2


def test_a_deadline_has_to_be_given() -> None:
    with pytest.raises(BadInput, match="no deadline"):
        choose_chunks(known(), 100, "deadline")


@pytest.mark.parametrize(
    ("named", "value"),
    [("max_chunks", 0), ("max_chunks", -3), ("tie", math.nan), ("tie", -0.1), ("dearer_by", math.nan)],
)
def test_a_number_that_is_none_is_refused_by_its_name(named: str, value: float) -> None:
    with pytest.raises(BadInput, match=str(value)) as refused:
        choose_chunks(known(), 1000, "fastest", **{named: value})  # type: ignore[arg-type]
    assert refused.value.input == named


@pytest.mark.parametrize("deadline", [0.0, -1.0, math.nan])
def test_a_deadline_in_the_past_is_none(deadline: float) -> None:
    with pytest.raises(BadInput, match="no deadline"):
        choose_chunks(known(), 1000, "deadline", deadline_s=deadline)


@pytest.mark.parametrize("wrong", [{"rate": 0.0}, {"rate": math.nan}, {"longest_s": math.inf}])
def test_no_break_even_is_looked_for_without_a_length(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match=r"is (0|nan|inf)") as refused:
        break_even(known(), 2, **wrong)  # type: ignore[arg-type]
    assert refused.value.input in wrong


def test_a_deadline_that_is_just_kept_is_kept() -> None:
    c = known(**JOINED)
    exactly = predict(c, 1000, 4).seconds
    assert choose_chunks(c, 1000, "deadline", deadline_s=exactly).chunks <= 4
    assert choose_chunks(c, 1000, "deadline", deadline_s=exactly).met
    assert choose_chunks(c, 1000, "deadline", deadline_s=exactly - 1e-6).chunks > 4


def test_one_chunk_at_most_is_one() -> None:
    assert choose_chunks(known(), 1000, "fastest", max_chunks=1).chunks == 1


def test_a_wild_spread_calls_nothing_alike_that_takes_twice_as_long() -> None:
    """Ties end at three tenths, however little the runs agree."""
    wild = unsure(10.0).model_copy(update={"startup_s": 0.0})
    chosen = choose_chunks(wild, 1000, "fastest")
    assert chosen.prediction.seconds <= 1.3 * predict(wild, 1000, 8).seconds
    assert chosen.chunks == 7


def test_a_deadline_below_a_second_is_one() -> None:
    c = known(startup_s=0.1, s_per_frame=0.001)
    assert choose_chunks(c, 500, "deadline", deadline_s=0.5).met
    assert not choose_chunks(c, 500, "deadline", deadline_s=0.01).met


def test_break_even_is_where_the_two_times_cross() -> None:
    """10 + 0.1 F against 10 + 0.05 F + 4 + 2: equal at 120 frames."""
    c = known(join_s=4.0, join_s_per_chunk=1.0, segment_frames=1)
    found = break_even(c, 2, rate=30, longest_s=60)
    assert found.frames == 121 or (found.frames == 122)
    assert found.seconds == pytest.approx(found.frames / 30)
    assert predict(c, 124, 2).seconds < predict(c, 124, 1).seconds
    assert predict(c, 118, 2).seconds > predict(c, 118, 1).seconds


def test_break_even_in_cost_is_never_where_chunks_only_add_to_it() -> None:
    c = known(**{**JOINED, "rates": RATES.model_copy(update={"orchestrator_usd_per_s": 0.0})})
    assert break_even(c, 4, by="usd", longest_s=600).frames is None
    assert break_even(c, 4, by="time", longest_s=600).frames is not None


def test_break_even_says_from_where_it_is_sure() -> None:
    c = known(
        join_s=4.0,
        terms=("s_per_frame", "join_s"),
        covariance=((1e-5, 0.0), (0.0, 4.0)),
        relative_sd=0.05,
        t95=2.0,
        segment_frames=10,
    )
    found = break_even(c, 2, longest_s=120)
    assert found.frames is not None
    assert found.sure_frames is not None
    assert found.sure_frames > found.frames
    sure, doubtful = (difference(c, found.sure_frames - less, 2, 1)[1] for less in (0, 10))
    assert sure is not None
    assert doubtful is not None
    assert doubtful <= 0 < sure < 1, "the first segment at which the interval leaves 0 out"


def test_it_is_sure_from_where_on_every_longer_clip_is() -> None:
    """Segments of 10 frames in two chunks, and a join that grows with the clip: it gains 6, 4, 12, 10, 18 ...
    seconds at 20, 30, 40, 50, 60 ... frames, known to within 5."""
    c = known(
        s_per_frame=1.0,
        join_s_per_frame=0.2,
        segment_frames=10,
        terms=("s_per_frame", "join_s"),
        covariance=((0.0, 0.0), (0.0, 6.25)),
        relative_sd=0.05,
        t95=2.0,
    )
    gains = [difference(c, frames, 2, 1) for frames in (20, 30, 40)]
    assert [(gain, low) for gain, low, _ in gains] == [(6, 1), (4, -1), (12, 7)]
    found = break_even(c, 2, longest_s=60)
    assert (found.frames, found.sure_frames) == (20, 40)


def test_one_chunk_has_no_break_even() -> None:
    with pytest.raises(BadInput, match="nothing to break even"):
        break_even(known(), 1)


# The tables


def test_the_tables_are_what_the_command_makes() -> None:
    assert thresholds.FILE.read_text(encoding="utf-8") == thresholds.render()


def test_every_length_finds_its_row() -> None:
    table = plan.FRAMING_AI_GPU_THRESHOLDS
    borders = sorted(table)
    assert borders[-1] == math.inf
    for below, after in itertools.pairwise(borders):
        assert get_framing_ai_gpu_config(below - 0.01) == table[below]
        assert get_framing_ai_gpu_config(below) == table[after]
    assert get_framing_ai_gpu_config(0)[0] == 1
    assert [table[border][0] for border in borders] == sorted(table[border][0] for border in borders)


def test_the_longest_clips_get_the_four_chunks_that_were_published_as_the_most() -> None:
    assert get_framing_ai_gpu_config(15.0) == (4, "4-gpu-parallel")
    assert get_framing_ai_gpu_config(1e5)[0] == thresholds.MOST_FRAMING


def test_an_overlay_stays_in_one_call() -> None:
    table = plan.GPU_CONFIG_THRESHOLDS
    assert table == {math.inf: (1, "sequential")}


@pytest.mark.parametrize("duration", [-1.0, math.nan, math.inf])
def test_what_is_no_length_is_refused(duration: float) -> None:
    with pytest.raises(BadInput, match="no length"):
        get_framing_ai_gpu_config(duration)


@pytest.mark.parametrize("duration", [1.0, 5.0, 15.0])
def test_peak_hours_double_up_to_eight_and_others_halve(duration: float) -> None:
    base, _ = get_framing_ai_gpu_config(duration)
    assert get_dynamic_gpu_config(duration, True) == (
        min(2 * base, 8),
        f"{2 * base}-gpu-parallel-peak",
    )
    chunks, said = get_dynamic_gpu_config(duration, False)
    assert chunks == max(1, base // 2)
    assert said.endswith("-off-peak")


def test_peak_hours_never_take_more_than_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (plan.Row(below_s=None, chunks=8, description="8-gpu-parallel"),)
    shipped = shipped_plan()
    many = shipped.model_copy(update={"framing_ai": shipped.framing_ai.model_copy(update={"rows": rows})})
    monkeypatch.setattr(plan, "shipped_plan", lambda: many)
    assert get_dynamic_gpu_config(15.0, True) == (8, "8-gpu-parallel-peak")
    assert get_dynamic_gpu_config(15.0, False) == (4, "4-gpu-parallel-off-peak")


def test_the_plan_names_the_coefficients_it_came_from() -> None:
    (c,) = shipped_plan().coefficients
    assert (c.task, c.gpu, c.source, c.enlarged) == ("process_framing_ai", "T4", "published", True)
    assert c.rates is not None
    assert c.segment_frames == 60
    assert plan.shipped_coefficients("process_framing_ai", "T4") == c
    assert plan.shipped_coefficients("process_framing_ai", "H100") is None


def test_a_name_that_is_no_table_is_no_attribute() -> None:
    with pytest.raises(AttributeError):
        _ = plan.NO_SUCH_TABLE

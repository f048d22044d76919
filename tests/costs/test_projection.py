"""A month's cost: against sums by hand, against its own definition of an interval, and from a real ledger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.costs.ledgers import enter
from tests.costs.runs_made import known
from video_pipeline.costs.ledger import load
from video_pipeline.costs.mix import DAYS, Mix, Workload, mix_of, read_mix
from video_pipeline.costs.predict import Coefficients, predict
from video_pipeline.costs.projection import project
from video_pipeline.costs.refit import rates_of
from video_pipeline.errors import BadInput
from video_pipeline.store.directory import DirectoryStore


def coefficients(**fields: Any) -> Coefficients:
    """Of a task with prices: 10 s and 0.1 s a frame, known to within a tenth and a quarter of a second."""
    facts = {
        "task": "render_overlay",
        "gpu": None,
        "chunks_range": (1, 1),
        "covariance": ((1e-4, 0.0), (0.0, 0.0625)),
        "run_sd": 0.1,
        "relative_sd": 0.1,
        "degrees": 10,
        "t95": 2.23,
    }
    return known(**{**facts, **fields})


def mix(**fields: Any) -> Mix:
    facts = {"task": "render_overlay", "per_month": 100, "duration_s": 20.0}
    return Mix(workloads=(Workload.model_validate({**facts, **fields}),))


def test_a_month_is_calls_times_what_one_is_predicted_to_cost() -> None:
    c = coefficients()
    one = predict(c.model_copy(update={"rates": rates_of(c.task, c.gpu)}), 600, 1)
    found = project(mix(), [c])
    assert one.usd is not None
    assert found.usd == pytest.approx(100 * one.usd)
    assert found.rows["machine_hours"].tolist() == [pytest.approx(100 * one.gpu_seconds / 3600)]
    assert found.usd_low is not None
    assert found.usd_high is not None
    assert found.usd_low < found.usd < found.usd_high


def test_chunks_are_priced_term_by_term_as_predict_prices_them() -> None:
    c = coefficients(
        task="process_framing_ai",
        gpu="T4",
        terms=(
            "s_per_frame",
            "startup_s",
            "chunk_fixed_s",
            "extra_s_per_frame",
            "join_s",
            "join_s_per_chunk",
        ),
        chunk_fixed_s=2.0,
        imbalance=1.3,
        join_s=1.5,
        join_s_per_chunk=0.4,
        chunks_range=(1, 8),
        covariance=None,
    )
    one = predict(c.model_copy(update={"rates": rates_of(c.task, c.gpu)}), 600, 4)
    found = project(mix(task="process_framing_ai", chunks=4), [c])
    assert one.usd is not None
    assert found.usd == pytest.approx(100 * one.usd)
    assert (found.usd_low, found.usd_high) == (None, None)
    assert "No interval" in found.markdown()


def test_equal_seeds_give_equal_intervals_and_others_nearly_so() -> None:
    c = coefficients()
    first, again, other = (project(mix(), [c], seed=seed) for seed in (1, 1, 2))
    assert (first.usd_low, first.usd_high) == (again.usd_low, again.usd_high)
    assert other.usd_low != first.usd_low
    assert other.usd_low == pytest.approx(first.usd_low, rel=0.05)


def test_a_model_that_is_surer_gives_a_narrower_interval_and_the_row_says_what_makes_it_wide() -> None:
    vague = coefficients(covariance=((1e-3, 0.0), (0.0, 1.0)), relative_sd=0.3)
    certain = coefficients(covariance=((1e-12, 0.0), (0.0, 1e-12)), run_sd=1e-6, relative_sd=1e-6)
    wide, narrow = project(mix(), [vague]), project(mix(), [certain])
    spans = [np.ptp(np.percentile(found.draws, [2.5, 97.5])) for found in (wide, narrow)]
    assert spans[0] > 2 * spans[1]
    assert wide.rows["interval_from"].tolist() == ["model"]
    assert narrow.rows["interval_from"].tolist() == ["mix"]
    # What is left is the number of calls: Poisson, +- 1.96 / sqrt(100).
    assert narrow.usd_low == pytest.approx(narrow.usd * (1 - 0.196), rel=0.05)


def test_workloads_of_one_task_share_the_models_error_so_the_sum_is_no_surer_than_its_parts() -> None:
    vague = coefficients(covariance=((1e-3, 0.0), (0.0, 1.0)), relative_sd=0.3)
    workloads = mix(per_month=10_000).workloads
    one, twice = project(Mix(workloads=workloads), [vague]), project(Mix(workloads=workloads * 2), [vague])
    assert np.std(twice.draws) / np.mean(twice.draws) == pytest.approx(
        np.std(one.draws) / np.mean(one.draws), rel=0.05
    )


def test_a_regions_factor_multiplies_everything() -> None:
    c = coefficients()
    plain, dear = project(mix(), [c]), project(mix(), [c], region_factor=1.5)
    assert dear.usd == pytest.approx(1.5 * plain.usd)
    assert plain.usd_high is not None
    assert dear.usd_high == pytest.approx(1.5 * plain.usd_high)
    assert "region factor 1.5" in dear.markdown()


def test_a_row_is_of_the_machine_and_rate_that_were_said_and_tells_what_one_call_costs() -> None:
    """A T4's model beside an L4's of twice the seconds; clips of 10 s and 40 s at 25 frames a second."""
    frames = {"frames_range": (300, 1000), "task": "process_multi_clip"}
    known = [
        coefficients(gpu="T4", **frames),
        coefficients(gpu="L4", s_per_frame=0.2, startup_s=20.0, **frames),
        coefficients(gpu="L4", backend="local", s_per_frame=7.0, **frames),
    ]
    said = {"duration_s": None, "durations_s": (10.0, 40.0), "fps": 25.0, "task": "process_multi_clip"}
    found = project(mix(**said, gpu="L4", backend="modal", failed_part=0.25), known, draws=50)
    (row,) = found.rows.to_dict("records")
    c = known[1].model_copy(update={"rates": rates_of("process_multi_clip", "L4")})
    short, long = (predict(c, count, 1) for count in (250, 1000))
    assert short.usd is not None
    assert long.usd is not None
    assert (row["gpu"], row["seconds_mean"], row["frames_mean"], row["chunks"]) == ("L4", 25, 625, "1")
    assert row["usd_per_call"] == pytest.approx(1.25 * (short.usd + long.usd) / 2)
    assert row["usd"] == pytest.approx(100 * row["usd_per_call"])
    assert row["notes"] == "1 of 2 lengths lie outside of what was measured."
    assert f"| {row['usd_per_call']:.5f} | " in found.markdown()
    (alone,) = project(mix(**said, backend="local"), known, draws=50).rows["notes"]
    assert alone.endswith("Seconds of a machine of one's own at Modal's prices: no forecast of Modal.")


def test_chunks_are_the_models_choice_for_each_length_unless_they_are_said() -> None:
    c = coefficients(
        task="process_framing_ai", gpu="T4", chunks_range=(1, 4), startup_s=0.0, chunk_fixed_s=20.0,
        terms=("s_per_frame", "chunk_fixed_s"),
    )  # fmt: skip
    said = {"task": "process_framing_ai", "duration_s": None, "durations_s": (60.0, 1.0)}
    for chunks, shown in ((None, "1 to 4"), (2, "2")):
        assert project(mix(**said, chunks=chunks), [c], draws=50).rows["chunks"].tolist() == [shown]


def test_an_interval_that_neither_makes_alone_is_said_to_come_from_both() -> None:
    """The model's error is 10 %, and so is that of a hundred calls."""
    both = coefficients(covariance=((0.0, 0.0), (0.0, 0.0)), run_sd=0.0, relative_sd=0.1)
    assert project(mix(), [both]).rows["interval_from"].tolist() == ["model and mix"]


def test_no_draw_of_a_coefficient_lies_below_nothing() -> None:
    """A fixed cost of which nothing is known but its mean: half of the months have the work alone."""
    facts = {"terms": ("s_per_frame", "chunk_fixed_s"), "startup_s": 0.0, "degrees": 1000}
    sure = {"run_sd": 0.0, "relative_sd": 0.0, "covariance": ((0.0, 0.0), (0.0, 1e8))}
    vague = coefficients(**facts, **sure, chunk_fixed_s=10.0)
    work = project(mix(per_month=1e6), [coefficients(**facts)], draws=50).usd
    found = project(mix(per_month=1e6), [vague], draws=400)
    assert float(np.min(found.draws)) == pytest.approx(work, rel=0.01)
    assert 0.4 < float(np.mean(found.draws < 1.01 * work)) < 0.6


def test_a_thousand_lengths_cost_what_they_do_one_by_one() -> None:
    lengths = tuple(float(seconds) for seconds in range(1, 1001))
    found = project(mix(duration_s=None, durations_s=lengths), [coefficients()], draws=50)
    assert found.rows["seconds_mean"].tolist() == [pytest.approx(500.5)]
    assert found.usd == pytest.approx(
        project(mix(duration_s=500.5), [coefficients()], draws=50).usd, rel=1e-3
    )


def test_a_machine_without_a_price_is_named_and_costs_no_nothing() -> None:
    with pytest.raises(BadInput, match="no price is known of render_overlay on X99") as error:
        project(mix(), [coefficients(gpu="X99")], draws=50)
    assert error.value.input == "render_overlay"


@pytest.mark.parametrize(
    ("said", "mean", "low", "high"),
    [
        ({"duration_s": 20.0, "duration_sd_s": 10.0}, 20, 4, 60),
        ({"duration_s": None, "duration_from_s": 10.0, "duration_to_s": 30.0}, 20, 10, 30),
        ({"duration_s": None, "durations_s": (5.0, 5.0, 50.0)}, 20, 5, 50),
    ],
)
def test_lengths_are_as_said(said: dict[str, Any], mean: float, low: float, high: float) -> None:
    lengths = mix(**said).workloads[0].lengths(60)
    assert lengths.mean() == pytest.approx(mean)
    assert low <= lengths.min() < lengths.max() <= high


def test_lengths_that_differ_have_the_mean_and_the_standard_deviation_that_were_said() -> None:
    lengths = mix(duration_s=20.0, duration_sd_s=10.0).workloads[0].lengths(20_000)
    assert (lengths.mean(), lengths.std()) == (pytest.approx(20), pytest.approx(10, rel=0.01))


def test_long_clips_weigh_as_much_as_they_cost() -> None:
    found = project(mix(duration_s=None, durations_s=(5.0, 35.0)), [coefficients()])
    assert found.usd == pytest.approx(project(mix(), [coefficients()]).usd)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("{", "mix.json", "Expecting"),
        ('{"workloads": []}', "mix.json", "at least 1"),
        ('[{"task": "t", "per_month": 5}]', "mix.json", "say how long clips are"),
        ('[{"task": "t", "per_month": -5, "duration_s": 2}]', "mix.json", "greater than 0"),
        ('[{"task": "t", "per_month": 5, "duration": 2}]', "mix.json", "duration"),
        (
            '[{"task": "t", "per_month": 5, "duration_s": 2, "values_usd": [1]}]',
            "mix.json",
            "from the ledger",
        ),
        ("[" * 100_000, "mix.json", "recursion"),
        ('[{"task": "t", "per_month": 5, "duration_s": 2, "daily": [1]}]', "mix.json", "from the ledger"),
        ('[{"task": "t", "per_month": 5, "duration_s": 2, "durations_s": [1]}]', "mix.json", "in one way"),
        (
            '[{"task": "t", "per_month": 5, "duration_from_s": 3, "duration_to_s": 2}]',
            "mix.json",
            "the shorter first",
        ),
        (
            '[{"task": "t", "per_month": 5, "durations_s": [1], "duration_sd_s": 2}]',
            "mix.json",
            "goes with duration_s",
        ),
        ("task,per_month,duration_s\nt,5,3,4\n", "mix.csv", "line 2"),
        ("task,per_month,duration_s\nt,5\n", "mix.csv", "line 2"),
        ("task,per_month,duration_s\nt,many,3\n", "mix.csv", "per_month"),
    ],
)
def test_a_wrong_mix_is_refused_with_its_file_and_what_is_wrong(
    tmp_path: Path, text: str, name: str, said: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadInput, match="not a mix of workloads") as error:
        read_mix(path)
    assert said in str(error.value)
    assert error.value.input == str(path)


def test_json_and_csv_say_the_same(tmp_path: Path) -> None:
    rows = [{"task": "render_overlay", "per_month": 40, "duration_s": 12.5}]
    (tmp_path / "a.json").write_text(json.dumps({"workloads": rows}))
    (tmp_path / "a.csv").write_text("task,per_month,duration_s,gpu\nrender_overlay,40,12.5,\n")
    # As spreadsheets write them: with a mark at the beginning, and blanks.
    (tmp_path / "B.CSV").write_text("task, per_month,duration_s\nrender_overlay , 40,12.5\n", "utf-8-sig")
    assert read_mix(tmp_path / "a.json") == read_mix(tmp_path / "a.csv") == read_mix(tmp_path / "B.CSV")


def test_a_task_that_nothing_is_known_of_is_named() -> None:
    with pytest.raises(BadInput, match="nothing was measured of detect_players"):
        project(mix(task="detect_players"), [coefficients()])


# From a ledger


def enter_job(
    store: DirectoryStore, number: int, day: int, *, frames: int = 300, wall_s: float = 40.0
) -> None:
    enter(store, number, day=day, usage={"wall_s": wall_s, "frames": frames, "video_seconds": frames / 30})


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def test_the_ledgers_mix_is_its_jobs_by_day_with_their_lengths(store: DirectoryStore) -> None:
    for number, day in enumerate((0, 0, 0, 9)):
        enter_job(store, number, day, frames=300 + 30 * number)
    enter(store, 10, day=1, status="error", error_kind="internal", usage={"wall_s": 40.0})
    enter(store, 11, day=1, parent=f"{0:032x}", task="detect_players", usage={"wall_s": 40.0})
    (workload,) = mix_of(load(store)).workloads
    assert workload.task == "render_overlay"
    assert workload.daily == (3, 0, 0, 0, 0, 0, 0, 0, 0, 1)
    assert workload.per_month == pytest.approx(4 / 10 * DAYS)
    assert sorted(workload.durations_s) == [10, 11, 12, 13]
    assert workload.fps == 30
    assert workload.failed_part == pytest.approx(40 / (40 * 4 + 40), rel=1e-6)


def test_a_clip_whose_frame_rate_is_another_is_as_long_as_its_frames_take_at_the_usual_one(
    store: DirectoryStore,
) -> None:
    """A model knows frames: 600 of them are twice the work of 300, whatever their rate."""
    for number in range(3):
        enter_job(store, number, 0)
    usage = {"wall_s": 40.0, "frames": 600, "video_seconds": 10.0}
    enter(store, 3, usage=usage)
    (workload,) = mix_of(load(store)).workloads
    assert (workload.fps, sorted(workload.durations_s)) == (30, [10, 10, 10, 20])


def test_what_failed_at_home_counts_at_modals_prices_like_what_went_well(store: DirectoryStore) -> None:
    for number, status in enumerate(("ok", "ok", "error")):
        failed: dict[str, Any] = {} if status == "ok" else {"error_kind": "internal"}
        usage = {"wall_s": 40.0, "frames": 300, "video_seconds": 10.0}
        enter(store, number, backend="local", status=status, usage=usage, **failed)
    (workload,) = mix_of(load(store)).workloads
    assert workload.failed_part == pytest.approx(0.5)


def test_a_chunk_whose_starter_left_no_entry_is_no_job_of_the_mix(store: DirectoryStore) -> None:
    enter_job(store, 1, 0)
    enter(store, 2, day=5, task="process_framing_ai_chunk", parent="f" * 32, usage={"frames": 300})
    found = mix_of(load(store))
    assert [workload.task for workload in found.workloads] == ["render_overlay"]
    assert found.workloads[0].daily == (1,)
    assert found.source == "the ledger's jobs from 2026-11-02 to 2026-11-02 (UTC)"


def test_what_no_model_foretells_costs_what_it_did(store: DirectoryStore) -> None:
    for number in range(20):
        enter_job(store, number, number, wall_s=30.0 + number)
    rows: Any = load(store)
    found = project(mix_of(rows), [])
    assert found.usd == pytest.approx(float(rows["usd"].sum()) / 20 * DAYS)
    assert "what 20 jobs cost" in found.markdown()
    assert "Seen were" not in found.markdown()


def test_a_model_that_errs_much_gives_way_to_what_jobs_cost(store: DirectoryStore) -> None:
    for number in range(8):
        enter_job(store, number, number)
    found = mix_of(load(store))
    trusted = project(found, [coefficients(held_out_error=0.05)])
    doubted = project(found, [coefficients(held_out_error=0.6)])
    assert trusted.rows["basis"].tolist()[0].startswith("model")
    assert doubted.rows["basis"].tolist()[0].startswith("what 8 jobs")


def test_the_interval_from_a_ledger_knows_how_uneven_days_are(store: DirectoryStore) -> None:
    """A month of 30 days drawn from days that are themselves drawn from 14: the variance of the number of
    calls is that of 30 draws, and that of the mean of 14 times 30 squared."""
    number = 0
    for day in range(14):
        for _ in range(1 + 7 * (day % 7 == 6)):
            enter_job(store, number, day)
            number += 1
    found = project(mix_of(load(store)), [])
    (workload,) = mix_of(load(store)).workloads
    variance = float(np.var(workload.daily))
    calls = found.draws / workload.values_usd[0]
    assert np.mean(calls) == pytest.approx(30 * np.mean(workload.daily), rel=0.03)
    assert np.std(calls) == pytest.approx(np.sqrt(variance * (30 * (1 - 1 / 14) + 30**2 / 14)), rel=0.05)


def test_few_days_are_said(store: DirectoryStore) -> None:
    enter_job(store, 1, 0)
    found = project(mix_of(load(store)), [])
    assert "1 of the 7 days" in found.markdown()
    assert found.usd_low is not None
    assert found.usd_low < found.usd, "one day tells nothing of how days differ; calls at least are random"


def test_an_empty_ledger_has_no_mix(store: DirectoryStore) -> None:
    with pytest.raises(BadInput, match="no job that ended well"):
        mix_of(load(store))


def test_a_ledger_of_failures_alone_has_no_mix(store: DirectoryStore) -> None:
    enter(store, 1, status="error", error_kind="internal")
    with pytest.raises(BadInput, match="no job that ended well"):
        mix_of(load(store))


def test_where_no_price_is_known_failures_add_nothing_to_what_the_model_says(store: DirectoryStore) -> None:
    gpu = {"gpu_type": "a GPU without a price", "gpu_seconds": 5.0}
    enter(store, 1, usage={"frames": 300, "video_seconds": 10.0, **gpu})
    enter(store, 2, usage=gpu, status="error", error_kind="internal")
    (workload,) = mix_of(load(store)).workloads
    assert (workload.failed_part, workload.values_usd, workload.durations_s) == (0.0, (), (10.0,))


def test_a_job_that_nothing_prices_is_left_out_by_name_and_takes_no_other_one_with_it(
    store: DirectoryStore,
) -> None:
    """A task of an installation's own, that tells how long its video was; and one that does not."""
    enter_job(store, 1, 0)
    usage = {"frames": 300, "video_seconds": 10.0}
    for number, task, told in ((2, "tells", usage), (3, "tells", usage), (4, "is_silent", {})):
        enter(store, number, task=task, backend="local", usage=told)
    found = project(mix_of(load(store)), [], draws=50)
    assert found.rows["task"].tolist() == ["render_overlay"]
    silent, tells = found.left_out
    assert silent == "1 job of is_silent (local): neither a length nor a price is known"
    assert tells.startswith("2 jobs of tells (local): nothing was measured of tells")
    assert found.markdown().endswith(f"- **Left out**: {silent}.\n- **Left out**: {tells}.\n")


@pytest.mark.parametrize("usage", [{}, {"frames": 300, "video_seconds": 10.0}])
def test_a_ledger_of_jobs_that_nothing_prices_has_no_month(
    store: DirectoryStore, usage: dict[str, Any]
) -> None:
    enter(store, 1, task="of_an_installation", backend="local", usage=usage)
    with pytest.raises(BadInput, match="1 job of of_an_installation") as error:
        project(mix_of(load(store)), [], draws=50)
    assert error.value.input == "ledger"


def test_jobs_whose_lengths_are_not_known_cost_what_they_did_though_there_is_a_model(
    store: DirectoryStore,
) -> None:
    for number in range(8):
        enter(store, number, day=number, usage={"frames": 300})
    (row,) = project(mix_of(load(store)), [coefficients(held_out_error=0.05)]).rows.to_dict("records")
    assert row["basis"].startswith("what 8 jobs")
    assert np.isnan(row["seconds_mean"])

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
    assert read_mix(tmp_path / "a.json") == read_mix(tmp_path / "a.csv")


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

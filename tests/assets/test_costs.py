"""The cost assets on a real instance: over a ledger of entries, over real local calls, and over nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.costs.ledgers import enter, enter_runs
from tests.costs.test_refit import foretold, series
from video_pipeline.compute import open_compute
from video_pipeline.compute.follow import run_call
from video_pipeline.costs.ledger import load
from video_pipeline.costs.stored import current, read_models, read_plan
from video_pipeline.definitions import build_definitions
from video_pipeline.settings import load_settings
from video_pipeline.store.base import ObjectStore

ASSETS = ("usage_ledger", "cost_model", "gpu_plan", "cost_projection")


def run(
    instance: dg.DagsterInstance, folder: Path, *, raises: bool = True
) -> tuple[dg.ExecuteInProcessResult, dict[str, dict[str, Any]]]:
    """The job's result, and what each asset shows. `folder` has the results of experiments."""
    job = build_definitions().resolve_job_def("account_costs")
    config = {"ops": {"cost_model": {"config": {"experiments_folder": str(folder)}}}}
    result = job.execute_in_process(instance=instance, raise_on_error=raises, run_config=config)
    made = [
        event.step_materialization_data.materialization for event in result.get_asset_materialization_events()
    ]
    return result, {
        one.asset_key.to_user_string(): {name: value.value for name, value in one.metadata.items()}
        for one in made
    }


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (found,) = result.get_asset_check_evaluations()
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "results"
    path.mkdir()
    return path


def test_a_month_of_calls_goes_through_all_four_assets(
    instance: dg.DagsterInstance, store: ObjectStore, folder: Path
) -> None:
    enter_runs(store)
    enter(store, 80, status="error", error_kind="timeout")
    series(folder)
    result, shown = run(instance, folder)
    assert tuple(shown) == ASSETS

    ledger = shown["usage_ledger"]
    assert (ledger["rows"], ledger["new_rows"], ledger["unreadable"], ledger["found_dead"]) == (13, 13, 0, 0)
    assert ledger["entered_late"] == 0
    assert "| render_overlay | 13 | 1 |" in ledger["cost_by_task"]
    assert "timeout" in ledger["latest_attempts"]
    rows: Any = load(store)
    assert ledger["spent_usd"] == pytest.approx(float(rows["usd"].sum()), abs=1e-5)
    assert ledger["cost_by_day"].startswith("![cost by day](data:image/jpeg")

    model = shown["cost_model"]
    assert (model["models"], model["fitted"]) == (2, 1)
    assert "12 (ledger, 2026-11-13)" in model["coefficients"]
    assert "6 (published" in model["coefficients"]
    assert model["measured_and_predicted"].startswith("![")
    models = read_models(store)
    assert models is not None
    assert [found.coefficients.source for found in models.models] == ["ledger", "experiments"]

    plan = read_plan(store)
    assert plan is not None
    assert plan.made_by == "job account_costs"
    assert {c.task for c in plan.coefficients} == {"render_overlay", "process_framing_ai"}
    assert "| process_framing_ai, enlarged | T4 (modal) | 60 |" in shown["gpu_plan"]["choices"]

    projection = shown["cost_projection"]
    assert projection["usd_low"] < projection["usd_a_month"] < projection["usd_high"]
    assert "render_overlay" in projection["table"]
    assert Path(projection["dashboard"]).read_text().startswith("<!")
    pointer = current(store, "projection")
    assert pointer is not None
    assert b"render_overlay" in store.get(pointer.files["csv"])

    assert check_of(result).passed
    assert "0 calls in the ledger carried a prediction" in (check_of(result).description or "")


def test_a_second_morning_adds_only_what_is_new(
    instance: dg.DagsterInstance, store: ObjectStore, folder: Path
) -> None:
    enter_runs(store)
    run(instance, folder)
    enter(store, 90, usage={"frames": 300, "video_seconds": 10.0, "wall_s": 19.0})
    _, shown = run(instance, folder)
    assert (shown["usage_ledger"]["rows"], shown["usage_ledger"]["new_rows"]) == (13, 1)


def test_an_empty_store_is_told_what_to_do_and_fails_nothing(
    instance: dg.DagsterInstance, store: ObjectStore, folder: Path
) -> None:
    result, shown = run(instance, folder)
    assert result.success
    assert "run a task" in shown["usage_ledger"]["nothing_yet"]
    assert "no mix" in shown["cost_projection"]["nothing_yet"]
    assert shown["cost_model"]["models"] == 1
    assert "published" in shown["gpu_plan"]["coefficients_from"]


def test_a_ledger_without_any_price_is_a_morning_like_any_other(
    instance: dg.DagsterInstance, store: ObjectStore, folder: Path
) -> None:
    enter(store, 1, task="of_an_installation", backend="local")
    result, shown = run(instance, folder)
    assert result.success
    assert "1 job of of_an_installation (local)" in shown["cost_projection"]["nothing_yet"]


def test_framing_with_and_without_the_network_is_told_apart_in_what_the_assets_show(
    instance: dg.DagsterInstance, store: ObjectStore, folder: Path
) -> None:
    task = "process_framing_ai"
    enter_runs(store, task=task, usage={"gpu_type": "T4", "model_load_time_ms": 900.0})
    enter_runs(store, first=100, task=task, usage={"gpu_type": "T4"})
    whole = {"frames": 600, "video_seconds": 20.0, "chunks": 2, "map_dispatch_ms": 1.0, "wall_s": 21.0}
    for number in range(200, 206, 2):
        key = enter(store, number, task="process_framing_ai_parallel", usage=whole)
        chunk = {"frames": 300, "gpu_type": "T4", "wall_s": 19.0}
        enter(store, number + 1, task="process_framing_ai_chunk", parent=key, usage=chunk)
    _, shown = run(instance, folder)
    for name in ("enlarged", "plain"):
        assert f"| process_framing_ai, {name} | T4 (modal) | " in shown["cost_model"]["coefficients"]
        assert f"| {name} | any length | " in shown["gpu_plan"]["thresholds"]
        assert f"| process_framing_ai, {name} | T4 (modal) | " in shown["cost_projection"]["table"]
    assert "published" in shown["gpu_plan"]["coefficients_from"], "single calls choose no chunks"
    assert "| process_framing_ai, plain | T4 (modal) | 60 |" in shown["gpu_plan"]["choices"]


def test_calls_of_real_workers_are_counted(
    instance: dg.DagsterInstance, store: ObjectStore, folder: Path
) -> None:
    settings = load_settings()
    for nonce in ("one", "two"):
        run_call(open_compute(settings, store), "probe", {"nonce": nonce})
    _, shown = run(instance, folder)
    assert shown["usage_ledger"]["rows"] == 2
    assert "| probe | 2 | 0 |" in shown["usage_ledger"]["cost_by_task"]
    assert shown["usage_ledger"]["spent_usd"] == 0
    assert shown["usage_ledger"]["local_usd_on_modal"] > 0
    assert "what 2 jobs cost" in shown["cost_projection"]["table"]


def test_predictions_that_drifted_fail_the_check_and_not_the_run(
    instance: dg.DagsterInstance, store: ObjectStore, folder: Path
) -> None:
    foretold(store, 0, [150] * 6)
    result, _ = run(instance, folder)
    assert result.success
    found = check_of(result)
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert "50 % longer than predicted" in (found.description or "")
    assert found.metadata["median_error"].value == pytest.approx(1 / 3)


def test_a_wrong_folder_is_a_failure_a_person_can_read(
    instance: dg.DagsterInstance, store: ObjectStore, folder: Path
) -> None:
    result, _ = run(instance, folder / "none", raises=False)
    (failed,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert failed.step_key == "cost_model"
    assert "there is no such folder" in str(failed.event_specific_data)

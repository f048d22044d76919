"""The cost assets on a real instance: over a ledger of entries, over real local calls, and over nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.costs.ledgers import enter, enter_runs
from tests.costs.runs_made import known
from tests.costs.test_refit import foretold, series
from video_pipeline.assets import costs_tables as tables
from video_pipeline.compute import open_compute
from video_pipeline.compute.follow import run_call
from video_pipeline.costs.drift import Drift
from video_pipeline.costs.ledger import load
from video_pipeline.costs.planning import choices
from video_pipeline.costs.predict import Estimate
from video_pipeline.costs.stored import FittedModel, FittedModels, current, read_models, read_plan
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert found.metadata["median_bias"].value == pytest.approx(0.5)
    assert "| process_framing_ai_parallel | 6 | 33 % | +50 % |" in str(found.metadata["by_task"].value)
    assert "not_fitted of cost_model" in str(found.metadata["what_to_do"].value)


def test_a_wrong_folder_is_a_failure_a_person_can_read(
    instance: dg.DagsterInstance, store: ObjectStore, folder: Path
) -> None:
    result, _ = run(instance, folder / "none", raises=False)
    (failed,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert failed.step_key == "cost_model"
    assert "there is no such folder" in str(failed.event_specific_data)


# Tables


def cells(value: dg.MetadataValue) -> list[list[str]]:
    """A table's rows below its head."""
    lines = str(value.value).splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_tasks_are_listed_by_what_they_cost_with_what_was_paid_beside_it(store: ObjectStore) -> None:
    enter(store, 1, usage={"wall_s": 36.0})
    enter(store, 2, task="detect_players", backend="local", usage={"wall_s": 3600.0})
    enter(store, 3, task="detect_players", backend="local", status="error", error_kind="internal")
    rows: Any = load(store)
    dear, cheap = cells(tables.by_task(rows))
    usd, on_modal = rows["usd"], rows["usd_on_modal"]
    assert cheap == ["render_overlay", "1", "0", "0.010", f"{usd[0]:.4f}", f"{on_modal[0]:.4f}"]
    assert dear == ["detect_players", "2", "1", "1.003", "0.0000", f"{on_modal[1] + on_modal[2]:.4f}"]


def test_the_latest_attempts_come_first_and_what_is_not_known_is_a_dash(store: ObjectStore) -> None:
    for number in range(tables.PREVIEW + 2):
        usage = {"frames": 300, "predicted_s": 12.0} if number % 2 else {}
        enter(store, number, usage={"wall_s": 10.0 + number, **usage})
    enter(store, 90, backend="local", status="error", error_kind="timeout", usage={"gpu_type": "T4"})
    rows: Any = load(store)
    found = cells(tables.latest_attempts(rows))
    assert len(found) == tables.PREVIEW
    assert [row[2] for row in found] == ["timeout", *["ok"] * (tables.PREVIEW - 1)]
    assert [row[3] for row in found[:3]] == ["10.0", "26.0", "25.0"]
    assert found[0][6] == "T4 (local)"
    usd = [f"{value:.4f}" for value in rows["usd_on_modal"][::-1]]
    assert found[1][4:8] == ["-", "-", "CPU (modal)", usd[1]]
    assert found[2][4:8] == ["12.0", "300", "CPU (modal)", usd[2]]
    assert found[1][8] == f"{tables.PREVIEW + 1:032x}"[:12]


def test_a_model_says_how_far_off_it_was_on_what_it_had_not_seen() -> None:
    estimates = {
        "s_per_frame": Estimate(value=0.1, se=0.01, low=0.08, high=0.12),
        "startup_s": Estimate(value=0.0),
    }
    c = known(enlarged=True, estimates=estimates, held_out_error=0.07)
    models = (
        FittedModel(coefficients=c, used=True, held_out_run=0.03, notes=("no price", "of this machine")),
        FittedModel(coefficients=c, used=False, held_out_run=0.9),
    )
    plain = known(gpu=None, estimates=estimates)
    value = ["s_per_frame", "0.1", "0.08 to 0.12"]
    rest = ["", "", "", "startup_s", "0", "-", "", "", ""]
    runs = "12 (experiments, 2026-01-01)"
    assert cells(tables.coefficients_table((c, plain), FittedModels(models=models))) == [
        ["t, enlarged", "T4 (modal)", runs, *value, "7 %", "3 %", "no price; of this machine"],
        rest,
        ["t", "CPU (modal)", runs, *value, "-", "-", ""],
        rest,
    ]


def test_a_choice_says_what_was_measured_and_which_deadline_is_not_kept() -> None:
    """A start of a day, which no count makes shorter; 5 s to 15 s were measured."""
    facts = {"startup_s": 86_400.0, "frames_range": (150, 450), "chunks_range": (1, 4)}
    c = known(task="process_framing_ai", enlarged=True, **facts)
    alone = known(task="render_overlay", gpu=None, chunks_range=(1, 1))
    found = cells(tables.choices_table(choices([c, alone])))
    assert [(row[0], row[1], row[2], row[-1]) for row in found] == [
        ("process_framing_ai, enlarged", "T4 (modal)", str(seconds), measured)
        for seconds, measured in ((5, "yes"), (15, "yes"), (30, "no"), (60, "no"), (120, "no"), (300, "no"))
    ]
    assert all("(not kept)" in row[6] for row in found)
    assert not any("(not kept)" in cell for row in found for cell in row[3:6])
    assert found[0][3].startswith("1: 86415 s, ")


def test_how_far_off_and_in_which_direction_is_told_by_task() -> None:
    found = Drift(9, 0.2, 0.1, (("a", 4, 0.25, -0.2), ("b", 5, 1 / 3, 0.5)))
    assert cells(tables.drift_table(found)) == [["a", "4", "25 %", "-20 %"], ["b", "5", "33 %", "+50 %"]]

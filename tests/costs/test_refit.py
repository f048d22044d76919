"""Which runs go into a model, which model is used, and what is kept of it in the store."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.costs.ledgers import enter, enter_runs
from tests.costs.runs_made import known
from video_pipeline import keys
from video_pipeline.costs import refit as module
from video_pipeline.costs.drift import Drift, drift
from video_pipeline.costs.experiment_results import experiment_runs
from video_pipeline.costs.ledger import load
from video_pipeline.costs.plan import shipped_plan
from video_pipeline.costs.planning import choices, plan_from
from video_pipeline.costs.predict import LIMIT
from video_pipeline.costs.refit import coefficients_note, ledger_runs, rates_of, refit
from video_pipeline.costs.stored import (
    FittedModels,
    current,
    find,
    known_coefficients,
    read_models,
    read_plan,
    save,
)
from video_pipeline.errors import BadInput
from video_pipeline.machine import usable_cores
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.telemetry.usage import Usage


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def series(folder: Path, *, backend: str = "modal", repeats: int = 3, **fields: Any) -> Path:
    """Results of an experiment on one task, in the files' own form."""
    runs = []
    for number in range(3 * repeats):
        frames = (100, 200, 400)[number % 3]
        call = {
            "task": "render_overlay",
            "version": 1,
            "started_at": "2026-10-01T10:00:00Z",
            "usage": {"wall_s": 2 + 0.1 * frames + 0.01 * number, "frames": frames},
        }
        runs.append({"status": "ok", "calls": [call], "order": number})
    folder.mkdir(exist_ok=True)
    path = folder / "e1_baseline-modal.json"
    path.write_text(
        json.dumps({"schema_version": 1, "environment": {"backend": backend}, "runs": runs, **fields})
    )
    return path


def test_a_task_with_enough_runs_gets_a_model_that_recovers_what_they_were_made_of(
    store: DirectoryStore,
) -> None:
    enter_runs(store)
    (model,) = refit(load(store)).models
    c = model.coefficients
    assert (c.task, c.backend, c.gpu) == ("render_overlay", "modal", None)
    assert (c.source, c.as_of) == ("ledger", "2026-11-13")
    assert c.s_per_frame == pytest.approx(0.05, rel=0.05)
    assert c.held_out_error is not None
    assert c.held_out_error < 0.1
    assert len(model.points) == 12
    assert c.rates is not None
    note = coefficients_note(c)
    assert "12 calls in the ledger" in note
    assert "rough guide" not in note
    off = coefficients_note(c.model_copy(update={"held_out_error": 0.16}))
    assert off.endswith("Error on a configuration left out: 16 %. More than 15 % off: a rough guide.")
    unknown = coefficients_note(c.model_copy(update={"held_out_error": None}))
    assert unknown.endswith("Error on a configuration left out: unknown: a rough guide.")


def test_few_runs_are_no_model_and_it_says_how_many_are_wanted(store: DirectoryStore) -> None:
    enter_runs(store, (100, 200), repeats=5)
    found = refit(load(store))
    assert found.models == ()
    (line,) = found.not_fitted
    assert "10 runs of 2 lengths; wanted are 6 of 3 lengths" in line
    enter(store, 90, task="extract_clip", usage={"frames": 9, "video_seconds": 0.3})
    assert any(
        "extract_clip on CPU (modal, ledger): 1 run of 1 length;" in line
        for line in refit(load(store)).not_fitted
    )


def test_failed_calls_previews_and_old_versions_are_in_no_model(store: DirectoryStore) -> None:
    enter_runs(store)
    enter_runs(store, first=100, version=0, usage={"wall_s": 999.0})
    enter(store, 200, status="error", error_kind="internal", usage={"frames": 300, "video_seconds": 10.0})
    enter(store, 201, usage={"frames": 3, "wall_s": 30.0})
    runs = ledger_runs(load(store))
    assert len(runs) == 24
    (model,) = refit(load(store)).models
    assert model.coefficients.n_runs == 12


def test_chunks_are_calls_side_by_side_and_their_workers_are_counted_together(store: DirectoryStore) -> None:
    whole = {"frames": 600, "video_seconds": 20.0}
    enter(store, 1, task="process_framing_ai", usage={**whole, "gpu_type": "T4", "wall_s": 400.0})
    key = enter(
        store,
        2,
        task="process_framing_ai_parallel",
        usage={**whole, "chunks": 2, "map_dispatch_ms": 1.0, "wall_s": 220.0},
    )
    for number in (3, 4):
        usage = {"frames": 300, "video_seconds": 10.0, "gpu_type": "T4", "wall_s": 200.0 + number}
        enter(store, number, task="process_framing_ai_chunk", parent=key, usage=usage)
    # One chunk is one call, which is in the ledger itself; captions' chunks are files and no calls.
    enter(
        store,
        5,
        task="process_framing_ai_parallel",
        usage={**whole, "chunks": 1, "map_dispatch_ms": 1.0, "wall_s": 420.0},
    )
    enter(store, 6, task="crop_and_infer_caption_frame_extents", usage={**whole, "chunks": 31})
    runs = ledger_runs(load(store)).set_index("wall_s")
    assert sorted(runs.index) == [10, 220, 400]
    assert runs.loc[220, ["task", "gpu", "chunks", "gpu_seconds"]].tolist() == [
        "process_framing_ai",
        "T4",
        2,
        407,
    ]
    assert runs.loc[400, "chunks"] == runs.loc[10, "chunks"] == 1


def test_workers_are_busy_from_their_start_on_and_what_failed_is_no_work_of_the_clip(
    store: DirectoryStore,
) -> None:
    whole = {"frames": 600, "video_seconds": 20.0, "chunks": 2, "map_dispatch_ms": 1.0}
    key = enter(store, 1, task="process_framing_ai_parallel", usage=whole)
    chunk: dict[str, Any] = {"task": "process_framing_ai_chunk", "parent": key}
    usage = {"frames": 300, "wall_s": 200.0, "machine_s": 205.0}
    for number in (2, 3):
        enter(store, number, **chunk, usage=usage)
    enter(store, 4, **chunk, status="error", error_kind="lost", usage={**usage, "machine_s": 70.0})
    # One call that asked another for something is no fan-out.
    asking = enter(store, 6, usage={"frames": 300, "video_seconds": 10.0, "wall_s": 20.0})
    enter(store, 5, task="detect_players", parent=asking)
    found = ledger_runs(load(store)).set_index("wall_s")["gpu_seconds"]
    assert found[10.0] == 410
    assert np.isnan(found[20.0])


def test_runs_without_frames_are_none_and_a_task_that_never_tells_a_length_has_runs(
    store: DirectoryStore,
) -> None:
    enter(store, 1, task="detect_players", usage={"frames": 30, "wall_s": 3.0})
    enter(store, 2, task="detect_players", usage={"wall_s": 4.0})
    enter(store, 3, task="detect_players", usage={"frames": 0, "wall_s": 5.0})
    enter(store, 4, usage={"frames": 30, "video_seconds": 1.0, "wall_s": 6.0})
    enter(store, 5, usage={"frames": 3, "wall_s": 7.0})
    assert ledger_runs(load(store))["wall_s"].tolist() == [3, 6]


def test_as_few_runs_as_may_be_are_a_model_and_one_fewer_are_none(store: DirectoryStore) -> None:
    enter_runs(store, (100, 200, 400, 800, 900), repeats=1)
    assert "5 runs of 5 lengths; wanted are 6 of 3" in refit(load(store)).not_fitted[0]
    enter_runs(store, (100, 200, 400), repeats=2, first=50, task="extract_clip")
    (model,) = refit(load(store)).models
    assert (model.coefficients.task, model.coefficients.n_runs) == ("extract_clip", 6)
    assert model.held_out_run is not None
    assert 0 < model.held_out_run < 0.15


def test_a_model_is_of_the_newest_runs_and_shows_the_newest_of_those(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Experiments in no order: nine runs, the first three of them of a machine that was ten times as slow."""
    monkeypatch.setattr(module, "MOST_RUNS", 6)
    monkeypatch.setattr(module, "MOST_POINTS", 2)
    enter_runs(store, (100, 200, 400))
    ledger = load(store).iloc[:9]
    slow = ledger["wall_s"].where(ledger.index >= 3, 10 * ledger["wall_s"])
    (model,) = refit(ledger.assign(wall_s=slow).iloc[::-1]).models
    assert model.coefficients.n_runs == 6
    assert model.coefficients.s_per_frame == pytest.approx(0.05, rel=0.15)
    assert [point.wall_s for point in model.points] == ledger["wall_s"].tolist()[-2:]


def test_a_machine_of_ones_own_works_on_as_many_chunks_as_it_has_cores_and_modal_on_all(
    store: DirectoryStore,
) -> None:
    for number, backend in enumerate(("local", "modal")):
        enter_runs(store, (150, 300, 600), repeats=2, first=50 * number, backend=backend)
    local, modal = (model.coefficients for model in refit(load(store)).models)
    assert (local.backend, local.at_once) == ("local", usable_cores())
    assert (modal.backend, modal.at_once) == ("modal", None)


def test_chunks_are_segments_of_the_clips_frame_rate_where_all_have_one(store: DirectoryStore) -> None:
    task = "process_framing_ai"
    enter_runs(store, (150, 300, 600), repeats=2, task=task)
    (model,) = refit(load(store)).models
    assert model.coefficients.segment_frames == 60
    enter(store, 60, task=task, day=30, usage={"frames": 300, "video_seconds": 12.0, "wall_s": 19.0})
    (model,) = refit(load(store)).models
    assert model.coefficients.segment_frames is None


def test_parts_that_took_longer_than_the_whole_cost_a_task_its_imbalance_and_not_its_model(
    store: DirectoryStore,
) -> None:
    """One call with all the frames took next to nothing for each: it did other work than the parts."""
    for number, frames in enumerate((120, 480, 960) * 2):
        whole = {"frames": frames, "video_seconds": frames / 30}
        enter(store, number, day=number, task="process_framing_ai", usage={**whole, "wall_s": 5.0})
        fan = {**whole, "chunks": 2, "map_dispatch_ms": 1.0, "wall_s": 5.0 + 0.1 * frames}
        enter(store, 50 + number, day=number, task="process_framing_ai_parallel", usage=fan)
    (model,) = refit(load(store)).models
    assert model.coefficients.n_runs == 12
    assert model.coefficients.imbalance == 1


def test_a_gpu_is_priced_as_itself_and_one_without_a_price_has_none() -> None:
    table, dearer = rates_of("process_multi_clip", None), rates_of("process_multi_clip", "H100")
    assert table is not None
    assert dearer is not None
    assert dearer.whole_usd_per_s > 2 * table.whole_usd_per_s
    assert rates_of("process_multi_clip", "a GPU of nobody's list") is None
    assert rates_of("of_an_installation", None) is None


def test_experiments_are_used_where_the_ledger_has_too_few_and_give_way_when_it_has_enough(
    store: DirectoryStore, tmp_path: Path
) -> None:
    series(tmp_path / "results")
    enter(store, 1, usage={"frames": 100, "video_seconds": 3.0})
    (only,) = refit(load(store), tmp_path / "results").models
    assert (only.coefficients.source, only.used) == ("experiments", True)
    assert only.coefficients.s_per_frame == pytest.approx(0.1, rel=0.05)
    enter_runs(store, first=10)
    models = refit(load(store), tmp_path / "results").models
    assert [(model.coefficients.source, model.used) for model in models] == [
        ("ledger", True),
        ("experiments", False),
    ]


def test_series_that_were_only_tried_do_not_count_and_a_broken_file_is_named(tmp_path: Path) -> None:
    path = series(tmp_path, quick=True)
    assert len(experiment_runs(tmp_path)) == 0
    path.write_text('{"schema_version": 1}')
    with pytest.raises(BadInput, match="not a result of an experiment") as error:
        experiment_runs(tmp_path)
    assert error.value.input == str(path)


def test_tasks_that_experiments_alone_have_are_in_no_model(tmp_path: Path) -> None:
    """Software switches and readers of frames: nobody's work."""
    path = series(tmp_path)
    assert len(experiment_runs(tmp_path)) == 9
    path.write_text(path.read_text().replace("render_overlay", "experiment_network"))
    assert experiment_runs(tmp_path).empty


def test_a_run_of_an_experiment_is_one_call_and_what_it_gave_to_others(tmp_path: Path) -> None:
    def call(task: str, wall_s: float, **fields: Any) -> dict[str, Any]:
        usage = {"wall_s": wall_s, "machine_s": wall_s + 1, "frames": 100, **fields.pop("usage", {})}
        return {"task": task, "version": 1, "started_at": "2026-10-01T10:00:00Z", "usage": usage, **fields}

    def fan(wall_s: float, chunks: int = 2) -> dict[str, Any]:
        usage = {"chunks": chunks, "map_dispatch_ms": 9.0}
        return call("process_framing_ai_parallel", wall_s, usage=usage)

    chunk = call("process_framing_ai_chunk", 7.0, child=True, gpu="T4", usage={"model_load_time_ms": 2.0})
    runs = [
        [fan(10.0), chunk, chunk],
        # Whose chunks they were, nobody knows: the fan-outs are left out, what stands beside them is not.
        [fan(20.0), fan(21.0), call("process_framing_ai", 22.0), chunk],
        # Given on whole: a call that stands in the file itself.
        [fan(30.0, chunks=1), call("process_framing_ai", 31.0, child=True)],
        # Files are chunks too, and no calls.
        [call("crop_and_infer_caption_frame_extents", 40.0, gpu="A10", usage={"chunks": 31})],
        [call("render_overlay", 50.0, usage={"frames": 0}), call("render_overlay", 0.0)],
    ]
    document = {"schema_version": 1, "environment": {"backend": "modal"}}
    told = [{"status": "ok", "calls": calls} for calls in runs]
    (tmp_path / "e.json").write_text(json.dumps({**document, "runs": told}))
    found = experiment_runs(tmp_path).set_index("wall_s").astype(object)
    assert found.index.tolist() == [10, 22, 40]
    assert found["chunks"].tolist() == [2, 1, 1]
    assert found["gpu"].fillna("-").tolist() == ["T4", "-", "A10"]
    assert found["enlarged"].tolist()[:2] == [True, False]
    assert found.loc[10, "gpu_seconds"] == 16


def test_a_file_that_is_no_text_is_named_among_the_results(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="not a result of an experiment") as error:
        experiment_runs(tmp_path)
    assert error.value.input == str(tmp_path / "e.json")


def test_results_as_experiments_write_them_are_read(tmp_path: Path) -> None:
    """By the experiments' own models and writer: a fan-out of two chunks, and a run that failed."""
    from experiments.schema import CallRow, Configuration, Environment, Run, Series, write_series

    now = datetime(2026, 10, 1, tzinfo=UTC)

    def call(task: str, usage: dict[str, Any], **fields: Any) -> CallRow:
        facts = {"key": "k", "version": 1, "attempt": 1, "host": "h", "started_at": now, "finished_at": now}
        used = Usage.model_validate({"wall_s": 5.0, "machine_s": 6.0, "frames": 50, **usage})
        return CallRow.model_validate(
            {**facts, "task": task, "usage": used.model_dump(), "usd": 0.0, **fields}
        )

    part = ("process_framing_ai_chunk", {})
    calls = (
        call(
            "process_framing_ai_parallel",
            {"frames": 100, "chunks": 2, "map_dispatch_ms": 9.0, "wall_s": 8.0},
        ),
        call(*part, child=True, gpu="T4"),
        call(*part, child=True, gpu="T4"),
    )
    facts = {"configuration": "two", "started_at": now, "load_before": 0.0, "calls": calls}
    runs = tuple(
        Run.model_validate({**facts, "repeat": number, "order": number, "status": status})
        for number, status in enumerate(("ok", "failed"))
    )
    environment = Environment(
        backend="modal",
        processor="p",
        cores=2,
        memory_mib=1,
        system="s",
        python="3",
        packages={},
        commit="c",
        store="directory",
        prices_as_of="2026-07-01",
        load_average_before=0.0,
    )
    found = Series(
        experiment="e7_parallel",
        question="?",
        seed=1,
        repeats=1,
        started_at=now,
        finished_at=now,
        environment=environment,
        cost_basis="",
        configurations=(Configuration(name="two", what="", tasks=(), hardware=""),),
        runs=runs,
    )
    write_series(found, tmp_path)
    (row,) = experiment_runs(tmp_path).to_dict("records")
    assert (row["task"], row["gpu"], row["frames"], row["chunks"]) == ("process_framing_ai", "T4", 100, 2)
    assert (row["wall_s"], row["gpu_seconds"], row["backend"]) == (8, 12, "modal")


def test_what_has_no_model_of_its_own_keeps_the_published_one(store: DirectoryStore) -> None:
    enter_runs(store)
    known = known_coefficients(refit(load(store)))
    assert [(c.task, c.source) for c in known] == [
        ("render_overlay", "ledger"),
        ("process_framing_ai", "published"),
    ]
    assert find(known, "process_framing_ai_parallel").source == "published"
    with pytest.raises(BadInput, match="nothing was measured of render_overlay on H100"):
        find(known, "render_overlay", gpu="H100")


def test_models_and_plans_are_kept_and_read_again_and_equal_ones_once(store: DirectoryStore) -> None:
    assert read_models(store) is None
    assert read_plan(store) is None
    enter_runs(store)
    models = refit(load(store))
    for _ in range(2):
        save(store, "models", {"json": models.model_dump_json().encode()})
    assert read_models(store) == models
    pointer = current(store, "models")
    assert pointer is not None
    prefix = f"{keys.COST_MODEL}models/"
    assert {item.key for item in store.list(prefix)} == {pointer.files["json"], f"{prefix}current.json"}
    store.put(pointer.files["json"], b"{}")
    with pytest.raises(BadInput, match="cannot be read"):
        read_models(store)
    store.delete(pointer.files["json"])
    with pytest.raises(BadInput, match="it is missing"):
        read_models(store)


def test_without_news_the_plan_is_the_one_that_ships() -> None:
    plan, shipped = plan_from(known_coefficients(None)), shipped_plan()
    assert plan.framing_ai == shipped.framing_ai
    assert plan.overlay == shipped.overlay
    assert plan.break_even == shipped.break_even


def test_choices_have_every_goal_where_chunks_were_measured_and_one_call_elsewhere(
    store: DirectoryStore,
) -> None:
    enter_runs(store)
    rows = choices(known_coefficients(refit(load(store))))
    by_task = rows.groupby("task")
    assert set(by_task.get_group("render_overlay")["goal"]) == {"auto"}
    assert set(by_task.get_group("render_overlay")["chunks"]) == {1}
    framing = by_task.get_group("process_framing_ai")
    assert set(framing["goal"]) == {"auto", "cheapest", "fastest", "deadline"}
    at_60 = framing[framing["seconds"] == 60].set_index("goal")
    assert at_60.loc["fastest", "predicted_s"] <= at_60.loc["auto", "predicted_s"]


def test_a_deadline_that_no_count_keeps_is_said_to_be_missed() -> None:
    """Half of what one call takes, most of which is a start that every count has."""
    for start, kept in ((1e5, False), (0.0, True)):
        c = known(task="process_framing_ai", enlarged=True, startup_s=start, chunks_range=(1, 4))
        rows = choices([c])
        deadline = rows["goal"] == "deadline"
        assert (rows[deadline]["met"] == kept).all()
        assert rows[~deadline]["met"].all()


# Drift


def foretold(store: ObjectStore, first: int, took: list[float], predicted: float = 100.0) -> None:
    for number, wall in enumerate(took):
        usage = {"frames": 300, "wall_s": wall, "predicted_s": predicted}
        enter(store, first + number, task="process_framing_ai_parallel", usage=usage)


def test_predictions_that_hold_have_not_drifted_whatever_one_of_them_did(store: DirectoryStore) -> None:
    foretold(store, 0, [98, 104, 101, 95, 500])
    found = drift(load(store))
    assert found.calls == 5
    assert found.error == pytest.approx(0.05, abs=0.02)
    assert not found.drifted


def test_predictions_that_are_more_than_15_percent_off_have_drifted(store: DirectoryStore) -> None:
    foretold(store, 0, [150] * 6)
    found = drift(load(store))
    assert found.drifted
    assert found.error == pytest.approx(1 / 3)
    assert "50 % longer than predicted" in str(found)
    foretold(store, 20, [150] * 60)
    foretold(store, 100, [100] * 50)
    found = drift(load(store))
    assert (found.calls, found.error) == (50, 0), "the newest 50 hold"


def test_each_task_is_told_how_far_its_own_predictions_lay(store: DirectoryStore) -> None:
    foretold(store, 0, [150] * 3)
    for number in (10, 11, 12, 13):
        enter(store, number, usage={"wall_s": 80.0, "predicted_s": 100.0})
    found = drift(load(store))
    assert [(task, calls) for task, calls, *_ in found.by_task] == [
        ("process_framing_ai_parallel", 3),
        ("render_overlay", 4),
    ]
    assert [row[2:] for row in found.by_task] == [
        (pytest.approx(1 / 3), pytest.approx(0.5)),
        (pytest.approx(0.25), pytest.approx(-0.2)),
    ]
    assert "20 % shorter than predicted (median)" in str(found)


def test_predictions_that_are_just_at_the_limit_have_not_drifted_and_one_of_nothing_is_none(
    store: DirectoryStore,
) -> None:
    foretold(store, 0, [100] * 5, predicted=100 * (1 + LIMIT))
    assert drift(load(store)).error == pytest.approx(LIMIT)
    assert not Drift(5, LIMIT, 0.0, ()).drifted
    assert Drift(5, LIMIT + 0.001, 0.0, ()).drifted
    foretold(store, 50, [100] * 5, predicted=0.0)
    assert drift(load(store)).calls == 5


def test_too_few_predictions_are_said_to_be_too_few(store: DirectoryStore) -> None:
    foretold(store, 0, [500] * 4)
    enter(store, 50, usage={"wall_s": 9.0})
    enter(store, 51, status="error", error_kind="internal", usage={"wall_s": 9.0, "predicted_s": 100.0})
    found = drift(load(store))
    assert (found.calls, found.error, found.drifted) == (4, None, False)
    assert "fewer than 5" in str(found)


def test_fitted_models_refuse_unknown_fields() -> None:
    with pytest.raises(ValueError, match="extra"):
        FittedModels.model_validate({"models": [], "more": 1})

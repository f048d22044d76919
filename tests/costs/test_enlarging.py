"""Framing with the network and without it: two kinds of work under one task, told apart where it counts."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clips.conftest import desk as desk
from tests.clips.films import TALL, TENANT, Desk, crop_at, put_repeating_weights
from tests.costs.ledgers import enter, enter_runs
from tests.costs.runs_made import known
from tests.costs.test_projection import mix
from tests.costs.test_usage_of_tasks import compute as compute
from video_pipeline.cli import main
from video_pipeline.compute.follow import run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.costs.dashboard import dashboard_page
from video_pipeline.costs.enlarging import enlarged_rows
from video_pipeline.costs.experiment_results import experiment_runs
from video_pipeline.costs.ledger import load
from video_pipeline.costs.mix import mix_of, read_mix
from video_pipeline.costs.plan import shipped_plan
from video_pipeline.costs.planning import choices, plan_from
from video_pipeline.costs.projection import project
from video_pipeline.costs.refit import ledger_runs, refit
from video_pipeline.costs.stored import FittedModel, FittedModels, find, known_coefficients, save
from video_pipeline.errors import BadInput
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.directory import DirectoryStore

FRAMING = "process_framing_ai"
T4 = {"gpu_type": "T4", "gpu_count": 1}


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def told(store: ObjectStore) -> dict[str, bool | None]:
    """By key, None for what never loads the network."""
    rows: Any = load(store)
    found = enlarged_rows(rows)
    return {
        key: None if value is None else bool(value)
        for key, value in zip(rows["key"], found.astype(object).where(found.notna(), None), strict=True)
    }


# In the ledger


def test_a_render_that_loaded_the_network_was_enlarged_and_a_fan_out_is_told_by_its_chunks(
    store: DirectoryStore,
) -> None:
    loaded = {"model_load_time_ms": 0.0}
    plain, enlarged = enter(store, 1, task=FRAMING), enter(store, 2, task=FRAMING, usage=loaded)
    fan, other = (enter(store, number, task="process_framing_ai_parallel") for number in (3, 4))
    first = enter(store, 5, task="process_framing_ai_chunk", parent=fan)
    second = enter(store, 6, task="process_framing_ai_chunk", parent=fan, usage=loaded)
    third = enter(store, 7, task="process_framing_ai_chunk", parent=other)
    joined = enter(store, 8, task="process_multi_clip", usage=loaded)
    overlay = enter(store, 9, usage=loaded)
    assert told(store) == {
        plain: False,
        enlarged: True,
        fan: True,
        other: False,
        first: False,
        second: True,
        third: False,
        joined: True,
        overlay: None,
    }


@pytest.mark.slow
def test_real_workers_leave_what_tells_the_two_apart(desk: Desk, compute: LocalCompute) -> None:
    request = {
        **TALL,
        "tenant_id": TENANT,
        "fps": "2",
        "source_key": desk.film(frames=25),
        "keyframes": [crop_at()],
        "trim_end": 1.0,
        "encoding": {"preset": "ultrafast"},
    }
    weights = put_repeating_weights(desk)
    _, with_it = run_call(compute, FRAMING, {**request, "clip_id": "a", "weights_key": weights})
    _, without = run_call(compute, FRAMING, {**request, "clip_id": "b", "upscale": "never"})
    assert with_it.result is not None
    assert without.result is not None
    assert (with_it.result["enlarged_frames"], without.result["enlarged_frames"]) == (2, 0)
    assert told(desk.store) == {with_it.key: True, without.key: False}


# In fitting


def test_each_kind_gets_a_model_of_its_own(store: DirectoryStore) -> None:
    enter_runs(store, task=FRAMING, usage={**T4, "model_load_time_ms": 900.0})
    for number, frames in enumerate((150, 300, 600, 900) * 3, 40):
        usage = {**T4, "wall_s": 2 + 0.004 * frames, "frames": frames, "video_seconds": frames / 30}
        enter(store, number, task=FRAMING, usage=usage)
    models = {model.coefficients.enlarged: model.coefficients for model in refit(load(store)).models}
    assert set(models) == {True, False}
    assert models[True].s_per_frame == pytest.approx(0.05, rel=0.05)
    assert models[False].s_per_frame == pytest.approx(0.004, rel=0.05)
    assert (models[True].n_runs, models[False].n_runs) == (12, 12)
    assert "with the network" in models[True].work
    assert "without the network" in models[False].work
    assert [model.name for model in models.values()] == [f"{FRAMING}, plain", f"{FRAMING}, enlarged"]


def test_a_kind_with_too_few_runs_is_named_as_such(store: DirectoryStore) -> None:
    enter_runs(store, (100, 200), task=FRAMING, usage=T4)
    (line,) = refit(load(store)).not_fitted
    assert line.startswith(f"{FRAMING}, plain on T4 (modal, ledger): 6 runs of 2 lengths")


def test_chunks_tell_of_their_fan_out_and_both_go_into_one_model(store: DirectoryStore) -> None:
    whole = {"frames": 600, "video_seconds": 20.0, "chunks": 2, "map_dispatch_ms": 1.0, "wall_s": 220.0}
    key = enter(store, 2, task="process_framing_ai_parallel", usage=whole)
    for number in (3, 4):
        usage = {**T4, "frames": 300, "wall_s": 200.0, "model_load_time_ms": 5.0}
        enter(store, number, task="process_framing_ai_chunk", parent=key, usage=usage)
    (row,) = ledger_runs(load(store)).to_dict("records")
    assert (row["task"], row["gpu"], row["chunks"], row["enlarged"]) == (FRAMING, "T4", 2, True)


def test_experiments_tell_the_two_apart_by_the_same_sign(tmp_path: Path) -> None:
    def call(task: str, child: bool = False, **usage: Any) -> dict[str, Any]:
        used = {"wall_s": 9.0, "frames": 100, **usage}
        at = datetime(2026, 10, 1, tzinfo=UTC).isoformat()
        return {"task": task, "version": 1, "child": child, "started_at": at, "usage": used}

    fan = {"chunks": 2, "map_dispatch_ms": 1.0}
    runs = [
        [call(FRAMING, model_load_time_ms=3.0)],
        [call(FRAMING)],
        [
            call("process_framing_ai_parallel", **fan),
            call("process_framing_ai_chunk", True, model_load_time_ms=3.0),
            call("process_framing_ai_chunk", True),
        ],
        [call("process_framing_ai_parallel", **fan), call("process_framing_ai_chunk", True)],
        [call("detect_players", model_load_time_ms=3.0)],
    ]
    document = {
        "schema_version": 1,
        "environment": {"backend": "local"},
        "runs": [{"status": "ok", "calls": calls} for calls in runs],
    }
    (tmp_path / "e.json").write_text(json.dumps(document))
    found = experiment_runs(tmp_path)["enlarged"]
    assert found[:4].tolist() == [True, False, True, False]
    assert found.isna().tolist() == [False] * 4 + [True]


# In prediction


def models_of(*coefficients: Any) -> FittedModels:
    return FittedModels(models=tuple(FittedModel(coefficients=c, used=True) for c in coefficients))


PLAIN = known(
    task=FRAMING,
    enlarged=False,
    s_per_frame=0.004,
    startup_s=0.0,
    chunk_fixed_s=10.0,
    chunks_range=(1, 4),
    source="ledger",
)
"""Ten seconds for each worker, and 4 ms a frame."""

OVERLAY = known(task="render_overlay", gpu=None, chunks_range=(1, 1), source="ledger")


def test_a_model_without_the_network_takes_nothing_from_the_published_one_with_it() -> None:
    both = known_coefficients(models_of(PLAIN))
    assert {c.identity: c.source for c in both} == {
        (FRAMING, "T4", "modal", False): "ledger",
        (FRAMING, "T4", "modal", True): "published",
    }
    assert find(both, FRAMING).enlarged is True, "auto is the network's, unless one says never"
    assert find(both, "process_framing_ai_parallel", enlarged=False) == PLAIN
    assert find(both, FRAMING, enlarged=True).source == "published"


def test_a_kind_that_was_never_measured_is_named() -> None:
    with pytest.raises(BadInput, match="nothing was measured of process_framing_ai without the network"):
        find(known_coefficients(None), FRAMING, enlarged=False)


# In the plan


def test_the_plan_has_a_table_for_each_kind_that_a_model_tells_counts_of() -> None:
    plan = plan_from(known_coefficients(models_of(PLAIN)))
    assert plan.framing_ai == shipped_plan().framing_ai
    assert plan.framing_plain is not None
    at_a_minute = [
        next(row.chunks for row in table.rows if row.below_s is None or row.below_s > 60)
        for table in (plan.framing_ai, plan.framing_plain)
    ]
    assert at_a_minute == [4, 1], "a minute without the network is 7 s of work after 10 s of start"
    alone = known(task=FRAMING, enlarged=False, chunks_range=(1, 1))
    assert plan_from(known_coefficients(models_of(alone))).framing_plain is None
    assert plan_from(known_coefficients(None)).framing_plain is None


def test_a_model_of_single_calls_makes_no_table_of_chunks() -> None:
    alone = known(task=FRAMING, enlarged=True, chunks_range=(1, 1), s_per_frame=0.001)
    assert plan_from(known_coefficients(models_of(alone))).framing_ai == shipped_plan().framing_ai


def test_choices_name_both_kinds() -> None:
    rows = choices(known_coefficients(models_of(PLAIN, OVERLAY)))
    assert set(rows["work"]) == {f"{FRAMING}, enlarged", f"{FRAMING}, plain", "render_overlay"}
    assert set(rows[rows["work"] == f"{FRAMING}, plain"]["goal"]) == {
        "auto",
        "cheapest",
        "fastest",
        "deadline",
    }


def test_the_dashboard_shows_both_tables_and_models(store: DirectoryStore) -> None:
    both = known_coefficients(models_of(PLAIN))
    page = dashboard_page(load(store), both, plan_from(both))
    assert all(name in page for name in ("framing, enlarged", "framing, plain", f"{FRAMING}, plain"))
    assert "framing, plain" not in dashboard_page(load(store), (), shipped_plan())


# In commands and projections


@pytest.fixture
def learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DirectoryStore:
    """The store of the settings, with a model of plain framing."""
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    made = DirectoryStore(tmp_path / "store")
    save(made, "models", {"json": models_of(PLAIN, OVERLAY).model_dump_json().encode()})
    return made


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["cost", *arguments]) == 0
    return capsys.readouterr().out


def test_the_command_tells_of_the_kind_that_is_asked_for(
    learnt: DirectoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--task", FRAMING, "--duration", "10")
    usual, auto, never = (
        said(capsys, *asked, *more) for more in ((), ("--upscale", "auto"), ("--upscale", "never"))
    )
    assert usual == auto
    assert "on T4 (modal), enlarged by the network" in auto
    assert "published single runs" in auto
    assert "on T4 (modal), without the network" in never
    assert "12 calls in the ledger" in never


def test_the_command_says_where_auto_would_not_go_by_the_model_it_shows(
    learnt: DirectoryStore, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--task", FRAMING, "--duration", "10", "--upscale", "never")
    assert "does not go by this model" not in said(capsys, *asked)
    alone = PLAIN.model_copy(update={"chunks_range": (1, 1)})
    save(learnt, "models", {"json": models_of(alone).model_dump_json().encode()})
    assert "`auto` does not go by this model" in said(capsys, *asked)
    save(learnt, "models", {"json": models_of(OVERLAY).model_dump_json().encode()})
    assert "auto" not in said(capsys, "--task", "render_overlay", "--duration", "10")


@pytest.mark.parametrize("more", [("--task", "render_overlay", "--duration", "5"), ("--mix", "ledger")])
def test_what_enlarges_nothing_cannot_be_asked_to(
    learnt: DirectoryStore, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    assert main(["cost", *more, "--upscale", "never"]) == 2
    assert "--upscale" in capsys.readouterr().err


def test_a_mix_says_which_kind_it_means(tmp_path: Path) -> None:
    workload = {"task": FRAMING, "per_month": 10, "duration_s": 20}
    said = [{**workload, "upscale": kind} for kind in ("auto", "never")]
    (tmp_path / "mix.json").write_text(json.dumps([*said, workload]))
    found = project(read_mix(tmp_path / "mix.json"), known_coefficients(models_of(PLAIN)), draws=50)
    auto, never, unsaid = (row["usd"] for row in found.rows.to_dict("records"))
    assert auto == unsaid > 5 * never
    assert f"| {FRAMING}, plain |" in found.markdown()
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert [row["work"].rpartition(", ")[2] for row in rows] == ["enlarged", "plain", "enlarged"]
    with pytest.raises(BadInput, match="nothing was measured of render_overlay without the network"):
        project(mix(upscale="never"), [OVERLAY])


def test_the_ledgers_mix_keeps_the_kinds_apart_and_shares_what_failed_between_them(
    store: DirectoryStore,
) -> None:
    for number in range(6):
        loaded = {"model_load_time_ms": 1.0} if number < 4 else {}
        usage = {**T4, "frames": 300, "video_seconds": 10.0, "wall_s": 40.0 if loaded else 5.0, **loaded}
        enter(store, number, day=number, task=FRAMING, usage=usage)
    enter(store, 10, day=1, task=FRAMING, status="error", error_kind="internal", usage={**T4, "wall_s": 17.0})
    found = {workload.upscale: workload for workload in mix_of(load(store)).workloads}
    assert set(found) == {"auto", "never"}
    assert [sum(found[kind].daily) for kind in ("auto", "never")] == [4, 2]
    assert len(found["auto"].values_usd) == 4
    assert found["auto"].failed_part == found["never"].failed_part == pytest.approx(0.1)

"""The prediction beside the outcome: in the ledger of every call that a model knows, on any backend."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from tests.modal_ops.test_foretold import CLIP, SPORT, learn, model
from video_pipeline import foretelling, worker
from video_pipeline.calls import WorkerIdentity, read_result
from video_pipeline.costs.ledger import load
from video_pipeline.errors import Transient
from video_pipeline.foretelling import ask_in_background, found_by_now, note_prediction
from video_pipeline.modal_ops.foretold import foretell
from video_pipeline.modal_ops.guard import Foretold, prices
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import BUILT_IN, call_key_of, find_task
from video_pipeline.telemetry.usage import Machine, Usage
from video_pipeline.worker import CallFile, execute

FORETOLD = Foretold(20.0, None, None, 0.02, 10, None, "2026-08-01", 9, "ledger")
RESERVED = Machine(cpu_cores=4, memory_gib=4)
"""Of `extract_clip` on Modal, as the table has it."""


def answered(found: Foretold | None) -> Future[Foretold | None]:
    answer: Future[Foretold | None] = Future()
    answer.set_result(found)
    return answer


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    store = open_store(settings)
    store.put(SPORT, (files("video_pipeline.demo") / "sport.mp4").read_bytes())
    learn(
        store,
        model("extract_clip", None),
        model("extract_clip", None, backend="local", s_per_frame=0.5),
    )
    return store


def run(settings: Settings, store: ObjectStore, reserved: Machine | None, **fields: Any) -> dict[str, Any]:
    """Runs a cut of 15 frames in this process, as a worker does; its row in the ledger."""
    task = find_task("extract_clip")
    request = task.parse_request({**CLIP, "start": 0.5, "end": 1, **fields})
    key = call_key_of(task, request, store)
    call = CallFile(
        key=key,
        task=task.name,
        version=task.version,
        request=request.model_dump(mode="json"),
        timeout_s=60,
        reserved=reserved,
    )
    here = WorkerIdentity.of_this_process()
    backend = "local" if reserved is None else "modal"
    assert execute(call, settings, store, here.model_copy(update={"backend": backend})) == 0
    (row,) = (row for row in load(store).to_dict("records") if row["key"] == key)
    found = read_result(store, "acme", key)
    assert found is not None
    noted = None if math.isnan(row["predicted_s"]) else row["predicted_s"]
    assert (found.status, found.usage.predicted_s) == (row["status"], noted)
    return row


def test_a_calls_row_in_the_ledger_has_what_the_model_of_its_backend_foretold(
    settings: Settings, store: ObjectStore
) -> None:
    here = run(settings, store, None)
    assert (here["frames"], here["predicted_s"]) == (15, pytest.approx(10 + 15 / 2))
    assert math.isnan(here["predicted_usd"])
    there = run(settings, store, RESERVED, clip_id="elsewhere")
    assert there["predicted_s"] == pytest.approx(10 + 15 / 10)
    per_s = prices().per_s(gpu=None, cpu_cores=4, memory_mib=4096)
    assert there["predicted_usd"] == pytest.approx(11.5 * per_s)


def test_a_task_waits_for_no_prediction_and_its_own_stays(
    settings: Settings, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foretelling, "LAST_WAIT_S", 0.01)
    go = threading.Event()

    def never() -> Foretold:
        go.wait(60)
        return FORETOLD

    before = set(threading.enumerate())
    late = ask_in_background(never)
    (asking,) = set(threading.enumerate()) - before
    assert asking.daemon, "a process may end without an answer"
    usage = Usage(frames=10)
    note_prediction(usage, late, ended_well=True)
    assert (usage.predicted_s, usage.predicted_usd) == (None, None)
    go.set()
    assert found_by_now(late, wait_s=60) == FORETOLD
    note_prediction(usage, late, ended_well=True)
    assert (usage.predicted_s, usage.predicted_usd) == (20.0, 0.02)
    own = Usage(frames=10, predicted_s=7.0)
    note_prediction(own, late, ended_well=True)
    assert (own.predicted_s, own.predicted_usd) == (7.0, None)


def test_a_task_that_asks_itself_is_not_asked_about_by_its_worker(
    settings: Settings, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    itself = [task.name for task in BUILT_IN if task.foretells_itself]
    assert itself == ["process_framing_ai_parallel"]
    monkeypatch.setattr(
        worker, "find_task", lambda *_: replace(find_task("extract_clip"), foretells_itself=True)
    )
    asked = run(settings, store, None)
    assert math.isnan(asked["predicted_s"])


def test_a_call_that_found_its_work_done_carries_no_prediction_and_one_that_failed_does() -> None:
    found_done, failed = Usage(), Usage()
    note_prediction(found_done, answered(FORETOLD), ended_well=True)
    note_prediction(failed, answered(FORETOLD), ended_well=False)
    assert (found_done.predicted_s, failed.predicted_s) == (None, 20.0)
    unknown = Usage(frames=10)
    note_prediction(unknown, answered(None), ended_well=True)
    assert unknown.predicted_s is None


def test_no_outcome_is_held_against_a_rough_prediction() -> None:
    usage = Usage(frames=10)
    note_prediction(usage, answered(replace(FORETOLD, rough=True)), ended_well=True)
    assert (usage.predicted_s, usage.predicted_usd) == (None, None)


@pytest.mark.parametrize(
    "known",
    [
        {"source": "experiments"},
        {"source": "published"},
        {"held_out_error": 0.151},
        {"held_out_error": None},
        {"frames_range": (16, 1000)},
    ],
    ids=str,
)
def test_models_of_other_work_or_of_little_certainty_foretell_roughly(
    settings: Settings, store: ObjectStore, known: dict[str, Any]
) -> None:
    learn(store, model("extract_clip", None, backend="local", **known))
    task = find_task("extract_clip")
    found = foretell(task, task.parse_request({**CLIP, "start": 0.5, "end": 1}), None, store)
    assert found is not None
    assert found.rough
    learn(store, model("extract_clip", None, backend="local"))
    found = foretell(task, task.parse_request({**CLIP, "start": 0.5, "end": 1}), None, store)
    assert found is not None
    assert not found.rough


def test_only_a_call_that_ended_well_waits_for_its_prediction_and_not_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(foretelling, "wait", lambda _, timeout: waited.append(timeout))
    for ended_well in (True, False):
        note_prediction(Usage(frames=10), Future(), ended_well=ended_well)
    assert waited == [1.0, 0.0]


def test_a_worker_whose_prediction_fails_ends_as_without_one() -> None:
    def look() -> None:
        raise Transient("the store was away")

    answer = ask_in_background(look)
    assert found_by_now(answer, wait_s=10) is None
    assert answer.done()

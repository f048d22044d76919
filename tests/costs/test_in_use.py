"""By which model a clip's chunks are chosen: the deployment's own before what ships, and a new plan renders
nothing again."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest.mock import PropertyMock, patch

import pytest

from tests.clips.conftest import desk as desk
from tests.clips.films import TENANT, Desk
from tests.clips.test_parallel import FanOutDouble, uneven_film
from tests.clips.test_parallel import calls as calls
from tests.costs.runs_made import RATES, known
from video_pipeline import keys
from video_pipeline.clips.foretelling import chunks_that_pay
from video_pipeline.costs.in_use import gpu_of, model_in_use, plan_of_render
from video_pipeline.costs.plan import Plan, shipped_coefficients, shipped_plan
from video_pipeline.costs.predict import Coefficients, predict
from video_pipeline.costs.stored import current, save
from video_pipeline.errors import Transient
from video_pipeline.keys import ClipId
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.tasks import call_key_of, find_task
from video_pipeline.worker import TaskContext

FRAMING, CHUNK, PARALLEL = "process_framing_ai", "process_framing_ai_chunk", "process_framing_ai_parallel"


CLIP = ClipId("acme", "goal")
PARTS, OTHER_PARTS = (keys.clip_parts_prefix(CLIP, digit * 16) for digit in "ab")


def own(**fields: Any) -> Coefficients:
    """Of framing with the network on a T4, from the ledger: a start of a second, and half of one a frame."""
    facts = {"task": FRAMING, "enlarged": True, "source": "ledger", "startup_s": 1.0, "s_per_frame": 0.5}
    return known(**{**facts, "rates": RATES, "chunks_range": (1, 4), **fields})


def keep(store: DirectoryStore, *coefficients: Coefficients) -> Plan:
    """A deployment's plan, as `gpu_plan` stores it."""
    plan = shipped_plan().model_copy(update={"made_by": "job account_costs", "coefficients": coefficients})
    save(store, "plan", {"json": plan.model_dump_json().encode()})
    return plan


@pytest.fixture
def store(tmp_path: Any) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.fixture(params=["modal", "local"])
def backend(request: pytest.FixtureRequest):
    """Doubles the compute of a call, for what asks which backend it is."""
    with patch.object(TaskContext, "compute", new_callable=PropertyMock) as compute:
        compute.return_value = SimpleNamespace(backend=request.param)
        yield request.param


# Which model


def test_a_deployments_own_model_comes_before_what_ships() -> None:
    mine = own()
    assert model_in_use([mine], CHUNK, backend="modal", enlarged=True) == mine
    assert model_in_use([], CHUNK, backend="modal", enlarged=True) == shipped_coefficients(FRAMING, "T4")


@pytest.mark.parametrize(
    "other",
    [
        {"chunks_range": (1, 1)},
        {"chunks_range": (4, 4)},
        {"gpu": "L4"},
        {"backend": "local"},
        {"enlarged": False},
        {"enlarged": None},
        {"task": "process_multi_clip"},
    ],
    ids=str,
)
def test_a_model_of_other_work_or_machines_or_of_one_count_alone_chooses_no_chunks(
    other: dict[str, Any],
) -> None:
    found = model_in_use([own(**other)], CHUNK, backend="modal", enlarged=True)
    assert found is not None
    assert found.source == "published"


def test_where_nothing_is_to_be_chosen_a_model_of_one_count_will_do_and_still_of_this_work_alone() -> None:
    alone = own(chunks_range=(1, 1))
    facts: dict[str, Any] = {"backend": "modal", "enlarged": True, "choosing": False}
    assert model_in_use([own(gpu="L4"), alone, own()], CHUNK, **facts) == alone
    assert model_in_use([own(gpu="L4")], CHUNK, **facts) == shipped_coefficients(FRAMING, "T4")


def test_without_a_model_of_the_work_there_is_none() -> None:
    assert model_in_use([own()], CHUNK, backend="modal", enlarged=False) is None
    assert model_in_use([own()], CHUNK, backend="local", enlarged=True) is None


def test_models_are_of_the_gpu_that_the_task_table_names_and_of_none_at_home() -> None:
    assert gpu_of(CHUNK, "modal") == find_task(CHUNK).hardware.gpu == "T4"
    assert gpu_of("extract_clip", "modal") is None
    assert gpu_of(CHUNK, "local") is None


# Which plan


def test_a_store_without_a_plan_has_none_and_one_with_a_plan_has_the_newest(store: DirectoryStore) -> None:
    assert plan_of_render(store, PARTS) is None
    keep(store, own())
    newest = keep(store, own(s_per_frame=0.25))
    assert plan_of_render(store, PARTS) == newest


def test_attempts_at_one_render_go_by_one_plan_and_other_renders_by_the_newest(store: DirectoryStore) -> None:
    first = keep(store, own())
    assert plan_of_render(store, PARTS) == first
    second = keep(store, own(s_per_frame=0.25))
    assert plan_of_render(store, PARTS) == first
    assert plan_of_render(store, OTHER_PARTS) == second
    (note,) = [item.key for item in store.list(PARTS)]
    store.delete(note)
    assert plan_of_render(store, PARTS) == second, "the note goes with the parts"


@pytest.mark.parametrize("note", ["not json", "{}", '{"plan": "a", "noted_at": "2026-01-01T00:00:00"}', None])
def test_a_note_of_a_render_that_failed_long_ago_or_that_is_damaged_holds_nobody(
    store: DirectoryStore, note: str | None
) -> None:
    """The longest call takes four hours: what is older was left by another one."""
    old = keep(store, own())
    plan_of_render(store, PARTS)
    (name,) = [item.key for item in store.list(PARTS)]
    told = json.loads(store.get(name))
    newest = keep(store, own(s_per_frame=0.25))
    for hours, wanted in ((3.9, old), (4.1, newest)):
        told["noted_at"] = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
        store.put(name, json.dumps(told).encode())
        if note is None:
            assert plan_of_render(store, PARTS) == wanted
    if note is not None:
        store.put(name, note.encode())
        assert plan_of_render(store, PARTS) == newest


@pytest.mark.parametrize("damage", ["not json", '{"framing_ai": 5}', None])
def test_a_plan_that_cannot_be_read_stops_nobody_and_is_said_in_the_log(
    store: DirectoryStore, caplog: pytest.LogCaptureFixture, damage: str | None
) -> None:
    keep(store, own())
    pointer = current(store, "plan")
    assert pointer is not None
    if damage is None:
        store.delete(pointer.files["json"])
    else:
        store.put(pointer.files["json"], damage.encode())
    with caplog.at_level(logging.WARNING):
        assert plan_of_render(store, PARTS) is None
    assert pointer.files["json"] in caplog.text
    assert "the tables that ship" in caplog.text


# In a render


def test_auto_goes_by_the_deployments_plan_and_says_so_beside_the_outcome(
    desk: Desk, calls: FanOutDouble, backend: str
) -> None:
    gpu = "T4" if backend == "modal" else None
    mine = own(backend=backend, gpu=gpu)
    keep(desk.store, mine)
    contexts: list[TaskContext] = []
    desk.before_run = contexts.append
    result = desk.run(PARALLEL, **uneven_film(desk))
    assert result.prediction is not None
    assert len(result.chunks) == result.prediction.chunks == 4
    assert result.prediction.basis.startswith("12 runs (ledger of this deployment)")
    priced = mine.model_copy(update={"segment_frames": 12})
    found = predict(priced, result.frames, 4)
    assert result.prediction.seconds == found.seconds
    assert result.prediction.usd == (found.usd if backend == "modal" else None), "at home seconds are free"
    assert result.prediction.machine == ("T4 on Modal" if backend == "modal" else "machines of one's own")
    assert contexts[0].usage.predicted_s == found.seconds
    assert contexts[0].usage.predicted_usd == result.prediction.usd
    assert [key for key in desk.stored() if "/parts/" in key] == [], "the note went with the parts"


def test_auto_without_a_plan_says_that_it_went_by_what_was_published(
    desk: Desk, calls: FanOutDouble, backend: str
) -> None:
    result = desk.run(PARALLEL, **uneven_film(desk))
    if backend == "local":
        assert result.prediction is None
        assert len(result.chunks) == chunks_that_pay(result.frames, Fraction(6), None)
    else:
        assert result.prediction.basis.startswith("6 runs (published)")


def test_a_clip_that_no_network_enlarges_goes_by_the_model_of_those(
    desk: Desk, calls: FanOutDouble, backend: str
) -> None:
    facts = {"backend": backend, "gpu": "T4" if backend == "modal" else None}
    dear = own(enlarged=False, **facts, s_per_frame=0.001, chunk_fixed_s=5.0, source="experiments")
    keep(desk.store, own(**facts), dear)
    result = desk.run(PARALLEL, **{**uneven_film(desk), "upscale": "never"})
    assert len(result.chunks) <= 1
    assert result.prediction.basis.startswith("12 runs (experiments)")


def test_a_new_plan_makes_no_other_call_and_renders_nothing_again(
    desk: Desk, calls: FanOutDouble, backend: str
) -> None:
    """The plan changes how a clip is made and not a byte of it: it is in no key and in no recipe."""
    fields = uneven_film(desk)
    request = find_task(PARALLEL).parse_request({"tenant_id": TENANT, "clip_id": "c1", **fields})
    key = call_key_of(find_task(PARALLEL), request, desk.store)
    mine = own(backend=backend, gpu="T4" if backend == "modal" else None)
    keep(desk.store, mine)
    before = desk.run(PARALLEL, **fields)
    made = len(calls.calls)
    keep(desk.store, mine.model_copy(update={"join_s": 1000.0}))
    assert call_key_of(find_task(PARALLEL), request, desk.store) == key
    again = desk.run(PARALLEL, **fields)
    assert (again.made, again.recipe, again.sha256) == (False, before.recipe, before.sha256)
    assert len(calls.calls) == made == 4, "no chunk was rendered"
    assert again.prediction == before.prediction, "what was foretold of the render that was made"


@pytest.mark.slow
def test_a_second_attempt_after_a_new_plan_cuts_where_the_first_did(
    desk: Desk, calls: FanOutDouble, backend: str
) -> None:
    fields, facts = uneven_film(desk), {"backend": backend, "gpu": "T4" if backend == "modal" else None}
    keep(desk.store, own(**facts))

    def fail(chunk: Any) -> Any:
        if chunk.start_frame == 0:
            raise Transient("the store is away")
        return chunk

    calls.before = fail
    with pytest.raises(Transient):
        desk.run(PARALLEL, **fields)
    keep(desk.store, own(**facts, join_s=1000.0))
    calls.before = lambda request: request
    assert len(desk.run(PARALLEL, **fields).chunks) == 4, "by the new plan it would be one"
    assert len(desk.run(PARALLEL, "another", **fields).chunks) <= 1


def test_a_preview_foretells_by_the_newest_plan_and_notes_nothing(desk: Desk, calls: FanOutDouble) -> None:
    keep(desk.store, own())
    result = desk.run(PARALLEL, preview=2, **uneven_film(desk))
    assert result.prediction is not None
    assert result.prediction.basis.startswith("12 runs (ledger of this deployment)")
    assert not [key for key in desk.stored() if "/parts/" in key]


def test_the_plan_lies_where_the_cost_assets_put_it(store: DirectoryStore) -> None:
    keep(store, own())
    assert store.head(keys.cost_current_key("plan")) is not None

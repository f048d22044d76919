"""When a call is spawned on Modal, with what, and how it is ended: with a double in the place of Modal, fast.

The same through the real client stands in `test_modal_faults.py` and `test_contract.py`.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.compute.conftest import DOUBLES
from tests.doubles.tasks import call_of
from tests.modal_ops.test_foretold import learn, model
from video_pipeline import keys
from video_pipeline.calls import (
    CallRecord,
    ErrorRecord,
    WorkerIdentity,
    failed_result,
    read_call,
    read_result,
    request_cancel,
    write_result,
)
from video_pipeline.compute import modal_calls
from video_pipeline.compute.base import CallOptions, Handle, Status
from video_pipeline.compute.modal import PENDING, Outcome, Way
from video_pipeline.compute.modal_calls import ModalCompute
from video_pipeline.compute.modal_spawns import SpawnNote, change_note, read_note, take_note
from video_pipeline.errors import BadInput, ErrorKind, Transient
from video_pipeline.settings import load_settings
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import call_key_of, find_task
from video_pipeline.telemetry.usage import Usage
from video_pipeline.worker import CallFile

REQUEST = {"do": "return"}
LOST = Status("lost", detail="the machine was taken", died="preempted")


class DoubleOfModal:
    """In the place of `DeployedApp`: notes what it is asked, and says what a test wants it to say."""

    name = "video-pipeline"

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.says = PENDING
        self.spawned: list[tuple[Way, CallFile]] = []
        self.cancelled: list[tuple[str, bool]] = []
        self.fails: Exception | None = None
        self.cancel_meanwhile = False

    def spawn(self, way: Way, call: dict[str, Any]) -> str:
        file = CallFile.model_validate(call)
        if self.fails is not None:
            raise self.fails
        self.spawned.append((way, file))
        if self.cancel_meanwhile:
            found = read_note(self._store, "acme", file.key)
            assert found is not None
            assert found[0].state == "spawning", "the note stands before the spawn"
            change_note(self._store, "acme", found[0], cancelled="a person asked")
        return f"fc-{len(self.spawned)}"

    def outcome(self, call_id: str) -> Outcome:
        return self.says

    def cancel(self, call_id: str, *, terminate: bool) -> None:
        self.cancelled.append((call_id, terminate))

    def log(self, call_id: str, since: object) -> list[Any]:
        return []


@pytest.fixture
def compute(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ModalCompute:
    monkeypatch.setattr(modal_calls, "DeployedApp", lambda name: DoubleOfModal(store))
    settings = load_settings(store="s3://bucket", compute="modal", task_modules=DOUBLES)
    return ModalCompute(settings, store)


@pytest.fixture
def modal(compute: ModalCompute) -> DoubleOfModal:
    assert isinstance(compute._app, DoubleOfModal)
    return compute._app


def key_of(compute: ModalCompute, **request: Any) -> str:
    task = find_task("double", compute._settings)
    return call_key_of(task, task.parse_request({**REQUEST, **request}), compute._store)


def record(
    compute: ModalCompute, *, call_id: str = "fc-1", beat_s_ago: float = 0.0, **fields: Any
) -> CallRecord:
    """A call record as a worker would have left it."""
    made = call_of(
        key_of(compute),
        WorkerIdentity(backend="modal", host="ta-1", call_id=call_id),
        request=REQUEST,
        heartbeat_at=time.time() - beat_s_ago,
        **fields,
    )
    compute._store.put(keys.call_key("acme", made.key), made.model_dump_json().encode())
    return made


def ended(compute: ModalCompute, of: CallRecord, kind: ErrorKind) -> None:
    error = ErrorRecord(kind=kind, message="as a test wants it")
    write_result(compute._store, "acme", failed_result(of, error, Usage()))


def note_of(compute: ModalCompute, handle: Handle) -> SpawnNote:
    found = read_note(compute._store, handle.tenant, handle.key)
    assert found is not None
    return found[0]


def test_a_call_is_spawned_with_all_that_its_worker_must_know(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    before = time.time()
    handle = compute.submit("double", REQUEST, CallOptions(timeout_s=30, parent="cd" * 16))
    assert handle == Handle("acme", key_of(compute), "double", "modal")
    ((way, file),) = modal.spawned
    assert way == Way("double")
    assert (file.key, file.task, file.version, file.timeout_s) == (handle.key, "double", 1, 30)
    assert file.request["do"] == "return"
    assert file.parent == "cd" * 16
    assert before <= (file.submitted_at or 0) <= time.time()
    assert file.reserved is not None
    assert (file.reserved.gpu_type, file.reserved.gpu_count) == (None, 0)
    assert (file.reserved.cpu_cores, file.reserved.memory_gib) == (1, 0.25)
    note = note_of(compute, handle)
    assert (note.state, note.call_id, note.app, note.after_attempt) == (
        "spawned",
        "fc-1",
        "video-pipeline",
        0,
    )


def test_a_call_that_modal_still_has_is_attached_to_and_one_it_has_done_with_is_spawned_again(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    compute.submit("double", REQUEST)
    assert compute.submit("double", REQUEST).attached
    modal.says = Outcome("failed", kind="preempted")
    assert not compute.submit("double", REQUEST).attached
    assert len(modal.spawned) == 2
    assert compute.submit("double", REQUEST, CallOptions(repeat=1)).key != key_of(compute)


def test_a_call_that_is_spawned_again_is_not_judged_by_the_look_before(
    compute: ModalCompute, modal: DoubleOfModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks a call stands as at the last one, and that one saw the lost spawn."""
    monkeypatch.setattr("video_pipeline.compute.modal_state.LOOK_S", (3600.0, 3600.0))
    handle = compute.submit("double", REQUEST)
    modal.says = Outcome("failed", kind="preempted")
    assert compute.poll(handle).state == "lost"
    assert not compute.submit("double", REQUEST).attached
    modal.says = PENDING
    assert compute.poll(handle).state == "waiting"


def test_a_living_worker_is_attached_to_whatever_note_there_is(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    record(compute)
    handle = compute.submit("double", REQUEST)
    assert (handle.attached, handle.ended) == (True, False)
    assert modal.spawned == []


@pytest.mark.parametrize(("kind", "spawns"), [("bad_input", 0), ("internal", 1), ("timeout", 1)])
def test_an_error_that_would_come_again_is_given_back_and_any_other_is_worth_a_spawn(
    kind: ErrorKind, spawns: int, compute: ModalCompute, modal: DoubleOfModal
) -> None:
    ended(compute, record(compute, state="finished", attempt=3), kind)
    handle = compute.submit("double", REQUEST)
    assert handle.attached == handle.ended == (spawns == 0)
    assert len(modal.spawned) == spawns
    if spawns:
        assert note_of(compute, handle).after_attempt == 3, "an earlier attempt's result is not this one's"


def test_who_comes_a_moment_later_than_another_attaches_to_what_that_one_spawns(
    compute: ModalCompute, modal: DoubleOfModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There was no note when it looked, and one when it wrote its own."""
    others = SpawnNote(key=key_of(compute), task="double", app="video-pipeline", after_attempt=0)

    def late(store: ObjectStore, tenant: str, note: SpawnNote, *, instead_of: str | None) -> bool:
        assert take_note(store, tenant, others, instead_of=None)
        return take_note(store, tenant, note, instead_of=instead_of)

    monkeypatch.setattr(modal_calls, "take_note", late)
    assert compute.submit("double", REQUEST).attached
    assert modal.spawned == []


def test_a_spawn_that_failed_hinders_nobody(compute: ModalCompute, modal: DoubleOfModal) -> None:
    modal.fails = Transient("Modal is away")
    with pytest.raises(Transient):
        compute.submit("double", REQUEST)
    modal.fails = None
    assert not compute.submit("double", REQUEST).attached
    assert len(modal.spawned) == 1


def test_a_call_cancelled_while_it_was_spawned_is_ended_with_modal(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    modal.cancel_meanwhile = True
    compute.submit("double", REQUEST)
    assert modal.cancelled == [("fc-1", True)]


@pytest.mark.parametrize(
    ("task", "options", "way"),
    [
        ("run_inference", CallOptions(), Way("run_inference", holds_model=True)),
        ("run_inference", CallOptions(gpu="T4"), Way("run_inference", holds_model=True, gpu="T4")),
        ("run_inference", CallOptions(gpu="b200"), Way("run_inference", holds_model=True)),
        ("run_inference", CallOptions(timeout_s=60), Way("run_inference", holds_model=True)),
        (
            "run_inference",
            CallOptions(timeout_s=7200),
            Way("run_inference", holds_model=True, timeout_s=7260),
        ),
        ("probe", CallOptions(), Way("probe")),
        ("probe", CallOptions(gpu="A10G"), Way("probe_with_gpu", gpu="A10")),
    ],
)
def test_what_differs_from_the_deployed_function_is_asked_for(
    task: str, options: CallOptions, way: Way, compute: ModalCompute, modal: DoubleOfModal
) -> None:
    inference = {"tenant_id": "acme", "sample_id": "look", "video_urls": ["https://example.org/a.mp4"]}
    handle = compute.submit(task, inference if task == "run_inference" else {}, options)
    assert modal.spawned[0][0] == way
    limit_s = options.timeout_s or find_task(task).hardware.timeout_s
    assert modal.spawned[0][1].timeout_s == limit_s, "the worker keeps its own limit, shorter than Modal's"
    assert compute.describe(handle)["gpu"] == way.gpu


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (CallOptions(gpu="T4"), "runs on a CPU only"),
        (CallOptions(timeout_s=90_000), "a time limit of 90000 s is not possible"),
        (CallOptions(timeout_s=80_000), r"above the limit of \$0.50 per call"),
    ],
)
def test_what_may_not_be_asked_for_is_refused_before_a_note_is_taken(
    options: CallOptions, message: str, store: ObjectStore, compute: ModalCompute, modal: DoubleOfModal
) -> None:
    compute._settings = compute._settings.model_copy(update={"max_usd_per_call": 0.5})
    with pytest.raises(BadInput, match=message):
        compute.submit("double", REQUEST, options)
    assert modal.spawned == []
    assert list(store.list("")) == []


def test_a_refusal_says_what_the_call_would_probably_take(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    learn(compute._store, model("run_inference", "B200"))
    compute._settings = compute._settings.model_copy(update={"max_usd_per_call": 0.5})
    request = {"tenant_id": "acme", "sample_id": "look", "video_urls": ["https://example.org/a.mp4"]}
    with pytest.raises(BadInput, match=r"about 10 s once it runs.* is above the limit of \$0.50 per call"):
        compute.submit("run_inference", request)
    assert modal.spawned == []


def test_calls_of_a_fan_out_are_held_against_the_limit_of_a_run_together(compute: ModalCompute) -> None:
    compute._settings = compute._settings.model_copy(update={"max_usd_per_run": 0.5})
    compute.check("double", 10)
    with pytest.raises(BadInput, match=r"for 1000 calls .* per run"):
        compute.check("double", 1000)


def test_who_starts_a_call_is_told_its_cost_once_and_an_orchestrator_is_not(compute: ModalCompute) -> None:
    handle = compute.submit("double", REQUEST)
    compute._costs[handle.key][1].result(timeout=10)
    reader = compute.events(handle)
    (told,) = reader.read()
    assert told.name == "cost"
    assert told.data["cost"].startswith("double on 1 cores, 0.5 GiB: at most ")
    assert reader.read() == []
    assert compute.describe(handle)["bound_usd"] == told.data["bound_usd"]
    child = compute.submit("double", {**REQUEST, "number": 1}, CallOptions(parent=handle.key))
    assert compute.events(child).read() == []
    assert "cost" not in compute.describe(child)


def test_a_lost_worker_is_buried_once_modal_has_done_with_its_call_and_never_before(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    handle = compute.submit("double", REQUEST)
    record(compute)
    assert compute.bury(handle, LOST) is None
    assert read_result(compute._store, "acme", handle.key) is None
    modal.says = Outcome("failed", kind="preempted")
    buried = compute.bury(handle, LOST)
    assert buried is not None
    assert buried.error is not None
    assert (buried.error.kind, buried.error.input, buried.buried) == ("preempted", "double", True)
    assert "the machine was taken" in buried.error.message
    assert read_result(compute._store, "acme", handle.key) == buried
    found = read_call(compute._store, "acme", handle.key)
    assert found is not None
    assert found[0].state == "finished"


def test_a_worker_of_another_call_of_modals_is_not_buried_for_this_one(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    handle = compute.submit("double", REQUEST)
    record(compute, call_id="fc-other")
    modal.says = Outcome("failed", kind="preempted")
    assert compute.bury(handle, LOST) is None


@pytest.mark.parametrize("where", ["record", "note"])
def test_a_call_that_was_asked_to_end_is_buried_as_cancelled(
    where: str, compute: ModalCompute, modal: DoubleOfModal
) -> None:
    handle = compute.submit("double", REQUEST)
    record(compute)
    if where == "record":
        request_cancel(compute._store, "acme", handle.key, "a person asked")
    else:
        change_note(compute._store, "acme", note_of(compute, handle), cancelled="a person asked")
    modal.says = Outcome("failed", kind="internal")
    buried = compute.bury(handle, LOST)
    assert buried is not None
    assert buried.error is not None
    assert (buried.error.kind, buried.error.message) == ("cancelled", "cancelled: a person asked")


def test_a_call_that_nobody_claimed_is_an_error_for_its_caller_and_no_result_in_the_store(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    old = record(compute, state="finished", attempt=2, cancel_requested="long ago")
    handle = compute.submit("double", REQUEST)
    assert note_of(compute, handle).after_attempt == old.attempt
    modal.says = Outcome("failed", kind="internal", detail="exits at start")
    buried = compute.bury(handle, Status("lost", detail="exits at start", died="internal"))
    assert buried is not None
    assert buried.error is not None
    assert buried.error.kind == "internal", "the cancel was of an earlier attempt"
    assert buried.worker.call_id == "fc-1"
    assert note_of(compute, handle).state == "failed", "it waits for no worker any more"
    assert read_result(compute._store, "acme", handle.key) is None


@pytest.mark.parametrize(
    ("died", "advice"),
    [
        ("out_of_memory", "it asks for 256 MiB and is ended beyond 512"),
        ("timeout", "a longer timeout_s"),
        ("internal", "the call's log on Modal"),
    ],
)
def test_what_to_do_about_a_lost_call_depends_on_what_it_died_of(
    died: ErrorKind, advice: str, compute: ModalCompute, modal: DoubleOfModal
) -> None:
    handle = compute.submit("double", REQUEST)
    record(compute, beat_s_ago=100)
    buried = compute.bury(handle, Status("lost", detail="it ended", died=died))
    assert buried is not None
    assert buried.error is not None
    assert advice in (buried.error.what_to_do or "")


def test_a_call_that_waits_is_cancelled_with_modal_at_once_and_says_so(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    handle = compute.submit("double", REQUEST)
    compute.cancel(handle, "a person asked")
    assert modal.cancelled == [("fc-1", True)]
    assert note_of(compute, handle).cancelled == "a person asked"


def test_a_cancel_of_a_dead_orchestrator_ends_what_it_started_and_writes_its_end(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    handle = compute.submit("double", REQUEST)
    ours, others = (compute.submit("double", {**REQUEST, "number": number}) for number in (1, 2))
    children = [
        {"tenant": "acme", "key": child.key, "task": "double", "child": number, "started": child is ours}
        for number, child in enumerate((ours, others), 1)
    ]
    record(compute, beat_s_ago=100, progress={"children": children})
    modal.says = Outcome("failed", kind="preempted")
    compute.cancel(handle, "a person asked")
    assert modal.cancelled == [("fc-1", True), ("fc-2", True)]
    assert note_of(compute, ours).cancelled == "a person asked"
    assert note_of(compute, others).cancelled is None
    ended = read_result(compute._store, "acme", handle.key)
    assert ended is not None
    assert ended.error is not None
    assert ended.error.message == "cancelled: a person asked"


def test_a_living_orchestrator_that_modal_knows_nothing_of_is_left_its_calls(
    compute: ModalCompute, modal: DoubleOfModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been asked to end, and ends them itself."""
    monkeypatch.setattr(modal_calls, "CANCEL_GRACE_S", 0.0)
    child = compute.submit("double", {**REQUEST, "number": 1})
    told = {"tenant": "acme", "key": child.key, "task": "double", "child": 1, "started": True}
    alive = record(compute, progress={"children": [told]})
    handle = Handle("acme", alive.key, "double", "modal")
    compute.cancel(handle, "a person asked")
    assert modal.cancelled == []
    described = compute.describe(handle)
    assert (described["state"], described["host"], described["attempt"]) == ("running", "ta-1", 1)
    assert 0 <= described["heartbeat_age_s"] < 60
    assert "call_id" not in described


def test_a_worker_that_does_not_end_is_interrupted_by_modal_and_then_its_container_is_killed(
    compute: ModalCompute, modal: DoubleOfModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CANCEL_GRACE_S", "INTERRUPT_GRACE_S"):
        monkeypatch.setattr(modal_calls, name, 0.2)
    monkeypatch.setattr(modal_calls, "CANCEL_LOOK_S", 0.05)
    handle = compute.submit("double", REQUEST)
    record(compute)
    compute.cancel(handle, "a person asked")
    assert modal.cancelled == [("fc-1", False), ("fc-1", True)]
    found = read_call(compute._store, "acme", handle.key)
    assert found is not None
    assert found[0].cancel_requested == "a person asked"


def test_a_worker_that_ends_at_modals_interrupt_keeps_its_container(
    compute: ModalCompute, modal: DoubleOfModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container serves other calls."""
    monkeypatch.setattr(modal_calls, "CANCEL_GRACE_S", 0.0)
    handle = compute.submit("double", REQUEST)
    at_work = record(compute)
    genuine = modal.cancel

    def interrupt(call_id: str, *, terminate: bool) -> None:
        genuine(call_id, terminate=terminate)
        ended(compute, at_work, "cancelled")

    monkeypatch.setattr(modal, "cancel", interrupt)
    compute.cancel(handle, "a person asked")
    assert modal.cancelled == [("fc-1", False)]


def test_a_worker_that_modal_has_lost_is_given_no_time_to_stop(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    handle = compute.submit("double", REQUEST)
    record(compute)
    modal.says = Outcome("failed", kind="preempted")
    compute.cancel(handle, "a person asked")
    assert modal.cancelled == []
    buried = read_result(compute._store, "acme", handle.key)
    assert buried is not None
    assert buried.error is not None
    assert buried.error.message == "cancelled: a person asked"


def test_a_spawn_of_which_nobody_knows_whether_it_was_made_is_waited_for_and_then_made_again(
    compute: ModalCompute, modal: DoubleOfModal
) -> None:
    note = SpawnNote(key=key_of(compute), task="double", app="video-pipeline", after_attempt=0)
    assert take_note(compute._store, "acme", note, instead_of=None)
    assert compute.submit("double", REQUEST).attached
    change_note(compute._store, "acme", note, at=time.time() - 61)
    assert not compute.submit("double", REQUEST).attached
    assert len(modal.spawned) == 1

"""How a Modal call is judged, its log read and its note kept, with a double in the place of Modal: fast."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tests.doubles.tasks import call_of
from video_pipeline import keys
from video_pipeline.calls import (
    CallRecord,
    ErrorRecord,
    ResultRecord,
    WorkerIdentity,
    failed_result,
    write_result,
)
from video_pipeline.compute import modal_output, modal_spawns, modal_state
from video_pipeline.compute.base import Handle, Status
from video_pipeline.compute.modal import PENDING, LogPiece, Outcome, _kind_of_text
from video_pipeline.compute.modal_output import OVERLAP, OutputReader
from video_pipeline.compute.modal_spawns import SpawnNote, change_note, read_note, take_note
from video_pipeline.compute.modal_state import CallWatch
from video_pipeline.errors import ErrorKind, Transient
from video_pipeline.store.base import ObjectStore
from video_pipeline.worker import EXIT_TAKEN

KEY = "ab" * 16
HANDLE = Handle("acme", KEY, "double", "modal")
CALL = "fc-1"


class DoubleOfModal:
    """In the place of `DeployedApp`: says what a test wants it to say."""

    def __init__(self) -> None:
        self.says: Outcome | Exception = PENDING
        self.pieces: list[LogPiece] | Exception = []
        self.asked = 0
        self.since: list[datetime] = []

    def outcome(self, call_id: str) -> Outcome:
        self.asked += 1
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def log(self, call_id: str, since: datetime) -> list[LogPiece]:
        self.since.append(since)
        if isinstance(self.pieces, Exception):
            raise self.pieces
        return [piece for piece in self.pieces if piece.at >= since]


@pytest.fixture
def modal() -> DoubleOfModal:
    return DoubleOfModal()


def note(store: ObjectStore, **fields: Any) -> SpawnNote:
    wanted = {"state": "spawned", "call_id": CALL, "after_attempt": 0, **fields}
    made = SpawnNote(key=KEY, task="double", app="video-pipeline", **wanted)
    found = read_note(store, "acme", KEY)
    assert take_note(store, "acme", made, instead_of=found[1] if found else None)
    return made


def record(store: ObjectStore, *, beat_s_ago: float = 0.0, call_id: str = CALL, **fields: Any) -> CallRecord:
    made = call_of(
        KEY,
        WorkerIdentity(backend="modal", host="ta-1", call_id=call_id),
        heartbeat_at=time.time() - beat_s_ago,
        **fields,
    )
    store.put(keys.call_key("acme", KEY), made.model_dump_json().encode())
    return made


def result(store: ObjectStore, of: CallRecord, kind: ErrorKind) -> ResultRecord:
    made = failed_result(of, ErrorRecord(kind=kind, message="as a test wants it"))
    write_result(store, "acme", made)
    return made


def look(store: ObjectStore, modal: DoubleOfModal) -> Status:
    return CallWatch(store, modal, HANDLE).status()  # pyright: ignore[reportArgumentType]


class Clock:
    """In the place of `time` where a watch looks at it: moves when a test says so."""

    time = staticmethod(time.time)

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(modal_state, "time", made)
    return made


def watching(store: ObjectStore, modal: DoubleOfModal) -> CallWatch:
    return CallWatch(store, modal, HANDLE)  # pyright: ignore[reportArgumentType]


def test_a_call_without_a_heartbeat_that_modal_still_has_waits_and_is_not_lost(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store)
    assert look(store, modal).state == "waiting"
    record(store, beat_s_ago=5, progress={"stage": "sleeping"})
    assert look(store, modal) == Status("running", progress={"stage": "sleeping"})
    record(store, beat_s_ago=75)
    silent = look(store, modal)
    assert silent.state == "waiting"
    assert "no heartbeat for 75 s" in silent.detail


@pytest.mark.parametrize("beat_s_ago", [1, 75])
def test_a_call_that_modal_has_done_with_is_lost_whatever_its_heartbeat(
    store: ObjectStore, modal: DoubleOfModal, beat_s_ago: float
) -> None:
    note(store)
    record(store, beat_s_ago=beat_s_ago)
    modal.says = Outcome("failed", kind="out_of_memory", detail="killed for memory")
    assert look(store, modal) == Status("lost", detail="killed for memory", died="out_of_memory")


def test_a_worker_of_another_call_runs_whatever_modal_says_of_this_one(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store)
    record(store, call_id="fc-other")
    modal.says = Outcome("failed", kind="internal")
    assert look(store, modal).state == "running"
    assert modal.asked == 0


def test_a_result_from_before_the_spawn_is_not_this_calls(store: ObjectStore, modal: DoubleOfModal) -> None:
    old = record(store, state="finished", attempt=2)
    result(store, old, "transient")
    note(store, after_attempt=2)
    assert look(store, modal) == Status("waiting", detail="Modal has not started it yet")
    new = record(store, state="finished", attempt=3)
    expected = result(store, new, "transient")
    assert look(store, modal) == Status("done", result=expected)


def test_a_worker_that_found_the_result_there_makes_it_this_calls(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store, after_attempt=2)
    expected = result(store, record(store, state="finished", attempt=2), "bad_input")
    modal.says = Outcome("returned", exit_code=0)
    assert look(store, modal) == Status("done", result=expected)


def test_a_worker_that_found_another_at_the_call_makes_no_earlier_result_this_calls(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store, after_attempt=2)
    result(store, record(store, state="finished", attempt=2), "transient")
    modal.says = Outcome("returned", exit_code=EXIT_TAKEN, detail="it left no result")
    assert look(store, modal) == Status("lost", detail="it left no result", died="internal")


def test_a_preempted_call_is_done_only_if_modal_does_not_run_it_again(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    taken = note(store)
    expected = result(store, record(store, state="finished"), "preempted")
    assert look(store, modal).state == "waiting"
    modal.says = Outcome("returned", exit_code=0)
    assert look(store, modal) == Status("done", result=expected)
    change_note(store, "acme", taken, cancelled="a test asked")
    modal.says = Outcome("failed", kind="cancelled")
    assert (look(store, modal).state, look(store, modal).died) == ("lost", "cancelled")


def test_a_worker_that_modal_started_in_the_place_of_another_runs_whatever_that_one_wrote(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store)
    result(store, record(store, attempt=1), "preempted")
    record(store, attempt=2, progress={"stage": "again"})
    assert look(store, modal) == Status("running", progress={"stage": "again"})


def test_what_a_worker_of_another_call_of_modals_wrote_is_the_end_though_this_one_still_waits(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store)
    result(store, record(store, call_id="fc-other", state="finished"), "preempted")
    assert look(store, modal).state == "done"


def test_a_call_that_has_taken_long_is_still_looked_at_every_second(
    store: ObjectStore, modal: DoubleOfModal, clock: Clock
) -> None:
    note(store)
    watch = watching(store, modal)
    assert watch.status().state == "waiting"
    clock.now += 3600
    assert watch.status().state == "waiting"
    result(store, record(store, state="finished"), "internal")
    clock.now += 0.5
    assert watch.status().state == "waiting", "between two looks, what the last one found"
    clock.now += 0.6
    assert watch.status().state == "done"


def test_an_end_that_modal_has_told_is_not_asked_for_again_but_that_of_the_next_call_is(
    store: ObjectStore, modal: DoubleOfModal, clock: Clock
) -> None:
    note(store)
    modal.says = Outcome("failed", kind="internal", detail="it broke")
    watch = watching(store, modal)
    for _ in range(3):
        assert watch.status().state == "lost"
        clock.now += 10
    assert modal.asked == 1
    note(store, call_id="fc-2")
    modal.says = PENDING
    assert watch.status().state == "waiting"


def test_two_short_outages_are_not_one_long_one(
    store: ObjectStore, modal: DoubleOfModal, clock: Clock
) -> None:
    note(store)
    watch = watching(store, modal)
    for says in (Transient("away"), PENDING, Transient("away")):
        modal.says = says
        assert watch.status().state == "waiting"
        clock.now += 200
    assert modal.asked == 3
    clock.now += 200
    with pytest.raises(Transient):
        watch.status()


def test_a_spawn_that_was_never_noted_is_waited_for_and_then_lost(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    assert look(store, modal).state == "lost"
    note(store, state="spawning", call_id=None)
    assert look(store, modal).state == "waiting"
    note(store, state="spawning", call_id=None, at=time.time() - 61)
    assert (look(store, modal).state, look(store, modal).died) == ("lost", "preempted")
    assert modal.asked == 0


def test_modal_is_asked_once_a_second_and_may_be_away_for_a_while(
    store: ObjectStore, modal: DoubleOfModal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.compute.modal_state.LOOK_S", (0.0, 0.0))
    note(store)
    modal.says = Transient("Modal cannot be reached")
    watch = CallWatch(store, modal, HANDLE)  # pyright: ignore[reportArgumentType]
    for _ in range(20):
        assert watch.status().state == "waiting"
    assert modal.asked == 1
    monkeypatch.setattr("video_pipeline.compute.modal_state.ASK_MODAL_S", 0.0)
    monkeypatch.setattr("video_pipeline.compute.modal_state.AWAY_LIMIT_S", 0.0)
    with pytest.raises(Transient):
        watch.status()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Runner terminated: out of memory (OOM)", "out_of_memory"),
        ("Container ta-1 exited with code 137", "out_of_memory"),
        ("the container exited with status: 137 (killed)", "out_of_memory"),
        ("Task was killed after thrashing at its own memory limit", "out_of_memory"),
        ("KERNEL_OOM_KILL", "out_of_memory"),
        ("evicted by the memory manager, the worker was under memory pressure", "preempted"),
        ("Input was cancelled by user", "cancelled"),
        ("frame 137 is damaged", "internal"),
        ("the room has 1370 seats, says code 1370", "internal"),
        ("the room was too small", "internal"),
        ("ModuleNotFoundError: No module named 'torch'", "internal"),
    ],
)
def test_the_reason_is_read_from_the_words_where_modal_gives_only_words(text: str, kind: str) -> None:
    assert _kind_of_text(text) == kind


def piece(text: str, *, after_s: float = 0.0, container: str = "ta-1") -> LogPiece:
    return LogPiece(datetime.now(UTC) + timedelta(seconds=after_s), container, text)


def reader(store: ObjectStore, modal: DoubleOfModal, status: Status | None = None) -> OutputReader:
    return OutputReader(store, modal, HANDLE, lambda: status)  # pyright: ignore[reportArgumentType]


def said(reader: OutputReader) -> list[Any]:
    reader._next_fetch = 0.0
    return [event.data.get("line", event.name) for event in reader.read()]


def test_each_line_is_given_once_whole_and_by_container(store: ObjectStore, modal: DoubleOfModal) -> None:
    note(store)
    output = reader(store, modal)
    first = [piece("one\ntw"), piece("other\n", container="ta-2"), piece("o\nthe same\n"), piece("half")]
    modal.pieces = first
    assert said(output) == ["one", "other", "two", "the same"]
    assert said(output) == []
    modal.pieces = [*first, piece(" of it\n"), piece('@video_pipeline {"event": "ended"}\n')]
    assert said(output) == ["half of it", "ended"]
    assert modal.since[0] < modal.pieces[0].at - timedelta(seconds=60)


def test_lines_that_come_late_are_still_found_and_equal_ones_counted(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store)
    output = reader(store, modal)
    newest, twin = piece("newest\n"), piece("twin\n", after_s=-1)
    modal.pieces = [twin, newest]
    assert said(output) == ["twin", "newest"]
    modal.pieces = [piece("late\n", after_s=-5), twin, twin, newest]
    assert said(output) == ["late", "twin"]


def test_a_line_just_as_old_as_the_log_is_read_from_is_not_given_twice(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store)
    output = reader(store, modal)
    newest = piece("newest\n")
    oldest = LogPiece(newest.at - OVERLAP, "ta-1", "oldest\n")
    modal.pieces = [oldest, newest]
    assert said(output) == ["oldest", "newest"]
    assert said(output) == []
    assert modal.since[-1] == oldest.at


def test_a_log_that_ends_earlier_for_once_brings_nothing_back(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store)
    output = reader(store, modal)
    every = [piece(f"{after_s}\n", after_s=after_s) for after_s in (0, 20, 26, 40)]
    modal.pieces = every
    assert said(output) == ["0", "20", "26", "40"]
    modal.pieces = every[:3]
    assert said(output) == []
    modal.pieces = every
    assert said(output) == []


def test_the_next_call_of_modals_tells_its_log_from_its_beginning(
    store: ObjectStore, modal: DoubleOfModal
) -> None:
    note(store)
    output = reader(store, modal)
    modal.pieces = [piece("a line\n")]
    assert said(output) == ["a line"]
    modal.pieces.append(piece("half a line, and its container"))
    assert said(output) == []
    note(store, call_id="fc-2")
    modal.pieces = [piece("a line\n")]
    assert said(output) == ["a line"]


def test_a_log_that_cannot_be_read_now_is_read_later(store: ObjectStore, modal: DoubleOfModal) -> None:
    note(store)
    output = reader(store, modal)
    modal.pieces = Transient("away")
    assert said(output) == []
    modal.pieces = [piece("there again\n")]
    assert output.read() == []
    assert said(output) == ["there again"]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a reader of output has waited, in its own time."""
    naps: list[float] = []
    own_time = SimpleNamespace(monotonic=lambda: sum(naps), sleep=naps.append)
    monkeypatch.setattr(modal_output, "time", own_time)
    return naps


def test_modal_is_left_alone_for_longer_where_it_did_not_give_the_log(
    store: ObjectStore, modal: DoubleOfModal, slept: list[float]
) -> None:
    note(store)
    output = reader(store, modal)
    for pieces, asked in (([], 2), (Transient("away"), 0)):
        modal.pieces = pieces
        assert said(output) == []
        modal.since.clear()
        for _ in range(2):
            slept.append(modal_output.FETCH_S)
            assert output.read() == []
        assert len(modal.since) == asked
    slept.append(modal_output.AGAIN_AFTER_S)
    modal.pieces = [piece("there again\n")]
    assert [event.data["line"] for event in output.read()] == ["there again"]


def test_the_last_event_is_waited_for_only_where_the_call_has_ended_just_now(
    store: ObjectStore, modal: DoubleOfModal, slept: list[float]
) -> None:
    note(store)
    ended = result(store, record(store, state="finished"), "internal")
    for age_s, waits in ((0, True), (120, False)):
        done = ended.model_copy(update={"finished_at": datetime.now(UTC) - timedelta(seconds=age_s)})
        slept.clear()
        assert said(reader(store, modal, Status("done", result=done))) == []
        assert (sum(slept) >= modal_output.LAG_S) is waits is bool(slept)


def test_the_last_words_of_a_lost_call_are_read_at_once_and_no_end_is_waited_for(
    store: ObjectStore, modal: DoubleOfModal, slept: list[float]
) -> None:
    """Its caller does not look again; and why a container died stands in its last lines."""
    note(store)
    now: list[Status] = [Status("running")]
    output = OutputReader(store, modal, HANDLE, lambda: now[0])  # pyright: ignore[reportArgumentType]
    modal.pieces = [piece("at work\n")]
    assert said(output) == ["at work"]
    modal.pieces.append(piece("No module named 'torch'\n"))
    assert output.read() == [], "Modal is not asked at every look"
    now[0] = Status("lost", detail="its container exited", died="internal")
    assert [event.data["line"] for event in output.read()] == ["No module named 'torch'"]
    assert slept == []


def test_the_last_event_of_the_next_call_of_modals_is_waited_for_though_one_came_before(
    store: ObjectStore, modal: DoubleOfModal, slept: list[float]
) -> None:
    note(store)
    now: list[Status] = [Status("running")]
    output = OutputReader(store, modal, HANDLE, lambda: now[0])  # pyright: ignore[reportArgumentType]
    modal.pieces = [piece('@video_pipeline {"event": "ended"}\n')]
    assert said(output) == ["ended"]
    note(store, call_id="fc-2")
    modal.pieces = []
    now[0] = Status("done", result=result(store, record(store, call_id="fc-2", state="finished"), "internal"))
    assert said(output) == []
    assert sum(slept) >= modal_output.LAG_S


def test_a_result_that_no_call_of_modals_left_has_no_log_to_wait_for(
    store: ObjectStore, modal: DoubleOfModal, slept: list[float]
) -> None:
    ended = result(store, record(store, state="finished"), "internal")
    ended.worker.call_id = None
    assert said(reader(store, modal, Status("done", result=ended))) == []
    assert slept == []


def test_of_several_callers_one_takes_the_note_and_nobody_changes_anothers(store: ObjectStore) -> None:
    first, second = (
        SpawnNote(key=KEY, task="double", app="video-pipeline", after_attempt=0) for _ in range(2)
    )
    assert take_note(store, "acme", first, instead_of=None)
    assert not take_note(store, "acme", second, instead_of=None)
    found = read_note(store, "acme", KEY)
    assert found is not None
    assert found[0] == first
    assert take_note(store, "acme", second, instead_of=found[1])
    assert not take_note(store, "acme", first, instead_of=found[1])
    change_note(store, "acme", first, state="failed")
    found = read_note(store, "acme", KEY)
    assert found is not None
    assert (found[0].owner, found[0].state) == (second.owner, "spawning")


def test_who_changes_a_note_that_was_just_changed_leaves_that_change_in_it(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person cancels the call while its spawn is noted: neither the id nor the cancel may be lost."""
    taken = note(store, state="spawning", call_id=None)
    genuine = modal_spawns.take_note

    def beaten(*arguments: Any, **options: Any) -> bool:
        monkeypatch.setattr(modal_spawns, "take_note", genuine)
        change_note(store, "acme", taken, cancelled="a person asked")
        return genuine(*arguments, **options)

    monkeypatch.setattr(modal_spawns, "take_note", beaten)
    changed = change_note(store, "acme", taken, state="spawned", call_id=CALL)
    assert (changed.state, changed.call_id, changed.cancelled) == ("spawned", CALL, "a person asked")
    found = read_note(store, "acme", KEY)
    assert found is not None
    assert found[0] == changed


def test_on_a_store_without_conditional_writes_the_last_note_stands(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "conditional_writes", lambda: False)
    first, second = (
        SpawnNote(key=KEY, task="double", app="video-pipeline", after_attempt=0) for _ in range(2)
    )
    monkeypatch.setattr(
        "video_pipeline.compute.modal_spawns.time.sleep",
        lambda _: store.put(keys.spawn_key("acme", KEY), second.model_dump_json().encode()),
    )
    assert not take_note(store, "acme", first, instead_of=None)
    assert take_note(store, "acme", second, instead_of=None)
    assert take_note(store, "acme", second, instead_of="an ETag of long ago"), "such a store takes none"

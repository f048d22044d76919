"""`video-pipeline calls`: showing calls with those that they started, and ending all of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.compute.conftest import Backend, ModalBackend
from tests.compute.test_fan_out import behaviours, journals, wait_for
from tests.compute.test_orchestrators import submit
from tests.doubles.tasks import Behaviour, call_of
from video_pipeline import cli, compute
from video_pipeline.call_ends import end_in_its_place
from video_pipeline.calls import (
    CallRecord,
    ErrorRecord,
    WorkerIdentity,
    list_calls,
    put_call,
    read_call,
    read_result,
)
from video_pipeline.compute.base import Handle, State, Status
from video_pipeline.compute.commands import REASON, as_tree, end_call, state_of
from video_pipeline.compute.modal_spawns import UNCLAIMED_LIMIT_S, SpawnNote, read_note, take_note
from video_pipeline.keys import call_key
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore


def record(
    key: str,
    *,
    parent: str | None = None,
    at: float,
    children: list[str] | None = None,
    started: bool = True,
) -> CallRecord:
    note = {"tenant": "acme", "task": "double", "child": 1, "started": started}
    notes = [{**note, "key": child} for child in children or []]
    return call_of(
        key,
        WorkerIdentity(backend="modal"),
        claimed_at=at,
        parent=parent,
        progress={"children": notes} if children is not None else None,
    )


def shown(*records: CallRecord) -> list[tuple[int, str]]:
    newest_first = sorted(records, key=lambda record: record.claimed_at, reverse=True)
    return [(row.depth, row.key) for row in as_tree(newest_first)]


def test_calls_stand_below_the_one_that_started_them_in_their_order() -> None:
    records = [
        record("old", at=1),
        record("parent", at=2),
        record("first", parent="parent", at=3),
        record("grandchild", parent="first", at=4),
        record("second", parent="parent", at=5),
        record("new", at=6),
    ]
    assert shown(*records) == [
        (0, "new"),
        (0, "parent"),
        (1, "first"),
        (2, "grandchild"),
        (1, "second"),
        (0, "old"),
    ]


def test_a_call_that_nobody_has_claimed_yet_stands_below_the_one_that_waits_for_it() -> None:
    parent = record("parent", at=1, children=["claimed", "not-yet"])
    rows = shown(parent, record("claimed", parent="parent", at=2))
    assert rows == [(0, "parent"), (1, "claimed"), (1, "not-yet")]
    assert shown(record("parent", at=1, children=["anothers"], started=False)) == [(0, "parent")]
    ended = record("parent", at=1, children=["ended too"]).model_copy(update={"state": "finished"})
    assert shown(ended) == [(0, "parent")]
    alone = record("alone", at=1).model_copy(update={"progress": {"stage": "frames"}})
    assert shown(alone) == [(0, "alone")]


def test_a_call_whose_parent_is_not_in_the_list_stands_for_itself() -> None:
    assert shown(record("child", parent="of another tenant", at=1), record("own", parent="own", at=2)) == [
        (0, "own"),
        (0, "child"),
    ]


def test_a_call_whose_worker_is_gone_without_a_word_is_shown_as_lost() -> None:
    gone = record("key", at=1).model_copy(update={"heartbeat_at": 0.0})
    assert state_of(gone) == "lost"
    assert state_of(gone.model_copy(update={"state": "finished"})) == "finished"
    assert state_of(record("key", at=1)) == "running"


def run(backend: Backend, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    for name, value in backend.environment.items():
        monkeypatch.setenv(name, value)
    return cli.main(["calls", *arguments])


def working(backend: Backend, handle: Handle, children: list[Behaviour]) -> CallRecord:
    """The orchestrator's record, once all of its calls work and stand in it: a worker may be faster than the
    orchestrator's note of it."""

    def noted() -> CallRecord | None:
        found = read_call(backend.store, handle.tenant, handle.key)
        if found is None or not found[0].progress:
            return None
        return found[0] if len(found[0].progress.get("children", [])) == len(children) else None

    wait_for(lambda: all(journals(children)) and noted() is not None)
    record = noted()
    assert record is not None
    return record


def kill(backend: Backend, orchestrator: CallRecord) -> None:
    """So that nobody brings it back: Modal would run a killed container's call again."""
    if isinstance(backend, ModalBackend):
        note = read_note(backend.store, orchestrator.tenant, orchestrator.key)
        assert note is not None
        backend.loopback.fault("run_out_of_memory", call=note[0].call_id)
    else:
        os.kill(orchestrator.worker.pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_cancel_of_a_dead_orchestrator_ends_the_calls_that_it_started(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    children = behaviours(tmp_path, "sleep", "sleep")
    handle = submit(backend.open(), children, at_once=2)
    kill(backend, working(backend, handle, children))
    assert run(backend, monkeypatch, "list", "--tenant", "acme") == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 3
    assert handle.key in listed[0]
    assert "  orchestrating_double  attempt 1" in listed[0]
    assert all("  running  " in line and "    double  attempt 1" in line for line in listed[1:])

    assert run(backend, monkeypatch, "cancel", handle.key[:12]) == 0
    said = capsys.readouterr().out
    assert said.startswith(handle.key)
    assert "2 that it started" in said
    assert backend.is_at_rest(within_s=60)
    for call in list_calls(backend.store, "acme"):
        result = read_result(backend.store, "acme", call.key)
        assert result is not None
        assert result.error is not None
        assert result.error.kind in ("cancelled", "out_of_memory")

    assert run(backend, monkeypatch, "cancel", handle.key) == 0
    assert "is not running" in capsys.readouterr().out


def test_a_cancel_of_a_working_orchestrator_ends_it_and_its_calls(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    children = behaviours(tmp_path, "sleep", "sleep")
    handle = submit(backend.open(), children, at_once=2)
    working(backend, handle, children)
    assert run(backend, monkeypatch, "cancel", handle.key, "--tenant", "acme") == 0
    assert f"{handle.key} is cancelled, and 2 that it started" in capsys.readouterr().out
    assert backend.is_at_rest(within_s=60)


def test_a_key_that_fits_no_call_or_several_is_named(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for tenant, key in (("acme", "ab" * 16), ("acme", "ac" * 16), ("films", "af" * 16)):
        ended = record(key, at=1).model_copy(update={"tenant": tenant, "state": "finished"})
        backend.store.put(call_key(tenant, key), ended.model_dump_json().encode())
    for arguments, said in (
        (["fff"], "0 calls begin with 'fff'"),
        (["a"], "3 calls begin with 'a'"),
        (["af", "--tenant", "acme"], "0 calls begin with 'af'"),
    ):
        assert run(backend, monkeypatch, "cancel", *arguments) == 2
        assert said in capsys.readouterr().err
    assert run(backend, monkeypatch, "cancel", "af", "--tenant", "films") == 0
    assert "is not running" in capsys.readouterr().out
    backend.store.delete(call_key("films", "af" * 16))


def test_a_call_that_waits_for_a_machine_on_modal_is_shown_and_can_be_cancelled(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a double of Modal. Its caller may be gone, and a rare GPU may be an hour away."""
    store = open_store(settings)
    notes = {
        name: SpawnNote(key=name * 16, task="double", app="a", state="spawned", call_id="fc", after_attempt=1)
        for name in ("a1", "a2", "a3", "a4", "a5", "a6")
    }
    notes["a3"].cancelled = "a person asked"
    notes["a4"].state = "failed"
    notes["a5"].at -= UNCLAIMED_LIMIT_S + 1
    notes["a1"].at -= 60
    for tenant, note in [*(("acme", note) for note in notes.values()), ("films", notes["a1"])]:
        assert take_note(store, tenant, note, instead_of=None)
    for name, attempt in (("a2", 1), ("a6", 2)):
        ended = record(name * 16, at=1).model_copy(update={"attempt": attempt, "state": "finished"})
        store.put(call_key("acme", ended.key), ended.model_dump_json().encode())
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", settings.store)
    assert cli.main(["calls", "list", "--tenant", "acme"]) == 0
    waiting = [line.split()[0] for line in capsys.readouterr().out.splitlines() if "  waiting  " in line]
    assert waiting == ["a2" * 16, "a1" * 16], "the newest first; it has waited before, and ended"

    store.put("Not a tenant/server/calls/notes.json", b"of somebody else")
    assert cli.main(["calls", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[:3] for line in lines if "  waiting  " in line) == [
        ["a1" * 16, "waiting", "acme"],
        ["a1" * 16, "waiting", "films"],
        ["a2" * 16, "waiting", "acme"],
    ]
    parent = record("bb" * 16, at=1, children=["a1" * 16])
    store.put(call_key("acme", parent.key), parent.model_dump_json().encode())
    assert cli.main(["calls", "list", "--tenant", "acme"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.endswith("  acme    double") for line in lines if line.startswith("a1" * 16)] == [True]
    store.delete(call_key("acme", parent.key))
    assert [line.split()[0] for line in lines if "  finished  " in line] == ["a2" * 16, "a6" * 16]

    asked: list[tuple[Handle, str]] = []
    double = SimpleNamespace(backend="modal", cancel=lambda *about: asked.append(about))
    monkeypatch.setattr(compute, "open_compute", lambda settings, store: double)
    assert cli.main(["calls", "cancel", "a2", "--tenant", "acme"]) == 0
    assert asked == [(Handle("acme", "a2" * 16, "double", "modal", attached=True), REASON)]
    assert "no worker had begun it" in capsys.readouterr().out


def test_a_call_is_ended_on_the_backend_that_it_runs_on_and_buried_if_it_left_no_word(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever backend the settings name. The double stands for Modal; the call's worker has just died."""
    store = open_store(settings)
    orphan = record("ab" * 16, at=1)
    store.put(call_key("acme", orphan.key), orphan.model_dump_json().encode())
    asked: list[str] = []
    double = SimpleNamespace(
        backend="modal",
        cancel=lambda handle, reason: asked.append(f"{handle.backend}: {reason}"),
        poll=lambda handle: Status("lost"),
        bury=lambda handle, status: asked.append(f"bury {handle.key[:4]}"),
    )

    def opened(settings: Settings, store: ObjectStore) -> SimpleNamespace:
        asked.append(f"open {settings.compute}")
        return double

    monkeypatch.setattr(compute, "open_compute", opened)
    assert end_call(settings, store, [orphan], orphan) == 1
    assert asked == ["open modal", f"modal: {REASON}", "bury abab"]

    asked.clear()
    ended = orphan.model_copy(update={"state": "finished"})
    store.put(call_key("acme", ended.key), ended.model_dump_json().encode())
    assert end_call(settings, store, [orphan], orphan) == 1, "it ran when it was listed"
    assert asked == [], "and has ended since"


def test_with_a_call_end_those_that_it_started_and_none_beside_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(settings)
    top, asked, child, below, beside, later = (f"{name}{name}" * 8 for name in "abcdef")
    records = [
        record(later, at=6),
        record(beside, parent=top, at=5),
        record(below, parent=child, at=4),
        record(child, parent=asked, at=3),
        record(asked, parent=top, at=2),
        record(top, at=1),
    ]
    for one in records:
        put_call(store, "acme", one)
    ended: list[str] = []
    double = SimpleNamespace(
        backend="modal",
        cancel=lambda handle, reason: ended.append(handle.key),
        poll=lambda handle: Status("done"),
    )
    monkeypatch.setattr(compute, "open_compute", lambda settings, store: double)
    assert end_call(settings, store, records, records[4]) == 3
    assert ended == [asked, child, below]


def test_a_cancel_of_a_call_that_was_ended_in_its_place_ends_what_waits_for_a_machine_for_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a double of Modal. Its caller has said that it ran out of memory, and its calls wait for a GPU."""
    store = open_store(settings)
    parent = record("ab" * 16, at=1, children=["waits", "has ended", "runs for another"])
    put_call(store, "acme", parent)
    anothers = record("ac" * 16, at=1, children=["waits too"], started=False)
    put_call(store, "acme", anothers)
    for one in (parent, anothers):
        end_in_its_place(store, one, ErrorRecord(kind="out_of_memory", message="it ran out"))
    states: dict[str, State] = {"has ended": "done", "runs for another": "running"}
    ended: list[tuple[str, str]] = []
    double = SimpleNamespace(
        backend="modal",
        poll=lambda handle: Status(states.get(handle.key, "waiting")),
        cancel=lambda handle, reason: ended.append((handle.key, reason)),
    )
    monkeypatch.setattr(compute, "open_compute", lambda settings, store: double)
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", settings.store)
    for key in ("ab", "ac"):
        assert cli.main(["calls", "cancel", key]) == 0
    assert ended == [("waits", REASON)]
    assert capsys.readouterr().out.splitlines() == [
        f"{'ab' * 16} was finished already; 1 that it started are cancelled",
        f"{'ac' * 16} is not running",
    ]

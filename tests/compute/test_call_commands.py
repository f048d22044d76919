"""`video-pipeline calls`: showing calls with those that they started, and ending all of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.compute.conftest import Backend, ModalBackend
from tests.compute.test_fan_out import behaviours, journals, wait_for
from tests.compute.test_orchestrators import submit
from tests.doubles.tasks import Behaviour
from video_pipeline import cli
from video_pipeline.calls import CallRecord, WorkerIdentity, list_calls, read_call, read_result
from video_pipeline.compute.base import Handle
from video_pipeline.compute.commands import as_tree
from video_pipeline.compute.modal_spawns import read_note


def record(
    key: str, *, parent: str | None = None, at: float, children: list[str] | None = None
) -> CallRecord:
    note = {"tenant": "acme", "task": "double", "child": 1, "started": True}
    notes = [{**note, "key": child} for child in children or []]
    return CallRecord(
        key=key,
        task="double",
        version=1,
        tenant="acme",
        request={},
        worker=WorkerIdentity(backend="modal"),
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


def test_a_call_whose_parent_is_not_in_the_list_stands_for_itself() -> None:
    assert shown(record("child", parent="of another tenant", at=1), record("own", parent="own", at=2)) == [
        (0, "own"),
        (0, "child"),
    ]


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
    assert backend.is_at_rest(within_s=10)
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
    assert backend.is_at_rest(within_s=10)


def test_a_key_that_fits_no_call_is_named(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(backend, monkeypatch, "cancel", "fff") == 2

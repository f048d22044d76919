"""The calls that a call has started: which an attempt left behind, and how those are ended. With doubles."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.doubles.tasks import call_of
from video_pipeline.call_ends import end_in_its_place
from video_pipeline.calls import ErrorRecord, WorkerIdentity, put_call, read_call, write_result
from video_pipeline.compute.base import Handle
from video_pipeline.compute.children import end_children, end_those_left, left_by_a_killed_attempt
from video_pipeline.errors import Transient
from video_pipeline.store.base import ObjectStore
from video_pipeline.task_context import TaskContext

KEY = "ab" * 16
OURS, TOO, OTHERS = (
    {"tenant": "acme", "key": key, "task": "double", "child": number, "started": started}
    for number, (key, started) in enumerate((("one", True), ("two", True), ("three", False)), 1)
)


class DoubleOfCompute:
    """Ends a call only once all of `together` are being ended."""

    backend = "modal"

    def __init__(self, together: int) -> None:
        self._all = threading.Barrier(together, timeout=120)
        self.ended: dict[str, tuple[Handle, str]] = {}

    def cancel(self, handle: Handle, reason: str) -> None:
        self._all.wait()
        self.ended[handle.key] = handle, reason


@pytest.mark.parametrize(
    ("state", "progress", "left"),
    [
        ("running", {"stage": "render", "children": [OURS, OTHERS]}, {"one": OURS, "three": OTHERS}),
        ("running", {"children": []}, {}),
        ("running", {"stage": "render"}, None),
        ("running", None, None),
        ("finished", {"children": [OURS]}, None),
    ],
)
def test_an_attempt_that_did_not_end_left_the_calls_in_its_record(
    state: Any, progress: Any, left: Any, store: ObjectStore
) -> None:
    assert left_by_a_killed_attempt(store, "acme", KEY) is None
    record = call_of(KEY, WorkerIdentity(), state=state, progress=progress)
    put_call(store, "acme", record)
    assert left_by_a_killed_attempt(store, "acme", KEY) == left


def test_an_attempt_that_another_ended_in_its_place_left_its_calls_and_one_that_failed_by_itself_has_not(
    store: ObjectStore,
) -> None:
    record = call_of(KEY, WorkerIdentity(backend="modal"), progress={"children": [OURS]})
    put_call(store, "acme", record)
    result = end_in_its_place(store, record, ErrorRecord(kind="out_of_memory", message="it ran out"))
    found = read_call(store, "acme", KEY)
    assert found is not None
    assert found[0].state == "finished"
    assert left_by_a_killed_attempt(store, "acme", KEY) == {"one": OURS}
    write_result(store, "acme", result.model_copy(update={"buried": False}))
    assert left_by_a_killed_attempt(store, "acme", KEY) is None

    successor = record.model_copy(update={"worker": WorkerIdentity(backend="modal", call_id="fc-2")})
    put_call(store, "acme", successor)
    end_in_its_place(store, record, ErrorRecord(kind="preempted", message="it was taken away"))
    found = read_call(store, "acme", KEY)
    assert found is not None
    assert found[0] == successor, "its worker may be at work"


def test_those_that_it_started_are_ended_at_once_and_those_of_others_are_left() -> None:
    compute: Any = DoubleOfCompute(together=2)
    end_children(compute, [OURS, OTHERS, TOO], "a person asked")
    assert compute.ended == {
        key: (Handle("acme", key, "double", "modal", attached=True), "a person asked")
        for key in ("one", "two")
    }
    end_children(compute, [OTHERS], "a person asked")
    assert "three" not in compute.ended


def test_what_a_task_leaves_is_ended_and_one_that_cannot_be_ended_now_is_only_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*_: Any) -> None:
        raise Transient("Modal is away")

    def context(compute: Any, *children: dict[str, Any]) -> TaskContext:
        left = {child["key"]: child for child in children}
        return SimpleNamespace(compute=compute, children=left)  # pyright: ignore[reportReturnType]

    compute = DoubleOfCompute(together=1)
    end_those_left(context(compute, OURS))
    assert [reason for _, reason in compute.ended.values()] == ["its orchestrator has ended"]
    end_those_left(context(None))
    end_those_left(context(SimpleNamespace(backend="modal", cancel=away), OURS))
    assert "calls of this one could not be ended: Modal is away" in caplog.text

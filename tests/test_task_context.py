"""What a task tells of itself: progress with rate and time left, the calls it waits for, its reports."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.task_context import TaskContext
from video_pipeline.telemetry.timing import Recorder


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def context(settings: Settings, tmp_path: Path, told: list[dict[str, Any]]) -> TaskContext:
    return TaskContext(
        store=open_store(settings),
        settings=settings,
        scratch=tmp_path,
        cancel=CancellationToken(),
        recorder=Recorder(),
        emit=told.append,
    )


@pytest.mark.parametrize(
    ("done", "total", "rate", "left"),
    [
        (100, 400, 10.0, 30.0),
        (100, None, 10.0, None),
        (0, 400, 0.0, None),
        (400, 400, 40.0, 0.0),
        (1, 400, 0.1, 3990.0),
    ],
)
def test_progress_says_how_fast_it_is_and_how_long_the_rest_takes(
    done: int,
    total: int | None,
    rate: float,
    left: float | None,
    context: TaskContext,
    told: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1010.0)
    context.progress("render", done, total, unit="frames", started=1000.0)
    expected = {
        "stage": "render",
        "done": done,
        "total": total,
        "unit": "frames",
        "rate_per_s": rate,
        "seconds_left": left,
    }
    assert context.last_progress == expected
    assert told == [{"event": "progress", **expected}]


@pytest.mark.parametrize(("done", "left"), [(3, None), (4, 99.0)])
def test_what_the_first_hundredth_took_in_the_first_seconds_foretells_nothing(
    done: int, left: float | None, context: TaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1001.0)
    context.progress("render", done, 400, unit="frames", started=1000.0)
    assert (context.last_progress or {})["seconds_left"] == left


def test_the_record_has_the_calls_that_are_waited_for_beside_the_progress(context: TaskContext) -> None:
    assert context.recorded_progress() is None
    context.last_progress = {"stage": "render"}
    assert context.recorded_progress() == {"stage": "render"}
    context.children = {"ab": {"key": "ab"}, "cd": {"key": "cd"}}
    assert context.recorded_progress() == {"stage": "render", "children": [{"key": "ab"}, {"key": "cd"}]}
    context.children, context.last_progress = {}, None
    assert context.recorded_progress() == {"children": []}, "it has fanned out, and waits for none"


def test_a_report_is_bytes_of_the_type_that_its_name_says(context: TaskContext) -> None:
    context.attach_report("page.html", "é")
    context.attach_report("facts.json", b"{}")
    context.attach_report("other.bin", b"\0")
    assert context.reports == {
        "page.html": ("é".encode(), "text/html"),
        "facts.json": (b"{}", "application/json"),
        "other.bin": (b"\0", "application/octet-stream"),
    }

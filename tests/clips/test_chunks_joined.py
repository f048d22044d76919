"""What becomes of the answers of chunks: checks, rows, notes, the picture, and the parts when it fails."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import PropertyMock, patch

import numpy as np
import pytest
import torch
from PIL import Image

from tests.clips.films import TENANT, WIDE, Desk, Sound, psnr, tone, whole_picture
from tests.clips.test_parallel import FanOutDouble, calls, parts, uneven_film
from video_pipeline.calls import ResultRecord
from video_pipeline.clips import parallel
from video_pipeline.errors import Cancelled, Internal, PipelineError, Preempted, Transient
from video_pipeline.media.h264_parts import read_part, write_part
from video_pipeline.worker import TaskContext

_ = calls  # the fixture


def quick_film(desk: Desk) -> dict[str, Any]:
    """A request for 60 frames at 10 a second, in 3 segments of 20, without the network."""
    return {
        **WIDE,
        "fps": "10",
        "source_key": desk.film(frames=150, sound=Sound(tone(440))),
        "keyframes": [whole_picture()],
        "upscale": "never",
    }


def after_the_calls(
    monkeypatch: pytest.MonkeyPatch,
    calls: FanOutDouble,
    then: Callable[[TaskContext, list[ResultRecord]], list[ResultRecord]],
) -> None:
    """Lets `then` happen when all chunks are made; it gives the records that are joined."""

    def run(context: Any, task: str, requests: list[Any], **how: Any) -> list[ResultRecord]:
        return then(context, calls(context, task, requests, **how))

    monkeypatch.setattr(parallel, "fan_out", run)


# Parts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reason", "lost", "error", "left"),
    [
        ("SIGTERM", False, Cancelled("SIGTERM"), 3),
        ("a person asked for it", False, Cancelled("a person asked for it"), 0),
        ("another worker has the call", True, Cancelled("another worker has the call"), 3),
        ("", False, Preempted("the machine was taken away"), 3),
        ("", False, Transient("the network is away"), 3),
    ],
    ids=["a machine that goes", "a person", "a lost claim", "preempted", "what may pass"],
)
def test_parts_stay_where_another_attempt_goes_on_and_go_where_none_will(
    desk: Desk,
    calls: FanOutDouble,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
    lost: bool,
    error: PipelineError,
    left: int,
) -> None:
    def end(context: TaskContext, _records: list[ResultRecord]) -> list[ResultRecord]:
        if reason:
            context.cancel.cancel(reason)
        context.claim_lost = lost
        raise error

    after_the_calls(monkeypatch, calls, end)
    with pytest.raises(type(error), match=error.message):
        desk.run("process_framing_ai_parallel", num_chunks=3, **quick_film(desk))
    assert len(parts(desk)) == left


def test_an_error_is_told_also_where_the_store_takes_no_part_away(
    desk: Desk, calls: FanOutDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_key: str) -> None:
        raise Transient("the store is away")

    def end(_context: TaskContext, _records: list[ResultRecord]) -> list[ResultRecord]:
        monkeypatch.setattr(desk.store, "delete", refuse)
        raise Internal("a defect")

    after_the_calls(monkeypatch, calls, end)
    with pytest.raises(Internal, match="a defect"):
        desk.run("process_framing_ai_parallel", num_chunks=3, **quick_film(desk))


def changed(record: ResultRecord, **fields: Any) -> ResultRecord:
    return record.model_copy(update={"result": {**(record.result or {}), **fields}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda records: records[:2], "the parts end at frame 40, the clip has 60"),
        (lambda records: records[1:], "a part holds frames 20 to 40, wanted from 0"),
        (lambda records: [*records[:2], changed(records[2], frames=19)], "a part holds frames 40 to 60"),
        (lambda records: [*records[:2], changed(records[2], frames=21)], "a part holds frames 40 to 60"),
    ],
    ids=["the last is missing", "the first is missing", "a frame too few", "a frame too many"],
)
def test_parts_that_do_not_add_up_to_the_clip_are_not_joined(
    desk: Desk,
    calls: FanOutDouble,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[list[ResultRecord]], list[ResultRecord]],
    said: str,
) -> None:
    after_the_calls(monkeypatch, calls, lambda _context, records: change(records))
    with pytest.raises(Internal, match=said):
        desk.run("process_framing_ai_parallel", num_chunks=3, **quick_film(desk))
    assert not any(key.endswith(("clip.mp4", "manifest.json")) for key in desk.stored())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lost", "said"),
    [(5, "the parts hold 59 frames, not 60"), (-1, r"its picture lasts 5\.900000 s")],
    ids=["in the middle", "at the end"],
)
def test_a_part_with_fewer_pictures_than_its_call_said_is_not_joined(
    desk: Desk,
    calls: FanOutDouble,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    lost: int,
    said: str,
) -> None:
    def lose_one(_context: TaskContext, records: list[ResultRecord]) -> list[ResultRecord]:
        key = (records[2].result or {})["part_key"]
        part = read_part(io.BytesIO(desk.store.get(key)), name=key)
        packets = list(part.packets)
        del packets[lost]
        write_part(tmp_path / "less", part.format, part.extradata, packets)
        desk.store.put(key, tmp_path / "less")
        return records

    after_the_calls(monkeypatch, calls, lose_one)
    with pytest.raises(Internal, match=said):
        desk.run("process_framing_ai_parallel", num_chunks=3, **quick_film(desk))


# What the result says


def test_every_call_has_its_row_and_what_several_say_is_said_once(
    desk: Desk, calls: FanOutDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speak(_context: TaskContext, records: list[ResultRecord]) -> list[ResultRecord]:
        said = (["a note"], ["a note", "another"], [])
        spoken = [
            changed(record, notes=notes, degraded=notes[::-1])
            for record, notes in zip(records, said, strict=True)
        ]
        return [record.model_copy(update={"attempt": n + 1}) for n, record in enumerate(spoken)]

    after_the_calls(monkeypatch, calls, speak)
    result = desk.run("process_framing_ai_parallel", num_chunks=3, **quick_film(desk))
    rows = [(row.start_frame, row.end_frame, row.call, row.attempt) for row in result.chunks]
    assert rows == [(0, 20, f"{0:032x}", 1), (20, 40, f"{1:032x}", 2), (40, 60, f"{2:032x}", 3)]
    assert all(0 < row.seconds < 60 for row in result.chunks)
    assert result.notes == ("a note", "another")
    assert result.degraded == ("a note", "another")
    assert (result.enlarged_frames, result.model_sha256) == (0, None)
    assert result.made_of == calls.calls[0].source_key
    assert desk.last is not None


def test_the_sheet_of_a_clip_in_chunks_shows_what_that_of_the_whole_shows(
    desk: Desk, calls: FanOutDouble
) -> None:
    request = {**uneven_film(desk), "encoding": {"crf": 4, "preset": "veryfast"}}
    whole = desk.run("process_framing_ai", "whole", **request)
    joined = desk.run("process_framing_ai_parallel", "joined", num_chunks=3, **request)
    one, other = (np.asarray(Image.open(desk.fetch(result.picture_key))) for result in (whole, joined))
    assert one.shape == other.shape == (540, 900 + 8 + 300, 3)
    assert np.array_equal(one[:, :908], other[:, :908]), "the source's picture, with its crop marked"
    assert psnr(one[:, 908:], other[:, 908:]) > 35


def test_a_clip_made_in_one_call_shows_the_reports_of_that_call(
    desk: Desk, calls: FanOutDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{TENANT}/server/report.html"
    desk.store.put(key, b"<p>where the time went</p>")
    contexts: list[TaskContext] = []
    desk.before_run = contexts.append

    def report(_context: TaskContext, records: list[ResultRecord]) -> list[ResultRecord]:
        return [record.model_copy(update={"report_keys": {"waterfall.html": key}}) for record in records]

    after_the_calls(monkeypatch, calls, report)
    result = desk.run("process_framing_ai_parallel", num_chunks=1, **quick_film(desk))
    assert result.chunks == ()
    assert contexts[0].reports == {"waterfall.html": (b"<p>where the time went</p>", "text/html")}


def test_a_clip_in_chunks_says_what_it_read_of_its_source(desk: Desk, calls: FanOutDouble) -> None:
    contexts: list[TaskContext] = []
    desk.before_run = contexts.append
    desk.run("process_framing_ai_parallel", num_chunks=2, **quick_film(desk))
    assert len(contexts) == 3
    assert all((context.usage.bytes_read or 0) > 0 for context in contexts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "gpus", "at_once"), [("local", 0, None), ("local", 3, 3), ("modal", 3, None)]
)
def test_on_this_machines_own_gpus_chunks_run_one_on_each(
    desk: Desk,
    calls: FanOutDouble,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    gpus: int,
    at_once: int | None,
) -> None:
    asked: list[int | None] = []

    def run(
        context: Any, task: str, requests: list[Any], *, at_once: int | None = None
    ) -> list[ResultRecord]:
        asked.append(at_once)
        return calls(context, task, requests)

    monkeypatch.setattr(parallel, "fan_out", run)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with patch.object(TaskContext, "compute", new_callable=PropertyMock) as compute:
        compute.return_value = SimpleNamespace(backend=backend)
        desk.run("process_framing_ai_parallel", num_chunks=2, **quick_film(desk))
    assert asked == [at_once]

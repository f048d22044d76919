from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clips.films import (
    TALL,
    TALL_ROWS,
    TENANT,
    Desk,
    Sound,
    clicks,
    crop_at,
    make_film,
    numbers,
    put_repeating_weights,
    shown,
    sound_in,
)
from tests.compute.conftest import workers_of
from tests.fixtures.media_factory import DEMO_CLIP, ffmpeg
from video_pipeline.calls import ResultRecord, WorkerIdentity, list_calls, read_result
from video_pipeline.clips import parallel
from video_pipeline.clips.parallel import chunk_ranges
from video_pipeline.clips.result import RenderResult
from video_pipeline.compute.follow import run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.errors import BadInput, Internal, PipelineError, Transient
from video_pipeline.media.h264 import segment_frames
from video_pipeline.media.h264_parts import read_part, write_part
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.store.reader import FileReader
from video_pipeline.tasks import find_task

UNEVEN = [0]
while len(UNEVEN) < 200:
    UNEVEN.append(UNEVEN[-1] + (20, 25, 30, 24, 21)[len(UNEVEN) % 5])


@dataclass
class FanOutDouble:
    """Doubles `compute.fan_out`: runs the calls here, the last one first, as no backend promises an order."""

    desk: Desk
    calls: list[Any] = field(default_factory=list)
    before: Callable[[Any], Any] = lambda request: request
    """What becomes of a request before it runs; may raise."""

    def __call__(
        self, context: Any, task: str, requests: list[Any], *, at_once: int | None = None
    ) -> list[ResultRecord]:
        assert context.store is self.desk.store
        began = datetime.now(UTC)
        records = []
        for number in reversed(range(len(requests))):
            request = self.before(requests[number])
            self.calls.append(request)
            fields = request.model_dump(mode="json", exclude={"tenant_id", "clip_id"})
            result = self.desk.run(task, request.clip_id, **fields)
            records.append(
                ResultRecord(
                    key=f"{number:032x}",
                    task=task,
                    version=find_task(task).version,
                    status="ok",
                    result=result.model_dump(mode="json"),
                    worker=WorkerIdentity.of_this_process(None),
                    started_at=began,
                    finished_at=datetime.now(UTC),
                )
            )
        return records[::-1]


@pytest.fixture
def calls(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> FanOutDouble:
    double = FanOutDouble(desk)
    monkeypatch.setattr(parallel, "fan_out", double)
    return double


def uneven_film(desk: Desk) -> dict[str, Any]:
    """A request for 7 s at 6 a second, in 4 segments of 12: uneven times, slow motion, a moving crop."""
    return {
        **TALL,
        "fps": "6",
        "source_key": desk.film(
            ticks=UNEVEN, time_base=Fraction(1, 600), rate=Fraction(25), sound=Sound(clicks(Fraction(25)))
        ),
        "keyframes": [crop_at(0, x=0), crop_at(3, x=90), crop_at(7, x=20)],
        "segments": [{"start": 1.1, "end": 2.3, "speed": 0.4}, {"start": 3, "end": 4, "speed": 3}],
        "trim_start": 0.2,
        "trim_end": 7.0,
        "weights_key": put_repeating_weights(desk),
    }


def parts(desk: Desk) -> list[str]:
    return [key for key in desk.stored() if "/parts/" in key]


# How it is cut


@settings(deadline=None)
@given(
    frames=st.integers(1, 20_000),
    rate=st.sampled_from([Fraction(1), Fraction(30), Fraction(30000, 1001), Fraction(60)]),
    wanted=st.integers(1, 64),
)
def test_chunks_cover_every_frame_once_and_begin_on_segments(
    frames: int, rate: Fraction, wanted: int
) -> None:
    ranges = chunk_ranges(frames, rate, wanted)
    segment = segment_frames(rate)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == frames
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    assert all(start % segment == 0 and start < stop for start, stop in ranges)
    lengths = [-(-(stop - start) // segment) for start, stop in ranges]
    assert max(lengths) - min(lengths) <= 1
    assert len(ranges) == min(wanted, -(-frames // segment))


# The same clip


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_however_many_chunks_make_a_clip_its_bytes_are_the_same(
    desk: Desk, calls: FanOutDouble, count: int
) -> None:
    # With pictures out of order, as any preset has them but the one that is quick in tests.
    request = {**uneven_film(desk), "encoding": {"preset": "veryfast"}}
    whole = desk.run("process_framing_ai", "whole", **request)
    joined = desk.run("process_framing_ai_parallel", "joined", num_chunks=count, **request)
    assert len(calls.calls) == min(count, -(-whole.frames // 12))
    assert joined.sha256 == whole.sha256
    assert joined.enlarged_frames == whole.enlarged_frames == whole.frames
    assert joined.model_sha256 == whole.model_sha256 is not None
    assert (joined.start_seconds, joined.duration_seconds) == (whole.start_seconds, whole.duration_seconds)
    assert [row.start_frame for row in joined.chunks] == sorted(row.start_frame for row in joined.chunks)
    assert parts(desk) == []
    path = desk.fetch(joined.output_key)
    assert -1 not in numbers(shown(path, TALL_ROWS))
    assert abs(len(sound_in(path)[1]) / 48000 - joined.duration_seconds) <= 1024 / 48000


def test_a_clip_made_in_one_call_is_not_made_again_in_chunks(desk: Desk, calls: FanOutDouble) -> None:
    request = uneven_film(desk)
    whole = desk.run("process_framing_ai", "c1", **request)
    joined = desk.run("process_framing_ai_parallel", "c1", num_chunks=3, **request)
    assert not joined.made
    assert joined.output_key == whole.output_key
    assert calls.calls == []


def test_a_chunk_reads_only_its_part_of_a_long_source(desk: Desk) -> None:
    readers: list[FileReader] = []

    class Watched(DirectoryStore):
        """Remembers its readers."""

        def open_reader(self, key: str) -> FileReader:
            readers.append(super().open_reader(key))
            return readers[-1]

    long = desk.films / "long.mp4"
    ffmpeg(["-stream_loop", "3", "-i", str(DEMO_CLIP), "-c", "copy", str(long)])
    key = desk.put(long)
    desk.store = Watched(desk.films.parent / "store")
    fields = {
        "source_key": key,
        "keyframes": [{"time": 0, "x": 0, "y": 0, "width": 640, "height": 360}],
        "output_width": 160,
        "output_height": 90,
        "fps": "2",
    }
    result = desk.run("process_framing_ai_chunk", start_frame=200, end_frame=204, **fields)
    assert result.frames == 4
    # 168 s in 36 groups of pictures: one of them for the chunk, one for the end of the video.
    assert 0 < sum(reader.bytes_fetched for reader in readers) < 0.15 * long.stat().st_size


# Failure


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (BadInput("the video is damaged", input="it"), False),
        (Internal("a defect"), False),
        (Transient("the store is away"), True),
    ],
    ids=["bad input", "a defect", "what may pass"],
)
def test_parts_go_when_a_clip_fails_unless_another_attempt_will_use_them(
    desk: Desk, calls: FanOutDouble, error: PipelineError, left: bool
) -> None:
    request = uneven_film(desk)
    before = desk.stored()

    def fail(chunk: Any) -> Any:
        if chunk.start_frame == 0:
            raise error
        return chunk

    calls.before = fail
    with pytest.raises(type(error), match=error.message):
        desk.run("process_framing_ai_parallel", num_chunks=3, **request)
    assert len(parts(desk)) == (2 if left else 0)
    assert sorted(set(desk.stored()) - set(before)) == sorted(parts(desk))


def test_parts_of_a_killed_render_go_when_the_clip_is_there_already(desk: Desk, calls: FanOutDouble) -> None:
    request = uneven_film(desk)
    desk.run("process_framing_ai", **request)
    desk.run("process_framing_ai_chunk", start_frame=0, end_frame=12, **request)
    assert len(parts(desk)) == 1
    assert not desk.run("process_framing_ai_parallel", num_chunks=3, **request).made
    assert parts(desk) == []


@pytest.mark.parametrize("task", ["process_framing_ai", "process_framing_ai_parallel"])
def test_parts_of_a_killed_render_go_with_the_render_that_needs_none(desk: Desk, calls, task: str) -> None:
    request = uneven_film(desk)
    desk.run("process_framing_ai_chunk", start_frame=0, end_frame=12, **request)
    chunks: dict[str, Any] = {"num_chunks": 1} if task.endswith("parallel") else {}
    desk.run(task, **request, **chunks)
    assert parts(desk) == []


def test_a_source_that_is_replaced_meanwhile_makes_no_mixed_clip(
    desk: Desk, calls: FanOutDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = uneven_film(desk)
    content = desk.store.get(request["source_key"])

    def replace(chunk: Any) -> Any:
        if chunk.start_frame == 0:  # the last of them to run
            desk.store.put(request["source_key"], content + bytes(8))
        return chunk

    calls.before = replace
    with pytest.raises(Transient, match="replaced"):
        desk.run("process_framing_ai_parallel", num_chunks=3, **request)
    assert not any(key.endswith(("clip.mp4", "manifest.json")) for key in desk.stored())


def test_a_part_that_was_changed_in_the_store_is_not_joined(
    desk: Desk, calls: FanOutDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = uneven_film(desk)

    def run_and_change(context: Any, task: str, requests: list[Any], **_: Any) -> list[ResultRecord]:
        records = calls(context, task, requests)
        key = (records[1].result or {})["part_key"]
        desk.store.put(key, desk.store.get(key)[:-1] + b"?")
        return records

    monkeypatch.setattr(parallel, "fan_out", run_and_change)
    with pytest.raises(Transient, match="damaged"):
        desk.run("process_framing_ai_parallel", num_chunks=3, **request)
    assert len(parts(desk)) == 2, "a damaged part is taken away, so that its call makes it again"
    assert not any(key.endswith(("clip.mp4", "manifest.json")) for key in desk.stored())


def test_a_part_that_is_gone_has_its_call_run_again_by_another_attempt_and_no_other(
    desk: Desk, calls: FanOutDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = uneven_film(desk)
    records: list[ResultRecord] = []

    def run_and_lose(context: Any, task: str, requests: list[Any], **_: Any) -> list[ResultRecord]:
        records.extend(calls(context, task, requests))
        desk.store.delete((records[1].result or {})["part_key"])
        return records

    monkeypatch.setattr(parallel, "fan_out", run_and_lose)
    with pytest.raises(Transient, match="gone"):
        desk.run("process_framing_ai_parallel", num_chunks=3, **request)
    task = find_task("process_framing_ai_chunk")
    assert [record.is_reusable(task, desk.store) for record in records] == [True, False, True]


@pytest.mark.slow
def test_of_two_renders_of_one_clip_at_once_the_later_finds_the_clip_when_it_is_run_again(
    desk: Desk, calls: FanOutDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = uneven_film(desk)

    def run_and_be_overtaken(context: Any, task: str, requests: list[Any], **_: Any) -> list[ResultRecord]:
        records = calls(context, task, requests)
        if len(requests) == 3:
            assert desk.run("process_framing_ai_parallel", num_chunks=2, **request).made
        return records

    monkeypatch.setattr(parallel, "fan_out", run_and_be_overtaken)
    with pytest.raises(Transient, match="gone"):
        desk.run("process_framing_ai_parallel", num_chunks=3, **request)
    again = desk.run("process_framing_ai_parallel", num_chunks=3, **request)
    assert (again.made, len(again.chunks)) == (False, 2)
    assert again.sha256 == desk.run("process_framing_ai", "whole", **request).sha256
    assert parts(desk) == []


def test_parts_of_encoders_with_other_settings_are_not_joined(
    desk: Desk, calls: FanOutDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = uneven_film(desk)

    def run_and_exchange(context: Any, task: str, requests: list[Any], **_: Any) -> list[ResultRecord]:
        records = calls(context, task, requests)
        key = (records[1].result or {})["part_key"]
        part = read_part(io.BytesIO(desk.store.get(key)), name=key)
        write_part(tmp_path / "other", part.format, part.extradata + b"?", part.packets)
        desk.store.put(key, tmp_path / "other")
        return records

    monkeypatch.setattr(parallel, "fan_out", run_and_exchange)
    with pytest.raises(Internal, match="encoded with different settings"):
        desk.run("process_framing_ai_parallel", num_chunks=2, **request)
    assert not any(key.endswith(("clip.mp4", "manifest.json")) for key in desk.stored())


@pytest.mark.parametrize("gap", [(0, 12), (12, 24)], ids=["twice", "not at all"])
def test_parts_that_do_not_follow_each_other_are_not_joined(
    desk: Desk, calls: FanOutDouble, monkeypatch: pytest.MonkeyPatch, gap: tuple[int, int]
) -> None:
    request = uneven_film(desk)

    def run_others(context: Any, task: str, requests: list[Any], **_: Any) -> list[ResultRecord]:
        records = calls(context, task, requests)
        return [records[0], *records] if gap == (0, 12) else [records[0], *records[2:]]

    monkeypatch.setattr(parallel, "fan_out", run_others)
    with pytest.raises(Internal, match="a part holds frames"):
        desk.run("process_framing_ai_parallel", num_chunks=3, **request)


# Real workers


def ended(desk: Desk) -> set[str]:
    """The keys of calls whose result is there: a chunk's part is there before."""
    return {call.key for call in list_calls(desk.store, TENANT) if read_result(desk.store, TENANT, call.key)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_render_killed_in_the_middle_redoes_only_what_was_in_flight(desk: Desk, tmp_path: Path) -> None:
    """kill -9 of the orchestrator and all its workers while 8 chunks are made; then the same call again."""
    film = make_film(tmp_path / "long.mp4", frames=64, rate=Fraction(4), sound=Sound(clicks(Fraction(4))))
    request: dict[str, Any] = {
        "source_key": desk.put(film),
        "keyframes": [crop_at(0, x=0), crop_at(16, x=110)],
        "output_width": 200,
        "output_height": 360,
        "fps": "4",
    }
    call = {"tenant_id": TENANT, "clip_id": "c1", "num_chunks": 8, **request}
    compute = LocalCompute(desk.settings, desk.store)
    handle = compute.submit("process_framing_ai_parallel", call)
    try:
        deadline = time.monotonic() + 400
        while len(ended(desk)) < 3:
            assert time.monotonic() < deadline, "no three chunks in time"
            assert compute.poll(handle).state in ("waiting", "running")
            time.sleep(0.05)
    finally:
        killed = workers_of(desk.settings)
        for process in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(killed, timeout=30)
    assert workers_of(desk.settings) == []
    done = ended(desk)
    assert 3 <= len(done) < 8

    _, record = run_call(compute, "process_framing_ai_parallel", call)
    result = RenderResult.model_validate(record.result)
    attempts = {row.call: row.attempt for row in result.chunks}
    assert len(attempts) == 8
    assert all(attempts[key] == 1 for key in done)
    assert sum(attempt > 1 for attempt in attempts.values()) <= len(killed) - 1
    assert parts(desk) == []
    whole = desk.run("process_framing_ai", "whole", encoding={}, **request)
    assert whole.sha256 == result.sha256

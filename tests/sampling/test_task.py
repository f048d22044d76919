"""The task: what it stores under which key, what it tells of itself, and that it can be ended."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.servers.ranges import Fault, RangeServer
from video_pipeline import keys
from video_pipeline.errors import Cancelled
from video_pipeline.sampling import runner
from video_pipeline.sampling.request import RunInferenceRequest
from video_pipeline.sampling.runner import run_inference_impl
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.worker import TaskContext

KEY = "0123456789abcdef" * 2


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return load_settings(store=str(tmp_path / "store"))


@pytest.fixture
def events() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def context(settings: Settings, tmp_path: Path, events: list[dict[str, Any]]) -> TaskContext:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return TaskContext(
        store=open_store(settings),
        settings=settings,
        scratch=scratch,
        cancel=CancellationToken(),
        recorder=Recorder(),
        emit=events.append,
        call_key=KEY,
    )


def request(server: RangeServer, *names: str, **options: Any) -> RunInferenceRequest:
    urls = [server.url(f"{name}.mp4") for name in names]
    given = {"tenant_id": "acme", "sample_id": "look", "video_urls": urls, "return_frame_png": True}
    return RunInferenceRequest.model_validate({**given, **options})


def test_what_it_stores_is_named_in_its_result_and_each_row_names_its_own_picture(
    server: RangeServer, context: TaskContext
) -> None:
    asked = request(server, "h264_b", "gone", "demo_fragmented", num_batches=2)
    result = runner.run(asked, context)
    prefix = keys.sample_result_prefix("acme", "look", KEY)
    assert {item.key for item in context.store.list(prefix)} == set(result.output_keys())
    assert set(result.report_keys) == set(runner.REPORTS)
    assert result.wandb_run is None
    delivered = [row for row in result.frames if row.delivered]
    assert [row.png_key for row in delivered] == list(result.frame_png_keys)
    assert all(row.png_key is None for row in result.frames if not row.delivered)

    same = run_inference_impl(video_urls=list(asked.video_urls), num_batches=2, return_frame_png=True)
    for row, picture in zip(delivered, same["frame_png_bytes_list"], strict=True):
        name = f"batch_{row.batch:05d}_video_{row.video:05d}_frame_{row.frame:03d}.png"
        assert row.png_key == f"{prefix}frames/{name}"
        assert context.store.get(f"{prefix}frames/{name}") == picture
    assert Image.open(io.BytesIO(context.store.get(result.report_keys["picture_grid"]))).format == "PNG"
    for report in ("bandwidth", "timing_waterfall"):
        page = context.store.get(result.report_keys[report])
        assert page.lstrip().lower().startswith(b"<!doctype html")
    # The report draws a file as long as it is.
    size = (server.directory / "demo_fragmented.mp4").stat().st_size
    assert f'"size":{size}'.encode() in context.store.get(result.report_keys["bandwidth"])


def test_it_tells_what_it_used_and_shares_its_indexes_with_the_tenant(
    server: RangeServer, context: TaskContext
) -> None:
    result = runner.run(request(server, "h264_b", "gone", num_batches=3), context)
    assert context.usage.frames == result.delivered == 3
    assert context.usage.bytes_read == result.bandwidth_total_upstream_bytes == server.sent()
    (kept,) = context.store.list(keys.indexes_prefix("acme"))
    assert kept.size > 0
    server.log.clear()
    again = runner.run(request(server, "h264_b", num_batches=3), context)
    assert again.index_bytes == 0


def test_no_pictures_are_stored_where_none_are_asked_for(server: RangeServer, context: TaskContext) -> None:
    result = runner.run(request(server, "h264_b", return_frame_png=False), context)
    assert result.frame_png_keys == ()
    assert set(result.report_keys) == {"timing_waterfall", "bandwidth"}
    assert {item.key for item in context.store.list("acme/server/samples/")} == set(result.output_keys())


def test_it_tells_how_far_it_is_and_ends_when_it_is_cancelled(
    server: RangeServer, context: TaskContext, events: list[dict[str, Any]]
) -> None:
    server.faults = [Fault("stall", "h264_faststart.mp4")]
    told = context.emit

    def tell(event: dict[str, Any]) -> None:
        told(event)
        context.cancel.cancel("enough")

    context.emit = tell
    with pytest.raises(Cancelled, match="enough"):
        runner.run(request(server, "h264_b", "h264_faststart", num_batches=4), context)
    progress = events[0]
    assert (progress["stage"], progress["total"], progress["unit"]) == ("sample", 8, "frames")
    assert list(context.store.list("acme/server/samples/")) == []

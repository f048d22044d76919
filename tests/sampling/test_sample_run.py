"""What a run needs around it and leaves: options that reach it, errors of their own kind, its account."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.servers.ranges import Fault, RangeServer
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.sampling.request import SampleOptions
from video_pipeline.sampling.runner import run_inference_impl
from video_pipeline.sampling.sample_run import run_sample
from video_pipeline.streaming.cancel import CancellationToken


def options_of(**fields: Any) -> SampleOptions:
    return SampleOptions.model_validate(fields)


def test_each_videos_requests_and_size_are_its_own(server: RangeServer) -> None:
    names = ("h264_b", "gone", "demo_fragmented")
    urls = [server.url(f"{name}.mp4") for name in names]
    run = run_sample(options_of(), urls)
    assert list(run.requests) == [f"{number} {url}" for number, url in enumerate(urls)]
    for name, records in zip(names, run.requests.values(), strict=True):
        seen = server.requests(f"{name}.mp4")
        assert [record.received for record in records] == [logged.sent for logged in seen]
        asked = [f"bytes={record.start}-{record.stop - 1}" for record in records]
        if name == "h264_b":
            # A request for the head of a smaller file is recorded as far as the file goes.
            assert asked[1:] == [logged.range for logged in seen[1:]]
    sizes = [video.file_bytes for video in run.result.videos]
    served = [server.directory / f"{name}.mp4" for name in names]
    assert sizes == [path.stat().st_size if path.exists() else None for path in served]


def test_a_picture_that_is_wanted_twice_is_decoded_once_and_given_twice(server: RangeServer) -> None:
    result = run_inference_impl(
        video_url=server.url("h264_b.mp4"), timestamps=[1.0, 1.0, 1.01, 0.5], return_frame_png=True
    )
    assert result["delivered"] == 4
    pictures = result["frame_png_bytes_list"]
    assert pictures[0] == pictures[1] == pictures[2] != pictures[3]
    first, second, third, _ = result["frames"]
    assert first["pts"] == second["pts"] == third["pts"]
    source = HttpSource(server.url("h264_b.mp4"))
    index = open_index(source, Traffic())
    needed = {
        int(offset)
        for row in result["frames"]
        for offset in index.select(row["pts"], Traffic()).samples.offsets
    }
    assert result["pictures_decoded"] == len(needed)
    # Each bears its part of them, and of the requests.
    counts = [row["pictures_decoded"] for row in result["frames"]]
    assert max(counts[:3]) - min(counts[:3]) <= 1
    for name in ("requests", "index_bytes", "media_bytes", "useful_bytes"):
        parts = [row[name] for row in result["frames"]]
        assert max(parts) - min(parts) <= 2, name
    source.close()


def test_rows_tell_the_picture_by_its_number_and_its_exact_time(server: RangeServer) -> None:
    result = run_inference_impl(
        video_urls=[server.url("h264_b.mp4"), server.url("demo_fragmented.mp4")], timestamps=[0.99, 2.0]
    )
    plain = [row for row in result["frames"] if row["video"] == 0]
    # Pictures are 1/25 s apart: at 0.99 s the one of 0.96 s is shown.
    assert [(row["seconds"], row["frame_index"]) for row in plain] == [(0.96, 24), (2.0, 50)]
    assert [row["pts"] * Fraction(row["time_base"]) for row in plain] == [Fraction(24, 25), 2]
    assert all((row["width"], row["height"]) == (320, 180) for row in plain)
    assert all(row["minimum_bytes"] > 0 for row in result["frames"])


def test_every_file_that_a_run_opens_it_closes(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    opens, closes = FileSource.__init__, FileSource.close

    def opened(self: FileSource, path: Path, **given: Any) -> None:
        opens(self, path, **given)
        seen.append(("opened", self.name))

    def closed(self: FileSource) -> None:
        seen.append(("closed", self.name))
        closes(self)

    monkeypatch.setattr(FileSource, "__init__", opened)
    monkeypatch.setattr(FileSource, "close", closed)
    paths = [str(server.directory / f"{name}.mp4") for name in ("h264_b", "gone", "h264_faststart")]
    assert run_inference_impl(video_urls=paths, num_batches=20)["delivered"] == 40
    there = [paths[0], paths[2]]
    assert sorted(seen) == sorted((what, path) for what in ("opened", "closed") for path in there)


def test_a_run_is_not_tracked_where_its_reports_are_not_kept(server: RangeServer) -> None:
    with pytest.raises(BadInput, match="report_directory"):
        run_inference_impl(video_url=server.url("h264_b.mp4"), track=True)
    assert not server.log


def test_loading_torch_is_told_apart_and_first(server: RangeServer) -> None:
    """In a fresh process it is most of the time before the first frame."""
    run = run_sample(options_of(), [server.url("h264_b.mp4")])
    spans = sorted(run.recorder.spans(), key=lambda span: span.start)
    assert spans[0].name == "load_torch"
    assert [span.name for span in spans].count("load_torch") == 1
    assert spans[0].end <= spans[1].start


def test_pngs_are_made_only_where_they_are_asked_for(server: RangeServer) -> None:
    assert run_sample(options_of(), [server.url("h264_b.mp4")]).pngs == ()
    assert "frame_png_bytes_list" not in run_inference_impl(video_url=server.url("h264_b.mp4"))


def test_a_server_that_stays_away_fails_its_own_frames_as_transient(server: RangeServer) -> None:
    server.faults = [Fault("status", "h264_faststart.mp4", status=503)]
    result = run_inference_impl(video_urls=[server.url("h264_faststart.mp4"), server.url("h264_b.mp4")])
    failed, delivered = result["frames"]
    assert delivered["delivered"]
    assert failed["error"]["kind"] == "transient"
    assert "run it again later" in failed["error"]["what_to_do"]
    assert result["videos"][0]["retries"] == 3
    assert failed["requests"] == 4


def test_a_server_that_fails_at_the_pictures_fails_the_frames_and_counts_them(server: RangeServer) -> None:
    server.faults = [Fault("status", "h264_faststart.mp4", nth=range(2, 100), status=404)]
    url = server.url("h264_faststart.mp4")
    result = run_inference_impl(video_url=url, num_batches=3, frames_per_sample=2)
    assert (result["requested"], result["delivered"], result["failed"]) == (6, 0, 6)
    assert result["decoder"] == "none"
    assert all("404" in row["error"]["message"] for row in result["frames"])
    assert result["videos"][0]["error"] is None, "its index was read"
    assert sum(row["requests"] for row in result["frames"]) == len(server.log)
    assert result["bandwidth_total_upstream_bytes"] == server.sent()
    assert result["useful_bytes"] == 0 < result["minimum_bytes"]


@pytest.mark.parametrize("nth", [1, 2])
def test_a_cancel_ends_indexing_and_fetching_without_waiting_for_the_server(
    server: RangeServer, nth: int
) -> None:
    server.faults = [Fault("stall", "h264_faststart.mp4", nth={nth})]
    cancel = CancellationToken()

    cancelled: list[float] = []

    def stop(_snapshot: object) -> None:
        if len(server.log) == nth:
            cancelled.append(time.perf_counter())
            cancel.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        run_inference_impl(video_url=server.url("h264_faststart.mp4"), cancel=cancel, on_progress=stop)
    # The server would be waited for ten seconds, four times.
    assert time.perf_counter() - cancelled[0] < 20
    assert len(server.log) == nth


def test_what_a_run_changes_of_torch_it_puts_back(server: RangeServer, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run_inference_impl(video_url=server.url("h264_b.mp4"))
        assert torch.get_num_threads() == 3
        with pytest.raises(BadInput):
            run_inference_impl(
                video_url=server.url("h264_b.mp4"), classifier={"path": str(tmp_path / "none.pt2")}
            )
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("search", ["walk", "bisect"])
def test_the_search_that_is_asked_for_is_used(server: RangeServer, search: str) -> None:
    url = server.url("demo_fragmented.mp4")
    result = run_inference_impl(video_url=url, index_search=search)
    assert result["videos"][0]["index_kind"] == search


def test_as_many_classes_are_told_as_were_asked_for(server: RangeServer) -> None:
    result = run_inference_impl(video_url=server.url("h264_b.mp4"), top_k=2, num_batches=3)
    assert [len(row["prediction"]["top"]) for row in result["frames"]] == [2, 2, 2]


@pytest.mark.parametrize(("size", "batches"), [(None, [4, 3]), (3, [3, 3, 1]), (100, [7])])
def test_frames_are_classified_in_batches_of_the_size_that_was_asked_for(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch, size: int | None, batches: list[int]
) -> None:
    """Failed frames fill no batch."""
    from video_pipeline.models.image_classifier import Classifier

    seen: list[int] = []
    classify: Callable[..., Any] = Classifier.classify

    def counted(self: Classifier, pixels: torch.Tensor, **given: Any) -> Any:
        seen.append(len(pixels))
        return classify(self, pixels, **given)

    monkeypatch.setattr(Classifier, "classify", counted)
    urls = [server.url("gone.mp4"), server.url("h264_b.mp4")]
    result = run_inference_impl(
        video_urls=urls, num_batches=7, offset_max_seconds=None, inference_batch_size=size, device="cpu"
    )
    assert (result["delivered"], result["failed"]) == (7, 7)
    assert seen == batches


@pytest.mark.parametrize(
    "addresses",
    [{}, {"video_url": "a.mp4", "video_urls": ["b.mp4"]}, {"video_urls": []}],
)
def test_a_run_takes_one_address_or_a_list_of_them(addresses: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="video_url"):
        run_inference_impl(**addresses)

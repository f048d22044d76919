"""A file that has changed since its index was kept is sampled as if no index had been kept, and kept anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.media_factory import DEMO_CLIP, MediaFactory
from tests.servers.ranges import RangeServer
from video_pipeline.media.mp4.opening import HEAD_BYTES
from video_pipeline.sampling.runner import run_inference_impl

NAME = "changing.mp4"

Put = Callable[[bytes], None]
Sample = Callable[..., dict[str, Any]]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[RangeServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    with RangeServer(folder) as running:
        yield running


@pytest.fixture
def put(served: RangeServer) -> Put:
    def write(data: bytes) -> None:
        (served.directory / NAME).write_bytes(data)

    return write


@pytest.fixture
def sample(served: RangeServer, tmp_path: Path) -> Sample:
    def run(*, kept: bool = True, **options: Any) -> dict[str, Any]:
        served.log.clear()
        folder = tmp_path / "indexes" if kept else None
        result = run_inference_impl(video_url=served.url(NAME), index_directory=folder, **options)
        assert result["bandwidth_total_upstream_bytes"] == served.sent()
        assert result["requested"] == result["delivered"] + result["failed"]
        for name in ("requests", "index_bytes", "media_bytes", "useful_bytes"):
            assert sum(row[name] for row in result["frames"]) == result["videos"][0][name]
        return result

    return run


def chosen(result: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("batch", "frame", "requested_seconds", "pts", "prediction", "error")
    return [tuple(row[name] for name in names) for row in result["frames"]]


@pytest.mark.parametrize("longer_first", [True, False])
def test_the_frames_are_those_that_the_same_seed_draws_from_the_file_as_it_is(
    served: RangeServer, put: Put, sample: Sample, media: MediaFactory, longer_first: bool
) -> None:
    films = [DEMO_CLIP.read_bytes(), media.path("h264_faststart").read_bytes()]
    before, now = films if longer_first else films[::-1]
    options: dict[str, Any] = {"num_batches": 3, "frames_per_sample": 2, "offset_max_seconds": None}
    put(before)
    sample(**options)
    put(now)
    changed = sample(**options)
    heads = [logged.range for logged in served.log].count(f"bytes=0-{HEAD_BYTES - 1}")
    assert heads == 1, "the new index is read once for all who find the old one wrong"
    assert chosen(changed) == chosen(sample(kept=False, **options))
    (video,) = changed["videos"]
    assert (video["file_bytes"], video["index_kind"]) == (len(now), "plain")
    assert not video["index_was_at_hand"]
    assert changed["index_cache_hits"] == 0
    assert video["useful_bytes"] == video["minimum_bytes"] < video["media_bytes"]

    again = sample(**options)
    assert chosen(again) == chosen(changed)
    assert again["index_bytes"] == 0, "the new index was kept in place of the old one"
    assert again["bandwidth_num_proxy_requests"] < changed["bandwidth_num_proxy_requests"]


def test_a_timestamp_that_the_shorter_file_does_not_reach_fails_and_the_others_do_not(
    put: Put, sample: Sample, media: MediaFactory
) -> None:
    put(DEMO_CLIP.read_bytes())
    sample(timestamps=[1.0])
    put(media.path("h264_b").read_bytes())
    result = sample(timestamps=[1.0, 30.0])
    assert [row["delivered"] for row in result["frames"]] == [True, False]
    assert "2.400 s" in result["frames"][1]["error"]["message"]


@pytest.mark.parametrize("now", ["h264_b", "h264_fragmented_sidx", "demo_fragmented"])
def test_an_index_of_which_only_a_part_was_read_does_not_hide_that_the_file_changed(
    put: Put, sample: Sample, media: MediaFactory, now: str
) -> None:
    """Where its fragments were, there is something else now."""
    put(media.path("h264_fragmented_mfra").read_bytes())
    assert sample(timestamps=[0.1])["videos"][0]["index_kind"] == "mfra"
    put(media.path(now).read_bytes())
    changed = sample(timestamps=[2.2])
    assert changed["delivered"] == 1
    assert chosen(changed) == chosen(sample(kept=False, timestamps=[2.2]))
    assert sample(timestamps=[2.2])["index_bytes"] == 0


def test_a_file_of_the_same_size_is_another_one_where_its_tag_is(
    put: Put, sample: Sample, media: MediaFactory
) -> None:
    before, now = media.path("h264_b").read_bytes(), media.path("corrupt_middle").read_bytes()
    assert len(before) == len(now)
    put(before)
    sample(timestamps=[0.1])
    assert sample(timestamps=[0.1])["index_cache_hits"] == 1
    put(now)
    changed = sample(timestamps=[0.1])
    assert not changed["videos"][0]["index_was_at_hand"]
    assert changed["index_bytes"] > 0


def test_a_file_that_is_no_video_any_more_is_one_error_for_each_frame(
    put: Put, sample: Sample, media: MediaFactory
) -> None:
    put(media.path("h264_b").read_bytes())
    sample(num_batches=3)
    put(b"a page that says that the video has moved" * 5000)
    result = sample(num_batches=3)
    assert (result["delivered"], result["failed"]) == (0, 3)
    assert "not an MP4 file" in result["videos"][0]["error"]["message"]
    assert {row["error"]["message"] for row in result["frames"]} == {result["videos"][0]["error"]["message"]}

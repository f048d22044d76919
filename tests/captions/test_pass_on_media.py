"""The whole pass on every kind of file: what it publishes is what the file shows, or one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction

import pytest

from tests.fixtures.media_factory import MediaFactory, usual_ones_fast
from tests.media.conftest import media as media
from tests.media.reference import decode_everything
from video_pipeline.captions.checks import check_chunks, check_extents, check_frames
from video_pipeline.captions.intake import add_video, pass_request
from video_pipeline.captions.request import STAGES
from video_pipeline.captions.streaming_pass import run
from video_pipeline.errors import BadInput
from video_pipeline.keys import VideoId
from video_pipeline.media.geometry import CropRegion
from video_pipeline.store.base import ObjectStore
from video_pipeline.worker import TaskContext

VIDEO = VideoId("acme", "clip")
BAND = CropRegion(left=0.05, top=0.7, width=0.9, height=0.27)
MakeContext = Callable[..., TaskContext]


def put(
    store: ObjectStore, media: MediaFactory, variant: str, *, rate: object = 10, crop: CropRegion = BAND
) -> None:
    add_video(store, VIDEO, media.path(variant), crop_region=crop, frame_rate=rate, preset="fast")


@pytest.mark.parametrize(
    "variant",
    usual_ones_fast(
        [
            "h264_b",
            "h264_fragmented",
            "hevc",
            "vp9",
            "av1",
            "vfr",
            "non_zero_start",
            "edit_empty",
            "edit_trim",
            "rotated_90",
            "odd_size",
            "ten_bit",
            "one_picture",
            "two_pictures",
            "slow",
        ]
    ),
)
def test_every_kind_of_video_becomes_a_whole_set(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory, variant: str
) -> None:
    put(store, media, variant)
    result = run(pass_request(store, VIDEO, STAGES), make_context(store))
    assert result.extents is not None
    assert result.chunks is not None
    assert check_frames(store, result.frames.manifest_key) == []
    assert check_extents(store, result.extents.manifest_key) == []
    assert check_chunks(store, result.chunks.manifest_key) == []
    assert sum(result.label_counts.values()) == result.frame_count - 1

    reference = decode_everything(media.path(variant))
    expected = [reference.pts[position] for position in reference.sampled(Fraction(10))]
    frames = json.loads(store.get(result.frames.manifest_key.replace("manifest.json", "frames.json")))
    assert frames["pts"] == expected
    assert result.frame_count == len(expected)


@pytest.mark.parametrize("rate", ["25/3", "30000/1001", "60", "1/2"])
def test_any_rate_gives_every_sample_once(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory, rate: str
) -> None:
    put(store, media, "h264_b", rate=rate)
    result = run(pass_request(store, VIDEO, STAGES), make_context(store))
    assert result.chunks is not None
    assert check_chunks(store, result.chunks.manifest_key) == []
    reference = decode_everything(media.path("h264_b"))
    assert result.frame_count == len(reference.sampled(Fraction(rate)))


@pytest.mark.parametrize(
    "variant",
    [
        "no_pictures",
        "audio_only",
        "text",
        "empty_file",
        "truncated_faststart_60",
        "truncated_mkv",
        "corrupt_middle",
    ],
)
def test_every_kind_of_bad_file_is_one_clear_error_and_leaves_nothing(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory, variant: str
) -> None:
    put(store, media, variant)
    with pytest.raises(BadInput) as caught:
        run(pass_request(store, VIDEO, STAGES), make_context(store))
    assert "acme/client/videos/clip/video." in str(caught.value)
    assert caught.value.what_to_do
    assert [item.key for item in store.list("acme/") if item.key.endswith("manifest.json")] == []


@pytest.mark.parametrize(
    ("crop", "size"),
    [
        (CropRegion(left=0, top=0, width=1, height=1), (320, 180)),
        (CropRegion(left=0.1, top=0.8, width=0.63, height=0.15), (202, 28)),
        (CropRegion(left=0.333, top=0.333, width=0.333, height=0.1), (108, 20)),
    ],
)
def test_a_crop_of_any_size_is_even_and_whole(
    store: ObjectStore,
    make_context: MakeContext,
    media: MediaFactory,
    crop: CropRegion,
    size: tuple[int, int],
) -> None:
    # ffmpeg's crop makes 402x27 into 402x26, and a reader that expects 27 rows is off from the first picture.
    put(store, media, "h264_b", crop=crop)
    result = run(pass_request(store, VIDEO, STAGES), make_context(store))
    assert (result.frame_width, result.frame_height) == size


def test_a_crop_that_is_too_small_is_refused_before_anything_is_made(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory
) -> None:
    put(store, media, "h264_b", crop=CropRegion(left=0.5, top=0.5, width=0.01, height=0.01))
    with pytest.raises(BadInput, match="at least 16x16"):
        run(pass_request(store, VIDEO, STAGES), make_context(store))

"""Clip sources against decoding everything, on every kind of file and for many parts of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.media_factory import MediaFactory, usual_ones_fast
from tests.media.reference import decode_everything, displayed_crop
from tests.media.test_decode_software import CONVERTED, TURNED, UPRIGHT
from video_pipeline.media.clip_source import ClipPicture, ClipSource
from video_pipeline.media.frames import ColourTags
from video_pipeline.media.geometry import PixelCrop

# Read as the demuxer gives them: tagged BT.709, limited range, 8 bits, 4:2:0. The older codecs store no tags.
KEEPS_VALUES = [
    name
    for name in UPRIGHT
    if name not in ("h264_full_range", "vp8", "msmpeg4_avi", "mpeg4_avi", "mjpeg_avi", "mpeg2_ts", "h264_avi")
]


def equal(a: ClipPicture, b: ClipPicture) -> bool:
    return (a.pts, a.stop) == (b.pts, b.stop) and all(
        np.array_equal(getattr(a.frame, plane), getattr(b.frame, plane)) for plane in "yuv"
    )


def whole(path: Path) -> list[ClipPicture]:
    with ClipSource(path, name="the video") as source:
        return list(source.pictures())


def expected_part(
    pictures: list[ClipPicture], start: Fraction, stop: Fraction, time_base: Fraction
) -> list[ClipPicture]:
    """The rule as it is written: from the last picture not after `start` to the last before `stop`."""
    spare = min(time_base / 2, Fraction(1, 2000))
    first = max(
        (i for i, picture in enumerate(pictures) if picture.pts * time_base <= start + spare), default=0
    )
    return [picture for picture in pictures[first:] if picture.pts * time_base < stop - spare]


@pytest.mark.parametrize("variant", usual_ones_fast(UPRIGHT))
def test_a_whole_pass_gives_every_picture_of_the_video_once(media: MediaFactory, variant: str) -> None:
    path = media.path(variant)
    reference = decode_everything(path)
    with ClipSource(path, name="the video") as source:
        pictures = list(source.pictures())
        assert [picture.pts for picture in pictures] == reference.pts
        assert [picture.stop for picture in pictures] == [*reference.pts[1:], reference.end]
        assert source.start == reference.pts[0] * reference.time_base
        assert source.stop == reference.end * reference.time_base
        assert {(picture.frame.width, picture.frame.height) for picture in pictures} == {
            (source.width, source.height)
        }


def assert_equal_planes(source: ClipSource, path: Path, rotation: int = 0, mirrored: bool = False) -> None:
    reference = decode_everything(path)
    everything = PixelCrop(0, 0, source.width, source.height)
    for picture, decoded in zip(source.pictures(), reference.frames, strict=True):
        expected = displayed_crop(decoded, everything, rotation, mirrored)
        frame = picture.frame
        assert frame.tags == ColourTags(1, 1, 1, 1)
        assert all(np.array_equal(a, b) for a, b in zip((frame.y, frame.u, frame.v), expected, strict=True))


@pytest.mark.parametrize("variant", usual_ones_fast(KEEPS_VALUES))
def test_pictures_in_bt709_keep_their_values(media: MediaFactory, variant: str) -> None:
    with ClipSource(media.path(variant), name="the video") as source:
        assert_equal_planes(source, media.path(variant))


@pytest.mark.parametrize("variant", ["h264_b", "hevc", "vp9", "av1", "rotated_90", "ten_bit", "gray"])
def test_pictures_stay_as_they_came_while_decoding_goes_on_and_nobody_can_change_them(
    media: MediaFactory, variant: str
) -> None:
    """Planes may lie in libav's memory: a decoder that took it back would write the next picture there."""
    came: list[tuple[bytes, ...]] = []
    held: list[ClipPicture] = []
    with ClipSource(media.path(variant), name="the video") as source:
        for picture in source.pictures():
            came.append(planes_of(picture))
            held.append(picture)
    assert [planes_of(picture) for picture in held] == came
    turned = variant in TURNED
    assert held[0].frame.y.flags.writeable == turned
    if not turned:
        with pytest.raises(ValueError, match="read-only"):
            held[0].frame.y[:] = 0


def planes_of(picture: ClipPicture) -> tuple[bytes, ...]:
    frame = picture.frame
    return frame.y.tobytes(), frame.u.tobytes(), frame.v.tobytes()


@pytest.mark.parametrize("variant", TURNED)
def test_a_turned_video_is_upright(media: MediaFactory, variant: str) -> None:
    with ClipSource(media.path(variant), name="the video") as source:
        assert_equal_planes(source, media.path(variant), *TURNED[variant])


@pytest.mark.parametrize(
    "variant",
    usual_ones_fast([*UPRIGHT, *TURNED, *CONVERTED, "h264_fragmented_small", "h264_open_gop_ts"]),
)
def test_the_pictures_of_any_part_equal_those_of_a_whole_pass(media: MediaFactory, variant: str) -> None:
    path = media.path(variant)
    pictures = whole(path)
    with ClipSource(path, name="the video") as source:
        end = source.stop
        length = end - source.start
        for begin, share in ((0, 3), (1, 7), (2, 5), (1, 2), (9, 10), (3, 4), (1, 3), (0, 1)):
            start = source.start + length * begin / (10 if begin == 9 else share)
            stop = min(end, start + max(length / 6, source.time_base * 2))
            got = list(source.pictures(start, stop))
            want = expected_part(pictures, start, stop, source.time_base)
            assert [p.pts for p in got] == [p.pts for p in want]
            assert all(equal(a, b) for a, b in zip(got, want, strict=True)), (start, stop)

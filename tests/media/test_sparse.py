"""Pairs of pictures by seeking: the right moments, upright, on every kind of file."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from fractions import Fraction

import numpy as np
import pytest

from tests.fixtures.media_factory import DEMO_CLIP, MediaFactory
from video_pipeline.errors import BadInput
from video_pipeline.media import sparse
from video_pipeline.media.decode_software import SoftwareDecoder
from video_pipeline.media.sparse import WHOLE, PicturePair, picture_pairs

GAP = Fraction(1, 3)


def pairs(path: object, *moments: Fraction | int, gap: Fraction = GAP) -> list[PicturePair]:
    wanted = [Fraction(moment) for moment in moments]
    return list(picture_pairs(path, name="the video", moments=wanted, gap=gap))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "variant",
    ["h264_b", "h264_fragmented", "h264_mkv", "h264_open_gop", "hevc", "vp9", "av1", "vfr", "non_zero_start",
     "edit_trim", "rotated_90"],
)  # fmt: skip
def test_a_pair_shows_the_moment_and_a_third_of_a_second_later(media: MediaFactory, variant: str) -> None:
    every = SoftwareDecoder(
        media.path(variant), name="v", crop_region=WHOLE, rate=Fraction(1), also=lambda _pts: True
    )
    pictures = [(picture.pts, picture.frame) for picture in every.pictures()]
    times = [(pts - pictures[0][0]) * every.time_base for pts, _ in pictures]
    (pair,) = pairs(media.path(variant), Fraction(1, 2))
    first = next(index for index, time in enumerate(times) if time >= Fraction(1, 2))
    second = next(index for index, time in enumerate(times) if time >= times[first] + GAP)
    assert pair.seconds == float(times[first])
    assert np.array_equal(pair.first.y, pictures[first][1].to_host().y)
    assert np.array_equal(pair.second.y, pictures[second][1].to_host().y)


def test_seeking_gives_the_pictures_that_decoding_on_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = (2, 9, 20, 33)
    on = pairs(DEMO_CLIP, *moments)
    monkeypatch.setattr(sparse, "SEEK_BEYOND_S", 1)
    sought = pairs(DEMO_CLIP, *moments)
    assert [pair.seconds for pair in sought] == [pair.seconds for pair in on] == [2.0, 9.0, 20.0, 33.0]
    for one, other in zip(on, sought, strict=True):
        assert np.array_equal(one.first.y, other.first.y)
        assert np.array_equal(one.second.y, other.second.y)


def test_a_moment_too_near_the_end_gives_no_pair() -> None:
    assert [pair.seconds for pair in pairs(DEMO_CLIP, 41, Fraction(419, 10), 50)] == [41.0]


def test_something_that_is_not_a_video_is_named(media: MediaFactory) -> None:
    with pytest.raises(BadInput, match="the video"):
        pairs(media.path("text"), 1)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which files are open")
def test_leaving_the_loop_closes_the_file_and_leaves_a_reader_open() -> None:
    def opened() -> set[str]:
        return {os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")}

    wanted = [Fraction(1), Fraction(2)]
    shown = picture_pairs(DEMO_CLIP, name="the video", moments=wanted, gap=GAP)
    assert next(shown).seconds == 1.0
    assert str(DEMO_CLIP) in opened()
    assert isinstance(shown, Generator)
    shown.close()
    gc.collect()
    assert str(DEMO_CLIP) not in opened()
    with DEMO_CLIP.open("rb") as reader:
        assert len(list(picture_pairs(reader, name="the video", moments=wanted, gap=GAP))) == 2
        assert not reader.closed

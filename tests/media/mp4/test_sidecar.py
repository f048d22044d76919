"""A stored index looks up the same pictures as the one it was made of, or is refused."""

from __future__ import annotations

import random

import pytest

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.index import open_index
from video_pipeline.media.mp4.sidecar import dump_index, load_index
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource

NAMES = (
    *("h264_b", "edit_empty", "rotated_90", "vfr_fragmented"),
    *("h264_fragmented", "h264_fragmented_hybrid", "av1_fragmented"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_index_finds_the_same_pictures_without_reading_the_file(
    name: str, media: MediaFactory
) -> None:
    traffic = Traffic()
    made = open_index(FileSource(media.path(name)), traffic)
    times = range(-1000, 40_000, 777)
    wanted = [made.select(time, traffic) for time in times]
    end = made.end(traffic)
    stored = load_index(dump_index(made), FileSource(media.path(name)), name="x.vpindex")
    quiet = Traffic()
    for time, selection in zip(times, wanted, strict=True):
        found = stored.select(time, quiet)
        assert (found.pts, found.media_pts, found.frame_index) == (
            selection.pts,
            selection.media_pts,
            selection.frame_index,
        )
        assert found.entry == selection.entry
        for column in ("offsets", "sizes", "pts", "dts", "key"):
            assert (getattr(found.samples, column) == getattr(selection.samples, column)).all()
    assert stored.end(quiet) == end
    assert (stored.track, stored.kind) == (made.track, made.kind)
    assert not quiet.requests


def test_an_index_of_another_version_of_the_file_is_refused(media: MediaFactory, tmp_path) -> None:
    data = dump_index(open_index(FileSource(media.path("h264_b")), Traffic()))
    with pytest.raises(BadInput, match="another version"):
        load_index(data, FileSource(media.path("h264_faststart")), name="x.vpindex")


def test_damaged_bytes_are_refused_by_name(media: MediaFactory) -> None:
    path = media.path("h264_fragmented_mfra")
    data = dump_index(open_index(FileSource(path), Traffic()))
    chance = random.Random(3)
    for _ in range(300):
        damaged = bytearray(data)
        place = chance.randrange(len(damaged))
        if chance.random() < 0.2:
            del damaged[place:]
        else:
            damaged[place] ^= 1 << chance.randrange(8)
        with pytest.raises(BadInput) as caught:
            load_index(bytes(damaged), FileSource(path), name="x.vpindex")
        assert caught.value.input == "x.vpindex"

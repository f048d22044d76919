"""A part reader against the file itself: the same bytes and pictures, wherever a part is said to end."""

from __future__ import annotations

import io
import random
from fractions import Fraction

import numpy as np
import pytest

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.media.clip_source import ClipSource
from video_pipeline.media.part_reader import PartReader


class Bounded(io.BytesIO):
    """Remembers how far it was read."""

    furthest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.furthest = max(self.furthest, self.tell() if data else 0)
        return data


def test_it_gives_the_files_own_bytes_before_and_behind_the_place() -> None:
    data = random.Random(4).randbytes(50_000)
    whole, parts = Bounded(data), []

    def open_until(stop: int) -> Bounded:
        parts.append(Bounded(data[:stop]))
        return parts[-1]

    reader, chance = PartReader(whole, open_until), random.Random(5)
    for stop in (None, 20_000, 20_000, 60_000, 1, None):
        reader.expect(stop)
        for _ in range(100):
            at, length = chance.randrange(len(data) + 20), chance.choice([0, 1, 400, 40_000])
            assert reader.seek(at) == at
            got = reader.read(length)
            assert got == data[at : at + len(got)]
            assert len(got) <= length
            assert got or not length or at >= len(data)
            assert reader.tell() == at + len(got)
        assert reader.seek(-5, io.SEEK_END) == len(data) - 5
        assert reader.seek(2, io.SEEK_CUR) == len(data) - 3
        assert reader.read(-1) == data[-3:]
    assert [len(part.getvalue()) for part in parts] == [20_000, 50_000, 1]
    whole.furthest = 0
    reader.expect(30_000)
    reader.seek(100)
    assert len(reader.read(1000)) == 1000
    assert whole.furthest == 0


@pytest.mark.parametrize(
    "variant",
    [
        "h264_b",
        "h264_open_gop",
        "h264_fragmented",
        "h264_fragmented_sidx",
        "h264_mkv",
        "h264_ts",
        "h264_avi",
        "hevc_open_gop",
        "vp9",
        "av1",
        "vfr",
        "edit_empty",
        "edit_trim",
    ],
)
def test_the_pictures_of_a_part_are_the_same(media: MediaFactory, variant: str) -> None:
    path = media.path(variant)
    data = path.read_bytes()
    reader = PartReader(io.BytesIO(data), lambda stop: io.BytesIO(data[:stop]))
    with ClipSource(path, name="it") as plain, ClipSource(reader, name="it") as parted:
        assert plain.stop == parted.stop
        length = plain.stop - plain.start
        for first, last in (
            (0, 1),
            (Fraction(1, 2), Fraction(5, 8)),
            (0, Fraction(1, 9)),
            (Fraction(3, 4), 1),
        ):
            part = (plain.start + length * first, plain.start + length * last)
            for one, other in zip(plain.pictures(*part), parted.pictures(*part), strict=True):
                assert (one.pts, one.stop) == (other.pts, other.stop)
                assert all(np.array_equal(getattr(one.frame, p), getattr(other.frame, p)) for p in "yuv")
        every = (list(source.pictures()) for source in (plain, parted))
        assert len(next(every)) == len(next(every))


def test_a_part_is_read_no_further_than_the_pictures_it_needs(media: MediaFactory) -> None:
    data = media.path("h264_b").read_bytes()
    parts: list[Bounded] = []

    def open_until(stop: int) -> Bounded:
        parts.append(Bounded(data[:stop]))
        return parts[-1]

    with ClipSource(PartReader(Bounded(data), open_until), name="it") as source:
        assert len(list(source.pictures(Fraction(1, 5), Fraction(2, 5)))) == 5
        assert len(list(source.pictures(Fraction(1, 5), Fraction(2)))) == 45
        assert len(list(source.pictures(Fraction(1, 5)))) == 55
    # 60 pictures, the last part of which the index does not go far enough beyond: nothing is expected of it.
    assert len(parts) == 1
    assert 0 < parts[0].furthest <= len(parts[0].getvalue()) < 0.9 * len(data)

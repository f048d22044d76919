"""Which pictures are read, how often, and in which batches they go on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.clips.films import make_film, number_in
from video_pipeline.clips.shots import (
    ClipReader,
    OutputFrame,
    Shot,
    batches,
    end_tick,
    preview_numbers,
    programme_frames,
    source_frames,
)
from video_pipeline.clips.timeline import Programme, join, whole
from video_pipeline.media.clip_source import ClipSource
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.h264 import VideoFormat

RATE = Fraction(25)
DOT = CroppedFrame(*(np.zeros((side, side), np.uint8) for side in (2, 1, 1)), tags=ColourTags(1, 1, 1, 1))


def frame(number: int, *clips: int) -> OutputFrame:
    return OutputFrame(number, number, 1, tuple(Shot(clip, DOT, Fraction(0), Fraction(1)) for clip in clips))


class Openings:
    """Opens one file as often as it is asked to, and counts what is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opened: list[ClipSource] = []
        self.closed = 0

    @contextlib.contextmanager
    def __call__(self, _clip: int = 0) -> Iterator[ClipSource]:
        with ClipSource(self.path, name=self.path.name) as source:
            self.opened.append(source)
            try:
                yield source
            finally:
                self.closed += 1


@pytest.fixture
def film(tmp_path: Path) -> Openings:
    return Openings(make_film(tmp_path / "film.mp4", frames=200))


# Batches


@pytest.mark.parametrize(
    ("frames", "sizes"),
    [
        ([frame(n, 0) for n in range(23)], [4, 4, 2, 4, 4, 2, 3]),
        ([frame(n, 0) for n in range(20, 33)], [4, 4, 2, 3]),
        ([frame(n, int(n >= 5)) for n in range(10)], [4, 1, 3, 2]),
        ([frame(n, *clips) for n, clips in enumerate([(0,), (0, 1), (0, 1), (1,)])], [1, 2, 1]),
        ([frame(7, 0)], [1]),
        ([], []),
    ],
    ids=["segments of ten", "from the third segment on", "two clips", "a dissolve", "one frame", "nothing"],
)
def test_batches_end_at_segments_and_where_other_clips_are_shown(
    frames: list[OutputFrame], sizes: list[int]
) -> None:
    found = list(batches(frames, 10, 4))
    assert [len(batch) for batch in found] == sizes
    assert [one for batch in found for one in batch] == frames


def test_a_part_of_a_clip_goes_through_in_the_batches_of_the_whole() -> None:
    everything = list(batches((frame(n, 0) for n in range(60)), 15))
    part = list(batches((frame(n, 0) for n in range(30, 60)), 15))
    assert part == [batch for batch in everything if batch[0].number >= 30]


@pytest.mark.parametrize(
    ("total", "wanted", "numbers"), [(10, 3, [1, 5, 8]), (2, 5, [0, 1]), (1, 1, [0]), (100, 2, [25, 75])]
)
def test_a_preview_shows_the_middles_of_equal_shares(total: int, wanted: int, numbers: list[int]) -> None:
    assert preview_numbers(total, wanted) == numbers


# Times


@pytest.mark.parametrize(
    ("start", "stop", "per_second", "tick"),
    [
        ("0", "1", 25, 25),
        ("0", "1.0004", 25, 25),
        ("0", "1.001", 25, 26),
        ("0", "1.03", 25, 26),
        ("0", "1", 12800, 12800),
        ("0", "1.00003", 12800, 12800),
        ("0", "1.00005", 12800, 12801),
        ("1", "1.00001", 12800, 12801),
        ("1", "1.0001", 25, 26),
    ],
)
def test_a_part_ends_at_the_first_tick_not_before_its_stop_and_is_never_empty(
    start: str, stop: str, per_second: int, tick: int
) -> None:
    """Half a millisecond, and half a tick, are spared for times that were rounded."""
    assert end_tick(Fraction(start), Fraction(stop), Fraction(1, per_second)) == tick


def test_pictures_keep_their_own_times_from_the_first_on_and_the_last_ends_with_the_part(
    tmp_path: Path,
) -> None:
    ticks = [0, 20, 50, 110, 130, 190, 250, 275]
    path = make_film(tmp_path / "film.mp4", frames=8, ticks=ticks, time_base=Fraction(1, 600))
    with ClipSource(path, name="film") as source:
        found = list(source_frames(source, Fraction(60, 600), Fraction(200, 600)))
        second = source.time_base.denominator
    assert [number_in(one.shots[0].picture.y) for one in found] == [2, 3, 4, 5]
    assert [one.number for one in found] == [0, 1, 2, 3]
    assert [Fraction(one.pts, second) for one in found] == [Fraction(n, 600) for n in (0, 60, 80, 140)]
    assert [Fraction(one.duration, second) for one in found] == [Fraction(n, 600) for n in (60, 20, 60, 10)]
    assert [one.shots[0].time for one in found] == [Fraction(n, 600) for n in (50, 110, 130, 190)]
    assert {(one.shots[0].clip, one.shots[0].weight) for one in found} == {(0, Fraction(1))}


def test_ticks_that_no_mp4_can_state_are_counted_in_parts_of_them(tmp_path: Path) -> None:
    path = make_film(
        tmp_path / "film.avi",
        frames=30,
        rate=Fraction(30000, 1001),
        options={"preset": "veryfast", "bf": "0"},
    )
    with ClipSource(path, name="film") as source:
        assert source.time_base == Fraction(1001, 30000)
        found = list(source_frames(source, Fraction(0), source.stop))
    assert [(one.pts, one.duration) for one in found] == [(n * 1001, 1001) for n in range(30)]


# Reading


def shown_at(reader: ClipReader, *moments: str) -> list[int]:
    return [number_in(reader.at(Fraction(moment)).y) for moment in moments]


def test_a_reader_gives_the_picture_shown_then_and_decodes_each_once(film: Openings) -> None:
    reader = ClipReader(film(), until=Fraction(4))
    (source,) = film.opened
    before = source.stats.pictures_decoded
    assert shown_at(reader, "0", "0.01", "0.0399", "0.04", "0.2", "0.2") == [0, 0, 0, 1, 5, 5]
    assert shown_at(reader, "1.5", "2.8", "3.96") == [37, 70, 99]
    assert 99 <= source.stats.pictures_decoded - before <= 110
    reader.close()
    reader.close()
    assert film.closed == 1


def test_a_picture_shown_twice_is_one_object(film: Openings) -> None:
    reader = ClipReader(film(), until=Fraction(1))
    assert reader.at(Fraction(1, 10)) is reader.at(Fraction(11, 100))
    reader.close()


def test_a_reader_seeks_over_a_part_that_is_left_out_and_back(film: Openings) -> None:
    reader = ClipReader(film(), until=Fraction(8))
    (source,) = film.opened
    before = source.stats.pictures_decoded
    assert shown_at(reader, "0", "6.04") == [0, 151]
    assert source.stats.pictures_decoded - before < 50, "what lies between is not decoded"
    assert shown_at(reader, "1", "1.04", "7.96", "7.999") == [25, 26, 199, 199]
    reader.close()


def test_after_the_last_picture_a_reader_stays_at_it(film: Openings) -> None:
    reader = ClipReader(film(), until=Fraction(8))
    assert shown_at(reader, "7.9", "7.96", "7.99", "8", "8.02") == [197, 199, 199, 199, 199]
    reader.close()


def two_clips(transition: str) -> Programme:
    clip = whole(Fraction(1), Fraction(2), RATE)
    return join([clip, clip], "dissolve" if transition == "dissolve" else "cut", 0.4, ["a", "b"])


def test_output_frames_count_in_the_outputs_time_base_and_hold_each_clips_picture(film: Openings) -> None:
    fmt = VideoFormat(160, 96, Fraction(1, 50), RATE)
    found = list(programme_frames(two_clips("dissolve"), fmt, film, 12, 20))
    assert [(one.number, one.pts, one.duration) for one in found] == [(n, 2 * n, 2) for n in range(12, 20)]
    assert [[shot.clip for shot in one.shots] for one in found] == [[0]] * 3 + [[0, 1]] * 5
    assert [number_in(one.shots[0].picture.y) for one in found] == list(range(37, 45))
    assert [number_in(one.shots[1].picture.y) for one in found[3:]] == list(range(25, 30))
    assert len(film.opened) == film.closed == 2


@pytest.mark.parametrize(("taken", "opened"), [(1, 1), (17, 2), (30, 2)])
def test_sources_are_closed_where_the_frames_are_taken_no_further(
    film: Openings, taken: int, opened: int
) -> None:
    frames = programme_frames(two_clips("dissolve"), VideoFormat(160, 96, Fraction(1, 25), RATE), film)
    for _ in range(taken):
        next(frames)
    assert len(film.opened) == opened
    frames.close()
    assert film.closed == opened


def test_a_source_is_closed_when_its_clip_is_over(film: Openings) -> None:
    frames = programme_frames(two_clips("cut"), VideoFormat(160, 96, Fraction(1, 25), RATE), film)
    for _ in range(26):
        next(frames)
    assert (len(film.opened), film.closed) == (2, 1)
    frames.close()

"""Which pictures are looked at for people: at the borders of the video and of a call, and in long stills."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.clips.films import make_film, number_in
from video_pipeline.clips import detection_pictures
from video_pipeline.clips.detection_pictures import moments_at_rate, pictures_at
from video_pipeline.errors import BadInput
from video_pipeline.media.clip_source import ROUNDED, ClipSource

SHORT = Fraction(1, 10_000)


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures shown at 0, 1, 9 and 12 s, the last for 3 s."""
    path = tmp_path_factory.mktemp("stills") / "stills.mkv"
    return make_film(path, frames=4, ticks=[0, 1000, 9000, 12000], time_base=Fraction(1, 1000), gop=2)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 pictures in 4 s."""
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", frames=100)


def test_a_picture_that_stands_for_long_is_given_once_for_moments_far_apart(stills: Path) -> None:
    with ClipSource(stills, name="stills") as source:
        asked = [Fraction(text) for text in ("8", "0.5", "1.5", "4.75", "10", "9", "1")]
        found = [(number_in(one.picture.frame.y), one.asked) for one in pictures_at(source, asked)]
    assert found == [(0, (1,)), (1, (6, 2, 3, 0)), (2, (5, 4))]


def test_a_pause_longer_than_what_is_read_on_is_sought_over(
    film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[list[int]] = []
    read = detection_pictures._pass

    def watched(source, moments, group):
        passes.append(list(group))
        return read(source, moments, group)

    monkeypatch.setattr(detection_pictures, "_pass", watched)
    with ClipSource(film, name="film") as source:
        asked = [Fraction(text) for text in ("3.9", "0", "0.8", "1.8", "3.8")]
        found = [number_in(one.picture.frame.y) for one in pictures_at(source, asked)]
    assert found == [0, 20, 45, 95, 97]
    assert passes == [[1, 2, 3, 4, 0]], "steps of up to two seconds are read on"
    passes.clear()
    with ClipSource(film, name="film") as source:
        found = [
            number_in(one.picture.frame.y) for one in pictures_at(source, [Fraction(1), Fraction("3.01")])
        ]
    assert (found, passes) == ([25, 75], [[0], [1]])


def test_a_moment_that_was_rounded_by_less_than_half_a_tick_means_the_picture_it_misses(film: Path) -> None:
    with ClipSource(film, name="film") as source:
        rounded = source.time_base / 4
        for asked, shown in (
            ([0, 1 - rounded], [0, 25]),
            ([3, source.stop - rounded], [75, 99]),
            ([source.stop - rounded], [99]),
        ):
            found = pictures_at(source, [Fraction(moment) for moment in asked])
            assert [number_in(one.picture.frame.y) for one in found] == shown


def test_moments_outside_are_refused_at_once_and_the_first_five_named(film: Path) -> None:
    with ClipSource(film, name="film") as source:
        ends = [source.stop - SHORT, Fraction(0)]
        assert [number_in(one.picture.frame.y) for one in pictures_at(source, ends)] == [0, 99]
        for wrong in (source.stop, -SHORT):
            with pytest.raises(BadInput, match=r"from 0\.000 s to 4\.000 s") as caught:
                pictures_at(source, [Fraction(1), wrong])
            assert "1.000 s" not in caught.value.message
            assert caught.value.input == "film"
        for last, said in ((11, "7.000 s, 8.000 s, 9.000 s and 1 more"), (10, "7.000 s, 8.000 s, 9.000 s")):
            with pytest.raises(BadInput) as caught:
                pictures_at(source, [Fraction(n) for n in range(5, last)])
            assert caught.value.message.endswith(f": 5.000 s, 6.000 s, {said}")


def test_a_part_may_reach_from_the_videos_beginning_to_a_little_past_its_end(film: Path) -> None:
    with ClipSource(film, name="film") as source:
        assert moments_at_rate(source, Fraction(1), Fraction(0), source.stop + ROUNDED) == [0, 1, 2, 3]
        assert moments_at_rate(source, Fraction(1), Fraction("3.5"), None) == [Fraction("3.5")]
        for start, stop in (
            (-SHORT, None),
            (None, source.stop + ROUNDED + SHORT),
            (Fraction(2), Fraction(2)),
            (source.stop, None),
        ):
            with pytest.raises(BadInput, match="not in the video"):
                moments_at_rate(source, Fraction(1), start, stop)


def test_before_a_late_first_picture_that_one_is_looked_at(tmp_path: Path) -> None:
    path = make_film(tmp_path / "late.mkv", frames=2, ticks=[2000, 3000], time_base=Fraction(1, 1000))
    with ClipSource(path, name="late") as source:
        assert source.start == 2
        asked = [Fraction(text) for text in ("0", "1.5", "2.5", "3.02")]
        found = [(number_in(one.picture.frame.y), one.asked) for one in pictures_at(source, asked)]
        assert found == [(0, (0, 1, 2)), (1, (3,))]
        assert moments_at_rate(source, Fraction(1), Fraction(0), None) == [0, 1, 2, 3]
        for wrong in (
            pictures_at,
            lambda source, times: moments_at_rate(source, Fraction(1), times[0], None),
        ):
            with pytest.raises(BadInput, match="not in the video"):
                wrong(source, [-SHORT])


def test_a_call_takes_just_as_many_pictures_as_it_says(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection_pictures, "MAX_FRAMES", 8)
    with ClipSource(film, name="film") as source:
        assert len(moments_at_rate(source, Fraction(2), None, None)) == 8
        with pytest.raises(BadInput, match="9 pictures are asked for, 8 are the most of one call"):
            moments_at_rate(source, Fraction(9, 4), None, None)

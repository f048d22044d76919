"""Which moments a strategy takes of a video, and what it reads to know."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.index import VideoIndex
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource
from video_pipeline.sampling.choose import Strategy, sample_times

LENGTH = Fraction(60, 25)
"""Seconds of `h264_b`: 60 pictures at 25 a second."""


def opened(media: MediaFactory, name: str = "h264_b") -> VideoIndex:
    return open_index(FileSource(media.path(name)), Traffic())


def times(
    index: VideoIndex,
    strategy: Strategy = "random",
    *,
    traffic: Traffic | None = None,
    seed: int = 7,
    batch: int = 0,
    batches: int = 1,
    video: int = 0,
    offset_max: Fraction | None = None,
    frames: int = 1,
    stride: Fraction = Fraction(4, 25),
    timestamps: tuple[Fraction, ...] = (),
) -> list[Fraction]:
    return sample_times(
        index,
        traffic or Traffic(),
        strategy=strategy,
        seed=seed,
        batch=batch,
        batches=batches,
        video=video,
        offset_max=offset_max,
        frames=frames,
        stride=stride,
        timestamps=timestamps,
    )


def test_random_starts_fill_the_room_and_leave_place_for_the_sample(media: MediaFactory) -> None:
    index = opened(media)
    room = LENGTH - 4 * Fraction(4, 25)
    found = [times(index, batch=batch, frames=5) for batch in range(300)]
    starts = [sample[0] for sample in found]
    assert all(sample == [sample[0] + n * Fraction(4, 25) for n in range(5)] for sample in found)
    assert 0 <= min(starts) < room / 20
    assert room * 19 / 20 < max(starts) < room
    assert all(start.denominator <= 1_000_000 for start in starts)


def test_starts_lie_within_the_offset_or_the_video_whichever_is_less(media: MediaFactory) -> None:
    index = opened(media)
    for offset, room in ((Fraction(1, 2), Fraction(1, 2)), (Fraction(60), LENGTH)):
        starts = [times(index, batch=batch, offset_max=offset)[0] for batch in range(200)]
        assert room * 9 / 10 < max(starts) < room


def test_a_sample_longer_than_its_video_begins_with_it(media: MediaFactory) -> None:
    strategies: tuple[Strategy, ...] = ("random", "uniform", "key_frames")
    for strategy in strategies:
        assert times(opened(media), strategy, frames=3, stride=Fraction(5)) == [0, 5, 10]


def test_seed_batch_and_video_each_give_other_times_and_the_same_ones_again(media: MediaFactory) -> None:
    index = opened(media)
    asked = [{}, {"seed": 8}, {"batch": 1}, {"video": 1}, {"batch": 7, "seed": 0}]
    found = [times(index, **options)[0] for options in asked]
    assert len(set(found)) == len(asked)
    assert [times(index, **options)[0] for options in asked] == found


def test_uniform_takes_the_middle_of_each_share(media: MediaFactory) -> None:
    found = [times(opened(media), "uniform", batch=batch, batches=3)[0] for batch in range(3)]
    assert found == [LENGTH * share / 6 for share in (1, 3, 5)]


def test_key_frames_are_taken_within_the_room_and_each_of_them(media: MediaFactory) -> None:
    index = opened(media)
    keys = [int(pts) * index.track.time_base for pts in index.key_frame_times(Traffic())]
    assert len(keys) > 2
    assert {times(index, "key_frames", batch=batch)[0] for batch in range(100)} == set(keys)
    inside = {times(index, "key_frames", batch=batch, offset_max=keys[1])[0] for batch in range(50)}
    assert inside == {keys[0]}
    assert times(index, "key_frames", offset_max=Fraction(0)) == [keys[0]]


def test_a_timestamp_is_taken_as_it_is_and_one_outside_refused(media: MediaFactory) -> None:
    index = opened(media)
    last = LENGTH - Fraction(1, 1000)
    for stated in (Fraction(0), Fraction(1, 3), last):
        assert times(index, "timestamps", timestamps=(stated,)) == [stated]
    for stated, why in ((Fraction(-1, 100), r"-0\.01 s is negative"), (LENGTH, r"end at 2\.400 s")):
        with pytest.raises(BadInput, match=why) as caught:
            times(index, "timestamps", timestamps=(Fraction(1), stated), batch=1)
        assert caught.value.input == index.name


@pytest.mark.parametrize("name", ["h264_fragmented_mfra", "h264_fragmented_negative"])
def test_the_end_is_looked_for_only_where_the_known_fragments_do_not_reach(
    name: str, media: MediaFactory
) -> None:
    known = opened(media, name)
    assert known.fragments is not None
    shift = known.track.edits[0].shift
    latest = (max(anchor.time for anchor in known.fragments.anchors()) + shift) * known.track.time_base
    assert latest > 0
    step = Fraction(1, 1000)
    cases: tuple[tuple[Strategy, int, Fraction, bool], ...] = (
        ("random", 1, latest, False),
        ("random", 1, latest + step, True),
        ("random", 2, latest - 100 * step, False),
        ("random", 2, latest - 99 * step, True),
        ("timestamps", 1, latest, False),
        ("timestamps", 1, latest + step, True),
    )
    for strategy, frames, offset, reads in cases:
        index, traffic = opened(media, name), Traffic()
        fragments = index.fragments
        assert fragments is not None
        before = len(fragments.loaded())
        times(
            index,
            strategy,
            traffic=traffic,
            frames=frames,
            stride=100 * step,
            offset_max=offset,
            timestamps=(offset,) if strategy == "timestamps" else (),
        )
        assert (len(fragments.loaded()) > before) == reads, (strategy, frames, float(offset))

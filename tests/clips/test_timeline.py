from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from video_pipeline.clips.request import CropKeyframe, Framing, Segment
from video_pipeline.clips.request_base import Transition, exact
from video_pipeline.clips.timeline import (
    ClipTimeline,
    Piece,
    Programme,
    framed_timeline,
    join,
    part_of,
    segments_outside,
    whole,
)
from video_pipeline.errors import BadInput
from video_pipeline.media.clip_audio import samples_at

KEY = "demo/client/videos/street/video.mp4"
SOURCE = (Fraction(0), Fraction(10))
RATES = (Fraction(25), Fraction(30), Fraction(30000, 1001), Fraction(60), Fraction(24000, 1001), Fraction(1))

rates = st.sampled_from(RATES)
sources = st.tuples(st.integers(-3000, 3000), st.integers(1, 20_000)).map(
    lambda pair: (Fraction(pair[0], 1000), Fraction(pair[0] + pair[1], 1000))
)
speeds = st.one_of(st.sampled_from([0.1, 0.25, 0.5, 1.0, 2.0, 10.0]), st.floats(0.1, 10))


@st.composite
def segment_lists(draw: st.DrawFn, stop: Fraction = Fraction(20)) -> tuple[Segment, ...]:
    """Around what a source has; a border often lies shortly before its end."""
    near_end = st.integers(1, 900).map(lambda before: int(stop * 1000) - before)
    borders = sorted(draw(st.sets(st.one_of(st.integers(-4000, 24_000), near_end), max_size=12)))
    return tuple(
        Segment(start=start / 1000, end=end / 1000, speed=draw(speeds), keep=draw(st.booleans()))
        for start, end in itertools.pairwise(borders)
        if draw(st.booleans())
    )


def framing(**fields) -> Framing:
    keyframe = CropKeyframe(time=0, x=0, y=0, width=90, height=160)
    return Framing(source_key=KEY, keyframes=(keyframe,), **fields)


def timeline_of(rate: Fraction = Fraction(30), source=SOURCE, **fields) -> ClipTimeline:
    return framed_timeline(framing(**fields), source, rate, "the video")


@st.composite
def timelines(draw: st.DrawFn, rate: Fraction) -> ClipTimeline:
    source = draw(sources)
    try:
        return timeline_of(rate, source, segments=draw(segment_lists(source[1])))
    except BadInput:
        return whole(*source, rate)


@st.composite
def programmes(draw: st.DrawFn) -> Programme:
    rate = draw(rates)
    clips = draw(st.lists(timelines(rate), min_size=1, max_size=6))
    transition: Transition = draw(st.sampled_from(["cut", "fade", "dissolve"]))
    try:
        return join(clips, transition, draw(st.floats(0.01, 1)), ["clip"] * len(clips))
    except BadInput:
        return join(clips, "cut", 0.5, ["clip"] * len(clips))


# One clip


@settings(deadline=None)
@given(rate=rates, source=sources, segments=segment_lists())
def test_pieces_follow_each_other_without_a_gap_and_frames_are_their_length(rate, source, segments) -> None:
    try:
        timeline = timeline_of(rate, source, segments=segments)
    except BadInput:
        return
    at = Fraction(0)
    for piece in timeline.pieces:
        assert piece.at == at
        assert piece.start < piece.stop
        at += piece.duration
    for before, after in itertools.pairwise(timeline.pieces):
        assert before.stop <= after.start
    assert abs(timeline.frames - at * rate) <= Fraction(1, 2) or timeline.frames == 1


@settings(deadline=None)
@given(rate=rates, source=sources, segments=segment_lists())
def test_every_frame_shows_a_moment_inside_a_kept_piece_and_none_goes_back(rate, source, segments) -> None:
    try:
        timeline = timeline_of(rate, source, segments=segments)
    except BadInput:
        return
    moments = [timeline.source_time(frame) for frame in range(min(timeline.frames, 400))]
    moments += [timeline.source_time(timeline.frames - 1)]
    left_out = [segment for segment in segments if not segment.keep]
    for moment in moments:
        assert any(piece.start <= moment < piece.stop for piece in timeline.pieces)
        assert not any(exact(segment.start) <= moment < exact(segment.end) for segment in left_out)
    assert moments == sorted(moments)


@settings(deadline=None)
@given(rate=rates, source=sources, segments=segment_lists())
def test_what_is_kept_of_the_source_is_all_but_what_was_left_out(rate, source, segments) -> None:
    begin, stop = source
    gone = sum(
        max(Fraction(0), min(stop, exact(s.end)) - max(begin, exact(s.start))) for s in segments if not s.keep
    )
    try:
        kept = sum(piece.stop - piece.start for piece in timeline_of(rate, source, segments=segments).pieces)
    except BadInput:
        kept = 0
    assert kept == stop - begin - gone


def test_a_segment_at_half_speed_takes_twice_its_time_and_moves_only_what_follows() -> None:
    slow = timeline_of(segments=(Segment(start=2, end=3, speed=0.5),))
    assert slow.frames == 330
    assert slow.source_time(59) == Fraction(59, 30)
    assert slow.source_time(60) == 2
    assert slow.source_time(61) == 2 + Fraction(1, 60)
    assert slow.source_time(119) == 3 - Fraction(1, 60)
    assert slow.source_time(120) == 3
    assert slow.source_time(329) == 10 - Fraction(1, 30)


def test_a_part_that_is_left_out_is_jumped_over() -> None:
    timeline = timeline_of(segments=(Segment(start=2, end=3, keep=False),))
    assert timeline.frames == 270
    assert [timeline.source_time(frame) for frame in (59, 60)] == [Fraction(59, 30), Fraction(3)]


def test_trimming_again_shows_the_same_moments_of_the_source() -> None:
    first, second = timeline_of(trim_start=1, trim_end=9), timeline_of(trim_start=2.5, trim_end=4)
    assert second.source_time(10) == first.source_time(10 + 45)


@pytest.mark.parametrize(("speed", "frames"), [(0.1, 3000), (10.0, 30)])
def test_the_slowest_and_the_fastest_speed(speed: float, frames: int) -> None:
    assert timeline_of(segments=(Segment(start=0, end=10, speed=speed),)).frames == frames


def test_a_moment_shorter_than_a_frame_is_one_frame() -> None:
    assert timeline_of(trim_start=1, trim_end=1.001).frames == 1


def test_segments_that_only_touch_the_clip_change_nothing_and_are_named() -> None:
    touching = (
        Segment(start=1, end=2, speed=0.5),
        Segment(start=7, end=8, speed=2.0),
        Segment(start=8, end=9, speed=0.5),
        Segment(start=9, end=10, keep=False),
    )
    timeline = timeline_of(trim_start=2, trim_end=8, segments=touching)
    assert [(piece.start, piece.stop, piece.speed) for piece in timeline.pieces] == [(2, 7, 1), (7, 8, 2)]
    assert segments_outside(framing(segments=touching), timeline) == [1, 3], (
        "what is left out anyway is not missed"
    )


def test_segments_that_leave_nothing_are_refused() -> None:
    with pytest.raises(BadInput, match=r"leave nothing of the clip.*") as raised:
        timeline_of(segments=(Segment(start=0, end=10, keep=False),))
    assert raised.value.input == "the video"


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (10.0, None, "10.000 s to 10.000 s"),
        (2.0, 10.2, "2.000 s to 10.200 s"),
        (10.0, 10.05, "10.000 s to 10.050 s"),
        (11.0, 12.0, "11.000 s to 12.000 s"),
    ],
)
def test_times_outside_the_video_are_refused_and_named(start, end, said) -> None:
    with pytest.raises(BadInput, match=f"{said} is not in the video, which lasts from 0.000 s to 10.000 s"):
        part_of(start, end, SOURCE, "the video")


def test_an_end_rounded_up_a_little_is_the_video_s_end() -> None:
    assert part_of(2.0, 10.1, SOURCE, "the video") == (2, 10)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.0, 2.0), (3.0, 3.0), (None, 2.0)])
def test_a_part_without_a_picture_is_refused(start: float | None, end: float) -> None:
    with pytest.raises(BadInput, match="is not in the video"):
        part_of(start, end, (Fraction(2), Fraction(4)), "the video")


# Joined clips


@settings(deadline=None)
@given(programme=programmes())
def test_joined_clips_fill_every_frame_and_overlap_only_in_a_dissolve(programme: Programme) -> None:
    assert programme.clips[0].first == 0
    for before, after in itertools.pairwise(programme.clips):
        assert before.stop - after.first == (before.fade_out if programme.transition == "dissolve" else 0)
    assert programme.duration * programme.rate == programme.frames
    shown = sum(clip.timeline.frames for clip in programme.clips)
    overlap = sum(clip.fade_out for clip in programme.clips[:-1])
    assert programme.frames == shown - (overlap if programme.transition == "dissolve" else 0)


@pytest.mark.slow
@settings(deadline=None)
@given(programme=programmes())
def test_every_frame_has_its_parts_and_weights_never_exceed_one(programme: Programme) -> None:
    near = {n for clip in programme.clips for n in range(clip.first - 40, clip.first + 40)}
    for number in sorted(n for n in near if 0 <= n < programme.frames):
        parts = programme.parts(number)
        assert parts
        total = sum(part.weight for part in parts)
        assert all(part.weight > 0 for part in parts)
        if programme.transition == "fade":
            assert total <= 1
        else:
            assert total == 1
        for part in parts:
            clip = programme.clips[part.clip]
            assert part.frame == number - clip.first
            assert part.time == clip.timeline.source_time(part.frame)


def test_a_fade_goes_down_to_black_and_comes_back() -> None:
    programme = join([whole(Fraction(0), Fraction(1), Fraction(10))] * 2, "fade", 0.6, ["a", "b"])
    weights = [programme.parts(number)[0].weight for number in range(programme.frames)]
    assert programme.frames == 20
    assert weights[6:14] == [1, *(Fraction(n, 4) for n in (3, 2, 1, 1, 2, 3)), 1]


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(programme=programmes())
def test_the_sound_of_each_clip_covers_exactly_its_frames(programme: Programme) -> None:
    spans = programme.audio_spans()
    for number, clip in enumerate(programme.clips):
        own = [span for span in spans if span.source == number]
        at = samples_at(clip.first / programme.rate)
        for span in own:
            assert span.offset == at
            assert span.samples > 0
            assert span.fade_in_before == span.offset - samples_at(clip.first / programme.rate)
            assert span.fade_out_after == samples_at(clip.stop / programme.rate) - span.end
            assert span.fade_in == samples_at(clip.fade_in / programme.rate)
            assert span.fade_out == samples_at(clip.fade_out / programme.rate)
            at += span.samples
        assert at == samples_at(clip.stop / programme.rate)
    assert max(span.offset + span.samples for span in spans) == programme.audio_samples


@settings(deadline=None)
@given(programme=programmes())
def test_the_sound_of_a_piece_is_that_of_its_pictures(programme: Programme) -> None:
    pieces = [(n, piece) for n, clip in enumerate(programme.clips) for piece in clip.timeline.pieces]
    for span in programme.audio_spans():
        piece = next(p for n, p in pieces if n == span.source and p.start == span.start)
        # A clip rounded up to whole frames may be heard on for the rest of its last one.
        rest = (Fraction(1, 2) / programme.rate + Fraction(1, 48000)) * piece.speed
        one_frame = programme.clips[span.source or 0].timeline.frames == 1
        assert 0 <= span.stop - piece.stop <= (2 * rest if one_frame else rest)
        first = programme.clips[span.source or 0].first / programme.rate
        assert span.speed == piece.speed
        assert abs(Fraction(span.offset, 48000) - (first + piece.at)) <= Fraction(1, 96000)


def test_the_sound_goes_on_where_a_clip_is_rounded_up_to_a_whole_frame() -> None:
    clip = timeline_of(Fraction(10), (Fraction(0), Fraction(2)), trim_end=1.07)
    (span,) = join([clip], "cut", 0.5, ["a"]).audio_spans()
    assert clip.frames == 11
    assert span.stop == Fraction(11, 10)


def test_a_last_piece_too_short_for_a_frame_is_not_heard_over_the_next_clip() -> None:
    end = Segment(start=1.2, end=1.3, speed=1.0)
    clip = timeline_of(Fraction(1), (Fraction(0), Fraction(13, 10)), segments=(end,))
    first, second = join([clip, clip], "cut", 0.5, ["a", "b"]).audio_spans()
    assert (first.offset, first.samples) == (0, 48000)
    assert (second.offset, second.samples) == (48000, 48000)


@pytest.mark.parametrize(
    ("transition", "curve"), [("cut", "linear"), ("fade", "linear"), ("dissolve", "equal_power")]
)
def test_only_sounds_that_are_heard_together_keep_their_power(transition: Transition, curve: str) -> None:
    """Equal power where two sounds add up that have nothing in common; a fade to silence is even."""
    clip = whole(Fraction(0), Fraction(1), Fraction(10))
    first, second = join([clip, clip], transition, 0.4, ["a", "b"]).audio_spans()
    assert first.curve == second.curve == curve
    length = {"cut": (0, 0), "fade": (9600, 9600), "dissolve": (19200, 19200)}[transition]
    assert (first.fade_in, first.fade_out, second.fade_in, second.fade_out) == (0, length[0], length[1], 0)


def test_a_transition_shorter_than_a_frame_is_one_frame_and_one_of_half_a_frame_more_is_rounded_up() -> None:
    clip = whole(Fraction(0), Fraction(1), Fraction(10))
    for seconds, frames in ((0.01, 1), (0.14, 1), (0.15, 2), (0.25, 3), (0.3, 3)):
        assert join([clip, clip], "dissolve", seconds, ["a", "b"]).frames == 20 - frames
    programme = join([clip, clip], "fade", 0.3, ["a", "b"])
    assert [(placed.fade_in, placed.fade_out) for placed in programme.clips] == [(0, 1), (2, 0)]


def test_a_clip_may_be_just_as_long_as_its_transitions() -> None:
    rate = Fraction(10)
    clips = [whole(Fraction(0), Fraction(n, 10), rate) for n in (10, 4, 10)]
    assert join(clips, "dissolve", 0.2, ["a", "b", "c"]).frames == 20
    with pytest.raises(BadInput, match=r"lasts 0.40 s, too short for its transitions of 0.60 s"):
        join(clips, "dissolve", 0.3, ["a", "b", "c"])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("transition", ["cut", "fade", "dissolve"])
def test_borders_do_not_drift_over_500_clips(rate: Fraction, transition: Transition) -> None:
    clip = ClipTimeline((Piece(Fraction(1, 7), Fraction(22, 7), Fraction(1), Fraction(0)),), rate)
    programme = join([clip] * 500, transition, 0.5, ["clip"] * 500)
    spans = programme.audio_spans()
    for placed, span in zip(programme.clips, spans, strict=True):
        assert abs(Fraction(span.offset, 48000) - placed.first / rate) <= Fraction(1, 96000)


@pytest.mark.parametrize("transition", ["fade", "dissolve"])
def test_a_clip_too_short_for_its_transitions_is_named(transition: Transition) -> None:
    rate = Fraction(10)
    long, short = whole(Fraction(0), Fraction(3), rate), whole(Fraction(0), Fraction(1, 2), rate)
    with pytest.raises(BadInput, match=r"lasts 0.50 s, too short for its transitions of") as raised:
        join([long, short, long], transition, 1.0, ["clip 1", "clip 2", "clip 3"])
    assert raised.value.input == "clip 2"


def test_a_clip_alone_has_no_transition() -> None:
    programme = join([whole(Fraction(0), Fraction(1), Fraction(10))], "dissolve", 5.0, ["a"])
    assert programme.frames == 10
    assert {part.weight for n in range(10) for part in programme.parts(n)} == {Fraction(1)}

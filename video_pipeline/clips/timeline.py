"""Which moment of which source each output frame shows, and which sound goes with it.

Belongs here: exact arithmetic from requests to frame numbers, source times, weights and audio spans. Does not
belong here: media, pixels. Pure; times are Fractions of seconds.

A clip lasts `round(duration * rate)` frames, at least one; frame n is shown at n / rate, and shows the source
at that moment of the clip. Clips are joined by whole frames, so sound and picture cannot drift apart: the
sound of a clip begins at its first frame's time and is as long as its frames are.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from video_pipeline.clips.request import Framing, Segment
from video_pipeline.clips.request_base import BEYOND_END, Transition, exact
from video_pipeline.errors import BadInput
from video_pipeline.media.clip_audio import SAMPLE_RATE, AudioSpan, samples_at


@dataclass(frozen=True, slots=True)
class Piece:
    """Source seconds [start, stop) played `speed` times as fast, from second `at` of the clip."""

    start: Fraction
    stop: Fraction
    speed: Fraction
    at: Fraction

    @property
    def duration(self) -> Fraction:
        return (self.stop - self.start) / self.speed


@dataclass(frozen=True)
class ClipTimeline:
    """One clip's pieces, without gaps, at a frame rate."""

    pieces: tuple[Piece, ...]
    rate: Fraction

    @cached_property
    def frames(self) -> int:
        last = self.pieces[-1]
        return max(1, _nearest((last.at + last.duration) * self.rate))

    @cached_property
    def _starts(self) -> list[Fraction]:
        return [piece.at for piece in self.pieces]

    def source_time(self, frame: int) -> Fraction:
        """The moment of the source that output frame `frame` of this clip shows."""
        at = Fraction(frame) / self.rate
        piece = self.pieces[bisect_right(self._starts, at) - 1]
        return piece.start + (at - piece.at) * piece.speed


def whole(start: Fraction, stop: Fraction, rate: Fraction) -> ClipTimeline:
    """A part of a source at its own speed."""
    return ClipTimeline((Piece(start, stop, Fraction(1), Fraction(0)),), rate)


def part_of(
    start: float | None, end: float | None, source: tuple[Fraction, Fraction], name: str
) -> tuple[Fraction, Fraction]:
    """Wanted source seconds within what the source has. BadInput where it has nothing, or less than asked."""
    first, last = source
    wanted_start = first if start is None else exact(start)
    wanted_stop = last if end is None else exact(end)
    begin = max(first, wanted_start)
    if begin >= last or wanted_stop > last + BEYOND_END or wanted_stop <= begin:
        raise BadInput(
            f"the part from {float(wanted_start):.3f} s to {float(wanted_stop):.3f} s is not in the video, "
            f"which lasts from {float(first):.3f} s to {float(last):.3f} s",
            input=name,
            what_to_do="choose times within it",
        )
    return begin, min(wanted_stop, last)


def framed_timeline(
    framing: Framing, source: tuple[Fraction, Fraction], rate: Fraction, name: str
) -> ClipTimeline:
    """The pieces of a framed clip. `source` is when its pictures begin and end. BadInput if nothing is
    left."""
    begin, stop = part_of(framing.trim_start, framing.trim_end, source, name)
    pieces: list[Piece] = []
    at = Fraction(0)
    for start, end, speed in _spans(framing.segments, begin, stop):
        if speed is not None:
            pieces.append(Piece(start, end, speed, at))
            at += pieces[-1].duration
    if not pieces:
        raise BadInput(
            "its segments leave nothing of the clip", input=name, what_to_do="keep at least one part"
        )
    return ClipTimeline(tuple(pieces), rate)


def _spans(
    segments: Sequence[Segment], begin: Fraction, stop: Fraction
) -> Iterator[tuple[Fraction, Fraction, Fraction | None]]:
    """All of [begin, stop) in order with its speed; None for what is left out."""
    at = begin
    for segment in segments:
        start, end = max(begin, exact(segment.start)), min(stop, exact(segment.end))
        if start >= end:
            continue
        if start > at:
            yield at, start, Fraction(1)
        yield start, end, exact(segment.speed) if segment.keep else None
        at = end
    if at < stop:
        yield at, stop, Fraction(1)


def segments_outside(framing: Framing, timeline: ClipTimeline) -> list[int]:
    """Segments, counted from 1, that lie outside of what the framed clip shows, and so change nothing."""
    first, last = timeline.pieces[0], timeline.pieces[-1]
    return [
        number
        for number, segment in enumerate(framing.segments, 1)
        if segment.keep and (exact(segment.end) <= first.start or exact(segment.start) >= last.stop)
    ]


# Joining


@dataclass(frozen=True, slots=True)
class Placed:
    """A clip in a programme: the number of its first output frame, and over how many frames it comes and
    goes."""

    timeline: ClipTimeline
    first: int
    fade_in: int
    fade_out: int

    @property
    def stop(self) -> int:
        return self.first + self.timeline.frames


@dataclass(frozen=True, slots=True)
class FramePart:
    """What one clip gives to an output frame: its frame number, that moment of its source, and its weight.
    What weights lack to 1 is black."""

    clip: int
    frame: int
    time: Fraction
    weight: Fraction


@dataclass(frozen=True)
class Programme:
    """Clips joined at one frame rate. One clip alone is a programme too."""

    clips: tuple[Placed, ...]
    rate: Fraction
    transition: Transition = "cut"

    @cached_property
    def frames(self) -> int:
        return self.clips[-1].stop

    @property
    def duration(self) -> Fraction:
        return self.frames / self.rate

    def parts(self, number: int) -> tuple[FramePart, ...]:
        """Of output frame `number`: one part, or two where clips dissolve into each other."""
        last = bisect_right(self._firsts, number) - 1
        found = [index for index in (last - 1, last) if index >= 0 and number < self.clips[index].stop]
        return tuple(self._part(index, number - self.clips[index].first) for index in found)

    @cached_property
    def _firsts(self) -> list[int]:
        return [clip.first for clip in self.clips]

    def _part(self, index: int, frame: int) -> FramePart:
        clip = self.clips[index]
        weight = Fraction(1)
        left = clip.timeline.frames - frame
        if frame < clip.fade_in:
            weight = Fraction(frame + 1, clip.fade_in + 1)
        elif left <= clip.fade_out:
            weight = Fraction(left, clip.fade_out + 1)
        return FramePart(index, frame, clip.timeline.source_time(frame), weight)

    def audio_spans(self) -> list[AudioSpan]:
        """One span for each piece of each clip; every border is rounded once, so nothing drifts. A fade goes
        over as many pieces as it is long. A clip rounded up to whole frames is heard for up to
        half a frame beyond its end: the source goes on there, where silence would click."""
        spans: list[AudioSpan] = []
        for number, clip in enumerate(self.clips):
            begin = clip.first / self.rate
            end = samples_at(clip.stop / self.rate)
            # A clip rounded down to whole frames may end before its last pieces begin: they are not heard.
            borders = [min(samples_at(begin + piece.at), end) for piece in clip.timeline.pieces] + [end]
            for index, piece in enumerate(clip.timeline.pieces):
                samples = borders[index + 1] - borders[index]
                if samples <= 0:
                    continue
                last = borders[index + 1] == end
                spans.append(
                    AudioSpan(
                        source=number,
                        start=piece.start,
                        stop=max(piece.stop, piece.start + samples * piece.speed / SAMPLE_RATE)
                        if last
                        else piece.stop,
                        speed=piece.speed,
                        offset=borders[index],
                        samples=samples,
                        fade_in=samples_at(clip.fade_in / self.rate),
                        fade_out=samples_at(clip.fade_out / self.rate),
                        curve="equal_power" if self.transition == "dissolve" else "linear",
                        fade_in_before=borders[index] - borders[0],
                        fade_out_after=end - borders[index + 1],
                    )
                )
        return spans

    @property
    def audio_samples(self) -> int:
        return samples_at(self.duration)


def join(
    timelines: Sequence[ClipTimeline],
    transition: Transition,
    seconds: float,
    names: Sequence[str],
) -> Programme:
    """Clips one after the other. A dissolve overlaps neighbours by `seconds`; a fade takes the first half of
    them to black and comes back in the second. BadInput that names a clip too short for its transitions."""
    rate = timelines[0].rate
    length = 0 if transition == "cut" else max(1, _nearest(exact(seconds) * rate))
    out, into = (length, length) if transition == "dissolve" else (length // 2, length - length // 2)
    placed: list[Placed] = []
    at = 0
    for number, (timeline, name) in enumerate(zip(timelines, names, strict=True)):
        fade_in = into if number else 0
        fade_out = out if number < len(timelines) - 1 else 0
        if fade_in + fade_out > timeline.frames:
            raise BadInput(
                f"the clip lasts {float(timeline.frames / rate):.2f} s, too short for its transitions of "
                f"{float((fade_in + fade_out) / rate):.2f} s",
                input=name,
                what_to_do="shorten transition_seconds, or join by cuts",
            )
        placed.append(Placed(timeline, at, fade_in, fade_out))
        at += timeline.frames - (fade_out if transition == "dissolve" else 0)
    return Programme(tuple(placed), rate, transition)


def _nearest(value: Fraction) -> int:
    """The nearest integer; halves upwards."""
    return math.floor(value + Fraction(1, 2))

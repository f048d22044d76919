"""The pictures that a video shows at chosen moments, each read once, in order of time.

Belongs here: which moments there are, one pass for moments that are near, a seek for those that are far.
Does not belong here: reading a part of a video (`media.clip_source`), what is done with the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from video_pipeline.clips.detect_request import MAX_FRAMES
from video_pipeline.errors import BadInput
from video_pipeline.media.clip_source import ROUNDED, ClipPicture, ClipSource
from video_pipeline.media.picture_range import slack

NEAR_S = 2
"""Seconds up to which the next moment is decoded to, and not sought. A seek decodes half a group of pictures
on the average; groups of 2 to 10 seconds are usual."""

NAMED = 5
"""Moments that an error names."""


@dataclass(frozen=True, slots=True, eq=False)
class PictureAt:
    """A picture, and the moments asked for at which it is shown: indices into what was asked."""

    picture: ClipPicture
    asked: tuple[int, ...]


def moments_at_rate(
    source: ClipSource, rate: Fraction, start: Fraction | None, stop: Fraction | None
) -> list[Fraction]:
    """`start` + k / `rate` before `stop`, in seconds; the video's own beginning and end for None.

    BadInput for a part that is not in the video, and for more than MAX_FRAMES moments.
    """
    begin = source.start if start is None else start
    end = source.stop if stop is None else stop
    if not (min(source.start, 0) <= begin < end <= source.stop + ROUNDED):
        raise _outside(source, [time for time in (start, stop) if time is not None])
    count = ceil((min(end, source.stop) - begin) * rate)
    if count > MAX_FRAMES:
        raise BadInput(
            f"{count} pictures are asked for, {MAX_FRAMES} are the most of one call",
            input=source.name,
            what_to_do="choose a lower rate, or make several calls of it with start and stop.",
        )
    return [begin + k / rate for k in range(count)]


def pictures_at(source: ClipSource, moments: Sequence[Fraction]) -> Iterator[PictureAt]:
    """The picture shown at each of the moments (seconds, in any order), each picture once, in order of time.

    Shown at t is the picture with the largest PTS not after t, with `slack` to spare; before the first
    picture that one. BadInput at once, naming the moments, if any lies outside the video, and for damage
    while iterating.
    """
    outside = [time for time in moments if not min(source.start, 0) <= time < source.stop]
    if outside:
        raise _outside(source, outside)
    return _read(source, moments)


def _read(source: ClipSource, moments: Sequence[Fraction]) -> Iterator[PictureAt]:
    order = sorted(range(len(moments)), key=lambda index: moments[index])
    held: PictureAt | None = None
    for group in _near(moments, order):
        for found in _pass(source, moments, group):
            # Two groups may meet in one picture that stands for long.
            if held is not None and held.picture.pts == found.picture.pts:
                held = PictureAt(held.picture, held.asked + found.asked)
                continue
            if held is not None:
                yield held
            held = found
    if held is not None:
        yield held


def _near(moments: Sequence[Fraction], order: Sequence[int]) -> Iterator[list[int]]:
    """Runs of `order` with less than NEAR_S between neighbours."""
    group: list[int] = []
    for index in order:
        if group and moments[index] - moments[group[-1]] > NEAR_S:
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _pass(source: ClipSource, moments: Sequence[Fraction], group: Sequence[int]) -> Iterator[PictureAt]:
    """One reading from the first moment of `group` to its last."""
    waiting = list(group)
    picture: ClipPicture | None = None
    # A moment within the slack of the end is that of no further picture: begin with the last one.
    for picture in source.pictures(min(moments[group[0]], source.stop - source.time_base)):
        until = (picture.stop - slack(source.time_base)) * source.time_base
        shown = [index for index in waiting if moments[index] < until]
        if shown:
            yield PictureAt(picture, tuple(shown))
            waiting = waiting[len(shown) :]
        if not waiting:
            return
    assert picture is not None, "a video has a picture"
    yield PictureAt(picture, tuple(waiting))  # within the slack of the end


def _outside(source: ClipSource, moments: Sequence[Fraction]) -> BadInput:
    named = ", ".join(f"{float(time):.3f} s" for time in moments[:NAMED])
    more = f" and {len(moments) - NAMED} more" if len(moments) > NAMED else ""
    return BadInput(
        f"not in the video, which goes from {float(source.start):.3f} s to {float(source.stop):.3f} s: "
        f"{named}{more}",
        input=source.name,
        what_to_do="choose times inside the video.",
    )

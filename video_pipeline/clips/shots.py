"""Which pictures a render shows: from a programme, or a part of a source, to output frames in order.

Belongs here: reading sources in sequence, each picture once where frames follow each other, and the batches
that transforms get. Does not belong here: frame arithmetic (`timeline.py`), decoding (`media.clip_source`),
what becomes of pictures (`render.py`).

Batches are formed by frame number and end at segment borders, so a chunk gives the network the same batches
as the whole clip does.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction

from video_pipeline.clips.timeline import Programme
from video_pipeline.media.clip_source import ClipPicture, ClipSource
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.h264 import VideoFormat
from video_pipeline.media.picture_range import slack

BATCH = 4
"""Frames a transform gets at once. A network on a GPU is full at about that many; on a CPU more buys nothing
and 4K frames are 12 MB each."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One clip's picture for one output frame."""

    clip: int
    picture: CroppedFrame
    time: Fraction
    weight: Fraction


@dataclass(frozen=True, slots=True)
class OutputFrame:
    """An output frame before its transform. `pts` and `duration` in the output's time base."""

    number: int
    pts: int
    duration: int
    shots: tuple[Shot, ...]


OpenSource = Callable[[int], AbstractContextManager[ClipSource]]
"""Opens clip number n's source for pictures."""


def programme_frames(
    programme: Programme, fmt: VideoFormat, open_source: OpenSource, first: int = 0, stop: int | None = None
) -> Generator[OutputFrame, None, None]:
    """Output frames `first` to `stop` of a programme, each picture decoded once as long as frames follow each
    other. A clip's source is open from its first frame to its last."""
    stop = programme.frames if stop is None else stop
    step = int(1 / (programme.rate * fmt.time_base))
    readers: dict[int, ClipReader] = {}
    try:
        for number in range(first, stop):
            parts = programme.parts(number)
            for clip in [clip for clip in readers if clip not in {part.clip for part in parts}]:
                readers.pop(clip).close()
            shots: list[Shot] = []
            for part in parts:
                reader = readers.get(part.clip)
                if reader is None:
                    clip = programme.clips[part.clip]
                    last = min(stop, clip.stop) - clip.first - 1
                    reader = readers[part.clip] = ClipReader(
                        open_source(part.clip), until=clip.timeline.source_time(last)
                    )
                shots.append(Shot(part.clip, reader.at(part.time), part.time, part.weight))
            yield OutputFrame(number, number * step, step, tuple(shots))
    finally:
        with contextlib.ExitStack() as stack:
            for reader in readers.values():
                stack.callback(reader.close)


class ClipReader:
    """The picture shown at each of ascending times of one source."""

    def __init__(self, opening: AbstractContextManager[ClipSource], until: Fraction) -> None:
        self._opening = opening
        self._source = opening.__enter__()
        self._closed = False
        self._until = until
        self._pictures: Iterator[ClipPicture] = iter(())
        self._now: ClipPicture | None = None

    def at(self, moment: Fraction) -> CroppedFrame:
        tick = self._source.time_base
        if self._now is None or self._is_far(moment):
            self._begin(moment)
        assert self._now is not None
        while self._now.stop * tick <= moment + slack(tick) * tick:
            following = next(self._pictures, None)
            if following is None:
                break
            self._now = following
        return self._now.frame

    def _is_far(self, moment: Fraction) -> bool:
        """Whether a part of the source is left out before `moment`: seeking is then cheaper than decoding."""
        assert self._now is not None
        tick = self._source.time_base
        before = moment + slack(tick) * tick < self._now.pts * tick
        return before or moment - self._now.stop * tick > FAR

    def _begin(self, moment: Fraction) -> None:
        _close(self._pictures)
        source, tick = self._source, self._source.time_base
        # A whole tick beyond what `slack` may take off: a part of a clip sees the pictures the whole does.
        until = min(max(self._until, moment) + 2 * tick, source.stop)
        self._pictures = source.pictures(min(moment, source.stop - tick), until)
        self._now = next(self._pictures)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._now = None
            _close(self._pictures)
            self._opening.__exit__(None, None, None)


FAR = Fraction(2)
"""Seconds. A GOP is rarely shorter than half a second or longer than ten."""


def source_frames(source: ClipSource, start: Fraction, stop: Fraction) -> Iterator[OutputFrame]:
    """Every picture of a part of a source at its own time, the first at 0: variable rates stay so.

    PTS count 1 / the denominator of the source's time base, which is the time base of the output: that of
    a 29.97 fps AVI is 1001/30000, and no MP4 can state it.
    """
    scale = source.time_base.numerator
    end = end_tick(start, stop, source.time_base)
    origin: int | None = None
    for number, picture in enumerate(source.pictures(start, end * source.time_base)):
        origin = picture.pts if origin is None else origin
        moment = picture.pts * source.time_base
        duration = max(1, min(picture.stop, end) - picture.pts)
        shot = Shot(0, picture.frame, moment, Fraction(1))
        yield OutputFrame(number, (picture.pts - origin) * scale, duration * scale, (shot,))


def end_tick(start: Fraction, stop: Fraction, time_base: Fraction) -> int:
    """The tick at which a part ends: the first not before `stop`, with `slack` to spare, so that a picture
    shown before `stop` is in it; and at least one after `start`."""
    return max(math.ceil(stop / time_base - slack(time_base)), math.floor(start / time_base) + 1)


def _close(pictures: Iterator[ClipPicture]) -> None:
    close = getattr(pictures, "close", None)
    if close is not None:
        close()


def batches(frames: Iterable[OutputFrame], segment: int, size: int = BATCH) -> Iterator[list[OutputFrame]]:
    """Consecutive frames of one clip or one blend, at most `size`, cut at multiples of `size` from each
    segment's first frame."""
    batch: list[OutputFrame] = []
    for frame in frames:
        new = frame.number % segment % size == 0
        if batch and (new or clips_of(frame) != clips_of(batch[0])):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def clips_of(frame: OutputFrame) -> tuple[int, ...]:
    return tuple(shot.clip for shot in frame.shots)


def preview_numbers(total: int, wanted: int) -> list[int]:
    """Which frames a preview shows: `wanted` of `total`, evenly, each at the middle of its share."""
    wanted = min(wanted, total)
    return [(2 * place + 1) * total // (2 * wanted) for place in range(wanted)]

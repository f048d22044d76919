"""One render: pictures of sources in, one encoded clip out, as a stream.

    decode -> transform -> blend, encode, mux

Belongs here: the stream, what it takes (frames to show, a transform per clip) and what it tells. Does not
belong here: what transforms do, frame arithmetic (`timeline.py`), the store, requests.

Pictures are decoded in sequence, each once where frames follow each other. Batches are formed by frame
number and end at segment borders, so a chunk gives the network the same batches as the whole clip does.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from video_pipeline.clips.timeline import Programme
from video_pipeline.media.clip_audio import AudioSpan, render_audio
from video_pipeline.media.clip_source import ClipPicture, ClipSource
from video_pipeline.media.container import Source
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.h264 import H264Settings, SegmentEncoder, VideoFormat, segment_frames
from video_pipeline.media.h264_parts import PartWriter
from video_pipeline.media.mp4_write import ClipWriter
from video_pipeline.media.picture_range import slack
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import Pipeline, ProgressSnapshot, Stage
from video_pipeline.streaming.stats import PipelineReport
from video_pipeline.telemetry.timing import timed_operation

BT709 = ColourTags(1, 1, 1, 1)
BLACK_Y, NEUTRAL = 16, 128

BATCH = 4
"""Frames a transform gets at once. A network on a GPU is full at about that many; on a CPU more buys nothing
and 4K frames are 12 MB each."""


class Transform(Protocol):
    """What is done to the pictures of one clip. All it gives out have the output's size."""

    def apply(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
        """One picture for each (picture, source seconds)."""
        ...


class Unchanged:
    """The transform of a plain cut."""

    def apply(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
        return [frame for frame, _ in batch]


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


# Which pictures


def programme_frames(
    programme: Programme, fmt: VideoFormat, open_source: OpenSource, first: int = 0, stop: int | None = None
) -> Iterator[OutputFrame]:
    """Output frames `first` to `stop` of a programme, each picture decoded once as long as frames follow each
    other. A clip's source is open from its first frame to its last."""
    stop = programme.frames if stop is None else stop
    step = int(1 / (programme.rate * fmt.time_base))
    readers: dict[int, _ClipReader] = {}
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
                    reader = readers[part.clip] = _ClipReader(
                        open_source(part.clip), until=clip.timeline.source_time(last)
                    )
                shots.append(Shot(part.clip, reader.at(part.time), part.time, part.weight))
            yield OutputFrame(number, number * step, step, tuple(shots))
    finally:
        with contextlib.ExitStack() as stack:
            for reader in readers.values():
                stack.callback(reader.close)


class _ClipReader:
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
        if batch and (new or _clips(frame) != _clips(batch[0])):
            yield batch
            batch = []
        batch.append(frame)
    if batch:
        yield batch


def _clips(frame: OutputFrame) -> tuple[int, ...]:
    return tuple(shot.clip for shot in frame.shots)


# What becomes of them


def transformed(
    batch: Sequence[OutputFrame], transforms: Callable[[int], Transform]
) -> list[tuple[OutputFrame, CroppedFrame]]:
    """Each output frame with its finished picture."""
    columns = [
        transforms(clip).apply([(frame.shots[place].picture, frame.shots[place].time) for frame in batch])
        for place, clip in enumerate(_clips(batch[0]))
    ]
    return [
        (
            frame,
            blend(
                [(pictures[row], shot.weight) for pictures, shot in zip(columns, frame.shots, strict=True)]
            ),
        )
        for row, frame in enumerate(batch)
    ]


def blend(parts: Sequence[tuple[CroppedFrame, Fraction]]) -> CroppedFrame:
    """Pictures added by weight, in 8-bit BT.709; what the weights lack to 1 is black. Rounded once."""
    if len(parts) == 1 and parts[0][1] == 1:
        return parts[0][0]
    rest = 1 - float(sum(weight for _, weight in parts))

    def plane(name: str, dark: int) -> np.ndarray:
        mixed = np.full(getattr(parts[0][0], name).shape, rest * dark + 0.5, np.float32)
        for frame, weight in parts:
            mixed += getattr(frame, name) * np.float32(weight)
        return mixed.astype(np.uint8)

    return CroppedFrame(plane("y", BLACK_Y), plane("u", NEUTRAL), plane("v", NEUTRAL), BT709)


# The stream


@dataclass(frozen=True)
class Sound:
    """The sound of a render: spans of sources, opened by number, and their names for errors."""

    spans: Sequence[AudioSpan]
    samples: int
    open_source: Callable[[int], AbstractContextManager[Source]]
    name: Callable[[int], str]


def sound_of(sound: Sound, cancel: CancellationToken) -> Generator[np.ndarray, None, None]:
    """The blocks of a sound. Closing them closes its sources."""
    return render_audio(sound.spans, sound.samples, sound.open_source, name=sound.name, cancel=cancel)


@dataclass
class Rendered:
    """What one render made. `pts` are those of all frames, in order; `before` is one frame's source picture
    and moment, `after` what became of it."""

    frames: int = 0
    pts: list[int] = field(default_factory=list)
    end_pts: int = 0
    before: Shot | None = None
    after: CroppedFrame | None = None
    extradata: bytes = b""
    report: PipelineReport | None = None
    wall_seconds: float = 0.0


def render_clip(
    frames: Callable[[], Iterator[OutputFrame]],
    transforms: Callable[[int], Transform],
    fmt: VideoFormat,
    settings: H264Settings,
    *,
    total: int,
    path: Path,
    sound: Sound | None,
    first: int = 0,
    cancel: CancellationToken,
    on_progress: Callable[[int], None],
    workers: int = 1,
    picture_of: int | None = None,
) -> Rendered:
    """Run the stream, and write at `path` a clip with its `sound`; without it, a part of a parallel render
    (`media.h264_parts`), beginning at output frame `first`.

    `transforms(clip)` is called in the worker that uses it. `picture_of` chooses the output frame whose
    pictures are kept; by default the middle one, or the last if there are fewer than `total`. The first
    error ends everything, and leaves no file.
    """
    done = Rendered()
    chosen = first + total // 2 if picture_of is None else picture_of
    began = time.perf_counter()
    segment = segment_frames(fmt.frame_rate)
    with contextlib.ExitStack() as stack:
        encoder = stack.enter_context(SegmentEncoder(fmt, settings, first_frame=first))
        done.extradata = encoder.extradata
        if sound is None:
            writer = stack.enter_context(PartWriter(path, fmt, encoder.extradata))
        else:
            blocks = stack.enter_context(contextlib.closing(sound_of(sound, cancel)))
            writer = stack.enter_context(
                ClipWriter(path, fmt, encoder.extradata, audio=blocks, cancel=cancel)
            )

        def collect(results: list[tuple[OutputFrame, CroppedFrame]]) -> None:
            with timed_operation("encode"):
                encode(results)

        def encode(results: list[tuple[OutputFrame, CroppedFrame]]) -> None:
            for frame, picture in results:
                if frame.number <= chosen:
                    done.before, done.after = max(frame.shots, key=lambda shot: shot.weight), picture
                done.frames += 1
                done.pts.append(frame.pts)
                done.end_pts = frame.pts + frame.duration
                for packet in encoder.encode(picture, frame.pts, frame.duration):
                    writer.write(packet)

        def transform(batch: list[OutputFrame]) -> list[list[tuple[OutputFrame, CroppedFrame]]]:
            with timed_operation("transform"):
                return [transformed(batch, transforms)]

        def tell(_snapshot: ProgressSnapshot) -> None:
            on_progress(done.frames)

        done.report = Pipeline(
            "decode",
            lambda: _timed(batches(frames(), segment)),
            [Stage("transform", work=transform, workers=workers, queue_size=2)],
            cancel=cancel,
            sink=collect,
            sink_name="encode",
            on_progress=tell,
        ).run()
        for packet in encoder.finish():
            writer.write(packet)
        with timed_operation("mux"):
            writer.close()
    on_progress(done.frames)
    done.wall_seconds = time.perf_counter() - began
    return done


def _timed(items: Iterator[list[OutputFrame]]) -> Iterator[list[OutputFrame]]:
    """Each step of the decoder as a span."""
    try:
        while True:
            with timed_operation("decode"):
                item = next(items, None)
            if item is None:
                return
            yield item
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()


def preview_numbers(total: int, wanted: int) -> list[int]:
    """Which frames a preview shows: `wanted` of `total`, evenly, each at the middle of its share."""
    wanted = min(wanted, total)
    return [(2 * place + 1) * total // (2 * wanted) for place in range(wanted)]


def preview_frames(
    frames: Callable[[int, int], Iterator[OutputFrame]],
    transforms: Callable[[int], Transform],
    numbers: Sequence[int],
) -> Iterator[tuple[int, CroppedFrame]]:
    """The finished pictures of some frames, by the same code that renders the clip."""
    for number in numbers:
        for frame in itertools.islice(frames(number, number + 1), 1):
            yield number, transformed([frame], transforms)[0][1]

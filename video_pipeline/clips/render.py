"""One render: pictures of sources in, one encoded clip out, as a stream.

    decode -> transform -> blend, encode, mux

Belongs here: the stream, what it takes (a transform per clip, sound) and what it tells. Does not belong here:
which pictures are read (`shots.py`), what transforms do, the store, requests.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import numpy as np

from video_pipeline.clips.shots import OutputFrame, Shot, batches, clips_of
from video_pipeline.media.clip_audio import AudioSpan, render_audio
from video_pipeline.media.container import Source
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.h264 import H264Settings, SegmentEncoder, VideoFormat, segment_frames
from video_pipeline.media.h264_parts import PartWriter
from video_pipeline.media.mp4_write import ClipWriter
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.streaming.pipeline import Pipeline, ProgressSnapshot, Stage
from video_pipeline.telemetry.timing import timed_operation

BT709 = ColourTags(1, 1, 1, 1)
BLACK_Y, NEUTRAL = 16, 128


class Transform(Protocol):
    """What is done to the pictures of one clip. All it gives out have the output's size."""

    def apply(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
        """One picture for each (picture, source seconds)."""
        ...


class Unchanged:
    """The transform of a plain cut."""

    def apply(self, batch: Sequence[tuple[CroppedFrame, Fraction]]) -> list[CroppedFrame]:
        return [frame for frame, _ in batch]


# What becomes of them


def transformed(
    batch: Sequence[OutputFrame], transforms: Callable[[int], Transform]
) -> list[tuple[OutputFrame, CroppedFrame]]:
    """Each output frame with its finished picture."""
    columns = [
        transforms(clip).apply([(frame.shots[place].picture, frame.shots[place].time) for frame in batch])
        for place, clip in enumerate(clips_of(batch[0]))
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
    on_frames: Callable[[int], None] = lambda _frames: None,
    workers: int = 1,
) -> Rendered:
    """Run the stream, and write at `path` a clip with its `sound`; without it, a part of a parallel render
    (`media.h264_parts`), beginning at output frame `first`.

    `transforms(clip)` is called in the worker that uses it; `on_frames` is told how many frames each batch
    had, when it is encoded. The pictures of the middle frame are kept, or of the last if there are fewer than
    `total`; where a transition is there, of the last before it that shows one clip alone. The first error
    ends everything, and leaves no file.
    """
    done = Rendered()
    chosen = first + total // 2
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
            on_frames(len(results))

        def encode(results: list[tuple[OutputFrame, CroppedFrame]]) -> None:
            for frame, picture in results:
                shown = max(frame.shots, key=lambda shot: shot.weight)
                kept = done.before
                if frame.number <= chosen and (shown.weight == 1 or kept is None or kept.weight < 1):
                    done.before, done.after = shown, picture
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

        Pipeline(
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


def preview_frames(
    frames: Callable[[int, int], Iterator[OutputFrame]],
    transforms: Callable[[int], Transform],
    numbers: Sequence[int],
) -> Iterator[tuple[int, CroppedFrame]]:
    """The finished pictures of some frames, by the same code that renders the clip."""
    for number in numbers:
        for frame in itertools.islice(frames(number, number + 1), 1):
            yield number, transformed([frame], transforms)[0][1]

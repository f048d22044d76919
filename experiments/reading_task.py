"""The task `experiment_reading`: pictures at given moments by one reader, held against decoding everything.

Belongs here: the readers, and which picture each of them gave. Does not belong here: which films are asked
about (`e2_frame_reading.py`), the product's reader itself (`media.clip_source`).

What is right is found the slow way: libav decodes the whole film in order, and the picture at a moment is the
one with the largest timestamp not after it. Which picture a reader gave is told by its luma: the nearest of
all pictures of the film, by mean absolute difference.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from pydantic import Field

from video_pipeline.errors import BadInput
from video_pipeline.strict import StrictModel

if TYPE_CHECKING:
    from video_pipeline.worker import TaskContext

Reader = Literal["clip_source", "ffmpeg_program", "opencv_by_number", "opencv_by_time"]


class ReadingRequest(StrictModel):
    tenant_id: str
    name: str
    reader: Reader
    films: dict[str, str] = Field(min_length=1)
    """What it is -> key of the store."""

    moments: int = Field(default=8, ge=1, le=1000)
    seed: int = 0

    def input_keys(self) -> dict[str, str]:
        return dict(self.films)


class FilmReading(StrictModel):
    """`counted`: how many pictures the reader says or shows that there are. `right` of `asked` moments gave
    the picture that is shown then. `ranges_right` of `ranges`: parts whose pictures and timestamps were all
    right; only the product's reader reads parts. `ms_per_picture` is of the moments alone."""

    pictures: int
    counted: int
    asked: int
    right: int
    one_later: int
    """Moments that gave the picture after the one that is shown then."""
    ranges: int = 0
    ranges_right: int = 0
    ms_per_picture: float
    wrong: tuple[str, ...] = ()


class ReadingResult(StrictModel):
    reader: Reader
    films: dict[str, FilmReading]
    frames: int
    """Pictures that were asked for, in all films."""


@dataclass(frozen=True)
class Truth:
    """Every shown picture of a film: timestamps and luma (H, W) uint8, upright, of even size."""

    pts: list[int]
    lumas: list[np.ndarray]
    end: int
    time_base: Fraction
    rate: Fraction

    def shown_at(self, moment: Fraction) -> int:
        return max(0, sum(pts * self.time_base <= moment for pts in self.pts) - 1)

    def nearest(self, luma: np.ndarray | None, wanted: int) -> int | None:
        """Which picture this is; `wanted` where it is as near as any other; None for no picture."""
        if luma is None or luma.shape != self.lumas[wanted].shape:
            return None
        given = luma.astype(np.int16)
        away = [float(np.abs(given - other).mean()) for other in self.lumas]
        return wanted if away[wanted] == min(away) else int(np.argmin(away))


ReadAt = Callable[[Fraction], np.ndarray | None]


def run(request: ReadingRequest, context: TaskContext) -> ReadingResult:
    """BadInput where the reader is not installed."""
    films: dict[str, FilmReading] = {}
    for number, (film, key) in enumerate(sorted(request.films.items())):
        path = context.scratch / f"{film}.mp4"
        path.write_bytes(context.store.get(key))
        truth = _truth(path)
        draw = random.Random(request.seed * 1000 + number)
        films[film] = _read(request.reader, path, truth, draw, request.moments)
    context.usage.frames = sum(film.asked for film in films.values())
    return ReadingResult(reader=request.reader, films=films, frames=context.usage.frames)


def _read(reader: Reader, path: Path, truth: Truth, draw: random.Random, moments: int) -> FilmReading:
    length = truth.end - truth.pts[0]
    # Not on a timestamp itself: to which side a reader rounds there is no error of it.
    asked = [
        (truth.pts[0] + Fraction(draw.randrange(length)) + Fraction(1, 3)) * truth.time_base
        for _ in range(moments)
    ]
    if reader == "clip_source":
        return _by_clip_source(path, truth, asked, draw)
    by_number = reader == "opencv_by_number"
    counted, read_at = (
        _by_ffmpeg(path, truth) if reader == "ffmpeg_program" else _by_opencv(path, truth, by_number)
    )
    return _judged(truth, asked, counted, read_at)


def _judged(truth: Truth, asked: list[Fraction], counted: int, read_at: ReadAt) -> FilmReading:
    right, one_later, wrong, spent = 0, 0, [], 0.0
    for moment in asked:
        began = time.perf_counter()
        luma = read_at(moment)
        spent += time.perf_counter() - began
        wanted = truth.shown_at(moment)
        found = truth.nearest(luma, wanted)
        right += found == wanted
        one_later += found == wanted + 1
        if found != wanted:
            wrong.append(f"{float(moment):.3f} s: {'nothing' if found is None else found}, not {wanted}")
    return FilmReading(
        pictures=len(truth.pts),
        counted=counted,
        asked=len(asked),
        right=right,
        one_later=one_later,
        ms_per_picture=round(1000 * spent / len(asked), 3),
        wrong=tuple(wrong[:5]),
    )


def _truth(path: Path) -> Truth:
    """libav's own view: all packets to the decoder, all pictures out, in its order."""
    import av

    durations: dict[int, int] = {}
    pts: list[int] = []
    lumas: list[np.ndarray] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            if packet.pts is not None:
                durations[packet.pts] = packet.duration or 0
            for frame in packet.decode():
                pts.append(int(cast(int, frame.pts)))
                lumas.append(_upright_luma(cast(av.VideoFrame, frame)))
        base, rate = Fraction(cast(Fraction, stream.time_base)), Fraction(stream.average_rate or 25)
    return Truth(pts, lumas, pts[-1] + durations[pts[-1]], base, rate)


def _upright_luma(frame: Any) -> np.ndarray:
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    luma = rows[: frame.height // 2 * 2, : frame.width // 2 * 2]
    # PyAV states by how much to turn it counter-clockwise, as numpy does.
    return np.ascontiguousarray(np.rot90(luma, frame.rotation // 90))


def _by_clip_source(path: Path, truth: Truth, asked: list[Fraction], draw: random.Random) -> FilmReading:
    """The product's reader: single moments, parts, and the whole."""
    from video_pipeline.media.clip_source import ClipSource

    with ClipSource(path, name=path.name) as film:

        def read_at(moment: Fraction) -> np.ndarray | None:
            found = next(film.pictures(moment, moment + film.time_base), None)
            return None if found is None else found.frame.y

        counted = sum(1 for _ in film.pictures())
        judged = _judged(truth, asked, counted, read_at)
        ranges_right, ranges = 0, max(2, len(asked) // 2)
        for _ in range(ranges):
            first, last = sorted(draw.sample(range(len(truth.pts)), 2))
            stop = truth.end if last + 1 == len(truth.pts) else truth.pts[last + 1]
            parts = film.pictures(truth.pts[first] * truth.time_base, stop * truth.time_base)
            found = [(picture.pts, picture.frame.y) for picture in parts]
            ranges_right += [pts for pts, _ in found] == truth.pts[first : last + 1] and all(
                np.array_equal(luma, truth.lumas[first + place]) for place, (_, luma) in enumerate(found)
            )
    return judged.model_copy(update={"ranges": ranges, "ranges_right": ranges_right})


def _by_ffmpeg(path: Path, truth: Truth) -> tuple[int, ReadAt]:
    """The ffmpeg program with `-ss` before the input, one process a picture; all for the count."""
    program = _ffmpeg_program()
    height, width = truth.lumas[0].shape

    def raw(*arguments: str) -> bytes:
        command = [program, "-v", "error", *arguments, "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
        return subprocess.run(command, capture_output=True, check=False).stdout

    def read_at(moment: Fraction) -> np.ndarray | None:
        data = raw("-ss", f"{float(moment):.6f}", "-i", str(path), "-frames:v", "1")
        whole = len(data) >= height * width
        return np.frombuffer(data, np.uint8, height * width).reshape(height, width) if whole else None

    return len(raw("-i", str(path), "-fps_mode", "passthrough")) // (height * width * 3 // 2), read_at


def _ffmpeg_program() -> str:
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except ImportError:
        found = shutil.which("ffmpeg")
    if found is None:
        raise BadInput(
            "there is no ffmpeg program on this machine",
            input="ffmpeg_program",
            what_to_do="install imageio-ffmpeg, or leave this reader out",
        )
    return found


def _by_opencv(path: Path, truth: Truth, by_number: bool) -> tuple[int, ReadAt]:
    """OpenCV: to a picture's number, which is time x rate to a script, or to a time in milliseconds. The
    count is what its CAP_PROP_FRAME_COUNT says."""
    try:
        import cv2
    except ImportError as error:
        raise BadInput(
            "OpenCV is not installed here", input="opencv", what_to_do="install it, or leave it out"
        ) from error

    def read_at(moment: Fraction) -> np.ndarray | None:
        capture = cv2.VideoCapture(str(path))
        try:
            if by_number:
                capture.set(cv2.CAP_PROP_POS_FRAMES, float(int(moment * truth.rate)))
            else:
                capture.set(cv2.CAP_PROP_POS_MSEC, float(1000 * moment))
            got, picture = capture.read()
        finally:
            capture.release()
        # Limited range, as the decoder's own luma: OpenCV's YUV would be another matrix, so near is enough.
        return cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)[: picture.shape[0]] if got else None

    capture = cv2.VideoCapture(str(path))
    counted = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return counted, read_at

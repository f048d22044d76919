"""From a render to its objects in the store: check, pictures, upload, result.

Belongs here: what every rendering task does after, and instead of, rendering. Does not belong here: frames.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from video_pipeline.clips.publishing import ClipOutput
from video_pipeline.clips.render import Rendered
from video_pipeline.clips.result import RenderResult
from video_pipeline.clips.shots import Shot
from video_pipeline.clips.verify import ClipFacts, verify_clip
from video_pipeline.media.colour import frame_to_rgb
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.h264 import VideoFormat
from video_pipeline.telemetry.table import wall_seconds
from video_pipeline.telemetry.timing import timed_operation

if TYPE_CHECKING:
    from PIL import Image

    from video_pipeline.worker import TaskContext

Box = tuple[float, float, float, float]
"""Left, top, width and height in pixels."""

CLIP_NAME = "clip.mp4"
PICTURE_NAME = "before_after.png"
PICTURE_HEIGHT = 540
"""Of the before and after picture: small enough for a page of metadata, large enough to judge."""

PHASES = ("model_load", "copy", "decode", "transform", "encode", "mux", "audio", "check", "upload")


def progress_of(context: TaskContext, stage: str, total: int) -> Callable[[int], None]:
    """Tells the context how many frames are done, with rate and time left."""
    started = time.monotonic()

    def tell(done: int) -> None:
        context.progress(stage, min(done, total), total, unit="frames", started=started)

    return tell


def finish_render(
    context: TaskContext,
    output: ClipOutput,
    path: Path,
    fmt: VideoFormat,
    rendered: Rendered,
    *,
    started: float,
    start_seconds: float | None = None,
    mark: Callable[[Shot], Box] | None = None,
    **fields: Any,
) -> RenderResult:
    """Check the file, write it and its picture, and its manifest last.

    `mark` tells which part of the source picture is framed there; `fields` are further ones of
    `RenderResult`. Raises Internal, and publishes nothing, if the file is not what was asked for.
    """
    duration = rendered.end_pts * fmt.time_base
    with timed_operation("check"):
        facts = verify_clip(
            path,
            frames=rendered.frames,
            width=fmt.width,
            height=fmt.height,
            duration=duration,
            pts=rendered.pts,
            audio=True,
            cancel=context.cancel,
        )
    picture = None
    if rendered.before is not None and rendered.after is not None:
        before = frame_to_rgb(rendered.before.picture)
        if mark is not None:
            before = marked(before, mark(rendered.before))
        picture = side_by_side([before, frame_to_rgb(rendered.after)])
    return store_clip(
        context,
        output,
        path,
        facts,
        picture,
        started=started,
        frame_rate=str(fmt.frame_rate),
        start_seconds=start_seconds,
        **fields,
    )


def store_clip(
    context: TaskContext,
    output: ClipOutput,
    path: Path,
    facts: ClipFacts,
    picture: np.ndarray | None,
    *,
    started: float,
    **fields: Any,
) -> RenderResult:
    """Upload a checked file and its picture (RGB); the manifest last."""
    context.cancel.raise_if_cancelled()
    with timed_operation("upload"):
        clip = output.put(CLIP_NAME, path)
        picture_key = output.put(PICTURE_NAME, png_of(picture)).key if picture is not None else None
    seconds = time.monotonic() - started
    spans = context.recorder.spans()
    phases = {name: round(wall_seconds(spans, (name,)), 4) for name in PHASES}
    result = RenderResult(
        kind=output.kind,
        recipe=output.recipe,
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
        duration_seconds=facts.duration_seconds,
        output_key=clip.key,
        picture_key=picture_key,
        size_bytes=clip.size,
        sha256=clip.sha256,
        av_offset_ms=facts.av_offset_ms,
        audio_seconds=facts.audio_seconds,
        phases={name: value for name, value in phases.items() if value},
        ms_per_frame=round(seconds * 1000 / facts.frames, 3),
        **fields,
    )
    _attach_timing(context, output.kind)
    usage = context.usage
    usage.frames, usage.video_seconds = facts.frames, facts.duration_seconds
    usage.output_pixels = facts.width * facts.height
    usage.bytes_written = clip.size
    return output.finish(result)


def store_preview(
    context: TaskContext,
    output: ClipOutput,
    pictures: Iterator[tuple[Fraction, CroppedFrame]],
    *,
    frames: int,
    duration: Fraction,
    frame_rate: Fraction,
    wanted: int,
    **fields: Any,
) -> RenderResult:
    """Write a preview's frames: (clip seconds, picture). The clip itself does not come to exist."""
    tell = progress_of(context, "preview", wanted)
    stored: list[str] = []
    seconds: list[float] = []
    size = (0, 0)
    for number, (moment, picture) in enumerate(pictures):
        context.cancel.raise_if_cancelled()
        stored.append(output.put(f"preview/{wanted:02d}/{number:02d}.png", png_of(frame_to_rgb(picture))).key)
        seconds.append(round(float(moment), 6))
        size = (picture.width, picture.height)
        tell(number + 1)
    context.usage.frames, context.usage.output_pixels = len(stored), size[0] * size[1]
    return RenderResult(
        kind=output.kind,
        recipe=output.recipe,
        width=size[0],
        height=size[1],
        frame_rate=str(frame_rate),
        frames=frames,
        duration_seconds=float(duration),
        preview_keys=tuple(stored),
        preview_seconds=tuple(seconds),
        **fields,
    )


def marked(rgb: np.ndarray, box: Box) -> np.ndarray:
    """A copy of an RGB picture with a frame around `box`, as thick as can be seen when it is made small."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(rgb)
    line = max(2, image.height // 180)
    left, top, width, height = box
    corners = (left - line, top - line, left + width + line - 1, top + height + line - 1)
    ImageDraw.Draw(image).rectangle(corners, outline=(255, 212, 0), width=line)
    return np.asarray(image)


def side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """RGB pictures (H, W, 3) beside each other at one height, with a gap between."""
    from PIL import Image

    images = [_at_height(Image.fromarray(picture), PICTURE_HEIGHT) for picture in pictures]
    gap = 8
    sheet = Image.new("RGB", (sum(image.width for image in images) + gap * (len(images) - 1), PICTURE_HEIGHT))
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + gap
    return np.asarray(sheet)


def _at_height(image: Image.Image, height: int) -> Image.Image:
    return image.resize((max(1, round(image.width * height / image.height)), height))


def png_of(rgb: np.ndarray) -> bytes:
    """8-bit RGB (H, W, 3) as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _attach_timing(context: TaskContext, kind: str) -> None:
    from video_pipeline.telemetry.waterfall import waterfall_html

    spans, dropped = context.recorder.spans(), context.recorder.dropped
    context.attach_report("timing_waterfall.html", waterfall_html(spans, title=kind, dropped=dropped))

"""A few pictures of a long video, in pairs a moment apart, by seeking.

Belongs here: reaching moments without decoding what lies between. Does not belong here: samples of a whole
video (`pictures`), what the pictures are looked at for.

A moment's pictures are exact for the eye, not for a recipe: after a seek some codecs show a first picture
that refers to one before the key picture, so what comes out first after it is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import av.container
import av.video

from video_pipeline.media.container import Source, media_errors, open_video
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.geometry import CropRegion, to_coded_crop, to_pixel_crop
from video_pipeline.media.planes import PlaneCropper, orientation_of
from video_pipeline.media.probe import describe, first_picture

WHOLE = CropRegion(left=0, top=0, width=1, height=1)

SEEK_BEYOND_S = 12
"""Seconds ahead from which seeking beats decoding on: encoders place key pictures up to ten seconds apart."""


@dataclass(frozen=True)
class PicturePair:
    """Two displayed pictures of one size, `gap` seconds apart or a little more; `seconds` is the first's time
    after the video's first picture."""

    seconds: float
    first: CroppedFrame
    second: CroppedFrame


def picture_pairs(
    source: Source, *, name: str, moments: Sequence[Fraction], gap: Fraction
) -> Iterator[PicturePair]:
    """A pair at each of `moments` (seconds after the first picture, ascending), upright and whole.

    A moment too near the end for a second picture gives none. Raises BadInput for media that cannot be used.
    Leaving the loop closes the file.
    """
    opened = open_video(source, name=name)
    try:
        stream = opened.stream
        context = stream.codec_context
        context.thread_count = 1
        picture = first_picture(opened)
        probe = describe(opened, picture, first_pts=picture.pts or 0)
        orientation = orientation_of(picture)
        assert orientation is not None
        whole = to_pixel_crop(WHOLE, probe.display_width, probe.display_height)
        cropper = PlaneCropper(to_coded_crop(whole, orientation, picture.width, picture.height), orientation)
        origin, tick = probe.first_pts, Fraction(stream.time_base or 1)
        pictures = _from(opened.container, stream, origin, name)
        now = Fraction(0)
        for moment in moments:
            if moment - now > SEEK_BEYOND_S:
                pictures = _from(opened.container, stream, origin + round(moment / tick), name)
            pair: list[tuple[Fraction, av.VideoFrame]] = []
            for shown in pictures:
                now = ((shown.pts if shown.pts is not None else origin) - origin) * tick
                if now >= (moment if not pair else pair[0][0] + gap):
                    pair.append((now, shown))
                    if len(pair) == 2:
                        break
            if len(pair) < 2:
                return
            yield PicturePair(float(pair[0][0]), *(cropper.cut(shown) for _, shown in pair))
    finally:
        opened.close()


def _from(
    container: av.container.InputContainer, stream: av.video.VideoStream, pts: int, name: str
) -> Iterator[av.VideoFrame]:
    """Decoded pictures from the key picture at or before `pts` on."""
    with media_errors(name, "cannot seek in the video"):
        container.seek(pts, stream=stream, backward=True)
    stream.codec_context.flush_buffers()
    packets = container.demux(stream)
    while True:
        with media_errors(name, "the video does not decode"):
            packet = next(packets, None)
            if packet is None:
                return
            pictures = packet.decode()
        yield from pictures

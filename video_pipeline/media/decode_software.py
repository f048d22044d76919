"""Decoding on the CPU by libav (PyAV).

Belongs here: the codec context and its options, and the life of one software decoder. Does not belong here:
the pass itself (`pictures`), cropping (`planes`), choosing a device (`decode`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Literal

import av

from video_pipeline.errors import BadInput
from video_pipeline.media.container import REPLACE, OpenedVideo, Source, open_video
from video_pipeline.media.frames import CroppedPicture, Sample, samples_of
from video_pipeline.media.geometry import CropRegion, PixelCrop, to_coded_crop, to_pixel_crop
from video_pipeline.media.pictures import DecodeStats, PicturePass, Shown
from video_pipeline.media.planes import PlaneCropper, orientation_of
from video_pipeline.media.probe import VideoProbe, check_index, describe

STRICT_CODECS = ("hevc", "vp9", "av1", "libdav1d")
"""Where libav's "explode" finds more damage. In H.264 it finds no more than the flags on pictures do, and it
refuses healthy streams that begin in an open GOP."""


class SoftwareBackend:
    """libav's decoder for one stream. `threads` > 1 decodes that many pictures at once (frame threads):
    less wall time, about 15 % more CPU in all."""

    def __init__(self, opened: OpenedVideo, threads: int | Literal["auto"] = 1) -> None:
        self._context = opened.stream.codec_context
        self._context.options = decoder_options(self._context.name)
        self._context.thread_count = 0 if threads == "auto" else threads
        if threads != 1:
            self._context.thread_type = "FRAME"

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        return self._context.decode(packet)

    def hold(self, picture: av.VideoFrame) -> av.VideoFrame:
        return picture


def decoder_options(codec: str) -> dict[str, str]:
    """Options under which no decoder loses or hides a picture.

    `strict=1` for H.264: without reordering depth in the stream, assume the largest (libav otherwise guesses
    from what it has seen, and throws away pictures that then come too late).
    """
    if codec in STRICT_CODECS:
        return {"err_detect": "crccheck+bitstream+buffer+explode"}
    return {"strict": "1"} if codec == "h264" else {}


class SoftwareDecoder:
    """Decodes `source` once, in order, and yields its samples, cropped. See `decode.SampledDecoder`.

    The first sampled picture is decoded by the constructor, so bad input is refused there.
    """

    device = "cpu"

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        crop_region: CropRegion,
        rate: Fraction,
        threads: int | Literal["auto"] = 1,
        also: Callable[[int], bool] = lambda _pts: False,
    ) -> None:
        self.stats = DecodeStats()
        self._opened = open_video(source, name=name, one_pass=True)
        self._pictures: Iterator[tuple[Shown, av.VideoFrame]] = iter(())
        try:
            check_index(self._opened)
            run = PicturePass(self._opened, rate, self.stats, also)
            self.time_base: Fraction = run.time_base
            self._pictures = run.run(SoftwareBackend(self._opened, threads))
            first = next(self._pictures, None)
            if first is None:
                raise no_pictures(name)
            picture = first[1]
            self.probe: VideoProbe = describe(self._opened, picture, first_pts=first[0].pts)
            self.crop: PixelCrop = to_pixel_crop(
                crop_region, self.probe.display_width, self.probe.display_height
            )
            orientation = orientation_of(picture)
            assert orientation is not None
            coded = to_coded_crop(self.crop, orientation, picture.width, picture.height)
            self._cropper = PlaneCropper(coded, orientation)
            self._first: tuple[Shown, av.VideoFrame] | None = first
        except BaseException:
            self.close()
            raise

    def samples(self) -> Iterator[Sample]:
        """Every sample in order, once. Leaving early (or closing the generator) closes the decoder."""
        return samples_of(self.pictures())

    def pictures(self) -> Iterator[CroppedPicture]:
        """The pictures that samples show, and those of `also`, once, in order; as `samples` otherwise."""
        try:
            first, self._first = self._first, None
            if first is None:
                raise RuntimeError("samples() or pictures() can be taken once")
            yield self._cut(*first)
            del first
            for shown, picture in self._pictures:
                yield self._cut(shown, picture)
            if "moof" in self._opened.walk.kinds:
                # A fragmented file is read in one pass: its index is whole only now.
                check_index(self._opened)
        finally:
            self.close()

    def _cut(self, shown: Shown, picture: av.VideoFrame) -> CroppedPicture:
        self.stats.samples += len(shown.samples)
        return CroppedPicture(shown.pts, shown.samples, self._cropper.cut(picture))

    def close(self) -> None:
        """Free the decoder, the container and a file that we opened. Idempotent."""
        self._first = None
        close = getattr(self._pictures, "close", None)
        if close is not None:
            close()
        self._pictures = iter(())
        self._opened.close()

    def __enter__(self) -> SoftwareDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def no_pictures(name: str) -> BadInput:
    return BadInput("the video has no pictures", input=name, what_to_do=REPLACE)

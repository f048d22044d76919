"""Decoding a few coded pictures that are in memory: what a sampler does between fetching and looking.

Belongs here: what every such decoder offers, and the one on the CPU (PyAV). Does not belong here: passes over
a whole file (`decode*.py`), the pool of NVIDIA decoders, which device is used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import av
import av.error

from video_pipeline.errors import BadInput
from video_pipeline.media.decode_software import decoder_options
from video_pipeline.media.frames import CroppedFrame, DeviceFrame
from video_pipeline.media.geometry import CodedCrop, Orientation
from video_pipeline.media.mp4.track import SampleEntry
from video_pipeline.media.planes import PlaneCropper


class NoPicture(BadInput):
    """A decoder that began at a sync sample gave nothing for a picture behind it.

    So it is where the sync sample is only a recovery point, from which pictures come right bit by bit (H.264
    Annex D.2.8, intra refresh): beginning further back helps.
    """


@dataclass(frozen=True, slots=True)
class CodedPicture:
    """One sample: its bytes as they lie in the file, its media PTS and DTS in ticks."""

    data: bytes | memoryview
    pts: int
    dts: int
    key: bool


@dataclass(frozen=True, slots=True)
class CodedRun:
    """Pictures in decode order, the first a sync sample. `orientation` is the container's; `name` for
    errors."""

    entry: SampleEntry
    time_base: Fraction
    orientation: Orientation
    pictures: Sequence[CodedPicture]
    name: str


class MemoryDecoder(Protocol):
    """Decodes runs, one after the other or in several threads.

    `backend` is what a report calls it: pyav, nvdec or videotoolbox.
    """

    backend: str

    def decode(
        self, run: CodedRun, wanted: Collection[int]
    ) -> Iterator[tuple[int, CroppedFrame | DeviceFrame]]:
        """The pictures whose media PTS is in `wanted`, upright and whole, in order of PTS.

        Raises BadInput if one of them does not come out, or comes out damaged.
        """
        ...


class SoftwareMemoryDecoder:
    """libav on the CPU, one thread a run: runs are decoded side by side, which costs less than frame
    threads."""

    backend = "pyav"

    def decode(
        self, run: CodedRun, wanted: Collection[int]
    ) -> Iterator[tuple[int, CroppedFrame | DeviceFrame]]:
        yield from whole_frames(run, decode_pictures(run, wanted))


def whole_frames(
    run: CodedRun, pictures: Iterator[tuple[int, av.VideoFrame]]
) -> Iterator[tuple[int, CroppedFrame]]:
    """libav's pictures as frames: upright, 8-bit 4:2:0. The last row or column of an odd size is left out,
    since planes of 4:2:0 come in pairs of rows."""
    cropper: PlaneCropper | None = None
    size = (0, 0)
    for pts, picture in pictures:
        if cropper is None or (picture.width, picture.height) != size:
            size = (picture.width, picture.height)
            whole = CodedCrop(0, 0, size[0] // 2 * 2, size[1] // 2 * 2)
            cropper = PlaneCropper(whole, run.orientation)
        yield pts, cropper.cut(picture)


def decode_pictures(
    run: CodedRun, wanted: Collection[int], context: av.VideoCodecContext | None = None
) -> Iterator[tuple[int, av.VideoFrame]]:
    """libav's pictures of a run whose media PTS is wanted, in order of PTS; see `MemoryDecoder.decode`.

    `context` decodes in place of a new one on the CPU; it is used up.
    """
    missing = set(wanted)
    try:
        context = context or prepared(run, av.CodecContext.create(software_codec(run), "r"))
        for coded in (*run.pictures, None):
            for picture in context.decode(_packet(coded, run.time_base) if coded is not None else None):
                if picture.pts not in missing:
                    continue
                missing.discard(picture.pts)
                if picture.is_corrupt:
                    raise _damaged(run, picture.pts, "the decoder reports it as damaged")
                yield picture.pts, picture
    except av.error.FFmpegError as error:
        raise _damaged(
            run, min(missing, default=0), getattr(error, "strerror", None) or str(error)
        ) from error
    if missing:
        raise _damaged(run, min(missing), "the decoder gave nothing for it", NoPicture)


def software_codec(run: CodedRun) -> str:
    """libav's name of the decoder on the CPU: its own "av1" only drives hardware."""
    return "libdav1d" if run.entry.codec == "av1" else run.entry.codec


def prepared(run: CodedRun, context: av.CodecContext) -> av.VideoCodecContext:
    """A fresh context with what the container says of the stream."""
    assert isinstance(context, av.VideoCodecContext)
    if run.entry.extradata and run.entry.codec != "vp9":
        context.extradata = run.entry.extradata
    context.options = decoder_options(context.name)
    context.thread_count = 1
    if run.entry.colour is not None:
        primaries, transfer, matrix, full = run.entry.colour
        context.color_primaries, context.color_trc, context.colorspace = primaries, transfer, matrix
        context.color_range = 2 if full else 1
    return context


def _packet(coded: CodedPicture, time_base: Fraction) -> av.Packet:
    packet = av.Packet(bytes(coded.data))
    packet.pts, packet.dts, packet.time_base = coded.pts, coded.dts, time_base
    packet.is_keyframe = coded.key
    return packet


def _damaged(run: CodedRun, pts: int, why: str, kind: type[BadInput] = BadInput) -> BadInput:
    seconds = float(pts * run.time_base)
    return kind(
        f"the picture at media time {seconds:.3f} s cannot be decoded: {why}",
        input=run.name,
        what_to_do="choose another picture, or upload the file again.",
    )

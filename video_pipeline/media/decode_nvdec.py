"""Decoding on an NVIDIA GPU by NVDEC (PyNvVideoCodec), frames kept in device memory.

Belongs here: everything that talks to PyNvVideoCodec. Does not belong here: the pass itself (`pictures`).

libav demuxes (PyNvVideoCodec's own demuxer takes neither https nor a reader without a frame count), H.264 and
HEVC packets become Annex B, and each goes to `CreateDecoder(...).Decode(PacketData)` with its PTS; an empty
packet flushes. The same `PicturePass` decides what is sent and sampled as on the CPU, so the list of PTS is
equal by construction. A surface is reused by a later Decode: the crop is cloned, and the clone awaited,
before that. PyNvVideoCodec and torch are imported when first used; without a driver the former raises
RuntimeError.
Written against PyNvVideoCodec 2.2 (signatures read from its extension module).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import av.bitstream
import numpy as np

from video_pipeline.media.container import OpenedVideo, Source, media_errors, open_video
from video_pipeline.media.decode_software import no_pictures
from video_pipeline.media.frames import ColourTags, CroppedPicture, DeviceFrame, Sample, samples_of
from video_pipeline.media.geometry import (
    CodedCrop,
    CropRegion,
    Orientation,
    PixelCrop,
    to_coded_crop,
    to_pixel_crop,
)
from video_pipeline.media.pictures import DecodeStats, PicturePass, Shown
from video_pipeline.media.probe import VideoProbe, describe, first_picture

CODECS = {
    "h264": "H264",
    "hevc": "HEVC",
    "av1": "AV1",
    "vp9": "VP9",
    "vp8": "VP8",
    "mpeg2": "MPEG2",
    "mpeg2video": "MPEG2",
}
"""Our names of codecs (`VideoProbe.codec`) -> members of PyNvVideoCodec's cudaVideoCodec."""

ANNEX_B_FILTERS = {
    "h264": "h264_mp4toannexb,dump_extra=freq=keyframe",
    "hevc": "hevc_mp4toannexb,dump_extra=freq=keyframe",
}
"""The first filter writes parameter sets before IDR pictures only; a stream that begins at another kind of
key picture would leave the decoder without them."""


class NotForNvdec(Exception):
    """This stream is for the CPU: the text says why."""


@functools.cache
def unavailable() -> str | None:
    """Why this machine cannot decode on a GPU; None if it can."""
    import torch

    if not torch.cuda.is_available():
        return "torch finds no CUDA device (no NVIDIA driver, or a CPU build of torch)"
    try:
        _nvc()
    except ImportError:
        return "PyNvVideoCodec is not installed: pip install video-pipeline[gpu]"
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        return (
            f"PyNvVideoCodec does not start: {reason} (a container needs "
            "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video)"
        )
    return None


def _nvc() -> Any:
    import PyNvVideoCodec  # pyright: ignore[reportMissingImports]

    return PyNvVideoCodec


@dataclass(slots=True)
class NvdecPicture:
    """A decoded picture: the decoder's surface until `crop` is set, then a clone of the crop."""

    pts: int | None
    duration: int
    width: int
    height: int
    surface: Any
    crop: DeviceFrame | None = None
    is_corrupt: bool = False


class NvdecBackend:
    """One NVDEC session for `opened`'s stream, delivering NV12 surfaces on `gpu`."""

    def __init__(
        self, opened: OpenedVideo, probe: VideoProbe, crop: CodedCrop, orientation: Orientation, gpu: int = 0
    ) -> None:
        import torch

        nvc = _nvc()
        codec = check_capabilities(nvc, probe, gpu)
        self._nvc = nvc
        self._torch = torch
        self._crop = crop
        self._orientation = orientation
        self._tags = ColourTags(
            probe.color_primaries, probe.color_transfer, probe.color_matrix, probe.color_range
        )
        self._size = (probe.coded_width, probe.coded_height)
        self._durations: dict[int, int] = {}
        self._filter = _annex_b_filter(opened, probe.codec)
        with torch.cuda.device(gpu):
            self._decoder: Any = nvc.CreateDecoder(
                gpuid=gpu,
                codec=codec,
                cudacontext=0,
                cudastream=0,
                usedevicememory=True,
                maxwidth=probe.coded_width,
                maxheight=probe.coded_height,
            )

    def decode(self, packet: av.Packet | None) -> list[NvdecPicture]:
        plain = [] if packet is None else [packet]
        units = plain if self._filter is None else self._filter.filter(packet)
        pictures = [picture for unit in units for picture in self._feed(unit)]
        if packet is None:
            pictures += self._feed(None)
        return pictures

    def _feed(self, unit: av.Packet | None) -> list[NvdecPicture]:
        data = self._nvc.PacketData()
        held = None
        if unit is not None:
            # The decoder reads from this address during the call only; `held` keeps it valid until then.
            held = np.frombuffer(memoryview(unit), np.uint8)
            data.bsl_data = held.ctypes.data
            data.bsl = held.size
            data.pts = unit.pts if unit.pts is not None else unit.dts or 0
            data.dts = unit.dts if unit.dts is not None else data.pts
            data.duration = unit.duration or 0
            data.key = int(unit.is_keyframe)
            self._durations[data.pts] = data.duration
        surfaces = self._decoder.Decode(data)
        del held
        if not surfaces:
            return []
        width, height = int(self._decoder.GetWidth()), int(self._decoder.GetHeight())
        pictures = []
        for surface in surfaces:
            pts = int(surface.getPTS())
            pictures.append(
                NvdecPicture(
                    pts=pts,
                    duration=self._durations.pop(pts, 0),
                    width=width,
                    height=height,
                    surface=surface,
                )
            )
        # Several surfaces of one call live side by side; a later call may reuse any of them.
        return pictures

    def hold(self, picture: NvdecPicture) -> NvdecPicture:
        self.cut(picture)
        return picture

    def cut(self, picture: NvdecPicture) -> DeviceFrame:
        """The crop as a clone of its own, upright; the surface may be reused afterwards."""
        if picture.crop is None:
            picture.crop = self._clone(picture.surface, picture.height)
            picture.surface = None
        return picture.crop

    def _clone(self, surface: Any, height: int) -> DeviceFrame:
        torch, crop = self._torch, self._crop
        nv12 = torch.from_dlpack(surface)
        nv12 = nv12.reshape(height * 3 // 2, -1)
        y = nv12[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        top = height + crop.top // 2
        uv = nv12[top : top + crop.height // 2, crop.left : crop.left + crop.width]
        uv = uv.reshape(crop.height // 2, crop.width // 2, 2)
        frame = DeviceFrame(y=self._upright(y), uv=self._upright(uv), tags=self._tags)
        torch.cuda.current_stream().synchronize()
        return frame

    def _upright(self, plane: Any) -> Any:
        if self._orientation.rotation:
            plane = self._torch.rot90(plane, k=-(self._orientation.rotation // 90), dims=(0, 1))
        if self._orientation.mirrored:
            plane = plane.flip(1)
        return plane.clone(memory_format=self._torch.contiguous_format)

    def close(self) -> None:
        self._decoder = None


def check_capabilities(nvc: Any, probe: VideoProbe, gpu: int) -> Any:
    """The cudaVideoCodec for `probe`, if this GPU decodes such a stream to NV12. Raises NotForNvdec."""
    member = CODECS.get(probe.codec)
    if member is None:
        raise NotForNvdec(f"NVDEC has no {probe.codec}")
    if probe.pix_fmt not in ("yuv420p", "yuvj420p"):
        raise NotForNvdec(f"{probe.pix_fmt} pictures are cropped and converted on the CPU")
    if probe.coded_width % 2 or probe.coded_height % 2:
        raise NotForNvdec(f"{probe.coded_width}x{probe.coded_height} is odd; NV12 surfaces are even")
    codec = getattr(nvc.cudaVideoCodec, member)
    try:
        # "420" is no identifier: pybind11 lists it among the members only.
        chroma = nvc.cudaVideoChromaFormat.__members__["420"]
        caps: dict[str, int] = nvc.GetDecoderCaps(gpuid=gpu, codec=codec, chromaformat=chroma, bitdepth=8)
    except Exception as error:
        raise NotForNvdec(f"this GPU does not say whether it decodes {probe.codec}: {error}") from error
    if not caps.get("num_decoder_engines") or not caps.get("width_max", 1):
        raise NotForNvdec(f"this GPU does not decode {probe.codec}")
    for side, size in (("width", probe.coded_width), ("height", probe.coded_height)):
        low, high = caps.get(f"{side}_min", 0), caps.get(f"{side}_max", size)
        if not low <= size <= high:
            raise NotForNvdec(f"a {side} of {size} pixels is outside this GPU's {low}..{high}")
    return codec


def _annex_b_filter(opened: OpenedVideo, codec: str) -> av.bitstream.BitStreamFilterContext | None:
    name = ANNEX_B_FILTERS.get(codec)
    extradata = opened.stream.codec_context.extradata or b""
    if name is None or extradata[:3] == b"\0\0\1" or extradata[:4] == b"\0\0\0\1":
        return None
    return av.bitstream.BitStreamFilterContext(name, opened.stream)


class NvdecDecoder:
    """As `decode_software.SoftwareDecoder`, with `DeviceFrame` samples. Raises NotForNvdec at construction
    for a stream that NVDEC does not take; `source` must then be rewound by the caller.

    The first picture is decoded on the CPU once more, for its display matrix and colour tags.
    """

    device = "cuda"

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        crop_region: CropRegion,
        rate: Fraction,
        gpu: int = 0,
        also: Callable[[int], bool] = lambda _pts: False,
    ) -> None:
        self.stats = DecodeStats()
        self.probe, orientation = _look(source, name)
        self.crop: PixelCrop = to_pixel_crop(crop_region, self.probe.display_width, self.probe.display_height)
        coded = to_coded_crop(self.crop, orientation, self.probe.coded_width, self.probe.coded_height)
        self._opened = open_video(source, name=name, one_pass=True)
        self._pictures: Iterator[tuple[Shown, NvdecPicture]] = iter(())
        self._backend: NvdecBackend | None = None
        try:
            run = PicturePass(self._opened, rate, self.stats, also)
            self.time_base: Fraction = run.time_base
            self._backend = NvdecBackend(self._opened, self.probe, coded, orientation, gpu)
            self._pictures = run.run(self._backend)
            first = next(self._pictures, None)
            if first is None:
                raise no_pictures(name)
            self._backend.hold(first[1])
            self.probe = self.probe.model_copy(update={"first_pts": first[0].pts})
            self._first: tuple[Shown, NvdecPicture] | None = first
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
        finally:
            self.close()

    def _cut(self, shown: Shown, picture: NvdecPicture) -> CroppedPicture:
        assert self._backend is not None
        self.stats.samples += len(shown.samples)
        return CroppedPicture(shown.pts, shown.samples, self._backend.cut(picture))

    def close(self) -> None:
        """Free the session, the container and a file that we opened. Idempotent."""
        self._first = None
        close = getattr(self._pictures, "close", None)
        if close is not None:
            close()
        self._pictures = iter(())
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        self._opened.close()

    def __enter__(self) -> NvdecDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _look(source: Source, name: str) -> tuple[VideoProbe, Orientation]:
    """The stream's description, from its header and first picture."""
    opened = open_video(source, name=name)
    try:
        with media_errors(name, "the first picture does not decode"):
            picture = first_picture(opened)
        probe = describe(opened, picture, first_pts=picture.pts or 0)
        return probe, Orientation(probe.rotation, probe.mirrored)
    finally:
        opened.close()

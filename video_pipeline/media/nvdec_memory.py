"""A few coded pictures in memory, decoded on an NVIDIA GPU by sessions from a pool.

Belongs here: what of a run goes to NVDEC, and getting pictures out before their surfaces are used again. Does
not belong here: in which form (`nvdec_coded.py`), passes over a file (`decode_nvdec.py`), who holds which
session (`decoder_pool.py`), whether a GPU pays (`decoder_choice.py`).

What NVDEC would do differently from libav without saying so is refused (`NotForNvdec`, before anything is
given out): it deinterlaces streams that may hold fields, gives out pictures that refer to what lies before
the run, and scales pictures after a change of size within a stream to the size before. What it conceals of
damage it does not tell: PyNvVideoCodec prints cuvidGetDecodeStatus and offers no way to ask.
Written against PyNvVideoCodec 2.2: the names in its extension module, its sample decode_reconfigure.py, and a
published NvDecoder.cpp of an earlier release. Not run on a GPU yet.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from video_pipeline.errors import BadInput
from video_pipeline.media.decode_memory import CodedRun, NoPicture, decode_pictures
from video_pipeline.media.decode_nvdec import NotForNvdec, check_capabilities, unavailable
from video_pipeline.media.decode_nvdec import _nvc as nvc_module
from video_pipeline.media.decoder_pool import DecoderKey, DecoderPool, PoolStats
from video_pipeline.media.frames import ColourTags, DeviceFrame
from video_pipeline.media.geometry import Orientation
from video_pipeline.media.mp4.track import SampleEntry
from video_pipeline.media.nvdec_coded import coded_for_nvdec, stream_header
from video_pipeline.media.planes import colour_tags

SMALLEST_MAXIMUM = 1920
"""A session is made for pictures up to a square of this side at least, so that portrait and landscape up to
1080p share it: about 5.5 MB a surface."""

ALIGNMENT = 64
"""The largest coding block of these codecs: coded sizes are rounded up to this at most."""

LOOKS_KEPT = 256


@dataclass(frozen=True, slots=True)
class StreamLook:
    """What one picture decoded on the CPU says of its stream, and NVDEC's codec for it. The names are those
    of VideoProbe that `check_capabilities` reads."""

    codec: str
    pix_fmt: str
    coded_width: int
    coded_height: int
    tags: ColourTags
    interlaced: bool


class NvdecSession:
    """One PyNvVideoCodec decoder, kept between runs. One thread at a time."""

    def __init__(self, nvc: Any, codec: Any, key: DecoderKey, gpu: int) -> None:
        import torch

        self._nvc, self._torch, self._gpu = nvc, torch, gpu
        self._key = key
        self._side = max(SMALLEST_MAXIMUM, _aligned(key.width), _aligned(key.height))
        with torch.cuda.device(gpu):
            self._decoder: Any = nvc.CreateDecoder(
                gpuid=gpu,
                codec=codec,
                cudacontext=0,
                cudastream=0,
                usedevicememory=True,
                maxwidth=self._side,
                maxheight=self._side,
            )

    def fits(self, key: DecoderKey) -> bool:
        """NvDecoder::ReconfigureDecoder refuses another bit depth and what is larger than at its making; and
        where only the cropping differs it keeps the old surface's height, then reads chroma as luma."""
        mine = self._key
        same_blocks = (_aligned(key.width), _aligned(key.height)) == (
            _aligned(mine.width),
            _aligned(mine.height),
        )
        return (
            (key.codec, key.bit_depth) == (mine.codec, mine.bit_depth)
            and max(_aligned(key.width), _aligned(key.height)) <= self._side
            and not same_blocks
        )

    def reconfigure(self, key: DecoderKey) -> None:
        self._decoder.setReconfigParams(key.width, key.height)
        self._key = key

    def close(self) -> None:
        self._decoder = None

    def feed(self, data: bytes, stamp: int) -> list[tuple[int, Any]]:
        """Surfaces as (stamp, surface), valid until the next call. No data: the last ones of a run."""
        packet = self._nvc.PacketData()
        # The decoder reads from this address during the call only; `held` keeps it valid until then.
        held = np.frombuffer(data, np.uint8)
        if data:
            packet.bsl_data, packet.bsl = held.ctypes.data, held.size
            packet.pts = packet.dts = stamp
        with self._torch.cuda.device(self._gpu):
            surfaces = self._decoder.Decode(packet)
        del held
        size = (int(self._decoder.GetWidth()), int(self._decoder.GetHeight())) if surfaces else None
        if size is not None and size != (self._key.width, self._key.height):
            raise NotForNvdec(f"NVDEC gives {size[0]}x{size[1]} of {self._key.width}x{self._key.height}")
        return [(int(surface.getPTS()), surface) for surface in surfaces]

    def clone(self, surface: Any, orientation: Orientation, tags: ColourTags) -> DeviceFrame:
        """The whole picture upright, in memory of its own, complete when this returns."""
        torch, height, width = self._torch, self._key.height, self._key.width
        with torch.cuda.device(self._gpu):
            nv12 = torch.from_dlpack(surface).reshape(height * 3 // 2, -1)
            planes = nv12[:height, :width], nv12[height:, :width].reshape(height // 2, width // 2, 2)
            y, uv = (self._upright(plane, orientation) for plane in planes)
            torch.cuda.current_stream().synchronize()
        return DeviceFrame(y=y, uv=uv, tags=tags)

    def _upright(self, plane: Any, orientation: Orientation) -> Any:
        if orientation.rotation:
            plane = self._torch.rot90(plane, k=-(orientation.rotation // 90), dims=(0, 1))
        if orientation.mirrored:
            plane = plane.flip(1)
        return plane.clone(memory_format=self._torch.contiguous_format)


class NvdecMemoryDecoder:
    """A `MemoryDecoder` on GPU `device`, with at most `pool_limit` sessions. Frames are DeviceFrame.

    `decode` raises NotForNvdec, before it gives anything out, for a run that the CPU must decode. A session
    that fails is replaced for the next run. Raises BadInput at construction where there is no such GPU.
    """

    backend = "nvdec"

    def __init__(self, pool_limit: int = 4, device: int = 0) -> None:
        reason = unavailable()
        if reason is not None:
            raise BadInput(
                f"cannot decode on the GPU: {reason}", input="decoder", what_to_do='use "auto" or "pyav".'
            )
        self._gpu = device
        self._nvc = nvc_module()
        self._codecs: dict[str, Any] = {}
        self._looks: dict[tuple[SampleEntry, bytes], StreamLook | NotForNvdec] = {}
        self._lock = threading.Lock()
        self._pool: DecoderPool[NvdecSession] = DecoderPool(self._make, pool_limit)

    def decode(self, run: CodedRun, wanted: Collection[int]) -> Iterator[tuple[int, DeviceFrame]]:
        """As `MemoryDecoder.decode`, 8-bit NV12. All clones are made before the first is given out, so that
        no session waits for whoever takes them."""
        packets = coded_for_nvdec(run)
        look = self._look(run)
        # Ranks instead of PTS: NVDEC hands the number back, and PyNvVideoCodec's seeking treats 0 and less
        # differently from other times.
        by_rank = sorted(range(len(packets)), key=lambda place: run.pictures[place].pts)
        stamps = {place: rank for rank, place in enumerate(by_rank, start=1)}
        pts_of = {stamp: run.pictures[place].pts for place, stamp in stamps.items()}
        key = DecoderKey(run.entry.codec, look.coded_width, look.coded_height)
        missing, frames = set(wanted), []
        try:
            with self._pool.lease(key) as session:
                for place, data in enumerate((*packets, b"")):
                    for stamp, surface in session.feed(data, stamps.get(place, 0)):
                        pts = pts_of.get(stamp)
                        if pts in missing:
                            missing.discard(pts)
                            frames.append((pts, session.clone(surface, run.orientation, look.tags)))
        except RuntimeError as error:
            # PyNvVideoCodec's errors, and CUDA's: whether the media is at fault only the CPU can say.
            raise NotForNvdec(f"NVDEC failed: {str(error).strip().splitlines()[0]}") from error
        if missing:
            seconds = float(min(missing) * run.time_base)
            raise NoPicture(
                f"the picture at media time {seconds:.3f} s cannot be decoded: NVDEC gave nothing for it",
                input=run.name,
                what_to_do="choose another picture, or upload the file again.",
            )
        yield from sorted(frames, key=lambda pair: pair[0])

    def stats(self) -> PoolStats:
        return self._pool.stats()

    def close(self) -> None:
        """End the sessions. Runs under way are finished; later ones are refused."""
        self._pool.close()

    def __enter__(self) -> NvdecMemoryDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self, key: DecoderKey) -> NvdecSession:
        return NvdecSession(self._nvc, self._codecs[key.codec], key, self._gpu)

    def _look(self, run: CodedRun) -> StreamLook:
        """Size, format and colour from the first picture, decoded on the CPU once for each sample entry and
        header within the stream. Raises NotForNvdec."""
        kind = (run.entry, stream_header(run, run.pictures[0]))
        with self._lock:
            look = self._looks.get(kind)
        if look is None:
            look = self._first_look(run)
            with self._lock:
                while len(self._looks) >= LOOKS_KEPT:
                    self._looks.pop(next(iter(self._looks)))
                self._looks[kind] = look
        if isinstance(look, NotForNvdec):
            raise NotForNvdec(str(look))
        return look

    def _first_look(self, run: CodedRun) -> StreamLook | NotForNvdec:
        first = run.pictures[0]
        alone = CodedRun(run.entry, run.time_base, run.orientation, [first], run.name)
        ((_, picture),) = decode_pictures(alone, [first.pts])
        look = StreamLook(
            run.entry.codec,
            picture.format.name,
            picture.width,
            picture.height,
            colour_tags(picture),
            bool(picture.interlaced_frame),
        )
        if look.interlaced:
            return NotForNvdec("the video is interlaced, and NVDEC would deinterlace it")
        try:
            self._codecs[look.codec] = check_capabilities(self._nvc, cast(Any, look), self._gpu)
        except NotForNvdec as refusal:
            return refusal
        return look


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT

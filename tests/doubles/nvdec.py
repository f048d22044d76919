"""A double of PyNvVideoCodec: its decoder session, played by libav on the CPU.

Belongs here: the calls `media.decode_nvdec` makes, with the manners of the real thing that matter: packets
come as an address and a length, Annex B only, an empty packet flushes, frames are NV12 behind DLPack, and a
surface is overwritten by a later call. Does not belong here: speed, capabilities of a real GPU.
"""

from __future__ import annotations

import ctypes
import types
from typing import Any

import av
import numpy as np
import torch

PYAV_NAMES = {
    "H264": "h264",
    "HEVC": "hevc",
    "VP9": "vp9",
    "AV1": "libdav1d",
    "VP8": "vp8",
    "MPEG2": "mpeg2video",
}


class PacketData:
    def __init__(self) -> None:
        self.bsl = self.bsl_data = self.pts = self.dts = self.duration = self.key = 0


class Surface:
    """One NV12 picture of (height * 3 / 2, width) bytes in a buffer that will be used again."""

    def __init__(self, buffer: torch.Tensor, pts: int) -> None:
        self._buffer = buffer
        self._pts = pts

    def getPTS(self) -> int:
        return self._pts

    def __dlpack__(self, **options: Any) -> Any:
        return self._buffer.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._buffer.__dlpack_device__()


class Decoder:
    def __init__(self, codec: str) -> None:
        self._context: Any = av.CodecContext.create(PYAV_NAMES[codec], "r")
        self._context.thread_count = 1
        self._annex_b = codec in ("H264", "HEVC")
        self._lent: list[torch.Tensor] = []
        self._width = self._height = 0

    def GetWidth(self) -> int:
        return self._width

    def GetHeight(self) -> int:
        return self._height

    def Decode(self, data: PacketData) -> list[Surface]:
        for buffer in self._lent:
            buffer.fill_(0xAA)
        self._lent = []
        if data.bsl:
            content = ctypes.string_at(data.bsl_data, data.bsl)
            assert not self._annex_b or content[:3] == b"\0\0\1" or content[:4] == b"\0\0\0\1", "not Annex B"
            packet = av.Packet(content)
            packet.pts, packet.dts = data.pts, data.dts
            frames = self._context.decode(packet)
        else:
            frames = self._context.decode(None)
        return [self._surface(frame) for frame in frames]

    def _surface(self, frame: av.VideoFrame) -> Surface:
        self._width, self._height = frame.width, frame.height
        rows = np.ascontiguousarray(frame.reformat(format="nv12").to_ndarray())
        buffer = torch.from_numpy(rows.reshape(frame.height * 3 // 2, frame.width).copy())
        self._lent.append(buffer)
        assert frame.pts is not None
        return Surface(buffer, frame.pts)


def module(width_max: int = 8192, engines: int = 1) -> types.SimpleNamespace:
    """What `import PyNvVideoCodec` gives, as far as it is used."""

    def get_decoder_caps(*, gpuid: int, codec: str, chromaformat: int, bitdepth: int) -> dict[str, int]:
        assert (chromaformat, bitdepth) == (1, 8)
        return {
            "num_decoder_engines": engines,
            "width_max": width_max,
            "height_max": 8192,
            "width_min": 48,
            "height_min": 16,
        }

    def create_decoder(*, gpuid: int, codec: str, usedevicememory: bool, **_: int) -> Decoder:
        assert usedevicememory
        return Decoder(codec)

    return types.SimpleNamespace(
        PacketData=PacketData,
        CreateDecoder=create_decoder,
        GetDecoderCaps=get_decoder_caps,
        cudaVideoCodec=types.SimpleNamespace(**{name: name for name in PYAV_NAMES}),
        cudaVideoChromaFormat=types.SimpleNamespace(__members__={"Monochrome": 0, "420": 1}),
    )

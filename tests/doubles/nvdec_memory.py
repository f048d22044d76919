"""A double of PyNvVideoCodec for sessions that are kept between runs, played by libav on the CPU.

Belongs here: beyond `doubles.nvdec`, what matters to a pool: going on after a flush, `setReconfigParams`,
scaling to the old size where that was left out, the largest size. As there, surfaces are overwritten by the
next call. Does not belong here: speed, capabilities of a real GPU.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import torch

from tests.doubles import nvdec


class KeptDecoder(nvdec.Decoder):
    def __init__(self, codec: str, largest: int, fails: Callable[[], bool]) -> None:
        super().__init__(codec)
        self._codec, self._largest, self._fails = codec, largest, fails
        self._target: tuple[int, int] | None = None
        self._flushed = False

    def setReconfigParams(self, width: int, height: int) -> None:
        if max(width, height) > self._largest:
            raise RuntimeError("Resize dimensions must be lower than max width and height")
        self._target = (width, height)

    def Decode(self, data: nvdec.PacketData) -> list[nvdec.Surface]:
        if self._fails():
            raise RuntimeError("cuvidDecodePicture returned error 999")
        if self._flushed:
            # libav takes nothing after a flush; NVDEC's parser goes on.
            self._context = av.CodecContext.create(nvdec.PYAV_NAMES[self._codec], "r")
            self._context.thread_count = 1
        self._flushed = not data.bsl
        return super().Decode(data)

    def _surface(self, frame: av.VideoFrame) -> nvdec.Surface:
        assert max(frame.width, frame.height) <= self._largest
        self._target = self._target or (frame.width, frame.height)
        self._width, self._height = self._target
        rows = frame.reformat(width=self._width, height=self._height, format="nv12").to_ndarray()
        buffer = torch.from_numpy(np.ascontiguousarray(rows).reshape(self._height * 3 // 2, self._width))
        buffer = buffer.clone()
        self._lent.append(buffer)
        assert frame.pts is not None
        return nvdec.Surface(buffer, frame.pts)


def module(fails: Callable[[], bool] = lambda: False, engines: int = 1) -> types.SimpleNamespace:
    """What `import PyNvVideoCodec` gives, as far as it is used. `fails` is asked at each Decode."""
    played = nvdec.module(engines=engines)

    def create_decoder(*, codec: str, usedevicememory: bool, maxwidth: int, maxheight: int, **_: Any) -> Any:
        assert usedevicememory
        return KeptDecoder(codec, max(maxwidth, maxheight), fails)

    played.CreateDecoder = create_decoder
    return played

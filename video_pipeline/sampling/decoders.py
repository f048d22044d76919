"""The decoders of one sampling run: made when first needed, closed at its end.

Belongs here: keeping the decoders that were chosen, and going on with the CPU where one refuses a stream.
Does not belong here: the choice (`media.decoder_choice`), decoding.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from video_pipeline.errors import BadInput
from video_pipeline.machine import usable_cores
from video_pipeline.media import decode_videotoolbox
from video_pipeline.media.decode_memory import CodedRun, MemoryDecoder, SoftwareMemoryDecoder
from video_pipeline.media.decode_nvdec import NotForNvdec
from video_pipeline.media.decode_nvdec import unavailable as no_nvdec
from video_pipeline.media.decode_videotoolbox import NotForHardware
from video_pipeline.media.decoder_choice import Backend, Facts, choose_decoder
from video_pipeline.media.frames import CroppedFrame, DeviceFrame
from video_pipeline.media.mp4.index import Selection, VideoIndex

if TYPE_CHECKING:
    from video_pipeline.media.nvdec_memory import NvdecMemoryDecoder


class DecoderChooser:
    """Safe to use from several threads. `notes` says which videos a chosen decoder gave back to the CPU, and
    what the GPU's pool did."""

    def __init__(self, asked: str) -> None:
        self._asked = asked
        self._software = SoftwareMemoryDecoder()
        self._lock = threading.Lock()
        self._nvdec: NvdecMemoryDecoder | None = None
        self._refused: dict[str, str] = {}

    def __enter__(self) -> DecoderChooser:
        return self

    def __exit__(self, *_: object) -> None:
        if self._nvdec is not None:
            self._nvdec.close()

    def choose(self, index: VideoIndex, selections: Sequence[Selection]) -> tuple[MemoryDecoder, str]:
        """The decoder for a video's pictures, and why it. BadInput where one is asked for that is not
        there."""
        entry = selections[0].entry
        facts = Facts(
            asked=self._asked,
            pictures=max(len(selection.samples) for selection in selections),
            megapixels=entry.width * entry.height / 1e6,
            cores=usable_cores(),
            no_nvdec=no_nvdec(),
            no_videotoolbox=decode_videotoolbox.unavailable(),
        )
        choice = choose_decoder(facts, name=index.name)
        if choice.backend == "pyav":
            return self._software, choice.reason
        return _OrSoftware(self, self._made(choice.backend), self._software), choice.reason

    def _made(self, backend: Backend) -> MemoryDecoder:
        if backend == "videotoolbox":
            return decode_videotoolbox.VideoToolboxMemoryDecoder()
        with self._lock:
            if self._nvdec is None:
                from video_pipeline.media.nvdec_memory import NvdecMemoryDecoder

                self._nvdec = NvdecMemoryDecoder()
            return self._nvdec

    def refused(self, run: CodedRun, backend: str, reason: str) -> None:
        """A stream that `backend` does not decode: an error if it was asked for, else a note."""
        if self._asked == backend:
            raise BadInput(
                f"the decoder {backend} was asked for, and does not decode this stream: {reason}",
                input=run.name,
                what_to_do='use the decoder "auto" or "pyav".',
            )
        with self._lock:
            self._refused[run.name] = f"{run.name}: decoded on the CPU, not by {backend}: {reason}"

    @property
    def notes(self) -> list[str]:
        with self._lock:
            pool = [f"NVDEC sessions: {self._nvdec.stats()}"] if self._nvdec is not None else []
            return [*self._refused.values(), *pool]


class _OrSoftware:
    """A decoder on hardware for one video, and the CPU if it refuses that; `backend` is what it came to."""

    def __init__(self, chooser: DecoderChooser, first: MemoryDecoder, software: MemoryDecoder) -> None:
        self.backend = first.backend
        self._chooser, self._first, self._software = chooser, first, software

    def decode(
        self, run: CodedRun, wanted: Collection[int]
    ) -> Iterator[tuple[int, CroppedFrame | DeviceFrame]]:
        try:
            # Both refuse before they give out anything.
            yield from self._first.decode(run, wanted)
        except (NotForNvdec, NotForHardware) as refusal:
            self._chooser.refused(run, self._first.backend, str(refusal))
            self.backend = self._software.backend
            yield from self._software.decode(run, wanted)

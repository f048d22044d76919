"""The decoders of one sampling run: made when first needed, closed at its end.

Belongs here: keeping the decoders that were chosen. Does not belong here: which to choose
(`media.decoder_choice`), decoding.
"""

from __future__ import annotations

from collections.abc import Sequence

from video_pipeline.media.decode_memory import MemoryDecoder, SoftwareMemoryDecoder
from video_pipeline.media.mp4.index import Selection, VideoIndex


class DecoderChooser:
    """Safe to use from several threads."""

    def __init__(self, asked: str, device: str) -> None:
        self._asked, self._device = asked, device
        self._software = SoftwareMemoryDecoder()

    def __enter__(self) -> DecoderChooser:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def choose(self, index: VideoIndex, selections: Sequence[Selection]) -> tuple[MemoryDecoder, str]:
        """The decoder for a video's pictures, and why it."""
        return self._software, "CPU"

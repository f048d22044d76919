"""A few coded pictures in memory, decoded by a Mac's VideoToolbox through libav.

Belongs here: making such a context and refusing what it would do in software. Does not belong here: whether
it pays (`decoder_choice.py`), the decoding loop (`decode_memory.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator

from video_pipeline.media.decode_memory import (
    CodedRun,
    decode_pictures,
    prepared,
    whole_frames,
)
from video_pipeline.media.frames import CroppedFrame, DeviceFrame


class NotForHardware(Exception):
    """This stream is for the CPU: the text says why."""


def unavailable() -> str | None:
    """Why this machine has no VideoToolbox; None if it has."""
    if sys.platform != "darwin":
        return "VideoToolbox is a part of macOS"
    from av.codec.hwaccel import hwdevices_available

    return None if "videotoolbox" in hwdevices_available() else "this PyAV was built without VideoToolbox"


class VideoToolboxMemoryDecoder:
    """See `MemoryDecoder`. Pictures come to host memory; 10-bit ones become 8-bit, as on the CPU."""

    backend = "videotoolbox"

    def decode(
        self, run: CodedRun, wanted: Collection[int]
    ) -> Iterator[tuple[int, CroppedFrame | DeviceFrame]]:
        """Raises NotForHardware, before anything is given out, for a stream that the hardware does not
        decode."""
        import av
        import av.error
        from av.codec.hwaccel import HWAccel

        accelerator = HWAccel("videotoolbox", allow_software_fallback=False)
        try:
            context = prepared(run, av.CodecContext.create(run.entry.codec, "r", hwaccel=accelerator))
        except (RuntimeError, av.error.FFmpegError) as error:
            raise NotForHardware(f"VideoToolbox does not decode {run.entry.codec}: {error}") from error
        if not context.is_hwaccel:
            # Where the codec has no such acceleration, PyAV 18 gives a software context without a word.
            raise NotForHardware(f"VideoToolbox does not decode {run.entry.codec} on this machine")
        yield from whole_frames(run, decode_pictures(run, wanted, context))

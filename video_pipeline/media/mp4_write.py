"""Clips as MP4: coded pictures and blocks of samples become one file with its moov in front.

Belongs here: the muxing of a finished clip and the encoder of its sound. Does not belong here: encoding
pictures (`h264`), what workers hand each other (`h264_parts`), making the sound (`clip_audio`), checking the
finished file (`clips.verify`).
"""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from video_pipeline.errors import Internal
from video_pipeline.media.h264 import BT709, EncodedPacket, VideoFormat, next_dts

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.stream import VideoStream

    from video_pipeline.streaming.cancel import CancellationToken

SAMPLE_RATE = 48_000
AAC_FRAME = 1024
"""Samples in a frame of AAC-LC (ISO/IEC 14496-3, 4.5.1.1)."""
AUDIO_BIT_RATE = 192_000


class ClipWriter:
    """Writes one MP4: H.264 as given, and AAC-LC stereo at 192 kb/s from blocks of samples, moov in front.

    A context manager: leaving it in peace closes the file, leaving it by an error removes it. The file takes
    its name `path` when it is whole; until then it is `path` with ".partial" at the end.
    """

    def __init__(
        self,
        path: Path,
        fmt: VideoFormat,
        extradata: bytes,
        *,
        audio: Iterator[np.ndarray] | None,
        cancel: CancellationToken | None = None,
    ) -> None:
        """`audio` gives float32 (n, 2) at 48 kHz, -1..1; sample 0 sounds when PTS 0 is shown. None: no track.

        `extradata` is SPS and PPS in Annex B form. Reads from `audio` while packets are written, and no
        further ahead of the picture than one block.
        """
        import av

        self._path, self._format, self._cancel = path, fmt, cancel
        self._partial = path.with_name(path.name + ".partial")
        self._last_dts: int | None = None
        self._end = 0
        self._closed = False
        options = {
            "movflags": "+faststart",
            "fflags": "+bitexact",  # no library version in the file
            "video_track_timescale": str(fmt.time_base.denominator),  # so that every PTS is exact
            # The edit lists' unit: exact for both tracks. The default of 1 ms could cut off a last picture.
            "movie_timescale": str(_movie_timescale(fmt.time_base)),
        }
        self._container: OutputContainer = av.open(
            str(self._partial), "w", format="mp4", container_options=options
        )
        try:
            self._video = _video_stream(self._container, fmt, extradata)
            self._audio = None if audio is None else _AudioTrack(self._container, audio)
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    def write(self, packet: EncodedPacket) -> None:
        """Takes the next packet in coding order; encodes the sound up to it. `Internal` for a first packet
        that is no key frame and for a DTS that cannot rise without passing the PTS."""
        if self._closed:
            raise Internal("a packet came after the end of a clip")
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()
        if self._last_dts is None and not packet.key:
            raise Internal("a clip begins with a key frame")
        placed = next_dts(self._last_dts, packet)
        self._last_dts = placed.dts
        self._end = max(self._end, placed.pts + placed.duration)
        if self._audio is not None:
            self._audio.encode_to(placed.dts * self._format.time_base)
        self._container.mux(_to_av(placed, self._video, self._format.time_base))

    def close(self) -> None:
        """Encodes what is left of the sound, writes moov in front of mdat and gives the file its name.

        `Internal`, and no file, for a clip without pictures and for sound that is more than one AAC frame
        (1024 samples) shorter or longer than the picture. Idempotent.
        """
        if self._closed:
            return
        try:
            if self._last_dts is None:
                raise Internal("a clip has at least one picture")
            if self._audio is not None:
                self._audio.finish(self._end * self._format.time_base, self._cancel)
            self._container.close()
            os.replace(self._partial, self._path)
            self._closed = True
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Closes and removes the unfinished file; does nothing after `close`."""
        if self._closed:
            return
        self._closed = True
        from av.error import FFmpegError

        with contextlib.suppress(FFmpegError, ValueError):
            self._container.close()
        self._partial.unlink(missing_ok=True)


class _AudioTrack:
    """Blocks of any length become AAC frames of 1024 samples, numbered from sample 0."""

    def __init__(self, container: OutputContainer, blocks: Iterator[np.ndarray]) -> None:
        self._container, self._blocks = container, blocks
        stream = container.add_stream("aac", rate=SAMPLE_RATE)
        self._stream: AudioStream = stream
        stream.layout = "stereo"
        stream.bit_rate = AUDIO_BIT_RATE
        stream.time_base = Fraction(1, SAMPLE_RATE)
        self._left = np.empty((0, 2), np.float32)
        self._sent = 0
        self._ended = False

    @property
    def samples(self) -> int:
        """Samples taken from the blocks until now."""
        return self._sent + len(self._left)

    def encode_to(self, seconds: Fraction) -> None:
        """Takes blocks until the sound reaches `seconds`, or ends."""
        while not self._ended and self.samples < seconds * SAMPLE_RATE:
            self._pull()

    def finish(self, video_end: Fraction, cancel: CancellationToken | None) -> None:
        """Takes the rest, compares its length with the picture's, and flushes the encoder."""
        limit = video_end * SAMPLE_RATE + AAC_FRAME
        while not self._ended and self.samples <= limit:
            if cancel is not None:
                cancel.raise_if_cancelled()
            self._pull()
        if abs(self.samples - video_end * SAMPLE_RATE) > AAC_FRAME:
            more = "" if self._ended else "at least "
            raise Internal(
                f"a clip's sound has {more}{self.samples} samples at {SAMPLE_RATE} Hz, "
                f"its picture lasts {float(video_end):.6f} s"
            )
        if len(self._left):
            self._encode(self._left)
        self._container.mux(self._stream.encode(None))

    def _pull(self) -> None:
        block = next(self._blocks, None)
        if block is None:
            self._ended = True
            return
        if block.ndim != 2 or block.shape[1] != 2 or block.dtype != np.float32:
            raise Internal(f"a block of sound is {block.dtype} {block.shape}, not float32 (n, 2)")
        joined = np.concatenate((self._left, block)) if len(self._left) else block
        whole = len(joined) // AAC_FRAME * AAC_FRAME
        for start in range(0, whole, AAC_FRAME):
            self._encode(joined[start : start + AAC_FRAME])
        self._left = joined[whole:].copy()

    def _encode(self, samples: np.ndarray) -> None:
        from av.audio.frame import AudioFrame

        frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._sent, Fraction(1, SAMPLE_RATE)
        self._sent += len(samples)
        self._container.mux(self._stream.encode(frame))


def _movie_timescale(time_base: Fraction) -> int:
    """Ticks per second in which a video PTS and a sample are whole, or the video's alone where that would
    overflow the header's 32 bits within an hour (ISO/IEC 14496-12, 8.2.2)."""
    both = math.lcm(time_base.denominator, SAMPLE_RATE)
    return both if both <= 1_000_000 else time_base.denominator


def _video_stream(container: OutputContainer, fmt: VideoFormat, extradata: bytes) -> VideoStream:
    """A stream that is muxed, not encoded, with codec data and colour. PyAV lets those be set only on a
    codec context that it will not open: one made from a template."""
    import av

    with av.open(io.BytesIO(), "w", format="mp4") as scratch:
        template = scratch.add_stream(
            "libx264", rate=fmt.frame_rate, width=fmt.width, height=fmt.height, pix_fmt="yuv420p"
        )
        stream = container.add_stream_from_template(template)
    codec = stream.codec_context
    codec.extradata = extradata
    codec.color_primaries, codec.color_trc = BT709.primaries, BT709.transfer
    codec.colorspace, codec.color_range = BT709.matrix, BT709.range
    stream.time_base = fmt.time_base
    return stream


def _to_av(packet: EncodedPacket, stream: VideoStream, time_base: Fraction) -> Packet:
    from av.packet import Packet

    out = Packet(packet.data)
    out.pts, out.dts, out.duration = packet.pts, packet.dts, packet.duration
    out.time_base, out.stream, out.is_keyframe = time_base, stream, packet.key
    return out

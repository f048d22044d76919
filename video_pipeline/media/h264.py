"""H.264 for finished clips: frames become packets in segments of two seconds that decode on their own.

Belongs here: libx264's settings, the segments and their threads, the packets' times. Does not belong here:
containers (`mp4_write`), which frames make a clip (`clips`), VP9 chunks (`vp9`).

Every segment comes from a new libx264 encoder with a fixed number of threads, so its bytes depend on its own
frames, their times and the settings alone: a clip is the same to the byte whether one process makes all
segments or many processes make some each. `ENCODER_VERSION` is counted up by hand whenever settings change.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import numpy as np

from video_pipeline.errors import Internal
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.kept_memory import keep_freed_memory

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

ENCODER_VERSION = 3
"""Part of a clip's recipe: bump it when a setting below, the times of the packets or the conversion of
colours (`bt709`) change."""

SEGMENT_SECONDS = 2
"""A segment's length. A seek in a player decodes at most this much; of a 1080p street scene 1 s costs 3.6 %
more bytes and 7 % more CPU, 4 s saves 1.1 % of the bytes."""

THREADS = 4
"""libx264's output depends on its thread count (lookahead and motion range are cut by it), so the count must
not come from the machine."""

BT709 = ColourTags(1, 1, 1, 1)
"""ITU-R BT.709 primaries, transfer and matrix, limited range: what every finished clip has."""

PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What all frames of a clip share: size in pixels (even), the unit of PTS in seconds, and the rate in Hz,
    which sets the segments' length and the H.264 level; pictures need not be evenly spaced."""

    width: int
    height: int
    time_base: Fraction
    frame_rate: Fraction

    def __post_init__(self) -> None:
        if self.width < 2 or self.height < 2 or self.width % 2 or self.height % 2:
            raise Internal(f"a clip has an even size, not {self.width}x{self.height}")
        if self.time_base <= 0 or self.frame_rate <= 0:
            raise Internal(
                f"a clip's time base and rate are positive, not {self.time_base} and {self.frame_rate}"
            )


@dataclass(frozen=True, slots=True)
class H264Settings:
    """libx264's constant rate factor and preset. CRF 0 would be lossless and so not High profile."""

    crf: float = 18.0
    preset: str = "medium"

    def __post_init__(self) -> None:
        if not 1 <= self.crf <= 51:
            raise Internal(f"libx264's CRF is 1 to 51, not {self.crf}")
        if self.preset not in PRESETS:
            raise Internal(f"libx264's preset is one of {', '.join(PRESETS)}, not {self.preset!r}")


@dataclass(frozen=True, slots=True)
class EncodedPacket:
    """One coded picture in Annex B form (ITU-T H.264, annex B). Times in ticks of the format's time base;
    `key` is an IDR picture, which begins a segment."""

    data: bytes
    pts: int
    dts: int
    duration: int
    key: bool


def segment_frames(rate: Fraction) -> int:
    """Pictures in a segment at `rate` Hz: two seconds, rounded half to even, at least one."""
    return max(1, round(SEGMENT_SECONDS * rate))


def next_dts(previous: int | None, packet: EncodedPacket) -> EncodedPacket:
    """`packet` with a DTS above `previous`; raises `Internal` where that would lie after its PTS.

    A new encoder dates its first packets back by the reordering delay, in ticks of its own first pictures, so
    with uneven spacing they can reach into the segment before. Applying the rule to a run of packets in parts
    and then to the whole gives what applying it to the whole at once gives.
    """
    dts = packet.dts if previous is None else max(previous + 1, packet.dts)
    if dts > packet.pts:
        raise Internal(f"the picture at PTS {packet.pts} would be decoded at {dts}, after it is shown")
    if dts == packet.dts:
        return packet
    return EncodedPacket(packet.data, packet.pts, dts, packet.duration, packet.key)


class SegmentEncoder:
    """Encodes a run of frames, segment by segment. A context manager: leaving it ends its thread.

    While one segment's encoder is drained in a helper thread, the next one takes frames, because a drain uses
    no lookahead and leaves cores idle. At most two encoders are open: at 1080p and preset medium one holds
    440 MB, both 850 MB, however long the clip. Packets come out in coding order, whole segments after each
    other.
    """

    def __init__(self, fmt: VideoFormat, settings: H264Settings, *, first_frame: int = 0) -> None:
        """`first_frame` is the number in the clip of the first frame to come, on a segment's border."""
        keep_freed_memory()
        self._length = segment_frames(fmt.frame_rate)
        if first_frame < 0 or first_frame % self._length:
            raise Internal(f"frame {first_frame} does not begin a segment of {self._length} frames")
        self._format, self._settings = fmt, settings
        self._durations: dict[int, int] = {}
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._taken = 0
        self._ready: deque[EncodedPacket] = deque()
        self._draining: Future[list[EncodedPacket]] | None = None
        self._held: list[EncodedPacket] = []
        self._finished = False
        self._codec: VideoCodecContext | None = self._open()
        self.extradata = bytes(self._codec.extradata or b"")
        """SPS and PPS in Annex B form, the same for all segments of one format and settings."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="h264-drain")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the helper thread, waiting for a drain under way (seconds at 1080p). Idempotent."""
        self._finished = True
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._codec = self._draining = None
        self._held.clear()
        self._ready.clear()

    def encode(self, frame: CroppedFrame, pts: int, duration: int) -> list[EncodedPacket]:
        """Takes one frame; returns the packets that became ready, which belong to earlier frames.

        PTS and duration in ticks, PTS rising. `Internal` for a frame of another size, type or colour, for
        times that do not rise, and for a failure of libx264.
        """
        from video_pipeline.media.planes import frame_of_planes

        if self._finished:
            raise Internal("a frame came after the end of a clip's encoder")
        self._check(frame, pts, duration)
        if self._codec is None:
            self._codec = self._open()
        picture = frame_of_planes(frame)
        picture.pts, picture.time_base = pts, self._format.time_base
        self._durations[pts] = duration
        self._last_pts = pts
        self._taken += 1
        self._held += self._packets(self._codec, picture)
        if self._draining is not None and self._draining.done():
            self._take_drained()
        if self._draining is None:
            self._release()
        if self._taken % self._length == 0:
            self._end_segment()
        return self._hand_out()

    def finish(self) -> list[EncodedPacket]:
        """Ends the last segment, which may be shorter; returns all packets that are left."""
        if self._finished:
            raise Internal("a clip's encoder is finished once")
        if self._codec is not None and self._taken % self._length:
            self._end_segment()
        self._take_drained()
        self._finished = True
        if self._durations:
            raise Internal(f"libx264 took {self._taken} pictures and lost {len(self._durations)} of them")
        return self._hand_out()

    def _open(self) -> VideoCodecContext:
        import av
        from av.codec.context import Flags, ThreadType
        from av.error import FFmpegError

        fmt = self._format
        codec = cast("VideoCodecContext", av.CodecContext.create("libx264", "w"))
        codec.width, codec.height, codec.pix_fmt = fmt.width, fmt.height, "yuv420p"
        codec.time_base, codec.framerate = fmt.time_base, fmt.frame_rate
        codec.flags |= Flags.global_header
        codec.thread_count = THREADS
        # PyAV asks for slice threads; x264 would cut each picture into slices, which costs bits.
        codec.thread_type = ThreadType.FRAME
        codec.color_primaries, codec.color_trc = BT709.primaries, BT709.transfer
        codec.colorspace, codec.color_range = BT709.matrix, BT709.range
        codec.options = {
            "crf": repr(float(self._settings.crf)),
            "preset": self._settings.preset,
            "profile": "high",
            # A second IDR would need a distance of min-keyint (at most half of keyint): a hard cut inside a
            # segment gets an intra picture that is none. cpu-independent: the same bytes on any processor.
            # Without it core 165 gave up to 14 different outputs in 40 runs on one with AVX-512, in widths
            # that are no multiple of 128, with any thread count; without mbtree it did not.
            "x264-params": f"keyint={2 * self._length + 2}:min-keyint={self._length + 1}:open-gop=0"
            ":cpu-independent=1",
        }
        try:
            codec.open()
        except FFmpegError as error:
            raise Internal(f"libx264 refused {fmt.width}x{fmt.height}: {error}") from error
        return codec

    def _check(self, frame: CroppedFrame, pts: int, duration: int) -> None:
        width, height = self._format.width, self._format.height
        shapes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
        planes = (frame.y, frame.u, frame.v)
        if tuple(plane.shape for plane in planes) != shapes:
            raise Internal(
                f"frame {self._taken} of a clip has planes of {[plane.shape for plane in planes]}, "
                f"not of {list(shapes)} (height, width)"
            )
        if any(plane.dtype != np.uint8 for plane in planes):
            raise Internal(f"frame {self._taken} of a clip is not of 8-bit samples")
        if frame.tags != BT709:
            raise Internal(f"frame {self._taken} of a clip is not BT.709 in limited range: {frame.tags}")
        if duration < 1 or (self._last_pts is not None and pts <= self._last_pts):
            raise Internal(
                f"frame {self._taken} of a clip has PTS {pts} after {self._last_pts} and lasts {duration}"
            )

    def _packets(self, codec: VideoCodecContext, picture: VideoFrame | None) -> list[EncodedPacket]:
        from av.error import FFmpegError

        try:
            return [self._packet(packet) for packet in codec.encode(picture)]
        except FFmpegError as error:
            raise Internal(
                f"libx264 failed on {self._format.width}x{self._format.height}: {error}"
            ) from error

    def _packet(self, packet: Packet) -> EncodedPacket:
        if packet.pts is None or packet.dts is None or packet.pts not in self._durations:
            raise Internal(f"libx264 gave a picture at PTS {packet.pts} that it had not been given")
        duration = self._durations.pop(packet.pts)
        return EncodedPacket(bytes(packet), packet.pts, packet.dts, duration, packet.is_keyframe)

    def _end_segment(self) -> None:
        """Hands the current encoder to the helper thread, when that has done the one before."""
        codec, self._codec = self._codec, None
        self._take_drained()
        self._release()
        self._draining = self._pool.submit(self._packets, cast("VideoCodecContext", codec), None)

    def _take_drained(self) -> None:
        draining, self._draining = self._draining, None
        if draining is not None:
            self._ready.extend(draining.result())

    def _release(self) -> None:
        self._ready.extend(self._held)
        self._held.clear()

    def _hand_out(self) -> list[EncodedPacket]:
        out: list[EncodedPacket] = []
        while self._ready:
            packet = next_dts(self._last_dts, self._ready.popleft())
            self._last_dts = packet.dts
            out.append(packet)
        return out

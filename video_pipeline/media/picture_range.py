"""Part of a video: which pictures lie in a range of time, and where to begin reading for them.

Belongs here: the rule of ranges, entry points of streams, seeking. Does not belong here: decoding (`pictures`
makes the pass), pixels.

The rule. A range [start, stop) holds the picture shown at `start` (the largest PTS not after it; the first
picture if all are after it) and all with PTS before `stop`. Both are compared with `slack` to spare, so a
time that was rounded to the nearest tick, or computed as one, finds the picture it came from.

Entry points. Decoding can begin at a packet marked "key", except: an H.264 picture whose recovery point says
that later pictures are still incomplete (ITU-T H.264 D.2.8, recovery_frame_cnt > 0: gradual refresh), and an
HEVC picture that is no IRAP (ITU-T H.265 7.4.2.2, types 16 to 23).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction

import av
import av.error

from video_pipeline.media.container import OpenedVideo, media_errors
from video_pipeline.media.nal import annex_b_units, length_prefixed_units

_HALF = Fraction(1, 2)
_ROUNDED_S = Fraction(1, 2000)
_FIRST_STEP_S = 2
"""A seek that ends after the wanted time goes on 2 s further back, then 4, 8 and so on."""


def slack(time_base: Fraction) -> Fraction:
    """Ticks by which a time may miss the tick that it means: half of one, but no more than half a
    millisecond. In AVI a tick is a whole picture, and half of one would show each too early."""
    return min(_HALF, _ROUNDED_S / time_base)


class PictureRange:
    """The `Sampler` for which each picture in the range is a sample, and no other is.

    `start`, `stop` and `spare` are in ticks; None is the beginning and the end. `stops` gets, by PTS, where
    each of those pictures ends: the PTS of the next, for the last one its own plus its duration (else the
    step before it, else `usual_step`). Of pictures with equal PTS the last is the one that is shown.
    """

    def __init__(
        self, start: Fraction | None, stop: Fraction | None, usual_step: int, spare: Fraction = _HALF
    ) -> None:
        self._start = None if start is None else start + spare
        self._stop = None if stop is None else stop - spare
        self._usual_step = usual_step
        self._last: int | None = None
        self._step = 0
        self._count = 0
        self.stops: dict[int, int] = {}

    def push(self, pts: int) -> range:
        last, self._last = self._last, pts
        if last is None:
            return range(0)
        if pts < last:
            raise ValueError(f"PTS {pts} after {last}: pictures must come in presentation order")
        if pts == last:
            return range(0)
        self._step = pts - last
        return self._take(last, pts)

    def finish(self, last_duration: int | None) -> range:
        if self._last is None:
            return range(0)
        duration = last_duration if last_duration and last_duration > 0 else self._step or self._usual_step
        return self._take(self._last, self._last + duration)

    def ended_by(self, stop: int) -> bool:
        """True if no picture from PTS `stop` on is in the range."""
        return self._stop is not None and stop >= self._stop

    def _take(self, pts: int, stop: int) -> range:
        before = self._start is not None and stop <= self._start
        if before or self.ended_by(pts):
            return range(0)
        self.stops[pts] = stop
        self._count += 1
        return range(self._count - 1, self._count)


def packets_from(opened: OpenedVideo, moment: Fraction) -> Iterator[av.Packet] | None:
    """The video's packets from an entry point whose PTS is not after `moment` (ticks), as close before it as
    the container's index leads; None if seeking finds none: then read from the beginning.

    `opened` must have been opened for seeking. It stands at another place afterwards; flush its decoder.
    """
    time_base = Fraction(opened.stream.time_base or 1)
    extradata = opened.stream.codec_context.extradata
    is_entry = _EntryTest(opened.stream.codec_context.name, extradata)
    target = int(moment // 1)
    back = 0
    earliest = opened.stream.start_time
    while True:
        try:
            opened.container.seek(target - back, stream=opened.stream, backward=True)
        except av.error.FFmpegError:
            return None
        packets = opened.container.demux(opened.stream)
        entry = _first_entry(opened, packets, is_entry, moment)
        if entry is not None:
            return itertools.chain([entry], packets)
        if earliest is None or target - back <= earliest:
            return None
        back = max(2 * back, int(_FIRST_STEP_S / time_base))


def _first_entry(
    opened: OpenedVideo, packets: Iterator[av.Packet], is_entry: _EntryTest, moment: Fraction
) -> av.Packet | None:
    """The next entry point; None if it is after `moment`, or if the video ends before one."""
    with media_errors(opened.name, "cannot read the video"):
        for packet in packets:
            pts = packet.dts if packet.pts is None else packet.pts
            if packet.size == 0 or pts is None:
                continue
            if packet.is_keyframe and pts > moment:
                return None
            if packet.is_keyframe and is_entry(packet):
                return packet
    return None


class _EntryTest:
    """Tells of a key packet whether decoding can begin there."""

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._codec = codec
        self._length_size: int | None = None
        if extradata and extradata[0] == 1 and codec == "h264" and len(extradata) > 4:
            self._length_size = (extradata[4] & 3) + 1
        if extradata and extradata[0] == 1 and codec == "hevc" and len(extradata) > 21:
            self._length_size = (extradata[21] & 3) + 1

    def __call__(self, packet: av.Packet) -> bool:
        if self._codec not in ("h264", "hevc"):
            return True
        data, length = memoryview(packet), self._length_size
        units = length_prefixed_units(data, length) if length else annex_b_units(data)
        return self._h264(units) if self._codec == "h264" else self._hevc(units)

    def _h264(self, units: Iterator[memoryview]) -> bool:
        for unit in units:
            kind = unit[0] & 31
            if kind == 6 and _recovery_frames(bytes(unit[1:])) > 0:
                return False
            if 1 <= kind <= 5:
                return True
        return True

    def _hevc(self, units: Iterator[memoryview]) -> bool:
        kinds = (unit[0] >> 1 & 63 for unit in units)
        first = next((kind for kind in kinds if kind < 32), None)
        return first is None or 16 <= first <= 23


def _recovery_frames(sei: bytes) -> int:
    """recovery_frame_cnt of the recovery point in an H.264 SEI payload (7.3.2.3.1, D.1.8); 0 without one."""
    data = sei.replace(b"\0\0\3", b"\0\0")
    position = 0
    while position + 2 < len(data):
        kind = size = 0
        while position < len(data) and data[position] == 255:
            kind, position = kind + 255, position + 1
        kind, position = kind + data[position], position + 1
        while position < len(data) and data[position] == 255:
            size, position = size + 255, position + 1
        if position >= len(data):
            return 0
        size, position = size + data[position], position + 1
        if kind == 6:
            # ue(v) begins with a one exactly if it is zero.
            return 0 if position < len(data) and data[position] & 0x80 else 1
        position += size
    return 0

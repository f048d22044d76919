"""The sound of a copied part: which packets, and at which times.

Belongs here: sound packets on their way into the new file. Does not belong here: pictures, decoding.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import av.container
import av.stream

from video_pipeline.errors import BadInput
from video_pipeline.media.container import COMPLETE

_LAG_S = 10
"""Sound lies in the file at most so far behind the pictures of the same time: as far apart as FFmpeg's muxers
let tracks drift (max_interleave_delta)."""

LEAD_IN = Fraction(8, 100)
"""Seconds of sound before the part that its decoder gets to hear: Opus wants 80 ms (RFC 7845, 4.6), MP3 three
frames for its bit reservoir, AAC one for its overlap. The edit list hides them."""


class CopiedSound:
    """Packets wait here until the pictures of their time are written to `target`.

    `streams`: the new file's, by the source's index. `origin`: the moment of the source, in seconds, that
    becomes 0.
    """

    def __init__(
        self,
        streams: dict[int, av.stream.Stream],
        origin: Fraction,
        target: av.container.OutputContainer,
        name: str,
    ) -> None:
        self._name = name
        self._streams = streams
        self._origin = origin
        self._target = target
        self._before: dict[int, deque[av.Packet]] = {index: deque() for index in streams}
        self._waiting: deque[tuple[Fraction, av.Packet]] = deque()
        self._seen: dict[int, Fraction] = {}

    def take(self, packet: av.Packet) -> None:
        """Keep a packet that sounds in the part, or in the lead-in."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None:
            raise BadInput("a packet of sound has no timestamp", input=self._name, what_to_do=COMPLETE)
        tick = Fraction(packet.time_base)
        index = packet.stream.index
        begin = stamp * tick
        self._seen[index] = begin
        before = self._before[index]
        if begin + self._length(packet) <= self._origin:
            if not packet.stream.codec_context.name.startswith("pcm_"):
                before.append(packet)
            while sum(self._length(kept) for kept in list(before)[1:]) >= LEAD_IN:
                before.popleft()
            return
        if begin <= self._origin + tick:
            self._waiting += self._lead_in(before, stamp, tick)
        before.clear()
        self._waiting.append((begin, packet))

    def _lead_in(
        self, before: deque[av.Packet], stop: int, tick: Fraction
    ) -> list[tuple[Fraction, av.Packet]]:
        """The packets `before`, each ending where the next begins, the last at `stop`: gaps between them
        would be heard as part of what is hidden, and take from what is not."""
        timed: list[tuple[Fraction, av.Packet]] = []
        for packet in reversed(before):
            packet.duration = round(self._length(packet) / tick)
            stop -= packet.duration
            packet.pts = packet.dts = stop
            timed.append((stop * tick, packet))
        return timed[::-1]

    @staticmethod
    def _length(packet: av.Packet) -> Fraction:
        """Seconds of sound in a packet: before a gap its stated duration is longer, and players that are told
        to skip that much would skip into the packets behind it."""
        stated = (packet.duration or 0) * Fraction(packet.time_base)
        coder = cast("av.AudioCodecContext", packet.stream.codec_context)
        if not coder.frame_size or not coder.sample_rate:
            return stated
        return min(stated, Fraction(coder.frame_size, coder.sample_rate))

    def write_until(self, moment: Fraction) -> None:
        """Write what begins before `moment` (seconds of the source)."""
        while self._waiting and self._waiting[0][0] < moment:
            _, packet = self._waiting.popleft()
            shift = math.floor(self._origin / Fraction(packet.time_base) + Fraction(1, 2))
            if packet.pts is not None:
                packet.pts -= shift
            if packet.dts is not None:
                packet.dts -= shift
            packet.stream = self._streams[packet.stream.index]
            self._target.mux(packet)

    def write_rest(self, end: Fraction, packets: Iterator[av.Packet], video_index: int) -> None:
        """Read on until every track has passed `end`, and write what sounds before it."""
        for packet in packets:
            if all(self._seen.get(index, self._origin) >= end for index in self._streams):
                break
            if packet.size == 0:
                continue
            if packet.stream.index != video_index:
                self.take(packet)
            elif packet.dts is not None and packet.dts * Fraction(packet.time_base) > end + _LAG_S:
                break
        self._waiting = deque(sorted(self._waiting, key=lambda item: item[0]))
        self.write_until(end)

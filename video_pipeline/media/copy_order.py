"""Packets of a copied part in decoding order, with times that make a valid track of their own.

Belongs here: where the part can end, decoding times and durations. Does not belong here: containers.

The end. A part may end before packet n if all pictures before it are presented before all from it on, so that
no picture is missing in between and none refers to one left out. Pictures are reordered by at most 16
(H.264 A.3.1, H.265 A.4.2), so a look-ahead of `LOOK_AHEAD` packets settles it.

Decoding times. Matroska stores none, so all are made the same way: the n-th packet's DTS is the n-th smallest
PTS less the reordering delay, which is constant at a constant rate and exactly what encoders write.
"""

from __future__ import annotations

import bisect
import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from video_pipeline.media.schedule import LOOK_AHEAD

PacketT = TypeVar("PacketT")


@dataclass(frozen=True, slots=True)
class Timed(Generic[PacketT]):
    """One packet: `pts` and, for the last presented one of a stream, `duration` are the source's (ticks; 0 is
    unknown). `dts` is set by `until`, as is `duration` of the others."""

    packet: PacketT
    pts: int
    duration: int
    dts: int = 0


class CopyOrder(Generic[PacketT]):
    """`until(stop)` yields the packets of the part; then `end` is where the part ends, in ticks: the PTS
    of the first picture left out, or the end of the stream's last picture (then `whole` is true)."""

    def __init__(self, packets: Iterator[Timed[PacketT]]) -> None:
        self._packets = packets
        self._waiting: deque[Timed[PacketT]] = deque()
        self._unused_pts: list[int] = []
        self._known: list[int] = []
        self.end = 0
        self.whole = False

    def until(self, stop: Fraction, spare: Fraction = Fraction(1, 2)) -> Iterator[Timed[PacketT]]:
        """`stop` in ticks; a picture that begins less than `spare` ticks before it is not wanted
        (`picture_range.slack`). Raises ValueError if the timestamps allow no decoding times: they contradict
        the order."""
        for _ in range(LOOK_AHEAD):
            self._read()
        delay = max((a - b.pts for a, b in zip(self._known, self._waiting, strict=True)), default=0)
        latest: Timed[PacketT] | None = None
        previous_dts: int | None = None
        while self._waiting:
            head = self._waiting.popleft()
            self._read()
            dts = min(head.pts, heapq.heappop(self._unused_pts) - delay)
            if previous_dts is not None:
                dts = max(previous_dts + 1, dts)
            if dts > head.pts:
                raise ValueError(f"PTS {head.pts} comes too late")
            previous_dts = dts
            latest = head if latest is None or head.pts > latest.pts else latest
            is_last = self._ends(latest, stop - spare)
            # The last packet's duration ends the track: its DTS stands for the PTS of the latest picture.
            duration = self.end - latest.pts if is_last else self._next_pts(head) - head.pts
            yield Timed(head.packet, head.pts, max(duration, 0), dts)
            if is_last:
                return

    def _read(self) -> None:
        item = next(self._packets, None)
        if item is not None:
            self._waiting.append(item)
            heapq.heappush(self._unused_pts, item.pts)
            bisect.insort(self._known, item.pts)
            if len(self._known) > 4 * LOOK_AHEAD:
                del self._known[: 2 * LOOK_AHEAD]

    def _ends(self, latest: Timed[PacketT], earliest: Fraction) -> bool:
        if not self._waiting:
            self.whole = True
            self.end = latest.pts + (latest.duration or self._last_step())
            return True
        self.end = min(item.pts for item in self._waiting)
        return latest.pts < self.end and self.end >= earliest

    def _last_step(self) -> int:
        return self._known[-1] - self._known[-2] if len(self._known) > 1 else 1

    def _next_pts(self, item: Timed[PacketT]) -> int:
        position = bisect.bisect_right(self._known, item.pts)
        return self._known[position] if position < len(self._known) else item.pts + item.duration

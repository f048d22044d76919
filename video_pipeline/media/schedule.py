"""Which packets a decoder must see, told while the packets stream past.

A picture that nothing refers to is worth decoding only if a sample shows it, and that depends on its own PTS
and its successor's. Packets come in decoding order, so a PTS is settled only when no later packet can bring a
smaller one. No decoded picture buffer reorders by more than 16 pictures (H.264 A.3.1 MaxDpbFrames, H.265
A.4.2 sps_max_num_reorder_pics <= 15): when more than 16 packets with greater PTS have been seen, a smaller
PTS cannot follow. That bound needs no DTS, which Matroska does not store. So packets wait for at most
LOOK_AHEAD others: a few hundred kilobytes, whatever the video's length.

Belongs here: that look-ahead. Does not belong here: NAL headers (`nal`), the sampling rule (`timeline`).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, Protocol, TypeVar

from video_pipeline.media.timeline import StreamingSampler

LOOK_AHEAD = 34
"""Pictures: 16 frames of reordering, twice that where each field is a picture of its own, and two."""

PacketT = TypeVar("PacketT")


class Sampler(Protocol):
    """Tells which samples a picture shows, as `StreamingSampler` does by its rule."""

    def push(self, pts: int) -> range:
        """The next picture has `pts`: the samples of the one before. ValueError if `pts` runs backwards."""
        ...

    def finish(self, last_duration: int | None) -> range:
        """The stream is over: the samples of the last picture."""
        ...


@dataclass(slots=True)
class Entry(Generic[PacketT]):
    """One packet: `shown` if its picture is part of the timeline, `droppable` if nothing refers to it."""

    packet: PacketT
    pts: int
    duration: int
    shown: bool
    droppable: bool
    settled: bool = False
    keep: bool = False
    samples: range = field(default=range(0))


class PacketSchedule(Generic[PacketT]):
    """Packets go in by `push` in decoding order and come out in that order, without those nobody needs.

    `samples_of(pts)` then tells which samples the decoded picture with that PTS shows. A picture for
    whose PTS `also` is true is needed whether or not a sample shows it. Samples are taken at `rate` unless
    another `sampler` is given.
    """

    def __init__(
        self,
        time_base: Fraction,
        rate: Fraction,
        look_ahead: int = LOOK_AHEAD,
        also: Callable[[int], bool] = lambda _pts: False,
        *,
        sampler: Sampler | None = None,
    ) -> None:
        self._also = also
        self._sampler: Sampler = sampler or StreamingSampler(time_base, rate)
        self._look_ahead = look_ahead
        self._waiting: deque[Entry[PacketT]] = deque()
        self._by_pts: list[tuple[int, int, Entry[PacketT]]] = []
        self._count = 0
        self._latest: Entry[PacketT] | None = None
        self._due: dict[int, deque[range]] = {}
        self.dropped = 0

    def push(self, entry: Entry[PacketT]) -> Iterator[PacketT]:
        """Take one packet; yield those that are now known to be needed, in decoding order.

        Raises ValueError if its PTS lies before one already settled.
        """
        self._waiting.append(entry)
        if entry.shown:
            heapq.heappush(self._by_pts, (entry.pts, self._count, entry))
            self._count += 1
            if len(self._by_pts) > self._look_ahead:
                self._settle_next()
        else:
            entry.settled = True
        yield from self._release()

    def finish(self) -> Iterator[PacketT]:
        """No packet follows: yield the rest."""
        while self._by_pts:
            self._settle_next()
        if self._latest is not None:
            self._settle(self._latest, self._sampler.finish(self._latest.duration))
            self._latest = None
        yield from self._release()

    def samples_of(self, pts: int) -> range | None:
        """The samples that the decoded picture with `pts` shows; None if no picture with it is expected
        (any more). Pictures of equal PTS are told apart by order."""
        due = self._due.get(pts)
        if due is None:
            return None
        samples = due.popleft()
        if not due:
            del self._due[pts]
        return samples

    def expected(self) -> int:
        """How many released pictures have not been asked for by `samples_of`."""
        return len(self._due)

    def first_expected(self) -> int:
        """The smallest PTS among those."""
        return min(self._due)

    def _settle_next(self) -> None:
        pts, _, entry = heapq.heappop(self._by_pts)
        samples = self._sampler.push(pts)
        previous, self._latest = self._latest, entry
        if previous is not None:
            self._settle(previous, samples)
            if previous.pts == pts:
                # Which of the two comes out of the decoder first is not for us to guess: decode both.
                previous.keep = entry.keep = True

    def _settle(self, entry: Entry[PacketT], samples: range) -> None:
        entry.settled = True
        entry.samples = samples

    def _release(self) -> Iterator[PacketT]:
        while self._waiting and self._waiting[0].settled:
            entry = self._waiting.popleft()
            if entry.droppable and not entry.samples and not entry.keep and not self._also(entry.pts):
                self.dropped += 1
                continue
            if entry.shown:
                # Of two pictures with equal PTS the sampler gives the later one the samples, the other none.
                self._due.setdefault(entry.pts, deque()).append(entry.samples)
            yield entry.packet

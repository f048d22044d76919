"""Reads of an index: through a few blocks that were read already.

Belongs here: not asking twice for bytes at hand, and what the requests so far say about the connection. Does
not belong here: requests themselves (`media.ranges`), boxes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.boxes import REPAIR
from video_pipeline.media.ranges.base import RangeSource, Traffic

KEPT_BLOCKS = 6


class Window:
    """A source whose head, tail and latest blocks stay at hand. Safe to use from several threads."""

    def __init__(self, source: RangeSource, size: int | None = None) -> None:
        """`size` where it is known before the source has been asked."""
        self.source = source
        self._size = size
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        identity = self.source.identity
        if identity is not None:
            return identity.size
        assert self._size is not None, "a size is known from the first answer on"
        return self._size

    def keep(self, start: int, data: bytes) -> None:
        with self._lock:
            self._blocks[start] = data
            self._blocks.move_to_end(start)
            while len(self._blocks) > KEPT_BLOCKS:
                # The head of the file is asked for again and again; all else goes in order of age.
                oldest = next(key for key in self._blocks if key != 0)
                del self._blocks[oldest]

    def at_hand(self, start: int, least: int) -> memoryview | None:
        """All bytes from `start` on of a block that has at least so many of them, or that ends with the
        file."""
        with self._lock:
            for position, data in self._blocks.items():
                inside = start - position
                if inside < 0 or inside > len(data):
                    continue
                if len(data) - inside >= least or position + len(data) >= self.size > start:
                    return memoryview(data)[inside:]
        return None

    def read(self, start: int, least: int, traffic: Traffic, *, guess: int = 0) -> memoryview:
        """At least `least` bytes from `start` (fewer only at the file's end), or what is at hand beyond them;
        one request of max(least, guess) bytes if they are not at hand."""
        found = self.at_hand(start, least)
        if found is not None:
            return found
        stop = min(self.size, start + max(least, guess))
        if start >= stop:
            return memoryview(b"")
        data = self.source.read(start, stop, purpose="index", traffic=traffic)
        self.keep(start, data)
        return memoryview(data)

    def exactly(self, start: int, stop: int, what: str, traffic: Traffic) -> memoryview:
        """Bytes [start, stop). BadInput if the file ends before."""
        if stop > self.size:
            raise BadInput(
                f"the video is cut off: {what} lacks {stop - self.size} bytes at the end",
                input=self.source.name,
                what_to_do=f"upload the file again, or {REPAIR}",
            )
        return self.read(start, stop - start, traffic)[: stop - start]


def latency(traffic: Traffic) -> float:
    """Seconds a small request takes on this connection: the least of those made so far."""
    spans = [record.ended - record.began for record in traffic.requests if record.error is None]
    return min(spans, default=0.0)

"""A file of which only the part that is about to be wanted is read ahead.

Belongs here: the switch between a reader of the whole file and one that ends where the part does. Does not
belong here: blocks and requests (`store.reader`), which bytes a part needs (`clip_source`).

Why. A reader over a network fetches ever larger blocks while it is read in order, and the next one meanwhile:
up to 16 MiB that nobody wants when a part ends, of a ten-minute file of 195 MB 9 % in each chunk.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO, cast

from video_pipeline.media.mp4.headers_at_hand import Reader
from video_pipeline.media.segment_ends import SegmentEnds


class PartReader(io.RawIOBase):
    """The file of `whole`, read-only and seekable. What lies before the place that `expect` names is read
    through `open_until(place)`: the same file, never read beyond that place. Closes neither. `ends` are those
    of the pieces of a file whose index states them.

    A read may give fewer bytes than were asked for, as a raw stream's may, and gives none only at the end.
    """

    def __init__(
        self, whole: Reader, open_until: Callable[[int], Reader], ends: SegmentEnds | None = None
    ) -> None:
        self._whole = cast(BinaryIO, whole)
        self._open_until = open_until
        self.ends = ends
        self._part: BinaryIO | None = None
        self._stop = 0
        self._position = 0

    def expect(self, stop: int | None) -> None:
        """Reads to come lie before byte `stop`, as far as is known; None: anywhere. Others are answered too,
        each at the cost of a jump."""
        if stop is None:
            self._part, self._stop = None, 0
        elif stop != self._stop:
            self._part, self._stop = cast(BinaryIO, self._open_until(stop)), stop

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        inside = self._position < self._stop and size >= 0
        reader = self._part if inside and self._part else self._whole
        reader.seek(self._position)
        data = reader.read(size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_CUR:
            offset, whence = offset + self._position, io.SEEK_SET
        self._position = self._whole.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        return self._position

"""Seekable readers over one pinned version of an object, as `av.open` wants them.

Belongs here: the read-ahead over any ranged source, and the reader of a local file. Does not belong here:
how a range is fetched, retried or pinned (the stores know), and any knowledge of media.
"""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from video_pipeline.errors import BadInput

KIB = 1024
MIB = 1024 * KIB

FIRST_BLOCK = 256 * KIB
"""What a jump fetches: an MP4 header or a small GOP in one request, and little when it was neither."""

FIRST_SEQUENTIAL_BLOCK = MIB
LARGEST_BLOCK = 8 * MIB
"""Sequential reads fetch 1, 2, 4, 8, 8 … MiB: about 12 requests for 100 MB."""

KEPT_BYTES = 32 * MIB
"""Blocks kept, least recently used out first: two tracks that lie apart in a file are both kept at hand."""


class StoreReader(io.RawIOBase):
    """A read-only, seekable reader of one version of one object.

    `requests` and `bytes_fetched` count what it cost so far (a directory: reads, and bytes read).
    """

    def __init__(self, *, name: str, version: str, size: int) -> None:
        super().__init__()
        self.name = name
        self.version = version
        self.size = size
        self._position = 0

    @property
    def requests(self) -> int:
        raise NotImplementedError

    @property
    def bytes_fetched(self) -> int:
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check_open()
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}.get(whence)
        if base is None or base + offset < 0:
            raise ValueError(f"cannot seek to {offset} with whence {whence}")
        self._position = base + offset
        return self._position

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the reader is closed")


@dataclass(slots=True)
class ReadStats:
    """Requests sent and bytes received, counted from any thread."""

    requests: int = 0
    bytes_fetched: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, requests: int = 0, bytes_fetched: int = 0) -> None:
        with self._lock:
            self.requests += requests
            self.bytes_fetched += bytes_fetched


class Fetch(Protocol):
    """Fetches bytes `start` to `stop` of the pinned version: all of them, or an error.

    It counts into `stats`, and may give up early (returning anything) once `stopped()` is true.
    """

    def __call__(self, start: int, stop: int, *, stats: ReadStats, stopped: Callable[[], bool]) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Block:
    start: int
    data: bytes

    @property
    def stop(self) -> int:
        return self.start + len(self.data)


class _Prefetch:
    """One block on its way in a thread of its own. `result` waits for it and re-raises what went wrong."""

    def __init__(self, start: int, stop: int, fetch: Callable[[], bytes]) -> None:
        self.start, self.stop = start, stop
        self._fetch = fetch
        self._data = b""
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="store-read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._data = self._fetch()
        except BaseException as error:
            self._error = error

    def result(self) -> _Block:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return _Block(self.start, self._data)

    def wait(self, timeout: float) -> None:
        self._thread.join(timeout)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    @property
    def failed(self) -> bool:
        return self._error is not None


class BlockReader(StoreReader):
    """Reads a remote object in blocks that grow while the reading is sequential.

    A miss right behind a kept block is sequential, so two interleaved runs both grow. Once a run has
    reached 2 MiB blocks, the next one is fetched while the present one is being used; a jump therefore
    wastes at most one block. Memory: `KEPT_BYTES` and the block in flight. For one thread at a time.
    """

    def __init__(self, fetch: Fetch, *, name: str, version: str, size: int) -> None:
        super().__init__(name=name, version=version, size=size)
        self._fetch = fetch
        self._stats = ReadStats()
        self._blocks: OrderedDict[int, _Block] = OrderedDict()
        self._ahead: _Prefetch | None = None
        self._stopped = threading.Event()

    @property
    def requests(self) -> int:
        return self._stats.requests

    @property
    def bytes_fetched(self) -> int:
        return self._stats.bytes_fetched

    def readinto(self, buffer, /) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        if self._position >= self.size or not len(view):
            return 0
        block = self._block_at(self._position)
        offset = self._position - block.start
        part = memoryview(block.data)[offset : offset + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def read(self, size: int | None = -1, /) -> bytes:
        """Exactly `size` bytes unless the object ends first: a short read inside the object would look like
        its end to a demuxer."""
        self._check_open()
        left = self.size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        data = bytearray(max(wanted, 0))
        view, filled = memoryview(data), 0
        while filled < len(data):
            filled += self.readinto(view[filled:])
        return bytes(data)

    def close(self) -> None:
        """Stops the read-ahead and gives its connection back. Waits a moment for it, never for a network."""
        if not self.closed:
            self._stopped.set()
            if self._ahead is not None:
                self._ahead.wait(2.0)
            self._blocks.clear()
        super().close()

    def _block_at(self, position: int) -> _Block:
        block = self._kept(position)
        if block is None:
            ahead = self._ahead
            if ahead is not None and ahead.start <= position < ahead.stop:
                self._ahead = None
                block = self._keep(ahead.result())
            else:
                block = self._keep(_Block(position, self._get(position, self._next_stop(position))))
        self._read_ahead(block)
        return block

    def _kept(self, position: int) -> _Block | None:
        for start, block in reversed(self._blocks.items()):
            if block.start <= position < block.stop:
                self._blocks.move_to_end(start)
                return block
        return None

    def _keep(self, block: _Block) -> _Block:
        self._blocks[block.start] = block
        self._blocks.move_to_end(block.start)
        while sum(len(kept.data) for kept in self._blocks.values()) > KEPT_BYTES:
            self._blocks.popitem(last=False)
        return block

    def _next_stop(self, position: int) -> int:
        """Where a block from `position` ends: grown if a kept block ends there, else as after a jump.

        It stops where a kept block begins: no byte is fetched twice while it is at hand.
        """
        sizes = [len(block.data) for block in self._blocks.values() if block.stop == position]
        size = min(max(2 * max(sizes), FIRST_SEQUENTIAL_BLOCK), LARGEST_BLOCK) if sizes else FIRST_BLOCK
        starts = [start for start in self._blocks if start > position]
        return min(position + size, self.size, *starts)

    def _read_ahead(self, block: _Block) -> None:
        start = block.stop
        if len(block.data) < 2 * MIB or start >= self.size or self._kept(start) is not None:
            return
        if self._ahead is not None and self._ahead.done and self._ahead.start != start:
            # A block that another run asked for: keep it for that run. Its error, if any, comes again there.
            ahead, self._ahead = self._ahead, None
            if not ahead.failed:
                self._keep(ahead.result())
        if self._ahead is None:
            stop = self._next_stop(start)
            self._ahead = _Prefetch(start, stop, lambda: self._get(start, stop))

    def _get(self, start: int, stop: int) -> bytes:
        return self._fetch(start, stop, stats=self._stats, stopped=self._stopped.is_set)


class FileReader(StoreReader):
    """Reads a local file through a descriptor that keeps the version alive.

    The store replaces by rename, so the descriptor goes on with the old content. A file that is changed in
    place (by something else than the store) is `BadInput` at the next read.
    """

    def __init__(self, descriptor: int, *, name: str, version: str) -> None:
        self._descriptor = descriptor
        self._opened = os.fstat(descriptor)
        self._reads = 0
        self._bytes = 0
        super().__init__(name=name, version=version, size=self._opened.st_size)

    @property
    def requests(self) -> int:
        return self._reads

    @property
    def bytes_fetched(self) -> int:
        return self._bytes

    def fileno(self) -> int:
        self._check_open()
        return self._descriptor

    def readinto(self, buffer, /) -> int:
        self._check_open()
        view = memoryview(buffer).cast("B")
        count = os.preadv(self._descriptor, [view], self._position)
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._opened.st_size, self._opened.st_mtime_ns):
            raise BadInput(
                "the file was changed in place while it was being read",
                input=self.name,
                what_to_do="run it again once nobody is writing to that file; replace files by renaming",
            )
        self._reads += 1
        self._bytes += count
        self._position += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

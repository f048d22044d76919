"""A file on this machine, read by ranges.

Belongs here: one open descriptor, and noticing that the file changes. Does not belong here: finding the file
(`opening`).
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from video_pipeline.errors import BadInput, Transient
from video_pipeline.media.ranges.base import Identity, Purpose, RequestRecord, Traffic
from video_pipeline.streaming.cancel import CancellationToken


class FileSource:
    """A `RangeSource` over a regular file. Each read is recorded as one request, with nothing sent.

    The descriptor stays open: a file replaced by renaming is read on as it was. One that is changed in place
    is `BadInput`, told by its size and its modification time in ns.
    """

    def __init__(self, path: str | Path, *, cancel: CancellationToken | None = None) -> None:
        self._path = Path(path).expanduser()
        self._cancel = cancel
        try:
            if not stat.S_ISREG(os.stat(self._path).st_mode):
                raise BadInput(
                    "this is not a regular file", input=self.name, what_to_do="give the path of a video file"
                )
            self._file = self._path.open("rb", buffering=0)
        except (FileNotFoundError, NotADirectoryError):
            raise BadInput("there is no such file", input=self.name, what_to_do="correct the path") from None
        except (OSError, ValueError) as error:
            raise BadInput(
                f"the file cannot be opened: {getattr(error, 'strerror', None) or error}",
                input=self.name,
                what_to_do="check the path and that you may read the file",
            ) from error
        self._identity = self._look()

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def cache_key(self) -> str:
        return str(self._path.resolve())

    @property
    def identity(self) -> Identity:
        return self._identity

    def read(self, start: int, stop: int, *, purpose: Purpose, traffic: Traffic) -> bytes:
        if not 0 <= start <= stop:
            raise ValueError(f"{start}..{stop} is not a range of bytes: 0 <= start <= stop")
        stop = min(stop, self._identity.size)
        if start >= stop:
            return b""
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()
        began = time.perf_counter()
        data, problem = b"", None
        try:
            data = self._read(start, stop)
            if len(data) < stop - start or self._look() != self._identity:
                raise BadInput(
                    "the file was changed in place while it was being read",
                    input=self.name,
                    what_to_do="run it again once nobody is writing to that file; replace files by renaming",
                )
        except (BadInput, Transient) as error:
            problem = error.message
            raise
        finally:
            traffic.add(
                RequestRecord(
                    start=start,
                    stop=stop,
                    purpose=purpose,
                    received=len(data),
                    sent=0,
                    began=began,
                    ended=time.perf_counter(),
                    attempt=1,
                    error=problem,
                )
            )
        return data

    def read_tail(self, length: int, *, purpose: Purpose, traffic: Traffic) -> tuple[int, bytes]:
        if length < 0:
            raise ValueError(f"{length} is not a number of bytes")
        size = self._identity.size
        start = max(0, size - length)
        return start, self.read(start, size, purpose=purpose, traffic=traffic)

    def close(self) -> None:
        self._file.close()

    def _look(self) -> Identity:
        found = os.fstat(self._file.fileno())
        return Identity(found.st_size, str(found.st_mtime_ns))

    def _read(self, start: int, stop: int) -> bytes:
        """All that is there: one `pread` gives at most 2 GiB, and network file systems may give less."""
        blocks: list[bytes] = []
        try:
            while start < stop:
                block = os.pread(self._file.fileno(), stop - start, start)
                if not block:
                    break
                blocks.append(block)
                start += len(block)
        except OSError as error:
            raise Transient(
                f"the file cannot be read: {error.strerror or error}",
                input=self.name,
                what_to_do="check the disk or the network file system",
            ) from error
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

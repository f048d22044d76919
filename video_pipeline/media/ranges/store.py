"""An object of the store, read by ranges.

Belongs here: pinning the version, and the account of what was asked for. Does not belong here: requests and
retries, which are the store's own.
"""

from __future__ import annotations

import threading
import time

from video_pipeline.errors import PipelineError
from video_pipeline.media.ranges.base import Identity, Purpose, RequestRecord, Traffic
from video_pipeline.store.base import ObjectStore, missing
from video_pipeline.streaming.cancel import CancellationToken


class StoreSource:
    """A `RangeSource` over one object. The first look at it (`head`) pins its version: one that is replaced
    afterwards is `BadInput`, never a mixture.

    Each `get_range` is recorded as one request and the look as another, of the empty range 0..0. What the
    store's client repeats by itself is not seen here, nor what it sends.
    """

    def __init__(self, store: ObjectStore, key: str, *, cancel: CancellationToken | None = None) -> None:
        self._store = store
        self._key = key
        self._cancel = cancel
        self._lock = threading.Lock()
        self._identity: Identity | None = None
        self._version: str | None = None
        self._look_of_exists: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        return f"{self._store.uri}/{self._key}"

    @property
    def cache_key(self) -> str:
        return self.name

    @property
    def identity(self) -> Identity | None:
        return self._identity

    def exists(self) -> bool:
        """Whether the object is there; pins it if so. The first read puts this request into its account."""
        with self._lock:
            if self._identity is None:
                began = time.perf_counter()
                if self._look():
                    self._look_of_exists = (began, time.perf_counter())
            return self._identity is not None

    def read(self, start: int, stop: int, *, purpose: Purpose, traffic: Traffic) -> bytes:
        if not 0 <= start <= stop:
            raise ValueError(f"{start}..{stop} is not a range of bytes: 0 <= start <= stop")
        if start == stop:
            return b""
        stop = min(stop, self._pinned(purpose, traffic).size)
        if start >= stop:
            return b""
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()
        began = time.perf_counter()
        data, problem = b"", None
        try:
            data = self._store.get_range(self._key, start, stop, version=self._version)
        except PipelineError as error:
            problem = error.message
            raise
        finally:
            traffic.add(_record(start, stop, purpose, len(data), began, problem))
        return data

    def read_tail(self, length: int, *, purpose: Purpose, traffic: Traffic) -> tuple[int, bytes]:
        if length < 0:
            raise ValueError(f"{length} is not a number of bytes")
        size = self._pinned(purpose, traffic).size
        start = max(0, size - length)
        return start, self.read(start, size, purpose=purpose, traffic=traffic)

    def close(self) -> None:
        """Nothing to close: the store is its owner's."""

    def _pinned(self, purpose: Purpose, traffic: Traffic) -> Identity:
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()
        with self._lock:
            if self._look_of_exists is not None:
                began, ended = self._look_of_exists
                self._look_of_exists = None
                traffic.add(_record(0, 0, purpose, 0, began, None, ended))
            if self._identity is None:
                began, problem = time.perf_counter(), None
                try:
                    if not self._look():
                        raise missing(self._store.uri, self._key)
                except PipelineError as error:
                    problem = error.message
                    raise
                finally:
                    traffic.add(_record(0, 0, purpose, 0, began, problem))
            assert self._identity is not None
            return self._identity

    def _look(self) -> bool:
        info = self._store.head(self._key)
        if info is None:
            return False
        self._version = info.version
        self._identity = Identity(info.size, info.version)
        return True


def _record(
    start: int,
    stop: int,
    purpose: Purpose,
    received: int,
    began: float,
    error: str | None,
    ended: float | None = None,
) -> RequestRecord:
    return RequestRecord(
        start=start,
        stop=stop,
        purpose=purpose,
        received=received,
        sent=0,
        began=began,
        ended=time.perf_counter() if ended is None else ended,
        attempt=1,
        error=error,
    )

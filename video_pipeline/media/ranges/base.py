"""What a source of byte ranges is, and what it tells about each request.

Belongs here: the protocol, identity, and the record of a request. Does not belong here: any source.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal, Protocol

Purpose = Literal["index", "media"]
"""What a range is read for: the file's index (headers, sample tables) or coded pictures."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One version of a file. Two equal identities hold the same bytes.

    `tag` is a strong ETag (with its quotes), a store version or a file's modification time in ns; None where
    a server gives nothing that could tell two versions of equal size apart.
    """

    size: int
    tag: str | None


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as it went over the wire. Ranges are half-open bytes; times are `time.perf_counter()`.

    `received` counts body bytes, also those of a request that failed or that nobody wanted; `sent` counts
    bytes of the request line and headers, 0 where no HTTP is spoken. `status` is HTTP's, or None.
    """

    start: int
    stop: int
    purpose: Purpose
    received: int
    sent: int
    began: float
    ended: float
    attempt: int
    status: int | None = None
    error: str | None = None


@dataclass
class Traffic:
    """Every request made through it, from any thread. Each piece of accounted work has one of its own."""

    requests: list[RequestRecord] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, record: RequestRecord) -> None:
        with self._lock:
            self.requests.append(record)

    def received(self, purpose: Purpose | None = None) -> int:
        """Body bytes, of all requests or of those with one purpose."""
        with self._lock:
            return sum(record.received for record in self.requests if purpose in (None, record.purpose))


class RangeSource(Protocol):
    """A file that is read by ranges, from several threads at once.

    Raises `BadInput` that names the file when it is missing, forbidden, changes while it is read, or lies
    about its length or its ranges; `Transient` when it stays away after bounded retries.
    """

    @property
    def name(self) -> str:
        """For people: a URL without credentials and without its query, a store URI, or a path."""
        ...

    @property
    def cache_key(self) -> str:
        """What tells this file from others: the URL, without what only signs it; the store URI; the path."""
        ...

    @property
    def identity(self) -> Identity | None:
        """Known from the first answer on; every later answer must agree with it."""
        ...

    def read(self, start: int, stop: int, *, purpose: Purpose, traffic: Traffic) -> bytes:
        """Bytes `start` to `stop` (half-open), cut at the file's end as a slice would be. One request."""
        ...

    def read_tail(self, length: int, *, purpose: Purpose, traffic: Traffic) -> tuple[int, bytes]:
        """The last `length` bytes (fewer of a shorter file) and the position of the first. One request."""
        ...

    def close(self) -> None: ...

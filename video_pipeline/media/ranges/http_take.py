"""What is done with each answer to a range request: what is taken, and what is wrong.

Belongs here: one read's progress, and the file as the server has shown it so far. Does not belong here:
sending, redirects, retries (`http`), what headers mean (`http_answer`).

Range requests: RFC 9110 §14 and §15.3.7. An answer 200 is the whole file: where the range begins at byte 0
it is taken from the head of the body, any other is `BadInput`; both ways the rest is not received and the
connection is closed.
"""

from __future__ import annotations

import threading

from video_pipeline.media.ranges import http_answer as answers
from video_pipeline.media.ranges.base import Identity, Purpose, Traffic
from video_pipeline.media.ranges.http_exchange import Exchange


class Passing(Exception):
    """This attempt failed; another one may not. `wait_s` is what the server asked for."""

    def __init__(self, cause: str, wait_s: float = 0.0) -> None:
        super().__init__(cause)
        self.wait_s = wait_s


class NoSuffix(Exception):
    """The server does not answer `bytes=-N`."""


class Wanted:
    """What one read still wants: positions, or the last `suffix` bytes until the size is known; what for,
    and in whose account. `attempt` counts its requests, without redirects."""

    def __init__(
        self, purpose: Purpose, traffic: Traffic, start: int = 0, stop: int = 0, suffix: int | None = None
    ) -> None:
        self.purpose: Purpose = purpose
        self.traffic = traffic
        self.start, self.stop, self.suffix = start, stop, suffix
        self.attempt = 0
        self.got = 0
        self._blocks: list[bytes] = []

    @property
    def position(self) -> int:
        return self.start + self.got

    @property
    def complete(self) -> bool:
        return self.suffix is None and self.position >= self.stop

    @property
    def header(self) -> str:
        """The value of Range that asks for the rest."""
        return f"bytes={self.position}-{self.stop - 1}" if self.suffix is None else f"bytes=-{self.suffix}"

    def place(self, start: int, stop: int) -> None:
        """The size has become known: from here on positions are wanted."""
        self.start, self.stop, self.suffix = start, stop, None

    def take(self, exchange: Exchange, length: int) -> None:
        """Adds the next `length` bytes of the body. What came before it broke off stays."""
        before = self.got
        for block in exchange.body(length):
            self._blocks.append(block)
            self.got += len(block)
        if self.got - before < length:
            raise Passing("the body broke off before its stated length")

    def restart(self) -> None:
        self._blocks.clear()
        self.got = 0

    def data(self) -> bytes:
        return self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)


class SeenFile:
    """The file as the server has shown it. Safe from any thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.identity: Identity | None = None
        self._validator = answers.Validator()
        self._lock = threading.Lock()
        self._answers_ranges = False
        self._sends_if_range = True

    @property
    def if_range(self) -> str | None:
        """The strong ETag, for If-Range (RFC 9110 §13.1.5); None where there is none, or it does harm."""
        return self.identity.tag if self.identity is not None and self._sends_if_range else None

    def take(self, exchange: Exchange, status: int, wanted: Wanted) -> str | None:
        """Takes what an answer brings; returns what is remarkable about it.

        Raises `Passing`, `NoSuffix`, `Broken`, `Cancelled`, and `BadInput` for what will stay wrong.
        """
        if status == 206:
            return self._take_part(exchange, wanted)
        if status == 200:
            return self._take_head(exchange, wanted)
        if status == 416:
            self._take_nothing(exchange, wanted)
            return None
        if status == 501 and wanted.suffix is not None:
            raise NoSuffix
        if answers.passes(status):
            raise Passing(f"it answers {status}", answers.retry_after(exchange.header))
        raise answers.refused(status, self.name)

    def _take_part(self, exchange: Exchange, wanted: Wanted) -> str | None:
        found = answers.check_partial(exchange.header, self.name)
        known = self.identity
        total = known.size if found.total is None and known is not None else found.total
        if total is None:
            raise answers.unknown_size(self.name)
        self._agree(total, exchange)
        if wanted.suffix is None:
            start, stop = wanted.position, min(wanted.stop, total)
        else:
            start, stop = max(0, total - wanted.suffix), total
        if found.start != start:
            raise answers.other_range(self.name, wanted.header, found)
        self._answers_ranges = True
        if wanted.suffix is None:
            wanted.stop = stop
        else:
            wanted.place(start, stop)
        wanted.take(exchange, min(found.stop, stop) - start)
        chunked = (exchange.header("Transfer-Encoding") or "").lower() == "chunked"
        longer = found.stop > stop or (chunked and exchange.has_more())
        return "the answer is longer than asked" if longer else None

    def _take_head(self, exchange: Exchange, wanted: Wanted) -> str | None:
        answers.check_plain(exchange.header, self.name)
        size = answers.content_length(exchange.header)
        if size is not None:
            self._agree(size, exchange)
        if wanted.suffix is not None:
            if size is None or size > wanted.suffix:
                raise NoSuffix
            wanted.place(0, size)
        if wanted.start > 0 and self._answers_ranges:
            # It did before. A cache on the way may not know what to make of If-Range.
            self._sends_if_range = False
            raise Passing("it answers a range request with the whole file")
        if wanted.start > 0 or size is None:
            raise answers.no_ranges(self.name)
        wanted.restart()
        wanted.stop = min(wanted.stop, size)
        wanted.take(exchange, wanted.stop)
        return None if wanted.stop == size else "the server does not answer range requests"

    def _take_nothing(self, exchange: Exchange, wanted: Wanted) -> None:
        """416: the range lies behind the end, which is where the answer says it is (RFC 9110 §15.5.17)."""
        found = answers.parse_content_range(exchange.header("Content-Range"))
        total = None if found is None else found.total
        known = self.identity
        if known is not None and total is not None and total != known.size:
            raise answers.changed_size(self.name, known.size, total)
        if total == 0:
            self._agree(0, exchange)
            wanted.place(0, 0)
            return
        if wanted.suffix is not None:
            raise NoSuffix
        if total is None or wanted.position < total:
            raise answers.refused_range(self.name, wanted.header, total)
        wanted.stop = wanted.position

    def _agree(self, size: int, exchange: Exchange) -> None:
        """Holds an answer's size and validator against the first one's. Raises `BadInput` if they differ."""
        found = answers.Validator.of(exchange.header)
        with self._lock:
            if self.identity is None:
                self._validator = found
                self.identity = Identity(size, found.strong)
            known, validator = self.identity, self._validator
        if size != known.size:
            raise answers.changed_size(self.name, known.size, size)
        if found.contradicts(validator):
            raise answers.changed_validator(self.name, validator, found)

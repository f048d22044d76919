"""A file behind an HTTP URL, read by ranges.

Belongs here: what is asked for, what is done with each answer, retries, redirects, the file's identity. Does
not belong here: connections (`http_pool`), what headers mean (`http_answer`), URLs (`http_address`).

Range requests: RFC 9110 §14 and §15.3.7. No HEAD is ever sent: some servers answer it otherwise, and the
first range tells the size. An answer 200 is the whole file: where the range begins at byte 0 it is taken
from the head of the body, any other is `BadInput`; both ways the rest is not received, the connection is
closed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping

from video_pipeline.errors import BadInput, Cancelled, Transient
from video_pipeline.media.ranges import http_answer as answers
from video_pipeline.media.ranges.base import Identity, Purpose, RequestRecord, Traffic
from video_pipeline.media.ranges.http_address import HttpAddress, parse_http_address, redirected
from video_pipeline.media.ranges.http_pool import Broken, Exchange, HttpPool
from video_pipeline.streaming.cancel import CancellationToken

ATTEMPTS = 4
REDIRECTS = 5
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 8.0
LONGEST_RETRY_AFTER_S = 30.0
"""A server that asks for a longer wait is given up at once: the caller knows better what to do meanwhile."""

WORTHWHILE = 64 * 1024
"""An answer may be shorter than asked (RFC 9110 §15.3.7). One that brings this much is no failed attempt."""

GONE_OR_FORBIDDEN = (400, 401, 403, 404, 410)


class _Passing(Exception):
    """This attempt failed; another one may not. `wait_s` is what the server asked for."""

    def __init__(self, cause: str, wait_s: float = 0.0) -> None:
        super().__init__(cause)
        self.wait_s = wait_s


class _NoSuffix(Exception):
    """The server does not answer `bytes=-N`."""


class _Wanted:
    """What one read still wants: positions, or the last `suffix` bytes until the size is known."""

    def __init__(self, start: int = 0, stop: int = 0, suffix: int | None = None) -> None:
        self.start, self.stop, self.suffix = start, stop, suffix
        self._blocks: list[bytes] = []
        self.got = 0

    @property
    def position(self) -> int:
        return self.start + self.got

    @property
    def complete(self) -> bool:
        return self.suffix is None and self.position >= self.stop

    @property
    def range_header(self) -> str:
        return f"bytes={self.position}-{self.stop - 1}" if self.suffix is None else f"bytes=-{self.suffix}"

    def place(self, start: int, stop: int) -> None:
        """The size has become known: from here on positions are wanted."""
        self.start, self.stop, self.suffix = start, stop, None

    def add(self, block: bytes) -> None:
        self._blocks.append(block)
        self.got += len(block)

    def restart(self) -> None:
        self._blocks.clear()
        self.got = 0

    def data(self) -> bytes:
        return self._blocks[0] if len(self._blocks) == 1 else b"".join(self._blocks)


class HttpSource:
    """A `RangeSource` over http or https.

    `pool` is the caller's, shared with other sources; without one the source has its own. `headers` (say,
    `Authorization`) go to the URL's own server only, as do user and password of the URL. `attempts` counts
    the failed ones of one read; a retry goes on from the byte that was reached. A cancelled token ends a
    read at once. In `Traffic`, a failed request for a tail of unknown position has the range -N..0, and each
    hop of a redirect is a request.
    """

    def __init__(
        self,
        url: str,
        *,
        pool: HttpPool | None = None,
        headers: Mapping[str, str] | None = None,
        cancel: CancellationToken | None = None,
        attempts: int = ATTEMPTS,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        self._given = parse_http_address(url)
        self._name, self._cache_key = self._given.name, self._given.cache_key
        self._pool = pool or HttpPool()
        self._owns_pool = pool is None
        self._cancel = cancel
        self._attempts = attempts
        self._first_wait_s = first_wait_s
        self._private = dict(headers or {})
        if self._given.authorization is not None:
            self._private.setdefault("Authorization", self._given.authorization)
        self._address = self._given
        """Where the last good answer came from: the end of all redirects."""
        self._lock = threading.Lock()
        self._identity: Identity | None = None
        self._validator = answers.Validator(None, None)
        self._answers_ranges = False
        self._sends_if_range = True
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def cache_key(self) -> str:
        return self._cache_key

    @property
    def identity(self) -> Identity | None:
        return self._identity

    def close(self) -> None:
        self._closed = True
        if self._owns_pool:
            self._pool.close()

    def read(self, start: int, stop: int, *, purpose: Purpose, traffic: Traffic) -> bytes:
        """As the protocol says. No request for an empty range; a second one if the very first read of a
        file lies behind its end, for its identity."""
        if not 0 <= start <= stop:
            raise ValueError(f"{start}..{stop} is not a range of bytes: 0 <= start <= stop")
        identity = self._identity
        if identity is not None:
            stop = min(stop, identity.size)
        if start >= stop:
            return b""
        data = self._transfer(_Wanted(start, stop), purpose, traffic).data()
        if self._identity is None:
            self._transfer(_Wanted(0, 1), purpose, traffic)
        return data

    def read_tail(self, length: int, *, purpose: Purpose, traffic: Traffic) -> tuple[int, bytes]:
        """As the protocol says. A suffix range while the size is unknown; a server that refuses those is
        asked for the size, if it did not say it with the refusal, and read by position."""
        if length < 0:
            raise ValueError(f"{length} is not a number of bytes")
        if self._identity is None and length > 0:
            try:
                wanted = self._transfer(_Wanted(suffix=length), purpose, traffic)
                return wanted.start, wanted.data()
            except _NoSuffix:
                pass
        if self._identity is None:
            self._transfer(_Wanted(0, 1), purpose, traffic)
        assert self._identity is not None
        size = self._identity.size
        start = max(0, size - length)
        return start, self.read(start, size, purpose=purpose, traffic=traffic)

    def _transfer(self, wanted: _Wanted, purpose: Purpose, traffic: Traffic) -> _Wanted:
        """Asks until everything wanted is there. Returns `wanted`."""
        if self._closed:
            raise ValueError("the source is closed")
        failures = attempt = 0
        while True:
            attempt += 1
            before = wanted.got
            try:
                self._attempt(wanted, attempt, purpose, traffic)
                if wanted.complete:
                    return wanted
                if wanted.got - before >= WORTHWHILE:
                    continue
                raise _Passing("the server sends less than it is asked for")
            except _Passing as passing:
                failures += 1
                if failures >= self._attempts or passing.wait_s > LONGEST_RETRY_AFTER_S:
                    raise self._gave_up(wanted, failures, passing) from passing.__cause__
                self._wait(failures, passing.wait_s)

    def _gave_up(self, wanted: _Wanted, failures: int, last: _Passing) -> Transient:
        asks = f"; it asks to wait {last.wait_s:.0f} s" if last.wait_s > LONGEST_RETRY_AFTER_S else ""
        tries = "1 attempt" if failures == 1 else f"{failures} attempts"
        return Transient(
            f"the server did not deliver {wanted.range_header} in {tries}: {last}{asks}",
            input=self.name,
            what_to_do="check the network and the server, or run it again later",
        )

    def _wait(self, failures: int, asked_s: float) -> None:
        longest = min(LONGEST_WAIT_S, self._first_wait_s * 2 ** (failures - 1))
        seconds = max(asked_s, longest * random.uniform(0.5, 1.0))
        if self._cancel is None:
            time.sleep(seconds)
        elif self._cancel.wait(seconds):
            self._cancel.raise_if_cancelled()

    def _attempt(self, wanted: _Wanted, attempt: int, purpose: Purpose, traffic: Traffic) -> None:
        """One request, and the redirects it meets. Adds what came to `wanted`."""
        address = self._address
        remembered = address is not self._given
        hops = 0
        while True:
            exchange = Exchange(self._pool, address, self._headers_for(address, wanted), self._cancel)
            start, stop = (wanted.position, wanted.stop) if wanted.suffix is None else (-wanted.suffix, 0)
            note: str | None = None
            try:
                with exchange:
                    status = exchange.ask()
                    if status in (301, 302, 303, 307, 308):
                        hops += 1
                        address = self._follow(address, exchange.header("Location"), hops)
                        continue
                    if remembered and status in GONE_OR_FORBIDDEN:
                        # The redirect led to a URL signed for a while, or has moved: ask the given one again.
                        note = f"the redirect of before leads to {status} now"
                        address, remembered = self._given, False
                        continue
                    note = self._take(exchange, status, wanted)
                    self._address = address
                    return
            except Broken as error:
                note = str(error)
                raise _Passing(note) from error
            except _NoSuffix:
                note = "the server does not answer suffix ranges"
                raise
            except Cancelled:
                note = "cancelled"
                raise
            except Exception as error:
                note = error.message if isinstance(error, BadInput) else str(error)
                raise
            finally:
                if start < 0 and wanted.suffix is None:
                    start, stop = wanted.start, wanted.stop
                traffic.add(
                    RequestRecord(
                        start=start,
                        stop=stop,
                        purpose=purpose,
                        received=exchange.received,
                        sent=exchange.sent,
                        began=exchange.began,
                        ended=exchange.ended,
                        attempt=attempt,
                        status=exchange.status,
                        error=note,
                    )
                )

    def _headers_for(self, address: HttpAddress, wanted: _Wanted) -> dict[str, str]:
        headers = {
            "User-Agent": "video-pipeline",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Range": wanted.range_header,
        }
        identity = self._identity
        if identity is not None and identity.tag is not None and self._sends_if_range:
            headers["If-Range"] = identity.tag
        return headers | self._private if self._given.trusts(address) else headers

    def _follow(self, address: HttpAddress, location: str | None, hops: int) -> HttpAddress:
        if hops > REDIRECTS:
            raise BadInput(
                f"the server redirects more than {REDIRECTS} times",
                input=self.name,
                what_to_do="use the file's final URL",
            )
        return redirected(address, location)

    def _take(self, exchange: Exchange, status: int, wanted: _Wanted) -> str | None:
        """Takes what an answer brings; returns what is remarkable about it, or raises what is wrong."""
        if status == 206:
            return self._take_part(exchange, wanted)
        if status == 200:
            return self._take_head(exchange, wanted)
        if status == 416:
            return self._take_nothing(exchange, wanted)
        if status == 501 and wanted.suffix is not None:
            raise _NoSuffix
        if answers.passes(status):
            raise _Passing(f"it answers {status}", answers.retry_after(exchange.header))
        raise answers.refused(status, self.name)

    def _take_part(self, exchange: Exchange, wanted: _Wanted) -> str | None:
        found = answers.check_partial(exchange.header, self.name)
        assert found.start is not None
        assert found.stop is not None
        known = self._identity
        total = found.total if found.total is not None or known is None else known.size
        if total is None:
            raise answers.unknown_size(self.name)
        asked = wanted.range_header
        if wanted.suffix is None:
            start, stop = wanted.position, min(wanted.stop, total)
        else:
            start, stop = max(0, total - wanted.suffix), total
        self._agree(total, exchange)
        if found.start != start or (wanted.suffix is not None and found.stop != stop):
            raise answers.other_range(self.name, asked, found)
        self._answers_ranges = True
        if wanted.suffix is not None:
            wanted.place(start, stop)
        else:
            wanted.stop = stop
        length = min(found.stop, stop) - start
        self._receive(exchange, wanted, length)
        framed = exchange.header("Content-Length") is not None
        chunked = (exchange.header("Transfer-Encoding") or "").lower() == "chunked"
        if found.stop > stop or (not framed and chunked and exchange.has_more()):
            return "the answer is longer than asked"
        return None

    def _take_head(self, exchange: Exchange, wanted: _Wanted) -> str | None:
        """Takes a range at the head of the file from an answer 200, which is the whole file."""
        answers.check_encoding(exchange.header, self.name)
        size = answers.content_length(exchange.header)
        if size is not None:
            self._agree(size, exchange)
        if wanted.suffix is not None:
            if size is None or size > wanted.suffix:
                raise _NoSuffix
            wanted.place(0, size)
        if wanted.start > 0:
            if self._answers_ranges:
                # It did before. A cache on the way may not know what to make of If-Range.
                self._sends_if_range = False
                raise _Passing("it answers a range request with the whole file")
            raise answers.no_ranges(self.name)
        if size is None:
            raise answers.no_ranges(self.name)
        wanted.restart()
        wanted.stop = min(wanted.stop, size)
        self._receive(exchange, wanted, wanted.stop)
        return "the server does not answer range requests"

    def _take_nothing(self, exchange: Exchange, wanted: _Wanted) -> str | None:
        """416: the range lies behind the end, which is where the answer says it is (RFC 9110 §15.5.17)."""
        found = answers.parse_content_range(exchange.header("Content-Range"))
        total = None if found is None else found.total
        known = self._identity
        if known is not None and total is not None and total != known.size:
            raise answers.changed(self.name, f"{known.size} bytes long", f"{total} bytes long")
        if total == 0:
            self._agree(0, exchange)
            wanted.place(0, 0)
            return None
        if wanted.suffix is not None:
            raise _NoSuffix
        if total is None or wanted.position < total:
            raise answers.refused_range(self.name, wanted.range_header, total)
        wanted.stop = wanted.position
        return None

    def _receive(self, exchange: Exchange, wanted: _Wanted, length: int) -> None:
        left = length
        for block in exchange.body(length):
            wanted.add(block)
            left -= len(block)
        if left:
            raise _Passing("the body broke off before its stated length")

    def _agree(self, size: int, exchange: Exchange) -> None:
        """Holds an answer's size and validator against the first one's. Raises `BadInput` if they differ."""
        found = answers.Validator.of(exchange.header)
        with self._lock:
            if self._identity is None:
                self._identity = Identity(size, found.strong)
                self._validator = found
                return
            known, validator = self._identity, self._validator
        if size != known.size:
            raise answers.changed(self.name, f"{known.size} bytes long", f"{size} bytes long")
        if found.contradicts(validator):
            raise answers.changed(self.name, str(validator.text), str(found.text))

"""A file behind an HTTP URL, read by ranges.

Belongs here: requests and their account, retries, redirects. Does not belong here: connections
(`http_pool`, `http_exchange`), what is done with an answer (`http_take`), URLs (`http_address`).

No HEAD is ever sent: the first range tells the size, and some servers answer a HEAD otherwise than a GET.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

from video_pipeline.errors import BadInput, Cancelled, Transient
from video_pipeline.media.ranges.base import Identity, Purpose, RequestRecord, Traffic
from video_pipeline.media.ranges.http_address import HttpAddress, parse_http_address, redirected
from video_pipeline.media.ranges.http_exchange import Broken, Exchange
from video_pipeline.media.ranges.http_pool import HttpPool
from video_pipeline.media.ranges.http_take import NoSuffix, Passing, SeenFile, Wanted
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.wording import counted

ATTEMPTS = 4
REDIRECTS = 5
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 8.0
LONGEST_RETRY_AFTER_S = 30.0
"""A server that asks for a longer wait is given up at once: the caller knows better what to do meanwhile."""

WORTHWHILE = 64 * 1024
"""An answer may be shorter than asked (RFC 9110 §15.3.7). One that brings this much is no failed attempt."""

RESERVED = frozenset(["accept-encoding", "connection", "host", "if-range", "range", "user-agent"])
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
GONE_OR_FORBIDDEN = (400, 401, 403, 404, 410)


class HttpSource:
    """A `RangeSource` over http or https.

    `pool` is the caller's, shared with other sources; without one the source has its own. `headers` (say,
    `Authorization`) go to the URL's own server only, as do user and password of the URL. `attempts` counts
    the failed ones of one read, with waits from `first_wait_s` on that double between them; a retry goes on
    from the byte that was reached. A cancelled token ends a read at once. In `Traffic`, a failed request for
    a tail of unknown position has the range -N..0, and each hop of a redirect is a request.
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
        self._address = self._given
        """Where the last good answer came from: the end of all redirects."""
        self._private = dict(headers or {})
        names = {name.lower() for name in self._private}
        if names & RESERVED:
            raise ValueError(f"{', '.join(sorted(names & RESERVED))}: the source sets these headers itself")
        if self._given.authorization is not None and "authorization" not in names:
            self._private["Authorization"] = self._given.authorization
        self._pool = pool or HttpPool()
        self._owns_pool = pool is None
        self._cancel = cancel
        self._attempts = attempts
        self._first_wait_s = first_wait_s
        self._file = SeenFile(self._given.name)
        self._closed = False

    @property
    def name(self) -> str:
        return self._file.name

    @property
    def cache_key(self) -> str:
        return self._given.cache_key

    @property
    def identity(self) -> Identity | None:
        return self._file.identity

    def close(self) -> None:
        self._closed = True
        if self._owns_pool:
            self._pool.close()

    def read(self, start: int, stop: int, *, purpose: Purpose, traffic: Traffic) -> bytes:
        """As the protocol says. No request for an empty range; a second one if the very first read of a
        file lies behind its end, for its identity."""
        if not 0 <= start <= stop:
            raise ValueError(f"{start}..{stop} is not a range of bytes: 0 <= start <= stop")
        if self.identity is not None:
            stop = min(stop, self.identity.size)
        if start >= stop:
            return b""
        data = self._transfer(Wanted(purpose, traffic, start, stop)).data()
        if self.identity is None:
            self._transfer(Wanted(purpose, traffic, 0, 1))
        return data

    def read_tail(self, length: int, *, purpose: Purpose, traffic: Traffic) -> tuple[int, bytes]:
        """As the protocol says. A suffix range while the size is unknown; a server that refuses those is
        asked for the size, if it did not say it with the refusal, and read by position."""
        if length < 0:
            raise ValueError(f"{length} is not a number of bytes")
        if self.identity is None and length > 0:
            try:
                wanted = self._transfer(Wanted(purpose, traffic, suffix=length))
                return wanted.start, wanted.data()
            except NoSuffix:
                pass
        if self.identity is None:
            self._transfer(Wanted(purpose, traffic, 0, 1))
        assert self.identity is not None
        size = self.identity.size
        start = max(0, size - length)
        return start, self.read(start, size, purpose=purpose, traffic=traffic)

    def _transfer(self, wanted: Wanted) -> Wanted:
        """Asks until everything wanted is there. Returns `wanted`."""
        if self._closed:
            raise ValueError("the source is closed")
        failures = 0
        while True:
            wanted.attempt += 1
            before = wanted.got
            try:
                self._attempt(wanted)
                if wanted.complete:
                    return wanted
                if wanted.got - before >= WORTHWHILE:
                    continue
                raise Passing("the server sends less than it is asked for")
            except Passing as passing:
                failures += 1
                if failures >= self._attempts or passing.wait_s > LONGEST_RETRY_AFTER_S:
                    raise self._gave_up(wanted, failures, passing) from passing.__cause__
                self._wait(failures, passing.wait_s)

    def _gave_up(self, wanted: Wanted, failures: int, last: Passing) -> Transient:
        asks = f"; it asks to wait {last.wait_s:.0f} s" if last.wait_s > LONGEST_RETRY_AFTER_S else ""
        return Transient(
            f"the server did not deliver {wanted.header} in {counted(failures, 'attempt')}: {last}{asks}",
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

    def _attempt(self, wanted: Wanted) -> None:
        """One request, and the redirects it meets. Adds what came to `wanted`."""
        address, hops = self._address, 0
        while True:
            elsewhere = self._ask(address, hops, wanted)
            if elsewhere is None:
                self._address = address
                return
            hops += elsewhere is not self._given
            address = elsewhere
            if hops > REDIRECTS:
                raise BadInput(
                    f"the server redirects more than {REDIRECTS} times",
                    input=self.name,
                    what_to_do="use the file's final URL",
                )

    def _ask(self, address: HttpAddress, hops: int, wanted: Wanted) -> HttpAddress | None:
        """One request, accounted for. None if its answer was taken, else where to ask instead."""
        exchange = Exchange(self._pool, address, self._headers_for(address, wanted), self._cancel)
        suffix = wanted.suffix
        start, stop = (wanted.position, wanted.stop) if suffix is None else (-suffix, 0)
        note: str | None = None
        try:
            with exchange:
                status = exchange.ask()
                if status not in (200, 206):
                    exchange.finish()
                if status in REDIRECT_STATUSES:
                    return redirected(address, exchange.header("Location"))
                if status in GONE_OR_FORBIDDEN and hops == 0 and address is not self._given:
                    # A redirect of before led to a URL signed for a while, or has moved.
                    note = f"the redirect of before leads to {status} now"
                    return self._given
                note = self._file.take(exchange, status, wanted)
                return None
        except Broken as error:
            note = str(error)
            raise Passing(note) from error
        except NoSuffix:
            note = "the server does not answer suffix ranges"
            raise
        except Cancelled:
            note = "cancelled"
            raise
        except Exception as error:
            note = error.message if isinstance(error, BadInput) else str(error)
            raise
        finally:
            if suffix is not None and wanted.suffix is None:
                start, stop = wanted.start, wanted.stop
            wanted.traffic.add(
                RequestRecord(
                    start=start,
                    stop=stop,
                    purpose=wanted.purpose,
                    received=exchange.received,
                    sent=exchange.sent,
                    began=exchange.began,
                    ended=exchange.ended,
                    attempt=wanted.attempt,
                    status=exchange.status,
                    error=note,
                )
            )

    def _headers_for(self, address: HttpAddress, wanted: Wanted) -> dict[str, str]:
        headers = {
            "User-Agent": "video-pipeline",
            "Accept-Encoding": "identity",
            "Range": wanted.header,
        }
        if self._file.if_range is not None:
            headers["If-Range"] = self._file.if_range
        return {**self._private, **headers} if self._given.trusts(address) else headers

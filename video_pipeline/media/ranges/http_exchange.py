"""One request over a kept connection: from its first byte to the last of its answer.

Belongs here: asking, the body as it comes, what it cost, and what broke it. Does not belong here: connections
(`http_pool`), which bytes are asked for, what an answer means, retries (`http`).
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import time
from collections.abc import Iterator, Mapping

from urllib3 import BaseHTTPResponse
from urllib3 import exceptions as broken
from urllib3.connection import HTTPConnection

from video_pipeline.errors import BadInput
from video_pipeline.media.ranges import http_answer as answers
from video_pipeline.media.ranges.http_address import HttpAddress
from video_pipeline.media.ranges.http_pool import HttpPool, Route, asking
from video_pipeline.streaming.cancel import CancellationToken

BLOCK = 256 * 1024
"""The most that one look at the socket takes. It takes what is there: a slow body is seen as it comes."""

DISCARDED = 16 * 1024
"""An unwanted body up to this size (an error page) is read, so that its connection can be kept; TCP's first
window is 10 segments of 1,460 bytes (RFC 6928), so it has arrived anyway."""

WAIT_FOR_CONNECTION_S = 1


class Broken(Exception):
    """A request that broke off in a way that may pass. Its text says how, without any URL."""


class Exchange:
    """One GET and its answer, as a context that always gives the connection back.

    On leaving, the connection is kept if the answer has been read to its end, and closed otherwise. Times
    are `time.perf_counter()`; `received` counts the body bytes that this process took (what the kernel had
    already got of a body that is left unread is not seen), `sent` those of request line and headers (without
    those that ask a proxy for a tunnel). A cancelled token ends it at once.
    """

    def __init__(
        self,
        pool: HttpPool,
        address: HttpAddress,
        headers: Mapping[str, str],
        cancel: CancellationToken | None,
    ) -> None:
        self._pool = pool
        self._address = address
        self._headers = {"Host": address.host_header, **headers}
        self._route: Route | None = None
        self._cancel = cancel
        self._response: BaseHTTPResponse | None = None
        self._forget = lambda: None
        self.connection: HTTPConnection | None = None
        self.began = self.ended = time.perf_counter()
        self.sent = 0
        self.received = 0

    @property
    def status(self) -> int | None:
        return None if self._response is None else self._response.status

    def header(self, name: str) -> str | None:
        """The answer's header; a repeated one joined by commas (RFC 9110 §5.3)."""
        return None if self._response is None else self._response.headers.get(name)

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        if self._response is not None:
            if not self._response.closed:
                self._response.close()
            self._response.release_conn()
        self.ended = time.perf_counter()

    def ask(self) -> int:
        """Sends the request; the answer's status once its headers are there.

        Raises `Broken`, `BadInput` for a certificate that does not hold or a proxy that refuses, and
        `Cancelled`.
        """
        if self._cancel is not None:
            self._forget = self._cancel.add_callback(self._interrupt)
        asking.sent = self._waits_for_reading
        try:
            with self._translated():
                self._response = self._urlopen()
        finally:
            asking.sent = None
        return self._response.status

    def body(self, limit: int) -> Iterator[bytes]:
        """The body's blocks as they arrive, `limit` bytes at most. It may end early: the caller counts.

        Raises `Broken` where the connection breaks, stalls or brings next to nothing, and `Cancelled`.
        """
        assert self._response is not None
        left, brought, since = limit, 0, time.perf_counter()
        while left > 0:
            with self._translated():
                block = self._response.read1(min(BLOCK, left), decode_content=False)
            if not block:
                return
            self.received += len(block)
            left -= len(block)
            brought += len(block)
            yield block
            seconds = time.perf_counter() - since
            if seconds >= self._pool.slow_after_s:
                if left > 0 and brought < self._pool.slowest_bytes_per_s * seconds:
                    raise Broken(f"the body came too slowly: {brought} bytes in {seconds:.3g} s")
                brought, since = 0, time.perf_counter()

    def finish(self) -> None:
        """Reads an unwanted body that is known to be short, so that the connection can be kept."""
        length = self.header("Content-Length") or ""
        if length.isdecimal() and int(length) <= DISCARDED:
            with contextlib.suppress(Broken):
                for _ in self.body(DISCARDED):
                    pass

    def has_more(self) -> bool:
        """Whether a byte comes after what was taken; False where that shows too late to matter."""
        try:
            return any(self.body(1))
        except Broken:
            return False

    def _waits_for_reading(self, connection: HTTPConnection) -> None:
        """Called by the connection when it has sent the request: from here on a cancel can wake it."""
        self.sent = self._request_bytes()
        self.connection = connection
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()

    def _urlopen(self) -> BaseHTTPResponse:
        route = self._route = self._pool.route_to(self._address)
        while True:
            if self._cancel is not None:
                self._cancel.raise_if_cancelled()
            self.began = time.perf_counter()
            try:
                return route.connections.urlopen(
                    "GET",
                    route.target,
                    headers=self._headers,
                    retries=False,
                    redirect=False,
                    assert_same_host=False,
                    pool_timeout=WAIT_FOR_CONNECTION_S,
                    preload_content=False,
                    decode_content=False,
                )
            except broken.EmptyPoolError:
                continue

    def _request_bytes(self) -> int:
        """RFC 9112 §2.1 and §3: request line, headers, empty line, as http.client writes them."""
        assert self._route is not None
        line = len(f"GET {self._route.target} HTTP/1.1\r\n")
        headers = {**self._headers, **self._route.headers}
        return line + sum(len(f"{name}: {value}\r\n") for name, value in headers.items()) + 2

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except broken.HTTPError as error:
            if self._cancel is not None:
                self._cancel.raise_if_cancelled()
            if isinstance(error, broken.ProxyError):
                raise self._kept_out(error) from None
            if isinstance(error, broken.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise BadInput(
                    f"the server's certificate does not hold: {error}",
                    input=self._address.name,
                    what_to_do="check the host's name, this machine's clock and its root certificates",
                ) from None
            raise Broken(self._cause(error)) from error
        if self._cancel is not None:
            self._cancel.raise_if_cancelled()

    def _cause(self, error: broken.HTTPError) -> str:
        match error:
            case broken.NameResolutionError():
                return "the host's name cannot be resolved"
            case broken.ConnectTimeoutError():
                return "no connection could be opened in time"
            case broken.NewConnectionError():
                return f"no connection could be opened ({error.__cause__ or 'refused'})"
            case broken.ReadTimeoutError():
                return f"the server was silent for {self._pool.stall_timeout_s:g} s"
            case broken.SSLError():
                return f"the encrypted connection broke ({error})"
        inner = error.args[-1] if error.args and isinstance(error.args[-1], Exception) else error
        if isinstance(inner, http.client.IncompleteRead):
            return "the body broke off before its stated length"
        return f"the connection broke ({type(inner).__name__}: {inner})"

    def _kept_out(self, error: broken.ProxyError) -> Exception:
        """What is wrong with the proxy. It refuses a tunnel by a status, which http.client words so."""
        assert self._route is not None
        assert self._route.proxy is not None
        proxy = f"the proxy {self._route.proxy.name}"
        refusal = re.search(r"Tunnel connection failed: (\d{3})", str(error.original_error))
        if refusal is None:
            return Broken(f"{proxy} cannot be reached ({error.original_error})")
        status = int(refusal.group(1))
        if answers.passes(status):
            return Broken(f"{proxy} opens no tunnel: it answers {status}")
        return answers.kept_out(proxy, status, self._address.name)

    def _interrupt(self) -> None:
        """Wakes a thread that waits for the server. Called by whoever cancels."""
        sock = getattr(self.connection, "sock", None)
        # TLS through a tunnel of TLS is urllib3's own object around the proxy's socket.
        sock = getattr(sock, "socket", sock)
        if sock is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown, which takes the encryption away from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

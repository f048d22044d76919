"""A double between a client and a real S3 server: passes requests on, and misbehaves as a test asks.

Belongs here: a server that ignores conditional headers, connections that break before or within an answer,
and error answers. Does not belong here: any S3 semantics; those are the real server's.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

CONDITIONS = ("if-match", "if-none-match")
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "proxy-connection")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that arrived."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass
class Faults:
    """What goes wrong. Counters count down; a fault strikes requests of `method` (empty: any)."""

    ignore_conditions: Sequence[str] = ()
    """Headers, in lower case, that never reach the server."""
    method: str = ""
    lose_answers: int = 0
    """The server carries the request out, and the client's connection is closed without an answer."""
    cut_bodies: int = 0
    cut_after: int = 0
    """The answer's headers promise everything, and the connection breaks after `cut_after` bytes."""
    fail: int = 0
    fail_status: int = 503
    damage: int = 0
    """The last byte of what is sent is changed on the way, and signed again: the server stores that."""
    foreign_etags: Callable[[str], str] | None = None
    """Changes every ETag that is answered: a server whose ETags are no MD5. Ignore the conditions with it."""
    body_delay_s: float = 0.0
    """A wait before each 64 KiB of a body: a slow network."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, counter: str, method: str) -> bool:
        with self.lock:
            left = getattr(self, counter)
            if left <= 0 or (self.method and self.method != method):
                return False
            setattr(self, counter, left - 1)
            return True


class S3Proxy:
    """The double, listening on a free loopback port. `seen` holds every request, in order of arrival.

    Where it drops conditions it signs again, as they are part of the client's signature.
    """

    def __init__(self, upstream_url: str, *, access_key: str, secret_key: str, region: str) -> None:
        self.upstream = urlsplit(upstream_url)
        self.credentials = Credentials(access_key, secret_key)
        self.region = region
        self.faults = Faults()
        self.seen: list[Seen] = []
        self.before: Callable[[Seen], None] | None = None
        """Called with each request before it is passed on."""

    def __enter__(self) -> S3Proxy:
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def count(self, method: str) -> int:
        return sum(1 for seen in self.seen if seen.method == method)

    def sign_again(self, seen: Seen, body: bytes) -> dict[str, str]:
        """The request's headers without conditions, signed for the real server over `body`."""
        dropped = (
            *CONDITIONS,
            "authorization",
            "x-amz-date",
            "host",
            "content-length",
            "x-amz-content-sha256",
        )
        headers = {name: value for name, value in seen.headers.items() if name.lower() not in dropped}
        request = AWSRequest(seen.method, f"{self.upstream.geturl()}{seen.path}", headers, body)
        S3SigV4Auth(self.credentials, "s3", self.region).add_auth(request)
        return {**dict(request.headers.items()), "Host": self.upstream.netloc}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: S3Proxy

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: tests look at `seen`."""

    def _pass_on(self) -> None:
        faults = self.owner.faults
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen = Seen(self.command, self.path, dict(self.headers.items()))
        self.owner.seen.append(seen)
        if self.owner.before is not None:
            self.owner.before(seen)
        if faults.strikes("fail", self.command):
            self._answer(faults.fail_status, {}, b"")
            return
        headers = dict(seen.headers)
        if any(name.lower() in faults.ignore_conditions for name in headers):
            headers = self.owner.sign_again(seen, body)
        if body and faults.strikes("damage", self.command):
            body = body[:-1] + bytes([body[-1] ^ 1])
            headers = self.owner.sign_again(seen, body)
        for name in [name for name in headers if name.lower() in (*HOP_BY_HOP, "expect")]:
            del headers[name]
        upstream = http.client.HTTPConnection(str(self.owner.upstream.hostname), self.owner.upstream.port)
        try:
            upstream.request(self.command, self.path, body=body, headers=headers)
            answer = upstream.getresponse()
            if faults.strikes("lose_answers", self.command):
                answer.read()
                self.close_connection = True
                return
            answered = dict(answer.getheaders())
            if faults.foreign_etags is not None:
                for name in [name for name in answered if name.lower() == "etag"]:
                    answered[name] = faults.foreign_etags(answered[name])
            self._answer(answer.status, answered, answer.read())
        except OSError:
            self.close_connection = True
        finally:
            upstream.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        faults = self.owner.faults
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in (*HOP_BY_HOP, "content-length"):
                self.send_header(name, value)
        promised = {name.lower(): value for name, value in headers.items()}.get("content-length")
        head_only = self.command == "HEAD"
        self.send_header("Content-Length", promised if head_only and promised else str(len(body)))
        self.end_headers()
        if head_only:
            return
        if body and faults.strikes("cut_bodies", self.command):
            body = body[: faults.cut_after]
            self.close_connection = True
        if not faults.body_delay_s:
            self.wfile.write(body)
            return
        for start in range(0, len(body), 65536):
            time.sleep(faults.body_delay_s)
            self.wfile.write(body[start : start + 65536])

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

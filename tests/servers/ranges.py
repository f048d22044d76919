"""A loopback server that answers byte ranges of a directory's files, and misbehaves as a test asks.

Belongs here: HTTP/1.1 with keep-alive, single ranges and If-Range (RFC 9110 §13.1.5, §14), the log of what
was asked and sent, latency, faults. Does not belong here: anything about media. Benchmarks use it too.
"""

from __future__ import annotations

import contextlib
import gzip
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

FaultKind = Literal[
    "no_ranges",  # 200 and the whole file
    "no_suffix",  # `status` to bytes=-N: 416 (with the size if `tells_size`), 501, or 200 and the whole file
    "cut",  # the connection is closed after `after` bytes of the body
    "stall",  # silence after `after` bytes of the body, until the client leaves or the server ends
    "silent",  # silence instead of an answer
    "reset",  # the connection is reset instead of an answer
    "reset_body",  # the connection is reset after `after` bytes of the body
    "drip",  # the body in pieces of `after` bytes, `seconds` apart
    "status",  # `status`, with `retry_after` if there is one
    "redirect",  # `status` (302 if none) to `location`
    "etag",  # `etag` in place of the file's own; empty: none
    "size",  # Content-Range tells `amount` bytes more for the whole file
    "wrong_range",  # Content-Range, and the body, `amount` bytes further on
    "wrong_length",  # Content-Length is `amount` more than the body
    "no_content_range",
    "unknown_size",  # Content-Range: bytes a-b/*
    "multipart",  # multipart/byteranges with the one part
    "gzip",  # the body compressed
    "longer",  # `amount` bytes more than asked, said so in Content-Range
    "overrun",  # `amount` bytes more than Content-Length says, on a connection that stays open
    "shorter",  # `amount` bytes at most, said so in Content-Range
    "chunked",  # without Content-Length, by chunks (RFC 9112 §7.1), with `amount` bytes more than said
]


@dataclass
class Fault:
    """What goes wrong with the requests for `name` (empty: any file) whose number is in `nth`.

    Requests for that file count from 1 since the fault was added; without `nth`, all of them.
    """

    kind: FaultKind
    name: str = ""
    nth: Collection[int] | None = None
    status: int = 503
    retry_after: str = ""
    location: str = ""
    etag: str = ""
    after: int = 0
    amount: int = 0
    seconds: float = 0.0
    tells_size: bool = True
    seen: int = 0


@dataclass(eq=False)
class Logged:
    """One request. `range` is the header as it came. `sent` counts body bytes given to the network, `asked`
    the bytes of request line and headers. `connection` counts accepted connections from 1."""

    method: str
    path: str
    range: str | None
    headers: dict[str, str]
    asked: int
    connection: int
    status: int = 0
    sent: int = 0


@dataclass
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes | None = None
    """Bytes to send; None: `start` to `stop` of the file."""
    start: int = 0
    stop: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.stop - self.start if self.body is None else len(self.body)

    def fault(self, *kinds: FaultKind) -> Fault | None:
        return next((fault for fault in self.faults if fault.kind in kinds), None)


class RangeServer:
    """Serves the files of `directory` on a free loopback port, as a context.

    `log` holds every request in order of arrival, `latency_s` is waited before each answer, `faults` may be
    changed at any time: each one that meets a request strikes. Thread-safe.
    """

    def __init__(self, directory: Path, *, latency_s: float = 0.0) -> None:
        self.directory = directory
        self.latency_s = latency_s
        self.faults: list[Fault] = []
        self.log: list[Logged] = []
        self.connections = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self._open: set[socket.socket] = set()

    def __enter__(self) -> RangeServer:
        owner = self

        class Handler(_Handler):
            server_of_ranges = owner

        self._server = _Listener(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        with self.lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def url(self, name: str, *, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{quote(name)}"

    def requests(self, name: str) -> list[Logged]:
        with self.lock:
            return [logged for logged in self.log if logged.path.partition("?")[0] == f"/{quote(name)}"]

    def sent(self, name: str | None = None) -> int:
        """Body bytes, for one file or for all."""
        return sum(logged.sent for logged in (list(self.log) if name is None else self.requests(name)))

    def per_connection(self) -> Counter[int]:
        """Requests by connection."""
        with self.lock:
            return Counter(logged.connection for logged in self.log)

    def opened(self, connection: socket.socket) -> int:
        with self.lock:
            self.connections += 1
            self._open.add(connection)
            return self.connections

    def closed(self, connection: socket.socket) -> None:
        with self.lock:
            self._open.discard(connection)

    def begin(self, logged: Logged, name: str) -> list[Fault]:
        """Logs a request; the faults that strike it."""
        with self.lock:
            self.log.append(logged)
            struck = []
            for fault in self.faults:
                if fault.name in ("", name):
                    fault.seen += 1
                    if fault.nth is None or fault.seen in fault.nth:
                        struck.append(fault)
            return struck


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: clients leave in the middle, and tests look at the log."""


class _CountingReader:
    """The connection's reader, which counts the bytes of the lines that are read."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.lines = 0

    def readline(self, limit: int = -1, /) -> bytes:
        line = self.file.readline(limit)
        self.lines += len(line)
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_of_ranges: RangeServer

    def setup(self) -> None:
        super().setup()
        self.rfile: Any = _CountingReader(self.rfile)
        self.number = self.server_of_ranges.opened(self.connection)

    def finish(self) -> None:
        self.server_of_ranges.closed(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: tests look at `log`."""

    def do_GET(self) -> None:
        owner = self.server_of_ranges
        asked, self.rfile.lines = self.rfile.lines, 0
        headers = dict(self.headers.items())
        logged = Logged(self.command, self.path, headers.get("Range"), headers, asked, self.number)
        name = unquote(self.path.partition("?")[0].lstrip("/"))
        faults = owner.begin(logged, name)
        if owner.latency_s:
            time.sleep(owner.latency_s)
        answer = self._faulty(self._answer(name, faults), name)
        logged.status = answer.status
        if answer.fault("reset"):
            self._reset()
        elif answer.fault("silent"):
            self._silence()
        else:
            self._send(answer, name, logged)

    do_HEAD = do_GET

    def _answer(self, name: str, faults: list[Fault]) -> _Answer:
        """The right answer, but for what changes which range is answered at all."""
        path = (self.server_of_ranges.directory / name).resolve()
        if not path.is_file() or self.server_of_ranges.directory.resolve() not in path.parents:
            return _Answer(404, {}, b"no such file\n", faults=faults)
        found = path.stat()
        size = found.st_size
        etag = f'"{found.st_mtime_ns:x}-{size:x}"'
        for fault in faults:
            etag = fault.etag if fault.kind == "etag" else etag
        base = {"Accept-Ranges": "bytes", "Content-Type": "video/mp4"} | ({"ETag": etag} if etag else {})
        whole = _Answer(200, base, stop=size, faults=faults)
        wanted = parse_range(self.headers.get("Range"), size)
        no_suffix = whole.fault("no_suffix")
        if no_suffix and (self.headers.get("Range") or "").startswith("bytes=-"):
            if no_suffix.status == 200:
                return whole
            tells = {"Content-Range": f"bytes */{size}"} if no_suffix.tells_size else {}
            return _Answer(no_suffix.status, tells, b"", faults=faults)
        stale = self.headers.get("If-Range") not in (None, etag)
        if wanted is None or stale or whole.fault("no_ranges"):
            return whole
        start, stop = wanted
        if start >= stop:
            return _Answer(416, {"Content-Range": f"bytes */{size}"}, b"", faults=faults)
        moved, total, stop = self._other_range(whole, start, stop, size)
        headers = base | {"Content-Range": f"bytes {start + moved}-{stop + moved - 1}/{total}"}
        return _Answer(206, headers, start=start + moved, stop=stop + moved, faults=faults)

    def _other_range(self, whole: _Answer, start: int, stop: int, size: int) -> tuple[int, int | str, int]:
        """How far the range is moved, the size that is told, and where the range ends."""
        moved, total = 0, size
        for fault in whole.faults:
            match fault.kind:
                case "wrong_range":
                    moved = fault.amount
                case "longer":
                    stop = min(stop + fault.amount, size)
                case "shorter":
                    stop = min(stop, start + fault.amount)
                case "size":
                    total = size + fault.amount
                case "unknown_size":
                    return moved, "*", stop
        return moved, total, stop

    def _faulty(self, answer: _Answer, name: str) -> _Answer:
        """What changes the answer's head, or replaces it."""
        status, redirect = answer.fault("status"), answer.fault("redirect")
        if status:
            again = {"Retry-After": status.retry_after} if status.retry_after else {}
            return _Answer(status.status, again, b"not now\n", faults=answer.faults)
        if redirect:
            to = {"Location": redirect.location} if redirect.location else {}
            code = redirect.status if 300 <= redirect.status < 400 else 302
            return _Answer(code, to, b"elsewhere\n", faults=answer.faults)
        if answer.status not in (200, 206):
            return answer
        if answer.fault("no_content_range"):
            answer.headers.pop("Content-Range", None)
        if answer.fault("multipart", "gzip"):
            with (self.server_of_ranges.directory / name).open("rb") as file:
                file.seek(answer.start)
                answer.body = file.read(answer.stop - answer.start)
        if answer.fault("gzip"):
            answer.body = gzip.compress(answer.body or b"")
            answer.headers["Content-Encoding"] = "gzip"
        if answer.fault("multipart"):
            part = f"--cut\r\nContent-Range: {answer.headers.pop('Content-Range', '')}\r\n\r\n".encode()
            answer.body = part + (answer.body or b"") + b"\r\n--cut--\r\n"
            answer.headers["Content-Type"] = "multipart/byteranges; boundary=cut"
        return answer

    def _send(self, answer: _Answer, name: str, logged: Logged) -> None:
        lies = answer.fault("wrong_length")
        chunked = answer.fault("chunked")
        self.send_response_only(answer.status)
        for header, value in answer.headers.items():
            self.send_header(header, value)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(answer.length + (lies.amount if lies else 0)))
        head = b"".join([*self._headers_buffer, b"\r\n"])
        self._headers_buffer = []
        if self.command == "HEAD":
            self._write(head)
            return
        breaks = answer.fault("cut", "stall", "reset_body", "drip")
        if answer.body is None and not breaks and not chunked and not answer.fault("overrun"):
            # The client may look at the log as soon as it has the last byte, so it is counted first.
            logged.sent = answer.length
            if self._write(head, socket.MSG_MORE if answer.length else 0):
                logged.sent = self._send_file(name, answer)
        else:
            self._send_badly(head, answer, name, logged)
        if lies:
            self.close_connection = True

    def _send_file(self, name: str, answer: _Answer) -> int:
        with (self.server_of_ranges.directory / name).open("rb") as file:
            try:
                # Counts from the file's beginning; the position also tells how much a broken one sent.
                return self.connection.sendfile(file, answer.start, answer.length) if answer.length else 0
            except OSError:
                self.close_connection = True
                return max(0, file.tell() - answer.start)

    def _send_badly(self, head: bytes, answer: _Answer, name: str, logged: Logged) -> None:
        body = answer.body
        if body is None:
            with (self.server_of_ranges.directory / name).open("rb") as file:
                file.seek(answer.start)
                body = file.read(answer.length)
        more = answer.fault("overrun", "chunked")
        body += b"\0" * (more.amount if more else 0)
        breaks = answer.fault("cut", "stall", "reset_body", "drip")
        drip = answer.fault("drip")
        cut = min(breaks.after, len(body)) if breaks and not drip else len(body)
        step = drip.after if drip else max(1, cut)
        if not self._write(head):
            return
        for start in range(0, cut, step):
            piece = body[start : min(start + step, cut)]
            logged.sent += len(piece)
            framed = b"%x\r\n%s\r\n" % (len(piece), piece) if answer.fault("chunked") else piece
            if not self._write(framed):
                return
            if drip:
                self.server_of_ranges.ended.wait(drip.seconds)
        if answer.fault("reset_body"):
            self._reset()
        elif answer.fault("stall"):
            self._silence()
        elif answer.fault("cut"):
            self.close_connection = True
        elif answer.fault("chunked"):
            self._write(b"0\r\n\r\n")

    def _write(self, data: bytes, flags: int = 0) -> bool:
        try:
            while data:
                data = data[self.connection.send(data, flags) :]
        except OSError:
            self.close_connection = True
            return False
        return True

    def _silence(self) -> None:
        """Until the client closes the connection or the server ends."""
        self.close_connection = True
        self.connection.settimeout(0.05)
        while not self.server_of_ranges.ended.is_set():
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def _reset(self) -> None:
        """RST: close with a linger time of 0 (POSIX SO_LINGER; Linux sends a reset)."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def parse_range(text: str | None, size: int) -> tuple[int, int] | None:
    """One range as start, stop (equal: not satisfiable); None where the header asks for no single range."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text or "")
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    start = int(first)
    stop = min(int(last) + 1, size) if last else size
    return (start, stop) if start < size else (size, size)

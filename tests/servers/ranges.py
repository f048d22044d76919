"""A loopback server that answers byte ranges of a directory's files, and misbehaves as a test asks.

Belongs here: HTTP/1.1 with keep-alive, the log of what was asked and sent, latency, and the faults of the
wire. Does not belong here: which answer a request gets (`range_answers`). Benchmarks use it too.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from tests.servers.range_answers import Answer, Fault, FaultKind, answer_to

__all__ = ["Fault", "FaultKind", "Logged", "RangeServer"]


SO_MAX_PACING_RATE = 47
"""Linux, asm-generic/socket.h; Python's socket module has no name for it."""


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


class RangeServer:
    """Serves the files of `directory` on a free loopback port, as a context.

    With `bytes_per_s`, each connection is no faster than that and holds no more than is on such a line:
    otherwise the kernel takes megabytes that a client which leaves never reads, and `sent` counts them.
    `log` holds every request in order of arrival, `latency_s` is waited before each answer, `faults` may be
    changed at any time: each one that meets a request strikes. With `tls`, it speaks https. Thread-safe.
    """

    def __init__(
        self,
        directory: Path,
        *,
        latency_s: float = 0.0,
        bytes_per_s: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        self.bytes_per_s = bytes_per_s
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
        if self.tls is not None:
            # The handshake is left to the connection's own thread.
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        # Looks every 10 ms whether to end: most tests are over in less than the default 500.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
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
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/{quote(name)}"

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

    def begin(self, logged: Logged, name: str) -> Sequence[Fault]:
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
        if self.server_of_ranges.bytes_per_s is not None:
            # The buffer holds what would be on the line: a request's latency stands for the round trip. Linux
            # doubles what is asked for (socket(7), SO_SNDBUF).
            line = int(self.server_of_ranges.bytes_per_s * self.server_of_ranges.latency_s)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, max(64 << 10, line // 2))
            self.connection.setsockopt(
                socket.SOL_SOCKET, SO_MAX_PACING_RATE, self.server_of_ranges.bytes_per_s
            )
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
        answer = answer_to(owner.directory, name, logged.range, headers.get("If-Range"), faults)
        logged.status = answer.status
        if answer.fault("reset"):
            self._reset()
        elif answer.fault("silent"):
            self._silence()
        else:
            self._send(answer, name, logged)

    do_HEAD = do_GET

    def _send(self, answer: Answer, name: str, logged: Logged) -> None:
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

    def _send_file(self, name: str, answer: Answer) -> int:
        with (self.server_of_ranges.directory / name).open("rb") as file:
            try:
                # Counts from the file's beginning; the position also tells how much a broken one sent.
                return self.connection.sendfile(file, answer.start, answer.length) if answer.length else 0
            except OSError:
                self.close_connection = True
                return max(0, file.tell() - answer.start)

    def _send_badly(self, head: bytes, answer: Answer, name: str, logged: Logged) -> None:
        body = answer.read(self.server_of_ranges.directory / name)
        more = answer.fault("overrun", "chunked")
        if more:
            body = body + bytes(more.amount) if more.amount >= 0 else body[: more.amount]
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
                sent = self.connection.send(data, 0 if self.server_of_ranges.tls else flags)
                data = data[sent:]
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

"""A proxy on the loopback: it forwards what is asked for by whole URL, and opens tunnels.

Belongs here: that, the log of what it was asked, and refusing. A double of what stands between a company's
machines and the world; it forwards one request per connection.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""


class LoopbackProxy:
    """As a context. With `refusal`, it answers every request with that status; with `authorization`, every
    one without that Proxy-Authorization by 407. With `tls`, it is itself asked over TLS."""

    def __init__(
        self,
        *,
        refusal: int | None = None,
        authorization: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.refusal, self.authorization, self.tls = refusal, authorization, tls
        self.log: list[Asked] = []
        self.heads: list[bytes] = []

    def __enter__(self) -> LoopbackProxy:
        owner = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    owner._serve(self.request)

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Listener(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            # The handshake is left to the connection's own thread.
            self._server.socket = self.tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            more = client.recv(1)
            if not more:
                return
            head += more
        line, *fields = head.decode("latin-1").strip().split("\r\n")
        method, target, _ = line.split(" ")
        headers = {name.lower(): value for name, value in (text.split(": ", 1) for text in fields)}
        self.log.append(Asked(method, target, headers))
        self.heads.append(head)
        status = self.refusal
        if self.authorization is not None and headers.get("proxy-authorization") != self.authorization:
            status = 407
        if status is not None:
            client.sendall(f"HTTP/1.1 {status} Refused\r\nContent-Length: 0\r\n\r\n".encode())
            return
        if method == "CONNECT":
            host, port = target.rsplit(":", 1)
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                _join(client, server)
            return
        url = urlsplit(target)
        kept = [text for text in fields if not text.lower().startswith("proxy-")]
        path = f"{url.path}?{url.query}" if url.query else url.path
        with socket.create_connection((url.hostname, url.port or 80)) as server:
            asked = [f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
            server.sendall("\r\n".join(asked).encode("latin-1"))
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += server.recv(1 << 16)
            client.sendall(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            _pass_on(server, client)


def _join(client: socket.socket, server: socket.socket) -> None:
    other = threading.Thread(target=_pass_on, args=(client, server), daemon=True)
    other.start()
    _pass_on(server, client)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

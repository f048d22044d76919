"""A loopback HTTP server over a folder, with byte ranges: what a browser needs to seek in a video."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

_TYPES = {".webm": "video/webm", ".js": "text/javascript", ".html": "text/html; charset=utf-8"}


class _RangeHandler(http.server.BaseHTTPRequestHandler):
    """GET of whole files and of one range (RFC 9110, section 14)."""

    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, *arguments, **named) -> None:
        self.folder = folder
        super().__init__(*arguments, **named)

    def do_GET(self) -> None:
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = 0, len(data)
        if asked:
            start, stop = int(asked[1]), min(int(asked[2] or len(data)) + 1, len(data))
            if start >= len(data):
                self.send_error(416)
                return
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Content-Type", _TYPES[path.suffix])
        self.send_header("Content-Length", str(stop - start))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # a browser drops ranges it no longer needs
            self.wfile.write(data[start:stop])

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a test's output is its failures."""


@contextlib.contextmanager
def range_server(folder: Path) -> Iterator[str]:
    """Serves `folder` on a free port; gives the server's URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_RangeHandler, folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)

"""Which answer a request for a byte range gets: the right one, and what each fault makes of it.

Belongs here: the faults, and answers as data: status, headers, which bytes. Does not belong here: sockets
(`ranges`).
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
    "chunked",  # by chunks (RFC 9112 §7.1) instead of Content-Length, `amount` bytes more or less than said
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


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes | None = None
    """Bytes to send; None: `start` to `stop` of the file."""
    start: int = 0
    stop: int = 0
    faults: Sequence[Fault] = ()

    @property
    def length(self) -> int:
        return self.stop - self.start if self.body is None else len(self.body)

    def read(self, path: Path) -> bytes:
        """The body's bytes."""
        if self.body is not None:
            return self.body
        with path.open("rb") as file:
            file.seek(self.start)
            return file.read(self.length)

    def fault(self, *kinds: FaultKind) -> Fault | None:
        return next((fault for fault in self.faults if fault.kind in kinds), None)


def answer_to(
    directory: Path, name: str, asked: str | None, if_range: str | None, faults: Sequence[Fault]
) -> Answer:
    """The answer to a GET of `name` with these values of Range and If-Range (RFC 9110 §13.1.5, §14)."""
    path = (directory / name).resolve()
    if not path.is_file() or directory.resolve() not in path.parents:
        return _faulty(Answer(404, {}, b"no such file\n", faults=faults), path)
    found = path.stat()
    size = found.st_size
    etag = f'"{found.st_mtime_ns:x}-{size:x}"'
    for fault in faults:
        etag = fault.etag if fault.kind == "etag" else etag
    headers = {"Accept-Ranges": "bytes", "Content-Type": "video/mp4"} | ({"ETag": etag} if etag else {})
    whole = Answer(200, headers, stop=size, faults=faults)
    return _faulty(_ranged(whole, asked, stale=if_range not in (None, etag), size=size), path)


def _ranged(whole: Answer, asked: str | None, *, stale: bool, size: int) -> Answer:
    """The part of `whole` that is asked for, as far as the faults leave it that."""
    no_suffix = whole.fault("no_suffix")
    if no_suffix and (asked or "").startswith("bytes=-"):
        if no_suffix.status == 200:
            return whole
        tells = {"Content-Range": f"bytes */{size}"} if no_suffix.tells_size else {}
        return Answer(no_suffix.status, tells, b"", faults=whole.faults)
    wanted = parse_range(asked, size)
    if wanted is None or stale or whole.fault("no_ranges"):
        return whole
    start, stop = wanted
    if start >= stop:
        return Answer(416, {"Content-Range": f"bytes */{size}"}, b"", faults=whole.faults)
    moved, total = 0, str(size)
    for fault in whole.faults:
        match fault.kind:
            case "wrong_range":
                moved = fault.amount
            case "longer":
                stop = min(stop + fault.amount, size)
            case "shorter":
                stop = min(stop, start + fault.amount)
            case "size":
                total = str(size + fault.amount)
            case "unknown_size":
                total = "*"
    headers = whole.headers | {"Content-Range": f"bytes {start + moved}-{stop + moved - 1}/{total}"}
    return Answer(206, headers, start=start + moved, stop=stop + moved, faults=whole.faults)


def _faulty(answer: Answer, path: Path) -> Answer:
    """What the faults change about an answer's head, or put in its place."""
    status, redirect = answer.fault("status"), answer.fault("redirect")
    if status:
        again = {"Retry-After": status.retry_after} if status.retry_after else {}
        return Answer(status.status, again, b"not now\n", faults=answer.faults)
    if redirect:
        to = {"Location": redirect.location} if redirect.location else {}
        code = redirect.status if 300 <= redirect.status < 400 else 302
        return Answer(code, to, b"elsewhere\n", faults=answer.faults)
    if answer.status not in (200, 206):
        return answer
    if answer.fault("no_content_range"):
        answer.headers.pop("Content-Range", None)
    if answer.fault("multipart", "gzip"):
        answer.body = answer.read(path)
    if answer.fault("gzip"):
        answer.body = gzip.compress(answer.body or b"")
        answer.headers["Content-Encoding"] = "gzip"
    if answer.fault("multipart"):
        part = f"--cut\r\nContent-Range: {answer.headers.pop('Content-Range', '')}\r\n\r\n".encode()
        answer.body = part + (answer.body or b"") + b"\r\n--cut--\r\n"
        answer.headers["Content-Type"] = "multipart/byteranges; boundary=cut"
    return answer


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

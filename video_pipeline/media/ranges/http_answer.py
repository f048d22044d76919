"""What an HTTP answer to a range request says, and whether that can be true.

Belongs here: reading the headers of RFC 9110 §14 and holding them against what was asked; the errors that
name a server which does otherwise. Does not belong here: sending, receiving, retries.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from video_pipeline.errors import BadInput

Header = Callable[[str], str | None]

_CONTENT_RANGE = re.compile(r"bytes[ \t]+(?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """`bytes start-stop/total` of RFC 9110 §14.4, half-open. None: `*`, the server does not say."""

    start: int | None
    stop: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """What an answer 206 holds: bytes `start` to `stop` (half-open), and the whole file's size if told."""

    start: int
    stop: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Validator:
    """What an answer gives to tell versions of a file apart.

    `strong` is a strong ETag (RFC 9110 §8.8.3), the only one that If-Range and `Identity.tag` take. `etag` is
    the same or a weak one, without its mark; `modified` the date of the last change. Where they differ, so
    does the file; where they agree, only `strong` says that its bytes do.
    """

    etag: str | None = None
    strong: str | None = None
    modified: str | None = None

    @classmethod
    def of(cls, header: Header) -> Validator:
        etag = (header("ETag") or "").strip()
        modified = header("Last-Modified")
        if etag.startswith("W/"):
            return cls(etag[2:], None, modified)
        quoted = len(etag) >= 2 and etag[0] == etag[-1] == '"'
        return cls(etag or None, etag if quoted else None, modified)

    def contradicts(self, other: Validator) -> bool:
        """ETags decide; dates only where one of the two has none."""
        if self.etag is not None and other.etag is not None:
            return self.etag != other.etag
        return None not in (self.modified, other.modified) and self.modified != other.modified

    def __str__(self) -> str:
        return self.etag or self.modified or "unknown"


def parse_content_range(text: str | None) -> ContentRange | None:
    """None where the header is missing or says nothing that is possible."""
    match = _CONTENT_RANGE.fullmatch((text or "").strip())
    if match is None:
        return None
    first, last, total = match.groups()
    start = None if first is None else int(first)
    stop = None if last is None else int(last) + 1
    size = None if total == "*" else int(total)
    if start is not None and stop is not None and (start >= stop or (size is not None and stop > size)):
        return None
    return ContentRange(start, stop, size)


def content_length(header: Header) -> int | None:
    text = (header("Content-Length") or "").strip()
    return int(text) if re.fullmatch(r"\d{1,18}", text) else None


def retry_after(header: Header) -> float:
    """Seconds that the server asks to wait (RFC 9110 §10.2.3: seconds or a date); 0 where it does not."""
    text = (header("Retry-After") or "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def check_plain(header: Header, name: str) -> None:
    """Raises `BadInput` where a body is not the file's own bytes: compressed, or wrapped in parts."""
    encoding = (header("Content-Encoding") or "").strip().lower()
    if encoding not in ("", "identity"):
        raise BadInput(
            f"the server answers with content encoding {encoding!r} although the plain bytes were asked for",
            input=name,
            what_to_do="turn compression off for this file on the server",
        )
    if (header("Content-Type") or "").strip().lower().startswith("multipart/"):
        raise _lies("answers a request for one range with several parts (multipart/byteranges)", name)


def check_partial(header: Header, name: str) -> Part:
    """The range that an answer 206 holds. Raises `BadInput` for one that contradicts itself."""
    check_plain(header, name)
    stated = header("Content-Range")
    found = parse_content_range(stated)
    if found is None or found.start is None or found.stop is None:
        raise _lies(f"does not say which bytes it answers with (Content-Range: {stated})", name)
    length = content_length(header)
    if header("Content-Length") is not None and length != found.stop - found.start:
        raise _lies(
            f"states two lengths for one answer: {found.stop - found.start} bytes in Content-Range, "
            f"{header('Content-Length')} in Content-Length",
            name,
        )
    return Part(found.start, found.stop, found.total)


def other_range(name: str, asked: str, found: Part) -> BadInput:
    return _lies(f"answers with bytes {found.start}-{found.stop - 1} where {asked} was asked for", name)


def refused_range(name: str, asked: str, size: int | None) -> BadInput:
    of_size = "" if size is None else f", which lies within the file's {size} bytes"
    return _lies(f"refuses the range {asked}{of_size}", name)


def unknown_size(name: str) -> BadInput:
    return _lies("does not tell the file's size", name)


def no_ranges(name: str) -> BadInput:
    return BadInput(
        "the server does not answer range requests: it sends the whole file",
        input=name,
        what_to_do="use a server that answers ranges, or download the file and give its path",
    )


def changed_size(name: str, before: int, now: int) -> BadInput:
    return _changed(name, f"{before} bytes long", f"{now} bytes long")


def changed_validator(name: str, before: Validator, now: Validator) -> BadInput:
    return _changed(name, f"version {before}", f"version {now}")


def refused(status: int, name: str) -> BadInput:
    """The error for a status that stays: no such file, no permission, or an answer that makes no sense."""
    if status in (404, 410):
        return BadInput(
            f"there is no such file (the server answers {status})",
            input=name,
            what_to_do="correct the URL",
        )
    if status in (401, 403):
        return BadInput(
            f"the server refuses access to the file (it answers {status})",
            input=name,
            what_to_do="check the URL's credentials; a signed URL may have expired: sign it again",
        )
    if status == 407:
        return kept_out("a proxy on the way", status, name)
    return BadInput(
        f"the server answers {status} to a range request",
        input=name,
        what_to_do="check the URL; a signed URL may have expired: sign it again",
    )


def kept_out(proxy: str, status: int, name: str) -> BadInput:
    """The error for a proxy that lets nobody through, or not this one (RFC 9110 §15.5.8)."""
    if status == 407:
        return BadInput(
            f"{proxy} asks for a user and a password (it answers 407)",
            input=name,
            what_to_do="put them into HTTP_PROXY and HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT",
        )
    return BadInput(
        f"{proxy} refuses the connection (it answers {status})",
        input=name,
        what_to_do="ask whoever runs the proxy, or name the video's host in NO_PROXY",
    )


def passes(status: int) -> bool:
    """Whether another try may fare better: RFC 9110 §15.5.9 and §15.6, RFC 6585 §4, RFC 8470 §5.2."""
    return status in (408, 425, 429) or (status >= 500 and status not in (501, 505))


def _lies(what: str, name: str) -> BadInput:
    return BadInput(
        f"the server {what}",
        input=name,
        what_to_do="use another server, or download the file and give its path",
    )


def _changed(name: str, before: str, now: str) -> BadInput:
    return BadInput(
        f"the file changed while it was being read: it was {before}, now it is {now}",
        input=name,
        what_to_do="run it again once nobody is writing to that file",
    )

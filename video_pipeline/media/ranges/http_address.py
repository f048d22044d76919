"""HTTP addresses: what is asked for, what people read, what tells files apart, and where a redirect leads.

Belongs here: parsing, names without secrets, signing parameters, redirect rules. Does not belong here: any
request. No name, cache key or error message holds a password, a query or a signature.
"""

from __future__ import annotations

import contextlib
import re
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes, urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from video_pipeline.errors import BadInput

DEFAULT_PORTS = {"http": 80, "https": 443}

SIGNING = frozenset(
    [
        # Amazon S3, "Signature Version 2", and CloudFront, "Create a signed URL": canned and custom policies
        *("awsaccesskeyid", "signature", "expires", "policy", "key-pair-id"),
        # Google Cloud Storage, V2 signed URLs, and Akamai tokens
        *("googleaccessid", "hdnea", "hdnts", "hdntl"),
    ]
)
SIGNING_PREFIXES = ("x-amz-", "x-goog-")
"""Signature Version 4 of Amazon S3 and of Google Cloud Storage."""

SAS = frozenset(
    [
        *("sig", "sv", "se", "st", "sp", "sr", "ss", "srt", "sip", "spr", "sdd", "ses"),
        *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid", "scid"),
    ]
)
"""Azure Storage, "Create a service SAS", "account SAS" and "user delegation SAS". Two letters may well mean
something else, so they count as signing only beside `sig`, which every SAS has."""


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """One http(s) URL. `target` is the request's path and query as they go over the wire."""

    scheme: str
    host: str
    port: int
    target: str
    userinfo: str | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        return (self.scheme, self.host, self.port)

    @property
    def host_header(self) -> str:
        """RFC 9110 §7.2: without the port where it is the scheme's own (signatures are made over that)."""
        return self.host if self.port == DEFAULT_PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """With the query, without user and password. For requests, never for messages."""
        return f"{self.scheme}://{self.host_header}{self.target}"

    @property
    def name(self) -> str:
        return self.url.partition("?")[0]

    @property
    def cache_key(self) -> str:
        """The URL without what only signs it; the other parameters stay, in their order."""
        path, _, query = self.url.partition("?")
        parts = [part for part in query.split("&") if part]
        keys = [unquote(part.partition("=")[0]).lower() for part in parts]
        dropped = SIGNING | SAS if "sig" in keys else SIGNING
        kept = [
            part
            for part, key in zip(parts, keys, strict=True)
            if key not in dropped and not key.startswith(SIGNING_PREFIXES)
        ]
        return "?".join([path, "&".join(kept)]) if kept else path

    @property
    def authorization(self) -> str | None:
        """RFC 7617: `user:password` of the URL, as the header that says it."""
        if self.userinfo is None:
            return None
        user, _, password = self.userinfo.partition(":")
        return "Basic " + b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password)).decode()

    def trusts(self, other: HttpAddress) -> bool:
        """Whether `other` may see what this address was given: the same origin, or the same host by https
        instead of http, both on their own ports."""
        upgraded = (self.scheme, self.port, other.scheme, other.port) == ("http", 80, "https", 443)
        return self.origin == other.origin or (upgraded and self.host == other.host)


def parse_http_address(url: str) -> HttpAddress:
    """The address that `url` names. Raises `BadInput` for anything but an http or https URL with a host."""
    try:
        parsed = parse_url(url)
        port = parsed.port
    except (LocationParseError, ValueError):
        parsed = port = None
    if parsed is None or parsed.scheme not in DEFAULT_PORTS or not parsed.host:
        raise BadInput(
            "this is not an http or https URL",
            input=without_secrets(url),
            what_to_do="write it whole, for example https://example.com/video.mp4",
        )
    return HttpAddress(
        scheme=parsed.scheme,
        host=parsed.host,
        port=port or DEFAULT_PORTS[parsed.scheme],
        target=parsed.request_uri,
        userinfo=parsed.auth,
    )


def redirected(address: HttpAddress, location: str | None) -> HttpAddress:
    """Where an answer's `Location` leads (RFC 9110 §10.2.2). User and password in it are dropped.

    Raises `BadInput` where it leads nowhere, out of HTTP, or from https to http.
    """
    if not location:
        raise BadInput(
            "the server redirects without saying where to",
            input=address.name,
            what_to_do="ask its owner, or use the file's final URL",
        )
    with contextlib.suppress(UnicodeError):
        # Headers arrive as Latin-1; servers that put other characters in mean UTF-8.
        location = location.encode("latin-1").decode("utf-8")
    try:
        found = parse_http_address(urljoin(address.url, location))
    except (BadInput, ValueError):
        raise BadInput(
            f"the server redirects to {without_secrets(location)}, which is not an http or https URL",
            input=address.name,
            what_to_do="use the file's final URL",
        ) from None
    if (address.scheme, found.scheme) == ("https", "http"):
        raise BadInput(
            f"the server redirects from https to {found.name}, which others could read and change",
            input=address.name,
            what_to_do="use a server that stays with https, or give the http URL itself if you trust the way",
        )
    return HttpAddress(found.scheme, found.host, found.port, found.target)


def without_secrets(text: str) -> str:
    """Any address, well-formed or not, without user, password, query and fragment."""
    return re.sub(r"(?<=//)[^/?#]*@", "", text.partition("?")[0].partition("#")[0])

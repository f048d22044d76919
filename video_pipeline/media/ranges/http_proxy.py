"""Which proxy a request goes through, as the environment says it.

Belongs here: reading HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, and what a proxy is called without its
password. Does not belong here: connections (`http_pool`).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes
from urllib.request import (
    getproxies_environment,
    proxy_bypass_environment,  # pyright: ignore[reportAttributeAccessIssue] typeshed has it for Windows only
)

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from video_pipeline.errors import BadInput
from video_pipeline.media.ranges.http_address import HttpAddress


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that speaks HTTP, over TLS where `url` begins with https. `headers` hold its password."""

    url: str
    name: str
    """Host and port, for people."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)


class Proxies:
    """The environment's proxies as they are now: `http_proxy`, `https_proxy` and `all_proxy` by the scheme of
    what is asked for, but for hosts in `no_proxy`.

    Names, rules and exceptions are those of `urllib.request`: lower case ranks above upper case, HTTP_PROXY
    is left alone in a CGI script (it may be a request's header there), `no_proxy` lists host names that stand
    for their subdomains too, with or without a port, or is `*`. ALL_PROXY stands in for either, as with curl.
    Nothing is exempt by itself, not even this machine.
    """

    def __init__(self) -> None:
        self._stated = getproxies_environment()

    def of(self, address: HttpAddress) -> Proxy | None:
        """None: ask the server itself. Raises `BadInput` for a proxy that is no HTTP proxy."""
        variable = address.scheme if address.scheme in self._stated else "all"
        stated = self._stated.get(variable)
        if not stated or proxy_bypass_environment(f"{address.host}:{address.port}", self._stated):
            return None
        return _parse(stated, f"{variable}_proxy".upper(), address)


def _parse(stated: str, variable: str, address: HttpAddress) -> Proxy:
    try:
        found = parse_url(stated if "://" in stated else f"http://{stated}")
    except LocationParseError:
        found = None
    if found is None or not found.host or found.scheme not in ("http", "https"):
        kind = f"a {found.scheme} proxy" if found is not None and found.scheme else "no URL of a proxy"
        raise BadInput(
            f"{variable} names {kind}: only HTTP proxies can be used",
            input=address.name,
            what_to_do=f"set {variable} to http://HOST:PORT, or name the video's host in NO_PROXY",
        )
    port = found.port or (443 if found.scheme == "https" else 80)
    headers: dict[str, str] = {}
    if found.auth is not None:
        # RFC 7617, in the header of RFC 9110 §11.7.2.
        user, _, password = found.auth.partition(":")
        pair = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
        headers["Proxy-Authorization"] = "Basic " + b64encode(pair).decode()
    return Proxy(f"{found.scheme}://{found.host}:{port}", f"{found.host}:{port}", headers)

"""The one rule about addresses: loopback, or nothing."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlparse


def check_loopback_host(host: str) -> str:
    """Returns `host` if it is a literal loopback address; names are refused, for they can lead elsewhere."""
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = False
    if not inside:
        raise ValueError(f"{host!r} is not a loopback address: the stand-in is for this machine's tests only")
    return host


def check_loopback_url(url: str) -> str:
    check_loopback_host(urlparse(url).hostname or "")
    return url

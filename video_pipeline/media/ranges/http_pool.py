"""Connections that are kept open, to servers and to the proxies on the way to them.

Belongs here: the pool, how a request reaches its server, and its limits of patience. Does not belong here: a
request (`http_exchange`), which proxy (`http_proxy`), which bytes are asked for (`http`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection

from video_pipeline.media.ranges.http_address import HttpAddress
from video_pipeline.media.ranges.http_proxy import Proxies, Proxy

SLOWEST_BYTES_PER_S = 1024.0
SLOW_AFTER_S = 30.0
"""A body that brings less than this for so long is given up: at 1 KiB/s a GOP of 375 KB would take six
minutes. A modem's 56 kbit/s shared by 7 connections is still faster."""


@dataclass(frozen=True, slots=True)
class Route:
    """How one server is asked. `target` is what stands in the request line for `address.target`: the whole
    URL where a proxy forwards it (RFC 9112 §3.2.2). `headers` are for that proxy."""

    connections: HTTPConnectionPool
    target: str
    headers: Mapping[str, str]
    proxy: Proxy | None


class HttpPool:
    """Kept connections, `connections_per_host` at most to each; a request beyond them waits for one.

    `connect_timeout_s` is for opening a connection, `stall_timeout_s` for the longest silence of a server;
    a body must bring `slowest_bytes_per_s` in each `slow_after_s`. Proxies are those of the environment when
    the pool is made (`http_proxy.Proxies`): http is asked of the proxy itself, whose connections all servers
    behind it share, https through a tunnel that it cannot look into. Safe from any thread. Whoever opens it
    closes it.
    """

    def __init__(
        self,
        *,
        connections_per_host: int = 16,
        connect_timeout_s: float = 5.0,
        stall_timeout_s: float = 10.0,
        slowest_bytes_per_s: float = SLOWEST_BYTES_PER_S,
        slow_after_s: float = SLOW_AFTER_S,
    ) -> None:
        self.stall_timeout_s = stall_timeout_s
        self.slowest_bytes_per_s = slowest_bytes_per_s
        self.slow_after_s = slow_after_s
        self._options: dict[str, Any] = {
            "num_pools": 64,
            "maxsize": connections_per_host,
            "block": True,
            "timeout": Timeout(connect=connect_timeout_s, read=stall_timeout_s),
        }
        self._proxies = Proxies()
        self._managers: dict[Proxy | None, PoolManager] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> HttpPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the idle connections; one in use is closed when its request ends."""
        with self._lock:
            self._closed = True
            for manager in self._managers.values():
                manager.clear()

    def route_to(self, address: HttpAddress) -> Route:
        """Raises `BadInput` where the environment names a proxy that cannot be used."""
        proxy = self._proxies.of(address)
        with self._lock:
            if self._closed:
                raise ValueError("the pool of connections is closed")
            if proxy not in self._managers:
                self._managers[proxy] = self._manager(proxy)
            manager = self._managers[proxy]
        connections = manager.connection_from_host(address.host, address.port, address.scheme)
        if proxy is None or address.scheme == "https":
            return Route(connections, address.target, {}, proxy)
        return Route(connections, address.url, proxy.headers, proxy)

    def _manager(self, proxy: Proxy | None) -> PoolManager:
        if proxy is None:
            manager = PoolManager(**self._options)
        else:
            manager = ProxyManager(proxy.url, proxy_headers=proxy.headers, **self._options)
        manager.pool_classes_by_scheme = {"http": _HttpConnections, "https": _HttpsConnections}
        return manager


class _Asking(threading.local):
    sent: Callable[[HTTPConnection], None] | None = None


asking = _Asking()
"""What this thread wants to be told once a request is sent: urllib3 picks the connection, and says which one
by calling it."""


class _HttpConnection(HTTPConnection):
    def getresponse(self):
        if asking.sent is not None:
            asking.sent(self)
        return super().getresponse()


class _HttpsConnection(HTTPSConnection):
    def getresponse(self):
        if asking.sent is not None:
            asking.sent(self)
        return super().getresponse()


class _HttpConnections(HTTPConnectionPool):
    ConnectionCls = cast(Any, _HttpConnection)


class _HttpsConnections(HTTPSConnectionPool):
    ConnectionCls = cast(Any, _HttpsConnection)

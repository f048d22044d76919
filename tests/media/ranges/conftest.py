"""Fixtures of the tests of range sources: a file of known bytes, and a server that serves it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.servers.ranges import RangeServer
from tests.servers.seaweedfs import seaweedfs
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_pool import HttpPool

__all__ = ["seaweedfs"]

NAME = "street clip.mp4"
CONTENT = random.Random(20).randbytes(300_007)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests behind a proxy has the loopback for himself."""
    for scheme in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{scheme}_proxy", raising=False)
        monkeypatch.delenv(f"{scheme}_proxy".upper(), raising=False)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    served = tmp_path / "served"
    served.mkdir()
    (served / NAME).write_bytes(CONTENT)
    (served / "empty.mp4").write_bytes(b"")
    return served


@pytest.fixture
def server(directory: Path) -> Iterator[RangeServer]:
    with RangeServer(directory) as running:
        yield running


@pytest.fixture
def pool() -> Iterator[HttpPool]:
    with HttpPool() as opened:
        yield opened


@pytest.fixture
def impatient() -> Iterator[HttpPool]:
    """For tests of silence. A healthy answer on a busy machine may take tenths of a second."""
    with HttpPool(stall_timeout_s=1.5) as opened:
        yield opened


@pytest.fixture
def open_http(server: RangeServer, pool: HttpPool) -> Iterator[Callable[..., HttpSource]]:
    """Opens the served file, with short waits between attempts."""
    opened: list[HttpSource] = []

    def open_one(url: str | None = None, **options) -> HttpSource:
        source = HttpSource(url or server.url(NAME), **{"pool": pool, "first_wait_s": 0.01, **options})
        opened.append(source)
        return source

    yield open_one
    for source in opened:
        source.close()


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()

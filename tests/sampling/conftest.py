"""Fixtures of the sampling tests: variants served over HTTP, and a quick way to sample them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.media_factory import MediaFactory
from tests.media.ranges.conftest import no_proxies
from tests.servers.ranges import RangeServer

__all__ = ["no_proxies"]

SERVED = (
    "h264_b",
    "h264_faststart",
    "h264_fragmented",
    "h264_fragmented_mfra",
    "demo_fragmented",
    "corrupt_middle",
)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> MediaFactory:
    """Shared by the workers of a parallel run."""
    return MediaFactory(tmp_path_factory.getbasetemp().parent / "media")


@pytest.fixture
def server(media: MediaFactory) -> Iterator[RangeServer]:
    for name in SERVED:
        media.path(name)
    with RangeServer(media.directory) as running:
        yield running

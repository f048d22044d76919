"""Fixtures of the store's tests: each kind of store, and a prefix of the test's own in it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.s3_proxy import S3Proxy
from tests.servers.seaweedfs import SeaweedFS, seaweedfs
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.store.s3 import S3Store

__all__ = ["seaweedfs"]

OpenStore = Callable[[], ObjectStore]


def s3_store(server: SeaweedFS, **changes: Any) -> S3Store:
    """A store on the server, quick to give up unless told otherwise."""
    bucket = changes.pop("bucket", server.bucket)
    options: dict[str, Any] = {
        "endpoint_url": server.endpoint_url,
        "region": server.region,
        "access_key": server.access_key,
        "secret_key": server.secret_key,
        "attempts": 3,
        "connect_timeout_s": 5.0,
        "read_timeout_s": 60.0,
    }
    return S3Store(bucket, **{**options, **changes})


@pytest.fixture(params=["directory", "s3"])
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens the same store anew, as another process would."""
    if request.param == "directory":
        return lambda: DirectoryStore(tmp_path / "store")
    server: SeaweedFS = request.getfixturevalue("seaweedfs")
    return lambda: s3_store(server)


@pytest.fixture(scope="session")
def shared_s3(seaweedfs: SeaweedFS) -> S3Store:
    """One client for the many tests that need nothing special: making one takes 0.2 s."""
    return s3_store(seaweedfs)


@pytest.fixture
def store(request: pytest.FixtureRequest, open_again: OpenStore) -> ObjectStore:
    if request.node.callspec.params["open_again"] == "s3":
        return request.getfixturevalue("shared_s3")
    return open_again()


@pytest.fixture
def prefix() -> str:
    """Where the test's objects lie: nothing else is under it."""
    return f"tests/{uuid.uuid4().hex}"


@pytest.fixture
def proxy(seaweedfs: SeaweedFS) -> Iterator[S3Proxy]:
    with S3Proxy(
        seaweedfs.endpoint_url,
        access_key=seaweedfs.access_key,
        secret_key=seaweedfs.secret_key,
        region=seaweedfs.region,
    ) as double:
        yield double


@pytest.fixture
def proxied(seaweedfs: SeaweedFS, proxy: S3Proxy) -> S3Store:
    """A store that reaches the server through the double."""
    return s3_store(seaweedfs, endpoint_url=proxy.endpoint_url)

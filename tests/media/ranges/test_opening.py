"""From an address to its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.media.ranges.conftest import CONTENT, NAME
from tests.servers.ranges import RangeServer
from tests.servers.seaweedfs import SeaweedFS
from tests.store.conftest import s3_store
from video_pipeline.errors import BadInput
from video_pipeline.media.ranges.base import RangeSource, Traffic
from video_pipeline.media.ranges.file import FileSource
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_pool import HttpPool
from video_pipeline.media.ranges.opening import open_source
from video_pipeline.media.ranges.store import StoreSource
from video_pipeline.store.directory import DirectoryStore

KEY = "demo/client/videos/street/video.mp4"


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    store = DirectoryStore(tmp_path / "store")
    store.put(KEY, CONTENT)
    return store


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def content(source: RangeSource) -> bytes:
    data = source.read(0, 10**9, purpose="media", traffic=Traffic())
    source.close()
    return data


def test_a_url_is_read_over_http(server: RangeServer, pool: HttpPool) -> None:
    for url in (server.url(NAME), server.url(NAME).replace("http", "HTTP", 1)):
        source = open_source(url, pool=pool)
        assert isinstance(source, HttpSource)
        assert content(source) == CONTENT


def test_a_path_and_a_file_url_are_read_from_disk(pool: HttpPool, here: Path, store: DirectoryStore) -> None:
    path = here / "a file #1?.mp4"
    path.write_bytes(CONTENT)
    (here / "plain.mp4").write_bytes(CONTENT)
    addresses = [str(path), path.as_uri(), f"FILE://localhost{path.as_uri()[7:]}", "plain.mp4", "./plain.mp4"]
    for address in addresses:
        for given in (None, store):
            source = open_source(address, pool=pool, store=given)
            assert isinstance(source, FileSource)
            assert content(source) == CONTENT


def test_a_key_is_read_from_the_store(pool: HttpPool, here: Path, store: DirectoryStore) -> None:
    source = open_source(KEY, pool=pool, store=store)
    assert isinstance(source, StoreSource)
    assert source.name == f"{store.uri}/{KEY}"
    traffic = Traffic()
    assert source.read(0, 10, purpose="index", traffic=traffic) == CONTENT[:10]
    # The look that found the object is accounted for too.
    assert [(record.start, record.stop) for record in traffic.requests] == [(0, 0), (0, 10)]


def test_the_same_file_by_key_and_by_path_is_no_question(
    pool: HttpPool, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.uri)
    assert isinstance(open_source(KEY, pool=pool, store=store), StoreSource)
    assert content(open_source(store.presign(KEY), pool=pool)) == CONTENT


def test_an_address_that_is_both_an_object_and_another_file_is_refused(
    pool: HttpPool, here: Path, store: DirectoryStore
) -> None:
    store.put("both.mp4", CONTENT)
    (here / "both.mp4").write_bytes(b"other")
    with pytest.raises(BadInput, match="both an object") as caught:
        open_source("both.mp4", pool=pool, store=store)
    assert caught.value.what_to_do is not None
    assert "./both.mp4" in caught.value.what_to_do
    assert content(open_source("./both.mp4", pool=pool, store=store)) == b"other"


def test_only_the_configured_bucket_is_read(pool: HttpPool, store: DirectoryStore) -> None:
    for given in (None, store):
        with pytest.raises(BadInput, match="only the bucket of the configured store") as caught:
            open_source("s3://elsewhere/video.mp4", pool=pool, store=given)
        assert caught.value.input == "s3://elsewhere/video.mp4"


def test_an_object_of_the_configured_bucket_is_read(pool: HttpPool, seaweedfs: SeaweedFS) -> None:
    store = s3_store(seaweedfs)
    store.put(KEY, CONTENT)
    assert content(open_source(f"{store.uri}/{KEY}", pool=pool, store=store)) == CONTENT
    assert content(open_source(KEY, pool=pool, store=store)) == CONTENT
    signed = open_source(store.presign(KEY), pool=pool)
    assert isinstance(signed, HttpSource)
    assert "?" not in signed.cache_key
    assert signed.read_tail(10, purpose="index", traffic=Traffic())[1] == CONTENT[-10:]
    assert signed.identity is not None
    assert signed.identity.tag is not None
    assert content(signed) == CONTENT
    with pytest.raises(BadInput, match="no such object"):
        content(open_source(f"{store.uri}/none.mp4", pool=pool, store=store))
    with pytest.raises(BadInput, match="only the bucket"):
        open_source(f"{store.uri}-2/{KEY}", pool=pool, store=store)
    with pytest.raises(BadInput, match="not a clean object key"):
        open_source(f"{store.uri}/", pool=pool, store=store)


@pytest.mark.parametrize(
    ("address", "match"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("a\0b", "null character"),
        ("ftp://ann:secret@example.com/a.mp4", "ftp://"),
        ("rtsp://example.com/live", "rtsp://"),
        ("gs://bucket/key", "gs://"),
        ("http://", "not an http or https URL"),
        ("file://server/share/a.mp4", "file URL"),
        ("file:///a.mp4?x=1", "file URL"),
        ("nothing-of-the-kind.mp4", "neither such an object"),
        ("a//b.mp4", "neither such an object"),
        ("/nothing/of/the/kind.mp4", "no such file"),
        ("data:video/mp4;base64,AAAA", "neither such an object"),
        ("/", "not a regular file"),
    ],
)
def test_everything_else_is_refused_by_name(
    pool: HttpPool, here: Path, store: DirectoryStore, address: str, match: str
) -> None:
    with pytest.raises(BadInput, match=match) as caught:
        open_source(address, pool=pool, store=store)
    assert caught.value.input
    assert caught.value.what_to_do
    assert "secret" not in str(caught.value)


def test_a_directory_and_an_unreadable_path_are_refused_without_a_store(pool: HttpPool, here: Path) -> None:
    (here / "file.mp4").write_bytes(b"")
    for address, match in [
        (".", "not a regular file"),
        ("none.mp4", "no such file"),
        ("file.mp4/a", "no such"),
    ]:
        with pytest.raises(BadInput, match=match):
            open_source(address, pool=pool)

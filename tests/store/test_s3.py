"""What only a bucket has to get right: parts, signatures, and a server or network that fails."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers.s3_proxy import CONDITIONS, S3Proxy, Seen
from tests.servers.seaweedfs import SeaweedFS, free_ports
from tests.store.conftest import s3_store
from video_pipeline.errors import BadInput, Transient
from video_pipeline.store.base import PreconditionFailed
from video_pipeline.store.s3 import S3Store

MIB = 1024 * 1024
PART = 5 * MIB
"""The smallest part that S3 takes (except the last)."""


@pytest.fixture(scope="session")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 MiB: two parts and a smaller one."""
    path = tmp_path_factory.mktemp("big") / "big.bin"
    path.write_bytes(os.urandom(12 * MIB))
    return path


@pytest.fixture
def in_parts(seaweedfs: SeaweedFS) -> S3Store:
    return s3_store(seaweedfs, part_bytes=PART)


@pytest.fixture
def in_parts_proxied(seaweedfs: SeaweedFS, proxy: S3Proxy) -> S3Store:
    return s3_store(seaweedfs, endpoint_url=proxy.endpoint_url, part_bytes=PART)


def _open_uploads(server: SeaweedFS, prefix: str) -> int:
    answer = server.client().list_multipart_uploads(Bucket=server.bucket, Prefix=prefix)
    return len(answer.get("Uploads", []))


def test_a_large_file_goes_in_parts(
    in_parts: S3Store, seaweedfs: SeaweedFS, prefix: str, big_file: Path
) -> None:
    content = big_file.read_bytes()
    info = in_parts.put(f"{prefix}/big", big_file, content_type="video/mp4", if_none_match=True)

    answer = seaweedfs.client().head_object(Bucket=seaweedfs.bucket, Key=f"{prefix}/big")
    assert info.etag.endswith('-3"')
    assert info.etag == answer["ETag"]
    assert info.size == answer["ContentLength"] == len(content)
    assert answer["ContentType"] == "video/mp4"
    assert answer["Metadata"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert in_parts.get(f"{prefix}/big") == content
    assert in_parts.get_range(f"{prefix}/big", PART - 3, PART + 3) == content[PART - 3 : PART + 3]
    assert _open_uploads(seaweedfs, prefix) == 0


def test_large_bytes_go_in_parts_too(in_parts: S3Store, prefix: str, big_file: Path) -> None:
    info = in_parts.put(f"{prefix}/big", big_file.read_bytes())

    assert info.etag.endswith('-3"')
    assert in_parts.get(f"{prefix}/big") == big_file.read_bytes()


def test_parts_of_something_else_than_stated_leave_nothing(
    in_parts: S3Store, seaweedfs: SeaweedFS, prefix: str, big_file: Path
) -> None:
    with pytest.raises(BadInput, match="SHA-256"):
        in_parts.put(f"{prefix}/big", big_file, sha256="0" * 64)

    assert in_parts.head(f"{prefix}/big") is None
    assert _open_uploads(seaweedfs, prefix) == 0


def test_a_file_that_changes_while_it_goes_leaves_nothing(
    in_parts_proxied: S3Store, proxy: S3Proxy, seaweedfs: SeaweedFS, prefix: str, tmp_path: Path
) -> None:
    file = tmp_path / "changing"
    file.write_bytes(bytes(32 * MIB))

    def change(seen: Seen) -> None:
        if "partNumber=1" in seen.path:
            with file.open("r+b") as opened:
                opened.seek(31 * MIB)
                opened.write(b"changed")

    proxy.before = change
    with pytest.raises(BadInput, match="SHA-256"):
        in_parts_proxied.put(f"{prefix}/big", file)

    assert in_parts_proxied.head(f"{prefix}/big") is None
    assert _open_uploads(seaweedfs, prefix) == 0


def test_a_large_create_of_what_exists_sends_nothing(
    in_parts_proxied: S3Store, proxy: S3Proxy, prefix: str, big_file: Path
) -> None:
    info = in_parts_proxied.put(f"{prefix}/big", b"first")
    before = proxy.count("PUT")

    with pytest.raises(PreconditionFailed):
        in_parts_proxied.put(f"{prefix}/big", big_file, if_none_match=True)
    with pytest.raises(PreconditionFailed):
        in_parts_proxied.put(f"{prefix}/big", big_file, if_match='"other"')
    assert proxy.count("PUT") == before

    in_parts_proxied.put(f"{prefix}/big", big_file, if_match=info.etag)
    assert in_parts_proxied.get(f"{prefix}/big") == big_file.read_bytes()


def test_an_object_made_during_a_large_create_is_kept(
    in_parts_proxied: S3Store, proxy: S3Proxy, seaweedfs: SeaweedFS, prefix: str, big_file: Path
) -> None:
    other = seaweedfs.client()

    def overtake(seen: Seen) -> None:
        if seen.method == "POST" and "uploadId=" in seen.path:
            other.put_object(Bucket=seaweedfs.bucket, Key=f"{prefix}/big", Body=b"overtaken")

    proxy.before = overtake
    with pytest.raises(PreconditionFailed):
        in_parts_proxied.put(f"{prefix}/big", big_file, if_none_match=True)

    assert in_parts_proxied.get(f"{prefix}/big") == b"overtaken"
    assert _open_uploads(seaweedfs, prefix) == 0


def test_a_part_that_fails_leaves_no_upload(
    in_parts_proxied: S3Store, proxy: S3Proxy, seaweedfs: SeaweedFS, prefix: str, big_file: Path
) -> None:
    proxy.faults.method, proxy.faults.fail = "PUT", 1000
    with pytest.raises(Transient, match="503"):
        in_parts_proxied.put(f"{prefix}/big", big_file)

    assert in_parts_proxied.head(f"{prefix}/big") is None
    assert _open_uploads(seaweedfs, prefix) == 0


def test_passing_failures_are_retried(
    in_parts_proxied: S3Store, proxy: S3Proxy, prefix: str, big_file: Path
) -> None:
    proxy.faults.fail = 1
    in_parts_proxied.put(f"{prefix}/small", b"x")
    proxy.faults.method, proxy.faults.lose_answers = "PUT", 2
    in_parts_proxied.put(f"{prefix}/big", big_file)

    assert in_parts_proxied.get(f"{prefix}/small") == b"x"
    assert in_parts_proxied.get(f"{prefix}/big") == big_file.read_bytes()


def test_a_create_whose_answer_was_lost_is_not_lost_to_itself(
    proxied: S3Store, proxy: S3Proxy, prefix: str
) -> None:
    proxy.faults.method, proxy.faults.lose_answers = "PUT", 1
    created = proxied.put(f"{prefix}/a", b"mine", if_none_match=True)
    proxy.faults.lose_answers = 1
    swapped = proxied.put(f"{prefix}/a", b"mine again", if_match=created.etag)

    assert proxy.count("PUT") == 4
    assert proxied.get(f"{prefix}/a") == b"mine again"
    assert proxied.head(f"{prefix}/a") == swapped

    proxy.faults.lose_answers = 1
    with pytest.raises(PreconditionFailed):
        proxied.put(f"{prefix}/a", b"mine again", if_none_match=True)


def test_a_large_create_whose_answer_was_lost_is_not_lost_to_itself(
    in_parts_proxied: S3Store, proxy: S3Proxy, prefix: str, big_file: Path
) -> None:
    def lose_the_completion(seen: Seen) -> None:
        if seen.method == "POST" and "uploadId=" in seen.path:
            proxy.before = None
            proxy.faults.method, proxy.faults.lose_answers = "POST", 1

    proxy.before = lose_the_completion
    in_parts_proxied.put(f"{prefix}/big", big_file, if_none_match=True)

    assert in_parts_proxied.get(f"{prefix}/big") == big_file.read_bytes()


def test_a_presigned_link_works_and_expires(shared_s3: S3Store, prefix: str) -> None:
    shared_s3.put(f"{prefix}/a", b"content")

    with urllib.request.urlopen(shared_s3.presign(f"{prefix}/a", expires_s=60)) as answer:
        assert answer.read() == b"content"
    # Signatures tell the time in seconds: this one may have expired before it is used.
    url = shared_s3.presign(f"{prefix}/a", expires_s=1)
    time.sleep(2.1)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(url)


@pytest.mark.parametrize("expires_s", [0, -1, 604_801])
def test_a_link_cannot_last_for_ever(shared_s3: S3Store, expires_s: int) -> None:
    with pytest.raises(BadInput, match="7 days"):
        shared_s3.presign("demo/a", expires_s=expires_s)


def test_wrong_credentials_are_named_and_never_shown(seaweedfs: SeaweedFS, prefix: str) -> None:
    secret = uuid.uuid4().hex
    wrong = [
        s3_store(seaweedfs, access_key="NOBODY", secret_key=secret),
        s3_store(seaweedfs, secret_key=secret),
    ]
    for store in wrong:
        calls = [
            lambda store=store: store.head(f"{prefix}/a"),
            lambda store=store: store.get(f"{prefix}/a"),
            lambda store=store: store.put(f"{prefix}/a", b"x"),
            lambda store=store: store.delete(f"{prefix}/a"),
            lambda store=store: list(store.list(prefix)),
        ]
        for call in calls:
            with pytest.raises(BadInput) as caught:
                call()
            text = str(caught.value)
            assert seaweedfs.endpoint_url in text
            assert "s3://videos" in text
            assert "WASABI_ACCESS_KEY_READWRITE" in text
            assert "WASABI_SECRET_KEY_READWRITE" in text
            assert secret not in text
            assert seaweedfs.secret_key not in text


def test_credentials_that_may_only_read_are_told_so(
    seaweedfs: SeaweedFS, shared_s3: S3Store, prefix: str
) -> None:
    shared_s3.put(f"{prefix}/a", b"content")
    reader = s3_store(seaweedfs, access_key=seaweedfs.reader_key, secret_key=seaweedfs.reader_secret)

    assert reader.get(f"{prefix}/a") == b"content"
    assert [info.key for info in reader.list(prefix)] == [f"{prefix}/a"]
    with pytest.raises(BadInput, match="read and write this bucket"):
        reader.put(f"{prefix}/a", b"x")
    assert shared_s3.get(f"{prefix}/a") == b"content"


def test_missing_credentials_are_told(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))

    store = s3_store(seaweedfs, access_key=None, secret_key=None)
    with pytest.raises(BadInput, match="WASABI_ACCESS_KEY_READWRITE"):
        store.head("demo/a")
    with pytest.raises(BadInput, match="WASABI_ACCESS_KEY_READWRITE"):
        store.presign("demo/a")


def test_a_missing_bucket_is_named(seaweedfs: SeaweedFS) -> None:
    store = s3_store(seaweedfs, bucket="no-such-bucket")

    for call in (store.head, store.get, store.open_reader):
        with pytest.raises(BadInput, match=r"bucket.*no-such-bucket.*VIDEO_PIPELINE_STORE"):
            call("demo/a")


def test_a_server_that_is_away_is_transient(seaweedfs: SeaweedFS, prefix: str) -> None:
    (port,) = free_ports(1)
    store = s3_store(seaweedfs, endpoint_url=f"http://127.0.0.1:{port}", attempts=2)

    for call in (store.head, store.get, lambda key: store.put(key, b"x"), lambda key: list(store.list(key))):
        with pytest.raises(Transient, match=f"127.0.0.1:{port}"):
            call(prefix)


def test_a_server_that_goes_on_failing_is_transient(proxied: S3Store, proxy: S3Proxy, prefix: str) -> None:
    proxy.faults.fail = 1000
    for call in (proxied.head, proxied.get, proxied.delete):
        with pytest.raises(Transient, match="503"):
            call(f"{prefix}/a")


def test_a_body_that_breaks_off_is_resumed(proxied: S3Store, proxy: S3Proxy, prefix: str) -> None:
    content = os.urandom(MIB)
    info = proxied.put(f"{prefix}/a", content)
    for read in (
        lambda: proxied.get(f"{prefix}/a"),
        lambda: proxied.get_range(f"{prefix}/a", 0, MIB),
        lambda: proxied.get_range(f"{prefix}/a", 0, 2 * MIB, version=info.version),
        lambda: proxied.open_reader(f"{prefix}/a").read(),
    ):
        proxy.faults.method, proxy.faults.cut_after, proxy.faults.cut_bodies = "GET", 100_000, 2
        before = proxy.count("GET")
        assert read() == content
        assert proxy.count("GET") >= before + 3
        assert proxy.faults.cut_bodies == 0


def test_a_body_that_always_breaks_off_is_transient(
    proxied: S3Store, proxy: S3Proxy, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.store.s3_download.BODY_FAILURES", 3)
    proxied.put(f"{prefix}/a", os.urandom(MIB))
    proxy.faults.method, proxy.faults.cut_after, proxy.faults.cut_bodies = "GET", 0, 1000

    with pytest.raises(Transient, match="cannot be reached"):
        proxied.get(f"{prefix}/a")


def test_an_object_replaced_between_break_and_resumption(
    proxied: S3Store, proxy: S3Proxy, shared_s3: S3Store, prefix: str
) -> None:
    """A pinned read refuses; an unpinned one gives the new content whole. Never half of each."""
    old, new = os.urandom(MIB), os.urandom(MIB)

    def replace_before_the_second_get(seen: Seen) -> None:
        if seen.method == "GET" and gets.pop() == "second":
            shared_s3.put(f"{prefix}/a", new)

    info = proxied.put(f"{prefix}/a", old)
    proxy.faults.method, proxy.faults.cut_after = "GET", 100_000
    proxy.before = replace_before_the_second_get

    gets = ["…", "…", "second", "first"]
    proxy.faults.cut_bodies = 1
    assert proxied.get(f"{prefix}/a") == new

    proxied.put(f"{prefix}/a", old)
    gets = ["second", "first"]
    proxy.faults.cut_bodies = 1
    with pytest.raises(BadInput, match="replaced"):
        proxied.get_range(f"{prefix}/a", 0, MIB, version=info.version)


@pytest.mark.parametrize("ignored", [CONDITIONS, CONDITIONS[:1], CONDITIONS[1:]])
def test_a_server_without_conditional_writes_is_found_and_named(
    proxied: S3Store, proxy: S3Proxy, caplog: pytest.LogCaptureFixture, ignored: Sequence[str]
) -> None:
    proxy.faults.ignore_conditions = ignored

    with caplog.at_level(logging.WARNING):
        assert proxied.conditional_writes() is False
    puts = proxy.count("PUT")
    assert proxied.conditional_writes() is False

    assert proxy.count("PUT") == puts, "the probe runs once per process"
    assert proxy.endpoint_url in caplog.text
    assert "one place only" in caplog.text
    assert list(proxied.list("system/server/probes/")) == []


def test_a_replacement_is_noticed_without_the_servers_help(
    proxied: S3Store, proxy: S3Proxy, prefix: str
) -> None:
    proxy.faults.ignore_conditions = CONDITIONS
    old = proxied.put(f"{prefix}/a", bytes(MIB))

    with proxied.open_reader(f"{prefix}/a") as reader:
        reader.read(10)
        proxied.put(f"{prefix}/a", bytes([1]) * MIB)
        reader.seek(900_000)
        with pytest.raises(BadInput, match="replaced"):
            reader.read(10)
    with pytest.raises(BadInput, match="replaced"):
        proxied.get_range(f"{prefix}/a", 0, 10, version=old.version)


@pytest.mark.parametrize("size", ["small", "in parts"])
def test_content_damaged_on_its_way_is_noticed(
    in_parts_proxied: S3Store, proxy: S3Proxy, prefix: str, big_file: Path, size: str
) -> None:
    proxy.faults.method, proxy.faults.damage = "PUT", 1
    data = b"content" if size == "small" else big_file

    with pytest.raises(Transient, match="stored something else"):
        in_parts_proxied.put(f"{prefix}/a", data)
    in_parts_proxied.put(f"{prefix}/a", data)


def test_etags_that_are_no_checksum_are_no_damage(proxied: S3Store, proxy: S3Proxy, prefix: str) -> None:
    proxy.faults.ignore_conditions = CONDITIONS
    for number, change in enumerate((lambda etag: f'"opaque-{etag[1:]}', lambda etag: f'"{etag[-2:0:-1]}"')):
        proxy.faults.foreign_etags = change
        info = proxied.put(f"{prefix}/{number}", b"content")

        head = proxied.head(f"{prefix}/{number}")
        assert head is not None
        assert (head.version, head.size) == (info.version, 7)
        assert proxied.get(f"{prefix}/{number}") == b"content"


def test_damaged_content_is_not_returned(shared_s3: S3Store, seaweedfs: SeaweedFS, prefix: str) -> None:
    shared_s3.put(f"{prefix}/a", b"content")
    metadata = seaweedfs.client().head_object(Bucket=seaweedfs.bucket, Key=f"{prefix}/a")["Metadata"]
    seaweedfs.client().put_object(
        Bucket=seaweedfs.bucket, Key=f"{prefix}/a", Body=b"damaged", Metadata=metadata
    )

    with pytest.raises(BadInput, match="SHA-256"):
        shared_s3.get(f"{prefix}/a")


def test_an_object_of_another_tool_is_readable(shared_s3: S3Store, seaweedfs: SeaweedFS, prefix: str) -> None:
    client = seaweedfs.client()
    client.put_object(Bucket=seaweedfs.bucket, Key=f"{prefix}/a", Body=b"plain")
    client.put_object(Bucket=seaweedfs.bucket, Key=f"{prefix}/folder/", Body=b"")

    assert shared_s3.get(f"{prefix}/a") == b"plain"
    assert [info.key for info in shared_s3.list(prefix)] == [f"{prefix}/a"]


@pytest.fixture(scope="session")
def versioned(seaweedfs: SeaweedFS) -> S3Store:
    client = seaweedfs.client()
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    return s3_store(seaweedfs, bucket="versioned")


def test_a_versioned_bucket_tells_its_versions(versioned: S3Store, prefix: str) -> None:
    first = versioned.put(f"{prefix}/a", b"same")
    second = versioned.put(f"{prefix}/a", b"same")
    versioned.put(f"{prefix}/b", b"x")
    versioned.delete(f"{prefix}/b")

    assert first.etag == second.etag
    assert first.version != second.version
    head = versioned.head(f"{prefix}/a")
    assert head is not None
    assert head.version == second.version
    assert [info.version for info in versioned.list(prefix)] == [second.version]
    assert versioned.head(f"{prefix}/b") is None


def test_a_versioned_bucket_goes_on_with_the_old_version(versioned: S3Store, prefix: str) -> None:
    old = os.urandom(MIB)
    info = versioned.put(f"{prefix}/a", old)

    with versioned.open_reader(f"{prefix}/a") as reader:
        assert reader.read(10) == old[:10]
        versioned.put(f"{prefix}/a", bytes(MIB))
        assert reader.read() == old[10:]
    assert versioned.get_range(f"{prefix}/a", 5, 9, version=info.version) == old[5:9]


@pytest.fixture
def slow_reading(proxied: S3Store, proxy: S3Proxy) -> Iterator[S3Store]:
    proxy.faults.body_delay_s = 0.02
    yield proxied
    proxy.faults.body_delay_s = 0.0


def test_sequential_reading_takes_few_requests_and_each_byte_once(
    proxied: S3Store, proxy: S3Proxy, prefix: str, big_file: Path
) -> None:
    content = big_file.read_bytes()
    proxied.put(f"{prefix}/big", big_file)
    before = proxy.count("GET")

    with proxied.open_reader(f"{prefix}/big") as reader:
        parts = list(iter(lambda: reader.read(32768), b""))
        assert b"".join(parts) == content
        # 0.25, 1, 2, 4, and the rest
        assert reader.requests == proxy.count("GET") - before == 5
        assert reader.bytes_fetched == len(content)


def test_a_jump_fetches_little(proxied: S3Store, prefix: str, big_file: Path) -> None:
    content = big_file.read_bytes()
    proxied.put(f"{prefix}/big", big_file)

    with proxied.open_reader(f"{prefix}/big") as reader:
        for position in (0, 11 * MIB, 6 * MIB, 100, 11 * MIB + 100):
            reader.seek(position)
            assert reader.read(1000) == content[position : position + 1000]
        assert reader.requests == 3
        assert reader.bytes_fetched == 3 * 256 * 1024


def test_two_interleaved_tracks_are_both_read_ahead(proxied: S3Store, prefix: str, big_file: Path) -> None:
    """As in an MP4 whose sound lies apart from its pictures."""
    content = big_file.read_bytes()
    proxied.put(f"{prefix}/big", big_file)

    with proxied.open_reader(f"{prefix}/big") as reader:
        for step in range(0, 6 * MIB, 50_000):
            for position in (step, 6 * MIB + step):
                reader.seek(position)
                assert reader.read(50_000) == content[position : position + 50_000]
        assert reader.requests <= 10
        assert reader.bytes_fetched == len(content)


def test_closing_a_reader_is_prompt_and_leaves_no_thread(
    slow_reading: S3Store, shared_s3: S3Store, prefix: str, big_file: Path
) -> None:
    shared_s3.put(f"{prefix}/big", big_file)
    reader = slow_reading.open_reader(f"{prefix}/big")
    reader.read(2 * MIB)
    assert [thread for thread in threading.enumerate() if thread.name == "store-read-ahead"]

    started = time.monotonic()
    reader.close()
    assert time.monotonic() - started < 10
    assert not [thread for thread in threading.enumerate() if thread.name == "store-read-ahead"]


@pytest.mark.slow
def test_a_listing_of_many_objects_comes_in_pages(proxied: S3Store, proxy: S3Proxy, prefix: str) -> None:
    keys = [f"{prefix}/{number:04d}" for number in range(2100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: proxied.put(key, b"x"), keys))

    before = proxy.count("GET")
    listing = proxied.list(prefix + "/")
    assert next(listing).key == keys[0]
    assert proxy.count("GET") <= before + 2, "the versioning question and the first page"
    assert [info.key for info in listing] == keys[1:]
    assert proxy.count("GET") <= before + 4


@pytest.mark.slow
def test_an_upload_outlives_a_killed_server(tmp_path: Path) -> None:
    file = tmp_path / "big"
    file.write_bytes(os.urandom(60 * MIB))
    with SeaweedFS(tmp_path / "server") as server:
        proxy = S3Proxy(
            server.endpoint_url,
            access_key=server.access_key,
            secret_key=server.secret_key,
            region=server.region,
        )
        with proxy:
            store = s3_store(server, endpoint_url=proxy.endpoint_url, part_bytes=PART, attempts=8)
            arrived = threading.Event()
            proxy.before = lambda seen: arrived.set() if "partNumber=6" in seen.path else None
            failures: list[BaseException] = []

            def upload() -> None:
                try:
                    store.put("demo/big", file, if_none_match=True)
                except BaseException as error:
                    failures.append(error)

            thread = threading.Thread(target=upload)
            thread.start()
            assert arrived.wait(120)
            server.restart()
            thread.join(240)

            # Killed at the wrong moment the server may have lost a part it had confirmed. Then the upload
            # fails, and says so; it never stands there damaged.
            if failures:
                assert isinstance(failures[0], Transient), failures
                assert store.head("demo/big") is None
                store.put("demo/big", file, if_none_match=True)
            assert store.get("demo/big") == file.read_bytes()
            assert _open_uploads(server, "demo/") == 0

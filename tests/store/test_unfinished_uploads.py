"""Uploads that never ended: seen, told from those that go on, and taken away."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.servers.seaweedfs import SeaweedFS
from tests.store.conftest import s3_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.store.s3 import S3Store

MIB = 1024 * 1024


def begin(store: S3Store, bucket: str, key: str, parts: list[bytes]) -> str:
    """A multipart upload whose sender was killed after these parts."""
    client = store._client
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    for number, part in enumerate(parts, 1):
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part)
    return upload


def leave(root: Path, name: str, content: bytes) -> Path:
    path = root / ".store" / "tmp" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_an_upload_that_was_never_completed_is_listed_with_what_arrived_of_it(
    seaweedfs: SeaweedFS, shared_s3: S3Store, prefix: str
) -> None:
    upload = begin(shared_s3, seaweedfs.bucket, f"{prefix}/a/film.mp4", [b"1" * 5 * MIB, b"2" * 5 * MIB])
    begin(shared_s3, seaweedfs.bucket, f"{prefix}/b/nothing.mp4", [])
    shared_s3.put(f"{prefix}/a/whole.mp4", b"whole")

    found = {item.key: item for item in shared_s3.unfinished_uploads(f"{prefix}/")}

    assert set(found) == {f"{prefix}/a/film.mp4", f"{prefix}/b/nothing.mp4"}
    film = found[f"{prefix}/a/film.mp4"]
    assert (film.id, film.bytes) == (upload, 10 * MIB)
    assert abs(film.since - datetime.now(UTC)) < timedelta(minutes=1)
    assert [item.key for item in shared_s3.unfinished_uploads(f"{prefix}/a/")] == [f"{prefix}/a/film.mp4"]


def test_an_aborted_upload_is_gone_and_cannot_be_completed(
    seaweedfs: SeaweedFS, shared_s3: S3Store, prefix: str
) -> None:
    key = f"{prefix}/film.mp4"
    begin(shared_s3, seaweedfs.bucket, key, [b"1" * 5 * MIB])
    (upload,) = shared_s3.unfinished_uploads(f"{prefix}/")

    assert shared_s3.discard_upload(upload)

    assert list(shared_s3.unfinished_uploads(f"{prefix}/")) == []
    with pytest.raises(shared_s3._client.exceptions.ClientError):
        shared_s3._client.upload_part(
            Bucket=seaweedfs.bucket, Key=key, UploadId=upload.id, PartNumber=2, Body=b"2" * 5 * MIB
        )


def test_a_completed_upload_is_no_unfinished_one(seaweedfs: SeaweedFS, prefix: str) -> None:
    store = s3_store(seaweedfs, part_bytes=5 * MIB)
    store.put(f"{prefix}/film.mp4", b"x" * 11 * MIB)

    assert list(store.unfinished_uploads(f"{prefix}/")) == []


def test_a_temporary_file_is_left_alone_while_its_writer_lives(tmp_path: Path) -> None:
    path = leave(tmp_path, "a", b"half")
    store = DirectoryStore(tmp_path)
    (upload,) = store.unfinished_uploads("")
    assert (upload.key, upload.bytes) == (None, 4)

    writer = os.open(path, os.O_RDWR)
    fcntl.flock(writer, fcntl.LOCK_EX)
    assert not store.discard_upload(upload)
    assert path.exists()
    os.close(writer)

    assert store.discard_upload(upload)
    assert not path.exists()
    assert not store.discard_upload(upload)


def test_temporary_files_belong_to_no_prefix(tmp_path: Path) -> None:
    leave(tmp_path, "a", b"half")
    store: ObjectStore = DirectoryStore(tmp_path)

    assert list(store.unfinished_uploads("demo/")) == []

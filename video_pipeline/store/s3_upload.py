"""Uploading content to S3: in one request, or in parts that are read once and sent several at a time.

Belongs here: how bytes get to the server and how what arrived is checked against what was read. Does not
belong here: keys, errors' meaning, or what happens after a refused condition (`s3`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from video_pipeline.store.base import UnfinishedUpload

log = logging.getLogger(__name__)

MIB = 1024 * 1024
PART_BYTES = 16 * MIB
"""Content up to this size goes in one request; larger content in parts of it."""

PARTS_IN_FLIGHT = 4
"""Four parts of 16 MiB: 64 MiB of memory and four connections for an upload of any length."""

MAX_PARTS = 10_000
"""Amazon S3 User Guide, "Amazon S3 multipart upload limits"."""


class ContentChanged(Exception):
    """What was read has another SHA-256 than was stated or first measured. Args: expected, actual."""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What the server answered, and the ETag that intact content has on a server with plain ETags.

    Plain: MD5 in hex; for parts, MD5 of the parts' binary MD5s, `-` and their number.
    """

    response: dict[str, Any]
    plain_etag: str


def size_of(data: bytes | Path) -> int:
    return data.stat().st_size if isinstance(data, Path) else len(data)


def sha256_of(data: bytes | Path) -> str:
    if isinstance(data, Path):
        with data.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(data).hexdigest()


def put_whole(
    client: Any, body: bytes, *, target: dict[str, Any], details: dict[str, Any], conditions: dict[str, str]
) -> Uploaded:
    response = client.put_object(Body=body, **target, **details, **conditions)
    return Uploaded(response, _md5(body).hexdigest())


def put_parts(
    client: Any,
    data: bytes | Path,
    *,
    target: dict[str, Any],
    details: dict[str, Any],
    conditions: dict[str, str],
    sha256: str,
    part_bytes: int = PART_BYTES,
    parts_in_flight: int = PARTS_IN_FLIGHT,
) -> Uploaded:
    """A multipart upload. Reads `data` once, in order, hashing as it goes.

    Whatever goes wrong, the parts in flight end first and the upload is then aborted, so that no invisible
    parts stay behind to be paid for. Raises `ContentChanged` before completing.
    """
    size = size_of(data)
    smallest = -(-size // MAX_PARTS)
    part_bytes = max(part_bytes, -(-smallest // MIB) * MIB)
    upload_id = client.create_multipart_upload(**target, **details)["UploadId"]
    try:
        digest = hashlib.sha256()
        md5s: list[bytes] = []

        def parts() -> Iterator[bytes]:
            for part in _parts(data, part_bytes):
                digest.update(part)
                md5s.append(_md5(part).digest())
                yield part

        def send(number: int, part: bytes) -> dict[str, Any]:
            answer = client.upload_part(**target, UploadId=upload_id, PartNumber=number, Body=part)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        sent = _send_all(parts(), send, parts_in_flight)
        if digest.hexdigest() != sha256:
            raise ContentChanged(sha256, digest.hexdigest())
        response = client.complete_multipart_upload(
            **target, UploadId=upload_id, MultipartUpload={"Parts": sent}, **conditions
        )
    except BaseException:
        try:
            client.abort_multipart_upload(**target, UploadId=upload_id)
        except Exception as error:
            log.warning(
                "the parts of upload %s to %s stay on the server: %s", upload_id, target["Key"], error
            )
        raise
    return Uploaded(response, f"{_md5(b''.join(md5s)).hexdigest()}-{len(md5s)}")


def _parts(data: bytes | Path, part_bytes: int) -> Iterator[bytes]:
    if isinstance(data, Path):
        with data.open("rb", buffering=0) as file:
            while part := _read_full(file, part_bytes):
                yield part
    else:
        for start in range(0, len(data), part_bytes):
            yield data[start : start + part_bytes]


def _read_full(file: Any, count: int) -> bytes:
    """`count` bytes unless the file ends: an unbuffered read may return fewer."""
    part = file.read(count)
    while part and len(part) < count and (more := file.read(count - len(part))):
        part += more
    return part


def _send_all(
    parts: Iterator[bytes], send: Callable[[int, bytes], dict[str, Any]], in_flight: int
) -> list[dict[str, Any]]:
    """Sends the parts, at most `in_flight` in memory. Stops at the first error, after the others' end."""
    slots = threading.Semaphore(in_flight)
    failed = threading.Event()

    def release(future: Future[dict[str, Any]]) -> None:
        if future.cancelled() or future.exception() is not None:
            failed.set()
        slots.release()

    pool = ThreadPoolExecutor(in_flight, thread_name_prefix="store-upload")
    futures: list[Future[dict[str, Any]]] = []
    try:
        slots.acquire()
        for number, part in enumerate(parts, start=1):
            if failed.is_set():
                break
            futures.append(pool.submit(send, number, part))
            futures[-1].add_done_callback(release)
            slots.acquire()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _md5(data: bytes) -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def unfinished(client: Any, bucket: str, prefix: str) -> Iterator[UnfinishedUpload]:
    """Multipart uploads that were neither completed nor aborted, each with what of it has arrived: parts that
    no listing shows and that are paid for all the same (Amazon S3 User Guide, "Aborting a multipart upload").
    """
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Uploads", []):
            since, size = item["Initiated"], 0
            parts = client.get_paginator("list_parts")
            try:
                for answer in parts.paginate(Bucket=bucket, Key=item["Key"], UploadId=item["UploadId"]):
                    for part in answer.get("Parts", []):
                        since, size = max(since, part["LastModified"]), size + int(part["Size"])
            except client.exceptions.NoSuchUpload:
                continue
            yield UnfinishedUpload(item["Key"], item["UploadId"], size, since.astimezone(UTC))

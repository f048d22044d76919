"""The store in an S3 bucket, by boto3: Wasabi, AWS, or anything that speaks the protocol.

Belongs here: which request each of the contract's methods makes, and how versions are pinned. Does not
belong here: making the client (`s3_client`), how content travels (`s3_upload`, `s3_download`), a listing's
order (`s3_listing`), what errors mean (`s3_errors`), read-ahead (`reader`), and whether the server honours
conditions (`s3_conditions`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from video_pipeline.errors import BadInput, Internal, PipelineError, Transient
from video_pipeline.store.base import (
    ObjectInfo,
    PreconditionFailed,
    UnfinishedUpload,
    check_object_key,
    check_prefix,
    check_range,
    check_upload,
    missing,
    replaced,
    wrong_sha256,
)
from video_pipeline.store.reader import BlockReader, ReadStats
from video_pipeline.store.s3_client import make_client
from video_pipeline.store.s3_conditions import honours_conditions
from video_pipeline.store.s3_download import Download, Pin, download
from video_pipeline.store.s3_errors import (
    NETWORK_ERRORS,
    S3Location,
    is_missing,
    is_precondition,
    missing_bucket,
    translate,
    was_retried,
)
from video_pipeline.store.s3_listing import in_byte_order
from video_pipeline.store.s3_upload import (
    PART_BYTES,
    ContentChanged,
    Uploaded,
    put_parts,
    put_whole,
    sha256_of,
    size_of,
    unfinished,
)

log = logging.getLogger(__name__)

LONGEST_PRESIGN_S = 7 * 24 * 3600
"""Signature version 4's limit (Amazon S3 User Guide, "Sharing objects with presigned URLs")."""


class S3Store:
    """An `ObjectStore` over one bucket. One client, safe for threads; make a new store in a new process.

    Requests are retried by botocore (standard mode, `attempts` in all, at most 20 s apart); a body that
    breaks off is resumed from where it broke. Each object carries `sha256` and `put-id` as metadata.
    """

    def __init__(
        self,
        bucket: str,
        *,
        endpoint_url: str | None = None,
        region: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        attempts: int = 6,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 60.0,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._location = S3Location(endpoint_url or f"AWS ({region})", bucket)
        self._part_bytes = part_bytes
        self._bucket_seen = False
        self._versioned: bool | Literal["unasked"] | None = "unasked"
        self._client = make_client(
            self._location,
            endpoint_url=endpoint_url,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
            attempts=attempts,
            connect_timeout_s=connect_timeout_s,
            read_timeout_s=read_timeout_s,
        )

    @property
    def uri(self) -> str:
        return self._location.uri

    def head(self, key: str) -> ObjectInfo | None:
        check_object_key(key)
        answer = self._head(key)
        return None if answer is None else self._info(key, answer, size=int(answer["ContentLength"]))

    def get(self, key: str) -> bytes:
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        check_object_key(key)
        found = self._download(key, 0, None)
        stated = found.metadata.get("sha256")
        if stated is not None and stated != hashlib.sha256(found.data).hexdigest():
            raise BadInput(
                "the object's content does not have the SHA-256 it was stored with",
                input=self._name(key),
                what_to_do="the object is damaged, or was changed without its metadata: write it again",
            )
        return found.data, found.etag

    def get_range(self, key: str, start: int, stop: int, *, version: str | None = None) -> bytes:
        check_object_key(key)
        check_range(start, stop)
        if start == stop:
            info = self.head(key)
            if info is None and version is None:
                raise missing(self.uri, key)
            if version is not None and (info is None or info.version != version):
                raise replaced(self.uri, key)
            return b""
        return self._download(key, start, stop, Pin.of(version) if version else None).data

    def put(
        self,
        key: str,
        data: bytes | Path,
        *,
        content_type: str | None = None,
        sha256: str | None = None,
        if_none_match: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        check_object_key(key)
        if isinstance(data, Path):
            check_upload(data)
        conditions: dict[str, str] = {"IfNoneMatch": "*"} if if_none_match else {}
        if if_match is not None:
            conditions["IfMatch"] = if_match
        size = size_of(data)
        body: bytes | None = None
        if size <= self._part_bytes:
            body = data.read_bytes() if isinstance(data, Path) else data
            size, measured = len(body), sha256_of(body)
            if sha256 is not None and measured != sha256.lower():
                raise wrong_sha256(self.uri, key, sha256, measured)
        else:
            measured = sha256.lower() if sha256 is not None else sha256_of(data)
            self._refuse_early(key, if_none_match=if_none_match, if_match=if_match)
        put_id = uuid.uuid4().hex
        details: dict[str, Any] = {"Metadata": {"sha256": measured, "put-id": put_id}}
        if content_type is not None:
            details["ContentType"] = content_type
        target = {"Bucket": self._location.bucket, "Key": key}
        try:
            if body is not None:
                done = put_whole(self._client, body, target=target, details=details, conditions=conditions)
            else:
                done = put_parts(
                    self._client,
                    data,
                    target=target,
                    details=details,
                    conditions=conditions,
                    sha256=measured,
                    part_bytes=self._part_bytes,
                )
        except ContentChanged as error:
            raise wrong_sha256(self.uri, key, error.args[0], error.args[1]) from None
        except ClientError as error:
            # The first attempt may have been carried out and its answer lost; the retry then meets our own
            # object. Without this look a worker would lose the race for its claim against itself.
            if was_retried(error) and (is_precondition(error) or is_missing(error)):
                answer = self._head(key)
                if answer is not None and answer.get("Metadata", {}).get("put-id") == put_id:
                    return self._info(key, answer, size=int(answer["ContentLength"]))
            if if_match is not None and is_missing(error):
                raise PreconditionFailed("the object is not there any more", input=self._name(key)) from error
            raise translate(error, self._location, key) from error
        except (BotoCoreError, *NETWORK_ERRORS) as error:
            raise translate(error, self._location, key) from error
        self._bucket_seen = True
        self._verify(key, done, size=size, sha256=measured)
        return self._info(key, done.response, size=size)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        check_prefix(prefix)
        return in_byte_order(self._listed(prefix), below=prefix.rpartition("/")[0])

    def delete(self, key: str) -> None:
        check_object_key(key)
        with self._errors(key):
            try:
                self._client.delete_object(Bucket=self._location.bucket, Key=key)
            except ClientError as error:
                if not is_missing(error):
                    raise

    def presign(self, key: str, expires_s: int = 3600) -> str:
        check_object_key(key)
        if not 1 <= expires_s <= LONGEST_PRESIGN_S:
            raise BadInput(
                f"a link cannot last {expires_s} s",
                input=self._name(key),
                what_to_do=f"choose 1 s to {LONGEST_PRESIGN_S} s (7 days)",
            )
        with self._errors(key):
            return self._client.generate_presigned_url(
                "get_object",
                Params={"Bucket": self._location.bucket, "Key": key},
                ExpiresIn=expires_s,
            )

    def local_path(self, key: str) -> Path | None:
        check_object_key(key)
        return None

    def open_reader(self, key: str) -> BlockReader:
        info = self.head(key)
        if info is None:
            raise missing(self.uri, key)
        pin = Pin.of(info.version)

        def fetch(start: int, stop: int, *, stats: ReadStats, stopped: Callable[[], bool]) -> bytes:
            return download(
                self._client, self._location, key, start, stop, pin, stats=stats, stopped=stopped
            ).data

        return BlockReader(fetch, name=self._name(key), version=info.version, size=info.size)

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        check_prefix(prefix)
        found = unfinished(self._client, self._location.bucket, prefix)
        while True:
            with self._errors(None):
                upload = next(found, None)
            if upload is None:
                return
            yield upload

    def discard_upload(self, upload: UnfinishedUpload) -> bool:
        with self._errors(upload.key):
            try:
                self._client.abort_multipart_upload(
                    Bucket=self._location.bucket, Key=upload.key, UploadId=upload.id
                )
            except self._client.exceptions.NoSuchUpload:
                return False
        return True

    def keeps_versions(self) -> bool | None:
        if self._versioned == "unasked":
            with self._errors(None):
                try:
                    answer = self._client.get_bucket_versioning(Bucket=self._location.bucket)
                    # Of a bucket in which versioning was suspended, what was stored before is kept.
                    self._versioned = answer.get("Status") in ("Enabled", "Suspended")
                except ClientError as error:
                    if not isinstance(translate(error, self._location, None), BadInput | Internal):
                        raise
                    self._versioned = None
        return self._versioned

    def conditional_writes(self) -> bool:
        return honours_conditions(self._client, self._location)

    def _name(self, key: str) -> str:
        return f"{self.uri}/{key}"

    @contextlib.contextmanager
    def _errors(self, key: str | None) -> Iterator[None]:
        try:
            yield
        except PipelineError:
            raise
        except (BotoCoreError, ClientError, *NETWORK_ERRORS) as error:
            raise translate(error, self._location, key) from error

    def _head(self, key: str) -> dict[str, Any] | None:
        with self._errors(key):
            try:
                answer = self._client.head_object(Bucket=self._location.bucket, Key=key)
            except ClientError as error:
                if not is_missing(error):
                    raise
                self._require_bucket()
                return None
        self._bucket_seen = True
        return answer

    def _require_bucket(self) -> None:
        """A HEAD's 404 has no body to tell a missing key from a missing bucket: asks, once."""
        if self._bucket_seen:
            return
        try:
            self._client.head_bucket(Bucket=self._location.bucket)
        except ClientError as error:
            if is_missing(error):
                raise missing_bucket(self._location) from error
        self._bucket_seen = True

    def _listed(self, prefix: str) -> Iterator[ObjectInfo]:
        """The listing in the server's order, one page at a time."""
        # Taken for unversioned where the credentials may not ask.
        versioned = bool(self.keeps_versions())
        operation = "list_object_versions" if versioned else "list_objects_v2"
        paginator = self._client.get_paginator(operation)
        pages = iter(paginator.paginate(Bucket=self._location.bucket, Prefix=prefix))
        while True:
            with self._errors(None):
                page = next(pages, None)
            if page is None:
                return
            self._bucket_seen = True
            for item in page.get("Versions" if versioned else "Contents", []):
                if item.get("IsLatest", True) and self._is_listed(item["Key"]):
                    yield self._info(item["Key"], item, size=int(item["Size"]))

    def _is_listed(self, key: str) -> bool:
        """Leaves out what the contract cannot name, such as the `folder/` objects that consoles make."""
        try:
            check_object_key(key)
        except BadInput as error:
            if not key.endswith("/"):
                log.warning("left out of a listing: %s", error)
            return False
        return True

    def _info(self, key: str, answer: dict[str, Any], *, size: int) -> ObjectInfo:
        """From the answer to a HEAD, a PUT or a listing; a PUT's `modified` is the server's clock."""
        etag = str(answer["ETag"])
        version_id = answer.get("VersionId")
        modified = answer.get("LastModified")
        if modified is None:
            date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
            modified = parsedate_to_datetime(date) if date else datetime.now(UTC)
        return ObjectInfo(
            key=key,
            size=size,
            version=version_id if version_id and version_id != "null" else f"{etag}-{size}",
            etag=etag,
            modified=modified.astimezone(UTC),
        )

    def _refuse_early(self, key: str, *, if_none_match: bool, if_match: str | None) -> None:
        """Spares a long upload that would be refused at its end, where the server decides for good."""
        if not if_none_match and if_match is None:
            return
        info = self.head(key)
        if (if_none_match and info) or (if_match is not None and (info is None or info.etag != if_match)):
            raise PreconditionFailed("the object was written by somebody else first", input=self._name(key))

    def _verify(self, key: str, done: Uploaded, *, size: int, sha256: str) -> None:
        """Compares what the server says it stored with what was sent."""
        etag = str(done.response["ETag"]).strip('"')
        if etag == done.plain_etag:
            return
        # Encrypted or foreign ETags are no checksum: then the size and the metadata must do.
        encrypted = done.response.get("ServerSideEncryption", "AES256") != "AES256"
        if encrypted or not re.fullmatch(r"[0-9a-f]{32}(-\d+)?", etag):
            answer = self._head(key)
            intact = (
                answer is not None
                and int(answer["ContentLength"]) == size
                and answer.get("Metadata", {}).get("sha256") == sha256
            )
        else:
            pin = Pin.of(self._info(key, done.response, size=size).version)
            intact = hashlib.sha256(self._download(key, 0, None, pin).data).hexdigest() == sha256
        if not intact:
            raise Transient("the server stored something else than it was sent", input=self._name(key))

    def _download(self, key: str, start: int, stop: int | None, pin: Pin | None = None) -> Download:
        found = download(self._client, self._location, key, start, stop, pin)
        self._bucket_seen = True
        return found

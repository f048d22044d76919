"""The store's contract: what an object is, what every store can do, what it raises.

Belongs here: the protocol, `ObjectInfo`, the store's own errors, and the rule for a clean key. Does not
belong here: either implementation, or the project's key names (`video_pipeline.keys`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.store.reader import StoreReader

HIDDEN_FOLDER = ".store"
"""A directory store's own folder. No key may lie in it, in either store, so that keys stay portable."""

MAX_KEY_BYTES = 1024
"""S3's limit, in bytes of UTF-8 (Amazon S3 User Guide, "Naming Amazon S3 objects")."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object at one moment.

    `version` changes whenever the content does. In S3 it is the VersionId of a versioned bucket, else
    `"etag"-size` (the ETag keeps its quotes, so the two forms cannot be confused); in a directory it is
    `sha256:<hex>`. `etag` is what `put(if_match=...)` takes, verbatim. `modified` is in UTC.
    """

    key: str
    size: int
    version: str
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """Content that was begun to be sent and is no object: a multipart upload in S3, a temporary file.

    `key` is where it would have gone, None where the store does not know that (a directory). `since` is when
    it last grew, or began where nothing of it has arrived, in UTC.
    """

    key: str | None
    id: str
    bytes: int
    since: datetime


class ObjectMissing(BadInput):
    """There is no object at this key."""


class PreconditionFailed(PipelineError):
    """`if_none_match` or `if_match` did not hold: somebody else wrote first. Nothing was written.

    For the caller to handle (read again, or give up the race); it is a defect if it reaches a user.
    """


class ObjectStore(Protocol):
    """A store. Safe to use from several threads, and from several processes at once.

    Every method raises `BadInput` for an unclean key, for credentials, buckets and permissions that are
    wrong, and `Transient` when the server or the disk stays away after bounded retries.
    """

    @property
    def uri(self) -> str:
        """`s3://bucket`, or the directory's absolute path."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """The object's description, or None where there is none."""
        ...

    def get(self, key: str) -> bytes:
        """The whole content of one version. Raises `ObjectMissing`."""
        ...

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The whole content of one version and that version's ETag, as `put(if_match=...)` takes it, in one
        request. Raises `ObjectMissing`."""
        ...

    def get_range(self, key: str, start: int, stop: int, *, version: str | None = None) -> bytes:
        """Bytes `start` to `stop` (half-open), cut at the object's end as a slice would be.

        With `version`, bytes of exactly that version: `BadInput` if the object has been replaced. Raises
        `ObjectMissing`, and `ValueError` for a negative or backward range.
        """
        ...

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
        """Writes the object whole or not at all; a `Path` is streamed and never held in memory whole.

        `sha256` (hex) is compared with what was read from `data`: `BadInput` if they differ. `if_none_match`
        creates only; `if_match` replaces only the content of that ETag; both raise `PreconditionFailed`.
        `content_type` is kept where the store has a place for it (a directory has none).
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """The objects whose key begins with `prefix`, by key in the order of their UTF-8 bytes, lazily."""
        ...

    def delete(self, key: str) -> None:
        """Removes the object; a missing one is fine."""
        ...

    def presign(self, key: str, expires_s: int = 3600) -> str:
        """A URL that reads the object without credentials for `expires_s` seconds (a directory: `file://`)."""
        ...

    def local_path(self, key: str) -> Path | None:
        """Where the object lies on this machine, whether or not it exists. For reading only. None in S3."""
        ...

    def open_reader(self, key: str) -> StoreReader:
        """A seekable binary reader of the version that is there now, for `av.open`. Raises `ObjectMissing`.

        It never mixes versions: if the object is replaced meanwhile, it goes on with the old content where
        the store still has that, and raises `BadInput` where it does not.
        """
        ...

    def unfinished_uploads(self, prefix: str) -> Iterator[UnfinishedUpload]:
        """Uploads that have not ended, to keys that begin with `prefix` (empty: any, also unknown keys). Some
        may still be going on."""
        ...

    def discard_upload(self, upload: UnfinishedUpload) -> bool:
        """Takes away what arrived. False if it ended meanwhile, or is seen to be going on."""
        ...

    def keeps_versions(self) -> bool | None:
        """Whether what is deleted or replaced here stays in the store as an earlier version. None where that
        may not be asked."""
        ...

    def conditional_writes(self) -> bool:
        """Whether this store honours `if_none_match` and `if_match`. Asked once per process, by trying."""
        ...


def check_object_key(key: str) -> str:
    """Returns `key` if both stores can hold it; `BadInput` otherwise.

    Refused: empty and dot segments (so no absolute path and no traversal), backslashes, control, format and
    surrogate characters, the hidden folder, and more than 1024 bytes of UTF-8.
    """
    segments = key.split("/")
    if any(part in ("", ".", "..") for part in segments):
        problem = "it has an empty, '.' or '..' segment"
    elif "\\" in key or any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in key):
        problem = "it has a backslash, a control or an invisible character"
    elif segments[0].casefold() == HIDDEN_FOLDER:
        problem = f"'{HIDDEN_FOLDER}/' is the store's own folder"
    elif len(key.encode()) > MAX_KEY_BYTES:
        problem = f"it is longer than {MAX_KEY_BYTES} bytes"
    else:
        return key
    raise BadInput(
        f"{key!r} is not a clean object key: {problem}",
        input=f"key={key!r}",
        what_to_do="use plain segments joined by '/', for example demo/client/videos/street/video.mp4",
    )


def check_prefix(prefix: str) -> str:
    """Returns `prefix` if some clean key can begin with it; `BadInput` otherwise. Empty means everything."""
    if prefix:
        check_object_key(f"{prefix}x" if prefix.endswith("/") else prefix)
    return prefix


def check_range(start: int, stop: int) -> None:
    if not 0 <= start <= stop:
        raise ValueError(f"{start}..{stop} is not a range of bytes: 0 <= start <= stop")


def check_upload(path: Path) -> Path:
    """Returns `path` if it is a file that can be uploaded; `BadInput` otherwise."""
    if not path.is_file():
        raise BadInput("there is no such file to upload", input=str(path), what_to_do="correct the path")
    return path


def missing(uri: str, key: str) -> ObjectMissing:
    return ObjectMissing(
        "there is no such object in the store",
        input=f"{uri}/{key}",
        what_to_do="upload it, or correct the key",
    )


def replaced(uri: str, key: str) -> BadInput:
    return BadInput(
        "the object was replaced or removed while it was being read",
        input=f"{uri}/{key}",
        what_to_do="run it again once nobody is writing to that key",
    )


def wrong_sha256(uri: str, key: str, expected: str, actual: str) -> BadInput:
    return BadInput(
        f"the content's SHA-256 is {actual}, not {expected} as stated: nothing was written",
        input=f"{uri}/{key}",
        what_to_do="the file changed after it was measured, or the stated SHA-256 is of something else",
    )

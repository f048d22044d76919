"""From an address, as people write it, to a source of ranges.

Belongs here: which kind of address means which source. Does not belong here: the sources.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from video_pipeline.errors import BadInput
from video_pipeline.media.ranges.base import RangeSource
from video_pipeline.media.ranges.file import FileSource
from video_pipeline.media.ranges.http import HttpSource
from video_pipeline.media.ranges.http_address import without_secrets
from video_pipeline.media.ranges.http_pool import HttpPool
from video_pipeline.media.ranges.store import StoreSource
from video_pipeline.store.base import ObjectStore, check_object_key
from video_pipeline.streaming.cancel import CancellationToken

KINDS = "an http or https URL, s3://BUCKET/KEY, file:///PATH, a path, or a key of the store"


def open_source(
    address: str,
    *,
    pool: HttpPool,
    store: ObjectStore | None = None,
    cancel: CancellationToken | None = None,
) -> RangeSource:
    """The source for an http(s) URL, `s3://bucket/key`, `file:///path`, a path or a store key.

    An address without a scheme is a key if the store has it, else a path; `./`, `../`, `~` and `/` in front
    always mean a path. One that names both an object and another file is refused. Only a path and a key are
    looked at here; a URL is asked at its first read. Raises `BadInput` for everything else.
    """
    scheme, _, rest = address.partition("://")
    if re.fullmatch(r"[a-zA-Z][a-zA-Z0-9+.-]*", scheme) and "://" in address:
        match scheme.lower():
            case "http" | "https":
                return HttpSource(address, pool=pool, cancel=cancel)
            case "s3":
                return _of_bucket(rest, address, store, cancel)
            case "file":
                return FileSource(_path_of(address), cancel=cancel)
        raise BadInput(
            f"addresses that begin with {scheme}:// cannot be read",
            input=without_secrets(address),
            what_to_do=f"give {KINDS}",
        )
    if not address.strip() or "\0" in address:
        raise BadInput(
            "the address is empty or has a null character", input=repr(address), what_to_do=f"give {KINDS}"
        )
    if store is None or address.startswith(("/", "./", "../", "~")):
        return FileSource(address, cancel=cancel)
    return _key_or_path(address, store, cancel)


def _of_bucket(
    rest: str, address: str, store: ObjectStore | None, cancel: CancellationToken | None
) -> StoreSource:
    bucket, _, key = rest.partition("/")
    if store is None or store.uri != f"s3://{bucket}":
        raise BadInput(
            "only the bucket of the configured store is read, which is "
            + ("none" if store is None else store.uri),
            input=address,
            what_to_do="set VIDEO_PIPELINE_STORE to that bucket, or give a presigned https URL",
        )
    return StoreSource(store, check_object_key(key), cancel=cancel)


def _path_of(address: str) -> Path:
    """RFC 8089: no host but `localhost`, percent-encoded."""
    parts = urlsplit(address)
    if parts.netloc not in ("", "localhost") or not parts.path or parts.query or parts.fragment:
        raise BadInput(
            "this file URL does not name a file on this machine",
            input=address,
            what_to_do="write file:///PATH, with %3F for a question mark and %23 for a number sign",
        )
    return Path(unquote(parts.path))


def _key_or_path(address: str, store: ObjectStore, cancel: CancellationToken | None) -> RangeSource:
    found = None
    with contextlib.suppress(BadInput):
        found = StoreSource(store, check_object_key(address), cancel=cancel)
    if found is None or not found.exists():
        if not Path(address).exists():
            raise BadInput(
                f"there is neither such an object in the store {store.uri} nor such a file",
                input=address,
                what_to_do=f"give {KINDS}",
            )
        return FileSource(address, cancel=cancel)
    held = store.local_path(address)
    if Path(address).exists() and not (held is not None and held.samefile(address)):
        raise BadInput(
            f"this is both an object in the store {store.uri} and a file",
            input=address,
            what_to_do=f"write ./{address} for the file, {store.uri}/{address} for the object",
        )
    return found

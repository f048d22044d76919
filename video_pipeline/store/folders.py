"""One level of a store: which folders lie directly under a prefix, without a look at what is in them.

Belongs here: the one listing that must not read what lies deeper. Does not belong here: whole listings
(`ObjectStore.list`). A video holds some 1,500 objects; 10,000 of them are ten pages this way and 15,000 the
other.
"""

from __future__ import annotations

import os

from video_pipeline.store.base import HIDDEN_FOLDER, ObjectStore, check_prefix


def folders(store: ObjectStore, prefix: str) -> list[str]:
    """The names of the folders directly under `prefix` ("" or ending in '/'), in the order of their bytes.

    An empty list where there is nothing. Raises like `ObjectStore.list`: a listing that failed is not empty.
    """
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"{prefix!r} is not a folder: it ends in '/'")
    check_prefix(prefix)
    names = _in_directory(store, prefix) if _is_directory(store) else _in_bucket(store, prefix)
    return sorted((name for name in names if name != HIDDEN_FOLDER), key=os.fsencode)


def _is_directory(store: ObjectStore) -> bool:
    return store.local_path("any") is not None


def _in_directory(store: ObjectStore, prefix: str) -> list[str]:
    from video_pipeline.store.directory import DirectoryStore

    assert isinstance(store, DirectoryStore)
    with store._errors(prefix or "any"):  # the same words for the same trouble as in the store's own methods
        try:
            with os.scandir(f"{store.uri}/{prefix}") as scan:
                return [entry.name for entry in scan if entry.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []


def _in_bucket(store: ObjectStore, prefix: str) -> list[str]:
    from video_pipeline.store.s3 import S3Store

    assert isinstance(store, S3Store)
    pages = iter(
        store._client.get_paginator("list_objects_v2").paginate(
            Bucket=store._location.bucket, Prefix=prefix, Delimiter="/"
        )
    )
    names: list[str] = []
    while True:
        with store._errors(None):
            page = next(pages, None)
        if page is None:
            return names
        names += [item["Prefix"][len(prefix) : -1] for item in page.get("CommonPrefixes", [])]

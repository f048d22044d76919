"""The order of a listing, from servers that list by bytes and from those that list folder by folder.

Belongs here: that order. Does not belong here: asking for the pages (`s3`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from video_pipeline.store.base import ObjectInfo


def in_byte_order(infos: Iterable[ObjectInfo], *, below: str) -> Iterator[ObjectInfo]:
    """A listing in the order of the keys' UTF-8 bytes, from a server that lists so or folder by folder.

    AWS and Wasabi list by bytes; servers over a tree (SeaweedFS) list `a/b` before `a-b`, as `a` comes before
    `a-b`. Both keep the names that begin with the same name together, so only those are held back: in
    general one folder of the folder `below`.
    """
    skip = len(below) + 1 if below else 0
    held: list[ObjectInfo] = []
    first = ""
    for info in infos:
        name = info.key[skip:].partition("/")[0]
        if held and not name.startswith(first):
            yield from sorted(held, key=lambda item: item.key.encode())
            held.clear()
        if not held:
            first = name
        held.append(info)
    yield from sorted(held, key=lambda item: item.key.encode())

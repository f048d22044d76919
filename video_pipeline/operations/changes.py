"""When what a partition is made from changed last: its inputs, and the objects that its request names.

Belongs here: looking up those times for one partition. Does not belong here: which objects are inputs
(`inputs`), or what follows from a change (`backfill`).
"""

from __future__ import annotations

import json
from typing import Any

from video_pipeline import keys
from video_pipeline.errors import BadInput
from video_pipeline.operations.inputs import Kind, Place, files_in, objects_in
from video_pipeline.store.base import ObjectStore

NAMED = 50


def last_change(store: ObjectStore, kind: Kind, key: str) -> float | None:
    """When the inputs of one partition changed last, seconds since the epoch; None where there are none.

    The objects that its request names count as well, up to `NAMED` of them: a clip that failed for want of
    its film can be made once the film is there.
    """
    identity = kind.identity.from_partition_key(key)
    name = key.partition("--")[2]
    changes: dict[str, float] = {}
    for place in kind.places:
        prefix = f"{place.prefix_of(identity.tenant)}{name}/"
        here = _changes_in(store, prefix, place)
        if place.needed and not here:
            return None
        changes |= here
    named: set[str] = set()
    for own in changes:
        if own.endswith(".json"):
            named |= _named_objects(store.get(own), identity.tenant)
    others = [_change_of(store, other) for other in sorted(named)[:NAMED]]
    return max([*changes.values(), *(change for change in others if change is not None)])


def _changes_in(store: ObjectStore, prefix: str, place: Place) -> dict[str, float]:
    folder = store.local_path(f"{prefix}any")
    if folder is not None:
        files = files_in(str(folder.parent), place)
        return {prefix + leaf: arrived for leaf, _, _, arrived in files}
    return {item.key: item.modified.timestamp() for item in objects_in(store, prefix, place)}


def _change_of(store: ObjectStore, key: str) -> float | None:
    path = store.local_path(key)
    if path is None:
        info = store.head(key)
        return None if info is None else info.modified.timestamp()
    try:
        stat = path.stat()
    except OSError:
        return None
    return max(stat.st_mtime, stat.st_ctime)


def _named_objects(request: bytes, tenant: str) -> set[str]:
    """The keys under the tenant that a request's JSON names, anywhere in it."""
    try:
        waiting: list[Any] = [json.loads(request)]
    except (ValueError, RecursionError):  # no JSON, or brackets within brackets without end
        return set()
    found: set[str] = set()
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, str) and item.startswith(f"{tenant}/"):
            try:
                found.add(keys.check_key(item, tenant=tenant))
            except BadInput:
                continue
    return found

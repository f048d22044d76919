"""What partitions are made from: where their inputs lie in the store, and a fingerprint of them.

Belongs here: which objects are a partition's inputs, finding them without a look at results, telling whether
they are others. Does not belong here: when they changed last (`changes`), what follows from a change
(`uploads`), reading what they hold.

A bucket is asked for the folders under a prefix, and then for the few inputs of single partitions: results
lie beside the inputs, 1,500 objects for a video, and are never listed. In a directory all inputs are looked
at, by size and time of change: 10,000 files take half a second that way and hours if they were read.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from video_pipeline import keys
from video_pipeline.errors import BadInput, Transient
from video_pipeline.keys import ClipId, SampleId, VideoId
from video_pipeline.store.base import ObjectInfo, ObjectStore
from video_pipeline.store.folders import folders

SETTLED_S = 3.0
"""A file of a directory store that changed less than this ago may still be on its way in: `cp` writes in
place. In a bucket an object appears whole or not at all."""

THREADS = 16
CHECKS = 400
"""How many partitions of one kind and tenant are asked about in a bucket in one look: 25 rounds of 16
requests of 30 ms make 0.75 s. New ones come first, the others take turns."""

NEW_SHARE = 0.75
"""The part of the checks that new ones get where there are known ones to look at, too. Folders without a
source count as new at every look: many of them must not keep the known ones from being looked at."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a folder for each partition, and which of the objects in that are inputs."""

    prefix_of: Callable[[str], str]
    pattern: re.Pattern[str]
    start: str
    """What the names of all such objects begin with, for listing."""
    needed: bool = True
    """Whether there is nothing to make without it."""


@dataclass(frozen=True, slots=True)
class Kind:
    partitions: str
    identity: type[VideoId] | type[SampleId] | type[ClipId]
    places: tuple[Place, ...]


_REQUEST = re.compile(r"request\.json")
KINDS = (
    Kind(
        "videos",
        VideoId,
        (
            Place(keys.videos_prefix, re.compile(rf"video\.(?:{'|'.join(keys.VIDEO_EXTENSIONS)})"), "video."),
            Place(
                lambda tenant: f"{keys.check_name('tenant', tenant)}/server/videos/",
                re.compile(r"caption_request\.json"),
                "caption_request.json",
                needed=False,
            ),
        ),
    ),
    Kind("samples", SampleId, (Place(keys.samples_prefix, _REQUEST, "request.json"),)),
    Kind("clips", ClipId, (Place(keys.clips_prefix, _REQUEST, "request.json"),)),
)


def kind_of(partitions: str) -> Kind:
    return next(kind for kind in KINDS if kind.partitions == partitions)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is there for one partition. `modified`: when the latest of it changed, seconds since the epoch."""

    fingerprint: str
    modified: float


@dataclass(slots=True)
class Look:
    """What one look at a kind's inputs of a tenant found, by partition key."""

    found: dict[str, Inputs] = field(default_factory=dict)
    unsettled: list[str] = field(default_factory=list)
    """Still being written: to be looked at again."""
    refused: dict[str, str] = field(default_factory=dict)
    """Names that cannot be partitions: folder by reason."""
    whole: bool = True
    """Whether everything was looked at, and not only a part whose turn it was."""


def tenants_of(store: ObjectStore) -> list[str]:
    """Everybody who has something in the store, the system's own folder left out. Raises like `look`."""
    require_directory(store)
    names = [name for name in folders(store, "") if name != keys.SYSTEM_TENANT]
    return [name for name in names if _is_name("tenant", name)]


def look(
    store: ObjectStore,
    kind: Kind,
    tenant: str,
    *,
    known: Iterable[str] = (),
    turn: int = 0,
    checks: int = CHECKS,
    now: float | None = None,
) -> Look:
    """The inputs of a tenant's partitions of one kind.

    In a bucket with more than `checks` partitions: those that are not in `known` first, up to `NEW_SHARE` of
    that number, then the known ones; both in turn, `turn` counting the looks. Raises `BadInput` or
    `Transient` when a listing fails, and `Transient` where the store's directory itself is not there: that is
    no empty listing.
    """
    require_directory(store)
    names: dict[str, str] = {}
    seen = Look()
    for name in folders(store, kind.places[0].prefix_of(tenant)):
        try:
            names[kind.identity(tenant, name).partition_key] = name
        except BadInput as error:
            seen.refused[name] = str(error)
    if store.local_path("any") is not None:
        _look_in_directory(Path(store.uri), kind, tenant, names, seen, time.time() if now is None else now)
        return seen
    wanted = _whose_turn(list(names), set(known), turn, checks)
    seen.whole = len(wanted) == len(names)

    def ask(key: str) -> tuple[str, list[ObjectInfo]]:
        return key, _inputs_in(store, kind, tenant, names[key])

    with ThreadPoolExecutor(THREADS) as pool:
        for key, objects in pool.map(ask, wanted):
            if objects:
                seen.found[key] = _inputs(
                    (item.key, item.etag, item.modified.timestamp()) for item in objects
                )
    return seen


def require_directory(store: ObjectStore) -> None:
    """`Transient` where a directory store is not there, as when a disk is not mounted."""
    if store.local_path("any") is not None and not Path(store.uri).is_dir():
        raise Transient(
            "the store's directory is not there",
            input=store.uri,
            what_to_do="mount it, or add a first video: video-pipeline add-video",
        )


def _whose_turn(names: list[str], known: set[str], turn: int, checks: int) -> list[str]:
    new = [key for key in names if key not in known]
    old = [key for key in names if key in known]
    for_new = min(len(new), max(checks - len(old), int(checks * NEW_SHARE)))
    return _in_turn(new, for_new, turn) + _in_turn(old, checks - for_new, turn)


def _in_turn(names: list[str], room: int, turn: int) -> list[str]:
    if len(names) <= room:
        return names
    start = turn * room % len(names)
    return [names[(start + offset) % len(names)] for offset in range(room)]


def _inputs_in(store: ObjectStore, kind: Kind, tenant: str, name: str) -> list[ObjectInfo]:
    """The partition's input objects; none at all where a needed one is missing."""
    found: list[ObjectInfo] = []
    for place in kind.places:
        here = objects_in(store, f"{place.prefix_of(tenant)}{name}/", place)
        if place.needed and not here:
            return []
        found += here
    return found


def objects_in(store: ObjectStore, prefix: str, place: Place) -> list[ObjectInfo]:
    listed = store.list(f"{prefix}{place.start}")
    return [item for item in listed if place.pattern.fullmatch(item.key.removeprefix(prefix))]


def _look_in_directory(
    root: Path, kind: Kind, tenant: str, names: dict[str, str], seen: Look, now: float
) -> None:
    for key, name in names.items():
        found: list[tuple[str, str, float]] = []
        for place in kind.places:
            prefix = f"{place.prefix_of(tenant)}{name}/"
            here = files_in(f"{root}/{prefix}", place)
            if place.needed and not here:
                found = []
                break
            found += [(prefix + leaf, f"{size}-{mtime}", arrived) for leaf, size, mtime, arrived in here]
        if not found:
            continue
        # A clock that runs behind must not hide a file for ever: a time to come counts as settled.
        if any(0 <= now - modified < SETTLED_S for _, _, modified in found):
            seen.unsettled.append(key)
        else:
            seen.found[key] = _inputs(found)


def files_in(folder: str, place: Place) -> list[tuple[str, int, int, float]]:
    """Name, size, time of change (ns) and of arrival (s) of the inputs in a folder.

    A file that is moved in, or copied with its times, keeps its time of change; the inode's tells of it.
    """
    found: list[tuple[str, int, int, float]] = []
    try:
        with os.scandir(folder) as scan:
            for entry in scan:
                if place.pattern.fullmatch(entry.name) and entry.is_file():
                    stat = entry.stat()
                    arrived = max(stat.st_mtime, stat.st_ctime)
                    found.append((entry.name, stat.st_size, stat.st_mtime_ns, arrived))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise Transient(
            f"the folder cannot be read: {error.strerror}", input=folder, what_to_do="look at the disk"
        ) from error
    return found


def _inputs(objects: Iterable[tuple[str, str, float]]) -> Inputs:
    """From key, ETag (or what stands for it) and time of change of each object."""
    facts = sorted(objects)
    text = "\n".join(f"{key} {etag}" for key, etag, _ in facts)
    return Inputs(
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
        modified=max(changed for _, _, changed in facts),
    )


def _is_name(kind: str, name: str) -> bool:
    try:
        keys.check_name(kind, name)
    except BadInput:
        return False
    return True

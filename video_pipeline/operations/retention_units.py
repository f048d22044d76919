"""What in a store may ever be cleaned up: its kinds, and which objects go together. Pure: no I/O.

Belongs here: the grammar that puts a key into a unit, and what a listing tells of a unit. Does not belong
here: whether something refers to a unit (`retention_references`), or removing it (`retention_remove`).

This is a list of what may go. A key that fits none of the patterns is in no unit and is never touched: the
sources, requests, pointers, results of samples, the ledger, the cost model, the records of deployments, and
whatever else lies in a bucket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from video_pipeline.store.base import ObjectInfo

Kind = Literal[
    "old recipes", "recipes being removed", "unfinished recipes", "clip parts", "calls", "indexes", "uploads"
]
KINDS: tuple[Kind, ...] = (
    "old recipes",
    "recipes being removed",
    "unfinished recipes",
    "clip parts",
    "calls",
    "indexes",
    "uploads",
)
PARTIAL: frozenset[Kind] = frozenset({"unfinished recipes", "clip parts", "uploads"})
"""What was begun and not ended: it has an age limit of its own."""

COSTS: dict[Kind, str] = {
    "old recipes": "making them again, should their recipe be asked for again",
    "recipes being removed": "making them again, should their recipe be asked for again",
    "unfinished recipes": "nothing: without a manifest they are made again anyhow",
    "clip parts": "nothing, unless a render that was killed is started again: it then renders all chunks",
    "calls": "an equal call runs again; it finds its products by their manifests where they are still there",
    "indexes": "reading a remote video's index again: some 100 KB of requests each",
    "uploads": "nothing: their content was never visible",
}

MARK = "removed.json"
"""Lies in the place of a manifest that was taken away (`retention_remove`)."""


What = Literal[
    "frames", "chunks", "captions", "extents", "layouts", "clip", "parts", "call", "index", "upload"
]

LAST: dict[str, tuple[str, ...]] = {
    "frames": ("manifest.json",),
    "chunks": ("manifest.json",),
    "captions": ("manifest.json",),
    "extents": ("manifest.json",),
    "layouts": ("layout.json",),
    "clip": ("manifest.json", "detections.json"),
}
"""The object that its maker writes last, by what is made: without it, the product does not exist."""

_NAME = r"[a-z0-9]+(?:[_-][a-z0-9]+)*"
_HASH = r"[0-9a-f]{16,64}"
_PLACES = re.compile(
    rf"(?P<tenant>{_NAME})/(?:"
    rf"client/videos/(?P<video1>{_NAME})/(?P<what1>frames|chunks|captions)/(?P<hash1>{_HASH})/"
    rf"|server/videos/(?P<video2>{_NAME})/(?P<what2>extents|layouts)/(?P<hash2>{_HASH})/"
    rf"|client/clips/(?P<clip1>{_NAME})/(?P<hash3>{_HASH})/"
    rf"|server/clips/(?P<clip2>{_NAME})/(?P<what3>parts)/(?P<hash4>{_HASH})/"
    rf"|server/(?:calls|results|spawns)/(?P<call1>{_HASH})\.json(?![^\s\"'?#])"
    rf"|server/results/(?P<call2>{_HASH})/"
    r"|server/indexes/(?P<index>[0-9a-f]{32})\.vpindex(?![^\s\"'?#])"
    r")"
)
_OWNERS = re.compile(rf"(?P<tenant>{_NAME})/(?:client|server)/(?P<area>videos|clips)/(?P<name>{_NAME})/")


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """A video or a clip of a tenant."""

    tenant: str
    area: str
    name: str


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """What goes together: one recipe's product, one clip's parts, all that one call left, or one index."""

    tenant: str
    what: What
    name: str
    """The recipe, the call key, or the index's name."""

    of: str = ""
    """The video or the clip."""

    @property
    def owner(self) -> Owner | None:
        if not self.of:
            return None
        return Owner(self.tenant, "clips" if self.what in ("clip", "parts") else "videos", self.of)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Under which its objects lie, and nothing else. Of a call: what must go first stands first."""
        match self.what:
            case "frames" | "chunks" | "captions":
                return (f"{self.tenant}/client/videos/{self.of}/{self.what}/{self.name}/",)
            case "extents" | "layouts":
                return (f"{self.tenant}/server/videos/{self.of}/{self.what}/{self.name}/",)
            case "clip":
                return (f"{self.tenant}/client/clips/{self.of}/{self.name}/",)
            case "parts":
                return (f"{self.tenant}/server/clips/{self.of}/parts/{self.name}/",)
            case "call":
                server = f"{self.tenant}/server"
                ends = (f"results/{self.name}/", f"results/{self.name}.json", f"spawns/{self.name}.json")
                return tuple(f"{server}/{end}" for end in (*ends, f"calls/{self.name}.json"))
            case "index":
                return (f"{self.tenant}/server/indexes/{self.name}.vpindex",)
        return (self.name,)

    @property
    def mark_key(self) -> str:
        return self.prefixes[0] + MARK


def place_of(key: str) -> Place | None:
    """The place an object belongs to; None for everything that is never cleaned up."""
    match = _PLACES.match(key)
    return None if match is None else _place(match)


def places_in(text: str) -> Iterator[Place]:
    """Every place whose objects' keys occur in a document's text."""
    return (_place(match) for match in _PLACES.finditer(text))


def owners_in(text: str) -> Iterator[Owner]:
    """Every video and clip of which a key occurs in a document's text."""
    return (Owner(match["tenant"], match["area"], match["name"]) for match in _OWNERS.finditer(text))


def _place(match: re.Match[str]) -> Place:
    found = {name: value for name, value in match.groupdict().items() if value is not None}
    named = {name.rstrip("1234"): value for name, value in found.items()}
    tenant = named["tenant"]
    if "call" in named:
        return Place(tenant, "call", named["call"])
    if "index" in named:
        return Place(tenant, "index", named["index"])
    what: What = named.get("what", "clip")  # pyright: ignore[reportAssignmentType]
    return Place(tenant, what, named["hash"], named.get("video") or named["clip"])


@dataclass
class Unit:
    """A place as a listing found it. `newest` and `oldest` are times of its objects but the mark."""

    place: Place
    count: int = 0
    bytes: int = 0
    newest: datetime | None = None
    oldest: datetime | None = None
    finished: str | None = None
    """The key of the object that was written last by its maker."""

    marked: datetime | None = None
    """Since when its manifest is taken away."""

    sample: list[str] = field(default_factory=list)

    def add(self, item: ObjectInfo) -> None:
        self.count += 1
        self.bytes += item.size
        if len(self.sample) < 3:
            self.sample.append(item.key)
        name = item.key.removeprefix(self.place.prefixes[0])
        if self.place.what in LAST and name == MARK:
            self.marked = item.modified
            return
        if name in LAST.get(self.place.what, ()):
            self.finished = item.key
        self.newest = item.modified if self.newest is None else max(self.newest, item.modified)
        self.oldest = item.modified if self.oldest is None else min(self.oldest, item.modified)

    @property
    def since(self) -> datetime:
        """When it was last written to; of nothing but a mark, when that was."""
        last = self.newest or self.marked
        assert last is not None, "a unit has an object"
        return last

    @property
    def kind(self) -> Kind:
        match self.place.what:
            case "parts":
                return "clip parts"
            case "call":
                return "calls"
            case "index":
                return "indexes"
            case "upload":
                return "uploads"
        if self.marked is not None and self.finished is None:
            return "recipes being removed"
        return "old recipes" if self.finished is not None else "unfinished recipes"


def units_of(listing: Iterable[ObjectInfo]) -> dict[Place, Unit]:
    """What a listing holds, by place; objects of no place are left out."""
    units: dict[Place, Unit] = {}
    for item in listing:
        place = place_of(item.key)
        if place is not None:
            units.setdefault(place, Unit(place)).add(item)
    return units

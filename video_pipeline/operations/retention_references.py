"""What of a tenant's store something still refers to.

Belongs here: reading pointers, requests, manifests and call records, and what they name. Does not belong
here: ages, or removing anything.

References are looked for in the documents' text, not field by field: whatever key or recipe a document
names, in whatever field, is referred to. A field added tomorrow protects what it names too, and a mistake is
something kept. Three things are roots:

- pointers and requests: `current.json` of videos and clips, `request.json` of clips and samples,
  `caption_request.json`;
- calls that run (and, for an hour, calls whose worker was lost: the next attempt may come). What such a call
  will look for is not known from outside, so everything of every video and clip that its request names is
  kept, with all its objects;
- products younger than the age limit, which the caller names.

From the roots on, the manifest of every product that is referred to is read in the same way.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from video_pipeline import keys
from video_pipeline.calls import CallRecord
from video_pipeline.operations.retention_units import Owner, Place, Unit, owners_in, places_in
from video_pipeline.store.base import ObjectInfo, ObjectMissing, ObjectStore

LOST_IS_KEPT_S = 3600.0
"""How long a call whose worker was lost still protects what it names."""

READERS = 8
_DOCUMENT = re.compile(
    r"[^/]+/(?:client/(?P<area>videos|clips)/(?P<name>[^/]+)/current"
    r"|server/(?:clips|samples)/[^/]+/request|server/videos/[^/]+/caption_request)\.json"
)
_HASHES = re.compile(r'"([0-9a-f]{16,64})"')


def is_document(key: str) -> bool:
    """Whether it is a pointer or a request."""
    return _DOCUMENT.fullmatch(key) is not None


@dataclass
class References:
    """What is referred to in one tenant. Only ever grows: what was seen running stays kept for this round."""

    store: ObjectStore
    tenant: str
    places: dict[Place, str] = field(default_factory=dict)
    """By whom each is named."""

    recipes: dict[tuple[Owner, str], str] = field(default_factory=dict)
    owners: dict[Owner, str] = field(default_factory=dict)
    """Videos and clips of which nothing at all may go, and why."""

    indexes: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    _calls_seen: dict[str, str] = field(default_factory=dict)
    _followed: set[Place] = field(default_factory=set)

    def why(self, place: Place) -> str | None:
        """Who refers to it, in words; None if nobody does."""
        if place in self.places:
            return self.places[place]
        if place.what == "index":
            return "a request names its video" if place.name in self.indexes else None
        if place.owner is None:
            return None
        if place.owner in self.owners:
            return self.owners[place.owner]
        return None if place.what == "parts" else self.recipes.get((place.owner, place.name))

    def read_documents(self, document_keys: Iterable[str]) -> None:
        """Takes in pointers and requests; one that is gone meanwhile refers to nothing."""
        for key, text in self._read_all(document_keys):
            self.add_document(key, text)

    def add_document(self, key: str, text: str) -> None:
        match = _DOCUMENT.fullmatch(key)
        owner = Owner(self.tenant, match["area"], match["name"]) if match and match["area"] else None
        try:
            strings = list(_strings(json.loads(text)))
        except (ValueError, RecursionError):  # the latter for brackets within brackets without end
            self.notes.append(f"{key} is not readable JSON: nothing of what it may name is removed")
            if owner is not None:
                self.owners[owner] = f"{key} is not readable"
            strings = []
        self._add_text(text, f"{key} names it", owner)
        self._add_indexes(strings)

    def read_calls(self, listing: Iterable[ObjectInfo] | None = None) -> None:
        """Takes in the calls that run now. Only records that changed since the last time are read."""
        found = self.store.list(keys.calls_prefix(self.tenant)) if listing is None else listing
        changed = [item for item in found if self._calls_seen.get(item.key) != item.etag]
        for key, text in self._read_all(item.key for item in changed):
            self._add_call(key, text)
        self._calls_seen.update((item.key, item.etag) for item in changed)

    def _add_call(self, key: str, text: str) -> None:
        try:
            record = CallRecord.model_validate_json(text)
        except ValidationError:
            self.notes.append(f"{key} is not a readable call record: it is left where it is")
            self.places.update((place, "its record is not readable") for place in places_in(key))
            return
        if record.state != "running":
            return
        if not record.is_alive() and time.time() - record.heartbeat_at > LOST_IS_KEPT_S:
            return
        reason = f"the call {record.key} ({record.task}) runs"
        self.places[Place(self.tenant, "call", record.key)] = reason
        told = json.dumps({"request": record.request, "progress": record.progress}, ensure_ascii=False)
        self._add_text(told, f"{reason} and names it", None)
        for child in _HASHES.findall(json.dumps(record.progress)):
            self.places[Place(self.tenant, "call", child)] = f"{reason} and waits for it"
        self._add_indexes(_strings(record.request))
        named = set(owners_in(told))
        for area, field_name in (("videos", "video_id"), ("clips", "clip_id")):
            if isinstance(name := record.request.get(field_name), str):
                named.add(Owner(self.tenant, area, name))
        self.owners.update(dict.fromkeys(named, f"{reason} on it"))

    def follow(self, units: Mapping[Place, Unit], young: Iterable[Place]) -> None:
        """Reads the manifests of the products that are referred to or `young`, and of those that these name,
        until nothing new is named. A manifest that was taken away tells from its mark."""
        said_at = {place: at for place, unit in units.items() if (at := _manifest_of(unit)) is not None}
        pending = {place for place in young if place in said_at}
        while True:
            pending |= {place for place in said_at if self.why(place) is not None}
            pending -= self._followed
            if not pending:
                return
            self._followed |= pending
            by_key = {said_at[place]: place for place in pending}
            for key, text in self._read_all(by_key):
                place = by_key[key]
                self._add_text(_unmarked(text), f"{key} names it", place.owner, but=place)
            pending = set()

    def _add_text(self, text: str, reason: str, owner: Owner | None, *, but: Place | None = None) -> None:
        plain = text.replace("\\/", "/")
        for place in set(places_in(plain)) - {but}:
            if place.tenant == self.tenant:
                self.places.setdefault(place, reason)
        if owner is not None:
            for recipe in set(_HASHES.findall(plain)) - {but.name if but else ""}:
                self.recipes.setdefault((owner, recipe), reason)

    def _add_indexes(self, strings: Iterable[str]) -> None:
        """The indexes of every video that a request names, as a URL or as a key of the store."""
        from video_pipeline.sampling.indexes import stored_name

        for text in strings:
            for cache_key in _cache_keys(text, self.store.uri):
                self.indexes.add(stored_name(cache_key).partition(".")[0])

    def _read_all(self, wanted: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Keys and texts of the objects that are still there."""

        def read(key: str) -> tuple[str, str] | None:
            try:
                return key, self.store.get(key).decode("utf-8", "replace")
            except ObjectMissing:
                return None

        with ThreadPoolExecutor(READERS, thread_name_prefix="retention-read") as pool:
            yield from (found for found in pool.map(read, wanted) if found is not None)


def _manifest_of(unit: Unit) -> str | None:
    if unit.finished is not None:
        return unit.finished
    return unit.place.mark_key if unit.marked is not None else None


def _unmarked(text: str) -> str:
    """A manifest's own text, also from a mark. A damaged mark is read as it is."""
    try:
        return str(json.loads(text)["content"])
    except (ValueError, KeyError, TypeError):
        return text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _cache_keys(text: str, uri: str) -> Iterator[str]:
    """By what `sampling` knows a video that is named so (`media.ranges.opening`)."""
    from video_pipeline.errors import BadInput
    from video_pipeline.media.ranges.http_address import parse_http_address

    scheme = text.partition("://")[0].lower()
    if scheme in ("http", "https") and "://" in text:
        try:
            yield parse_http_address(text).cache_key
        except BadInput:
            return
    elif "://" in text:
        yield text
    else:
        yield f"{uri}/{text}"

"""Retention: what of a store is old and referred to by nothing, and taking it away.

Belongs here: one survey of the store, and one clean-up. Does not belong here: the limits and the report
(`retention_report`), what belongs together (`retention_units`), what refers to it (`retention_references`,
`retention_kept`), and how it is removed while others work (`retention_remove`).

What may go, each only after its age: recipes that nothing refers to; the records, results and reports of
finished and lost calls; what was begun and never finished (objects of a recipe without a manifest, parts of
clips, uploads); indexes that no request needs. Everything else stays, among it the ledger and all cost data,
the sources, the requests, and the results of samples.

The age is that of the newest object of a unit, as the store tells it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from video_pipeline import keys
from video_pipeline.errors import PipelineError
from video_pipeline.operations.retention_kept import keep_what_is_computed
from video_pipeline.operations.retention_references import References, is_document
from video_pipeline.operations.retention_remove import Outcome, Remover, is_settled
from video_pipeline.operations.retention_report import (
    Limits,
    RetentionReport,
    Tally,
    note_on_versions,
)
from video_pipeline.operations.retention_units import KINDS, Kind, Place, Unit, place_of
from video_pipeline.store.base import ObjectMissing, ObjectStore, UnfinishedUpload

UNREADABLE = (PipelineError, ValueError, KeyError, TypeError)
"""What a unit with a damaged document raises: it is told, and the others go on."""


def is_taken(unit: Unit) -> bool:
    """Whether its manifest was taken away."""
    return unit.kind == "recipes being removed"


class _Tenant:
    """One tenant's part of the survey."""

    def __init__(self, store: ObjectStore, tenant: str) -> None:
        self.store = store
        self.references = References(store, tenant)
        self.units: dict[Place, Unit] = {}
        self.documents: list[str] = []

    def is_old(self, unit: Unit, limits: Limits, now: datetime) -> bool:
        """Whether its age alone would let it go."""
        if is_taken(unit):
            written = unit.newest is not None and unit.marked is not None and unit.newest > unit.marked
            cutoff = limits.cutoff("unfinished recipes", now)
            return is_settled(unit, now) and not (written and unit.since > cutoff)
        return unit.since <= limits.cutoff(unit.kind, now)

    def choose(self, limits: Limits, now: datetime) -> list[Unit]:
        """The units that may go, after reading everything that may refer to them."""
        old = {place for place, unit in self.units.items() if self.is_old(unit, limits, now)}
        if not old and not any(unit.marked for unit in self.units.values()):
            return []
        self.references.read_documents(self.documents)
        self.references.read_calls()
        # A recipe whose manifest was taken away keeps what it names only if something names it.
        young = {place for place, unit in self.units.items() if place not in old and not is_taken(unit)}
        self.references.follow(self.units, young)
        keep_what_is_computed(
            self.references,
            self.units,
            lambda place: place in young or self.references.why(place) is not None,
        )
        self.references.follow(self.units, young)
        return [self.units[place] for place in sorted(old) if self.references.why(place) is None]

    def to_restore(self) -> list[Unit]:
        """Recipes whose manifest was taken away and that something refers to."""
        return [
            unit
            for unit in self.units.values()
            if is_taken(unit) and self.references.why(unit.place) is not None
        ]


def survey(
    store: ObjectStore,
    limits: Limits | None = None,
    *,
    tenant: str | None = None,
    now: datetime | None = None,
) -> RetentionReport:
    """What could be removed now. Changes nothing."""
    return _Round(store, limits or Limits(), tenant, now, remove=False).go()


def clean(
    store: ObjectStore,
    limits: Limits | None = None,
    *,
    tenant: str | None = None,
    now: datetime | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> RetentionReport:
    """Removes what a survey lists, each unit after a last look. Of finished recipes only the manifest: their
    objects go in a run at least an hour later. One unit that cannot be removed does not keep the others."""
    return _Round(store, limits or Limits(), tenant, now, remove=True, on_progress=on_progress).go()


class _Round:
    """One survey, and what follows from it."""

    def __init__(
        self,
        store: ObjectStore,
        limits: Limits,
        tenant: str | None,
        now: datetime | None,
        *,
        remove: bool,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.store, self.limits, self.remove = store, limits, remove
        self.tenant = None if tenant is None else keys.check_name("tenant", tenant)
        self.now = now or datetime.now(UTC)
        self.on_progress = on_progress
        self.tallies: dict[Kind, Tally] = {kind: Tally(kind) for kind in KINDS}
        self.restored: list[str] = []
        self.held_back: list[str] = []
        self.failed: list[str] = []
        self.notes: list[str] = []
        self.computed_s = 0.0

    def go(self) -> RetentionReport:
        tenants = self._list()
        chosen = [(found, found.choose(self.limits, self.now)) for found in tenants]
        uploads = self._uploads()
        for _, units in chosen:
            for unit in units:
                self._count(unit)
        for upload in uploads:
            self.tallies["uploads"].add(1, upload.bytes, upload.since, [upload.key or upload.id])
        if chosen or uploads:
            self.notes += note_on_versions(self.store.keeps_versions())
        if self.remove:
            self._remove(chosen, uploads)
        for found in tenants:
            self.notes += found.references.notes
        return RetentionReport(
            removed=self.remove,
            tenant=self.tenant,
            at=self.now,
            limits=self.limits,
            kinds=tuple(tally.report() for tally in self.tallies.values()),
            computed_s=round(self.computed_s, 1),
            restored=tuple(self.restored),
            held_back=tuple(self.held_back),
            failed=tuple(self.failed),
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _list(self) -> list[_Tenant]:
        """One listing of everything, or of one tenant."""
        tenants: dict[str, _Tenant] = {}
        for item in self.store.list("" if self.tenant is None else f"{self.tenant}/"):
            place = place_of(item.key)
            if place is None and not is_document(item.key):
                continue
            name = item.key.partition("/")[0]
            if name not in tenants:
                tenants[name] = _Tenant(self.store, name)
            if place is None:
                tenants[name].documents.append(item.key)
            else:
                tenants[name].units.setdefault(place, Unit(place)).add(item)
        return list(tenants.values())

    def _uploads(self) -> list[UnfinishedUpload]:
        cutoff = self.limits.cutoff("uploads", self.now)
        try:
            found = self.store.unfinished_uploads("" if self.tenant is None else f"{self.tenant}/")
            return [upload for upload in found if upload.since <= cutoff]
        except PipelineError as error:
            self.notes.append(f"unfinished uploads cannot be listed here: {error.message}")
            return []

    def _count(self, unit: Unit) -> None:
        self.tallies[unit.kind].add(unit.count, unit.bytes, unit.since, unit.sample)
        if unit.kind == "calls":
            try:
                key = keys.result_key(unit.place.tenant, unit.place.name)
                self.computed_s += float(json.loads(self.store.get(key))["usage"]["wall_s"])
            except (ObjectMissing, ValueError, KeyError, TypeError):
                return

    def _remove(self, chosen: list[tuple[_Tenant, list[Unit]]], uploads: list[UnfinishedUpload]) -> None:
        total = len(uploads) + sum(len(units) for _, units in chosen)
        at = 0
        for found, units in chosen:
            remover = Remover(self.store, found.references)
            for unit in found.to_restore():
                self._restore(remover, unit)
            taken: list[Unit] = []
            for unit in units:
                outcome = self._take(remover, unit)
                if outcome is not None and outcome.done == "marked":
                    taken.append(unit)
                at += 1
                self.on_progress(at, total)
            for unit in taken:
                self._look_back(remover, unit)
        for upload in uploads:
            name = upload.key or upload.id
            try:
                if self.store.discard_upload(upload):
                    self._done("uploads", upload.bytes)
                else:
                    self.held_back.append(f"{name}: it ended meanwhile")
            except PipelineError as error:
                self.failed.append(f"{name}: {error}")
            at += 1
            self.on_progress(at, total)

    def _take(self, remover: Remover, unit: Unit) -> Outcome | None:
        cutoff = self.limits.cutoff(unit.kind, self.now)
        try:
            match unit.kind:
                case "old recipes":
                    outcome = remover.take_manifest(unit, cutoff)
                case "recipes being removed":
                    outcome = remover.sweep(unit, self.limits.cutoff("unfinished recipes", self.now))
                case "calls":
                    outcome = remover.remove_call(unit, cutoff)
                case _:
                    outcome = remover.remove(unit, cutoff)
        except UNREADABLE as error:
            self.failed.append(f"{unit.place.prefixes[-1]}: {error}")
            return None
        if outcome.done in ("removed", "marked"):
            self._done(unit.kind, outcome.bytes)
        elif outcome.done == "restored":
            self.restored.append(f"{unit.place.prefixes[0]}: {outcome.why}")
        else:
            self.held_back.append(f"{unit.place.prefixes[-1]}: {outcome.why}")
            self.tallies[unit.kind].freed += outcome.bytes
        return outcome

    def _look_back(self, remover: Remover, unit: Unit) -> None:
        """A publisher that had read the manifest may have moved its pointer since."""
        try:
            outcome = remover.restore_if_named(unit.place)
        except UNREADABLE as error:
            self.failed.append(f"{unit.place.prefixes[0]}: {error}")
            return
        if outcome is not None:
            self.tallies["old recipes"].done -= 1
            self.restored.append(f"{unit.place.prefixes[0]}: {outcome.why}")

    def _restore(self, remover: Remover, unit: Unit) -> None:
        try:
            remover.restore(unit.place)
            self.restored.append(f"{unit.place.prefixes[0]}: {remover.references.why(unit.place)}")
        except UNREADABLE as error:
            self.failed.append(f"{unit.place.prefixes[0]}: {error}")

    def _done(self, kind: Kind, freed: int) -> None:
        self.tallies[kind].done += 1
        self.tallies[kind].freed += freed

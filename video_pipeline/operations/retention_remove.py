"""Taking things out of a store in which others work at the same time.

Belongs here: the order in which a unit's objects go, and what is looked at again right before. Does not
belong here: choosing what goes (`retention`).

**Recipes: take the manifest away, wait, then remove.** A publisher (`captions.publish`, `clips.current`)
reads a manifest, verifies its objects, and then moves the pointer; a rerun of an old recipe writes nothing,
because the manifest is there, so no age tells that the recipe came back into use. Deleting its objects
between the verifying and the pointer would leave a pointer to nothing, and no lock is shared with publishers.
So the manifest goes first, into `removed.json` beside it (the mark). From then on the product does not exist:
a new publisher says so, a new call makes it again. A publisher that had read the manifest before has
`SETTLED_S` to move its pointer. Only a later run, at least that long after, removes the objects, after it has
read every reference anew. If the pointer moved, the manifest is put back, as it was, byte for byte: right
after it was taken, at the end of the run that took it, or in the next run. What is left is a publisher that
stands still for an hour between two requests.

**Objects without a manifest** have no publisher. What could write them again is a call, and a call has a
record before it writes. Records are read again before each unit and between batches, at most `FRESH_S` old;
the unit is listed again, and left alone if anything in it is newer than the age limit. If a call began within
those two seconds and wrote at once, it loses an object and its product fails its verification when it is
published: an error that says to make it again, never a published set with a hole.

**Call records** are changed by compare-and-swap only, so removing begins with taking the claim, as a worker
does: a worker that comes now finds it held and ends, one that came before is alive and the record stays. The
result goes first and the record last, so a process killed in between leaves a lost call, which anybody may
take over.

**Uploads** are aborted by the server: an upload that completes at the same time wins or fails as a whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from pydantic import ValidationError

from video_pipeline import keys
from video_pipeline.calls import CallRecord, ResultRecord, WorkerIdentity, read_call, write_result
from video_pipeline.claims import Claim
from video_pipeline.operations.retention_references import References
from video_pipeline.operations.retention_units import Owner, Place, Unit, place_of
from video_pipeline.store.base import ObjectInfo, ObjectMissing, ObjectStore, PreconditionFailed

SETTLED_S = 3600.0
"""How long after its manifest was taken away a recipe's objects stay: from reading a manifest to moving the
pointer, an hour's 1,478 chunks take minutes."""

FRESH_S = 2.0
BATCH = 64
WORKERS = 8

Done = Literal["removed", "marked", "restored", "kept"]


@dataclass(frozen=True, slots=True)
class Outcome:
    done: Done
    why: str = ""
    """Of what was kept or restored."""

    bytes: int = 0
    """Freed."""


@dataclass
class Remover:
    """Removes units of one tenant, each after a last look."""

    store: ObjectStore
    references: References
    _looked_at: float = field(default=float("-inf"))

    def take_manifest(self, unit: Unit, cutoff: datetime) -> Outcome:
        """The first half of removing a finished recipe: from here on it does not exist."""
        assert unit.finished is not None, unit.place
        if kept := self._still_kept(unit.place, cutoff):
            return kept
        try:
            content = self.store.get(unit.finished)
        except ObjectMissing:
            return Outcome("kept", "its manifest was taken away meanwhile")
        mark = {
            "schema_version": 1,
            "key": unit.finished,
            "sha256": hashlib.sha256(content).hexdigest(),
            "content": content.decode(),
        }
        data = json.dumps(mark, ensure_ascii=False).encode()
        self.store.put(unit.place.mark_key, data, content_type="application/json")
        self.store.delete(unit.finished)
        return self.restore_if_named(unit.place) or Outcome("marked")

    def restore_if_named(self, place: Place) -> Outcome | None:
        """Puts the manifest back if something refers to the recipe now."""
        why = self._named(place)
        if why is None:
            return None
        self.restore(place)
        return Outcome("restored", why)

    def restore(self, place: Place) -> None:
        """The manifest as it was, unless the product was made again meanwhile."""
        try:
            mark = json.loads(self.store.get(place.mark_key))
        except ObjectMissing:
            return
        conditional = self.store.conditional_writes()
        with contextlib.suppress(PreconditionFailed):
            if conditional or self.store.head(mark["key"]) is None:
                self.store.put(
                    mark["key"],
                    mark["content"].encode(),
                    content_type="application/json",
                    sha256=mark["sha256"],
                    if_none_match=conditional,
                )
        self.store.delete(place.mark_key)

    def sweep(self, unit: Unit, cutoff: datetime) -> Outcome:
        """The second half: the objects, and the mark last. `cutoff`: what is newer is being made again."""
        assert unit.marked is not None, unit.place
        if restored := self.restore_if_named(unit.place):
            return restored
        return self._remove_objects(unit.place, max(cutoff, unit.marked), last=unit.place.mark_key)

    def remove(self, unit: Unit, cutoff: datetime) -> Outcome:
        """A unit that nobody publishes: unfinished recipes, parts, indexes."""
        return self._still_kept(unit.place, cutoff) or self._remove_objects(unit.place, cutoff)

    def remove_call(self, unit: Unit, cutoff: datetime) -> Outcome:
        """A call's result, reports and note, and its record last, under the call's own claim."""
        if kept := self._still_kept(unit.place, cutoff):
            return kept
        claim = self._claim(unit.place)
        if claim is None:
            return Outcome("kept", "its record changed hands meanwhile")
        try:
            record_key = keys.call_key(unit.place.tenant, unit.place.name)
            if not self._is_in_ledger(unit.place):
                claim.finish()
                return Outcome("kept", "what it cost could not be entered in the ledger")
            return self._remove_objects(unit.place, None, last=record_key)
        except BaseException:
            claim.finish()
            raise

    def _is_in_ledger(self, place: Place) -> bool:
        """Enters what a result used that was written before there was a ledger (it lacks `buried`)."""
        try:
            text = self.store.get(keys.result_key(place.tenant, place.name))
        except ObjectMissing:
            return True
        if '"buried"' in text.decode("utf-8", "replace"):
            return True
        try:
            result = ResultRecord.model_validate_json(text)
        except ValidationError:
            return True  # damaged: it tells nothing that the ledger could keep
        write_result(self.store, place.tenant, result)
        entry = keys.ledger_entry_key(result.started_at, result.key, result.attempt)
        return self.store.head(entry) is not None

    def _claim(self, place: Place) -> Claim | None:
        found = read_call(self.store, place.tenant, place.name)
        me = WorkerIdentity.of_this_process()
        now = time.time()
        if found is None:
            record = CallRecord(
                key=place.name, task="retention", version=0, tenant=place.tenant, request={}, worker=me
            )
        else:
            update = {"worker": me, "state": "running", "claimed_at": now, "heartbeat_at": now}
            record = found[0].model_copy(update={**update, "cancel_requested": None})
        taken = Claim.take(self.store, record)
        return taken if isinstance(taken, Claim) else None

    def _still_kept(self, place: Place, cutoff: datetime) -> Outcome | None:
        """The last look: is it named, or was it written to?"""
        if why := self._named(place):
            return Outcome("kept", why)
        written = [item.modified for item in self._objects(place) if item.key != place.mark_key]
        if not written:
            return Outcome("kept", "it is gone already")
        if max(written) > cutoff:
            return Outcome("kept", "it was written to meanwhile")
        return None

    def _named(self, place: Place) -> str | None:
        if time.monotonic() - self._looked_at > FRESH_S:
            self.references.read_calls()
            self._looked_at = time.monotonic()
        if place.owner is not None:
            self.references.read_documents([_pointer_of(place.owner)])
        return self.references.why(place)

    def _remove_objects(self, place: Place, cutoff: datetime | None, *, last: str | None = None) -> Outcome:
        found = list(self._objects(place))
        newer = [item for item in found if item.key != last and cutoff and item.modified > cutoff]
        if newer:
            return Outcome("kept", f"{newer[0].key} was written meanwhile")
        freed = 0
        first = [item for item in found if item.key != last]
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="retention-delete") as pool:
            for at in range(0, len(first), BATCH):
                if at and place.what != "call" and (why := self._named(place)):
                    return Outcome("kept", f"{why}; {at} of {len(first)} objects were removed before", freed)
                batch = first[at : at + BATCH]
                for _ in pool.map(self.store.delete, [item.key for item in batch]):
                    pass
                freed += sum(item.size for item in batch)
        if last is not None:
            self.store.delete(last)
            freed += sum(item.size for item in found if item.key == last)
        return Outcome("removed", bytes=freed)

    def _objects(self, place: Place) -> Iterable[ObjectInfo]:
        """The place's own. A key that only begins like one of them, as a person's `….json.bak`, is not."""
        for prefix in place.prefixes:
            yield from (item for item in self.store.list(prefix) if place_of(item.key) == place)


def is_settled(unit: Unit, now: datetime) -> bool:
    """Whether a recipe's manifest was taken away long enough ago."""
    return unit.marked is not None and now - unit.marked >= timedelta(seconds=SETTLED_S)


def _pointer_of(owner: Owner) -> str:
    if owner.area == "clips":
        return keys.clip_current_key(keys.ClipId(owner.tenant, owner.name))
    return keys.current_key(keys.VideoId(owner.tenant, owner.name))

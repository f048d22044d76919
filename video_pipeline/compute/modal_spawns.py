"""Which Modal call runs a call key: a note in the store, written before and after every spawn.

Belongs here: the note, how it is taken and changed. Does not belong here: Modal itself, or when to spawn
(`compute.modal_calls`).

The note is taken before the spawn (create-if-absent, or compare-and-swap over an older one), so of any number
of callers one spawns; Modal's id is written into it right after. A caller killed between the two leaves a
note that says `spawning`: for `SPAWN_LIMIT_S` everybody waits for the worker to claim the call, and then the
next one spawns again. Should both workers come up, the claim lets one work and the other ends at once.
"""

from __future__ import annotations

import time
import uuid
from typing import Literal

from pydantic import Field

from video_pipeline.calls import Record, every_tenant, read_call
from video_pipeline.keys import spawn_key
from video_pipeline.store.base import ObjectMissing, ObjectStore, PreconditionFailed

SPAWN_LIMIT_S = 60.0
"""A spawn takes about a second; a minute covers the client's own retries."""
UNCLAIMED_LIMIT_S = 3600.0
"""How long a spawned call is waited for: a container may have to wait for a free GPU of a rare type."""
SKEW_S = 600.0
"""How far the store's clock may be behind ours. A note that was written longer ago need not be read: every
call that ever ran on Modal has one."""


class SpawnNote(Record):
    """`keys.spawn_key`."""

    key: str
    task: str
    owner: str = Field(default_factory=lambda: uuid.uuid4().hex)
    """Who took the note: tells two that were taken at once apart."""
    state: Literal["spawning", "spawned", "failed"] = "spawning"
    app: str
    gpu: str | None = None
    call_id: str | None = None
    """Modal's id, once spawned."""
    after_attempt: int
    """The attempt that the call's record named before: a result of it is not this spawn's."""
    at: float = Field(default_factory=time.time)
    cancelled: str | None = None
    """Why the call should end, from the moment somebody asked: nobody may have claimed it yet."""

    def is_fresh(self) -> bool:
        """Whether its taker may still be about to write the id."""
        return self.state == "spawning" and time.time() - self.at < SPAWN_LIMIT_S


def read_note(store: ObjectStore, tenant: str, key: str) -> tuple[SpawnNote, str] | None:
    """The note and the ETag to change it by, or None."""
    try:
        data, etag = store.get_with_etag(spawn_key(tenant, key))
    except ObjectMissing:
        return None
    return SpawnNote.model_validate_json(data), etag


def take_note(store: ObjectStore, tenant: str, note: SpawnNote, *, instead_of: str | None) -> bool:
    """Writes the note where none is, or in place of the one of that ETag. False if another was faster."""
    conditional = store.conditional_writes()
    try:
        store.put(
            spawn_key(tenant, note.key),
            note.model_dump_json(indent=2).encode(),
            content_type="application/json",
            if_match=instead_of if conditional else None,
            if_none_match=instead_of is None and conditional,
        )
    except PreconditionFailed:
        return False
    if not conditional:
        # Such a server lets both of two racing writers through: the last one stands, so look who it was.
        time.sleep(1.0)
        found = read_note(store, tenant, note.key)
        return found is not None and found[0].owner == note.owner
    return True


def waiting_spawns(store: ObjectStore, tenant: str | None = None) -> list[tuple[str, SpawnNote]]:
    """The tenant and note of every call, of one tenant or of all, that was spawned and that no worker has
    claimed yet; the newest first. Of what Modal may have dropped meanwhile this knows nothing."""
    key = "0" * 32
    found: list[tuple[str, SpawnNote]] = []
    for owner in [tenant] if tenant is not None else every_tenant(store):
        prefix = spawn_key(owner, key).removesuffix(f"{key}.json")
        for item in store.list(prefix):
            if time.time() - item.modified.timestamp() > UNCLAIMED_LIMIT_S + SKEW_S:
                continue
            noted = read_note(store, owner, item.key.removeprefix(prefix).removesuffix(".json"))
            if noted is not None and _waits(store, owner, noted[0]):
                found.append((owner, noted[0]))
    return sorted(found, key=lambda pair: pair[1].at, reverse=True)


def _waits(store: ObjectStore, tenant: str, note: SpawnNote) -> bool:
    if note.state == "failed" or note.cancelled is not None or time.time() - note.at > UNCLAIMED_LIMIT_S:
        return False
    call = read_call(store, tenant, note.key)
    return call is None or call[0].attempt <= note.after_attempt


def change_note(store: ObjectStore, tenant: str, note: SpawnNote, **changes: object) -> SpawnNote:
    """Changes this note, if it still stands; returns it changed. Another's note is left alone."""
    changed = note
    for _ in range(20):
        found = read_note(store, tenant, note.key)
        if found is None or found[0].owner != note.owner:
            return note.model_copy(update=changes)
        changed = found[0].model_copy(update=changes)
        if take_note(store, tenant, changed, instead_of=found[1]):
            break
        time.sleep(0.05)
    return changed

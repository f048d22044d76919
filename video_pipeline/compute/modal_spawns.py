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

from video_pipeline.calls import Record
from video_pipeline.keys import spawn_key
from video_pipeline.store.base import ObjectMissing, ObjectStore, PreconditionFailed

SPAWN_LIMIT_S = 60.0
"""A spawn takes about a second; a minute covers the client's own retries."""


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

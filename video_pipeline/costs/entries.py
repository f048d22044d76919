"""What the ledger is written from: one entry for each attempt of each call, an object of its own.

Belongs here: the entry, its name in the store, writing it once. Does not belong here: who writes it
(`calls.write_result`, `claims.Claim.take`), the table made of entries (`costs.ledger`), prices.

An entry's name is made of the attempt alone (when it was claimed, the call, its number), so that whoever is
second in telling how an attempt ended, a worker or the one that buries it, writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from video_pipeline import keys
from video_pipeline.errors import ErrorKind
from video_pipeline.store.base import ObjectStore, PreconditionFailed
from video_pipeline.telemetry.usage import Usage

LOST = "lost"
"""The error of an attempt whose worker ended without a word: killed, or its machine was taken away."""


class LedgerEntry(BaseModel):
    """`keys.ledger_entry_key`. Times in UTC."""

    model_config = ConfigDict(extra="ignore")

    key: str
    attempt: int
    task: str
    version: int
    tenant: str
    partition: str | None = None
    """`tenant--video`, `tenant--clip` or `tenant--sample`, where the request names one."""
    status: Literal["ok", "error"]
    error_kind: ErrorKind | Literal["lost"] | None = None
    backend: str
    host: str = ""
    started_at: datetime
    """When the attempt was claimed."""
    finished_at: datetime
    """Of a worker that died: its last heartbeat."""
    parent: str | None = None
    """The key of the call that started this one."""
    degraded: list[str] = Field(default_factory=list)
    usage: Usage = Field(default_factory=Usage)


def write_entry(store: ObjectStore, entry: LedgerEntry) -> bool:
    """Writes the entry unless the attempt has one. Returns whether it was written."""
    key = keys.ledger_entry_key(entry.started_at, entry.key, entry.attempt)
    conditional = store.conditional_writes()
    if not conditional and store.head(key) is not None:
        return False
    try:
        store.put(
            key,
            entry.model_dump_json().encode(),
            content_type="application/json",
            if_none_match=conditional,
        )
    except PreconditionFailed:
        return False
    return True


def partition_of(request: Mapping[str, object]) -> str | None:
    """The partition that a request is about, from its names; None where it names no product."""
    tenant = request.get("tenant_id")
    for field in ("video_id", "clip_id", "sample_id"):
        name = request.get(field)
        if isinstance(tenant, str) and isinstance(name, str):
            return f"{tenant}--{name}"
    return None

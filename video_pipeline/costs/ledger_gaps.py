"""Attempts that nobody has entered in the ledger, found by looking.

Belongs here: looking for them once a day, and their entries. Does not belong here: entries of attempts whose
worker or caller writes them (`calls.write_result`, `claims.Claim.take`), the table (`ledger`).

There are two kinds: a worker died and nobody came back for its call, and a store refused an attempt's entry
and took its result. Both looks read much of the store: they are for a daily run, not for a page.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from pydantic import ValidationError

from video_pipeline import keys
from video_pipeline.calls import ResultRecord, enter_lost, enter_result, every_tenant, list_calls
from video_pipeline.costs.ledger import READERS, load
from video_pipeline.store.base import ObjectMissing, ObjectStore

LOOKED_BACK = timedelta(days=7)
"""How old a result may be that is held against the ledger: a week in which the daily run did not run."""


def enter_orphans(store: ObjectStore, *, silent_for_s: float = 3600.0) -> int:
    """Writes the entries of attempts whose worker died and which nobody followed to their end. Returns how
    many such attempts there are. Reads every call record.

    `silent_for_s`: how old the last heartbeat of one is at least; a worker that only paused so long and then
    goes on has its attempt in the ledger as lost.
    """
    lost = [
        record
        for record in list_calls(store)
        if record.state == "running"
        and not record.is_alive()
        and time.time() - record.heartbeat_at > silent_for_s
    ]
    for record in lost:
        enter_lost(store, record)
    return len(lost)


def enter_results(store: ObjectStore) -> int:
    """Writes the entries that results of the last `LOOKED_BACK` lack. Returns how many. Reads the ledger and
    every result of that time; one that is no result is left alone, as `read_result` tells of it."""
    since = datetime.now(UTC) - LOOKED_BACK
    # Results first: an attempt that ends meanwhile is entered before its result is there.
    # And of each tenant these alone: there are 1,500 objects of a video.
    results = [
        item.key
        for tenant in every_tenant(store)
        for item in store.list(keys.results_prefix(tenant))
        if _is_result(item.key) and item.modified >= since
    ]
    ledger = load(store)
    entered = set(zip(ledger["key"], ledger["attempt"], ledger["started_at"], strict=True))
    missing = 0
    with ThreadPoolExecutor(READERS, thread_name_prefix="ledger") as pool:
        for name, record in zip(results, pool.map(lambda name: _result(store, name), results), strict=True):
            if record is not None and (record.key, record.attempt, record.started_at) not in entered:
                enter_result(store, name.split("/", 1)[0], record)
                missing += 1
    return missing


def _is_result(key: str) -> bool:
    """Reports of calls lie beside their results, a folder deeper."""
    return key.count("/") == 3


def _result(store: ObjectStore, name: str) -> ResultRecord | None:
    try:
        return ResultRecord.model_validate_json(store.get(name))
    except (ObjectMissing, ValidationError):
        return None

"""The ledger as a table: one row for each attempt of each call, with what it cost.

Belongs here: folding entries into Parquet, reading the table, adding up a job. Does not belong here: writing
entries (`costs.entries`), looking for those that are missing (`costs.ledger_gaps`), a row's columns and
prices (`costs.ledger_rows`), what is concluded from the table (`costs.model`). pandas and pyarrow are
imported inside functions: no worker needs them.

The table is one object for each day on which attempts were claimed. An entry is deleted once its row stands
in it, so a collection reads what is new and nothing else. A row is told from others by call, attempt and the
moment of the claim: an entry that comes twice is one row, whenever it comes.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from video_pipeline import keys
from video_pipeline.costs.entries import LedgerEntry
from video_pipeline.costs.estimate import ANY_REGION, Prices
from video_pipeline.costs.ledger_rows import (
    COLUMNS,
    IDENTITY,
    NUMBER,
    TEXT,
    TIME,
    WHOLE,
    YES,
    Pricing,
    root_of,
)
from video_pipeline.errors import Internal, Transient
from video_pipeline.store.base import ObjectMissing, ObjectStore, PreconditionFailed
from video_pipeline.tasks import Task

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)

READERS = 8
"""Entries are a kilobyte or two each, and a store is milliseconds away: reading them is waiting."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What one collection did: rows added, entries found that had their row already, entries that cannot be
    read (they stay where they are), and the days whose table changed."""

    added: int = 0
    known: int = 0
    unreadable: tuple[str, ...] = ()
    days: tuple[date, ...] = ()


def collect(
    store: ObjectStore,
    *,
    prices: Prices | None = None,
    region: str = ANY_REGION,
    tasks: Mapping[str, Task] | None = None,
) -> Collected:
    """Moves every entry into the table, at the prices of today's list.

    May be run again at any time and by several at once: a day's table is replaced by compare-and-swap, and
    an entry is deleted after the table that holds it is written. Where the store cannot compare and swap
    (`ObjectStore.conditional_writes`) entries are not deleted: the next collection mends what two at once
    overwrote. `tasks` is the task table, for what local calls would cost on Modal. Raises `Transient` if a
    table is being changed by too many.
    """
    pricing = Pricing.of(prices, region, tasks)
    by_day: dict[date, list[str]] = {}
    strangers: list[str] = []
    for item in store.list(keys.ledger_entries_prefix()):
        day = _day_of(item.key)
        (strangers if day is None else by_day.setdefault(day, [])).append(item.key)
    done = Collected(unreadable=tuple(strangers))
    for day, names in sorted(by_day.items()):
        found, unreadable = _read_entries(store, names)
        added = _fold(store, day, [pricing.row(entry) for entry in found.values()])
        if store.conditional_writes():
            _for_each(store.delete, found)
        done = Collected(
            added=done.added + added,
            known=done.known + len(found) - added,
            unreadable=(*done.unreadable, *unreadable),
            days=(*done.days, day) if added else done.days,
        )
    return done


def load(
    store: ObjectStore,
    *,
    prices: Prices | None = None,
    region: str = ANY_REGION,
    tasks: Mapping[str, Task] | None = None,
) -> pd.DataFrame:
    """The ledger: a row for each attempt, by the moment of its claim, with the columns of `COLUMNS`.

    What has been collected, at the prices of then, and what has not, at those of now (`prices`, `region`).
    `usd` is what an attempt cost: for a local one 0. `usd_on_modal` is what the same seconds cost on the
    machine that its task asks for on Modal; that machine would have taken fewer or more of them, so it is no
    forecast. Integers and booleans are of pandas' nullable types.
    """
    import pyarrow as pa

    pricing = Pricing.of(prices, region, tasks)
    # Entries first: one that is collected meanwhile is then seen in both places, never in none.
    pending, _ = _read_entries(store, [item.key for item in store.list(keys.ledger_entries_prefix())])
    names = [item.key for item in store.list(keys.ledger_table_prefix())]
    tables = [_parsed(data, name) for data, name in zip(_for_each(store.get, names), names, strict=True)]
    tables.append(_table([pricing.row(entry) for entry in pending.values()]))
    whole = pa.concat_tables(tables, promote_options="permissive")
    return _frame(whole.select(list(COLUMNS)))


def job_costs(rows: pd.DataFrame) -> pd.DataFrame:
    """What each job cost: a call with all of its attempts, and those of the calls it started, and of theirs.

    One row for each call that no other has started, by its first claim: `key`, `task`, `partition`, `tenant`
    and `status` of its last attempt (null where only its children are in `rows`), `attempts` of all calls
    and `calls`, `started_at` and `finished_at` of the whole, `frames` of its last attempt, and sums of
    `machine_s`, `cpu_s`, `gpu_seconds`, `usd_gpu`, `usd_cpu`, `usd_memory`, `usd`, `usd_on_modal`.
    """
    import pandas as pd

    rows = rows.sort_values("started_at", kind="stable")
    parents = {
        key: parent for key, parent in zip(rows["key"], rows["parent"], strict=True) if pd.notna(parent)
    }
    jobs = rows.assign(job=[root_of(key, parents) for key in rows["key"]])
    sums = ["machine_s", "cpu_s", "gpu_seconds", "usd_gpu", "usd_cpu", "usd_memory", "usd", "usd_on_modal"]
    grouped = jobs.groupby("job", sort=False)
    total = pd.DataFrame(grouped[sums].sum(min_count=1))
    total["attempts"] = grouped.size()
    total["calls"] = grouped["key"].nunique()
    total["started_at"] = grouped["started_at"].min()
    total["finished_at"] = grouped["finished_at"].max()
    own = jobs[jobs["key"] == jobs["job"]].groupby("job").tail(1).set_index("job")
    facts = own[["task", "tenant", "partition", "status", "frames", "chunks"]]
    made = facts.join(total, how="right").rename_axis("key").reset_index()
    return made.sort_values("started_at", kind="stable", ignore_index=True)


# Entries and tables in the store


def _day_of(key: str) -> date | None:
    """None for what somebody has put there and is no entry."""
    try:
        return date.fromisoformat(key.removeprefix(keys.ledger_entries_prefix()).split("/", 1)[0])
    except ValueError:
        log.warning("%s is no entry of the ledger", key)
        return None


def _for_each(step: Callable[[str], Any], names: Iterable[str]) -> list[Any]:
    with ThreadPoolExecutor(READERS, thread_name_prefix="ledger") as pool:
        return list(pool.map(step, names))


def _read_entries(store: ObjectStore, names: Iterable[str]) -> tuple[dict[str, LedgerEntry], list[str]]:
    """The entries by their names, and the names of those that cannot be read. One that another collector has
    taken meanwhile is in neither."""
    found: dict[str, LedgerEntry] = {}
    unreadable: list[str] = []
    names = list(names)
    for name, data in zip(names, _for_each(lambda name: _get(store, name), names), strict=True):
        if data is None:
            continue
        try:
            found[name] = LedgerEntry.model_validate_json(data)
        except ValidationError:
            log.warning("%s is no entry of the ledger", name)
            unreadable.append(name)
    return found, unreadable


def _get(store: ObjectStore, name: str) -> bytes | None:
    try:
        return store.get(name)
    except ObjectMissing:
        return None


def _fold(store: ObjectStore, day: date, rows: list[dict[str, Any]]) -> int:
    """Adds to a day's table the rows that it does not have. Returns how many."""
    import pyarrow as pa

    name = keys.ledger_table_key(day)
    conditional = store.conditional_writes()
    for _ in range(20):
        try:
            data, etag = store.get_with_etag(name)
            before = _parsed(data, name)
        except ObjectMissing:
            before, etag = _table([]), None
        known = set(zip(*(before.column(column).to_pylist() for column in IDENTITY), strict=True))
        new = {_identity(row): row for row in rows if _identity(row) not in known}
        if not new:
            return 0
        whole = pa.concat_tables([before, _table(list(new.values()))], promote_options="permissive")
        try:
            store.put(
                name,
                _written(whole),
                content_type="application/vnd.apache.parquet",
                if_match=etag if conditional else None,
                if_none_match=etag is None and conditional,
            )
        except PreconditionFailed:
            continue
        return len(new)
    raise Transient("the ledger's table is being changed by too many at once", input=name)


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in IDENTITY)


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {
        TEXT: pa.string(),
        NUMBER: pa.float64(),
        WHOLE: pa.int64(),
        YES: pa.bool_(),
        TIME: pa.timestamp("us", tz="UTC"),
    }
    return pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=_schema())


def _written(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _parsed(data: bytes, name: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(io.BytesIO(data))
    except pa.ArrowInvalid as error:
        raise Internal(f"not a table of the ledger: {error}", input=name) from None


def _frame(table: pa.Table) -> pd.DataFrame:
    import pandas as pd

    nullable = {"int64": pd.Int64Dtype(), "bool": pd.BooleanDtype()}
    frame = table.to_pandas(types_mapper=lambda kind: nullable.get(str(kind)))
    frame = frame.drop_duplicates(IDENTITY, keep="first")
    return frame.sort_values([*reversed(IDENTITY)], kind="stable", ignore_index=True)

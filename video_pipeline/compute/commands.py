"""`video-pipeline calls`: which calls there are, and ending one with all that it has started.

Belongs here: the two commands, the order in which calls are shown. Does not belong here: how a backend ends a
call (`Compute.cancel`), or a call's records (`calls`).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from video_pipeline.errors import BadInput

if TYPE_CHECKING:
    from video_pipeline.calls import CallRecord
    from video_pipeline.compute.base import Compute
    from video_pipeline.settings import Settings
    from video_pipeline.store.base import ObjectStore

REASON = "cancelled with video-pipeline calls cancel"


@dataclass(frozen=True, slots=True)
class Row:
    """A call as it is shown, `depth` steps below the call that started it. `record` is None for one that no
    worker has claimed yet."""

    depth: int
    key: str
    task: str
    tenant: str
    record: CallRecord | None

    def __str__(self) -> str:
        record = self.record
        indented = "  " * self.depth + self.task
        if record is None:
            return f"{self.key}  {'waiting':8}  {'':19}  {self.tenant}  {indented}"
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.claimed_at))
        where = f"attempt {record.attempt} on {record.worker.host}:{record.worker.pid}"
        return f"{self.key}  {state_of(record):8}  {at}  {self.tenant}  {indented}  {where}"


def state_of(record: CallRecord) -> str:
    """`running`, `finished`, or `lost`: its worker is gone and has left no end."""
    return "running" if record.is_alive() else ("finished" if record.state == "finished" else "lost")


def as_tree(records: Sequence[CallRecord]) -> list[Row]:
    """Every call once: the newest first, and below each the calls that it started, in their order."""
    known = {record.key: record for record in records}
    started: dict[str | None, list[CallRecord]] = {}
    for record in reversed(records):
        # One whose parent is not in the list is shown for itself; so is a parent of its own, which is none.
        parent = record.parent if record.parent in known and record.parent != record.key else None
        started.setdefault(parent, []).append(record)

    def below(record: CallRecord, depth: int) -> Iterator[Row]:
        yield Row(depth, record.key, record.task, record.tenant, record)
        for child in started.get(record.key, []):
            yield from below(child, depth + 1)
        for note in _waited_for(record):
            if note["key"] not in known and note["started"]:
                yield Row(depth + 1, note["key"], note["task"], note["tenant"], None)

    return [row for record in reversed(started.get(None, [])) for row in below(record, 0)]


def _waited_for(record: CallRecord) -> list[dict[str, Any]]:
    if record.state == "finished" or not record.progress:
        return []
    return record.progress.get("children") or []


def end_call(
    settings: Settings, store: ObjectStore, records: Sequence[CallRecord], record: CallRecord
) -> int:
    """Ends the call, if it runs, and those of `records` that it started and that still run, whether or not
    its own worker lives. Returns how many were running, or waited for a machine."""
    from video_pipeline.calls import read_call
    from video_pipeline.compute import open_compute
    from video_pipeline.compute.base import Handle
    from video_pipeline.compute.children import end_children, left_by_a_killed_attempt

    family = _family(records, record)
    running = sum(one.is_alive() for one in family)
    for one in family:
        now = read_call(store, one.tenant, one.key)
        if now is None:
            continue
        ended = now[0].state == "finished"
        left = left_by_a_killed_attempt(store, one.tenant, one.key) if ended else None
        if ended and not left:
            continue
        # Of the backend that it runs on, whichever the settings name.
        compute = open_compute(settings.model_copy(update={"compute": one.worker.backend}), store)
        if left:
            # Its end was written in its place. Of what it had started the claimed are of the family.
            waiting = [child for child in left.values() if child["started"] and _waits(compute, child)]
            end_children(compute, waiting, REASON)
            running += len(waiting)
            continue
        handle = Handle(one.tenant, one.key, one.task, compute.backend, attached=True)
        compute.cancel(handle, REASON)
        status = compute.poll(handle)
        if status.state == "lost":
            compute.bury(handle, status)
    return running


def _waits(compute: Compute, child: Mapping[str, Any]) -> bool:
    from video_pipeline.compute.base import Handle

    handle = Handle(child["tenant"], child["key"], child["task"], compute.backend, attached=True)
    return compute.poll(handle).state == "waiting"


def _family(records: Sequence[CallRecord], record: CallRecord) -> list[CallRecord]:
    """The call and all below it that have been claimed."""
    rows = as_tree(records)
    first = next(number for number, row in enumerate(rows) if row.key == record.key)
    below = itertools.takewhile(lambda row: row.depth > rows[first].depth, rows[first + 1 :])
    return [record, *(row.record for row in below if row.record is not None)]


def add_call_commands(commands: Any) -> None:
    """Adds `calls list` and `calls cancel` to the parser's commands."""
    calls = commands.add_parser("calls", help="show and end calls").add_subparsers(
        required=True, metavar="ACTION"
    )
    listing = calls.add_parser("list", help="calls, newest first, each with those that it started below it")
    listing.add_argument("--tenant", default=None, help="default: every tenant of the store")
    listing.set_defaults(run=_list)
    cancel = calls.add_parser("cancel", help="end a running call, and those that it started")
    cancel.add_argument("key", help="its key, or enough of its beginning")
    cancel.add_argument("--tenant", default=None)
    cancel.set_defaults(run=_cancel)


def _list(arguments: argparse.Namespace) -> int:
    from video_pipeline.calls import list_calls
    from video_pipeline.compute.modal_spawns import waiting_spawns
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    store = open_store(load_settings())
    rows = as_tree(list_calls(store, arguments.tenant))
    below = {row.key for row in rows if row.record is None}
    waiting = [
        Row(0, note.key, note.task, tenant, None)
        for tenant, note in waiting_spawns(store, arguments.tenant)
        if note.key not in below
    ]
    print("\n".join(map(str, [*waiting, *rows])) or "no calls")
    return 0


def _cancel(arguments: argparse.Namespace) -> int:
    from video_pipeline.calls import list_calls
    from video_pipeline.compute import open_compute
    from video_pipeline.compute.base import Handle
    from video_pipeline.compute.modal_spawns import waiting_spawns
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    settings = load_settings()
    store = open_store(settings)
    records = list_calls(store, arguments.tenant)
    waiting = {note.key: (tenant, note) for tenant, note in waiting_spawns(store, arguments.tenant)}
    known = {record.key: record for record in records}
    found = [key for key in {**waiting, **known} if key.startswith(arguments.key)]
    if len(found) != 1:
        raise BadInput(
            f"{len(found)} calls begin with {arguments.key!r}",
            input=arguments.key,
            what_to_do="take a key from: video-pipeline calls list",
        )
    (key,) = found
    if key in waiting:
        tenant, note = waiting[key]
        compute = open_compute(settings.model_copy(update={"compute": "modal"}), store)
        compute.cancel(Handle(tenant, key, note.task, compute.backend, attached=True), REASON)
        print(f"{key} is cancelled; no worker had begun it")
        return 0
    record = known[key]
    was = state_of(record)
    running = end_call(settings, store, records, record)
    others = running - (was == "running")
    if was == "running":
        print(f"{record.key} is cancelled" + (f", and {others} that it started" if others else ""))
    elif others:
        print(f"{record.key} was {was} already; {others} that it started are cancelled")
    else:
        print(f"{record.key} is not running")
    return 0

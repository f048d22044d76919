"""A worker's hold on a call: taken before it works, renewed while it does, lost to another.

Belongs here: `Claim`. Does not belong here: the record that is claimed (`calls`), or what a worker does when
it holds none (`worker`).

A claim is taken by create-if-absent and changed by compare-and-swap only, so of any number of racing workers
one wins. One whose worker is lost (`CallRecord.is_alive`) is taken over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from video_pipeline.calls import CallRecord, change_call, enter_lost, put_call, read_call
from video_pipeline.errors import Transient
from video_pipeline.store.base import ObjectStore, PreconditionFailed


class Claim:
    """This process's hold on a call. Renewed by `heartbeat`; `owned` turns False when somebody took it."""

    def __init__(self, store: ObjectStore, tenant: str, record: CallRecord) -> None:
        self._store = store
        self._tenant = tenant
        self.record = record
        self.owned = True

    @classmethod
    def take(
        cls, store: ObjectStore, record: CallRecord, served: Callable[[], bool] = lambda: False
    ) -> Claim | CallRecord | None:
        """The claim, or the record of the worker that holds it. Takes over finished and lost calls.

        None where the call has been finished and `served` says that its result leaves nothing to do. Whoever
        looked for a result before may have looked a moment too early; now it is there, for a result is
        written before its call is marked finished.
        """
        # A server that ignores conditions would let this record replace that of a worker that lives.
        look_first = not store.conditional_writes()
        for _ in range(20):
            found = read_call(store, record.tenant, record.key) if look_first else None
            if found is None:
                try:
                    put_call(store, record.tenant, record, if_none_match=True)
                    return cls(store, record.tenant, record)
                except PreconditionFailed:
                    found = read_call(store, record.tenant, record.key)
            if found is None:
                continue
            holder, etag = found
            if holder.is_alive() and not record.worker.is_rerun_of(holder.worker):
                return holder
            if holder.state == "finished" and served():
                return None
            successor = record.model_copy(update={"attempt": holder.attempt + 1})
            try:
                put_call(store, record.tenant, successor, if_match=etag)
            except PreconditionFailed:
                continue
            if holder.state == "running":
                enter_lost(store, holder)
            return cls(store, record.tenant, successor)
        raise Transient("the claim changes hands too fast to take", input=record.key)

    def heartbeat(self, progress: dict[str, Any] | None = None) -> str | None:
        """Renews the claim; returns the reason for which the call should be cancelled, if any.

        Sets `owned` to False when another worker holds the call: this one must stop and publish nothing.
        """

        def renew(record: CallRecord) -> CallRecord | None:
            if record.worker != self.record.worker or record.state != "running":
                return None
            record.heartbeat_at = time.time()
            record.progress = progress or record.progress
            return record

        record = change_call(self._store, self._tenant, self.record.key, renew)
        self._note(record)
        return record.cancel_requested if record is not None and self.owned else None

    def cancel_requested(self) -> str | None:
        """Reads the record without renewing it."""
        found = read_call(self._store, self._tenant, self.record.key)
        self._note(found[0] if found else None)
        return found[0].cancel_requested if found and self.owned else None

    def finish(self) -> None:
        """Marks the call finished. The result record is written before, never after."""

        def end(record: CallRecord) -> CallRecord | None:
            if record.worker != self.record.worker:
                return None
            record.state = "finished"
            record.heartbeat_at = time.time()
            return record

        change_call(self._store, self._tenant, self.record.key, end)

    def _note(self, record: CallRecord | None) -> None:
        self.owned = record is not None and record.worker == self.record.worker

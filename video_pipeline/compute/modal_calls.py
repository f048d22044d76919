"""Modal compute: each call a function call of the deployed app, found again by any process.

Belongs here: the contract of compute for Modal: when to spawn, and how a call is ended. Does not belong here:
Modal's client (`compute.modal`), what a call asks of it (`compute.modal_asking`), the note that names a
call's function call (`compute.modal_spawns`), judging how a call stands (`compute.modal_state`), its output
(`compute.modal_output`), the app (`modal_ops`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from video_pipeline.call_ends import end_in_its_place, error_in_its_place, unclaimed_result
from video_pipeline.calls import (
    CallRecord,
    ResultRecord,
    WorkerIdentity,
    read_call,
    read_result,
    request_cancel,
)
from video_pipeline.compute.base import CallOptions, EventReader, Handle, Status
from video_pipeline.compute.children import end_children, left_by_a_killed_attempt
from video_pipeline.compute.modal import DeployedApp, Way
from video_pipeline.compute.modal_asking import advice_when_lost, asked_of_modal
from video_pipeline.compute.modal_cost import ToldFirst, with_foretold
from video_pipeline.compute.modal_output import OutputReader
from video_pipeline.compute.modal_spawns import (
    UNCLAIMED_LIMIT_S,
    SpawnNote,
    change_note,
    read_note,
    take_note,
)
from video_pipeline.compute.modal_state import CallWatch
from video_pipeline.errors import Transient
from video_pipeline.settings import Settings
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import call_key_of, find_task, tenant_of
from video_pipeline.worker import CallFile

if TYPE_CHECKING:
    from video_pipeline.modal_ops.guard import CallCost, Foretold

CANCEL_GRACE_S = 8.0
"""How long a cancelled worker may take to stop: it looks every 2 s (`worker_watch.CANCEL_POLL_S`)."""
INTERRUPT_GRACE_S = 5.0
"""How long it may take after Modal's exception in it, before its container is killed."""
CANCEL_LOOK_S = 0.3


class ModalCompute:
    """Calls as function calls of the app that `modal_ops` deploys."""

    backend = "modal"
    unclaimed_limit_s = UNCLAIMED_LIMIT_S

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        from video_pipeline.modal_ops.specs import app_name

        self._settings = settings
        self._store = store
        self._app = DeployedApp(app_name(settings))
        self._watches: dict[str, CallWatch] = {}
        self._costs: dict[str, tuple[CallCost, Future[Foretold | None]]] = {}

    def submit(
        self, task: str, request: BaseModel | Mapping[str, Any], options: CallOptions | None = None
    ) -> Handle:
        """As `Compute.submit`. `BadInput` also for a GPU or time limit that Modal does not have, and for a
        call that may cost more than the settings allow; `VersionMismatch` where the app is not deployed;
        `Transient` where Modal stays away."""
        options = options or CallOptions()
        entry = find_task(task, self._settings)
        parsed = entry.parse_request(request)
        tenant = tenant_of(parsed)
        key = call_key_of(entry, parsed, self._store, repeat=options.repeat)
        handle = Handle(tenant, key, entry.name, self.backend)
        attached = Handle(tenant, key, entry.name, self.backend, attached=True)
        result = read_result(self._store, tenant, key)
        if result is not None and result.is_reusable(entry, self._store):
            return replace(attached, ended=True)
        asked = asked_of_modal(entry, parsed, options, self._settings, self._store)
        file = CallFile(
            key=key,
            task=entry.name,
            version=entry.version,
            request=parsed.model_dump(mode="json"),
            timeout_s=options.timeout_s or entry.hardware.timeout_s,
            submitted_at=time.time(),
            parent=options.parent,
            reserved=asked.reserved,
        )
        for _ in range(20):
            call = read_call(self._store, tenant, key)
            found = read_note(self._store, tenant, key)
            if (call is not None and call[0].is_alive()) or (found is not None and self._goes_on(found[0])):
                return attached
            note = SpawnNote(
                key=key,
                task=entry.name,
                app=self._app.name,
                gpu=asked.way.gpu,
                after_attempt=call[0].attempt if call is not None else 0,
            )
            if take_note(self._store, tenant, note, instead_of=found[1] if found is not None else None):
                self._spawn(tenant, note, file, asked.way)
                self._watches.pop(key, None)
                if options.parent is None:
                    # Of what an orchestrator starts its own caller is told: one line, not hundreds.
                    self._costs[key] = asked.cost, asked.foretell(self._store)
                return handle
            time.sleep(0.05)
        raise Transient("the call's note changes hands too fast to take", input=key)

    def check(self, task: str, calls: int, options: CallOptions | None = None) -> None:
        from video_pipeline.modal_ops.guard import check_cost

        check_cost(find_task(task, self._settings), options, self._settings, calls=calls)

    def _goes_on(self, note: SpawnNote) -> bool:
        """Whether an earlier spawn may still bring a worker: being written, waiting, or to be run again."""
        if note.state == "spawned" and note.call_id is not None:
            return self._app.outcome(note.call_id).state == "pending"
        return note.is_fresh()

    def _spawn(self, tenant: str, note: SpawnNote, file: CallFile, way: Way) -> None:
        try:
            call_id = self._app.spawn(way, file.model_dump(mode="json"))
        except BaseException:
            change_note(self._store, tenant, note, state="failed")
            raise
        noted = change_note(self._store, tenant, note, state="spawned", call_id=call_id)
        if noted.cancelled is not None:
            self._app.cancel(call_id, terminate=True)

    def poll(self, handle: Handle) -> Status:
        return self._watch(handle).status()

    def _watch(self, handle: Handle) -> CallWatch:
        if handle.key not in self._watches:
            self._watches[handle.key] = CallWatch(self._store, self._app, handle)
        return self._watches[handle.key]

    def bury(self, handle: Handle, status: Status) -> ResultRecord | None:
        found = read_call(self._store, handle.tenant, handle.key)
        noted = read_note(self._store, handle.tenant, handle.key)
        note = noted[0] if noted is not None else None
        record = found[0] if found is not None else None
        if record is not None and record.is_alive() and not self._has_ended(record, note):
            return None
        claimed = record is not None and (note is None or record.attempt > note.after_attempt)
        reason = (note.cancelled if note is not None else None) or (
            record.cancel_requested if record is not None and claimed else None
        )
        error = error_in_its_place(
            handle.task,
            status.died,
            f"the call did not end: {status.detail}",
            what_to_do=advice_when_lost(handle.task, status, self._settings),
            cancelled=reason,
        )
        if record is None or not claimed:
            if note is not None:
                change_note(self._store, handle.tenant, note, state="failed")
            worker = WorkerIdentity(backend="modal", call_id=note.call_id if note is not None else None)
            return unclaimed_result(handle.key, handle.task, error, worker)
        return end_in_its_place(self._store, record, error)

    def _has_ended(self, record: CallRecord, note: SpawnNote | None) -> bool:
        """Whether the worker in the record is of a call that Modal has done with."""
        if note is None or note.call_id is None or record.worker.call_id != note.call_id:
            return False
        return self._app.outcome(note.call_id).state != "pending"

    def events(self, handle: Handle) -> EventReader:
        """The worker's own; for who has started the call also one `cost` (`compute.modal_cost`)."""

        def status() -> Status | None:
            return self._watch(handle).last

        reader = OutputReader(self._store, self._app, handle, status)
        if handle.key not in self._costs:
            return reader
        return ToldFirst(reader, *self._costs[handle.key], status)

    def cancel(self, handle: Handle, reason: str) -> None:
        """First the worker is asked, through the store; then Modal interrupts the function; then it kills
        the container. A call that nobody has claimed yet is ended with Modal at once. `Transient` where that
        needs Modal and it stays away."""
        record = request_cancel(self._store, handle.tenant, handle.key, reason)
        noted = read_note(self._store, handle.tenant, handle.key)
        note = noted[0] if noted is not None else None
        if note is not None and note.state != "failed":
            note = change_note(self._store, handle.tenant, note, cancelled=reason)
        if record is not None and record.is_alive():
            self._end_worker(handle, note)
        elif note is not None and note.call_id is not None:
            self._app.cancel(note.call_id, terminate=True)
        status = self._look_again(handle)
        left = left_by_a_killed_attempt(self._store, handle.tenant, handle.key)
        if left and status.state != "running":
            # One that ended by itself has ended them before.
            end_children(self, left.values(), reason)
        if status.state == "lost":
            self.bury(handle, status)

    def _end_worker(self, handle: Handle, note: SpawnNote | None) -> None:
        if self._ends_within(handle, CANCEL_GRACE_S) or note is None or note.call_id is None:
            return
        for terminate in (False, True):
            self._app.cancel(note.call_id, terminate=terminate)
            if self._ends_within(handle, INTERRUPT_GRACE_S):
                return

    def _ends_within(self, handle: Handle, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._look_again(handle).state in ("done", "lost"):
                return True
            time.sleep(CANCEL_LOOK_S)
        return False

    def _look_again(self, handle: Handle) -> Status:
        """How the call stands now, whenever it was looked at last."""
        self._watches.pop(handle.key, None)
        return self.poll(handle)

    def describe(self, handle: Handle) -> dict[str, Any]:
        noted = read_note(self._store, handle.tenant, handle.key)
        described: dict[str, Any] = {"backend": self.backend, "key": handle.key, "task": handle.task}
        if noted is not None:
            note = noted[0]
            described |= {"app": note.app, "call_id": note.call_id, "gpu": note.gpu, "spawn": note.state}
        if handle.key in self._costs:
            described |= with_foretold(*self._costs[handle.key]).facts()
        found = read_call(self._store, handle.tenant, handle.key)
        if found is None:
            return {**described, "state": "not claimed"}
        record = found[0]
        return {
            **described,
            "state": record.state,
            "host": record.worker.host,
            "attempt": record.attempt,
            "heartbeat_age_s": round(time.time() - record.heartbeat_at, 1),
        }

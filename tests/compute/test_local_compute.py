"""The local backend beyond the contract: signals, and claims whose machine is gone."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.compute.conftest import wait_until_claimed
from video_pipeline import keys
from video_pipeline.calls import read_call
from video_pipeline.claims import Claim
from video_pipeline.compute.follow import follow
from video_pipeline.compute.local import LocalCompute
from video_pipeline.store.base import ObjectStore


def test_a_terminated_worker_is_preempted_not_cancelled(compute: LocalCompute, store: ObjectStore) -> None:
    handle = compute.submit("double", {"do": "sleep", "seconds": 60})
    call = wait_until_claimed(store, handle.tenant, handle.key)
    os.kill(call.worker.pid, signal.SIGTERM)
    record = follow(compute, handle)
    assert record.error is not None
    assert record.error.kind == "preempted"


def test_a_worker_ends_with_its_task_and_waits_for_no_thread_of_it(
    compute: LocalCompute, store: ObjectStore, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    handle = compute.submit("double", {"do": "linger", "seconds": 60, "journal": str(journal)})
    assert follow(compute, handle).status == "ok"
    # Followed to the end of its process: what was to be told of it has been.
    assert compute.describe(handle)["state"] == "finished"
    call = read_call(store, handle.tenant, handle.key)
    assert call is not None
    assert call[0].worker.process() is None
    assert journal.read_text() == "told of the end"


def test_a_claim_without_a_heartbeat_for_a_minute_is_taken_over(store: ObjectStore) -> None:
    from video_pipeline.calls import CallRecord, WorkerIdentity

    def record(host: str, age_s: float) -> CallRecord:
        return CallRecord(
            key="ab" * 16,
            task="double",
            version=1,
            tenant="acme",
            request={},
            worker=WorkerIdentity(host=host, boot_id="elsewhere", pid=1),
            heartbeat_at=time.time() - age_s,
        )

    first = Claim.take(store, record("one", 50))
    assert isinstance(first, Claim)
    assert not isinstance(Claim.take(store, record("two", 0)), Claim)
    found = read_call(store, "acme", "ab" * 16)
    assert found is not None
    stale = found[0].model_copy(update={"heartbeat_at": time.time() - 61})
    store.put(keys.call_key("acme", "ab" * 16), stale.model_dump_json().encode())
    second = Claim.take(store, record("two", 0))
    assert isinstance(second, Claim)
    assert second.record.attempt == 2
    assert first.heartbeat() is None
    assert not first.owned


@pytest.mark.parametrize(("do", "traced"), [("bad_input", False), ("crash", True)])
def test_the_log_shows_a_traceback_only_where_a_message_is_not_all_one_needs(
    compute: LocalCompute, do: str, traced: bool
) -> None:
    lines: list[str] = []
    handle = compute.submit("double", {"do": do})
    record = follow(compute, handle, on_event=lambda event: lines.append(str(event.data.get("line", ""))))
    assert record.error is not None
    assert "Traceback" in record.error.traceback
    assert any(f"double failed ({record.error.kind})" in line for line in lines)
    assert any("Traceback" in line for line in lines) == traced

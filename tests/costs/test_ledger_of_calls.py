"""Whatever becomes of an attempt, it is in the ledger once: real workers that end in every way there is."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.compute.conftest import starts, wait_until_claimed
from tests.compute.test_fan_out import behaviours, wait_for
from tests.conftest import ROOT
from tests.doubles.tasks import Orchestration
from video_pipeline import keys
from video_pipeline.calls import (
    CallRecord,
    ErrorRecord,
    WorkerIdentity,
    change_call,
    enter_lost,
    failed_result,
    read_call,
    read_result,
    write_result,
)
from video_pipeline.claims import Claim
from video_pipeline.compute.base import CallOptions, Handle
from video_pipeline.compute.follow import CallFailed, follow, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.costs.ledger import collect, job_costs, load
from video_pipeline.costs.ledger_gaps import LOOKED_BACK, enter_orphans, enter_results
from video_pipeline.errors import ErrorKind, Transient
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectInfo, ObjectStore
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.telemetry.usage import Machine, Usage
from video_pipeline.worker import CallFile


@pytest.fixture
def store(task_settings: Settings) -> ObjectStore:
    return open_store(task_settings)


def rows_of(store: ObjectStore) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in load(store).to_dict("records")]


def kinds(store: ObjectStore) -> Counter[str]:
    """How many attempts ended in each way."""
    return Counter(row["error_kind"] if row["status"] == "error" else "ok" for row in rows_of(store))


@pytest.mark.slow
def test_every_attempt_is_in_the_ledger_however_it_ended(
    compute: LocalCompute, store: ObjectStore, task_settings: Settings, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    expected: Counter[str] = Counter()

    def ended(kind: str, do: str, attempts: int = 1, **options: Any) -> None:
        request = {"do": do, "journal": str(journal), "number": expected.total(), "seconds": 60.0}
        with suppress(CallFailed):
            run_call(compute, "double", request, CallOptions(max_attempts=attempts, **options))
        expected[kind] += attempts

    ended("ok", "return")
    ended("bad_input", "bad_input")
    ended("internal", "crash")
    ended("out_of_memory", "memory")
    ended("timeout", "sleep", timeout_s=1.0)
    ended("transient", "transient", attempts=2)
    ended("lost", "die", attempts=2)

    cancelled = _sleeping(compute, 98, journal)
    compute.cancel(cancelled, "a test asked")
    expected["cancelled"] += 1

    told = _sleeping(compute, 99, journal)
    os.kill(wait_until_claimed(store, told.tenant, told.key).worker.pid, signal.SIGTERM)
    follow(compute, told)
    expected["preempted"] += 1
    ran = starts(journal)
    assert ran == expected.total()

    _run_worker(task_settings, tmp_path, CallFile(key="e" * 32, task="double", version=99, **_BLANK))
    expected["version_mismatch"] += 1

    assert kinds(store) == expected
    collect(store)
    assert kinds(store) == expected
    rows = rows_of(store)
    assert len({(row["key"], row["attempt"]) for row in rows}) == len(rows) == ran + 1
    assert all(row["backend"] == "local" and row["usd"] == 0 for row in rows)


def _sleeping(compute: LocalCompute, number: int, journal: Path) -> Handle:
    """A call whose task has begun."""
    before = starts(journal)
    request = {"do": "sleep", "seconds": 60, "number": number, "journal": str(journal)}
    handle = compute.submit("double", request)
    wait_for(lambda: starts(journal) > before)
    return handle


_BLANK: dict[str, Any] = {"request": {}, "timeout_s": 60.0}


def _run_worker(settings: Settings, folder: Path, call: CallFile) -> None:
    path = folder / "call.json"
    path.write_text(call.model_dump_json())
    environment = {
        **os.environ,
        "VIDEO_PIPELINE_STORE": settings.store,
        "VIDEO_PIPELINE_STATE": str(settings.state_dir),
    }
    subprocess.run(
        [sys.executable, "-m", "video_pipeline.worker", str(path)], cwd=ROOT, env=environment, check=True
    )


def test_an_attempt_says_how_long_it_waited_started_and_worked(
    compute: LocalCompute, store: ObjectStore
) -> None:
    run_call(compute, "double", {"do": "sleep", "seconds": 0.6})
    (row,) = rows_of(store)
    assert 0.6 <= row["wall_s"] < 60
    assert row["machine_s"] > row["wall_s"]
    assert 0 < row["queued_s"] < 120
    assert 0 < row["startup_overhead_ms"] <= row["queued_s"] * 1000 + 10_000
    assert 0 < row["cpu_s"] < 10
    assert row["peak_memory_mib"] > 1
    assert bool(row["cold"])
    assert (row["finished_at"] - row["started_at"]).total_seconds() == pytest.approx(row["wall_s"], abs=0.5)


def test_a_worker_that_nobody_buried_is_entered_by_the_one_that_takes_its_call_over(
    compute: LocalCompute, store: ObjectStore, tmp_path: Path
) -> None:
    request = {"do": "die_once", "journal": str(tmp_path / "journal")}
    handle = compute.submit("double", request)
    _wait_until_dead(store, handle.tenant, handle.key)
    assert rows_of(store) == []
    run_call(compute, "double", request)
    first, second = rows_of(store)
    assert (first["attempt"], first["error_kind"]) == (1, "lost")
    assert (second["attempt"], second["status"]) == (2, "ok")
    lived = (first["finished_at"] - first["started_at"]).total_seconds()
    assert first["wall_s"] == pytest.approx(lived, abs=0.001)


def test_a_worker_that_nobody_comes_back_for_is_entered_by_the_daily_look(
    compute: LocalCompute, store: ObjectStore
) -> None:
    handle = compute.submit("double", {"do": "die"})
    _wait_until_dead(store, handle.tenant, handle.key)
    assert enter_orphans(store) == 0  # too fresh to be sure
    assert enter_orphans(store, silent_for_s=0) == 1
    assert kinds(store) == {"lost": 1}
    collect(store)
    assert enter_orphans(store, silent_for_s=0) == 1
    collect(store)
    assert kinds(store) == {"lost": 1}


def _wait_until_dead(store: ObjectStore, tenant: str, key: str) -> None:
    wait_for(lambda: (found := read_call(store, tenant, key)) is not None and not found[0].is_alive())


@pytest.mark.slow
def test_a_worker_that_is_killed_by_a_cancel_is_entered_as_cancelled_after_an_earlier_failure(
    compute: LocalCompute, store: ObjectStore, tmp_path: Path
) -> None:
    request = {"do": "ignore_cancel", "seconds": 120.0}
    handle = compute.submit("double", request)
    first = wait_until_claimed(store, handle.tenant, handle.key)
    os.kill(first.worker.pid, signal.SIGKILL)
    follow(compute, handle)
    handle = compute.submit("double", request)
    wait_until_claimed(store, handle.tenant, handle.key)
    compute.cancel(handle, "a test asked")
    assert [(row["attempt"], row["error_kind"]) for row in rows_of(store)] == [(1, "lost"), (2, "cancelled")]


@pytest.mark.slow
def test_a_task_that_does_not_stop_at_its_time_limit_is_entered_with_what_it_used(
    compute: LocalCompute, store: ObjectStore
) -> None:
    with pytest.raises(CallFailed):
        run_call(compute, "double", {"do": "ignore_cancel", "seconds": 200.0}, CallOptions(timeout_s=1.0))
    (row,) = rows_of(store)
    assert row["error_kind"] == "timeout"
    assert row["wall_s"] > 30
    assert row["cpu_s"] > 0


def test_the_calls_of_an_orchestrator_name_it_and_are_one_job_with_it(
    compute: LocalCompute, store: ObjectStore, tmp_path: Path
) -> None:
    children = behaviours(tmp_path, "return", "return", "transient_once")
    run_call(compute, "orchestrating_double", Orchestration(children=children, at_once=2))
    rows = rows_of(store)
    (orchestrator,) = (row for row in rows if row["task"] == "orchestrating_double")
    started = [row for row in rows if row["task"] == "double"]
    assert {row["parent"] for row in started} == {orchestrator["key"]}
    assert len(started) == 4
    assert orchestrator["chunks"] == 3
    assert orchestrator["gpu_seconds"] == 0
    assert 0 <= orchestrator["orchestrator_startup_ms"] < 60_000
    assert 0 < orchestrator["map_dispatch_ms"] <= orchestrator["wall_s"] * 1000
    # Its processor time is its own: workers of the calls have theirs.
    assert orchestrator["cpu_s"] < orchestrator["wall_s"]
    jobs = job_costs(load(store))
    assert jobs["key"].tolist() == [orchestrator["key"]]
    assert jobs["attempts"].tolist() == [5]
    assert jobs["cpu_s"].tolist() == [pytest.approx(sum(row["cpu_s"] for row in rows))]


class _Refusing(DirectoryStore):
    """A double of a store that takes no entries of the ledger."""

    refuses = True

    def put(self, key: str, data: bytes | Path, **options: Any) -> ObjectInfo:
        if self.refuses and key.startswith(keys.LEDGER):
            raise Transient("the server is away", input=key)
        return super().put(key, data, **options)


def _record(**fields: Any) -> CallRecord:
    identity = WorkerIdentity.of_this_process()
    return CallRecord(
        key="a" * 32, task="double", version=1, tenant="acme", request={}, worker=identity, **fields
    )


def test_a_store_that_refuses_the_entry_loses_no_result_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = _Refusing(tmp_path / "store")
    with caplog.at_level(logging.ERROR):
        write_result(store, "acme", failed_result(_record(), ErrorRecord(kind="internal", message="x")))
    assert read_result(store, "acme", "a" * 32) is not None
    assert "attempt 1 of the call aaaa" in caplog.text
    assert "missing from the ledger: the server is away" in caplog.text


@pytest.mark.parametrize("collected", [False, True])
def test_the_daily_look_enters_what_the_store_had_refused_and_that_once(
    tmp_path: Path, collected: bool
) -> None:
    """Of one call's two attempts it refused the second alone."""
    store = _Refusing(tmp_path / "store")
    error = ErrorRecord(kind="internal", message="x")
    store.refuses = False
    write_result(store, "acme", failed_result(_record(), error))
    store.refuses = True
    again = failed_result(_record(attempt=2, claimed_at=time.time() + 5), error)
    write_result(store, "acme", again)
    result = store.get(keys.result_key("acme", "a" * 32))
    store.put(f"{keys.report_prefix('acme', 'a' * 32)}statistics.json", b"{}")
    store.put(keys.result_key("acme", "b" * 32), b"damaged")
    store.refuses = False
    if collected:
        collect(store)
    assert [row["attempt"] for row in rows_of(store)] == [1]
    assert enter_results(store) == 1
    if collected:
        collect(store)
    assert [row["attempt"] for row in rows_of(store)] == [1, 2]
    assert kinds(store) == {"internal": 2}
    assert enter_results(store) == 0
    assert store.get(keys.result_key("acme", "a" * 32)) == result


def test_the_daily_look_lists_calls_and_results_and_no_videos(tmp_path: Path) -> None:
    class Listed(_Refusing):
        listed: ClassVar[set[str]] = set()

        def list(self, prefix: str) -> Iterator[ObjectInfo]:
            self.listed.add(prefix)
            return super().list(prefix)

    store = Listed(tmp_path / "store")
    for tenant in ("acme", "beta"):
        write_result(store, tenant, failed_result(_record(), ErrorRecord(kind="internal", message="x")))
    store.refuses = False
    store.listed.clear()
    assert (enter_orphans(store), enter_results(store)) == (0, 2)
    folders = {prefix.partition("/server/")[2].partition("/")[0] for prefix in store.listed}
    assert folders == {"calls", "results", "ledger"}


def test_results_of_long_ago_are_not_read_anew_every_day(tmp_path: Path) -> None:
    store = _Refusing(tmp_path / "store")
    write_result(store, "acme", failed_result(_record(), ErrorRecord(kind="internal", message="x")))
    store.refuses = False
    path = store.local_path(keys.result_key("acme", "a" * 32))
    assert path is not None
    before = time.time() - LOOKED_BACK.total_seconds()
    os.utime(path, (before - 60, before - 60))
    assert enter_results(store) == 0
    os.utime(path, (before + 60, before + 60))
    assert enter_results(store) == 1


def test_callers_of_one_call_are_one_attempt_and_one_cancelled_before_its_worker_began_is_none(
    compute: LocalCompute, store: ObjectStore, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    request = {"do": "sleep", "seconds": 1.0, "journal": str(journal)}
    first = compute.submit("double", request)
    wait_until_claimed(store, first.tenant, first.key)
    second = compute.submit("double", request)
    assert second.attached
    assert [follow(compute, handle).status for handle in (first, second)] == ["ok", "ok"]
    later, _ = run_call(compute, "double", request)
    assert later.attached
    never = compute.submit("double", {**request, "number": 1})
    compute.cancel(never, "a test asked")
    ended = follow(compute, never)
    assert ended.error is not None
    assert ended.error.kind == "cancelled"
    assert starts(journal) == 1
    assert kinds(store) == {"ok": 1}
    assert enter_orphans(store, silent_for_s=0) == enter_results(store) == 0


_OF_A_CONTAINER = CallRecord(
    key="a" * 32,
    task="double",
    version=3,
    tenant="acme",
    request={"tenant_id": "acme", "video_id": "match"},
    worker=WorkerIdentity(backend="modal", host="ta-1", call_id="fc-1"),
    attempt=2,
    claimed_at=1_790_000_000.0,
    heartbeat_at=1_790_000_120.0,
    parent="c" * 32,
    reserved=Machine(gpu_type="L4", gpu_count=1, cpu_cores=4, memory_gib=8),
)


@pytest.mark.parametrize(
    ("told_by", "kind", "entered"),
    [
        ("its successor", None, "lost"),
        ("its caller", "preempted", "lost"),
        ("its caller", "timeout", "timeout"),
    ],
)
def test_an_attempt_that_could_not_tell_is_entered_with_all_that_its_record_says(
    told_by: str, kind: ErrorKind | None, entered: str, tmp_path: Path
) -> None:
    store = DirectoryStore(tmp_path / "store")
    if kind is None:
        enter_lost(store, _OF_A_CONTAINER)
    else:
        write_result(store, "acme", failed_result(_OF_A_CONTAINER, ErrorRecord(kind=kind, message="x")))
    (row,) = rows_of(store)
    assert (row["key"], row["attempt"], row["task"], row["version"]) == ("a" * 32, 2, "double", 3)
    assert (row["tenant"], row["partition"], row["parent"]) == ("acme", "acme--match", "c" * 32)
    assert (row["status"], row["error_kind"]) == ("error", entered)
    assert (row["backend"], row["host"]) == ("modal", "ta-1")
    assert (row["started_at"].timestamp(), row["finished_at"].timestamp()) == (1_790_000_000, 1_790_000_120)
    assert (row["wall_s"], row["gpu_seconds"]) == (120, 120)
    assert (row["gpu_type"], row["gpu_count"], row["cpu_cores"], row["memory_gib"]) == ("L4", 1, 4, 8)


def test_an_attempt_that_tells_itself_is_entered_with_what_it_says(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    usage = Usage(wall_s=60, frames=7)
    result = failed_result(_OF_A_CONTAINER, ErrorRecord(kind="preempted", message="x"), usage)
    write_result(store, "acme", result.model_copy(update={"degraded": ["no sound"]}))
    (row,) = rows_of(store)
    assert (row["error_kind"], row["frames"], bool(row["degraded"])) == ("preempted", 7, True)
    assert abs((row["finished_at"] - result.finished_at).total_seconds()) < 0.001
    told = read_result(store, "acme", "a" * 32)
    assert told is not None
    assert (told.attempt, told.partition, told.parent, told.buried) == (2, "acme--match", "c" * 32, False)


class _DiesAtTheResult(DirectoryStore):
    """A double of a machine that goes away when the result is about to be written."""

    def put(self, key: str, data: bytes | Path, **options: Any) -> ObjectInfo:
        if "/server/results/" in key:
            raise SystemExit
        return super().put(key, data, **options)


def test_an_attempt_is_entered_before_its_result_is_there(tmp_path: Path) -> None:
    store = _DiesAtTheResult(tmp_path / "store")
    with pytest.raises(SystemExit):
        write_result(store, "acme", failed_result(_record(), ErrorRecord(kind="internal", message="x")))
    assert kinds(store) == {"internal": 1}


def test_a_call_record_that_is_taken_over_when_finished_is_entered_once(
    compute: LocalCompute, store: ObjectStore
) -> None:
    for _ in range(2):
        with suppress(CallFailed):
            run_call(compute, "double", {"do": "crash"})
    assert kinds(store) == {"internal": 2}


def test_a_result_of_before_the_ledger_is_served_and_not_entered(
    compute: LocalCompute, store: ObjectStore
) -> None:
    handle, _ = run_call(compute, "double", {"do": "return"})
    for item in list(store.list(keys.LEDGER)):
        store.delete(item.key)
    key = keys.result_key(handle.tenant, handle.key)
    old = json.loads(store.get(key))
    for field in ("partition", "parent", "buried"):
        del old[field]
    old["usage"] = {"wall_s": 1.5, "cpu_user_s": 1.0, "cpu_system_s": 0.5, "peak_memory_mib": 120.0}
    store.put(key, json.dumps(old).encode())
    again, record = run_call(compute, "double", {"do": "return"})
    assert again.attached
    assert record.usage.cpu_s == 1.5
    assert rows_of(store) == []


class _Swept(DirectoryStore):
    """A double of a store from which a sweep deletes the first call record as soon as it was listed."""

    swept = False

    def get(self, key: str) -> bytes:
        if "/server/calls/" in key and not self.swept:
            self.swept = True
            self.delete(key)
        return super().get(key)


def test_the_daily_look_outlasts_records_that_are_deleted_meanwhile(tmp_path: Path) -> None:
    store = _Swept(tmp_path / "store")
    at = time.time() - 7200
    for number in range(2):
        record = CallRecord(
            key=f"{number:032x}",
            task="double",
            version=1,
            tenant="acme",
            request={},
            worker=WorkerIdentity(host="another"),
            claimed_at=at,
            heartbeat_at=at + 60,
        )
        assert isinstance(Claim.take(store, record), Claim)
    assert enter_orphans(store) == 1
    assert [row["error_kind"] for row in rows_of(store)] == ["lost"]


def test_a_worker_that_lives_is_not_entered_as_lost_however_long_it_was_silent(tmp_path: Path) -> None:
    """Its machine may have slept: the process is there, and goes on."""
    store = DirectoryStore(tmp_path / "store")
    at = time.time() - 7200
    record = CallRecord(
        key=f"{1:032x}",
        task="double",
        version=1,
        tenant="acme",
        request={},
        worker=WorkerIdentity.of_this_process(),
        claimed_at=at,
        heartbeat_at=at + 60,
    )
    assert isinstance(Claim.take(store, record), Claim)
    assert enter_orphans(store) == 0
    assert len(load(store)) == 0


class _Unconditional(DirectoryStore):
    """A double of a server that ignores conditional writes."""

    def conditional_writes(self) -> bool:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("silent_s", [0.0, 1000.0], ids=["it lives", "it is silent"])
def test_without_conditional_writes_a_claim_is_taken_from_a_silent_worker_only_and_that_one_entered(
    tmp_path: Path, silent_s: float
) -> None:
    store = _Unconditional(tmp_path / "store")
    at = time.time() - silent_s
    mine = CallRecord(
        key="a" * 32, task="double", version=1, tenant="acme", request={}, worker=WorkerIdentity(pid=1)
    )
    theirs = mine.model_copy(
        update={"worker": WorkerIdentity(host="another"), "claimed_at": at - 120, "heartbeat_at": at}
    )
    assert isinstance(Claim.take(store, theirs), Claim)
    taken = Claim.take(store, mine)
    if not silent_s:
        assert isinstance(taken, CallRecord)
        assert taken.worker == theirs.worker
        assert rows_of(store) == []
        return
    assert isinstance(taken, Claim)
    assert taken.record.attempt == 2
    (row,) = rows_of(store)
    assert (row["attempt"], row["error_kind"], row["wall_s"]) == (1, "lost", pytest.approx(120))


def test_a_claim_of_another_machine_that_went_silent_is_entered_as_lost(
    compute: LocalCompute, store: ObjectStore
) -> None:
    handle = compute.submit("double", {"do": "return"})
    follow(compute, handle)

    def stale(record: CallRecord) -> CallRecord:
        record.worker = record.worker.model_copy(update={"host": "another", "boot_id": "another"})
        record.state, record.attempt = "running", 2
        record.claimed_at = time.time() - 1000
        record.heartbeat_at = record.claimed_at + 120
        return record

    change_call(store, handle.tenant, handle.key, stale)
    store.delete(keys.result_key(handle.tenant, handle.key))
    run_call(compute, "double", {"do": "return"})
    rows = {row["attempt"]: row for row in rows_of(store)}
    assert sorted(rows) == [1, 2, 3]
    assert (rows[2]["error_kind"], rows[2]["host"]) == ("lost", "another")
    assert rows[2]["wall_s"] == pytest.approx(120)

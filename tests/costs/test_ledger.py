"""Entries, the table made of them, what attempts cost, and jobs added up."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.conftest import ROOT
from video_pipeline import keys
from video_pipeline.costs.entries import LedgerEntry, partition_of, write_entry
from video_pipeline.costs.ledger import collect, job_costs, load
from video_pipeline.costs.ledger_rows import COLUMNS, root_of
from video_pipeline.errors import BadInput
from video_pipeline.modal_ops.guard import prices
from video_pipeline.store.base import ObjectInfo, ObjectStore
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.telemetry.usage import Phase, Usage

NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def entry(number: int = 1, *, at: datetime = NOON, seconds: float = 10.0, **fields: Any) -> LedgerEntry:
    defaults = {
        "key": f"{number:032x}",
        "attempt": 1,
        "task": "process_framing_ai",
        "version": 1,
        "tenant": "acme",
        "partition": "acme--goal",
        "status": "ok",
        "backend": "modal",
        "host": "ta-1",
        "started_at": at,
        "finished_at": at + timedelta(seconds=seconds),
        "usage": Usage(wall_s=seconds, machine_s=seconds),
    }
    return LedgerEntry.model_validate({**defaults, **fields})


def rows_of(store: ObjectStore) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in load(store).to_dict("records")]


def entries_left(store: ObjectStore) -> int:
    return sum(1 for _ in store.list(keys.ledger_entries_prefix()))


def test_an_attempt_has_one_entry_whoever_writes_it_second(store: DirectoryStore) -> None:
    assert write_entry(store, entry(status="ok"))
    assert not write_entry(store, entry(status="error", error_kind="lost", seconds=3))
    assert write_entry(store, entry(attempt=2))
    rows = load(store)
    assert rows["attempt"].tolist() == [1, 2]
    assert rows["status"].tolist() == ["ok", "ok"]


def test_an_entry_is_named_by_the_moment_of_its_claim() -> None:
    key = keys.ledger_entry_key(NOON, "ab" * 16, 2)
    assert key == f"system/server/ledger/entries/2026-11-21/20261121T120000250000Z_{'ab' * 16}_2.json"


@pytest.mark.parametrize(
    ("request_", "partition"),
    [
        ({"tenant_id": "acme", "video_id": "street"}, "acme--street"),
        ({"tenant_id": "acme", "clip_id": "goal"}, "acme--goal"),
        ({"tenant_id": "acme", "sample_id": "week"}, "acme--week"),
        ({"tenant_id": "acme"}, None),
        ({"video_id": "street"}, None),
    ],
)
def test_a_request_tells_its_partition(request_: dict[str, str], partition: str | None) -> None:
    assert partition_of(request_) == partition


def test_a_row_has_every_column_of_the_contract_with_its_type(store: DirectoryStore) -> None:
    usage = Usage(
        wall_s=10,
        machine_s=12,
        cpu_user_s=7,
        cpu_system_s=1,
        queued_ms=1500,
        frames=449,
        phases={"work": Phase(wall_ms=8000, cpu_ms=7000), "join": Phase(wall_ms=50, cpu_ms=5)},
    )
    write_entry(store, entry(usage=usage, degraded=["no sound"], error_kind=None))
    collect(store)
    (row,) = rows_of(store)
    assert list(load(store).columns) == list(COLUMNS)
    assert row["started_at"] == pd.Timestamp(NOON)
    assert row["finished_at"] - row["started_at"] == pd.Timedelta(seconds=10)
    assert (row["cpu_s"], row["queued_s"], row["frames"], row["work_ms"]) == (8, 1.5, 449, 8000)
    assert load(store)[["download_ms", "error_kind", "degraded"]].isna().to_numpy().tolist() == [
        [True, True, False]
    ]
    assert bool(row["degraded"])
    assert json.loads(row["degraded_lines"]) == ["no sound"]
    assert json.loads(row["phases"])["join"] == {"wall_ms": 50, "cpu_ms": 5}
    assert str(load(store)["started_at"].dtype).startswith("datetime64[")
    assert str(load(store)["started_at"].dtype).endswith("UTC]")
    assert load(store)["frames"].dtype == pd.Int64Dtype()


def test_an_empty_ledger_has_the_columns_and_no_rows(store: DirectoryStore) -> None:
    assert collect(store).added == 0
    rows = load(store)
    assert rows.empty
    assert list(rows.columns) == list(COLUMNS)


def test_a_collection_takes_what_is_new_and_another_changes_nothing(store: DirectoryStore) -> None:
    write_entry(store, entry(1))
    write_entry(store, entry(2, at=NOON - timedelta(days=1)))
    first = collect(store)
    assert (first.added, first.days) == (2, (date(2026, 11, 20), date(2026, 11, 21)))
    assert entries_left(store) == 0
    before = load(store)
    assert collect(store).added == 0
    write_entry(store, entry(3))
    assert collect(store).added == 1
    rows = load(store)
    assert rows["key"].str[-1].tolist() == ["2", "1", "3"]
    pd.testing.assert_frame_equal(rows.iloc[:2], before)


def test_what_is_not_collected_yet_is_loaded_too(store: DirectoryStore) -> None:
    write_entry(store, entry(1))
    collect(store)
    write_entry(store, entry(2))
    assert len(load(store)) == 2
    assert entries_left(store) == 1


def test_an_entry_that_comes_again_after_it_was_collected_is_one_row(store: DirectoryStore) -> None:
    write_entry(store, entry(1))
    collect(store)
    write_entry(store, entry(1, status="error", error_kind="lost"))
    assert load(store)["status"].tolist() == ["ok"]
    again = collect(store)
    assert (again.added, again.known) == (0, 1)
    assert load(store)["status"].tolist() == ["ok"]
    assert entries_left(store) == 0


def test_a_collector_that_was_killed_before_it_deleted_is_made_good(store: DirectoryStore) -> None:
    written = [entry(number) for number in range(3)]
    for each in written:
        write_entry(store, each)
    kept = {item.key: store.get(item.key) for item in store.list(keys.ledger_entries_prefix())}
    collect(store)
    for key, data in kept.items():
        store.put(key, data)
    assert (collect(store).added, len(load(store)), entries_left(store)) == (0, 3, 0)


def test_collectors_at_once_lose_and_double_nothing(store: DirectoryStore) -> None:
    for number in range(40):
        write_entry(store, entry(number))
    counts: list[int] = []

    def run() -> None:
        counts.append(collect(DirectoryStore(Path(store.uri))).added)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(40, 60):
        write_entry(store, entry(number))
    for thread in threads:
        thread.join(60)
    counts.append(collect(store).added)
    assert sum(counts) == 60
    assert sorted(load(store)["key"]) == [f"{number:032x}" for number in range(60)]
    assert entries_left(store) == 0


class _Unconditional(DirectoryStore):
    """A double of a server without conditional writes, on which another collector writes in between."""

    def conditional_writes(self) -> bool:
        return False


def test_a_collector_that_is_overtaken_adds_to_what_the_other_one_wrote(tmp_path: Path) -> None:
    """The other one, which never saw the second entry, writes the third one's row just before this one's."""
    other = DirectoryStore(tmp_path / "store")
    write_entry(other, entry(1))
    assert (collect(other).added, collect(other).known) == (1, 0)
    write_entry(other, entry(2))
    (second,) = [item.key for item in other.list(keys.ledger_entries_prefix())]

    class Overtaken(DirectoryStore):
        overtaken = False

        def put(self, key: str, data: Any, **how: Any) -> Any:
            if key.startswith(keys.ledger_table_prefix()) and not self.overtaken:
                self.overtaken = True
                unseen = other.get(second)
                other.delete(second)
                write_entry(other, entry(3))
                assert collect(other).added == 1
                other.put(second, unseen)
            return super().put(key, data, **how)

    found = collect(Overtaken(tmp_path / "store"))
    assert (found.added, found.known) == (1, 0)
    assert list(other.list(keys.ledger_entries_prefix())) == []
    assert sorted(load(other)["key"]) == sorted(entry(number).key for number in (1, 2, 3))


def test_without_conditional_writes_entries_stay_and_mend_what_was_overwritten(tmp_path: Path) -> None:
    store = _Unconditional(tmp_path / "store")
    write_entry(store, entry(1))
    assert not write_entry(store, entry(1, status="error"))
    collect(store)
    empty = keys.ledger_table_key(NOON.date())
    store.delete(empty)  # as if another collector had written the table that it had read before
    assert collect(store).added == 1
    assert load(store)["status"].tolist() == ["ok"]


def test_an_entry_that_cannot_be_read_is_named_and_left(store: DirectoryStore) -> None:
    broken = f"{keys.ledger_entries_prefix(NOON.date())}20261121T120000000000Z_{'f' * 32}_1.json"
    store.put(broken, b"{}")
    write_entry(store, entry(1))
    done = collect(store)
    assert (done.added, done.unreadable) == (1, (broken,))
    assert entries_left(store) == 1
    assert len(load(store)) == 1


def test_what_is_no_entry_of_any_day_is_named_and_stops_no_collection(store: DirectoryStore) -> None:
    stranger = f"{keys.ledger_entries_prefix()}notes.txt"
    store.put(stranger, b"what is this?")
    write_entry(store, entry(1))
    done = collect(store)
    assert (done.added, done.unreadable) == (1, (stranger,))
    assert store.head(stranger) is not None


def test_a_table_of_an_earlier_version_gets_the_columns_it_lacks(store: DirectoryStore) -> None:
    import io

    import pyarrow.parquet as pq

    write_entry(store, entry(1))
    collect(store)
    name = keys.ledger_table_key(NOON.date())
    table = pq.read_table(io.BytesIO(store.get(name))).drop_columns(["gpu_name", "frames"])
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    store.put(name, buffer.getvalue())
    write_entry(store, entry(2, usage=Usage(frames=7)))
    assert load(store)["frames"].isna().tolist() == [True, False]
    collect(store)
    assert load(store)["frames"].isna().tolist() == [True, False]


def test_an_attempt_on_modal_costs_what_was_reserved_or_used_whichever_is_more(store: DirectoryStore) -> None:
    reserved = Usage(
        wall_s=90,
        machine_s=100,
        gpu_type="T4",
        gpu_count=1,
        gpu_seconds=100,
        cpu_cores=8,
        memory_gib=8,
        cpu_user_s=45,
        peak_memory_mib=1024,
    )
    busy = reserved.model_copy(update={"cpu_user_s": 900.0, "peak_memory_mib": 16 * 1024})
    write_entry(store, entry(1, usage=reserved))
    write_entry(store, entry(2, usage=busy))
    collect(store)
    plain, used = rows_of(store)
    # Seconds x units x the list's price of a unit's second.
    assert plain["usd_gpu"] == pytest.approx(100 * 0.000164)
    assert plain["usd_cpu"] == pytest.approx(100 * 8 * 0.0000131)
    assert plain["usd_memory"] == pytest.approx(100 * 8 * 0.00000222)
    assert plain["usd"] == pytest.approx(plain["usd_gpu"] + plain["usd_cpu"] + plain["usd_memory"])
    assert used["usd_cpu"] == pytest.approx(900 * 0.0000131)
    assert used["usd_memory"] == pytest.approx(100 * 16 * 0.00000222)
    assert plain["prices_as_of"] == prices().as_of


def test_processor_time_of_a_cold_start_is_not_charged_as_if_the_whole_call_were_that_busy(
    store: DirectoryStore,
) -> None:
    """Ten processor seconds, nine of them before the claim: one core for ten seconds, not ten cores."""
    usage = Usage(wall_s=1, machine_s=10, cpu_user_s=9, cpu_system_s=1, cpu_cores=0.5, memory_gib=1)
    write_entry(store, entry(1, usage=usage))
    (row,) = rows_of(store)
    assert row["usd_cpu"] == pytest.approx(10 * 0.0000131)


def test_several_gpus_cost_each_of_their_seconds(store: DirectoryStore) -> None:
    usage = Usage(wall_s=50, machine_s=50, gpu_type="T4", gpu_count=4, gpu_seconds=200, cpu_cores=1)
    write_entry(store, entry(1, usage=usage))
    (row,) = rows_of(store)
    assert row["usd_gpu"] == pytest.approx(200 * 0.000164)


def test_a_local_attempt_costs_nothing_and_says_what_its_seconds_cost_on_modal(store: DirectoryStore) -> None:
    write_entry(store, entry(1, backend="local", usage=Usage(wall_s=45, machine_s=50, cpu_user_s=90)))
    write_entry(store, entry(2, backend="local", task="a_task_of_ones_own"))
    row, unknown = rows_of(store)
    assert (row["usd"], row["usd_gpu"]) == (0, 0)
    # process_framing_ai asks for a T4, 8 cores and 8 GiB.
    assert row["usd_on_modal"] == pytest.approx(50 * (0.000164 + 8 * 0.0000131 + 8 * 0.00000222))
    assert unknown["usd"] == 0
    assert pd.isna(unknown["usd_on_modal"])


def test_a_region_multiplies_and_an_unknown_one_is_refused(store: DirectoryStore) -> None:
    with pytest.raises(BadInput, match="mars"):
        load(store, region="mars")
    usage = Usage(
        wall_s=10, machine_s=10, cpu_cores=4, memory_gib=2, gpu_type="T4", gpu_count=1, gpu_seconds=10
    )
    write_entry(store, entry(1, usage=usage))
    write_entry(store, entry(2, backend="local", usage=usage))
    anywhere, local = load(store).to_dict("records")
    for region, factor in (("eu", 1.5), ("other", 1.75)):
        row, there = load(store, region=region).to_dict("records")
        for part in ("usd_gpu", "usd_cpu", "usd_memory", "usd", "usd_on_modal"):
            assert row[part] == pytest.approx(factor * anywhere[part])
            assert row[part] > 0
        assert there["usd_on_modal"] == pytest.approx(factor * local["usd_on_modal"])
        assert there["usd"] == 0
    with pytest.raises(BadInput, match=r"'mars'.*use one of any, us, eu, other"):
        collect(store, region="mars")


def test_collected_rows_keep_the_prices_they_were_collected_at(store: DirectoryStore) -> None:
    usage = Usage(wall_s=10, machine_s=10, cpu_cores=4)
    write_entry(store, entry(1, usage=usage))
    collect(store)
    dearer = prices().model_copy(update={"as_of": "2027-01-01", "cpu_core_per_s": 1.0})
    write_entry(store, entry(2, usage=usage))
    rows = load(store, prices=dearer)
    assert rows["prices_as_of"].tolist() == [prices().as_of, "2027-01-01"]
    assert rows["usd"].tolist() == [pytest.approx(40 * 0.0000131), pytest.approx(40)]


def test_a_gpu_without_a_price_leaves_the_cost_open_and_not_zero(store: DirectoryStore) -> None:
    write_entry(store, entry(1, usage=Usage(machine_s=1, gpu_type="X1", gpu_count=1, gpu_seconds=1)))
    assert collect(store).added == 1
    assert pd.isna(rows_of(store)[0]["usd"])


def test_a_job_costs_its_own_attempts_and_those_of_all_it_started(store: DirectoryStore) -> None:
    def paid(number: int, minute: int, cores: float, **fields: Any) -> None:
        usage = Usage(wall_s=100, machine_s=100, cpu_cores=cores, frames=number)
        write_entry(store, entry(number, at=NOON + timedelta(minutes=minute), usage=usage, **fields))

    orchestrator, chunk = f"{1:032x}", f"{2:032x}"
    paid(1, 0, 1, task="process_framing_ai_parallel", status="error", error_kind="preempted")
    paid(2, 1, 2, parent=orchestrator, task="process_framing_ai_chunk", status="error")
    paid(2, 2, 2, parent=orchestrator, task="process_framing_ai_chunk", attempt=2)
    paid(3, 3, 4, parent=chunk)
    paid(1, 4, 1, task="process_framing_ai_parallel", attempt=2)
    paid(9, 5, 8, task="extract_clip")
    jobs = job_costs(load(store))
    assert jobs["task"].tolist() == ["process_framing_ai_parallel", "extract_clip"]
    assert jobs["status"].tolist() == ["ok", "ok"]
    assert jobs["attempts"].tolist() == [5, 1]
    assert jobs["calls"].tolist() == [3, 1]
    per_core = 100 * 0.0000131
    assert jobs["usd"].tolist() == [pytest.approx(10 * per_core), pytest.approx(8 * per_core)]
    assert sum(jobs["usd"]) == pytest.approx(sum(load(store)["usd"]))
    lasted = jobs["finished_at"] - jobs["started_at"]
    assert lasted.tolist() == [pd.Timedelta(seconds=250), pd.Timedelta(seconds=10)]


def test_calls_that_name_each_other_as_their_starters_end_the_search() -> None:
    """Nothing writes such a circle; a table that has one must not stop every morning's accounts."""
    parents = {"a": "b", "b": "c", "c": "b", "x": "x"}
    assert root_of("a", parents) in {"b", "c"}
    assert (root_of("x", parents), root_of("alone", parents)) == ("x", "alone")


def test_what_was_done_other_than_asked_is_told_and_nothing_else_is(store: DirectoryStore) -> None:
    write_entry(store, entry(1))
    write_entry(store, entry(2, degraded=["a second decoder was used"]))
    plain, degraded = load(store).to_dict("records")
    assert (bool(plain["degraded"]), json.loads(plain["degraded_lines"])) == (False, [])
    assert bool(degraded["degraded"])
    assert json.loads(degraded["degraded_lines"]) == ["a second decoder was used"]


def test_calls_whose_starter_is_not_among_the_rows_are_one_job_of_its_key(store: DirectoryStore) -> None:
    starter = f"{7:032x}"
    write_entry(store, entry(1, parent=starter))
    write_entry(store, entry(2, parent=starter))
    jobs = job_costs(load(store))
    assert jobs["key"].tolist() == [starter]
    assert jobs["calls"].tolist() == [2]
    assert jobs["task"].isna().tolist() == [True]


def test_workers_need_no_pandas() -> None:
    code = (
        "import sys, video_pipeline.worker, video_pipeline.compute.local, video_pipeline.modal_ops.entry;"
        "print([name for name in ('pandas', 'pyarrow', 'scipy', 'torch') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_entries_of_a_day_are_a_few_requests_apart(store: DirectoryStore) -> None:
    """A collection lists once and reads each entry once; a second one reads none."""
    reads: list[str] = []

    class Counting(DirectoryStore):
        def get(self, key: str) -> bytes:
            reads.append(key)
            return super().get(key)

        def put(self, key: str, data: bytes | Path, **options: Any) -> ObjectInfo:
            reads.append(f"put {key}")
            return super().put(key, data, **options)

    counted = Counting(Path(store.uri))
    for number in range(10):
        write_entry(store, entry(number))
    collect(counted)
    assert sum(name.startswith("put ") and name.endswith(".parquet") for name in reads) == 1
    assert sum(name.endswith(".json") for name in reads) == 10
    reads.clear()
    collect(counted)
    assert reads == []

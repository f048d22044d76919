"""The dashboard's data against the ledger it is made of, and what a page may hold."""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import pytest

from tests.costs.ledger_made import FIRST, entry, fill, key_of, made_entries
from video_pipeline.compute.follow import CallFailed, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.costs import dashboard_data as module
from video_pipeline.costs.dashboard import dashboard_figures, dashboard_page
from video_pipeline.costs.dashboard_attempts import slow_of
from video_pipeline.costs.entries import LedgerEntry
from video_pipeline.costs.ledger import collect, job_costs, load
from video_pipeline.costs.plan import shipped_plan
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.directory import DirectoryStore


@pytest.fixture
def store(task_settings: Settings) -> ObjectStore:
    return open_store(task_settings)


def ledger_of(folder: Path, entries: list[LedgerEntry]) -> pd.DataFrame:
    store = DirectoryStore(folder / "store")
    fill(store, entries)
    collect(store)
    return load(store)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return ledger_of(tmp_path_factory.mktemp("ledger"), made_entries())


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r"^const data = (.*);$", page, re.MULTILINE)
    assert found
    return json.loads(found.group(1))


def sums(data: dict[str, Any], *, task: str | None = None, backend: str | None = None) -> Counter[str]:
    """A filter's sums, as the page adds them up."""
    total: Counter[str] = Counter()
    for _, t, b, values, *_ in data["cells"]:
        if task in (None, data["tasks"][t]) and backend in (None, data["backends"][b]):
            for name, value in zip(data["sums"], values, strict=True):
                total[name] += value or 0
    return total


def part(data: dict[str, Any], number: int) -> Counter[str]:
    total: Counter[str] = Counter()
    for cell in data["cells"]:
        total.update(cell[number])
    return total


def test_cells_add_up_to_the_ledger(ledger: pd.DataFrame) -> None:
    data = data_of(dashboard_page(ledger))
    total = sums(data)
    assert total["attempts"] == data["attempts"] == len(ledger)
    assert total["calls"] == ledger["key"].nunique()
    assert total["failed"] == (ledger["status"] == "error").sum() > 0
    for name in ("usd", "usd_gpu", "usd_cpu", "usd_memory", "machine_s"):
        assert total[name] == pytest.approx(ledger[name].sum(), rel=1e-4)
    for task in ledger["task"].unique():
        own = ledger[ledger["task"] == task]
        assert sums(data, task=task)["usd"] == pytest.approx(own["usd"].sum(), rel=1e-4)


def test_what_was_spent_and_what_local_calls_would_cost_are_never_one_sum(ledger: pd.DataFrame) -> None:
    data = data_of(dashboard_page(ledger))
    local = ledger[ledger["backend"] == "local"]
    assert sums(data, backend="local")["usd"] == 0
    assert sums(data, backend="modal")["usd_elsewhere"] == 0
    assert sums(data)["usd_elsewhere"] == pytest.approx(local["usd_on_modal"].sum(), rel=1e-4)
    figures = dashboard_figures(ledger)
    assert figures["spent_usd"] == pytest.approx(ledger["usd"].sum())
    assert figures["local_usd_on_modal"] == pytest.approx(local["usd_on_modal"].sum(), abs=1e-6)


def test_headline_figures_are_in_hours_dollars_and_parts_of_the_time(tmp_path: Path) -> None:
    """Of 15.5 s from submission to result, 4 were waiting, 2 the start and 2 the model's load; a warm call's
    10 s were work alone."""
    made = [
        entry(
            1, machine_s=11.5, gpu_type="T4", gpu_count=1, gpu_seconds=5400.0, model_load_time_ms=2000.0,
            queued_ms=5500.0, startup_overhead_ms=6000.0, predicted_s=12.0,
        ),
        entry(2, status="error", error_kind="lost", predicted_s=500.0),
        entry(3, cold=False, queued_ms=0.0, startup_overhead_ms=0.0, predicted_s=11.0),
        entry(4, predicted_s=9.0),
    ]  # fmt: skip
    rows = ledger_of(tmp_path, made)
    figures = dashboard_figures(rows)
    assert figures["gpu_hours"] == 1.5
    assert figures["cold_start_share"] == pytest.approx(8 / 25.5, abs=1e-4)
    assert figures["prediction_error"] == 0.1
    assert (figures["attempts"], figures["failed_attempts"]) == (4, 1)
    assert figures["prices_as_of"] == rows["prices_as_of"][0]
    data = data_of(dashboard_page(rows))
    assert data["prices"] == [[rows["prices_as_of"][0], "any", 4]]
    assert (sums(data)["cold"], sums(data)["timed"]) == (1, 2)


def test_only_addresses_become_links_and_long_names_are_cut(tmp_path: Path) -> None:
    addresses = ["https://a", "http://b", "file:///c", "javascript:alert(1)", "data:text/html,x", None]
    made = [
        entry(number, at=FIRST + timedelta(minutes=number), predicted_s=5.0, host="h" * 500)
        for number in range(len(addresses))
    ]
    told = {key_of(number): address for number, address in enumerate(addresses)}
    data = data_of(dashboard_page(ledger_of(tmp_path, made), link_of=lambda tenant, key: told[key]))
    place = data["point_columns"].index("link")
    newest_first = [row[place] for row in data["points"]]
    assert newest_first == [None, None, None, "file:///c", "http://b", "https://a"]
    host = data["slow"][0][data["slow_columns"].index("host")]
    assert (len(host), host[-1]) == (160, "…")


def test_no_text_can_leave_the_data(ledger: pd.DataFrame) -> None:
    evil = "</script><script>alert(1)</script><!--\u2028"
    rows = ledger.assign(host=evil, task=evil, error_kind=evil, gpu_type=evil, partition=evil, tenant=evil)
    page = dashboard_page(rows, title=evil)
    assert page.count("<script>") == page.count("</script>") == 1
    assert "<!--" not in page
    data = data_of(page)
    assert data["tasks"] == [evil]
    assert data["title"] == data["slow"][0][data["slow_columns"].index("host")] == evil


def test_an_empty_ledger_makes_a_page(tmp_path: Path) -> None:
    for rows in (load(DirectoryStore(tmp_path / "store")), pd.DataFrame()):
        data = data_of(dashboard_page(rows))
        assert (data["attempts"], data["cells"], data["periods"], data["slow"]) == (0, [], [], [])
        assert dashboard_figures(rows)["attempts"] == 0


def test_a_page_loads_nothing_and_says_so_to_the_browser(ledger: pd.DataFrame) -> None:
    page = dashboard_page(ledger)
    assert "default-src 'none'" in page
    assert re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", page) == []
    assert "@import" not in page
    assert set(re.findall(r"https?://[^\"'\s]+", page)) == {"http://www.w3.org/2000/svg"}


def test_a_cold_start_counts_no_second_twice(tmp_path: Path) -> None:
    """On Modal start-up counts from the submission, elsewhere from the process's start, and queued from the
    submission to the claim on both."""
    times: dict[str, Any] = {"wall_s": 10.0, "machine_s": 11.5, "model_load_time_ms": 2000.0}
    made = [
        # Submission, 4 s for a container, 1.5 s of the process to its claim, 0.5 s to the task's first line.
        entry(1, **times, queued_ms=5500.0, startup_overhead_ms=6000.0),
        entry(2, **times, queued_ms=5500.0, startup_overhead_ms=2000.0, backend="local"),
        # No submission is known: from the process's start.
        entry(3, **times, startup_overhead_ms=2000.0, backend="local"),
        # A warm process begins with its claim.
        entry(4, wall_s=10.0, cold=False, queued_ms=300.0, startup_overhead_ms=350.0),
        # The task did not begin.
        entry(5, wall_s=10.0, status="error", error_kind="lost"),
    ]
    parts = module.cold_start(module.columns_of(ledger_of(tmp_path, made)))
    told = {tuple(round(value, 6) for value in row) for row in parts.itertuples(index=False)}
    assert list(parts.columns) == ["waiting_s", "start_s", "load_s", "whole_s"]
    assert len(parts) == 4
    assert told == {(4.0, 2.0, 2.0, 15.5), (0.0, 2.0, 2.0, 11.5), (0.3, 0.05, 0.0, 10.3)}


def workers(data: dict[str, Any]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for cell in data["cells"]:
        for count, values in cell[8].items():
            found[count] = [a + b for a, b in zip(found.get(count, [0] * 4), values, strict=True)]
    return found


def test_a_jobs_workers_are_the_calls_at_its_ends(tmp_path: Path) -> None:
    def chunks(parent: int, count: int, **fields: Any) -> list[LedgerEntry]:
        return [entry(parent * 100 + n, parent=key_of(parent), **fields) for n in range(count)]

    failed: dict[str, Any] = {"status": "error", "error_kind": "internal"}
    asked: dict[str, Any] = {"status": "error", "error_kind": "cancelled"}
    later = FIRST + timedelta(hours=1)
    made = [
        entry(1),
        entry(2, **asked),
        *(entry(3, chunks=4), *chunks(3, 4)),
        # One of four was tried again: the job did not fail, an attempt did.
        *(entry(4, chunks=4), *chunks(4, 4), entry(403, parent=key_of(4), attempt=2, **failed)),
        # Failed once and then did: what counts is how it ended.
        *(entry(5, chunks=2, **failed), *chunks(5, 2), entry(5, chunks=2, at=later, attempt=2)),
        # Ended before it had started all of its eight.
        *(entry(6, chunks=8, **failed), *chunks(6, 1, **failed)),
        # A job of jobs: three calls at the ends, below two others.
        *(entry(7), entry(701, parent=key_of(7)), entry(702, parent=key_of(7))),
        *(*chunks(701, 2), *chunks(702, 1)),
    ]
    rows = ledger_of(tmp_path, made)
    assert workers(data_of(dashboard_page(rows))) == {
        "1": [2, 0, 2, 0],
        "2": [1, 0, 4, 1],
        "3": [1, 0, 6, 0],
        "4": [2, 0, 11, 1],
        "8": [1, 1, 2, 2],
    }
    assert sum(jobs for jobs, *_ in workers(data_of(dashboard_page(rows))).values()) == len(job_costs(rows))


def test_slow_is_measured_by_the_prediction_else_by_others_of_that_length(tmp_path: Path) -> None:
    made = [
        *(entry(n, wall_s=10.0, frames=300) for n in range(5)),
        *(entry(10 + n, wall_s=100.0, frames=3000) for n in range(5)),
        entry(20, wall_s=150.0, frames=2900),
        entry(21, wall_s=150.0, frames=2900, predicted_s=50.0, status="error", error_kind="timeout"),
        entry(22, wall_s=400.0, frames=90_000),
        entry(30, wall_s=900.0, task="probe"),
    ]
    data = data_of(dashboard_page(ledger_of(tmp_path, made)))
    rows = [dict(zip(data["slow_columns"], row, strict=True)) for row in data["slow"]]
    assert [(row["key"], row["expected_s"], row["basis"], row["status"]) for row in rows] == [
        (key_of(22), 100, "median", "ok"),
        (key_of(21), 50, "predicted", "timeout"),
        (key_of(20), 100, "median, like length", "ok"),
    ]


def test_the_slowest_of_any_filter_are_in_the_page(ledger: pd.DataFrame) -> None:
    data = data_of(dashboard_page(ledger))
    place = {name: number for number, name in enumerate(data["slow_columns"])}
    over = [row[place["wall_s"]] / row[place["expected_s"]] for row in data["slow"]]
    assert over == sorted(over, reverse=True)
    every, _ = slow_of(_celled(ledger))
    for task in range(len(data["tasks"])):
        own = [row[place["key"]] for row in data["slow"] if row[place["task"]] == task][:20]
        assert own == list(every[every["t"] == task]["key"])[:20]


def _celled(ledger: pd.DataFrame) -> Any:
    """The ledger in one cell for each task and backend, so that nothing is cut off by day."""
    rows = module.columns_of(ledger)
    names = data_of(dashboard_page(ledger))["tasks"]
    return rows.assign(p=range(len(rows)), t=rows["task"].map(names.index), b=rows["backend"])


def test_a_prediction_counts_where_the_attempt_succeeded(ledger: pd.DataFrame) -> None:
    data = data_of(dashboard_page(ledger))
    known = ledger[(ledger["status"] == "ok") & ledger["predicted_s"].notna()]
    assert len(data["points"]) == len(known) > 50
    errors = [abs(p - wall) / wall for p, wall in zip(known["predicted_s"], known["wall_s"], strict=True)]
    assert dashboard_figures(ledger)["prediction_error"] == pytest.approx(median(errors), abs=1e-4)


def test_durations_count_a_call_once_and_no_chunk(tmp_path: Path) -> None:
    made = [
        entry(1, video_seconds=4.0, status="error", error_kind="transient"),
        entry(1, video_seconds=4.0, attempt=2, at=FIRST + timedelta(hours=1)),
        entry(2, video_seconds=5.0),
        entry(3, video_seconds=5.0, parent=key_of(2)),
        entry(4, video_seconds=4000.0),
        entry(5),
    ]
    assert part(data_of(dashboard_page(ledger_of(tmp_path, made))), 7) == {"0": 1, "1": 1, "10": 1}


def test_hours_are_of_the_week_and_in_utc(tmp_path: Path) -> None:
    monday = datetime(2026, 11, 2, 23, 59, tzinfo=UTC)
    made = [entry(1, at=monday), entry(2, at=monday), entry(3, at=monday + timedelta(minutes=1))]
    assert part(data_of(dashboard_page(ledger_of(tmp_path, made))), 6) == {"23": 2, "24": 1}


def test_gpus_of_a_kind_are_added_up_and_what_has_no_price_is_counted(tmp_path: Path) -> None:
    made = [
        entry(1, gpu_type="T4", gpu_name="Tesla T4", gpu_count=1),
        entry(2, gpu_type="T4", gpu_count=2),
        entry(3, gpu_name="NVIDIA H200", gpu_count=1, backend="local"),
        entry(4, gpu_type="X99", gpu_count=1),
        entry(5),
        # What a task of nobody's table would cost on Modal is not known.
        entry(6, task="of_an_installation", backend="local"),
    ]
    rows = ledger_of(tmp_path, made)
    data = data_of(dashboard_page(rows))
    (*_, gpus, _, _, _), (*_, local, _, _, _), _ = sorted(
        data["cells"], key=lambda cell: (-cell[3][0], not cell[5])
    )
    assert gpus == {"T4": [34.5, pytest.approx(rows["usd_gpu"].sum(), rel=1e-4)], "X99": [11.5, 0]}
    assert local == {"NVIDIA H200": [11.5, 0]}
    assert sums(data)["unpriced"] == 2
    assert sums(data, backend="local")["unpriced"] == 1


@pytest.mark.slow
def test_a_large_ledger_makes_a_page_of_bounded_size(ledger: pd.DataFrame) -> None:
    """60,000 attempts of 90 tasks over four years."""
    copies = []
    for number in range(60_000 // len(ledger) + 1):
        at = ledger["started_at"] + pd.Timedelta(days=16 * number)
        copy = ledger.assign(key=ledger["key"] + str(number), started_at=at)
        copies.append(copy.assign(task=copy["task"] + "_" * (number % 13)))
    many = pd.concat(copies, ignore_index=True)
    page = dashboard_page(many)
    data = data_of(page)
    assert data["unit"] == "month"
    assert len(data["cells"]) <= module.MAX_CELLS
    assert len(data["tasks"]) == module.MAX_TASKS
    assert data["tasks_together"] == many["task"].nunique() - module.MAX_TASKS + 1
    assert len(page) < 3_000_000
    assert sums(data)["attempts"] == len(many)
    assert sums(data)["usd"] == pytest.approx(many["usd"].sum(), rel=1e-4)
    assert (len(data["points"]), len(data["slow"])) == (2000, 1000)
    assert data["points_left_out"] > 0 < data["slow_left_out"]


def test_an_attempt_lies_in_the_period_that_it_began_in(tmp_path: Path) -> None:
    days = (0, 1, 40, 400)
    made = [entry(n, at=FIRST + timedelta(days=day)) for n, day in enumerate(days)]
    for count, unit, first in ((3, "day", "2026-11-02"), (4, "week", "2026-11-02")):
        data = data_of(dashboard_page(ledger_of(tmp_path / unit, made[:count])))
        assert (data["unit"], data["periods"][0]) == (unit, first)
        length = 1 if unit == "day" else 7
        assert [cell[0] for cell in data["cells"]] == sorted({day // length for day in days[:count]})
        assert len(data["periods"]) == days[count - 1] // length + 1


def test_more_cells_than_a_page_holds_make_longer_periods(
    ledger: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_day = data_of(dashboard_page(ledger))
    monkeypatch.setattr(module, "MAX_CELLS", len(by_day["cells"]) - 1)
    by_week = data_of(dashboard_page(ledger))
    assert (by_day["unit"], by_week["unit"], by_week["periods"]) == (
        "day",
        "week",
        ["2026-11-02", "2026-11-09", "2026-11-16"],
    )
    assert sums(by_week) == pytest.approx(sums(by_day), rel=1e-4)


def test_models_and_plan_are_shown_as_they_are(ledger: pd.DataFrame) -> None:
    plan = shipped_plan()
    data = data_of(dashboard_page(ledger, plan.coefficients, plan))
    for told, c in zip(data["coefficients"], plan.coefficients, strict=True):
        assert (told["task"], told["s_per_frame"], told["source"]) == (c.name, c.s_per_frame, c.source)
        assert told["estimates"] == {name: [one.low, one.high] for name, one in c.estimates.items()}
    notes = [list(table.notes) for table in (plan.framing_ai, plan.overlay)]
    assert [table["notes"] for table in data["plan"]] == notes
    assert [row[1] for row in data["plan"][0]["rows"]] == [row.chunks for row in plan.framing_ai.rows]


def test_calls_that_ran_are_on_the_page(compute: LocalCompute, store: ObjectStore) -> None:
    for do in ("return", "bad_input"):
        with suppress(CallFailed):
            run_call(compute, "double", {"do": do})
    rows = load(store)
    data = data_of(dashboard_page(rows))
    assert (data["tasks"], data["backends"]) == (["double"], ["local"])
    total = sums(data)
    assert (total["attempts"], total["failed"], total["usd"], total["timed"]) == (2, 1, 0, 2)
    assert total["start_s"] > 0.05
    assert total["waiting_s"] + total["start_s"] < total["whole_s"]
    assert part(data, 4) == {"bad_input": 1}

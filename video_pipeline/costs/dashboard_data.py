"""What the dashboard's page is made of: the ledger's rows added up so that the page can filter them.

Belongs here: sums by period, task and backend. Does not belong here: the few single attempts that are shown
(`dashboard_attempts`), the page (`dashboard`, `dashboard.html`). pandas and numpy are imported inside
functions.

The page filters by adding up other cells, so its size follows from their number, not from the ledger's: the
period is the shortest of day, week, month and year that keeps both counts below the bounds here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

from video_pipeline.costs.dashboard_attempts import (
    POINT,
    SLOW,
    Table,
    listed,
    points_of,
    short,
    slow_of,
    text,
)
from video_pipeline.costs.ledger_rows import COLUMNS, NUMBER, TEXT, TIME, WHOLE, YES, root_of

if TYPE_CHECKING:
    import pandas as pd

MAX_PERIODS = 120
MAX_CELLS = 4_000
"""A cell takes about 300 bytes in the page: 1.2 MB."""
MAX_TASKS = 40
MAX_BACKENDS = 6
OTHERS = "(others)"
"""Tasks and backends beyond those, together."""

DURATIONS_S = (5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Where one bin of the videos' durations ends and the next begins."""

NO_FAILURE_OF_WORKERS = ("cancelled", "bad_input")
"""Errors that more workers make neither more nor less likely: a person asked, or the request was wrong."""

SUMS = (
    *("attempts", "calls", "failed", "usd", "usd_gpu", "usd_cpu", "usd_memory", "usd_elsewhere"),
    *("unpriced", "machine_s", "timed", "cold", "waiting_s", "start_s", "load_s", "whole_s"),
)
"""A cell's sums. `usd` is what was paid; `usd_elsewhere` what local attempts would have cost on Modal;
`unpriced` attempts of which one of the two is not known. The last six are of `timed` attempts."""

_UNITS = {"day": "D", "week": "W-SUN", "month": "M", "year": "Y"}


def columns_of(ledger: pd.DataFrame) -> Table:
    """The ledger with all of its columns, numbers as floats with NaN for what is not known, and false
    where that is a yes or no."""
    import pandas as pd

    rows: Table = ledger.reindex(columns=list(COLUMNS)).reset_index(drop=True)
    for name, kind in COLUMNS.items():
        if kind in (NUMBER, WHOLE):
            rows[name] = rows[name].astype("Float64").to_numpy(dtype=float, na_value=math.nan)
        elif kind == YES:
            rows[name] = rows[name].astype("boolean").fillna(False).astype(bool)
        elif kind == TIME:
            rows[name] = pd.to_datetime(rows[name], utc=True)
        elif kind == TEXT:
            rows[name] = rows[name].astype(object).where(rows[name].notna(), None)
    return rows


def pack(ledger: pd.DataFrame, link_of: Callable[[str, str], str | None]) -> dict[str, Any]:
    """The page's data: names, periods, cells and single attempts, which point into the names."""
    rows = columns_of(ledger)
    unit, periods = _into_cells(rows)
    jobs = _jobs(rows)
    points, points_left = points_of(rows)
    slow, slow_left = slow_of(rows)
    priced = rows.dropna(subset=["prices_as_of"]).groupby(["prices_as_of", "region"], sort=True, dropna=False)
    return {
        "unit": unit,
        "periods": periods,
        "tasks": [text(name) for name in rows.attrs["task"]],
        "backends": [text(name) for name in rows.attrs["backend"]],
        "tasks_together": rows.attrs["task_together"],
        "attempts": len(rows),
        "sums": SUMS,
        "cells": _cells(rows, jobs),
        "duration_edges": DURATIONS_S,
        "no_failure": NO_FAILURE_OF_WORKERS,
        "prices": [[text(day), text(region), len(of)] for (day, region), of in priced],
        "point_columns": POINT,
        "points": listed(points, POINT, link_of),
        "points_left_out": points_left,
        "slow_columns": SLOW,
        "slow": listed(slow, SLOW, link_of),
        "slow_left_out": slow_left,
    }


# Cells


def _into_cells(rows: Table) -> tuple[str, list[str]]:
    """Puts the numbers `p`, `t`, `b` of each row's period, task and backend into it. Returns the period's
    unit and all periods from first to last, by their first day."""
    import pandas as pd

    for column, most, code in (("task", MAX_TASKS, "t"), ("backend", MAX_BACKENDS, "b")):
        weight = rows["usd_on_modal"].fillna(0).groupby(rows[column].fillna(OTHERS)).agg(["sum", "size"])
        ordered = [str(name) for name in weight.sort_values(["sum", "size"], ascending=False).index]
        names = ordered if len(ordered) <= most else [*ordered[: most - 1], OTHERS]
        places = {name: min(place, len(names) - 1) for place, name in enumerate(ordered)}
        rows[code] = rows[column].fillna(OTHERS).map(places).astype(int)
        rows.attrs[column], rows.attrs[f"{column}_together"] = names, len(ordered) - len(names) + 1
    began = rows["started_at"].dt.tz_localize(None)
    rows["p"] = 0
    if rows.empty:
        return "day", []
    for unit, frequency in _UNITS.items():
        period = began.dt.to_period(frequency)
        every = pd.period_range(period.min(), period.max(), freq=frequency)
        rows["p"] = every.get_indexer(period)
        if len(every) <= MAX_PERIODS and len(rows[["p", "t", "b"]].drop_duplicates()) <= MAX_CELLS:
            return unit, _first_days(every)
    return unit, _first_days(every)


def _first_days(periods: Any) -> list[str]:
    return [f"{period.start_time:%Y-%m-%d}" for period in periods]


def cold_start(rows: Table) -> Table:
    """For attempts whose task began: seconds of `waiting_s` (for a place, and for a container on Modal),
    `start_s` (of the process, to the task's first line), `load_s` (of the model) and `whole_s`, from the
    submission to the result; where there was no submission, from the start of the process.

    `startup_overhead_ms` counts from the submission on Modal and from the process's start elsewhere
    (`telemetry.usage`), so what it has in common with `queued_s` is counted once.
    """
    import pandas as pd

    began = (rows["machine_s"] - rows["wall_s"]).clip(lower=0).fillna(0)
    startup, queued = rows["startup_overhead_ms"] / 1000, rows["queued_s"]
    before_claim = queued.fillna(began)
    elsewhere = before_claim + (startup - began).clip(lower=0)
    before = startup.where((rows["backend"] != "local") & queued.notna(), elsewhere)
    waiting = (queued - began).clip(lower=0).fillna(0)
    parts: Table = pd.DataFrame(
        {
            "waiting_s": waiting,
            "start_s": (before - waiting).clip(lower=0),
            "load_s": (rows["model_load_time_ms"] / 1000).fillna(0),
            "whole_s": before_claim + rows["wall_s"],
        }
    )
    return parts[startup.notna() & (parts["whole_s"] > 0)]


def _cells(rows: Table, jobs: Table) -> list[list[Any]]:
    """[period, task, backend, sums, error kinds, GPU types, hours of the week, durations, jobs by workers]"""
    import numpy as np
    import pandas as pd

    where = ["p", "t", "b"]
    local = rows["backend"] == "local"
    timed: Table = cold_start(rows).reindex(rows.index)
    known: Table = timed["whole_s"].notna()
    error: Table = rows["status"] == "error"
    first = rows.sort_values("started_at", kind="stable").drop_duplicates("key").index
    told: Table = pd.DataFrame(
        {
            **rows[where],
            "attempts": 1,
            "calls": rows.index.isin(first).astype(int),
            "failed": error.astype(int),
            **rows[["usd", "usd_gpu", "usd_cpu", "usd_memory", "machine_s"]],
            "usd_elsewhere": rows["usd_on_modal"].where(local, 0.0),
            "unpriced": rows[["usd", "usd_on_modal"]].isna().any(axis=1).astype(int),
            "timed": known.astype(int),
            "cold": (rows["cold"] & known).astype(int),
            **timed,
        }
    )
    sums = told.groupby(where)[list(SUMS)].sum()
    hour = rows["started_at"].dt.day_of_week * 24 + rows["started_at"].dt.hour
    type_ = rows["gpu_type"].where(rows["gpu_type"].notna(), rows["gpu_name"]).map(text)
    gpus: Table = pd.DataFrame({**rows[where], "x": type_, "s": rows["gpu_seconds"], "usd": rows["usd_gpu"]})
    gpus = gpus[gpus["s"] > 0].fillna({"x": "unknown type"})
    once = rows[rows["parent"].isna() & (rows["video_seconds"] > 0)].drop_duplicates("key", keep="last")
    bins = pd.Series(np.searchsorted(DURATIONS_S, once["video_seconds"], side="right"), index=once.index)
    kinds = rows["error_kind"].map(text).fillna("not said")
    by = {
        "kinds": _counted(rows[error], kinds[error], where),
        "gpus": _nested(gpus.groupby([*where, "x"])[["s", "usd"]].sum(), lambda row: [short(v) for v in row]),
        "hours": _counted(rows, hour, where),
        "durations": _counted(once, bins, where),
        "workers": _nested(
            jobs.groupby([*where, "workers"])[["jobs", "failed", "attempts", "failed_attempts"]].sum(),
            lambda row: [int(value) for value in row],
        ),
    }
    return [
        [*map(int, cell), [short(value) for value in row], *(part.get(cell, {}) for part in by.values())]
        for cell, row in zip(sums.index, sums.to_numpy(), strict=True)
    ]


def _counted(rows: Table, what: Any, where: list[str]) -> dict[Hashable, dict[str, int]]:
    """For each cell how many rows there are of each value."""
    return _nested(rows.assign(x=what).groupby([*where, "x"]).size().to_frame(), lambda row: int(row[0]))


def _nested(grouped: Table, say: Callable[[Any], Any]) -> dict[Hashable, dict[str, Any]]:
    found: dict[Hashable, dict[str, Any]] = {}
    for (*cell, value), row in zip(grouped.index, grouped.to_numpy(), strict=True):
        name = value if isinstance(value, str) else str(int(value))
        found.setdefault(tuple(cell), {})[name] = say(row)
    return found


def _jobs(rows: Table) -> Table:
    """One row for each call that no other has started: its cell, its `workers`, whether it `failed` in the
    end, and the `attempts` and `failed_attempts` of all its calls.

    Workers are the calls at the ends of the job's tree, or as many chunks as a call that started others says
    it had: one that failed early has not started them all.
    """
    import pandas as pd

    parents = {key: parent for key, parent in zip(rows["key"], rows["parent"], strict=True) if parent}
    starters = set(parents.values())
    rows = rows.assign(
        job=rows["key"].map({key: root_of(key, parents) for key in rows["key"].unique()}).astype(object),
        bad=(rows["status"] == "error") & ~rows["error_kind"].isin(NO_FAILURE_OF_WORKERS),
        starter=rows["key"].isin(starters),
    ).sort_values(["started_at", "attempt"], kind="stable")
    last = rows[rows["key"] == rows["job"]].drop_duplicates("key", keep="last").set_index("key")
    leaves = rows[~rows["starter"]].groupby("job")["key"].nunique()
    chunks = rows[rows["starter"]].groupby("job")["chunks"].max()
    workers: Table = pd.concat([leaves, chunks], axis=1).max(axis=1)
    of_job = rows.groupby("job")["bad"]
    return pd.DataFrame(
        {
            **last[["p", "t", "b"]],
            "jobs": 1,
            "failed": last["bad"].astype(int),
            "workers": workers.reindex(last.index).fillna(1).astype(int),
            "attempts": of_job.size().reindex(last.index),
            "failed_attempts": of_job.sum().reindex(last.index),
        }
    )

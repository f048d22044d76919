"""The single attempts that the dashboard shows: predictions with their outcomes, and slow calls.

Belongs here: choosing them, and values as the page's JSON holds them. Does not belong here: sums
(`dashboard_data`), the page (`dashboard`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Table = Any
"""A DataFrame: its own types make a union of every column that is picked and of every sum."""

MAX_POINTS = 2_000
MAX_SLOW = 1_000
SLOW_PER_CELL = 20
"""The slowest of any filter are among the slowest of its cells."""
LEAST_FOR_A_MEDIAN = 5
MAX_TEXT = 160

POINT = ("period", "task", "backend", "predicted_s", "wall_s", "chunks", "key", "attempt", "tenant", "link")
SLOW = (
    *("period", "task", "backend", "wall_s", "expected_s", "basis", "status", "frames", "video_seconds"),
    *("started_at", "key", "attempt", "tenant", "partition", "host", "link"),
)


def text(value: object) -> str | None:
    """A string of the page, at most MAX_TEXT characters of it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    said = str(value)
    return said if len(said) <= MAX_TEXT else f"{said[: MAX_TEXT - 1]}…"


def points_of(rows: Table) -> tuple[Table, int]:
    """Successful attempts that carry a prediction, the newest first, and how many more there are."""
    known = rows[(rows["status"] == "ok") & (rows["predicted_s"] > 0) & (rows["wall_s"] > 0)]
    known = known.sort_values("started_at", ascending=False, kind="stable")
    return known.head(MAX_POINTS), max(0, len(known) - MAX_POINTS)


def slow_of(rows: Table) -> tuple[Table, int]:
    """The attempts that took longest beside what was expected, and how many slow ones are left out.

    Expected is what was predicted; without that, the median of the task's successful attempts on that backend
    whose frames are as many to a power of two, or of all of them: what has LEAST_FOR_A_MEDIAN attempts. Only
    attempts that took longer are slow.
    """
    import numpy as np

    like = np.floor(np.log2(rows["frames"].where(rows["frames"] > 0)))
    good = rows.assign(like=like, good=rows["wall_s"].where(rows["status"] == "ok"))
    expected = rows["predicted_s"].where(rows["predicted_s"] > 0)
    basis = expected.map(lambda value: "predicted" if value == value else None).astype(object)
    for name, columns in (("median, like length", ["t", "b", "like"]), ("median", ["t", "b"])):
        groups = good.groupby(columns)["good"]
        median = groups.transform("median").where(groups.transform("count") >= LEAST_FOR_A_MEDIAN)
        basis = basis.where(expected.notna() | median.isna(), name)
        expected = expected.fillna(median)
    made = rows.assign(expected_s=expected, basis=basis, over=rows["wall_s"] / expected)
    made = made[(made["expected_s"] > 0) & (made["over"] > 1)]
    made = made.sort_values("over", ascending=False, kind="stable")
    candidates = made[made.groupby(["p", "t", "b"]).cumcount() < SLOW_PER_CELL]
    return candidates.head(MAX_SLOW), max(0, len(candidates) - MAX_SLOW)


def listed(
    rows: Table, columns: tuple[str, ...], link_of: Callable[[str, str], str | None]
) -> list[list[Any]]:
    made = rows.assign(
        period=rows["p"],
        task=rows["t"],
        backend=rows["b"],
        status=rows["status"].where(rows["status"] == "ok", rows["error_kind"]),
        started_at=rows["started_at"].dt.strftime("%Y-%m-%d %H:%M"),
    )
    known = [name for name in columns if name != "link"]
    return [
        [*(_value(value) for value in row), _address(link_of(tenant, key))]
        for row, tenant, key in zip(
            made[known].itertuples(index=False), rows["tenant"], rows["key"], strict=True
        )
    ]


def _address(link: str | None) -> str | None:
    """An address that may be a link in a page: one that only shows something."""
    return link if link is not None and link.startswith(("https://", "http://", "file://")) else None


def _value(value: Any) -> Any:
    return value if isinstance(value, int) else short(value) if isinstance(value, float) else text(value)


def short(value: float) -> float | int | None:
    """Six digits: a page shows three or four. None for what is not known or no number."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() else short

"""Spans added up: the console table, and the wall time of several.

Belongs here: aggregation by name. Does not belong here: recording spans (`timing`) or drawing them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from video_pipeline.telemetry.timing import Span

TITLE = "TIMING WATERFALL CHART"


@dataclass(frozen=True, slots=True)
class Totals:
    """All spans of one name. Times in seconds; percentiles by nearest rank."""

    name: str
    count: int
    total: float
    mean: float
    min: float
    max: float
    p50: float
    p95: float
    errors: int


def summarise(spans: Iterable[Span]) -> list[Totals]:
    """One row per name, the largest total first."""
    groups: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        groups[span.name].append(span)
    rows = []
    for name, members in groups.items():
        times = sorted(span.duration for span in members)
        total = sum(times)
        rows.append(
            Totals(
                name=name,
                count=len(times),
                total=total,
                mean=total / len(times),
                min=times[0],
                max=times[-1],
                p50=percentile(times, 50),
                p95=percentile(times, 95),
                errors=sum(span.error is not None for span in members),
            )
        )
    return sorted(rows, key=lambda row: (-row.total, row.name))


def percentile(ordered: list[float], percent: int) -> float:
    """The smallest value that at least `percent` % of the values do not exceed (nearest rank)."""
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(rank, 1) - 1]


def timing_table(spans: Iterable[Span], *, dropped: int = 0) -> str:
    """The console table. Times in milliseconds."""
    rows = summarise(spans)
    width = max([len("operation"), *(len(row.name) for row in rows)])
    columns = ("count", 7), ("total", 10), *((name, 9) for name in ("mean", "min", "max", "p50", "p95"))
    head = f"{'operation':{width}} " + " ".join(f"{name:>{size}}" for name, size in columns)
    lines = [TITLE + " (milliseconds)", "=" * len(head), head, "-" * len(head)]
    for row in rows:
        values = " ".join(
            f"{value * 1000:>{size}.1f}"
            for value, size in (
                (row.total, 10),
                (row.mean, 9),
                (row.min, 9),
                (row.max, 9),
                (row.p50, 9),
                (row.p95, 9),
            )
        )
        failed = f"  {row.errors} failed" if row.errors else ""
        lines.append(f"{row.name:{width}} {row.count:>7} {values}{failed}")
    lines.append("=" * len(head))
    if dropped:
        lines.append(f"{dropped} spans beyond the recorder's limit are not in this table")
    return "\n".join(lines)


def wall_seconds(spans: Iterable[Span], names: Collection[str]) -> float:
    """Seconds in which at least one span of these names was open: work side by side counts once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted((span.start, span.end) for span in spans if span.name in names):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total

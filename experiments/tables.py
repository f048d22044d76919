"""Figures as tables of Markdown, which are read in a terminal as well.

Belongs here: the shape of tables and numbers. Does not belong here: what is said about them (`findings.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from experiments.schema import ENOUGH_REPEATS, Comparison, Run, Series
from experiments.statistics import Difference, Summary, difference, summary

TOTALS = frozenset({"wall_s", "caller_wall_s", "machine_s", "cpu_s", "gpu_seconds", "usd"})
"""Measures of a run that grow with what it makes."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown with padded columns."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join(
        [line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]
    )


def number(value: float | None, digits: int = 3) -> str:
    """Three digits that count; an em dash for nothing."""
    if value is None:
        return "—"
    if value == 0:
        return "0"
    return f"{value:.{max(0, digits - 1 - _magnitude(value))}f}"


def _magnitude(value: float) -> int:
    return int(f"{abs(value):e}".partition("e")[2])


def money(value: float | None) -> str:
    return "—" if value is None else f"${number(value)}"


def spread(found: Summary | None) -> str:
    """`12.3 (11.9 to 12.7)`: the mean and its interval."""
    if found is None:
        return "—"
    if found.low is None or found.high is None:
        return number(found.mean)
    return f"{number(found.mean)} ({number(found.low)} to {number(found.high)})"


def values_of(runs: Sequence[Run], measure: str) -> dict[int, float]:
    """A measure by repeat, of the runs that have it."""
    found = {run.repeat: run.measured(measure) for run in runs}
    return {repeat: value for repeat, value in found.items() if value is not None}


def summary_of(series: Series, configuration: str, measure: str) -> Summary | None:
    return summary(list(values_of(series.ok_runs(configuration), measure).values()))


def difference_of(series: Series, comparison: Comparison) -> Difference:
    """The paired difference. Nothing is said of seconds or costs of runs that made different numbers of
    frames: that is not the same work."""
    ours, theirs = series.ok_runs(comparison.name), series.ok_runs(comparison.baseline)
    found = difference(
        values_of(ours, comparison.measure), values_of(theirs, comparison.measure), enough=ENOUGH_REPEATS
    )
    made = {run.frames for run in [*ours, *theirs] if run.frames is not None}
    if comparison.measure in TOTALS and len(made) > 1:
        return replace(found, verdict="different work")
    return found


def configurations_table(series: Series) -> str:
    """One line for each configuration: time, spread, machine time, memory, cost."""
    rows = []
    for configuration in series.configurations:
        runs = series.ok_runs(configuration.name)
        wall = summary_of(series, configuration.name, "wall_s")
        frames = {run.frames for run in runs}
        failed = sum(run.configuration == configuration.name for run in series.failed_runs())
        rows.append(
            [
                configuration.name,
                str(len(runs)) + (f" ({failed} failed)" if failed else ""),
                str(frames.pop()) if len(frames) == 1 and None not in frames else "—",
                spread(wall),
                f"{number(wall.median)} ({number(wall.least)} to {number(wall.most)})" if wall else "—",
                number(_mean(series, configuration.name, "caller_wall_s")),
                number(_mean(series, configuration.name, "cpu_s")),
                number(_mean(series, configuration.name, "peak_memory_mib")),
                money(_mean(series, configuration.name, "usd")),
            ]
        )
    head = [
        "configuration",
        "runs",
        "frames",
        "s, mean (95 %)",
        "median (range)",
        "s waited",
        "CPU s",
        "MiB",
        "cost",
    ]
    return table(head, rows)


def _mean(series: Series, configuration: str, measure: str) -> float | None:
    found = summary_of(series, configuration, measure)
    return found.mean if found else None


def comparisons_table(series: Series) -> str:
    """One line for each declared comparison, with the paired difference and what may be said of it."""
    rows = []
    for comparison in series.comparisons:
        found = difference_of(series, comparison)
        between = f"{number(found.low)} to {number(found.high)}" if found.low is not None else "—"
        rows.append(
            [
                comparison.name,
                comparison.baseline,
                comparison.measure,
                str(found.pairs),
                number(found.mean),
                between,
                f"{number(found.ratio)}x" if found.ratio is not None else "—",
                found.verdict,
            ]
        )
    head = ["configuration", "against", "measure", "pairs", "difference", "95 %", "ratio", "said of it"]
    return table(head, rows)

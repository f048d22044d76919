"""Where the time of calls goes, as their workers timed it.

Belongs here: tables of phases and of what a fan-out adds. Does not belong here: the timing itself
(`video_pipeline.telemetry.usage`).
"""

from __future__ import annotations

from collections.abc import Callable

from experiments.schema import CallRow, Run, Series
from experiments.statistics import summary
from experiments.tables import number, table

PHASES = ("download", "model_load", "work", "encode", "upload")
FAN_OUT = (
    "orchestrator_startup_ms",
    "map_dispatch_ms",
    "chunk_download_overhead_ms",
    "concatenation_ms",
    "cleanup_ms",
)
FRAMES = ("ms_per_frame_mean", "ms_per_frame_min", "ms_per_frame_max")
"""Of each call; of several calls of a run their mean."""


def phases_table(series: Series) -> list[str]:
    """Mean milliseconds of each phase over the runs of a configuration; of several calls, their sum. Phases
    overlap, so they add up to more than the call. Of a frame the mean, the least and the most in one column,
    and none for a phase that no call had: with a column each the table is wider than a page. Nothing where no
    call told phases."""
    figures: dict[str, Callable[[CallRow], float | None]] = {
        "start": lambda call: call.usage.get("startup_overhead_ms"),
        **{name: _phase(name) for name in PHASES},
        **{name: _figure(name) for name in FRAMES},
    }
    rows = _rows(series, figures, children=True)
    told = [[*row[:-3], _around(*row[-3:])] for row in rows if any(cell != "—" for cell in row[2:7])]
    if not told:
        return []
    head = ["configuration", "start", *PHASES, "ms a frame (least to most)"]
    had = [number for number in range(len(head)) if any(row[number] != "—" for row in told)]
    text = "Where the time goes: milliseconds of all calls of a run together; phases overlap."
    return [text, table([head[number] for number in had], [[row[number] for number in had] for row in told])]


def fan_outs_table(series: Series) -> list[str]:
    """What a fan-out adds, in mean milliseconds of the orchestrating call. Nothing where none was told."""
    figures = {name.removesuffix("_ms").replace("_", " "): _figure(name) for name in FAN_OUT}
    rows = [row for row in _rows(series, figures, children=False) if row[1] != "—"]
    if not rows:
        return []
    return ["What fanning out takes, in milliseconds:", table(["configuration", *figures], rows)]


def _around(mean: str, least: str, most: str) -> str:
    return mean if "—" in (least, most) else f"{mean} ({least} to {most})"


def _phase(name: str) -> Callable[[CallRow], float | None]:
    return lambda call: (call.usage.get("phases") or {}).get(name, {}).get("wall_ms")


def _figure(name: str) -> Callable[[CallRow], float | None]:
    return lambda call: call.usage.get(name)


def _rows(
    series: Series, figures: dict[str, Callable[[CallRow], float | None]], *, children: bool
) -> list[list[str]]:
    rows = []
    for configuration in series.configurations:
        runs = series.ok_runs(configuration.name)
        cells = []
        for name, figure in figures.items():
            together = _mean_of_calls if name in FRAMES else _sum_of_calls
            values = [together(run, figure, children) for run in runs]
            found = summary([value for value in values if value is not None])
            cells.append(number(found.mean if found else None))
        rows.append([configuration.name, *cells])
    return rows


def _of_calls(run: Run, figure: Callable[[CallRow], float | None], children: bool) -> list[float]:
    told = [figure(call) for call in run.calls if children or not call.child]
    return [float(value) for value in told if value is not None]


def _sum_of_calls(run: Run, figure: Callable[[CallRow], float | None], children: bool) -> float | None:
    told = _of_calls(run, figure, children)
    return sum(told) if told else None


def _mean_of_calls(run: Run, figure: Callable[[CallRow], float | None], children: bool) -> float | None:
    told = _of_calls(run, figure, children)
    return sum(told) / len(told) if told else None

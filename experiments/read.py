"""The runs of experiments as a table, for whoever fits or draws something.

Belongs here: from files to rows. Does not belong here: what the rows mean. pandas is imported where it is
used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.schema import Series, read_series
from video_pipeline.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

FIGURES = (
    "frames",
    "chunks",
    "wall_s",
    "caller_wall_s",
    "machine_s",
    "cpu_s",
    "gpu_seconds",
    "peak_memory_mib",
    "usd",
    "ms_per_frame",
)


def all_series(folder: Path) -> list[Series]:
    """Every series of a folder, by name of its file. BadInput naming a file that is none."""
    return [read_series(path) for path in sorted(folder.glob("*.json"))]


def runs(path: Path, *, failed: bool = False) -> pd.DataFrame:
    """One row per run of a file, or of all files of a folder: `experiment`, `configuration`, `tasks`,
    `hardware`, `backend`, `repeat`, `order`, `run_id` (unique among all), `status`, `reason`, `started_at`,
    the figures of `FIGURES` (nan where there is none), the facts of the configuration and the values of the
    run under their own names, and of the environment `processor`, `cores`, `commit`, `enough`.

    Failed runs are left out unless `failed`. BadInput where there is no such path.
    """
    import pandas as pd

    if not path.exists():
        raise BadInput(
            "there are no results", input=str(path), what_to_do="run an experiment first, or name its folder"
        )
    found = all_series(path) if path.is_dir() else [read_series(path)]
    return pd.DataFrame([row for series in found for row in _rows(series, failed)])


def _rows(series: Series, failed: bool) -> list[dict[str, object]]:
    configurations = {configuration.name: configuration for configuration in series.configurations}
    rows: list[dict[str, object]] = []
    for run in series.runs:
        if run.status == "failed" and not failed:
            continue
        configuration = configurations[run.configuration]
        rows.append(
            {
                **configuration.facts,
                **run.values,
                "experiment": series.experiment,
                "configuration": run.configuration,
                "tasks": " ".join(configuration.tasks),
                "hardware": configuration.hardware,
                "backend": series.environment.backend,
                "repeat": run.repeat,
                "order": run.order,
                "run_id": f"{series.experiment}-{series.environment.backend}-{run.order}",
                "status": run.status,
                "reason": run.reason,
                "started_at": run.started_at,
                **{name: run.measured(name) for name in FIGURES},
                "processor": series.environment.processor,
                "cores": series.environment.cores,
                "commit": series.environment.commit,
                "enough": series.enough,
            }
        )
    return rows

"""What an experiment leaves: one JSON file, `Series`, of which everything else is made.

Belongs here: the models and reading and writing their file. Does not belong here: running, statistics.
`python -m experiments.schema` prints the JSON schema.

Seconds are wall seconds unless said otherwise; memory is in MiB; money is US dollars.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from video_pipeline.costs.experiment_results import read_result
from video_pipeline.strict import StrictModel

ENOUGH_REPEATS = 3
"""With fewer repeats of a configuration a series is marked as not enough to conclude from."""


class Environment(StrictModel):
    """Where the series was started. A call on Modal runs elsewhere: its row says on what."""

    backend: Literal["local", "modal"]
    processor: str
    cores: int
    memory_mib: int
    gpus: tuple[str, ...] = ()
    system: str
    python: str
    packages: dict[str, str | None]
    threads: str | None = None
    """OMP_NUM_THREADS, where it was set: local workers inherit it."""

    commit: str
    changed_files: int | None = None
    """Files that differ from the commit; None where git does not say."""

    store: Literal["directory", "bucket"]
    prices_as_of: str
    load_average_before: float
    """Over the last minute; well under 1 on an idle machine."""


class Configuration(StrictModel):
    """One way of doing the work. Runs of configurations with the same `equal_outputs` must give the same
    output, byte for byte. `facts` are what a reader needs to place it: frames, chunks, seconds of video."""

    name: str
    what: str
    tasks: tuple[str, ...]
    hardware: str
    equal_outputs: str | None = None
    facts: dict[str, float | str] = Field(default_factory=dict)


class Comparison(StrictModel):
    """`name` held against `baseline`, repeat by repeat, by a number of `Run` or of its `values`."""

    name: str
    baseline: str
    measure: str = "wall_s"


class CallRow(StrictModel):
    """One attempt of one call of a run, as its result record tells it. `child`: started by another call of
    the run. `usage` is the record's usage."""

    key: str
    task: str
    version: int
    child: bool = False
    gpu: str | None = None
    attempt: int
    host: str
    started_at: datetime
    finished_at: datetime
    usage: dict[str, Any]
    usd: float
    """By the prices of the environment: see `Series.cost_basis`."""


class Run(StrictModel):
    """One repeat of one configuration: one call, or several one after the other.

    `wall_s` is the sum of its own calls' time inside their workers, `caller_wall_s` what its caller waited,
    start of processes or containers included. `machine_s` is the time of all workers that is charged, those
    of children and the start of each included; `cpu_s` their CPU seconds. None where the run failed, or where
    nothing of it was told.
    """

    configuration: str
    repeat: int
    order: int
    """Which run of the series it was, from 0."""

    started_at: datetime
    load_before: float
    status: Literal["ok", "failed"]
    reason: str | None = None
    wall_s: float | None = None
    caller_wall_s: float | None = None
    machine_s: float | None = None
    cpu_s: float | None = None
    gpu_seconds: float = 0.0
    peak_memory_mib: float | None = None
    frames: int | None = None
    chunks: int | None = None
    usd: float | None = None
    output: str | None = None
    """SHA-256 of what it made."""

    values: dict[str, float | str | bool | None] = Field(default_factory=dict)
    """What the experiment read off the results beside time."""

    degraded: tuple[str, ...] = ()
    calls: tuple[CallRow, ...] = ()

    def measured(self, measure: str) -> float | None:
        """A figure by its name: a field or property of the run, or one of its `values`."""
        found = self.values[measure] if measure in self.values else getattr(self, measure)
        return found if isinstance(found, int | float) and not isinstance(found, bool) else None

    @property
    def ms_per_frame(self) -> float | None:
        return 1000 * self.wall_s / self.frames if self.wall_s is not None and self.frames else None


class NotTested(StrictModel):
    """What the experiment asks about and this series did not run, and why."""

    what: str
    reason: str


class Unequal(StrictModel):
    """Runs that had to give equal outputs and did not: output -> the orders of the runs that gave it."""

    group: str
    outputs: dict[str, tuple[int, ...]]


class Series(StrictModel):
    """One execution of one experiment: `experiments/results/{experiment}-{backend}.json`."""

    schema_version: Literal[1] = 1
    experiment: str
    question: str
    quick: bool = False
    """Tiny sizes, to see that it works: never a result."""

    seed: int
    repeats: int
    started_at: datetime
    finished_at: datetime
    environment: Environment
    cost_basis: str
    configurations: tuple[Configuration, ...]
    comparisons: tuple[Comparison, ...] = ()
    runs: tuple[Run, ...]
    unequal: tuple[Unequal, ...] = ()
    not_tested: tuple[NotTested, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def enough(self) -> bool:
        """Whether there are repeats enough to conclude from at all."""
        return not self.quick and self.repeats >= ENOUGH_REPEATS

    def ok_runs(self, configuration: str) -> list[Run]:
        """The runs of a configuration that count, in order of repeat: those that did not fail."""
        chosen = [run for run in self.runs if run.configuration == configuration and run.status == "ok"]
        return sorted(chosen, key=lambda run: run.repeat)

    def failed_runs(self) -> list[Run]:
        return [run for run in self.runs if run.status == "failed"]


def read_series(path: Path) -> Series:
    """A series from its file. BadInput naming every problem if it is not one."""
    return read_result(path, Series)


def write_series(series: Series, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{series.experiment}-{series.environment.backend}.json"
    path.write_text(series.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    print(json.dumps(Series.model_json_schema(), indent=1))

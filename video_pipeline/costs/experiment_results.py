"""Results of experiments as the cost model takes them: a row for each call that ended well.

Belongs here: reading the files of `experiments/results` without the code that wrote them, which an
installation does not have, and the refusal of a file that is none. Does not belong here: the whole form of
these files (`experiments.schema`), which rows go into a model (`refit.py`). pandas is imported inside
functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from video_pipeline.costs.stored import ENLARGING, Frame, family
from video_pipeline.errors import BadInput, problems_of
from video_pipeline.tasks import BUILT_IN
from video_pipeline.telemetry.usage import Usage

RUN_COLUMNS = [
    *("task", "version", "backend", "gpu", "enlarged", "frames", "chunks", "wall_s", "gpu_seconds"),
    *("video_seconds", "started_at"),
]
"""Of a table of runs that models are fitted to, whether from experiments or from the ledger. `enlarged`:
whether the network worked on the pictures (as `enlarging.py` tells it), null for tasks that never load it."""

_PRODUCT = frozenset(task.name for task in BUILT_IN)
"""Experiments have tasks of their own beside these, which nobody pays for afterwards."""

Result = TypeVar("Result", bound=BaseModel)


class _Call(BaseModel):
    model_config = ConfigDict(extra="ignore")

    task: str
    version: int
    child: bool = False
    gpu: str | None = None
    started_at: datetime
    usage: Usage


class _Run(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: str
    calls: tuple[_Call, ...] = ()


class _Environment(BaseModel):
    model_config = ConfigDict(extra="ignore")

    backend: str


class _Series(BaseModel):
    """What is needed of `experiments.schema.Series`."""

    model_config = ConfigDict(extra="ignore")

    schema_version: Literal[1]
    quick: bool = False
    environment: _Environment
    runs: tuple[_Run, ...]


def read_result(path: Path, model: type[Result]) -> Result:
    """The result of an experiment as `model`, which says how much of it is needed. `BadInput` naming the
    file and every problem if it is none."""
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        problem = problems_of(error, "file") if isinstance(error, ValidationError) else str(error)
        raise BadInput(
            f"not a result of an experiment: {problem}",
            input=str(path),
            what_to_do="run the experiment again, or take the file away",
        ) from None


def experiment_runs(folder: Path | None) -> Frame:
    """The runs of every series in a folder, in the columns of `RUN_COLUMNS`; none where there is no folder.
    Series that only tried whether the experiment works do not count, nor do runs that failed. `BadInput` for
    a file that is no series."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.json")) if folder is not None else ():
        series = read_result(path, _Series)
        if not series.quick:
            rows += [row for run in series.runs if run.status == "ok" for row in _rows_of(run, series)]
    made = pd.DataFrame(rows, columns=pd.Index(RUN_COLUMNS))
    return made.astype({"enlarged": "boolean"})


def _rows_of(run: _Run, series: _Series) -> Iterator[dict[str, Any]]:
    own, children = [], []
    for call in run.calls:
        (children if call.child else own).append(call)
    for call in own:
        usage = call.usage
        fans = usage.map_dispatch_ms is not None
        chunks = (usage.chunks or 1) if fans else 1
        if not usage.frames or usage.wall_s <= 0 or (fans and (chunks < 2 or len(own) > 1)):
            continue
        if call.task not in _PRODUCT:
            continue
        task = family(call.task)
        loaded = any(one.usage.model_load_time_ms is not None for one in (call, *(children if fans else ())))
        yield {
            "task": task,
            "version": call.version,
            "backend": series.environment.backend,
            "gpu": next((one.gpu for one in (call, *(children if fans else ())) if one.gpu), None),
            "enlarged": loaded if task in ENLARGING else None,
            "frames": usage.frames,
            "chunks": chunks,
            "wall_s": usage.wall_s,
            "gpu_seconds": sum(child.usage.machine_s for child in children) if fans else None,
            "video_seconds": usage.video_seconds,
            "started_at": call.started_at,
        }

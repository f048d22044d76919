"""How much work of which kind there is in a month: said in a file, or seen in the ledger.

Belongs here: a workload, reading a mix from JSON or CSV, taking it from the ledger. Does not belong here:
what it costs (`projection.py`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field, ValidationError, model_validator

from video_pipeline.costs.stored import Frame
from video_pipeline.errors import BadInput, problems_of
from video_pipeline.strict import StrictModel
from video_pipeline.wording import counted

DAYS = 365.25 / 12
"""Of a month."""
FORM = (
    '{"workloads": [{"task": "process_framing_ai", "per_month": 200, "duration_s": 20}]}, or as CSV '
    "the columns task,per_month,duration_s"
)

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Workload(StrictModel):
    """Calls of one task: so many a month, of clips whose length is `duration_s` (all alike; with
    `duration_sd_s` lognormal with that mean and standard deviation), uniform between `duration_from_s` and
    `duration_to_s`, or drawn from `durations_s`.

    `chunks` None is the model's choice. `upscale` says, of a framed clip, whether the network enlarges it
    (`auto`, and where nothing is said) or not (`never`). `values_usd`, from the ledger, is what single jobs
    cost: used where there is no model of that task on that backend. `daily` is how many calls there were on
    each day that was seen, and `failed_part` what failed attempts cost for each dollar of successful ones."""

    task: str = Field(min_length=1)
    per_month: Count
    duration_s: Seconds | None = None
    duration_sd_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    duration_from_s: Seconds | None = None
    duration_to_s: Seconds | None = None
    durations_s: tuple[Seconds, ...] = ()
    fps: Annotated[float, Field(gt=0, le=1000)] = 30.0
    chunks: Annotated[int, Field(ge=1, le=1000)] | None = None
    gpu: str | None = None
    backend: Literal["local", "modal"] | None = None
    upscale: Literal["auto", "never"] | None = None
    values_usd: tuple[float, ...] = ()
    daily: tuple[int, ...] = ()
    failed_part: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _one_way_of_saying_how_long(self) -> Workload:
        uniform = self.duration_from_s is not None or self.duration_to_s is not None
        ways = (self.duration_s is not None) + uniform + bool(self.durations_s)
        if ways != 1 and not self.values_usd:
            raise ValueError(
                "say how long clips are in one way: duration_s (with duration_sd_s), duration_from_s and "
                "duration_to_s, or durations_s"
            )
        if uniform and not (
            self.duration_from_s is not None
            and self.duration_to_s is not None
            and self.duration_from_s <= self.duration_to_s
        ):
            raise ValueError("duration_from_s and duration_to_s go together, the shorter first")
        if self.duration_sd_s and self.duration_s is None:
            raise ValueError("duration_sd_s goes with duration_s")
        return self

    @property
    def enlarged(self) -> bool | None:
        return None if self.upscale is None else self.upscale == "auto"

    def lengths(self, points: int) -> np.ndarray:
        """Equally likely lengths in seconds that stand for the distribution: `points` of its quantiles, or
        what was seen."""
        if self.durations_s:
            return np.array(self.durations_s)
        middle = (np.arange(points) + 0.5) / points
        if self.duration_from_s is not None and self.duration_to_s is not None:
            return self.duration_from_s + middle * (self.duration_to_s - self.duration_from_s)
        assert self.duration_s is not None
        if not self.duration_sd_s:
            return np.array([self.duration_s])
        from scipy import stats

        variance = np.log1p((self.duration_sd_s / self.duration_s) ** 2)
        quantiles = np.exp(np.sqrt(variance) * stats.norm.ppf(middle))
        return self.duration_s * quantiles / quantiles.mean()


class Mix(StrictModel):
    """All of a month's work. `source` says in words where it comes from, `left_out` what of that is not in
    it, and why."""

    workloads: tuple[Workload, ...] = Field(min_length=1)
    source: str = "said in a file"
    left_out: tuple[str, ...] = ()


def read_mix(path: Path) -> Mix:
    """A mix from JSON or, by the name's end, CSV. `BadInput` with every problem."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot read the mix: {error}", input=str(path), what_to_do=f"give {FORM}") from None
    try:
        found: Any = _csv_rows(text) if path.suffix.lower() == ".csv" else json.loads(text)
        if isinstance(found, list):
            found = {"workloads": found}
        for workload in found.get("workloads", ()) if isinstance(found, Mapping) else ():
            _only_what_people_say(workload)
        return Mix.model_validate(found)
    except ValidationError as error:
        problem = problems_of(error, "mix")
    except (ValueError, RecursionError) as error:  # the latter for brackets within brackets without end
        problem = str(error)
    raise BadInput(f"not a mix of workloads: {problem}", input=str(path), what_to_do=f"give {FORM}") from None


def _csv_rows(text: str) -> list[dict[str, object]]:
    reader = csv.DictReader(io.StringIO(text))
    rows = []
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"line {reader.line_num} does not have the columns of the first one")
        rows.append({name.strip(): value.strip() for name, value in row.items() if value.strip()})
    return rows


def _only_what_people_say(workload: object) -> None:
    taken = {"values_usd", "daily"} & set(workload) if isinstance(workload, Mapping) else set()
    if taken:
        raise ValueError(f"{', '.join(sorted(taken))} comes from the ledger")


def mix_of(ledger: Frame) -> Mix:
    """The ledger's own mix: every job (a call that no other started) by its task and backend, and by whether
    the network enlarged it, with the lengths and costs as they were. What did not end well counts as
    `failed_part`, of all jobs of the task: one that failed early does not tell which kind it was. Jobs that
    have neither a length nor a price are left out, and named. `BadInput` for a ledger without any other."""
    import pandas as pd

    from video_pipeline.costs.enlarging import enlarged_rows
    from video_pipeline.costs.ledger import job_costs

    jobs: Frame = job_costs(ledger) if len(ledger) else ledger
    jobs = jobs[jobs["task"].notna()] if len(jobs) else jobs
    if not len(jobs) or not (jobs["status"] == "ok").any():
        raise BadInput(
            "the ledger has no job that ended well: there is no mix to project",
            input="ledger",
            what_to_do="run some work first, or give a mix in a file",
        )
    days: Frame = pd.DatetimeIndex(jobs["started_at"]).floor("D")
    span = pd.date_range(days.min(), days.max(), freq="D")
    lengths = ledger.groupby("key")["video_seconds"].last()
    of_key = ledger.assign(enlarged=enlarged_rows(ledger)).groupby("key")
    jobs = jobs.assign(
        day=days,
        backend=jobs["key"].map(of_key["backend"].last()),
        upscale=jobs["key"].map(of_key["enlarged"].max()).map({True: "auto", False: "never"}),
    )
    workloads: list[Workload] = []
    left_out: list[str] = []
    by_task: Frame = jobs.groupby(["task", "backend"])
    for (task, backend), group in by_task:
        good = group[group["status"] == "ok"]
        lost = float(group.loc[group["status"] != "ok", "usd_on_modal"].sum())
        paid = float(good["usd_on_modal"].sum())
        by_kind: Frame = good.groupby("upscale", dropna=False)
        for upscale, alike in by_kind:
            seconds = alike["key"].map(lengths)
            frames = alike["frames"].astype(float)
            known = seconds.notna() & (seconds > 0) & frames.notna() & (frames > 0)
            priced = alike["usd_on_modal"].dropna()
            if not known.any() and not len(priced):
                what = f"{counted(len(alike), 'job')} of {task} ({backend})"
                left_out.append(f"{what}: neither a length nor a price is known")
                continue
            rate = float((frames[known] / seconds[known]).median()) if known.any() else 30.0
            daily = alike.groupby("day").size().reindex(span, fill_value=0)
            workloads.append(
                Workload(
                    task=str(task),
                    backend=cast('Literal["local", "modal"]', backend),
                    upscale=None if pd.isna(upscale) else upscale,
                    per_month=len(alike) / len(span) * DAYS,
                    durations_s=tuple(float(value) for value in frames[known] / rate),
                    fps=rate,
                    values_usd=tuple(float(value) for value in priced),
                    daily=tuple(int(value) for value in daily),
                    failed_part=lost / paid if paid > 0 else 0.0,
                )
            )
    if not workloads:
        raise BadInput(
            f"the ledger has no job to reckon with: there is no mix to project. {'; '.join(left_out)}",
            input="ledger",
            what_to_do="run some work that has a price, or give a mix in a file",
        )
    first, last = span[0], span[-1]
    return Mix(
        workloads=tuple(workloads),
        source=f"the ledger's jobs from {first:%Y-%m-%d} to {last:%Y-%m-%d} (UTC)",
        left_out=tuple(left_out),
    )

"""Fitting the cost model of every task anew: from the ledger, from experiments, or what was published.

Belongs here: which runs go into a model, and which of several models is used. Does not belong here: the fit
itself (`model.py`), reading experiments (`experiment_results.py`), where models are kept (`stored.py`).

A model is of one task, in the version that ran last, on one backend and one type of GPU; renders that the
network enlarged and those that it did not have a model each. Runs come from the
ledger and from experiments; they are never fitted together, because an experiment repeats one clip under
quiet conditions and the ledger has whatever people asked for. The ledger's model is used where it has at
least `ENOUGH_RUNS` runs of `ENOUGH_LENGTHS` lengths, the experiments' where not, and else the published one.
"""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from video_pipeline.costs.enlarging import enlarged_rows
from video_pipeline.costs.experiment_results import RUN_COLUMNS, experiment_runs
from video_pipeline.costs.predict import LIMIT, TERMS, Coefficients, Rates, named, predict
from video_pipeline.costs.stored import FittedModel, FittedModels, Frame, Point, family
from video_pipeline.errors import BadInput, Internal
from video_pipeline.machine import usable_cores
from video_pipeline.media.h264 import segment_frames
from video_pipeline.wording import counted

log = logging.getLogger(__name__)

ENOUGH_RUNS, ENOUGH_LENGTHS = 6, 3
"""Fewer runs leave no degrees of freedom for a spread, fewer lengths no configuration to leave out."""

MOST_RUNS = 400
"""The newest of each model: an old one tells of old code, and the fit's time grows with them."""

MOST_POINTS = 200

Source = Literal["experiments", "ledger"]
Identity = tuple[str, str | None, str, bool | None]
"""Task, GPU, backend and whether the network enlarged: `Coefficients.identity`."""

_HOW = {None: "", True: " with the network", False: " without the network"}


def refit(ledger: Frame, experiments: Path | None = None) -> FittedModels:
    """Models of all that `ledger` (as `costs.ledger.load` gives it) and the folder of experiments' results
    have runs of. `BadInput` for a file there that is no series."""
    found: dict[Identity, list[FittedModel]] = {}
    missing: list[str] = []
    sources: tuple[tuple[Source, Frame], ...] = (
        ("ledger", ledger_runs(ledger)),
        ("experiments", experiment_runs(experiments)),
    )
    for source, runs in sources:
        groups = runs.groupby(["task", "gpu", "backend", "enlarged"], dropna=False)
        for (task, gpu, backend, enlarged), group in groups:
            of = (str(task), gpu if isinstance(gpu, str) else None, str(backend), _told(enlarged))
            fitted = _fitted(group, of, source)
            if isinstance(fitted, str):
                missing.append(fitted)
            else:
                found.setdefault(of, []).append(fitted)
    models = [
        model.model_copy(update={"used": number == 0})
        for _, candidates in sorted(found.items(), key=lambda item: tuple(map(str, item[0])))
        for number, model in enumerate(candidates)
    ]
    return FittedModels(models=tuple(models), not_fitted=tuple(sorted(missing)))


def _told(value: Any) -> bool | None:
    import pandas as pd

    return None if pd.isna(value) else bool(value)


def ledger_runs(ledger: Frame) -> Frame:
    """The ledger's runs in the columns of `RUN_COLUMNS`: attempts that ended well. `chunks` is calls side by
    side, which only a fan-out has; `gpu_seconds` is then the seconds of all its workers, GPU or not. Previews
    are left out where a task's renders tell their length: they work on a few pictures. So are whole jobs that
    a fan-out gave to one call, which stands in the ledger itself, and a fan-out's later attempts: they find
    chunks that an earlier one had made."""
    import pandas as pd

    ledger = ledger.assign(enlarged=enlarged_rows(ledger))
    rows = ledger[(ledger["status"] == "ok") & (ledger["frames"].fillna(0) > 0) & (ledger["wall_s"] > 0)]
    rows = rows[rows["task"] != "process_framing_ai_chunk"]
    tells = rows.groupby("task")["video_seconds"].transform("count") > 0
    rows = rows[~tells | rows["video_seconds"].notna()]
    fans = rows["map_dispatch_ms"].notna()
    chunks = rows["chunks"].where(fans, 1).fillna(1).astype(int)
    rows = rows.assign(chunks=chunks)[~fans | ((chunks > 1) & (rows["attempt"] == 1))]
    workers = ledger[(ledger["status"] == "ok") & ledger["parent"].notna()].groupby("parent")
    busy, gpus = workers["machine_s"].sum(), workers["gpu_type"].first()
    several = rows["chunks"] > 1
    made = pd.DataFrame(
        {
            **{name: rows[name] for name in ("version", "backend", "enlarged", "wall_s", "video_seconds")},
            "started_at": rows["started_at"],
            "task": rows["task"].map(family),
            "frames": rows["frames"].astype(int),
            "chunks": rows["chunks"],
            "gpu": rows["gpu_type"].where(rows["gpu_type"].notna(), rows["key"].map(gpus)),
            "gpu_seconds": rows["key"].map(busy).where(several),
        }
    )
    return made[RUN_COLUMNS]


# One model


def _fitted(runs: Frame, of: Identity, source: Source) -> FittedModel | str:
    """The model, or why there is none."""
    from video_pipeline.costs.model import fit

    task, gpu, backend, enlarged = of
    where = f"{named(task, enlarged)} on {gpu or 'CPU'} ({backend}, {source})"
    runs = runs[runs["version"] == runs["version"].max()].sort_values("started_at").tail(MOST_RUNS)
    lengths = runs["frames"].nunique()
    if len(runs) < ENOUGH_RUNS or lengths < ENOUGH_LENGTHS:
        return (
            f"{where}: {counted(len(runs), 'run')} of {counted(lengths, 'length')}; wanted are "
            f"{ENOUGH_RUNS} of {ENOUGH_LENGTHS} lengths at least"
        )
    newest = runs["started_at"].max()
    facts: dict[str, Any] = {
        "task": task,
        "gpu": gpu,
        "backend": backend,
        "source": source,
        "as_of": f"{newest:%Y-%m-%d}",
        "segment_frames": _segment(task, runs),
        "at_once": usable_cores() if backend == "local" else None,
        "rates": rates_of(task, gpu),
        "enlarged": enlarged,
        "work": f"what version {runs['version'].max()} was asked for{_HOW[enlarged]}, all requests alike",
    }
    try:
        try:
            found = fit(runs, **facts)
        except BadInput:
            # Noise may make a part of a clip look slower than the whole: then no imbalance can be told.
            found = fit(runs, **facts, terms=[term for term in TERMS if term != "extra_s_per_frame"])
    except BadInput as error:
        return f"{where}: {error}"
    shown = runs.tail(MOST_POINTS)
    c = found.coefficients
    points = [
        Point(frames=frames, chunks=chunks, wall_s=wall, predicted_s=predict(c, frames, chunks).seconds)
        for frames, chunks, wall in zip(
            shown["frames"].astype(int), shown["chunks"].astype(int), shown["wall_s"], strict=True
        )
    ]
    notes = []
    if backend == "local":
        notes.append("seconds of this machine; what they would cost on Modal's is no forecast")
    if c.rates is None:
        notes.append("no price is known of this machine")
    return FittedModel(
        coefficients=c,
        used=True,
        held_out_run=found.by_run.mape if found.by_run else None,
        points=tuple(points),
        notes=tuple(notes),
    )


def _segment(task: str, runs: Frame) -> int | None:
    """The encoder's segments, of which chunks of a framed clip are made; None where clips of several frame
    rates have several."""
    if task != "process_framing_ai":
        return None
    rates = {round(rate, 2) for rate in (runs["frames"] / runs["video_seconds"]).dropna()}
    return segment_frames(Fraction(rates.pop()).limit_denominator(1001)) if len(rates) == 1 else None


def rates_of(task: str, gpu: str | None, region_factor: float = 1.0) -> Rates | None:
    """What a second of the machines of a task costs on Modal; None for a task or GPU that has no price."""
    from video_pipeline.costs.rates import framing_rates, rates_for

    try:
        if task == "process_framing_ai":
            return framing_rates(gpu, region_factor)
        return rates_for(whole=task, chunk=task, gpu=gpu, region_factor=region_factor)
    except (BadInput, Internal) as error:
        log.warning("%s has no price: %s", task, error)
        return None


def coefficients_note(c: Coefficients) -> str:
    """Where coefficients come from and how far they are to be trusted, in a sentence or two."""
    words = {
        "published": "published single runs of an earlier suite",
        "experiments": "repeated runs of experiments",
        "ledger": "calls in the ledger",
    }[c.source]
    held = "unknown" if c.held_out_error is None else f"{100 * c.held_out_error:.0f} %"
    text = (
        f"{c.n_runs} {words} on {c.gpu or 'CPU'} ({c.backend}), {c.n_configurations} configurations, "
        f"to {c.as_of}; measured were {c.frames_range[0]} to {c.frames_range[1]} frames in "
        f"{c.chunks_range[0]} to {c.chunks_range[1]} chunks. Error on a configuration left out: {held}"
    )
    if c.source == "published":
        text += ". Single runs of another code: an order of magnitude, no promise"
    elif c.held_out_error is None:
        text += ": a rough guide"
    elif c.held_out_error > LIMIT:
        text += f". More than {100 * LIMIT:.0f} % off: a rough guide"
    return text + "."

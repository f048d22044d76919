"""Fitting the model of `predict.py` to runs, and finding out how well it foretells runs it has not seen.

Belongs here: least squares with its choice of terms, its uncertainty and its validation. Does not belong
here: the model's form and predictions (`predict.py`), where runs come from (`ledger.py`, `published.py`,
`experiments`). scipy and pandas are imported inside functions.

How it is fitted: non-negative least squares (Lawson and Hanson 1974, `scipy.optimize.nnls`) on residuals
relative to each run's own time, because the spread of a call grows with its length; from eight runs on,
residuals beyond 1.345 robust standard deviations weigh less (Huber 1964), so that one cold start does not
bend the line.

Which terms: those with the smallest error on configurations left out one at a time, and among sets within a
tenth of the smallest, the set with the fewest terms. The error that is reported leaves configurations out
around this choice, not inside it: the set is chosen anew without them.

How sure it is: the covariance of least squares with Student's t, and not a bootstrap. A bootstrap of 4 to 12
runs draws whole configurations away and repeats of three to pieces, which makes intervals far too narrow; t
widens as degrees of freedom run out (12.7 at one of them), and with none left there is no interval at all.
A parameter that the fit put onto its bound of zero has no standard error, and none is made up. The spread of
a single run is that of the residuals, or of the errors on configurations left out where those are larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from video_pipeline.costs.least_squares import (
    HUBER_SHARE,
    ROBUST_FROM,
    Runs,
    choose_terms,
    independent,
    left_out_masks,
    read_runs,
    row_weights,
    rows_of,
    solve,
    weighed,
)
from video_pipeline.costs.predict import TERMS, Coefficients, Estimate, Rates, Term, predict
from video_pipeline.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

HOLD_OUTS, HELD_PART = 10, 0.25
SD_OF_MEAN_ERROR = math.sqrt(math.pi / 2)
"""The standard deviation of a normal error whose mean absolute value is 1."""


@dataclass(frozen=True)
class HeldOut:
    """How far predictions lay from runs the fit had not seen: parts of their time. `rows`: (frames, chunks,
    seconds, predicted)."""

    mape: float
    worst: float
    rows: tuple[tuple[int, int, float, float], ...]


@dataclass(frozen=True)
class Fit:
    """Coefficients, and their validation. `by_configuration` leaves out one configuration (frames, chunks) at
    a time with all its repeats, `by_run` a random quarter of the runs, ten times; None where the runs do not
    give it: too few configurations, or runs."""

    coefficients: Coefficients
    by_configuration: HeldOut | None
    by_run: HeldOut | None
    residuals: tuple[float, ...]
    """Of each run, as a part of its time: predicted less measured."""


def fit(
    runs: pd.DataFrame,
    *,
    task: str,
    gpu: str | None,
    backend: str,
    source: Literal["published", "experiments", "ledger"],
    as_of: str | None = None,
    segment_frames: int | None = None,
    at_once: int | None = None,
    rates: Rates | None = None,
    work: str = "",
    enlarged: bool | None = None,
    seed: int = 0,
    terms: Sequence[Term] | None = None,
) -> Fit:
    """The model of one task on one kind of machine.

    `runs` has a row per run that succeeded: `frames`, `chunks`, `wall_s`, and where they were measured
    `gpu_seconds` (of all its chunks; 0 and nan are not measured). `terms` leaves nothing to choose.
    `BadInput` for rows that are no runs, and for fewer than two runs: one determines nothing.
    """
    data = read_runs(runs, segment_frames, at_once)
    if data.n < 2:
        raise BadInput(
            f"{data.n} run determines no model of {task}",
            input=task,
            what_to_do="measure at least two lengths, each several times",
        )
    data = weighed(data)
    told = independent(data, TERMS)
    chosen = choose_terms(data) if terms is None else independent(data, terms)
    by_configuration = _leave_configurations_out(data, terms)
    coefficients = _coefficients(
        data,
        chosen,
        task=task,
        gpu=gpu,
        backend=backend,
        source=source,
        as_of=as_of or date.today().isoformat(),
        segment_frames=segment_frames,
        at_once=at_once,
        rates=rates,
        work=work,
        enlarged=enlarged,
        not_determined=tuple(term for term in TERMS if term not in told and term not in chosen),
        left_out=tuple(term for term in told if term not in chosen),
        held_out_error=by_configuration.mape if by_configuration else None,
    )
    predicted = [
        predict(coefficients, int(frames), int(chunks)).seconds
        for frames, chunks in zip(data.frames, data.chunks, strict=True)
    ]
    return Fit(
        coefficients,
        by_configuration,
        _leave_runs_out(data, terms, seed),
        tuple(float(value) for value in (np.array(predicted) - data.wall) / data.wall),
    )


def _foretold(
    data: Runs, held: np.ndarray, terms: Sequence[Term] | None
) -> list[tuple[int, int, float, float]]:
    kept = weighed(replace(data.only(~held), weight=np.ones(int((~held).sum()))))
    chosen = choose_terms(kept) if terms is None else independent(kept, terms)
    values = solve(kept, chosen)
    columns = [TERMS.index(term) for term in chosen]
    predicted = data.x[held][:, columns] @ values
    rows = zip(data.frames[held], data.chunks[held], data.wall[held], predicted, strict=True)
    return [(int(frames), int(chunks), float(wall), float(seconds)) for frames, chunks, wall, seconds in rows]


def _leave_configurations_out(data: Runs, terms: Sequence[Term] | None) -> HeldOut | None:
    masks = left_out_masks(data)
    if len(masks) < 3 or any(data.n - int(held.sum()) < 2 for held in masks):
        return None
    return _held_out([row for held in masks for row in _foretold(data, held, terms)])


def _leave_runs_out(data: Runs, terms: Sequence[Term] | None, seed: int) -> HeldOut | None:
    part = round(HELD_PART * data.n)
    if part < 1:
        return None
    generator = np.random.default_rng(seed)
    rows: list[tuple[int, int, float, float]] = []
    for _ in range(HOLD_OUTS):
        held = np.zeros(data.n, dtype=bool)
        held[generator.permutation(data.n)[:part]] = True
        rows += _foretold(data, held, terms)
    return _held_out(rows)


def _held_out(rows: Sequence[tuple[int, int, float, float]]) -> HeldOut:
    errors = [abs(predicted - wall) / wall for _, _, wall, predicted in rows]
    return HeldOut(float(np.mean(errors)), max(errors), tuple(rows))


def _coefficients(data: Runs, terms: tuple[Term, ...], **facts: Any) -> Coefficients:
    """Values with their intervals. The spread is that of wall rows, over runs less parameters (one that ends
    on its bound was free to do otherwise), or what was seen on configurations left out if that is more: a
    model that lacks a term errs there."""
    from scipy import stats

    values, weights = solve(data, terms), row_weights(data)
    left, right = rows_of(data, terms)
    free = values > 0
    degrees = data.n - len(terms)
    covariance = run_sd = relative_sd = t95 = None
    if degrees > 0:
        residuals = (left @ values - right)[: data.n]
        kept = weights[: data.n]
        share = HUBER_SHARE if data.n >= ROBUST_FROM else 1.0
        run_sd = math.sqrt(float(kept @ residuals**2) / degrees / share)
        t95 = float(stats.t.ppf(0.975, degrees))
        covariance = np.zeros((len(terms), len(terms)))
        weighted = left[:, free] * np.sqrt(weights)[:, None]
        covariance[np.ix_(free, free)] = run_sd**2 * np.linalg.pinv(weighted.T @ weighted)
        relative_sd = max(run_sd, SD_OF_MEAN_ERROR * (facts["held_out_error"] or 0.0))
    fitted: dict[Term, float] = {term: float(value) for term, value in zip(terms, values, strict=True)}
    per_frame, extra = fitted["s_per_frame"], fitted.pop("extra_s_per_frame", 0.0)
    if per_frame == 0 and extra > 0:
        raise BadInput(
            "one call with all the frames took less time than a part of them",
            input=facts["task"],
            what_to_do="look for a call that did other work than the others",
        )
    imbalance = 1 + extra / per_frame if per_frame else 1.0
    estimates = {term: _estimate(term, value, terms, covariance, t95) for term, value in fitted.items()}
    if "extra_s_per_frame" in terms:
        estimates["imbalance"] = _imbalance(imbalance, per_frame, extra, terms, covariance, t95)
    return Coefficients(
        terms=terms,
        **fitted,
        imbalance=imbalance,
        estimates=estimates,
        covariance=None if covariance is None else tuple(map(tuple, covariance.tolist())),
        run_sd=run_sd,
        relative_sd=relative_sd,
        t95=t95,
        degrees=degrees,
        n_runs=data.n,
        n_configurations=len(np.unique(data.configuration)),
        frames_range=(int(data.frames.min()), int(data.frames.max())),
        chunks_range=(int(data.chunks.min()), int(data.chunks.max())),
        **facts,
    )


def _estimate(
    term: Term, value: float, terms: Sequence[Term], covariance: np.ndarray | None, t95: float | None
) -> Estimate:
    if covariance is None or t95 is None or value == 0:
        return Estimate(value=value)
    number = terms.index(term)
    se = math.sqrt(max(0.0, float(covariance[number, number])))
    return Estimate(value=value, se=se, low=max(0.0, value - t95 * se), high=value + t95 * se)


def _imbalance(
    value: float,
    per_frame: float,
    extra: float,
    terms: Sequence[Term],
    covariance: np.ndarray | None,
    t95: float | None,
) -> Estimate:
    """1 + extra / per_frame, its error to first order (delta method)."""
    if covariance is None or t95 is None or extra == 0:
        return Estimate(value=value)
    gradient = np.zeros(len(terms))
    gradient[terms.index("s_per_frame")] = -extra / per_frame**2
    gradient[terms.index("extra_s_per_frame")] = 1 / per_frame
    se = math.sqrt(max(0.0, float(gradient @ covariance @ gradient)))
    return Estimate(value=value, se=se, low=max(1.0, value - t95 * se), high=value + t95 * se)

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

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from video_pipeline.costs.predict import (
    TERMS,
    Coefficients,
    Estimate,
    Rates,
    Term,
    busy_factors,
    predict,
    term_factors,
)
from video_pipeline.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

HUBER = 1.345
"""Where Huber's loss turns linear, in robust standard deviations: 95 % efficiency for normal errors."""
ROBUST_FROM = 8
"""Runs from which a spread can be told from outliers at all."""
HUBER_SHARE = 0.821
"""What Huber's weights leave of a normal variance: E[min(1, k / |r|) r^2] at k = 1.345."""
SD_OF_MEAN_ERROR = math.sqrt(math.pi / 2)
"""The standard deviation of a normal error whose mean absolute value is 1."""
SMALLEST_SPREAD = 0.002
"""Below this part of a run's time, residuals are the clock's and no outliers."""
BUSY_WEIGHT = 0.5
"""Of a run's busy seconds beside its wall seconds: they tell fixed costs apart, and are no second run."""
INDEPENDENT = 1e-6
"""The smallest share of a column (scaled to length one) that must be its own for its term to be told."""
FOLDS = 10
"""Groups of configurations that are left out in turn, where there are more configurations than that."""
NEAR_BEST = 1.1
"""Sets of terms with at most this multiple of the smallest error are as good as the best."""
HOLD_OUTS, HELD_PART = 10, 0.25


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


@dataclass(frozen=True)
class _Data:
    """Runs as arrays: factors of every term (n, 7), wall and busy seconds (n,), busy is nan where unknown."""

    frames: np.ndarray
    chunks: np.ndarray
    wall: np.ndarray
    busy: np.ndarray
    x: np.ndarray
    x_busy: np.ndarray
    configuration: np.ndarray
    weight: np.ndarray

    def only(self, keep: np.ndarray) -> _Data:
        return _Data(*(getattr(self, field.name)[keep] for field in fields(self)))

    @property
    def n(self) -> int:
        return len(self.wall)


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
    seed: int = 0,
    terms: Sequence[Term] | None = None,
) -> Fit:
    """The model of one task on one kind of machine.

    `runs` has a row per run that succeeded: `frames`, `chunks`, `wall_s`, and where they were measured
    `gpu_seconds` (of all its chunks; 0 and nan are not measured). `terms` leaves nothing to choose.
    `BadInput` for rows that are no runs, and for fewer than two runs: one determines nothing.
    """
    data = _data(runs, segment_frames, at_once)
    if data.n < 2:
        raise BadInput(
            f"{data.n} run determines no model of {task}",
            input=task,
            what_to_do="measure at least two lengths, each several times",
        )
    data = _weighed(data)
    told = _independent(data, TERMS)
    chosen = _choose(data) if terms is None else _independent(data, terms)
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


def _data(runs: pd.DataFrame, segment_frames: int | None, at_once: int | None) -> _Data:
    columns = {}
    for name in ("frames", "chunks", "wall_s"):
        if name not in runs:
            raise BadInput(
                f"runs have no column {name}", input=name, what_to_do="give frames, chunks, wall_s"
            )
        columns[name] = runs[name].to_numpy(dtype=float)
        if not np.all(np.isfinite(columns[name]) & (columns[name] > 0)):
            raise BadInput(
                f"a run has no {name} above 0", input=name, what_to_do="leave out runs that failed"
            )
    frames, chunks = columns["frames"].astype(int), columns["chunks"].astype(int)
    busy = (
        runs["gpu_seconds"].to_numpy(dtype=float) if "gpu_seconds" in runs else np.full(len(frames), math.nan)
    )
    pairs = list(zip(frames.tolist(), chunks.tolist(), strict=True))
    names = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    walls = [term_factors(*pair, segment_frames=segment_frames, at_once=at_once) for pair in pairs]
    busies = [busy_factors(*pair, segment_frames=segment_frames) for pair in pairs]
    return _Data(
        frames,
        chunks,
        columns["wall_s"],
        np.where(busy > 0, busy, math.nan),
        np.array([[row[term] for term in TERMS] for row in walls]).reshape(-1, len(TERMS)),
        np.array([[row.get(term, 0.0) for term in TERMS] for row in busies]).reshape(-1, len(TERMS)),
        np.array([names[pair] for pair in pairs], dtype=int),
        np.ones(len(frames)),
    )


def _rows(data: _Data, terms: Sequence[Term]) -> tuple[np.ndarray, np.ndarray]:
    """Left and right side of the least squares, rows divided by their run's seconds: wall rows, then busy."""
    columns = [TERMS.index(term) for term in terms]
    known = np.isfinite(data.busy)
    left = np.concatenate(
        [
            data.x[:, columns] / data.wall[:, None],
            BUSY_WEIGHT * data.x_busy[known][:, columns] / data.busy[known][:, None],
        ]
    )
    return left, np.concatenate([np.ones(data.n), np.full(int(known.sum()), BUSY_WEIGHT)])


def _independent(data: _Data, terms: Sequence[Term]) -> tuple[Term, ...]:
    """Those of `terms` that the runs can tell from the ones before: fewer than runs, and no more than
    configurations (busy seconds tell one further)."""
    left, _ = _rows(data, terms)
    most = min(max(1, data.n - 1), len(np.unique(data.configuration)) + int(np.isfinite(data.busy).any()))
    basis: list[np.ndarray] = []
    kept: list[Term] = []
    for number, term in enumerate(terms):
        column = left[:, number]
        length = float(np.linalg.norm(column))
        rest = column / length if length else column
        for vector in basis:
            rest = rest - vector * float(vector @ rest)
        own = float(np.linalg.norm(rest))
        if own > math.sqrt(INDEPENDENT) and len(kept) < most:
            basis.append(rest / own)
            kept.append(term)
    return tuple(kept)


def _solve(data: _Data, terms: Sequence[Term]) -> np.ndarray:
    """Values of `terms`, none negative."""
    from scipy.optimize import nnls

    left, right = _rows(data, terms)
    root = np.sqrt(_row_weights(data))
    return nnls(left * root[:, None], right * root)[0]


def _row_weights(data: _Data) -> np.ndarray:
    """Of wall rows, then of busy rows: a run's weight is that of both."""
    return np.concatenate([data.weight, data.weight[np.isfinite(data.busy)]])


def _weighed(data: _Data) -> _Data:
    """With Huber's weight of each run, from its residual under all the terms that can be told."""
    if data.n < ROBUST_FROM:
        return data
    terms = _independent(data, TERMS)
    for _ in range(5):
        left, right = _rows(data, terms)
        residuals = np.abs(left @ _solve(data, terms) - right)[: data.n]
        wide = math.sqrt(data.n / (data.n - len(terms)))
        spread = max(1.4826 * wide * float(np.median(residuals)), SMALLEST_SPREAD)
        data = replace(data, weight=np.minimum(1.0, HUBER * spread / np.maximum(residuals, 1e-12)))
    return data


@dataclass(frozen=True)
class _Fold:
    """Runs kept and runs held out, and the terms that the kept ones can tell."""

    kept: _Data
    held: _Data
    told: tuple[Term, ...]


def _choose(data: _Data) -> tuple[Term, ...]:
    told = _independent(data, TERMS)
    kept = [(data.only(~held), data.only(held)) for held in _masks(data)]
    folds = [_Fold(some, rest, _independent(some, told)) for some, rest in kept if some.n]
    scored: list[tuple[float, tuple[Term, ...]]] = []
    for count in range(len(told)):
        for further in itertools.combinations(told[1:], count):
            terms = (told[0], *further)
            scored.append((_left_out_error(folds, terms), terms))
    best = min(error for error, _ in scored)
    near = [(len(terms), error, terms) for error, terms in scored if error <= NEAR_BEST * best + 1e-9]
    return min(near)[2]


def _masks(data: _Data) -> list[np.ndarray]:
    """What is left out: a configuration at a time, or ten groups of them where there are more."""
    known = np.unique(data.configuration)
    groups = np.arange(len(known)) % FOLDS
    return [np.isin(data.configuration, known[groups == group]) for group in range(min(FOLDS, len(known)))]


def _left_out_error(folds: Sequence[_Fold], terms: Sequence[Term]) -> float:
    error = weight = 0.0
    for fold in folds:
        usable = terms if set(terms) <= set(fold.told) else _independent(fold.kept, terms)
        values = _solve(fold.kept, usable)
        predicted = fold.held.x[:, [TERMS.index(term) for term in usable]] @ values
        parts = np.abs(predicted - fold.held.wall) / fold.held.wall
        error += float(fold.held.weight @ parts)
        weight += float(fold.held.weight.sum())
    return error / weight if weight else math.inf


def _foretold(
    data: _Data, held: np.ndarray, terms: Sequence[Term] | None
) -> list[tuple[int, int, float, float]]:
    kept = _weighed(replace(data.only(~held), weight=np.ones(int((~held).sum()))))
    chosen = _choose(kept) if terms is None else _independent(kept, terms)
    values = _solve(kept, chosen)
    columns = [TERMS.index(term) for term in chosen]
    predicted = data.x[held][:, columns] @ values
    rows = zip(data.frames[held], data.chunks[held], data.wall[held], predicted, strict=True)
    return [(int(frames), int(chunks), float(wall), float(seconds)) for frames, chunks, wall, seconds in rows]


def _leave_configurations_out(data: _Data, terms: Sequence[Term] | None) -> HeldOut | None:
    masks = _masks(data)
    if len(masks) < 3 or any(data.n - int(held.sum()) < 2 for held in masks):
        return None
    return _held_out([row for held in masks for row in _foretold(data, held, terms)])


def _leave_runs_out(data: _Data, terms: Sequence[Term] | None, seed: int) -> HeldOut | None:
    part = round(HELD_PART * data.n)
    if part < 1 or data.n - part < 2:
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


def _coefficients(data: _Data, terms: tuple[Term, ...], **facts: Any) -> Coefficients:
    """Values with their intervals. The spread is that of wall rows, over runs less parameters (one that ends
    on its bound was free to do otherwise), or what was seen on configurations left out if that is more: a
    model that lacks a term errs there."""
    from scipy import stats

    values, weights = _solve(data, terms), _row_weights(data)
    left, right = _rows(data, terms)
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

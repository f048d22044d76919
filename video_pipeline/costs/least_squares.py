"""Runs as arrays, non-negative least squares on them, and the choice of terms.

Belongs here: the arithmetic of `model.py`, which says how and why it is done so. Does not belong here:
intervals, validation. scipy is imported inside functions.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.costs.predict import TERMS, Term, busy_factors, largest_chunk, term_factors
from video_pipeline.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

HUBER = 1.345
"""Where Huber's loss turns linear, in robust standard deviations: 95 % efficiency for normal errors."""
ROBUST_FROM = 8
"""Runs from which a spread can be told from outliers at all."""
HUBER_SHARE = 0.821
"""What Huber's weights leave of a normal variance: E[min(1, k / |r|) r^2] at k = 1.345."""
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


@dataclass(frozen=True)
class Runs:
    """Runs as arrays: factors of every term (n, 7), wall and busy seconds (n,), busy is nan where unknown."""

    frames: np.ndarray
    chunks: np.ndarray
    wall: np.ndarray
    busy: np.ndarray
    x: np.ndarray
    x_busy: np.ndarray
    configuration: np.ndarray
    weight: np.ndarray

    def only(self, keep: np.ndarray) -> Runs:
        return Runs(*(getattr(self, field.name)[keep] for field in fields(self)))

    @property
    def n(self) -> int:
        return len(self.wall)


def read_runs(runs: pd.DataFrame, segment_frames: int | None, at_once: int | None) -> Runs:
    """From a table with frames, chunks, wall_s and perhaps gpu_seconds (0 and nan are not measured).
    `BadInput` for a missing column, and for values that are not above 0."""
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
    # What was asked for and cannot be is what it came to: 4 chunks of 2 segments are the runs of 2, and held
    # out alone they would be foretold from themselves.
    pairs = [
        (length, largest_chunk(length, wanted, segment_frames)[0])
        for length, wanted in zip(frames.tolist(), chunks.tolist(), strict=True)
    ]
    chunks = np.array([count for _, count in pairs], dtype=int)
    names = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    walls = [term_factors(*pair, segment_frames=segment_frames, at_once=at_once) for pair in pairs]
    busies = [busy_factors(*pair, segment_frames=segment_frames) for pair in pairs]
    return Runs(
        frames,
        chunks,
        columns["wall_s"],
        np.where(busy > 0, busy, math.nan),
        np.array([[row[term] for term in TERMS] for row in walls]).reshape(-1, len(TERMS)),
        np.array([[row.get(term, 0.0) for term in TERMS] for row in busies]).reshape(-1, len(TERMS)),
        np.array([names[pair] for pair in pairs], dtype=int),
        np.ones(len(frames)),
    )


def rows_of(data: Runs, terms: Sequence[Term]) -> tuple[np.ndarray, np.ndarray]:
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


def independent(data: Runs, terms: Sequence[Term]) -> tuple[Term, ...]:
    """Those of `terms` that the runs can tell from the ones before: fewer than runs, and no more than
    configurations (busy seconds tell one further)."""
    left, _ = rows_of(data, terms)
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


def solve(data: Runs, terms: Sequence[Term]) -> np.ndarray:
    """Values of `terms`, none negative."""
    from scipy.optimize import nnls

    left, right = rows_of(data, terms)
    root = np.sqrt(row_weights(data))
    return nnls(left * root[:, None], right * root)[0]


def row_weights(data: Runs) -> np.ndarray:
    """Of wall rows, then of busy rows: a run's weight is that of both."""
    return np.concatenate([data.weight, data.weight[np.isfinite(data.busy)]])


def weighed(data: Runs) -> Runs:
    """With Huber's weight of each run, from its residual under all the terms that can be told."""
    if data.n < ROBUST_FROM:
        return data
    terms = independent(data, TERMS)
    for _ in range(5):
        left, right = rows_of(data, terms)
        residuals = np.abs(left @ solve(data, terms) - right)[: data.n]
        wide = math.sqrt(data.n / (data.n - len(terms)))
        spread = max(1.4826 * wide * float(np.median(residuals)), SMALLEST_SPREAD)
        data = replace(data, weight=np.minimum(1.0, HUBER * spread / np.maximum(residuals, 1e-12)))
    return data


@dataclass(frozen=True)
class _Fold:
    """Runs kept and runs held out, and the terms that the kept ones can tell."""

    kept: Runs
    held: Runs
    told: tuple[Term, ...]


def choose_terms(data: Runs) -> tuple[Term, ...]:
    told = independent(data, TERMS)
    kept = [(data.only(~held), data.only(held)) for held in left_out_masks(data)]
    folds = [_Fold(some, rest, independent(some, told)) for some, rest in kept if some.n]
    scored: list[tuple[float, tuple[Term, ...]]] = []
    for count in range(len(told)):
        for further in itertools.combinations(told[1:], count):
            terms = (told[0], *further)
            scored.append((_left_out_error(folds, terms), terms))
    best = min(error for error, _ in scored)
    near = [(len(terms), error, terms) for error, terms in scored if error <= NEAR_BEST * best + 1e-9]
    return min(near)[2]


def left_out_masks(data: Runs) -> list[np.ndarray]:
    """What is left out: a configuration at a time, or ten groups of them where there are more."""
    known = np.unique(data.configuration)
    groups = np.arange(len(known)) % FOLDS
    return [np.isin(data.configuration, known[groups == group]) for group in range(min(FOLDS, len(known)))]


def _left_out_error(folds: Sequence[_Fold], terms: Sequence[Term]) -> float:
    error = weight = 0.0
    for fold in folds:
        usable = terms if set(terms) <= set(fold.told) else independent(fold.kept, terms)
        values = solve(fold.kept, usable)
        predicted = fold.held.x[:, [TERMS.index(term) for term in usable]] @ values
        parts = np.abs(predicted - fold.held.wall) / fold.held.wall
        error += float(fold.held.weight @ parts)
        weight += float(fold.held.weight.sum())
    return error / weight if weight else math.inf

"""What a month of work costs, from a mix of workloads and the cost model.

Belongs here: the sum over a mix with its interval. Does not belong here: mixes (`mix.py`), the model
(`predict.py`), which coefficients (`stored.py`), how it is shown (`projection_table.py`). pandas is imported
inside functions.

How sure it is: the month is drawn `DRAWS` times with a fixed seed, and the interval is the middle 95 % of the
sums. Two things differ between draws.

- The model: its coefficients come from a multivariate t with the covariance and degrees of freedom of the
  fit, none below 0; one error common to all runs has the part of `relative_sd` beyond `run_sd` (what
  configurations left out were foretold worse); each run has a spread of its own, `run_sd`.
- The mix: where it comes from the ledger, whole days are drawn with replacement, twice (a bootstrap of the
  days seen, then a month of those; with fewer than 7 of them Poisson on top), the same days for all tasks,
  and lengths have the weights of a Bayesian bootstrap (Rubin 1981); where it is said in a file, the number of
  calls is Poisson and the lengths are drawn from what was said.

Not in it: a change of prices, of code or of what people ask for, and time in which warm containers wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from video_pipeline.costs.mix import DAYS, Mix, Workload
from video_pipeline.costs.plan import auto_chunks
from video_pipeline.costs.predict import TERMS, Coefficients, Term, named, predict
from video_pipeline.costs.projection_table import Projection
from video_pipeline.costs.refit import rates_of
from video_pipeline.costs.stored import find
from video_pipeline.errors import BadInput
from video_pipeline.wording import counted

DRAWS, SEED = 4000, 0
POINTS = 60
"""Lengths that stand for a distribution: sums differ by less than 1 % from those of ten times as many."""

FEW_DAYS = 7

TRUSTED = 0.25
"""A model that erred more than this on configurations held out gives way to what jobs cost in the ledger."""


def project(
    mix: Mix,
    known: Sequence[Coefficients],
    *,
    region_factor: float = 1.0,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Projection:
    """A month of `mix` with the coefficients `known`, at today's prices times `region_factor`. What a ledger
    has and nothing prices is left out, and named: one such job is no reason to foretell no other. `BadInput`
    naming a task that has neither a model nor costs of its own in a mix that was said, and where nothing of a
    ledger is left."""
    import pandas as pd

    from video_pipeline.modal_ops.guard import prices

    if not region_factor > 0:
        raise BadInput("a region's factor is above 0", input="region_factor")
    world = _World(draws, seed, mix)
    made: list[_Row] = []
    left_out = list(mix.left_out)
    for workload in mix.workloads:
        try:
            made.append(_Row.of(workload, known, region_factor, world))
        except BadInput as error:
            if not workload.daily:
                raise
            what = f"{counted(sum(workload.daily), 'job')} of {named(workload.task, workload.enlarged)}"
            left_out.append(f"{what} ({workload.backend}): {error.message}")
    if not made:
        raise BadInput(
            f"nothing of the ledger has a price: {'; '.join(left_out)}",
            input="ledger",
            what_to_do="run some work that has a price, or give a mix in a file",
        )
    total = np.sum([row.both for row in made], axis=0)
    sure = all(row.sure for row in made)
    low, high = np.percentile(total, [2.5, 97.5]) if sure else (None, None)
    return Projection(
        rows=pd.DataFrame([row.figures for row in made]),
        usd=float(sum(row.figures["usd"] for row in made)),
        usd_low=None if low is None else float(low),
        usd_high=None if high is None else float(high),
        draws=total,
        source=mix.source,
        prices_as_of=prices().as_of,
        region_factor=region_factor,
        left_out=tuple(left_out),
    )


class _World:
    """What all workloads share in a draw: the days of the month, and a model's errors."""

    def __init__(self, draws: int, seed: int, mix: Mix) -> None:
        self.draws, self.random = draws, np.random.default_rng(seed)
        days = max((len(workload.daily) for workload in mix.workloads), default=0)
        self.days = days
        if days:
            seen = self.random.integers(days, size=(draws, days))
            month = self.random.integers(days, size=(draws, round(DAYS)))
            self.month = np.take_along_axis(seen, month, axis=1)
        self._models: dict[tuple[str, str | None, str, bool | None], tuple[np.ndarray, np.ndarray]] = {}

    def calls(self, workload: Workload) -> np.ndarray:
        """(draws,) calls in the month."""
        if workload.daily:
            calls = np.array(workload.daily)[self.month].sum(axis=1)
            return self.random.poisson(calls) if self.days < FEW_DAYS else calls
        return self.random.poisson(workload.per_month, self.draws)

    def weights(self, workload: Workload, points: int) -> np.ndarray:
        """(draws, points) how likely each length is."""
        if workload.daily:
            return self.random.dirichlet(np.ones(points), self.draws)
        return np.full((self.draws, points), 1 / points)

    def model(self, c: Coefficients) -> tuple[np.ndarray, np.ndarray]:
        """(draws, terms) values of `c.terms`, and (draws,) the error common to all runs, as a factor."""
        name = c.identity
        if name not in self._models:
            values = np.array([c.value(term) for term in c.terms])
            if c.covariance is None or not c.degrees:
                drawn = np.tile(values, (self.draws, 1))
            else:
                normal = self.random.multivariate_normal(
                    np.zeros(len(values)), np.array(c.covariance), self.draws, method="eigh"
                )
                wide = np.sqrt(c.degrees / self.random.chisquare(c.degrees, self.draws))
                drawn = np.maximum(values + normal * wide[:, None], 0.0)
            common = np.sqrt(max(0.0, (c.relative_sd or 0.0) ** 2 - (c.run_sd or 0.0) ** 2))
            error = np.maximum(1 + common * self.random.standard_normal(self.draws), 0.0)
            self._models[name] = drawn, error
        return self._models[name]


@dataclass(frozen=True)
class _Row:
    figures: dict[str, Any]
    both: np.ndarray
    sure: bool

    @classmethod
    def of(
        cls, workload: Workload, known: Sequence[Coefficients], region_factor: float, world: _World
    ) -> _Row:
        try:
            c = find(
                known,
                workload.task,
                gpu=workload.gpu,
                backend=workload.backend,
                enlarged=workload.enlarged,
            )
        except BadInput:
            if not workload.values_usd:
                raise
            return _from_ledger(workload, region_factor, world)
        doubted = c.held_out_error is None or c.held_out_error > TRUSTED
        if workload.values_usd and (doubted or not workload.durations_s):
            return _from_ledger(workload, region_factor, world)
        c = c.model_copy(update={"rates": rates_of(c.task, c.gpu, region_factor)})
        if c.rates is None:
            raise BadInput(f"no price is known of {c.task} on {c.gpu or 'CPU'}", input=workload.task)
        return _from_model(workload, c, world)


def _from_model(workload: Workload, c: Coefficients, world: _World) -> _Row:
    lengths = workload.lengths(POINTS)
    if len(lengths) > 10 * POINTS:
        lengths = np.quantile(lengths, (np.arange(10 * POINTS) + 0.5) / (10 * POINTS))
    frames = [max(1, round(seconds * workload.fps)) for seconds in lengths]
    chunks = [_chunks(workload, c, count) for count in frames]
    said = [predict(c, count, number) for count, number in zip(frames, chunks, strict=True)]
    factors = np.array([_usd_factors(c, count, n) for count, n in zip(frames, chunks, strict=True)])
    factors *= 1 + workload.failed_part
    values = np.array([c.value(term) for term in c.terms])
    each = factors @ values
    drawn, error = world.model(c)
    calls, weights = world.calls(workload), world.weights(workload, len(lengths))
    counts = world.random.multinomial(calls, weights)
    spread = np.sqrt(counts @ each**2) * (c.run_sd or 0.0)
    noise = spread * world.random.standard_normal(world.draws)
    per_call = factors.mean(axis=0)
    model_only = workload.per_month * (drawn @ per_call) * error
    mix_only = counts @ each + noise
    both = np.maximum(((counts @ factors) * drawn).sum(axis=1) * error + noise, 0.0)
    usd = workload.per_month * float(each.mean())
    sure = c.covariance is not None
    low, high = np.percentile(both, [2.5, 97.5]) if sure else (np.nan, np.nan)
    notes = []
    beyond = sum(bool(prediction.extrapolated) for prediction in said)
    if beyond:
        notes.append(f"{beyond} of {len(said)} lengths lie outside of what was measured.")
    if c.backend == "local":
        notes.append("Seconds of a machine of one's own at Modal's prices: no forecast of Modal.")
    if not sure:
        notes.append("No interval: the runs are no more than the parameters.")
    return _Row(
        {
            "task": workload.task,
            "work": named(workload.task, c.enlarged),
            "gpu": c.gpu or "CPU",
            "backend": c.backend,
            "per_month": workload.per_month,
            "seconds_mean": float(np.mean(lengths)),
            "frames_mean": float(np.mean(frames)),
            "chunks": _range(chunks),
            "machine_hours": workload.per_month * float(np.mean([p.gpu_seconds for p in said])) / 3600,
            "usd": usd,
            "usd_low": float(low),
            "usd_high": float(high),
            "usd_per_call": float(each.mean()),
            "interval_from": _widest(model_only, mix_only) if sure else "-",
            "basis": f"model of {c.n_runs} runs ({c.source}, {c.as_of}).",
            "notes": " ".join([*notes, *_few(world, workload)]),
        },
        both,
        sure,
    )


def _from_ledger(workload: Workload, region_factor: float, world: _World) -> _Row:
    """What jobs cost so far, where nothing foretells it."""
    each = np.array(workload.values_usd) * region_factor * (1 + workload.failed_part)
    counts = world.random.multinomial(world.calls(workload), world.weights(workload, len(each)))
    both = counts @ each
    low, high = np.percentile(both, [2.5, 97.5])
    lengths = workload.durations_s
    return _Row(
        {
            "task": workload.task,
            "work": named(workload.task, workload.enlarged),
            "gpu": "as run",
            "backend": workload.backend or "several backends",
            "per_month": workload.per_month,
            "seconds_mean": float(np.mean(lengths)) if lengths else np.nan,
            "frames_mean": float(np.mean(lengths)) * workload.fps if lengths else np.nan,
            "chunks": "as run",
            "machine_hours": np.nan,
            "usd": workload.per_month * float(each.mean()),
            "usd_low": float(low),
            "usd_high": float(high),
            "usd_per_call": float(each.mean()),
            "interval_from": "mix",
            "basis": f"what {counted(len(each), 'job')} cost in the ledger, their seconds at Modal's prices.",
            "notes": " ".join(_few(world, workload)),
        },
        both,
        True,
    )


def _chunks(workload: Workload, c: Coefficients, frames: int) -> int:
    if workload.chunks is not None:
        return workload.chunks
    return auto_chunks(c, frames).chunks if c.chunks_range[1] > 1 else 1


def _usd_factors(c: Coefficients, frames: int, chunks: int) -> list[float]:
    """What each of `c.terms` is multiplied with to give US dollars: predictions are linear in the terms, so
    each is what one unit of it alone costs."""
    nothing = {term: 0.0 for term in TERMS if term != "extra_s_per_frame"} | {"imbalance": 1.0}

    def usd(**values: float) -> float:
        found = predict(c.model_copy(update={**nothing, **values}), frames, chunks).usd
        assert found is not None
        return found

    def of(term: Term) -> float:
        if term == "extra_s_per_frame":
            return usd(s_per_frame=1.0, imbalance=2.0) - usd(s_per_frame=1.0)
        return usd(**{term: 1.0})

    return [of(term) for term in c.terms]


def _widest(model: np.ndarray, mix: np.ndarray) -> str:
    """Which of the two makes the interval wide; both where neither is twice as wide as the other."""
    widths = [float(np.ptp(np.percentile(draws, [2.5, 97.5]))) for draws in (model, mix)]
    if max(widths) < 2 * min(widths):
        return "model and mix"
    return "model" if widths[0] > widths[1] else "mix"


def _few(world: _World, workload: Workload) -> list[str]:
    if not workload.daily or world.days >= FEW_DAYS:
        return []
    return [f"Seen were {world.days} of the 7 days of a week: months differ by more than the interval knows."]


def _range(chunks: Sequence[int]) -> str:
    return str(chunks[0]) if len(set(chunks)) == 1 else f"{min(chunks)} to {max(chunks)}"

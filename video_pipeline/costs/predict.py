"""How long a task takes in so many chunks, and what that costs: arithmetic on fitted coefficients.

Belongs here: the form of the model, its coefficients as JSON, a prediction with its interval. Does not belong
here: fitting (`model.py`), choosing (`plan.py`), where coefficients come from. Pure Python and pydantic: what
runs on a worker imports this, so it needs neither scipy nor pandas.

The model, for `n` chunks of which `k` run side by side, in `v = ceil(n / k)` turns, with `m` frames in the
largest chunk (a chunk is a whole number of segments of `s` frames, the clip's last one excepted):

    T = startup + v (chunk_fixed + s_per_frame m i) + [n > 1] (join + join_per_chunk n + join_per_frame F)

`i`, the imbalance, is 1 for one chunk and at least 1 for more: how much longer the slowest chunk takes for a
frame than one call alone does, because its pictures are harder or its neighbours share the machine.
Seconds that workers are busy, which are paid for, are `n chunk_fixed + F s_per_frame i`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from video_pipeline.errors import BadInput
from video_pipeline.strict import StrictModel

LIMIT = 0.15
"""A model that is further off on configurations left out is a rough guide, and one whose predictions are for
the calls of late has drifted."""

Term = Literal[
    "s_per_frame",
    "startup_s",
    "chunk_fixed_s",
    "join_s_per_chunk",
    "extra_s_per_frame",
    "join_s",
    "join_s_per_frame",
]
TERMS: tuple[Term, ...] = (
    "s_per_frame",
    "startup_s",
    "chunk_fixed_s",
    "join_s_per_chunk",
    "extra_s_per_frame",
    "join_s",
    "join_s_per_frame",
)
"""The model's terms, each of which multiplies what `term_factors` gives. It is linear in them:
`extra_s_per_frame` is `s_per_frame (imbalance - 1)`. Where runs cannot tell two apart, the earlier stays."""


class Rates(StrictModel):
    """US dollars a second: of a worker with one of several chunks, of one with the whole clip, and of the
    call that spreads and joins (0 where there is none)."""

    chunk_usd_per_s: float = Field(ge=0)
    whole_usd_per_s: float = Field(ge=0)
    orchestrator_usd_per_s: float = Field(default=0.0, ge=0)
    as_of: str
    region_factor: float = 1.0


class Estimate(StrictModel):
    """A parameter with its 95 % interval. `se` and the interval are None where the runs do not give them: the
    parameter lies on its bound of zero (imbalance: one), or too few runs are left over."""

    value: float
    se: float | None = None
    low: float | None = None
    high: float | None = None


class Coefficients(StrictModel):
    """The fitted model of one task on one kind of machine.

    A term of `not_determined` is one the runs cannot tell from others (it is in them), one of `left_out`
    could be told and did not help to predict runs that were held out; both count as 0 (imbalance as 1).
    `covariance` is over `terms`, in their order; `run_sd` is the spread of the runs around the model, as a
    part of their time, and `relative_sd` that of a run yet to come, which is more where configurations left
    out were foretold worse; `t95` the quantile of Student's t that 95 % intervals take at `degrees` of
    freedom. They are None where the runs are no more than the parameters.
    """

    task: str
    gpu: str | None
    """Modal's name of the GPU type; None where workers have no GPU."""

    backend: str
    enlarged: bool | None = None
    """Whether the network enlarged the pictures; None for tasks that never load it, and in models of before
    the two were told apart."""

    terms: tuple[Term, ...]
    startup_s: float = Field(default=0.0, ge=0)
    chunk_fixed_s: float = Field(default=0.0, ge=0)
    s_per_frame: float = Field(ge=0)
    imbalance: float = Field(default=1.0, ge=1)
    join_s: float = Field(default=0.0, ge=0)
    join_s_per_chunk: float = Field(default=0.0, ge=0)
    join_s_per_frame: float = Field(default=0.0, ge=0)
    estimates: dict[str, Estimate] = Field(default_factory=dict)
    not_determined: tuple[Term, ...] = ()
    left_out: tuple[Term, ...] = ()
    covariance: tuple[tuple[float, ...], ...] | None = None
    run_sd: float | None = None
    relative_sd: float | None = None
    t95: float | None = None
    degrees: int = 0
    n_runs: int
    n_configurations: int
    frames_range: tuple[int, int]
    chunks_range: tuple[int, int]
    segment_frames: int | None = Field(default=None, ge=1)
    """Chunks are whole numbers of this many frames; None: of any number."""

    at_once: int | None = Field(default=None, ge=1)
    """How many chunks run side by side; None: all of them."""

    held_out_error: float | None = None
    """Mean absolute error of runs of a configuration that the fit had not seen, as a part of their time."""

    source: Literal["published", "experiments", "ledger"]
    as_of: str
    """The date of the newest run, YYYY-MM-DD."""

    work: str = ""
    """What was done to a frame, in words: seconds per frame are of that and no other work."""

    rates: Rates | None = None

    @property
    def identity(self) -> tuple[str, str | None, str, bool | None]:
        """What there is one model of."""
        return self.task, self.gpu, self.backend, self.enlarged

    @property
    def name(self) -> str:
        """The task for people to read, with what tells its models apart."""
        return named(self.task, self.enlarged)

    def value(self, term: Term) -> float:
        if term == "extra_s_per_frame":
            return self.s_per_frame * (self.imbalance - 1)
        return getattr(self, term)


class Prediction(StrictModel):
    """Seconds and US dollars of one run, each with a 95 % interval for a single run (not for the mean of
    many); None where there is none. `chunks` is what the clip really gets: never more than its segments.
    `extrapolated` says what lies outside of what was measured. `gpu_seconds` are those of workers with a
    chunk, GPU or not."""

    seconds: float
    low: float | None
    high: float | None
    gpu_seconds: float
    usd: float | None
    usd_low: float | None
    usd_high: float | None
    frames: int
    chunks: int
    extrapolated: tuple[str, ...] = ()


def named(task: str, enlarged: bool | None) -> str:
    """`process_framing_ai, enlarged` and `process_framing_ai, plain`; None is the task's name alone."""
    return task if enlarged is None else f"{task}, {'enlarged' if enlarged else 'plain'}"


def largest_chunk(frames: int, chunks: int, segment_frames: int | None) -> tuple[int, int]:
    """(chunks, frames of the largest): as even as segments allow, and no more chunks than segments."""
    if frames < 1 or chunks < 1:
        raise BadInput(
            f"{frames} frames in {chunks} chunks is no work",
            input="frames and chunks",
            what_to_do="give at least one of each",
        )
    segment = segment_frames or 1
    segments = -(-frames // segment)
    count = min(chunks, segments)
    return count, min(frames, -(-segments // count) * segment)


def term_factors(
    frames: int, chunks: int, *, segment_frames: int | None = None, at_once: int | None = None
) -> dict[Term, float]:
    """What each term is multiplied with to give the wall seconds."""
    count, largest = largest_chunk(frames, chunks, segment_frames)
    turns = -(-count // min(count, at_once or count))
    several = 1.0 if count > 1 else 0.0
    return {
        "s_per_frame": float(turns * largest),
        "startup_s": 1.0,
        "chunk_fixed_s": float(turns),
        "join_s_per_chunk": several * count,
        "extra_s_per_frame": several * turns * largest,
        "join_s": several,
        "join_s_per_frame": several * frames,
    }


def busy_factors(frames: int, chunks: int, *, segment_frames: int | None = None) -> dict[Term, float]:
    """The same for the seconds that workers are busy. Terms that are not named do not count."""
    count, _ = largest_chunk(frames, chunks, segment_frames)
    return {
        "s_per_frame": float(frames),
        "chunk_fixed_s": float(count),
        "extra_s_per_frame": float(frames) if count > 1 else 0.0,
    }


def predict(c: Coefficients, frames: int, chunks: int) -> Prediction:
    """The run's time and cost. `BadInput` for less than one frame or chunk.

    The interval is `T +- t95 sqrt(x' C x + (relative_sd T)^2)`: what is unknown about the parameters, and the
    spread of one run. Where a chunk's fixed cost could not be told from start-up and from what joining takes
    for each chunk, every worker is taken to be paid for those: the dearer of the two readings.
    """
    count, _ = largest_chunk(frames, chunks, c.segment_frames)
    wall = term_factors(frames, chunks, segment_frames=c.segment_frames, at_once=c.at_once)
    busy = _paid_factors(c, frames, chunks)
    seconds, gpu_seconds = _total(c, wall), _total(c, busy)
    low, high = _interval(c, wall, seconds)
    usd = usd_low = usd_high = None
    if c.rates is not None:
        worker = c.rates.chunk_usd_per_s if count > 1 else c.rates.whole_usd_per_s
        paid: dict[Term, float] = {
            term: worker * busy.get(term, 0.0) + c.rates.orchestrator_usd_per_s * wall[term] for term in TERMS
        }
        usd = _total(c, paid)
        usd_low, usd_high = _interval(c, paid, usd)
    return Prediction(
        seconds=seconds,
        low=low,
        high=high,
        gpu_seconds=gpu_seconds,
        usd=usd,
        usd_low=usd_low,
        usd_high=usd_high,
        frames=frames,
        chunks=count,
        extrapolated=_outside(c, frames, count),
    )


def difference(
    c: Coefficients, frames: int, chunks: int, other: int
) -> tuple[float, float | None, float | None]:
    """Mean seconds by which `chunks` take less than `other`, with the 95 % interval that comes from what is
    unknown about the parameters: it tells whether one is faster on average, not in a single run."""
    sizes = {"segment_frames": c.segment_frames, "at_once": c.at_once}
    mine, others = term_factors(frames, chunks, **sizes), term_factors(frames, other, **sizes)
    factors: dict[Term, float] = {term: others[term] - mine[term] for term in TERMS}
    gain = _total(c, factors)
    if c.covariance is None or c.t95 is None:
        return gain, None, None
    wide = c.t95 * math.sqrt(max(0.0, _variance(c, factors)))
    return gain, gain - wide, gain + wide


def _paid_factors(c: Coefficients, frames: int, chunks: int) -> dict[Term, float]:
    busy: dict[Term, float] = busy_factors(frames, chunks, segment_frames=c.segment_frames)
    if "chunk_fixed_s" in c.not_determined:
        busy["startup_s"] = busy["chunk_fixed_s"]
        busy["join_s_per_chunk"] = busy["chunk_fixed_s"] if busy["chunk_fixed_s"] > 1 else 0.0
    return busy


def _total(c: Coefficients, factors: Mapping[Term, float]) -> float:
    return sum(c.value(term) * factor for term, factor in factors.items())


def _variance(c: Coefficients, factors: Mapping[Term, float]) -> float:
    assert c.covariance is not None
    x = [factors[term] for term in c.terms]
    return sum(x[i] * x[j] * c.covariance[i][j] for i in range(len(x)) for j in range(len(x)))


def _interval(
    c: Coefficients, factors: Mapping[Term, float], value: float
) -> tuple[float | None, float | None]:
    if c.covariance is None or c.t95 is None or c.relative_sd is None:
        return None, None
    wide = c.t95 * math.sqrt(max(0.0, _variance(c, factors)) + (c.relative_sd * value) ** 2)
    return max(0.0, value - wide), value + wide


def _outside(c: Coefficients, frames: int, chunks: int) -> tuple[str, ...]:
    said = []
    for what, value, (first, last) in (
        ("frames", frames, c.frames_range),
        ("chunks", chunks, c.chunks_range),
    ):
        if not first <= value <= last:
            said.append(f"{value} {what}: measured were {first} to {last}")
    return tuple(said)

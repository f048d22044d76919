"""Into how many chunks a clip is cut: break-even points, the choice under a goal, the tables users know.

Belongs here: decisions from coefficients, and reading the generated tables. Does not belong here: fitting
(`model.py`), making the tables (`thresholds.py`). Pure Python, as `predict.py`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Literal

from pydantic import Field, ValidationError

from video_pipeline.costs.predict import Coefficients, Prediction, difference, predict
from video_pipeline.errors import BadInput, Internal, problems_of
from video_pipeline.strict import StrictModel

Goal = Literal["cheapest", "fastest", "deadline"]
Config = tuple[int, str]

PEAK_FACTOR = 2
MOST_AT_PEAK = 8
COUNTS = (1, 2, 4, 8)
"""Powers of two, as users know the tables."""
MOST_FRAMING = 4
"""The published series has one run with 8 chunks, slower than the one with 4. One run proves nothing, but
nothing speaks for 8 either."""
DEARER_BY = 0.20
"""A clip in chunks may cost this part more than in one call: the target of the published suite."""
LONGEST_S = 3600.0
"""How long a clip break-even points are looked for."""


class BreakEven(StrictModel):
    """From how many frames on `chunks` beat one call; None: at no length up to the one looked to.

    `sure_frames` is from where the 95 % interval of the mean difference lies above 0, for time only.
    `extrapolated` where the point lies outside of the frames or chunks that were measured."""

    chunks: int
    by: Literal["time", "usd"]
    frames: int | None
    seconds: float | None
    sure_frames: int | None = None
    extrapolated: bool = False


class Choice(StrictModel):
    """A number of chunks, what it is predicted to take, and what the others would. `met` is false where no
    count keeps the deadline: then this is the fastest. `notes` are for people."""

    chunks: int
    goal: Goal
    prediction: Prediction
    others: tuple[Prediction, ...]
    met: bool = True
    notes: tuple[str, ...] = ()


def break_even(
    c: Coefficients,
    chunks: int,
    *,
    rate: float = 30.0,
    by: Literal["time", "usd"] = "time",
    longest_s: float = LONGEST_S,
) -> BreakEven:
    """The length from which on `chunks` are always faster (or cheaper) than one, looked for in steps of a
    segment up to `longest_s` of video at `rate` frames a second, and never where there are fewer segments
    than chunks. Below it they may be so here and there, as the segments have it. Without rates, costs are
    seconds of workers. `BadInput` for fewer than two chunks, and for no rate or length."""
    if chunks < 2:
        raise BadInput(
            "one chunk has nothing to break even with", input="chunks", what_to_do="give 2 or more"
        )
    for what, value in (("rate", rate), ("longest_s", longest_s)):
        if not (math.isfinite(value) and value > 0):
            raise BadInput(f"{what} is {value}", input=what, what_to_do="give a number above 0")
    step = c.segment_frames or max(1, round(rate))
    lengths = [step * number for number in range(1, max(1, math.floor(longest_s * rate / step)) + 1)]
    found = sure = None
    for frames in reversed(lengths):
        one, several = predict(c, frames, 1), predict(c, frames, chunks)
        gain = _usd(c, one) - _usd(c, several) if by == "usd" else one.seconds - several.seconds
        if several.chunks < chunks or gain <= 0:
            break
        found = frames
        if by == "time" and sure in (None, frames + step):
            low = difference(c, frames, chunks, 1)[1]
            sure = frames if low is not None and low > 0 else sure
    return BreakEven(
        chunks=chunks,
        by=by,
        frames=found,
        seconds=None if found is None else found / rate,
        sure_frames=sure,
        extrapolated=found is not None and bool(predict(c, found, chunks).extrapolated),
    )


def choose_chunks(
    c: Coefficients,
    frames: int,
    goal: Goal = "fastest",
    *,
    deadline_s: float | None = None,
    max_chunks: int | None = None,
    counts: Sequence[int] | None = None,
    dearer_by: float | None = None,
    tie: float | None = None,
) -> Choice:
    """The number of chunks for a clip of `frames` under a goal, the fewest of those that come out alike.

    `cheapest`: the lowest cost. `fastest`: the shortest time; with `dearer_by`, only among counts that cost
    at most that part more than one call. `deadline`: the cheapest that is predicted to take at most
    `deadline_s`. Costs are US dollars, or seconds of workers where there are no rates. Counts go up to
    `max_chunks`, by default to the most that was measured; with `counts`, only those are looked at (and one).

    Alike are counts whose predictions lie within `tie` of the best, as a part of it. By default that is 0.5 %
    for cost, whose spread is the same work's in each count, and for time one standard error of the mean
    difference (the rule of Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984,
    section 3.4.3), which shrinks with the runs where the spread of a single run does not, or 2 % where that
    is more (less is not worth another machine), and at most 30 %. `BadInput` for a number that
    is none of these.
    """
    if goal == "deadline" and not (deadline_s and deadline_s > 0):
        raise BadInput("there is no deadline", input="deadline_s", what_to_do="give seconds above 0")
    if max_chunks is not None and max_chunks < 1:
        raise BadInput(f"{max_chunks} chunks are none", input="max_chunks", what_to_do="give 1 or more")
    for what, part in (("dearer_by", dearer_by), ("tie", tie)):
        if part is not None and not part >= 0:
            raise BadInput(f"{what} is {part}", input=what, what_to_do="give a part of 0 or more")
    most = max_chunks or c.chunks_range[1]
    options: dict[int, Prediction] = {}
    for wanted in sorted({1, *(count for count in counts or range(1, most + 1) if count <= most)}):
        found = predict(c, frames, wanted)
        options.setdefault(found.chunks, found)
    allowed, met = list(options.values()), True
    notes: list[str] = []
    if goal == "deadline":
        assert deadline_s is not None
        in_time = [option for option in allowed if option.seconds <= deadline_s]
        met = bool(in_time)
        if not met:
            notes.append(f"no number of chunks up to {most} is predicted to take at most {deadline_s:g} s")
        allowed = in_time or allowed
    elif goal == "fastest" and dearer_by is not None:
        limit = (1 + dearer_by) * _usd(c, options[1])
        allowed = [option for option in allowed if _usd(c, option) <= limit * (1 + 1e-9)]
    if goal == "fastest" or not met:
        best = min(allowed, key=lambda option: option.seconds)
        least = (0.02 if tie is None else tie) * best.seconds
        errors = [0.0 if tie is not None else _error(c, frames, best, each) for each in allowed]
        alike = [
            each
            for each, error in zip(allowed, errors, strict=True)
            if each.seconds <= best.seconds + max(least, min(error, 0.3 * best.seconds))
        ]
    else:
        most = min(_usd(c, option) for option in allowed) * (1 + (0.005 if tie is None else tie))
        alike = [option for option in allowed if _usd(c, option) <= most]
    chosen = min(alike, key=lambda option: option.chunks)
    notes += [f"outside of what was measured: {line}" for line in chosen.extrapolated]
    return Choice(
        chunks=chosen.chunks,
        goal=goal,
        prediction=chosen,
        others=tuple(option for option in options.values() if option is not chosen),
        met=met,
        notes=tuple(notes),
    )


def auto_chunks(c: Coefficients, frames: int) -> Choice:
    """What `auto` means for a framed clip: the fastest of 1, 2 and 4 chunks that costs at most 20 % more than
    one call."""
    return choose_chunks(c, frames, "fastest", max_chunks=MOST_FRAMING, counts=COUNTS, dearer_by=DEARER_BY)


def _error(c: Coefficients, frames: int, one: Prediction, other: Prediction) -> float:
    """The standard error, in seconds, of how much two counts differ on average; 0 where it is not known."""
    gain, low, _ = difference(c, frames, one.chunks, other.chunks)
    return 0.0 if low is None or c.t95 is None else (gain - low) / c.t95


def _usd(c: Coefficients, prediction: Prediction) -> float:
    """Cost to compare by: dollars, or busy seconds without rates."""
    return prediction.gpu_seconds if prediction.usd is None else prediction.usd


# The tables users know


class Row(StrictModel):
    """A clip shorter than `below_s` seconds gets `chunks`; None is without end."""

    below_s: float | None
    chunks: int = Field(ge=1)
    description: str


class ThresholdTable(StrictModel):
    """One table, and why it is as it is."""

    rows: tuple[Row, ...] = Field(min_length=1)
    task: str
    rule: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[float, Config]:
        return {
            math.inf if row.below_s is None else row.below_s: (row.chunks, row.description)
            for row in self.rows
        }


class Plan(StrictModel):
    """`data/thresholds.json`, which `python -m video_pipeline.costs.thresholds` makes, and the plan of a
    deployment (`planning.plan_from`)."""

    schema_version: Literal[1] = 1
    made_by: str
    framing_ai: ThresholdTable
    """Of clips that the network enlarges."""

    framing_plain: ThresholdTable | None = None
    """Of clips that are framed without the network; None where no model of that tells counts apart."""

    overlay: ThresholdTable
    coefficients: tuple[Coefficients, ...]
    break_even: tuple[BreakEven, ...]


@functools.cache
def shipped_plan() -> Plan:
    """The generated tables. Internal if the file is not what the command makes."""
    text = (files("video_pipeline.costs") / "data" / "thresholds.json").read_text(encoding="utf-8")
    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        raise Internal(
            f"not a table of thresholds: {problems_of(error, 'file')}",
            what_to_do="run python -m video_pipeline.costs.thresholds",
        ) from None


def shipped_coefficients(task: str, gpu: str | None) -> Coefficients | None:
    """Those of a task on a GPU type, by Modal's name; None where nothing was measured or published."""
    return next((c for c in shipped_plan().coefficients if (c.task, c.gpu) == (task, gpu)), None)


def tells_counts_apart(c: Coefficients) -> bool:
    """Whether a number of chunks may be chosen by this model: it was fitted to runs in several numbers. One
    that has seen single calls alone knows nothing of joining, and would cut every clip."""
    return c.chunks_range[0] < c.chunks_range[1]


def description(chunks: int) -> str:
    return "sequential" if chunks == 1 else f"{chunks}-gpu-parallel"


def __getattr__(name: str) -> dict[float, Config]:
    """`FRAMING_AI_GPU_THRESHOLDS` and `GPU_CONFIG_THRESHOLDS` (overlays): seconds of video below which a clip
    gets (chunks, description); the last is infinite."""
    if name == "FRAMING_AI_GPU_THRESHOLDS":
        return shipped_plan().framing_ai.as_dict()
    if name == "GPU_CONFIG_THRESHOLDS":
        return shipped_plan().overlay.as_dict()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get_framing_ai_gpu_config(video_duration: float) -> Config:
    """(chunks, description) for a framed clip of so many seconds. `BadInput` for no length."""
    return _look_up(shipped_plan().framing_ai.as_dict(), video_duration)


def get_dynamic_gpu_config(video_duration: float, peak_hours: bool) -> Config:
    """The same by the time of day: at peak hours twice as many chunks, up to 8, so that people wait less;
    otherwise half as many, at least 1, to save starts. The description names the count that comes out."""
    chunks, _ = get_framing_ai_gpu_config(video_duration)
    if peak_hours:
        chunks = min(chunks * PEAK_FACTOR, MOST_AT_PEAK)
        return chunks, f"{description(chunks)}-peak"
    chunks = max(chunks // PEAK_FACTOR, 1)
    return chunks, f"{description(chunks)}-off-peak"


def _look_up(table: dict[float, Config], video_duration: float) -> Config:
    if not (math.isfinite(video_duration) and video_duration >= 0):
        raise BadInput(
            f"{video_duration} s is no length", input="video_duration", what_to_do="give seconds of 0 or more"
        )
    return next(config for below, config in sorted(table.items()) if video_duration < below)

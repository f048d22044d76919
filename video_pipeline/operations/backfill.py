"""Which partitions a night's backfill takes: missing or failed, newest first, within its limits.

Belongs here: the choice, as a pure function of states, and what was left out with the reason. Does not belong
here: reading states (`resources.history`), launching runs (`schedules`).

What is not chosen:

- what is queued, running, about to be retried or in a backfill of a person's: it is on its way;
- what this night asked for already, whichever tick it was;
- what failed with bad input, as long as its inputs are what they were: it would fail in the same way. A
  person is told of it by the check `no_partitions_left_failed`;
- what a person cancelled, as long as its inputs are what they were, unless cancelled ones are asked for:
  whoever ends a run does not want to find it running again in the morning;
- what is done, and what an older version of the code made, unless stale ones are asked for;
- what the number of runs or the night's dollars do not allow: it waits for the next night.

Newest first, because those are the ones somebody waits for; the last registered is the newest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal, TypeVar

from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.operations.states import NOT_TRIED_AGAIN, Asked, FailedRun, Product, States

NIGHT_TAG = "video_pipeline/night"
BOUND_TAG = "video_pipeline/bound_usd"
PRODUCT_TAG = "video_pipeline/product"
OVER_COST = "over the night's cost limit"
UNCHANGED = {
    "failed": "failed with bad input that has not changed",
    "cancelled": "cancelled by a person and not changed since",
}
"""Why what waits for another input was left out."""

T = TypeVar("T")

READS = 5000
"""Of how many partitions the store is asked in one tick at most: what a clip asks for, and as many times
whether inputs have changed. A tick has 60 s."""

AHEAD = 64
READERS = 16
"""One after the other, 5,000 requests of 40 ms in a bucket would take 200 s; 16 beside each other, 13 s."""

NOT_LOOKED_AT = "not looked at: too many requests to read"

Why = Literal["missing", "failed", "cancelled", "stale"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is left of a night: runs, and dollars where a run costs up to `usd_per_run` (0: nothing)."""

    runs: int
    usd: float = float("inf")
    usd_per_run: float = 0.0

    @property
    def allowed(self) -> int:
        """How many runs both limits allow."""
        if self.usd_per_run <= 0:
            return max(0, self.runs)
        # A hundredth of a cent of room: ten times 0.1 is not 1 in floating point.
        return max(0, min(self.runs, int((self.usd + 1e-4) / self.usd_per_run)))


@dataclass(frozen=True, slots=True)
class Choice:
    """`chosen` in the order in which they are to run; `left` counts by reason what was not taken."""

    chosen: list[tuple[str, Why]] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = Counter(why for _, why in self.chosen)
        taken = ", ".join(f"{count} {why}" for why, count in sorted(counts.items())) or "nothing to do"
        left = ", ".join(f"{count} {why}" for why, count in sorted(self.left.items()))
        return f"{taken}; left out: {left}" if left else taken


def choose(
    product: Product,
    states: States,
    limits: Limits,
    *,
    asked_tonight: AbstractSet[str] = frozenset(),
    stale_too: bool = False,
    cancelled_too: bool = False,
    changed: Callable[[str, FailedRun], bool] = lambda _key, _run: False,
    asked: Asked | None = None,
) -> Choice:
    """The partitions to run now.

    `changed` says whether the inputs of a partition are others than those its last run had; `asked` what its
    request asks for, where the product is optional. Both may read the store; they are called for candidates
    only, newest first, and each at most `READS` times.
    """
    choice = Choice()
    reads: Counter[str] = Counter()
    candidates = list(_candidates(states, stale_too))
    waiting = {} if cancelled_too else dict(states.cancelled)
    waiting |= {
        key: run
        for key, run in states.failed.items()
        if key not in states.cancelled and run.kind in NOT_TRIED_AGAIN
    }
    has_changed = read_ahead(
        lambda key: changed(key, waiting[key]), [key for key, _ in candidates if key in waiting]
    )
    if asked is not None:
        asked = read_ahead(asked, [key for key, why in candidates if why == "missing"])
    for key, why in candidates:
        if key in states.active:
            choice.left["in progress"] += 1
        elif key in asked_tonight:
            choice.left["asked for this night already"] += 1
        elif len(choice.chosen) >= limits.allowed:
            by_cost = limits.allowed < limits.runs
            choice.left[OVER_COST if by_cost else "over the night's number of runs"] += 1
        elif key in waiting:
            reads["changed"] += 1
            if reads["changed"] > READS:
                choice.left[NOT_LOOKED_AT] += 1
            elif has_changed(key):
                choice.chosen.append((key, why))
            else:
                choice.left[UNCHANGED[why]] += 1
        elif why == "missing" and product.optional and asked is not None:
            reads["asked"] += 1
            if reads["asked"] > READS:
                choice.left[NOT_LOOKED_AT] += 1
            elif _wanted(key, asked, product) - _made(key, states):
                choice.chosen.append((key, why))
        else:
            choice.chosen.append((key, why))
    return choice


def _candidates(states: States, stale_too: bool) -> Iterator[tuple[str, Why]]:
    for key in reversed(states.registered):
        if key in states.cancelled:
            yield key, "cancelled"
        elif key in states.failed:
            yield key, "failed"
        elif key not in states.done:
            yield key, "missing"
        elif stale_too and key in states.stale:
            yield key, "stale"


def read_ahead(answer_for: Callable[[str], T], keys: Sequence[str]) -> Callable[[str], T]:
    """`answer_for` for keys that are asked for in the order of `keys`, some left out: `AHEAD` of them are
    read beside each other. What goes wrong with one is raised when that one is asked for."""
    place = {key: number for number, key in enumerate(keys)}
    read: dict[str, T | PipelineError] = {}

    def one(key: str) -> T | PipelineError:
        try:
            return answer_for(key)
        except PipelineError as error:
            return error

    def ahead(key: str) -> T:
        if key not in read:
            start = place[key]
            batch = keys[start : start + AHEAD]
            with ThreadPoolExecutor(READERS, thread_name_prefix="requests") as pool:
                read.update(zip(batch, pool.map(one, batch), strict=True))
        answer = read[key]
        if isinstance(answer, PipelineError):
            raise answer
        return answer

    return ahead


def _wanted(key: str, asked: Asked, product: Product) -> AbstractSet[str]:
    """What the request asks of the product. A wrong request asks for the job that says what is wrong: the one
    that makes clips, and not both."""
    try:
        return asked(key) & set(product.ends)
    except BadInput:
        return frozenset(product.ends[:1]) if product.job == "make_clip" else frozenset()


def _made(key: str, states: States) -> AbstractSet[str]:
    return {asset for asset, partitions in states.made.items() if key in partitions}


def night_of(moment: datetime) -> date:
    """The night a moment belongs to, named by the day on which it begins: from noon to noon."""
    return (moment - timedelta(hours=12)).date()

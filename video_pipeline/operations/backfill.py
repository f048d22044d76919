"""Which partitions a night's backfill takes: missing or failed, newest first, within its limits.

Belongs here: the choice, as a pure function of states, and what was left out with the reason. Does not belong
here: reading states (`resources.history`), launching runs (`schedules`).

What is not chosen:

- what is queued, running, about to be retried or in a backfill of a person's: it is on its way;
- what this night asked for already, whichever tick it was;
- what failed with bad input, as long as its inputs are what they were: it would fail in the same way. A
  person is told of it by the check `no_partitions_left_failed`;
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
from typing import Literal

from video_pipeline.errors import BadInput, PipelineError
from video_pipeline.operations.states import NOT_TRIED_AGAIN, Asked, FailedRun, Product, States

NIGHT_TAG = "video_pipeline/night"
BOUND_TAG = "video_pipeline/bound_usd"
PRODUCT_TAG = "video_pipeline/product"
OVER_COST = "over the night's cost limit"

READS = 5000
"""How many requests are read in one tick at most, to learn what a clip asks for. A tick has 60 s."""

AHEAD = 64
READERS = 16
"""One after the other, 5,000 requests of 40 ms in a bucket would take 200 s; 16 beside each other, 13 s."""

Why = Literal["missing", "failed", "stale"]


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
    changed: Callable[[str, FailedRun], bool] = lambda _key, _run: False,
    asked: Asked | None = None,
) -> Choice:
    """The partitions to run now.

    `changed` says whether the inputs of a partition are others than those its failed run had; `asked` what
    its request asks for, where the product is optional. Both may read the store; they are called for
    candidates only, newest first, and `asked` at most `READS` times.
    """
    choice = Choice()
    reads = 0
    candidates = list(_candidates(states, stale_too))
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
        elif why == "failed" and not _is_worth_another_try(key, states.failed[key], changed):
            choice.left["failed with bad input that has not changed"] += 1
        elif why == "missing" and product.optional and asked is not None:
            if reads >= READS:
                choice.left["not looked at: too many requests to read"] += 1
                continue
            reads += 1
            if not (_wanted(key, asked, product) - _made(key, states)):
                continue
            choice.chosen.append((key, why))
        else:
            choice.chosen.append((key, why))
    return choice


def _candidates(states: States, stale_too: bool) -> Iterator[tuple[str, Why]]:
    for key in reversed(states.registered):
        if key in states.failed:
            yield key, "failed"
        elif key not in states.done:
            yield key, "missing"
        elif stale_too and key in states.stale:
            yield key, "stale"


def _is_worth_another_try(key: str, run: FailedRun, changed: Callable[[str, FailedRun], bool]) -> bool:
    return run.kind not in NOT_TRIED_AGAIN or changed(key, run)


def read_ahead(asked: Asked, keys: Sequence[str]) -> Asked:
    """`asked` for keys that are asked for in the order of `keys`, some left out: `AHEAD` of them are read
    beside each other. What goes wrong with one is raised when that one is asked for."""
    place = {key: number for number, key in enumerate(keys)}
    read: dict[str, AbstractSet[str] | PipelineError] = {}

    def one(key: str) -> AbstractSet[str] | PipelineError:
        try:
            return asked(key)
        except PipelineError as error:
            return error

    def ahead(key: str) -> AbstractSet[str]:
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

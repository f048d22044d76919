"""How old what is removed must be, and what a survey or a clean-up tells.

Belongs here: the limits and the report. Does not belong here: making either (`retention`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import Field

from video_pipeline.errors import BadInput
from video_pipeline.operations.retention_units import COSTS, PARTIAL, Kind
from video_pipeline.strict import StrictModel

DAY_S = 86_400.0
DEFAULT_AGE_S = 30 * DAY_S
SHORTEST_AGE_S = DAY_S
"""Longer than any task may take (`tasks`: 4 hours), a queue before it and the retries after it."""

SHORTEST_PARTIAL_AGE_S = 3600.0
"""Longer than a stage pauses between two objects, or an upload between two parts."""

SAMPLES = 5


class Limits(StrictModel):
    """How old a unit must be, in seconds since its newest object was written."""

    minimum_age_s: float = Field(default=DEFAULT_AGE_S, ge=SHORTEST_AGE_S, allow_inf_nan=False)
    partial_minimum_age_s: float = Field(
        default=DEFAULT_AGE_S, ge=SHORTEST_PARTIAL_AGE_S, allow_inf_nan=False
    )
    """Of what was begun and never finished."""

    def cutoff(self, kind: Kind, now: datetime) -> datetime:
        age = self.partial_minimum_age_s if kind in PARTIAL else self.minimum_age_s
        return now - timedelta(seconds=age)


def limits_of(days: float, partial_hours: float | None = None) -> Limits:
    """`BadInput` where they are shorter than is safe. Without `partial_hours`, one age holds for all."""
    partial_s = days * DAY_S if partial_hours is None else partial_hours * 3600
    if not days * DAY_S >= SHORTEST_AGE_S or not partial_s >= SHORTEST_PARTIAL_AGE_S:
        raise BadInput(
            f"an age of {days:g} days ({partial_s / 3600:g} hours for what was never finished) is not safe",
            input="minimum age",
            what_to_do="at least 1 day, and at least 1 hour for what was never finished",
        )
    return Limits(minimum_age_s=days * DAY_S, partial_minimum_age_s=partial_s)


def note_on_versions(keeps_versions: bool | None) -> list[str]:
    """What is to be known of a store that may keep what is deleted there (`ObjectStore.keeps_versions`)."""
    if keeps_versions is None:
        return [
            "whether the bucket keeps versions may not be asked with these credentials; if it does, what is "
            "removed stays as an earlier version until a lifecycle rule expires it (docs/storage.md)"
        ]
    if keeps_versions:
        return [
            "the bucket keeps versions: what is removed gets a delete marker, and stays and is billed as an "
            "earlier version until a lifecycle rule expires it (docs/storage.md)"
        ]
    return []


class KindReport(StrictModel):
    """What was found of one kind, and what was done with it."""

    kind: Kind
    units: int = 0
    """Recipes, calls, uploads."""

    objects: int = 0
    bytes: int = 0
    oldest: datetime | None = None
    sample: tuple[str, ...] = ()
    cost: str
    """What taking it away costs."""

    done: int = 0
    """Units that were removed or, of old recipes, whose manifest was taken away."""

    freed_bytes: int = 0


class RetentionReport(StrictModel):
    """A survey (`removed` false) or a clean-up."""

    removed: bool
    tenant: str | None
    at: datetime
    limits: Limits
    kinds: tuple[KindReport, ...]
    computed_s: float
    """Wall seconds of work behind the results of the calls: what computing all of them again would take."""

    restored: tuple[str, ...] = ()
    """Recipes whose manifest was put back, and why."""

    held_back: tuple[str, ...] = ()
    """What the last look before removing kept, and why."""

    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.kinds)

    def next_step(self) -> str:
        """What a person does with this report, in a sentence."""
        waiting = next((row.done for row in self.kinds if row.kind == "old recipes"), 0)
        if not self.removed:
            return "nothing was changed; to remove it: video-pipeline retention remove, with the same options"
        if waiting:
            return (
                f"the manifests of {waiting} recipes were taken away; their objects go in a run at least an "
                "hour from now"
            )
        return "done"


class Tally:
    """One kind's row while it is being counted."""

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind
        self.units = self.objects = self.bytes = self.done = self.freed = 0
        self.oldest: datetime | None = None
        self.sample: list[str] = []

    def add(self, objects: int, size: int, oldest: datetime, sample: Iterable[str]) -> None:
        self.units, self.objects, self.bytes = self.units + 1, self.objects + objects, self.bytes + size
        self.oldest = oldest if self.oldest is None else min(self.oldest, oldest)
        self.sample.extend(list(sample)[: SAMPLES - len(self.sample)])

    def report(self) -> KindReport:
        return KindReport(
            kind=self.kind,
            units=self.units,
            objects=self.objects,
            bytes=self.bytes,
            oldest=self.oldest,
            sample=tuple(self.sample),
            cost=COSTS[self.kind],
            done=self.done,
            freed_bytes=self.freed,
        )

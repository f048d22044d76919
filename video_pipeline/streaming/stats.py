"""What a stream did: per stage and as a whole, and what would make it faster.

Belongs here: the numbers and the arithmetic on them. Does not belong here: measuring (`run`, `usage`) or
printing (`report`). All times are seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

CORES = "cores"
"""The bottleneck's name when the processors, not a stage, are the limit."""
WORTH_IT = 0.05
"""A gain below this share is within what one run differs from the next."""


@dataclass(slots=True)
class StageStats:
    """One stage. Times are sums over its workers.

    `busy_s` is time inside the stage's own functions, set-up and teardown included. `cpu_s` is its threads'
    CPU time and `wait_cpu_s` the time they could have run but had no core. Python cannot tell waiting for the
    interpreter's lock from waiting for a disk: both are in `busy_s`.
    """

    name: str
    workers: int = 1
    items_in: int = 0
    items_out: int = 0
    busy_s: float = 0.0
    cpu_s: float = 0.0
    wait_in_s: float = 0.0
    wait_out_s: float = 0.0
    wait_cpu_s: float = 0.0
    wait_turn_s: float = 0.0
    """Left to the source, by a stage that `needs_core`; not in `busy_s`."""
    queue_mean: float = 0.0
    """Items waiting in front of the stage, averaged over time."""
    queue_max: int = 0
    started: float | None = None
    """Seconds after the stream's start; None when the stage never began."""
    ended: float = 0.0
    scalable: bool = True
    """Whether the stage can have more workers: a source, a sink and a stage with a `finish` cannot."""

    @property
    def needed_s(self) -> float:
        """Time not spent waiting: for an item, for room, or for a core. The CPU time at least."""
        return max(self.cpu_s, self.busy_s - self.wait_cpu_s)

    @property
    def share_s(self) -> float:
        """`needed_s` over the workers: the stage cannot end sooner, however many cores there are."""
        return self.needed_s / self.workers

    def add(self, other: StageStats) -> None:
        """Adds one worker's share."""
        self.items_in += other.items_in
        self.items_out += other.items_out
        self.busy_s += other.busy_s
        self.cpu_s += other.cpu_s
        self.wait_in_s += other.wait_in_s
        self.wait_out_s += other.wait_out_s
        self.wait_cpu_s += other.wait_cpu_s
        self.wait_turn_s += other.wait_turn_s
        self.ended = max(self.ended, other.ended)
        if self.started is None or (other.started is not None and other.started < self.started):
            self.started = other.started


@dataclass(slots=True)
class PipelineReport:
    """A whole run. `process_cpu_s` counts every thread of the process, libraries' own included."""

    stages: list[StageStats]
    wall_s: float
    cores: int
    process_cpu_s: float
    dropped_spans: int = 0

    @property
    def cpu_floor_s(self) -> float:
        """All CPU time, spread evenly over the cores."""
        return self.process_cpu_s / self.cores

    @property
    def floor_s(self) -> float:
        """The least wall time the same work could take: the larger of total CPU over the cores and the
        slowest stage's time not spent waiting over its workers (DESIGN, section 8)."""
        return self._floor(None)

    @property
    def overlap_efficiency(self) -> float:
        """`floor_s` over the wall time: 1 is perfect overlap."""
        return min(self.floor_s / self.wall_s, 1.0) if self.wall_s > 0 else 1.0

    @property
    def bottleneck(self) -> str:
        """The stage that sets the floor, or `cores` when the processors do; empty without stages."""
        if not self.stages:
            return ""
        slowest = max(self.stages, key=lambda stage: stage.share_s)
        return CORES if self.cpu_floor_s > slowest.share_s else slowest.name

    @property
    def what_one_more_worker_would_give(self) -> dict[str, float]:
        """Per stage that can have another worker: how much lower the floor would be with it, 0 to 1."""
        floor = self.floor_s
        return {
            stage.name: 1 - self._floor(stage.name) / floor if floor > 0 else 0.0
            for stage in self.stages
            if stage.scalable
        }

    def _floor(self, with_one_more: str | None) -> float:
        slowest = max(
            (stage.needed_s / (stage.workers + (stage.name == with_one_more)) for stage in self.stages),
            default=0.0,
        )
        return max(self.cpu_floor_s, slowest)

    def to_dict(self) -> dict[str, Any]:
        """Everything, derived values included, as JSON-ready values."""
        return {
            "wall_s": self.wall_s,
            "cores": self.cores,
            "process_cpu_s": self.process_cpu_s,
            "floor_s": self.floor_s,
            "overlap_efficiency": self.overlap_efficiency,
            "bottleneck": self.bottleneck,
            "what_one_more_worker_would_give": self.what_one_more_worker_would_give,
            "advice": advice(self),
            "dropped_spans": self.dropped_spans,
            "stages": [asdict(stage) for stage in self.stages],
        }


def advice(report: PipelineReport) -> list[str]:
    """What to change, in words; empty when there is nothing to say."""
    if not report.stages:
        return []
    lines = [_about_the_limit(report)]
    if report.overlap_efficiency < 0.8:
        lines.append(_about_the_overlap(report))
    return lines


def _about_the_limit(report: PipelineReport) -> str:
    name = report.bottleneck
    if name == CORES:
        busiest = max(report.stages, key=lambda stage: stage.cpu_s)
        share = busiest.cpu_s / report.process_cpu_s if report.process_cpu_s > 0 else 0.0
        return (
            f"the {report.cores} cores are the limit, more workers would not help; "
            f"{busiest.name} takes {share:.0%} of the CPU time"
        )
    if name == report.stages[0].name:
        return f"{name} is the limit, and it is the source: workers elsewhere would not help"
    stage = next(stage for stage in report.stages if stage.name == name)
    if not stage.scalable:
        return f"{name} is the limit, and it has one worker by its nature: workers elsewhere would not help"
    gain = report.what_one_more_worker_would_give[name]
    if gain < WORTH_IT:
        return f"{name} is the limit, and one more worker would not help: the next limit is as close"
    option = "encoder_workers" if name == "encode" else f"the workers of {name}"
    return (
        f"{name} is the limit: {stage.workers + 1} workers instead of {stage.workers} would lower the floor "
        f"by {gain:.0%}; raise {option}"
    )


def _about_the_overlap(report: PipelineReport) -> str:
    waited = sum(stage.wait_cpu_s for stage in report.stages)
    if waited > 0.25 * report.wall_s and report.cpu_floor_s < 0.8 * report.wall_s:
        return (
            f"the stages overlap to {report.overlap_efficiency:.0%} only, and waited {waited:.1f} s for a "
            "core: other work on this machine took the cores"
        )
    return (
        f"the stages overlap to {report.overlap_efficiency:.0%} only: the run may be short, work may come in "
        "bursts that the queues are too short for, or threads wait for Python's lock"
    )

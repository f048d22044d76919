"""What a stream did: per stage and as a whole, and what would make it faster.

Belongs here: the numbers and the arithmetic on them. Does not belong here: measuring (`pipeline`) or
printing (`report`). All times are seconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class StageStats:
    """One stage. Times are sums over its workers; `cpu_s` is their threads' CPU time."""

    name: str
    workers: int = 1
    items_in: int = 0
    items_out: int = 0
    busy_s: float = 0.0
    cpu_s: float = 0.0
    wait_in_s: float = 0.0
    wait_out_s: float = 0.0
    queue_mean: float = 0.0
    queue_max: int = 0
    started: float = 0.0
    """Seconds after the stream's start."""
    ended: float = 0.0

    def add(self, other: StageStats) -> None:
        """Adds one worker's share."""
        self.items_in += other.items_in
        self.items_out += other.items_out
        self.busy_s += other.busy_s
        self.cpu_s += other.cpu_s
        self.wait_in_s += other.wait_in_s
        self.wait_out_s += other.wait_out_s


@dataclass(slots=True)
class PipelineReport:
    """A whole run. `process_cpu_s` counts every thread, libraries' own included."""

    stages: list[StageStats]
    wall_s: float
    cores: int
    process_cpu_s: float
    dropped_spans: int = 0
    advice: list[str] = field(default_factory=list)

    @property
    def floor_s(self) -> float:
        """The least wall time the same work could take: the larger of total CPU over the cores and the
        slowest stage's time not spent waiting over its workers (DESIGN, section 8)."""
        slowest = max((stage.busy_s / stage.workers for stage in self.stages), default=0.0)
        return max(self.process_cpu_s / self.cores, slowest)

    @property
    def overlap_efficiency(self) -> float:
        """`floor_s` over the wall time: 1 is perfect overlap."""
        return min(self.floor_s / self.wall_s, 1.0) if self.wall_s > 0 else 1.0

    @property
    def bottleneck(self) -> str:
        """The stage whose workers had least idle time, or `cores` when the processors are the limit."""
        if not self.stages:
            return ""
        slowest = max(self.stages, key=lambda stage: stage.busy_s / stage.workers)
        if self.process_cpu_s / self.cores > slowest.busy_s / slowest.workers:
            return "cores"
        return slowest.name

    def with_one_more_worker(self, name: str) -> float:
        """The floor, in seconds, if the stage `name` had one more worker."""
        spread = max(
            (stage.busy_s / (stage.workers + (stage.name == name)) for stage in self.stages), default=0.0
        )
        return max(self.process_cpu_s / self.cores, spread)

    def to_dict(self) -> dict[str, Any]:
        return {
            "wall_s": self.wall_s,
            "cores": self.cores,
            "process_cpu_s": self.process_cpu_s,
            "floor_s": self.floor_s,
            "overlap_efficiency": self.overlap_efficiency,
            "bottleneck": self.bottleneck,
            "advice": advice(self),
            "stages": [asdict(stage) for stage in self.stages],
        }


def advice(report: PipelineReport) -> list[str]:
    """What to change, in words; empty when nothing would help."""
    if not report.stages:
        return []
    lines: list[str] = []
    name = report.bottleneck
    if name == "cores":
        busiest = max(report.stages, key=lambda stage: stage.cpu_s)
        share = busiest.cpu_s / report.process_cpu_s if report.process_cpu_s > 0 else 0.0
        lines.append(
            f"all {report.cores} cores are the limit: more workers would not help; "
            f"{busiest.name} takes {share:.0%} of the CPU time"
        )
    elif name == report.stages[0].name:
        lines.append(f"{name} is the limit, and it is the source: workers elsewhere would not help")
    else:
        better = report.with_one_more_worker(name)
        gain = 1 - better / report.floor_s if report.floor_s > 0 else 0.0
        option = "encoder_workers" if name == "encode" else f"the workers of {name}"
        if gain >= 0.05:
            lines.append(
                f"{name} is the limit: one more worker would lower the floor by {gain:.0%}; raise {option}"
            )
        else:
            lines.append(f"{name} is the limit, and one more worker would not help: another stage is as slow")
    if report.overlap_efficiency < 0.8:
        lines.append(
            f"the stages overlap to {report.overlap_efficiency:.0%} only: short queues, or other work on "
            "the machine, may be why"
        )
    return lines

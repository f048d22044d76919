"""Whether encoding should leave the machine with the GPU for machines without one: what a pass says of it.

Belongs here: the arithmetic over a pass's stages and the advice. Does not belong here: measuring
(`streaming`), or encoding elsewhere, which is built when a measured pass says that it pays.

While chunks are encoded on the GPU's machine, the GPU is paid for until the last of them is done. It waits
for nothing as long as encoding takes no longer than what the GPU does. Offloading costs a copy of every
picture through the store and a container's start, so it has to be well above that: `WORTH_IT` times, and with
every core busy, for otherwise more encoders on the same machine are the cheaper answer.

`busy` times of the stages are in `stages.json` and `performance.txt` beside a call's result.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from video_pipeline.streaming.stats import PipelineReport

ENCODE = "encode"
ON_THE_GPU = ("decode", "infer")
"""Stages that run on the GPU where there is one. They overlap: the slower of them is what the GPU needs."""
WORTH_IT = 1.5
ALL_BUSY = 0.9
"""Of the cores' time; the rest goes in starting and ending."""


@dataclass(frozen=True, slots=True)
class Offloading:
    """`encode_s` and `gpu_s`: the least seconds that encoding, with its workers, and the slowest of the GPU's
    stages could take. `cores_busy` is the share of the cores' time that was used, 0 to 1. `has_gpu`: whether
    a GPU was measured."""

    encode_s: float
    gpu_s: float
    cores_busy: float
    has_gpu: bool

    @property
    def ratio(self) -> float:
        """How many times as long encoding takes; infinite where the GPU's stages took no time."""
        return self.encode_s / self.gpu_s if self.gpu_s > 0 else float("inf")

    @property
    def worth_it(self) -> bool:
        return self.has_gpu and self.ratio > WORTH_IT and self.cores_busy >= ALL_BUSY

    @property
    def advice(self) -> str:
        """One sentence, with the figures that decide."""
        figures = f"encoding {self.encode_s:.2f} s / GPU stages {self.gpu_s:.2f} s = {self.ratio:.2f}"
        if not self.has_gpu:
            return f"{figures}; no GPU was measured, so this says nothing about taking encoding off one"
        if self.ratio <= WORTH_IT:
            return f"{figures}, not above {WORTH_IT}: encode beside the GPU"
        if self.cores_busy < ALL_BUSY:
            return (
                f"{figures}, above {WORTH_IT}, but the cores were {self.cores_busy:.0%} busy: raise "
                "encoder_workers before anything is taken off this machine"
            )
        return (
            f"{figures}, above {WORTH_IT} with the cores {self.cores_busy:.0%} busy: the GPU waits "
            f"{self.encode_s - self.gpu_s:.0f} s of each pass, so encoding on machines without one would pay"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, derived values included; a ratio that is infinite is None."""
        ratio = self.ratio if self.gpu_s > 0 else None
        return {**asdict(self), "ratio": ratio, "worth_it": self.worth_it, "advice": self.advice}


def offloading(report: PipelineReport, *, has_gpu: bool) -> Offloading | None:
    """What the pass says; None where it encoded nothing, or ran nothing that a GPU would."""
    shares = {stage.name: stage.share_s for stage in report.stages}
    gpu = [shares[name] for name in ON_THE_GPU if name in shares]
    if ENCODE not in shares or not gpu:
        return None
    time_of_the_cores_s = report.wall_s * report.cores
    return Offloading(
        encode_s=shares[ENCODE],
        gpu_s=max(gpu),
        cores_busy=min(report.process_cpu_s / time_of_the_cores_s, 1.0) if time_of_the_cores_s > 0 else 0.0,
        has_gpu=has_gpu,
    )

"""What a call on Modal may cost at most, and the refusal before anything is started.

Belongs here: the upper bound of a call, its cost at a known time, the limits of the settings. Does not belong
here: starting calls (`compute.modal`) or prices (`prices.json`, dated).

The bound of one attempt is `(start-up + time limit + idle) x (GPU + cores + memory limit)`, every part at
its greatest: a container that takes its whole start-up time, a task that runs into Modal's time limit, and an
idle wait for a next call that never comes. It holds because each of these is a hard limit of the function
(`specs.FunctionSpec`). It is a bound of one attempt: a caller that retries asks again for each, and an input
that Modal itself runs again after a pre-emption is paid for again. A limit of one call that is shorter than
the deployed function's is kept by the worker, which ends its process 30 s after it (`worker_watch.GRACE_S`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from video_pipeline.compute.base import CallOptions
from video_pipeline.costs.estimate import Prices, read_prices
from video_pipeline.errors import BadInput
from video_pipeline.modal_ops.specs import FunctionSpec, spec_for
from video_pipeline.settings import Settings
from video_pipeline.tasks import Task


@functools.cache
def prices() -> Prices:
    """The dated price list that ships."""
    return read_prices(Path(__file__).with_name("prices.json"))


@dataclass(frozen=True, slots=True)
class CallCost:
    """What `calls` calls of one function may cost. Seconds and US dollars; `bound_s` is of one call."""

    task: str
    machine: str
    calls: int
    usd_per_s: float
    bound_s: float
    prices_as_of: str

    @property
    def bound_usd(self) -> float:
        """The most that one call costs, in one attempt."""
        return self.bound_s * self.usd_per_s

    @property
    def total_bound_usd(self) -> float:
        return self.calls * self.bound_usd

    def usd(self, seconds: float) -> float:
        """What one call costs that runs for `seconds`, without start-up and idle time."""
        return seconds * self.usd_per_s

    def __str__(self) -> str:
        each = (
            f"{self.task} on {self.machine}: at most {self.bound_s:,.0f} s x ${self.usd_per_s:.6f}/s = "
            f"${self.bound_usd:,.2f}"
        )
        total = f" a call, ${self.total_bound_usd:,.2f} for {self.calls} calls" if self.calls > 1 else ""
        return f"{each}{total} (prices of {self.prices_as_of})"


def cost_of(
    task: Task, settings: Settings, options: CallOptions | None = None, *, calls: int = 1
) -> CallCost:
    """The bound of `calls` calls. `BadInput` for options that Modal would refuse (`specs.spec_for`)."""
    spec = spec_for(task, settings, options)
    return CallCost(
        task=task.name,
        machine=_machine(spec),
        calls=calls,
        usd_per_s=prices().per_s(gpu=spec.gpu, cpu_cores=spec.cpu_cores, memory_mib=spec.memory_limit_mib),
        bound_s=spec.startup_timeout_s + spec.timeout_s + spec.idle_s,
        prices_as_of=prices().as_of,
    )


def check_cost(task: Task, options: CallOptions | None, settings: Settings, *, calls: int = 1) -> CallCost:
    """The bound of what is about to be started, if it is within the limits; else `BadInput` with the figures.

    One call is held against `VIDEO_PIPELINE_MAX_USD_PER_CALL`, `calls` of them together against
    `VIDEO_PIPELINE_MAX_USD_PER_RUN`. An orchestrating task calls this with all of its calls before its first.
    """
    cost = cost_of(task, settings, options, calls=calls)
    if cost.bound_usd > settings.max_usd_per_call:
        raise BadInput(
            f"{cost} is above the limit of ${settings.max_usd_per_call:,.2f} per call",
            input=task.name,
            what_to_do="set a shorter timeout_s or a cheaper gpu, or raise VIDEO_PIPELINE_MAX_USD_PER_CALL",
        )
    if cost.total_bound_usd > settings.max_usd_per_run:
        raise BadInput(
            f"{cost} is above the limit of ${settings.max_usd_per_run:,.2f} per run",
            input=task.name,
            what_to_do="make fewer calls, set a shorter timeout_s, or raise VIDEO_PIPELINE_MAX_USD_PER_RUN",
        )
    return cost


def _machine(spec: FunctionSpec) -> str:
    gpu = f"{spec.gpu}, " if spec.gpu else ""
    return f"{gpu}{spec.cpu_cores:g} cores, {spec.memory_limit_mib / 1024:g} GiB"

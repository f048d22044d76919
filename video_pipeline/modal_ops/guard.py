"""What a call on Modal may cost at most, and the refusal before anything is started.

Belongs here: the upper bound of a call, its cost at a known time, the limits of the settings, all of it in
words. Does not belong here: starting calls (`compute.modal`), prices (`prices.json`, dated), or how long a
call will probably take (`foretold`).

The bound of one attempt is `(start-up + time limit + idle) x (GPU + cores + memory limit)`, every part at
its greatest: a container that takes its whole start-up time, a task that runs into Modal's time limit, and an
idle wait for a next call that never comes. It holds because each of these is a hard limit of the function
(`specs.FunctionSpec`). It is a bound of one attempt: a caller that retries asks again for each, and an input
that Modal itself runs again after a pre-emption is paid for again. A limit of one call that is shorter than
the deployed function's is kept by the worker, which ends its process 30 s after it (`worker_watch.GRACE_S`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
class Foretold:
    """What the cost model gives for one call, from its claim to its end: seconds with their 95 % interval for
    a single run (None where the model has none), and US dollars (None without a price). `chunks` is None for
    a task that works alone, else in how many calls it is taken to spread its work, whose cost is in `usd`.
    `beyond` says what lies outside of what was measured. `rough` tells that no outcome is to be held against
    this: it lies there, or its model is of other films or code (experiments, published runs), or was more
    than `costs.predict.LIMIT` off on configurations left out."""

    seconds: float
    low: float | None
    high: float | None
    usd: float | None
    frames: int
    chunks: int | None
    model_as_of: str
    """The date of the newest of the `runs` that the model was fitted to, YYYY-MM-DD."""
    runs: int
    source: str
    beyond: tuple[str, ...] = ()
    rough: bool = False

    def __str__(self) -> str:
        between = "" if self.low is None or self.high is None else f" ({_s(self.low)} to {_s(self.high)})"
        usd = "" if self.usd is None else f", ${_usd(self.usd)}"
        calls = "" if self.chunks is None else f" in {self.chunks} call{'s' * (self.chunks > 1)} of its own"
        beyond = "".join(f"; {line}" for line in self.beyond)
        return (
            f"about {_s(self.seconds)} s{between} once it runs{usd}, for {self.frames:,} frames{calls} "
            f"(model of {self.model_as_of}, {self.runs} runs, {self.source}{beyond})"
        )


@dataclass(frozen=True, slots=True)
class CallCost:
    """What `calls` calls of one function may cost. Seconds and US dollars; `bound_s` is of one call, and of
    that call alone where it starts others. `foretold` is of one call too, None where nothing foretells it."""

    task: str
    machine: str
    calls: int
    usd_per_s: float
    bound_s: float
    prices_as_of: str
    foretold: Foretold | None = None

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

    def facts(self) -> dict[str, Any]:
        """For metadata: `cost` in words, and the figures as numbers; what is foretold where anything is."""
        facts: dict[str, Any] = {
            "cost": str(self),
            "bound_seconds": self.bound_s,
            "bound_usd": round(self.bound_usd, 6),
        }
        if self.foretold is not None:
            facts["foretold_seconds"] = round(self.foretold.seconds, 3)
            facts["model_as_of"] = self.foretold.model_as_of
            if self.foretold.usd is not None:
                facts["foretold_usd"] = round(self.foretold.usd, 6)
        return facts

    def __str__(self) -> str:
        about = "" if self.foretold is None else f"{self.foretold}; "
        each = (
            f"{self.task} on {self.machine}: {about}at most {self.bound_s:,.0f} s x "
            f"${self.usd_per_s:.6f}/s = ${self.bound_usd:,.2f}"
        )
        alone = self.foretold is not None and self.foretold.chunks is not None
        total = f" a call, ${self.total_bound_usd:,.2f} for {self.calls} calls" if self.calls > 1 else ""
        total += ", those that it starts not counted" if alone else ""
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


def check_cost(
    task: Task,
    options: CallOptions | None,
    settings: Settings,
    *,
    calls: int = 1,
    foretell: Callable[[], Foretold | None] = lambda: None,
) -> CallCost:
    """The bound of what is about to be started, if it is within the limits; else `BadInput` with the figures.

    One call is held against `VIDEO_PIPELINE_MAX_USD_PER_CALL`, `calls` of them together against
    `VIDEO_PIPELINE_MAX_USD_PER_RUN`. An orchestrating task calls this with all of its calls before its first.
    `foretell` is asked for a refusal only: nothing waits for it then. What it gives decides nothing, since
    it is no limit.
    """
    cost = cost_of(task, settings, options, calls=calls)
    if cost.bound_usd > settings.max_usd_per_call or cost.total_bound_usd > settings.max_usd_per_run:
        cost = replace(cost, foretold=foretell())
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


def _s(seconds: float) -> str:
    """Seconds to two digits or more: a model knows no better."""
    return f"{seconds:,.0f}" if seconds >= 9.95 else f"{seconds:.1f}"


def _usd(usd: float) -> str:
    return f"{usd:,.2f}" if usd >= 0.1 else f"{usd:.4f}"

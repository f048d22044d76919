"""What every benchmark shares: figures with targets, interleaved repeats, CPU time, a machine's description.

Belongs here: measuring and judging. Does not belong here: what is measured. A figure is a ratio against a
peer or a floor of the same run wherever that can be: the machine is small, shared and noisy.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from video_pipeline.machine import usable_cores

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Figure:
    """One line of the table. `runs` are the single measurements whose median `value` is. Without a target it
    is told and not judged."""

    what: str
    target: float | None
    value: float
    unit: str = "x"
    better: Literal["lower", "higher"] = "lower"
    runs: Sequence[float] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        if self.target is None:
            return True
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds (user + system, children included) of one run."""

    wall: float
    cpu: float


def figure_of(what: str, target: float | None, runs: Sequence[float], **options: Any) -> Figure:
    """A figure from several runs, by their median."""
    return Figure(what, target, statistics.median(runs), runs=tuple(runs), **options)


def cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measure(work: Callable[[], object]) -> Cost:
    cpu, wall = cpu_seconds(), time.perf_counter()
    work()
    return Cost(time.perf_counter() - wall, cpu_seconds() - cpu)


def interleaved(repeats: int, **works: Callable[[], object]) -> dict[str, list[Cost]]:
    """Runs every work once to warm up, then `repeats` times in turn, so that drift hits all alike."""
    costs: dict[str, list[Cost]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            costs[name].append(measure(work))
    return costs


def ratios(ours: Sequence[Cost], theirs: Sequence[Cost], what: Literal["wall", "cpu"]) -> list[float]:
    """Pair by pair: run k of ours over run k of theirs."""
    return [getattr(a, what) / getattr(b, what) for a, b in zip(ours, theirs, strict=True)]


def machine() -> dict[str, Any]:
    """What a reader needs to place the figures."""
    import av
    import torch

    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "cpu": model,
        "cores": usable_cores(),
        "python": platform.python_version(),
        "av": av.__version__,
        "torch": torch.__version__,
        "commit": commit.stdout.strip() or "unknown",
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def table(figures: Sequence[Figure]) -> str:
    """The table people read: what, target, figure, spread, verdict."""
    width = max([len("what"), *(len(figure.what) for figure in figures)])
    lines = [f"{'what':{width}}  {'target':>10}  {'figure':>9}  {'spread':>15}  verdict"]
    lines.append("-" * len(lines[0]))
    for figure in figures:
        spread = f"{min(figure.runs):.2f} .. {max(figure.runs):.2f}" if len(figure.runs) > 1 else ""
        value, target, verdict = f"{figure.value:.2f} {figure.unit}", "none", "-"
        if figure.target is not None:
            sign = "<=" if figure.better == "lower" else ">="
            target = f"{sign} {figure.target:g} {figure.unit}"
            verdict = "holds" if figure.holds else "FALLS SHORT"
        lines.append(f"{figure.what:{width}}  {target:>10}  {value:>9}  {spread:>15}  {verdict}")
    return "\n".join(lines)


def write_results(name: str, figures: Sequence[Figure], facts: Mapping[str, Any]) -> Path:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    rows = [{**asdict(figure), "holds": figure.holds} for figure in figures]
    path.write_text(json.dumps({"machine": facts, "figures": rows}, indent=1) + "\n")
    return path

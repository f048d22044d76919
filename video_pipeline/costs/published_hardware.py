"""What an earlier suite's single runs say of GPU types and software switches, and what they cannot decide.

Belongs here: holding its runs of one and the same call against each other by the spread that is known of that
call. Does not belong here: the runs (`published.py`), the series of 1, 2, 4 and 8 GPUs, measurements of our
own (`experiments`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from video_pipeline.costs.published import FRAMING, published, spread
from video_pipeline.modal_ops.guard import prices
from video_pipeline.strict import StrictModel

FRAMES = 180
"""Of the call that was run on both types: the only length that two types have in common."""

BASELINE = "baseline"
SWITCHES = {"e6_software_t4": "T4", "e6_software_l4": "L4"}


class Held(StrictModel):
    """Runs of one call in one way against runs of it in another. `ratio` is of geometric means, above 1 where
    the first took longer; `p` the chance of one at least as far from 1 were the two alike."""

    name: str
    other: str
    runs: int
    others: int
    ratio: float
    p: float

    @property
    def decided(self) -> bool:
        return self.p < 0.05


def held(name: str, ours: Sequence[float], other: str, theirs: Sequence[float]) -> Held:
    """By Student's t on logarithms, with the spread of the same call at three times (`published.spread`)."""
    from scipy import stats

    part, _, degrees = spread()
    apart = statistics.fmean(map(math.log, ours)) - statistics.fmean(map(math.log, theirs))
    t = apart / (part * math.sqrt(1 / len(ours) + 1 / len(theirs)))
    return Held(
        name=name,
        other=other,
        runs=len(ours),
        others=len(theirs),
        ratio=math.exp(apart),
        p=float(2 * stats.t.sf(abs(t), degrees)),
    )


def gpu_types() -> Held:
    """Framing of 180 frames, enlarged, on an L4 against a T4."""
    return held("L4", _seconds("L4"), "T4", _seconds("T4"))


def switches() -> list[Held]:
    """Each software switch on a type against its baseline there, a run each."""
    found = []
    for table in published().tables:
        if table.id not in SWITCHES:
            continue
        gpu = SWITCHES[table.id]
        walls = {str(row[0]): float(row[1]) for row in table.rows}
        plain = walls.pop(BASELINE)
        found += [held(f"{gpu}, {name}", [wall], f"{gpu}, plain", [plain]) for name, wall in walls.items()]
    return found


def report() -> str:
    """Markdown. All numbers are computed from the data set and today's price list."""
    types = gpu_types()
    pairs = [types, *switches()]
    dearer = prices().gpu_s("L4") / prices().gpu_s("T4")
    decided = [f"{pair.name} against {pair.other}" for pair in pairs if pair.decided]
    lines = [
        "## The published runs on T4 and L4, and with software switches",
        "",
        f"Framing AI of {FRAMES} frames, each through the network (E6). `p` is the chance that two equal "
        "ways come out as far apart, by the same spread of one call as above.",
        "",
        "| way | against | runs | takes | p | said of it |",
        "|---|---|---|---|---|---|",
        *(
            f"| {pair.name} | {pair.other} | {pair.runs} and {pair.others} | x{pair.ratio:.2f} "
            f"| {pair.p:.2f} | {'decided' if pair.decided else 'not decided'} |"
            for pair in pairs
        ),
        "",
        f"**Decided at 5 %**: {', '.join(decided) or 'no pair'}.",
        "",
        f"By the price list of {prices().as_of} a second of an L4 costs {dearer:.2f} times one of a T4 (GPU "
        f"alone), so an L4 is the cheaper one only if it takes less than {1 / dearer:.2f} times as long; "
        f"here it took {types.ratio:.2f} times. Overlays on a CPU ended at a time limit of 600 s of another "
        "code, which is no time to compare with.",
    ]
    return "\n".join(lines) + "\n"


def _seconds(gpu: str) -> list[float]:
    return [
        run.wall_s
        for run in published().runs
        if run.usable and (run.task, run.gpu, run.frames, run.chunks) == (FRAMING, gpu, FRAMES, 1)
    ]

"""How far predictions lay from what calls then took.

Belongs here: comparing the ledger's `predicted_s` with its `wall_s`. Does not belong here: fitting anew
(`refit.py`), the asset check that shows it (`assets/costs.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from video_pipeline.costs.predict import LIMIT
from video_pipeline.costs.stored import Frame
from video_pipeline.wording import counted

LAST = 50
"""Calls that are looked at, the newest: a drift of weeks ago that a new fit has mended is over."""

FEWEST = 5
"""With fewer, one slow call decides a median."""


@dataclass(frozen=True)
class Drift:
    """`calls` that carried a prediction, of the last `LAST`; `error` the median of |predicted - measured| /
    measured over them, None where there are fewer than `FEWEST`; `bias` the median with its sign, above 0
    where calls took longer than predicted. `by_task` has a row per task: task, calls, error, bias."""

    calls: int
    error: float | None
    bias: float | None
    by_task: tuple[tuple[str, int, float, float], ...]

    @property
    def drifted(self) -> bool:
        return self.error is not None and self.error > LIMIT

    def __str__(self) -> str:
        if self.error is None or self.bias is None:
            return (
                f"{counted(self.calls, 'call')} in the ledger carried a prediction; with fewer than {FEWEST} "
                "there is nothing to say"
            )
        which = "longer" if self.bias > 0 else "shorter"
        return (
            f"the last {self.calls} calls with a prediction took {100 * abs(self.bias):.0f} % {which} than "
            f"predicted (median), and were {100 * self.error:.0f} % off; the limit is {100 * LIMIT:.0f} %"
        )


def drift(ledger: Frame) -> Drift:
    """Of the newest calls that ended well at the first attempt and carried a prediction: a later attempt
    finds a part of the work done."""
    rows = ledger[(ledger["status"] == "ok") & (ledger["predicted_s"] > 0) & (ledger["wall_s"] > 0)]
    rows = rows[rows["attempt"] == 1]
    rows = rows.sort_values("started_at").tail(LAST)
    if len(rows) < FEWEST:
        return Drift(len(rows), None, None, ())
    off = (rows["wall_s"] - rows["predicted_s"]) / rows["wall_s"]
    # Against the prediction, so that "took 50 % longer than predicted" is true as said.
    longer = rows["wall_s"] / rows["predicted_s"] - 1
    return Drift(
        len(rows),
        float(off.abs().median()),
        float(longer.median()),
        tuple(
            (
                str(task),
                len(group),
                float(off[group.index].abs().median()),
                float(longer[group.index].median()),
            )
            for task, group in rows.groupby("task")
        ),
    )

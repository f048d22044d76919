"""A month's cost as people read it: a table, Markdown, CSV.

Belongs here: the shape of a projection and its words. Does not belong here: how it is reckoned
(`projection.py`). The rows are a pandas table, which is not imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from video_pipeline.costs.stored import Frame


@dataclass(frozen=True)
class Projection:
    """A month. `rows` has a row for each workload: `task`, `work` (the task with what tells its models
    apart), `gpu`, `backend`, `per_month`, `seconds_mean` (of
    video; nan where the ledger does not tell), `frames_mean`, `chunks` (the fewest and most, as text),
    `machine_hours`, `usd`, `usd_low`, `usd_high` (95 %; nan where the model has no interval), `usd_per_call`,
    `interval_from` (model, mix), `basis` and `notes`. `total` are the same figures of all of it; `draws` (n,)
    the sums that the interval is read from. `left_out` says which work of the ledger is not in it,
    and why."""

    rows: Frame
    usd: float
    usd_low: float | None
    usd_high: float | None
    draws: np.ndarray
    source: str
    prices_as_of: str
    region_factor: float
    left_out: tuple[str, ...] = ()

    def csv(self) -> str:
        return self.rows.to_csv(index=False, float_format="%.6g")

    def markdown(self) -> str:
        names = (
            "work",
            "machine",
            "calls a month",
            "mean length s",
            "chunks",
            "machine hours",
            "USD a month",
        )
        names = (*names, "95 %", "USD a call", "interval from")
        lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
        for row in self.rows.to_dict("records"):
            cells = (
                row["work"],
                f"{row['gpu']} ({row['backend']})",
                f"{row['per_month']:.0f}",
                "-" if np.isnan(row["seconds_mean"]) else f"{row['seconds_mean']:.1f}",
                row["chunks"],
                "-" if np.isnan(row["machine_hours"]) else f"{row['machine_hours']:.2f}",
                _usd(row["usd"]),
                _interval(row["usd_low"], row["usd_high"]),
                f"{row['usd_per_call']:.5f}",
                row["interval_from"],
            )
            lines.append(f"| {' | '.join(cells)} |")
        low, high = self.usd_low, self.usd_high
        shown = _interval(np.nan if low is None else low, np.nan if high is None else high)
        lines += [
            f"| **all** | | | | | | **{_usd(self.usd)}** | **{shown}** | | |",
            "",
            f"Mix: {self.source}. Prices of {self.prices_as_of}, region factor {self.region_factor:g}.",
            "",
        ]
        notes = {
            f"- {row['work']}: {row['basis']} {row['notes']}".rstrip() for row in self.rows.to_dict("records")
        }
        missing = (f"- **Left out**: {line}." for line in self.left_out)
        return "\n".join([*lines, *sorted(notes), *missing]) + "\n"


def _usd(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 else f"{value:.4f}"


def _interval(low: float, high: float) -> str:
    return "-" if np.isnan(low) or np.isnan(high) else f"{_usd(low)} to {_usd(high)}"

"""The dashboard: what calls cost, how predictions came out, what failed, waited and was slow, as one page.

Belongs here: the page made of the ledger, the models and the plan (`dashboard.html`, self-contained; nothing
is loaded from anywhere), and its headline figures for an asset's metadata. Does not belong here: reading the
ledger (`ledger`), sums (`dashboard_data`), who stores and links the page (`assets`). pandas is imported
inside functions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from video_pipeline.costs.dashboard_attempts import text
from video_pipeline.costs.dashboard_data import cold_start, columns_of, pack
from video_pipeline.costs.plan import Plan, ThresholdTable
from video_pipeline.costs.predict import Coefficients

if TYPE_CHECKING:
    import pandas as pd

_PLACE = "/*DATA*/null"

Link = Callable[[str, str], str | None]
"""From a call's tenant and key to an address that shows it, or None."""


def dashboard_page(
    ledger: pd.DataFrame,
    coefficients: Sequence[Coefficients] = (),
    plan: Plan | None = None,
    *,
    link_of: Link | None = None,
    title: str = "Costs",
    now: datetime | None = None,
) -> str:
    """The page as text, of the ledger as `ledger.load` returns it. Names and errors are data in it, never
    markup. Sums are of all rows; single attempts are at most those of `dashboard_attempts`, and the page says
    how many it leaves out. Only http, https and file addresses of `link_of` become links.
    """
    page = (files("video_pipeline.costs") / "dashboard.html").read_text(encoding="utf-8")
    data = {
        "title": text(title),
        "made_at": (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **pack(ledger, link_of or (lambda tenant, key: None)),
        "coefficients": [_coefficients(c) for c in coefficients],
        "plan": [] if plan is None else [_table(name, found) for name, found in _tables(plan).items()],
    }
    # As in telemetry/waterfall.py: JSON inside a script element must not be able to end it.
    packed = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return page.replace(_PLACE, packed, 1)


def dashboard_figures(ledger: pd.DataFrame) -> dict[str, int | float | str]:
    """Headline figures for an asset's metadata; what is not known is left out.

    `attempts`, `failed_attempts`, `spent_usd` (Modal), `local_usd_on_modal` (what local calls would have
    cost there), `gpu_hours`, `cold_start_share` (of the time from submission to result), `prediction_error`
    (median of |predicted - wall| / wall over attempts that succeeded) and `prices_as_of`.
    """
    rows = columns_of(ledger)
    local = rows["backend"] == "local"
    figures: dict[str, int | float | str] = {
        "attempts": len(rows),
        "failed_attempts": int((rows["status"] == "error").sum()),
        "spent_usd": round(float(rows["usd"].sum()), 6),
        "local_usd_on_modal": round(float(rows.loc[local, "usd_on_modal"].sum()), 6),
        "gpu_hours": round(float(rows["gpu_seconds"].sum()) / 3600, 4),
    }
    parts = cold_start(rows)
    if (whole := float(parts["whole_s"].sum())) > 0:
        share = float(parts[["waiting_s", "start_s", "load_s"]].sum().sum()) / whole
        figures["cold_start_share"] = round(share, 4)
    known = rows[(rows["status"] == "ok") & (rows["predicted_s"] > 0) & (rows["wall_s"] > 0)]
    error = float(((known["predicted_s"] - known["wall_s"]).abs() / known["wall_s"]).median())
    if math.isfinite(error):
        figures["prediction_error"] = round(error, 4)
    if dates := sorted(rows["prices_as_of"].dropna().unique()):
        figures["prices_as_of"] = ", ".join(dates)
    return figures


def _coefficients(c: Coefficients) -> dict[str, Any]:
    """What a reader needs to know how far to trust a model; seconds."""
    return {
        "task": text(c.name),
        **{name: text(getattr(c, name)) for name in ("gpu", "backend", "source", "as_of", "work")},
        **{
            name: getattr(c, name)
            for name in (
                *("startup_s", "chunk_fixed_s", "s_per_frame", "imbalance", "join_s", "join_s_per_chunk"),
                *("n_runs", "held_out_error", "frames_range", "chunks_range"),
            )
        },
        "estimates": {name: [found.low, found.high] for name, found in c.estimates.items()},
    }


def _tables(plan: Plan) -> dict[str, ThresholdTable]:
    named = {
        "framing, enlarged": plan.framing_ai,
        "framing, plain": plan.framing_plain,
        "overlay": plan.overlay,
    }
    return {name: found for name, found in named.items() if found is not None}


def _table(name: str, table: ThresholdTable) -> dict[str, Any]:
    return {
        "name": name,
        "task": text(table.task),
        "rule": table.rule,
        "notes": list(table.notes),
        "rows": [[row.below_s, row.chunks, text(row.description)] for row in table.rows],
    }

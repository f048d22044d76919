"""What the cost assets show as tables: attempts, coefficients, thresholds, choices.

Belongs here: from a ledger's rows and models to Markdown tables of metadata. Does not belong here: the assets
(`costs.py`), any figure (`video_pipeline.costs`). pandas is imported inside functions, because Dagster loads
this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from video_pipeline.assets.metadata import table

if TYPE_CHECKING:
    from video_pipeline.costs.drift import Drift
    from video_pipeline.costs.plan import Plan
    from video_pipeline.costs.predict import Coefficients
    from video_pipeline.costs.stored import FittedModels

PREVIEW = 15
"""Attempts that are shown; the Parquet objects have them all."""


def by_task(rows: Any) -> dg.MetadataValue:
    groups = rows.groupby("task")
    return table(
        ("task", "attempts", "failed", "machine hours", "USD paid", "USD at Modal's prices"),
        [
            (
                task,
                len(group),
                int((group["status"] != "ok").sum()),
                f"{group['machine_s'].sum() / 3600:.3f}",
                f"{group['usd'].sum():.4f}",
                f"{group['usd_on_modal'].sum():.4f}",
            )
            for task, group in sorted(groups, key=lambda item: -item[1]["usd_on_modal"].sum())
        ],
    )


def latest_attempts(rows: Any) -> dg.MetadataValue:
    import pandas as pd

    return table(
        (
            *("claimed (UTC)", "task", "ended", "seconds", "foretold s", "frames", "machine"),
            *("USD at Modal's prices", "call"),
        ),
        [
            (
                f"{row['started_at']:%Y-%m-%d %H:%M:%S}",
                row["task"],
                "ok" if row["status"] == "ok" else row["error_kind"],
                f"{row['wall_s']:.1f}",
                _shown(row["predicted_s"], ".1f"),
                _shown(row["frames"], "d"),
                f"{'CPU' if pd.isna(row['gpu_type']) else row['gpu_type']} ({row['backend']})",
                _shown(row["usd_on_modal"], ".4f"),
                row["key"][:12],
            )
            for row in reversed(rows.tail(PREVIEW).to_dict("records"))
        ],
    )


def coefficients_table(known: tuple[Coefficients, ...], models: FittedModels) -> dg.MetadataValue:
    fitted = {model.coefficients.identity: model for model in models.models if model.used}
    rows = []
    for c in known:
        model = fitted.get(c.identity)
        head = (c.name, f"{c.gpu or 'CPU'} ({c.backend})", f"{c.n_runs} ({c.source}, {c.as_of})")
        held, notes = (model.held_out_run, "; ".join(model.notes)) if model else (None, "")
        last = (_percent(c.held_out_error), _percent(held), notes)
        for number, (name, found) in enumerate(c.estimates.items()):
            between = "-" if found.low is None else f"{found.low:.4g} to {found.high:.4g}"
            # Of a model's rows only the first says what all share, so that it reads as one.
            rows.append((*(head if number == 0 else ("", "", "")), name, f"{found.value:.4g}", between))
            rows[-1] = (*rows[-1], *(last if number == 0 else ("", "", "")))
    columns = (
        "work",
        "machine",
        "runs",
        "coefficient",
        "value",
        "95 %",
        "error, configuration",
        "error, run",
        "notes",
    )
    return table(columns, rows)


def thresholds_table(plan: Plan) -> dg.MetadataValue:
    """From which length on a framed clip gets how many chunks: with the network, and where a model tells
    without it."""
    tables = {"enlarged": plan.framing_ai, "plain": plan.framing_plain}
    return table(
        ("framing", "clips of less than s", "chunks", "name"),
        [
            (work, "any length" if row.below_s is None else f"{row.below_s:g}", row.chunks, row.description)
            for work, found in tables.items()
            for row in (found.rows if found is not None else ())
        ],
    )


def drift_table(found: Drift) -> dg.MetadataValue:
    return table(
        ("task", "calls", "off", "took longer"),
        [(task, n, _percent(error), f"{100 * bias:+.0f} %") for task, n, error, bias in found.by_task],
    )


def choices_table(chosen: Any) -> dg.MetadataValue:
    """A row for each length of what was measured in chunks, a column for each goal."""
    several: Any = chosen[chosen.groupby(["work", "gpu", "backend"])["goal"].transform("nunique") > 1]
    goals = list(dict.fromkeys(several["goal"]))
    rows = []
    by_length: Any = several.groupby(["work", "gpu", "backend", "seconds"])
    for (work, gpu, backend, seconds), group in by_length:
        by_goal = {row["goal"]: row for row in group.to_dict("records")}
        cells = [
            f"{row['chunks']}: {row['predicted_s']:.0f} s, {_shown(row['predicted_usd'], '.3f')} USD"
            + ("" if row["met"] else " (not kept)")
            for row in (by_goal[goal] for goal in goals)
        ]
        measured = "no" if group["extrapolated"].any() else "yes"
        rows.append((work, f"{gpu} ({backend})", seconds, *cells, measured))
    return table(("work", "machine", "s of video", *goals, "measured"), rows)


def _shown(value: Any, form: str) -> str:
    import pandas as pd

    return "-" if pd.isna(value) else format(value, form)


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.0f} %"

"""Pictures of costs, for people who look at the assets: PNG bytes.

Belongs here: drawing. Does not belong here: any figure that is drawn. matplotlib is imported inside functions
and used without pyplot, so there is no state between two pictures and no display is looked for.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

from video_pipeline.costs.plan import COUNTS
from video_pipeline.costs.predict import LIMIT, Coefficients, predict
from video_pipeline.costs.projection_table import Projection
from video_pipeline.costs.stored import FittedModels, Frame

COLOURS = ("#1f4e8c", "#e0a030", "#3d9a50", "#c03a2b", "#7a5ca8", "#3aa6a6", "#8c6d4f", "#8c9bb0")
"""Told apart by people who see no red or green, in print too; the last one is for all that is left."""

MOST_DAYS_NAMED = 12
"""Of the axis of days: more names would run into each other."""


def cost_by_day(rows: Frame) -> bytes:
    """The ledger's attempts: US dollars by day and task, local seconds at Modal's prices; dots are what was
    really paid. At most the last 60 days, and the seven dearest tasks by name."""
    import pandas as pd

    day = pd.DatetimeIndex(rows["started_at"]).floor("D").tz_localize(None)
    table = rows.assign(day=day).pivot_table(
        index="day", columns="task", values="usd_on_modal", aggfunc="sum", fill_value=0.0
    )
    paid = rows.assign(day=day).groupby("day")["usd"].sum()
    if len(table):
        span = pd.date_range(table.index.min(), table.index.max(), freq="D")[-60:]
        table, paid = table.reindex(span, fill_value=0.0), paid.reindex(span, fill_value=0.0)
    order = list(table.sum().sort_values(ascending=False).index)
    figure, axes = _axes(9, 3.4)
    floor = [0.0] * len(table)
    shown = [*((task, table[task]) for task in order[: len(COLOURS) - 1])]
    if len(order) >= len(COLOURS):
        shown.append(("all others", table[order[len(COLOURS) - 1 :]].sum(axis=1)))
    places = range(len(table))
    for colour, (task, values) in zip(COLOURS, shown, strict=False):
        axes.bar(places, values, bottom=floor, color=colour, label=task, width=0.75)
        floor = [low + value for low, value in zip(floor, values, strict=True)]
    axes.plot(places, paid, "o", color="black", markersize=4, label="really paid")
    every = math.ceil(len(table) / MOST_DAYS_NAMED) or 1
    axes.set_xticks(list(places)[::every], [f"{one:%d %b}" for one in list(table.index)[::every]])
    axes.set_xlim(-0.6, max(len(table), 5) - 0.4)
    axes.set_ylabel("US dollars a day, seconds at Modal's prices")
    axes.set_ylim(0, 1.06 * max([*floor, *paid], default=0.0) or 1.0)
    _legend(axes)
    return _png(figure)


def measured_against_predicted(models: FittedModels) -> bytes:
    """Every run that a model in use was fitted to: seconds measured against seconds of the model, the
    diagonal, and the band of 15 % around it."""
    figure, axes = _axes(7, 5)
    used = [model for model in models.models if model.used and model.points]
    seconds = [
        value for model in used for point in model.points for value in (point.wall_s, point.predicted_s)
    ]
    low, high = (0.8 * min(seconds), 1.25 * max(seconds)) if seconds else (1.0, 10.0)
    ends = [max(low, 1e-3), high]
    axes.fill_between(
        ends,
        [end * (1 - LIMIT) for end in ends],
        [end * (1 + LIMIT) for end in ends],
        color="#dfe5ee",
        label=f"{100 * LIMIT:.0f} % off",
    )
    axes.plot(ends, ends, color="#555555", linewidth=0.8)
    for number, model in enumerate(used):
        c = model.coefficients
        several = c.chunks_range[1] > 1
        for chunks, marker in ((False, "o"), (True, "^")):
            points = [point for point in model.points if (point.chunks > 1) == chunks]
            if points:
                words = f"{c.name}, {c.gpu or 'CPU'} ({c.backend})"
                axes.plot(
                    [point.predicted_s for point in points],
                    [point.wall_s for point in points],
                    marker,
                    color=COLOURS[number % len(COLOURS)],
                    markersize=5,
                    alpha=0.75,
                    label=words + ((", in chunks" if chunks else ", one call") if several else ""),
                )
    if ends[1] > 8 * ends[0]:
        axes.set_xscale("log")
        axes.set_yscale("log")
        _plain_numbers(axes)
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel("seconds of the model")
    axes.set_ylabel("seconds measured")
    _legend(axes)
    return _png(figure)


def plan_by_length(c: Coefficients, *, rate: float, lengths_s: Sequence[float]) -> bytes:
    """Seconds and dollars by length of the clip in 1, 2, 4 and 8 chunks, as far as these were measured."""
    figure, panels = _panels(9, 3.6)
    counts = [count for count in COUNTS if count <= c.chunks_range[1]]
    first, last = (frames / rate for frames in c.frames_range)
    for colour, count in zip(COLOURS, counts, strict=False):
        found = [predict(c, max(1, round(seconds * rate)), count) for seconds in lengths_s]
        real = [(at, one) for at, one in zip(lengths_s, found, strict=True) if one.chunks == count]
        xs = [at for at, _ in real]
        words = "1 call" if count == 1 else f"{count} chunks"
        panels[0].plot(xs, [one.seconds for _, one in real], color=colour, label=words)
        bands = [(at, one.low, one.high) for at, one in real if one.low is not None and one.high is not None]
        if bands and count in (counts[0], counts[-1]):
            panels[0].fill_between(
                [at for at, *_ in bands],
                [low for _, low, _ in bands],
                [high for *_, high in bands],
                color=colour,
                alpha=0.12,
            )
        if c.rates is not None:
            panels[1].plot(xs, [one.usd or 0.0 for _, one in real], color=colour, label=words)
    for panel, label in zip(panels, ("seconds, band: 95 % of one run", "US dollars on Modal"), strict=True):
        panel.axvspan(first, last, color="#efefef", zorder=0, label="measured lengths")
        panel.set_ylim(bottom=0)
        panel.set_xlim(0, max(lengths_s))
        panel.set_xlabel("seconds of the clip")
        panel.set_ylabel(label)
    panels[0].legend(frameon=False, fontsize=8, loc="upper left")
    return _png(figure)


def projection_by_task(found: Projection) -> bytes:
    """A month's cost of each workload with its interval, and how the sum is spread over draws."""
    import numpy as np

    figure, panels = _panels(9, 0.9 + max(2.4, 0.5 * len(found.rows)))
    rows = found.rows.sort_values("usd").to_dict("records")
    for place, row in enumerate(rows):
        panels[0].barh(place, row["usd"], color=COLOURS[0], height=0.6)
        if not np.isnan(row["usd_low"]):
            panels[0].plot([row["usd_low"], row["usd_high"]], [place, place], color="black", linewidth=1.5)
    panels[0].set_yticks(
        range(len(rows)), [f"{row['work']}\n{row['gpu']} ({row['backend']})" for row in rows]
    )
    panels[0].set_xlim(left=0)
    panels[0].set_xlabel("US dollars a month, line: 95 %")
    if found.usd_low is not None:
        draws = found.draws[found.draws <= np.percentile(found.draws, 99.5)]
        if np.ptp(draws) > 1e-6 * found.usd:
            panels[1].hist(draws, bins=50, color=COLOURS[-1])
        panels[1].axvspan(found.usd_low, found.usd_high or 0.0, color=COLOURS[1], alpha=0.15, label="95 %")
        panels[1].axvline(found.usd, color="black", linewidth=1, label="expected")
        panels[1].legend(frameon=False, fontsize=8)
    else:
        panels[1].text(0.5, 0.5, "a model has no interval:\nthe sum has none", ha="center")
    panels[1].set_yticks([])
    panels[1].set_xlabel("US dollars a month, all of it")
    return _png(figure)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _panels(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    panels = figure.subplots(1, 2)
    for panel in panels:
        _plain(panel)
    return figure, panels


def _plain(axes: Any) -> None:
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _plain_numbers(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())


def _legend(axes: Any) -> None:
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

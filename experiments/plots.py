"""Pictures of results: every run as a dot, the mean with its interval beside it.

Belongs here: drawing. Does not belong here: which series there are, words. matplotlib (Agg) writes SVG
without dates and with fixed names inside, so that equal results give equal files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.schema import Series
from experiments.tables import summary_of, values_of

RUN, MEAN = "#8c9bb0", "#1f4e8c"


def draw(
    series: Series, folder: Path, measure: str = "wall_s", label: str = "seconds in the worker"
) -> Path | None:
    """All configurations of a series above each other; None where no run has the figure."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [
        (configuration.name, list(values_of(series.ok_runs(configuration.name), measure).values()))
        for configuration in series.configurations
    ]
    rows = [(name, values) for name, values in rows if values]
    if not rows:
        return None
    with matplotlib.rc_context({"svg.hashsalt": series.experiment, "font.size": 9}):
        figure, axes = pyplot.subplots(figsize=(8, 0.6 + 0.32 * len(rows)), layout="constrained")
        for place, (name, values) in enumerate(reversed(rows)):
            axes.plot(values, [place] * len(values), "o", color=RUN, markersize=4, alpha=0.8)
            found = summary_of(series, name, measure)
            assert found is not None
            if found.low is not None and found.high is not None:
                axes.plot([max(found.low, 0), found.high], [place, place], "-", color=MEAN, linewidth=1.5)
            axes.plot([found.mean], [place], "|", color=MEAN, markersize=12, markeredgewidth=2)
        axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
        everything = [value for _, values in rows for value in values]
        if min(everything) > 0 and max(everything) > 30 * min(everything):
            axes.set_xscale("log")
        else:
            axes.set_xlim(left=0)
        axes.set_xlabel(f"{label}; bar: 95 % of the mean")
        axes.grid(axis="x", color="#dddddd")
        axes.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        return _saved(figure, folder / f"{series.experiment}-{series.environment.backend}-{measure}.svg")


def _saved(figure, path: Path) -> Path:
    from matplotlib import pyplot

    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def of_series(series: Series, folder: Path) -> Sequence[Path]:
    """The pictures of one series: time, and a picture's time where the network's switches are compared."""
    drawn = [draw(series, folder)]
    if series.experiment == "e6_gpu_comparison":
        drawn.append(draw(series, folder, "steady_ms", "milliseconds a picture, after the first batch"))
    return [path for path in drawn if path is not None]

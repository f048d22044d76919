"""Pictures of costs as people see them: every label to be read, every mark inside."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.costs.ledger_made import FIRST, entry, fill
from tests.costs.runs_made import RATES, known
from tests.costs.test_projection import coefficients
from video_pipeline.costs import plots
from video_pipeline.costs.ledger import load
from video_pipeline.costs.mix import Mix, Workload
from video_pipeline.costs.plan import COUNTS
from video_pipeline.costs.predict import LIMIT, predict
from video_pipeline.costs.projection import project
from video_pipeline.costs.stored import FittedModel, FittedModels, Point
from video_pipeline.store.directory import DirectoryStore


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was drawn, in place of its bytes."""
    drawn: list[Any] = []
    monkeypatch.setattr(plots, "_png", lambda figure: drawn.append(figure) or b"")
    return drawn


def ledger(folder: Path, days: int, tasks: int = 1) -> Any:
    store = DirectoryStore(folder / "store")
    usage = {"gpu_type": "T4", "gpu_count": 1, "cpu_cores": 2.0, "memory_gib": 4.0}
    fill(
        store,
        [
            entry(
                100 * day + task, at=FIRST + timedelta(days=day), task=f"task_{task}",
                wall_s=10.0 + day + task, **usage,
            )
            for day in range(days)
            for task in range(tasks)
        ],
    )  # fmt: skip
    return load(store)


def boxes(labels: Any, figure: Any) -> list[Any]:
    figure.draw_without_rendering()
    return [label.get_window_extent() for label in labels if label.get_text()]


@pytest.mark.slow
@pytest.mark.parametrize("days", [1, 2, 12, 13, 21, 35, 60, 90])
def test_names_of_days_never_run_into_each_other(tmp_path: Path, figures: list[Any], days: int) -> None:
    plots.cost_by_day(ledger(tmp_path, days))
    (figure,) = figures
    (axes,) = figure.axes
    named = boxes(axes.get_xticklabels(), figure)
    assert min(days, 7) <= len(named) <= 12
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(named))
    assert axes.get_xticklabels()[0].get_text() == ("02 Nov" if days <= 60 else "02 Dec")


def test_the_dearest_day_stands_whole_in_the_picture_with_what_was_paid(
    tmp_path: Path, figures: list[Any]
) -> None:
    rows = ledger(tmp_path, 5, tasks=2)
    plots.cost_by_day(rows)
    (axes,) = figures[0].axes
    dearest = float(rows.groupby(rows["started_at"].dt.date)["usd_on_modal"].sum().max())
    low, high = axes.get_ylim()
    assert low == 0
    assert 1.02 * dearest < high < 1.2 * dearest
    tops = [bar.get_y() + bar.get_height() for bar in axes.patches]
    assert max(tops) == pytest.approx(dearest)
    assert max(axes.lines[0].get_ydata()) == pytest.approx(dearest)


def test_a_ledger_that_cost_nothing_is_drawn_too(tmp_path: Path, figures: list[Any]) -> None:
    rows = ledger(tmp_path, 2).assign(usd=0.0, usd_on_modal=0.0)
    plots.cost_by_day(rows)
    low, high = figures[0].axes[0].get_ylim()
    assert low == 0 < high


def test_beyond_seven_tasks_the_cheapest_are_drawn_together_and_nothing_is_lost(
    tmp_path: Path, figures: list[Any]
) -> None:
    rows = ledger(tmp_path, 2, tasks=10)
    plots.cost_by_day(rows)
    (axes,) = figures[0].axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["really paid", *(f"task_{number}" for number in range(9, 2, -1)), "all others"]
    assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(float(rows["usd_on_modal"].sum()))


def test_lengths_that_have_no_segments_for_so_many_chunks_are_not_drawn_for_them(figures: list[Any]) -> None:
    c = known(rates=RATES, segment_frames=60)
    plots.plan_by_length(c, rate=30, lengths_s=range(1, 61))
    seconds, dollars = figures[0].axes
    of = {line.get_label(): list(line.get_xdata()) for line in seconds.lines}
    assert list(of) == ["1 call", *(f"{count} chunks" for count in COUNTS[1:])]
    assert of["1 call"][0] == 1
    for count in COUNTS[1:]:
        assert of[f"{count} chunks"][0] == 2 * (count - 1) + 1
    assert [line.get_label() for line in dollars.lines] == list(of)


def test_a_day_without_calls_keeps_its_place_and_a_local_day_was_paid_nothing(
    tmp_path: Path, figures: list[Any]
) -> None:
    store = DirectoryStore(tmp_path / "store")
    usage = {"cpu_cores": 2.0, "memory_gib": 4.0, "task": "render_overlay"}
    local = entry(2, at=FIRST + timedelta(days=3), backend="local", **usage)
    fill(store, [entry(1, **usage), local])
    rows = load(store)
    plots.cost_by_day(rows)
    (axes,) = figures[0].axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == [pytest.approx(rows["usd_on_modal"][0]), 0, 0, pytest.approx(rows["usd_on_modal"][1])]
    assert list(axes.lines[0].get_ydata()) == [pytest.approx(rows["usd"][0]), 0, 0, 0]
    assert heights[0] > 0 < heights[3]


def test_lines_are_what_is_predicted_and_the_band_is_of_a_single_run(figures: list[Any]) -> None:
    sure = {"covariance": ((1e-6, 0.0), (0.0, 0.01)), "run_sd": 0.1, "relative_sd": 0.1, "t95": 2.0}
    c = known(rates=RATES, chunks_range=(1, 2), frames_range=(300, 900), **sure)
    plots.plan_by_length(c, rate=30, lengths_s=(10, 20, 40))
    seconds, dollars = figures[0].axes
    for count, line, cost in zip((1, 2), seconds.lines, dollars.lines, strict=True):
        found = [predict(c, 30 * length, count) for length in (10, 20, 40)]
        assert list(line.get_ydata()) == [one.seconds for one in found]
        assert list(cost.get_ydata()) == [one.usd for one in found]
    one, two, measured = (each.get_extents() for each in _areas(seconds))
    assert (one.y0, one.y1) == (predict(c, 300, 1).low, predict(c, 1200, 1).high)
    assert (two.y0, two.y1) == (predict(c, 300, 2).low, predict(c, 1200, 2).high)
    assert (measured.x0, measured.x1) == (10, 30)


def _areas(axes: Any) -> list[Any]:
    """What is filled: bands first, then spans, in the data's units."""
    return [path for band in axes.collections for path in band.get_paths()] + [
        span.get_patch_transform().transform_path(span.get_path()) for span in axes.patches
    ]


def model(number: int, points: list[Point], **fields: Any) -> FittedModel:
    facts = {"task": f"task_{number}", "chunks_range": (1, 4) if number else (1, 1)}
    return FittedModel(coefficients=known(**facts), **{"used": True, "points": tuple(points), **fields})


def test_runs_stand_at_what_the_model_in_use_gives_and_what_they_took(figures: list[Any]) -> None:
    def point(chunks: int, wall_s: float, predicted_s: float) -> Point:
        return Point(frames=100, chunks=chunks, wall_s=wall_s, predicted_s=predicted_s)

    alone, several = point(1, 12.0, 10.0), point(4, 5.0, 6.0)
    models = (
        model(0, [alone]),
        model(1, [alone, several]),
        model(2, [point(1, 1e6, 1e6)], used=False),
    )
    plots.measured_against_predicted(FittedModels(models=models))
    (axes,) = figures[0].axes
    diagonal, *dots = axes.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata())
    assert [(line.get_label(), line.get_marker(), *line.get_xdata(), *line.get_ydata()) for line in dots] == [
        ("task_0, T4 (modal)", "o", 10, 12),
        ("task_1, T4 (modal), one call", "o", 10, 12),
        ("task_1, T4 (modal), in chunks", "^", 6, 5),
    ]
    low, high = axes.get_xlim()
    assert axes.get_ylim() == (low, high)
    assert low < 5 < 12 < high < 100, "one that is not in use is not drawn"
    (band,) = (path.get_extents() for path in axes.collections[0].get_paths())
    assert (band.y0, band.y1) == (pytest.approx(low * (1 - LIMIT)), pytest.approx(high * (1 + LIMIT)))
    assert axes.get_xscale() == "linear"


def test_runs_of_seconds_and_of_hours_are_both_to_be_told(figures: list[Any]) -> None:
    points = [Point(frames=100, chunks=1, wall_s=wall, predicted_s=wall) for wall in (2.0, 2000.0)]
    plots.measured_against_predicted(FittedModels(models=(model(0, points),)))
    (axes,) = figures[0].axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    named = [label.get_text() for label in axes.get_xticklabels()]
    assert {"2", "20", "200", "2000"} <= set(named)


def test_a_month_is_drawn_by_workload_with_its_interval_and_as_a_sum(figures: list[Any]) -> None:
    said = [
        Workload.model_validate(
            {"task": "render_overlay", "per_month": calls, "duration_s": 20.0, "backend": backend}
        )
        for calls, backend in ((900, "modal"), (100, "local"))
    ]
    found = project(Mix(workloads=tuple(said)), [coefficients(), coefficients(backend="local")], draws=500)
    plots.projection_by_task(found)
    rows, total = figures[0].axes
    cheap, dear = found.rows.iloc[1], found.rows.iloc[0]
    assert [bar.get_width() for bar in rows.patches] == [cheap["usd"], dear["usd"]]
    names = [label.get_text() for label in rows.get_yticklabels()]
    assert names == ["render_overlay\nCPU (local)", "render_overlay\nCPU (modal)"]
    assert [list(line.get_xdata()) for line in rows.lines] == [
        [row["usd_low"], row["usd_high"]] for row in (cheap, dear)
    ]
    (expected,) = total.lines
    assert list(expected.get_xdata()) == [found.usd] * 2
    *bins, sure = total.patches
    assert sum(each.get_height() for each in bins) == (found.draws <= _percentile(found.draws, 99.5)).sum()
    assert (sure.get_x(), sure.get_x() + sure.get_width()) == (found.usd_low, pytest.approx(found.usd_high))


def _percentile(values: Any, part: float) -> float:
    import numpy as np

    return float(np.percentile(values, part))


def test_a_month_without_an_interval_says_so_in_place_of_one(figures: list[Any]) -> None:
    said = Workload(task="render_overlay", per_month=100, duration_s=20.0)
    found = project(Mix(workloads=(said,)), [coefficients(covariance=None)], draws=500)
    plots.projection_by_task(found)
    rows, total = figures[0].axes
    assert (len(rows.patches), len(rows.lines)) == (1, 0)
    assert (len(total.patches), len(total.lines)) == (0, 0)
    assert "no interval" in total.texts[0].get_text()

"""Pictures of costs as people see them: every label to be read, every mark inside."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.costs.ledger_made import FIRST, entry, fill
from tests.costs.runs_made import RATES, known
from video_pipeline.costs import plots
from video_pipeline.costs.ledger import load
from video_pipeline.costs.plan import COUNTS
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

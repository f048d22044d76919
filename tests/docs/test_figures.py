"""The figures that the documents tell are those of the committed results."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = " ".join((ROOT / "README.md").read_text().split())
NUMBER = r"(\d+(?:\.\d+)?)"


def figures(folder: str, name: str) -> list[dict[str, Any]]:
    found = [
        figure
        for path in sorted((ROOT / folder / "results").glob(name))
        for figure in json.loads(path.read_text())["figures"]
    ]
    assert found
    return found


def told(pattern: str) -> list[float]:
    found = re.search(pattern.replace("NUMBER", NUMBER), README)
    assert found is not None, pattern
    return [float(number) for number in found.groups()]


def test_the_readme_tells_of_captions_what_the_worst_and_the_best_draw_gave() -> None:
    draws = figures("evaluation", "captions*.json")
    assert "on the evaluation set, and on three more draws of it" in README
    assert len(list((ROOT / "evaluation" / "results").glob("captions*.json"))) == 4
    assert all(figure["holds"] for figure in draws), "Captions meet all their targets"
    percent: dict[str, list[float]] = {}
    for figure in draws:
        percent.setdefault(figure["what"], []).append(100 * figure["value"])
    assert told("at most NUMBER % are not found") == [round(max(percent["captions not found"]), 1)]
    (very,) = told("at least NUMBER % of boundaries are at the very sample")
    assert very <= min(percent["boundary F1 at the very sample"]) < very + 0.5
    letters = percent["character error rate"]
    assert told("NUMBER to NUMBER % of letters") == [round(min(letters), 1), round(max(letters), 1)]


def test_the_readme_tells_how_long_an_hour_takes() -> None:
    (hour,) = [figure for figure in figures("benchmarks", "caption_hour.json") if figure["unit"] == "min"]
    assert "An hour of 720p takes nine to ten minutes" in README
    assert 9 <= hour["value"] <= 10


def test_a_committed_figure_that_falls_short_is_a_known_limit() -> None:
    limits = (ROOT / "CHANGELOG.md").read_text().partition("### Known limits")[2]
    short = {figure["what"] for figure in figures("benchmarks", "*.json") if not figure["holds"]}
    assert {what for what in short if f"`{what}`" not in limits} == set()

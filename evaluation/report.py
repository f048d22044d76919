"""The figures with their targets, and the tables people read.

Belongs here: targets, verdicts, tables, the result file. Does not belong here: what a figure means (`score`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluation.score import (
    Records,
    balanced_accuracy,
    character_error_rate,
    least_certain_share,
    lines_exact,
    not_found,
    ocr_calls_per_caption,
    phantom,
    precision_recall_f1,
)
from video_pipeline.captions.labels import LABELS


@dataclass(frozen=True)
class Figure:
    """One line of the table. `value` is None where it was not measured, which falls short."""

    what: str
    target: float
    value: float | None
    better: Literal["lower", "higher"]

    @property
    def holds(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.target if self.better == "lower" else self.value >= self.target


def figures_of(records: Records) -> list[Figure]:
    """Every figure that has a target, on all programmes together."""
    near, exact = precision_recall_f1(records, exact=False), precision_recall_f1(records, exact=True)
    return [
        Figure("boundary F1 within one sample", 0.99, near and near[2], "higher"),
        Figure("boundary F1 at the very sample", 0.97, exact and exact[2], "higher"),
        Figure("captions not found", 0.004, not_found(records), "lower"),
        Figure("phantom captions", 0.02, phantom(records), "lower"),
        Figure("pair labels published, balanced", 0.985, balanced_accuracy(records.confusion), "higher"),
        Figure("character error rate", 0.013, character_error_rate(records), "lower"),
        Figure("lines read exactly", 0.92, lines_exact(records), "higher"),
        Figure("OCR calls per caption", 1.5, ocr_calls_per_caption(records), "lower"),
        Figure("errors among the least certain 5 %", 0.5, least_certain_share(records), "higher"),
    ]


def network_line(records: Records) -> str:
    """What the network alone makes of pairs, which no target is on: two pictures cannot tell a logo that
    stands in both from a caption, and the passes over the whole video can."""
    accuracy = balanced_accuracy(records.network_confusion)
    return f"pair labels of the network alone, balanced: {'-' if accuracy is None else f'{accuracy:.4f}'}"


def table(figures: Sequence[Figure]) -> str:
    """What, target, figure, verdict."""
    width = max(len(figure.what) for figure in figures)
    lines = [f"{'what':{width}}  {'target':>9}  {'figure':>12}  verdict"]
    lines.append("-" * len(lines[0]))
    for figure in figures:
        sign = "<=" if figure.better == "lower" else ">="
        value = "not measured" if figure.value is None else f"{figure.value:.4f}"
        verdict = "holds" if figure.holds else "FALLS SHORT"
        lines.append(f"{figure.what:{width}}  {sign} {figure.target:<6g}  {value:>12}  {verdict}")
    return "\n".join(lines)


GROUP_FIGURES = (
    "captions",
    "near_precision",
    "near_recall",
    "near_f1",
    "exact_f1",
    "not_found",
    "phantom",
    "character_error_rate",
    "lines_exact",
)


def group_figures(records: Records) -> dict[str, float | None]:
    """The figures of a group that can be told of it, by the names in GROUP_FIGURES."""
    near = precision_recall_f1(records, exact=False)
    exact = precision_recall_f1(records, exact=True)
    return {
        "captions": sum(record.true is not None for record in records.captions),
        "near_precision": near and near[0],
        "near_recall": near and near[1],
        "near_f1": near and near[2],
        "exact_f1": exact and exact[2],
        "not_found": not_found(records),
        "phantom": phantom(records),
        "character_error_rate": character_error_rate(records),
        "lines_exact": lines_exact(records),
    }


def groups_of(records: Records, by: Literal["programme", "language", "effect"]) -> dict[str, Records]:
    """The records apart by programme, language or effect."""
    names = {getattr(record, by) for record in (*records.captions, *records.predicted_boundaries)}
    return {name: records.of(**{by: name}) for name in sorted(names)}


def group_table(groups: Mapping[str, Records]) -> str:
    """A line a group."""
    width = max([len("group"), *map(len, groups)])
    short = ("captions", "P +-1", "R +-1", "F1 +-1", "F1 exact", "lost", "phantom", "CER", "lines")
    lines = [f"{'group':{width}}  " + "  ".join(f"{name:>8}" for name in short)]
    for name, records in groups.items():
        figures = group_figures(records)
        cells = (_cell(column, figures[column]) for column in GROUP_FIGURES)
        lines.append(f"{name:{width}}  " + "  ".join(f"{cell:>8}" for cell in cells))
    return "\n".join(lines)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if name == "captions" else f"{value:.3f}"


def mistakes_of(records: Records) -> dict[str, list[dict[str, Any]]]:
    """Every caption that was not found, and every phantom, by where it is; for a person to look at."""
    lost = [record for record in records.captions if record.predicted is None]
    extra = [record for record in records.captions if record.true is None]
    return {
        "not_found": [
            {"programme": r.programme, "samples": [r.true.first_frame, r.true.end_frame], "text": r.true.text}
            for r in lost
            if r.true is not None
        ],
        "phantom": [
            {"programme": r.programme, "samples": [r.predicted.first_frame, r.predicted.end_frame]}
            for r in extra
            if r.predicted is not None
        ],
    }


def write_results(path: Path, records: Records, facts: Mapping[str, Any]) -> None:
    """All figures, by group too, as one JSON file."""
    document = {
        "machine": dict(facts),
        "figures": [
            {"what": f.what, "target": f.target, "value": _rounded(f.value), "holds": f.holds}
            for f in figures_of(records)
        ],
        **{
            f"by_{by}": {
                name: {key: _rounded(value) for key, value in group_figures(group).items()}
                for name, group in groups_of(records, by).items()
            }
            for by in ("programme", "language", "effect")
        },
        "pair_confusion": {
            "labels": list(LABELS),
            "rows_are": "true labels",
            "published": records.confusion.tolist(),
            "network_alone": records.network_confusion.tolist(),
        },
        **mistakes_of(records),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)

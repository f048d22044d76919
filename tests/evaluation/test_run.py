"""The product's own tasks, run and judged, and what the command says and leaves."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import evaluation.run
from evaluation.report import figures_of
from evaluation.run import Outcome, main, outcome_of, run_product
from evaluation.score import precision_recall_f1, records_of
from evaluation.truth import read_truth
from tests.captions.documents import boundary, caption, document
from tests.conftest import ROOT
from video_pipeline.captions.database import SCHEMA
from video_pipeline.captions.labels import LABELS, Label, reverse

STREET = ROOT / "video_pipeline/demo/street.cues.json"


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """The demo clip's cue list as a programme's: with a language and an effect at each cue."""
    known = json.loads(STREET.read_text())
    for cue in known["cues"]:
        cue |= {"language": "en", "effect": "cut"}
    path = tmp_path / "street.cues.json"
    path.write_text(json.dumps(known))
    (tmp_path / "street.mp4").symlink_to(STREET.with_name("street.mp4"))
    return path


def write_database(path: Path, labels: list[Label]) -> Path:
    """Pairs whose both directions are 0.96 sure of `labels`."""

    def values(label: Label) -> tuple[str | float, ...]:
        return (label, 0.96, *(0.96 if name == label else 0.01 for name in LABELS))

    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA)
        for number, label in enumerate(labels):
            row = (number, number + 1, *values(label), *values(reverse(label)), 1.0)
            connection.execute(f"INSERT INTO pair_results VALUES ({', '.join('?' * len(row))})", row)
    connection.close()
    return path


LABELS_OF_TWO: list[Label] = [
    *("empty_empty", "empty_valid", "same", "same", "different", "same", "same", "valid_empty", "empty_empty")
]


def test_without_a_document_captions_come_from_the_pairs(tmp_path: Path) -> None:
    outcome = outcome_of(write_database(tmp_path / "a.db", LABELS_OF_TWO), None)
    assert [(c.first_frame, c.end_frame, c.text) for c in outcome.captions] == [(2, 5, None), (5, 8, None)]
    assert not outcome.texts
    assert outcome.probabilities.shape == (9, 2, 5)
    assert all(0.5 < c.start_confidence <= 1 and 0.5 < c.end_confidence <= 1 for c in outcome.captions)


def test_a_documents_captions_texts_and_confidences_are_taken(tmp_path: Path) -> None:
    start, end = boundary(Fraction(2, 10), confidence=0.7), boundary(Fraction(5, 10), confidence=0.6)
    captions = (
        caption(1, 2, 5, text="a\nb", ocr_calls=2, start=start, end=end),
        caption(2, 5, 9, text="c", ocr_calls=1),
    )
    read = document(*captions, ocr="rapidocr 3", frame_count=10)
    outcome = outcome_of(write_database(tmp_path / "a.db", LABELS_OF_TWO), read)
    first, second = outcome.captions
    assert (first.first_frame, first.end_frame, first.text) == (2, 5, "a\nb")
    assert (first.start_confidence, first.end_confidence) == (0.7, 0.6)
    assert (second.first_frame, second.end_frame, second.text) == (5, 9, "c")
    assert (outcome.texts, outcome.ocr_calls) == (True, 3)


def test_a_document_made_without_a_recogniser_has_no_texts_to_judge(tmp_path: Path) -> None:
    database = write_database(tmp_path / "a.db", LABELS_OF_TWO)
    assert not outcome_of(database, document(caption(1, 2, 5), frame_count=10)).texts


@pytest.mark.slow
def test_the_product_finds_the_captions_of_the_demo_clip(street: Path, capsys) -> None:
    truth = read_truth(street, Fraction(10))
    outcome = run_product(truth.video, truth.crop_region, text=False, model=None)
    records = records_of(truth, outcome.captions, outcome.probabilities, texts=False)
    both = precision_recall_f1(records, exact=False)
    assert both is not None
    assert both[2] > 0.8
    assert capsys.readouterr().out == ""


@pytest.fixture
def prepared(street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Outcome], None]:
    """Lets the command find the demo clip as its only programme, and a double in place of the product."""

    def prepare(outcome: Outcome) -> None:
        programme = replace(evaluation.run.PROGRAMMES[0], name="street")
        monkeypatch.setattr(evaluation.run, "ROOT", tmp_path)
        monkeypatch.setattr(evaluation.run, "SET", tmp_path)
        monkeypatch.setattr(evaluation.run, "RESULTS", tmp_path / "results/captions.json")
        monkeypatch.setattr(evaluation.run, "PROGRAMMES", (programme,))
        monkeypatch.setattr(evaluation.run, "choose", lambda _names, _known: [programme])
        monkeypatch.setattr(evaluation.run, "make_set", lambda *_args, **_options: None)
        monkeypatch.setattr(evaluation.run, "run_product", lambda *_args, **_options: outcome)

    return prepare


def perfect_outcome(street: Path, database: Path) -> Outcome:
    truth = read_truth(street, Fraction(10))
    captions = [
        caption(number, cue.first_frame, cue.end_frame, text=cue.text, ocr_calls=1)
        for number, cue in enumerate(truth.captions, 1)
    ]
    read = document(*captions, ocr="a recogniser", frame_count=truth.frame_count)
    return outcome_of(write_database(database, truth.labels()), read)


def test_a_product_that_is_right_passes_and_its_figures_are_kept(
    prepared, street: Path, tmp_path: Path, capsys
) -> None:
    prepared(perfect_outcome(street, tmp_path / "a.db"))
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert shown.count("holds") == 9
    assert "FALLS SHORT" not in shown
    kept = json.loads((tmp_path / "results/captions.json").read_text())
    assert [figure["holds"] for figure in kept["figures"]] == [True] * 9
    assert kept["by_programme"]["street"]["captions"] == 15
    assert sum(map(sum, kept["pair_confusion"]["published"])) == 419
    assert sum(map(sum, kept["pair_confusion"]["network_alone"])) == 419
    assert "pair labels of the network alone, balanced: 1.0000" in shown


def test_another_seed_has_a_set_and_a_result_of_its_own(
    prepared, street: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(perfect_outcome(street, tmp_path / "a.db"))
    asked: dict[str, Any] = {}
    monkeypatch.setattr(evaluation.run, "make_set", lambda *_args, **options: asked.update(options))
    other = tmp_path.with_name(f"{tmp_path.name}-21")
    shutil.copytree(tmp_path, other)
    assert main(["--seed", "21"]) == 0
    assert (asked["seed"], asked["output"]) == (21, other)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["captions-seed-21.json"]


def test_a_product_that_loses_a_caption_fails_and_is_told_which(
    prepared, street: Path, tmp_path: Path, capsys
) -> None:
    outcome = perfect_outcome(street, tmp_path / "a.db")
    prepared(replace(outcome, captions=outcome.captions[:-1]))
    assert main([]) == 1
    assert "falls short: captions not found" in capsys.readouterr().out
    kept = json.loads((tmp_path / "results/captions.json").read_text())
    (lost,) = kept["not_found"]
    assert lost["text"] == "Tomorrow they will all be here again."
    short = {figure["what"] for figure in kept["figures"] if not figure["holds"]}
    assert {"captions not found", "boundary F1 within one sample"} <= short


def test_a_part_of_the_set_does_not_replace_the_results_of_the_whole(
    prepared, street: Path, tmp_path: Path
) -> None:
    prepared(perfect_outcome(street, tmp_path / "a.db"))
    main(["--no-text"])
    assert not (tmp_path / "results").exists()
    assert (tmp_path / "part.json").exists()


def test_every_figure_of_the_set_has_its_target() -> None:
    from evaluation.score import Records

    targets = {figure.what: (figure.better, figure.target) for figure in figures_of(Records())}
    assert targets == {
        "boundary F1 within one sample": ("higher", 0.99),
        "boundary F1 at the very sample": ("higher", 0.97),
        "captions not found": ("lower", 0.004),
        "phantom captions": ("lower", 0.02),
        "pair labels published, balanced": ("higher", 0.985),
        "character error rate": ("lower", 0.013),
        "lines read exactly": ("higher", 0.92),
        "OCR calls per caption": ("lower", 1.5),
        "errors among the least certain 5 %": ("higher", 0.5),
    }

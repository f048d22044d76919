"""Every figure on cases small enough to count by hand, and what may not change it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.matching import match_moments, match_spans
from evaluation.report import Figure, figures_of, groups_of, mistakes_of, table
from evaluation.score import (
    Predicted,
    Records,
    balanced_accuracy,
    character_error_rate,
    comparable,
    joined,
    least_certain_share,
    lines_exact,
    network_labels,
    not_found,
    ocr_calls_per_caption,
    phantom,
    precision_recall_f1,
    records_of,
)
from evaluation.truth import TrueCaption, Truth
from video_pipeline.captions.labels import LABELS, Label, reverse

SPANS = ((0, 10), (10, 25), (30, 42), (50, 51))
TEXTS = ("One line", "Two\nlines", "three", "x")


def truth_with(
    spans: tuple[tuple[int, int], ...] = SPANS, texts: tuple[str, ...] = TEXTS, frames: int = 60
) -> Truth:
    captions = tuple(TrueCaption(a, b, text, "en", "cut") for (a, b), text in zip(spans, texts, strict=True))
    return Truth("programme", "en", Path("video.mp4"), {}, frames, captions, ())


def probabilities_for(labels: list[Label], sure: float = 0.9) -> np.ndarray:
    """(N - 1, 2, 5): both directions say `labels` with probability `sure`."""
    made = np.full((len(labels), 2, len(LABELS)), (1 - sure) / 4)
    for number, label in enumerate(labels):
        made[number, 0, LABELS.index(label)] = sure
        made[number, 1, LABELS.index(reverse(label))] = sure
    return made


def perfect(truth: Truth) -> list[Predicted]:
    return [
        Predicted(caption.first_frame, caption.end_frame, 0.9, 0.9, caption.text)
        for caption in truth.captions
    ]


def score(truth: Truth, predicted: list[Predicted], *, texts: bool = True, calls: int = 0) -> Records:
    return records_of(truth, predicted, probabilities_for(truth.labels()), texts=texts, ocr_calls=calls)


def values(records: Records) -> dict[str, float | None]:
    return {figure.what: figure.value for figure in figures_of(records)}


def test_a_perfect_prediction_has_perfect_figures() -> None:
    truth = truth_with()
    assert values(score(truth, perfect(truth), calls=4)) == {
        "boundary F1 within one sample": 1.0,
        "boundary F1 at the very sample": 1.0,
        "captions not found": 0.0,
        "phantom captions": 0.0,
        "pair labels published, balanced": 1.0,
        "character error rate": 0.0,
        "lines read exactly": 1.0,
        "OCR calls per caption": 1.0,
        "errors among the least certain 5 %": 1.0,
    }


def changed_figures(predicted: list[Predicted], truth: Truth | None = None) -> set[str]:
    """The figures that differ from a perfect prediction's."""
    truth = truth or truth_with()
    best, now = values(score(truth, perfect(truth))), values(score(truth, predicted))
    return {what for what in best if best[what] != now[what]}


def test_a_boundary_off_by_one_lowers_only_the_exact_figures_and_counts_as_an_error() -> None:
    predicted = perfect(truth_with())
    predicted[2] = replace(predicted[2], end_frame=43)
    assert changed_figures(predicted) == {
        "boundary F1 at the very sample",
        "pair labels published, balanced",
        "errors among the least certain 5 %",
    }
    records = score(truth_with(), predicted)
    assert precision_recall_f1(records, exact=True) == (7 / 8, 7 / 8, 7 / 8)
    assert precision_recall_f1(records, exact=False) == (1, 1, 1)


def test_a_boundary_off_by_two_lowers_both_boundary_figures_and_nothing_about_captions() -> None:
    predicted = perfect(truth_with())
    predicted[2] = replace(predicted[2], first_frame=28)
    assert changed_figures(predicted) == {
        "boundary F1 within one sample",
        "boundary F1 at the very sample",
        "pair labels published, balanced",
        "errors among the least certain 5 %",
    }


def test_a_lost_caption_lowers_recall_but_not_precision() -> None:
    truth = truth_with()
    records = score(truth, perfect(truth)[:-1])
    assert precision_recall_f1(records, exact=False) == (1.0, 6 / 8, pytest.approx(6 / 7))
    assert not_found(records) == 1 / 4
    assert phantom(records) == 0
    assert character_error_rate(records) == 0
    assert mistakes_of(records)["not_found"] == [{"programme": "programme", "samples": [50, 51], "text": "x"}]


def test_a_phantom_lowers_precision_but_not_recall() -> None:
    truth = truth_with()
    records = score(truth, [*perfect(truth), Predicted(54, 57, 0.5, 0.5, "ghost")])
    assert precision_recall_f1(records, exact=False) == (8 / 10, 1.0, pytest.approx(8 / 9))
    assert phantom(records) == 1 / 5
    assert not_found(records) == 0
    assert lines_exact(records) == 1
    assert mistakes_of(records)["phantom"] == [{"programme": "programme", "samples": [54, 57]}]


def test_two_captions_found_as_one_are_one_found_and_one_lost() -> None:
    one, two, *rest = perfect(truth_with())
    records = score(truth_with(), [replace(one, end_frame=two.end_frame), *rest])
    assert (not_found(records), phantom(records)) == (1 / 4, 0)
    assert precision_recall_f1(records, exact=True) == (1.0, 6 / 8, pytest.approx(6 / 7))


def test_a_caption_found_in_two_pieces_is_one_found_and_one_phantom() -> None:
    one, two, *rest = perfect(truth_with())
    pieces = [replace(two, end_frame=15), replace(two, first_frame=15)]
    records = score(truth_with(), [one, *pieces, *rest])
    assert (not_found(records), phantom(records)) == (0, 1 / 5)


def test_a_programme_without_captions_is_judged_by_its_phantoms_alone() -> None:
    nothing = truth_with((), ())
    assert phantom(score(nothing, [])) is None
    records = score(nothing, [Predicted(3, 9, 0.9, 0.9)])
    assert (phantom(records), not_found(records)) == (1.0, None)
    assert precision_recall_f1(records, exact=False) == (0.0, 1.0, 0.0)
    assert [record.effect for record in records.predicted_boundaries] == ["none", "none"]


def test_figures_of_the_whole_set_weigh_captions_and_not_programmes() -> None:
    truth, short = truth_with(), truth_with(((5, 9),), ("abc",))
    whole = joined([score(truth, perfect(truth), calls=5), score(short, [], calls=1)])
    assert not_found(whole) == 1 / 5
    assert ocr_calls_per_caption(whole) == 6 / 4
    assert whole.confusion.sum() == whole.network_confusion.sum() == 59 + 59


def test_wrong_characters_are_counted_over_the_true_ones() -> None:
    predicted = perfect(truth_with())
    predicted[0] = replace(predicted[0], text="0ne lime")
    predicted[1] = replace(predicted[1], text="Two\nlions")
    records = score(truth_with(), predicted)
    assert character_error_rate(records) == pytest.approx((2 + 2) / (8 + 9 + 5 + 1))
    assert lines_exact(records) == 3 / 5
    assert changed_figures(predicted) == {"character error rate", "lines read exactly"}


def test_a_caption_that_was_not_read_is_wrong_in_every_character() -> None:
    predicted = perfect(truth_with())
    predicted[0] = replace(predicted[0], text=None)
    records = score(truth_with(), predicted)
    assert character_error_rate(records) == pytest.approx(8 / 23)
    assert lines_exact(records) == 4 / 5


def test_a_line_broken_elsewhere_costs_the_lines_but_no_character() -> None:
    truth = truth_with(((0, 10),), ("here is\na break",))
    records = score(truth, [Predicted(0, 10, 1, 1, "here is a\nbreak")])
    assert (character_error_rate(records), lines_exact(records)) == (0, 0)


def test_a_line_too_many_does_not_make_the_others_wrong() -> None:
    truth = truth_with(((0, 10),), ("first\nsecond",))
    assert lines_exact(score(truth, [Predicted(0, 10, 1, 1, "LIVE\nfirst\nsecond")])) == 1


def test_unreadable_writing_is_not_judged_by_its_text() -> None:
    caption = TrueCaption(0, 10, "слово", "ru", "cut")
    truth = replace(truth_with(), captions=(caption,))
    records = score(truth, [Predicted(0, 10, 1, 1, None)])
    assert character_error_rate(records) is None
    assert lines_exact(records) is None


def test_without_texts_their_figures_are_not_measured_and_fall_short() -> None:
    truth = truth_with()
    records = joined([score(truth, perfect(truth)), score(truth, perfect(truth), texts=False)])
    missing = [figure for figure in figures_of(records) if figure.value is None]
    assert [figure.what for figure in missing] == [
        "character error rate",
        "lines read exactly",
        "OCR calls per caption",
    ]
    assert not any(figure.holds for figure in missing)
    assert table(missing).count("not measured  FALLS SHORT") == 3


def test_a_figure_holds_at_its_target_and_not_beyond() -> None:
    assert Figure("share", 0.99, 0.99, "higher").holds
    assert not Figure("share", 0.99, 0.9899, "higher").holds
    assert Figure("rate", 0.013, 0.013, "lower").holds
    assert not Figure("rate", 0.013, 0.0131, "lower").holds


def many(errors_at: dict[int, float], *, count: int = 50) -> tuple[Truth, list[Predicted]]:
    """`count` captions of five samples; the start of caption i is one late, with the given confidence."""
    spans = tuple((10 * i, 10 * i + 5) for i in range(count))
    truth = truth_with(spans, ("a",) * count, frames=10 * count)
    predicted = perfect(truth)
    for i, sure in errors_at.items():
        predicted[i] = replace(predicted[i], first_frame=10 * i + 1, start_confidence=sure)
    return truth, predicted


def test_errors_are_looked_for_among_the_least_certain_twentieth() -> None:
    truth, predicted = many({3: 0.2, 7: 0.3, 11: 0.95, 12: 0.99})
    assert least_certain_share(score(truth, predicted)) == 2 / 4 + 0
    truth, predicted = many({3: 0.2, 7: 0.3})
    assert least_certain_share(score(truth, predicted)) == 1


def test_a_lost_caption_is_an_error_that_no_confidence_points_at() -> None:
    truth, predicted = many({3: 0.2})
    del predicted[30]
    assert least_certain_share(score(truth, predicted)) == 1 / 3


def test_equal_confidences_favour_no_order() -> None:
    truth, predicted = many(dict.fromkeys(range(10), 0.9))
    share = least_certain_share(score(truth, predicted))
    assert share == pytest.approx(0.05)


def test_both_directions_decide_a_pair_together() -> None:
    truth = truth_with(((1, 2),), ("a",), frames=3)
    assert truth.labels() == ["empty_valid", "valid_empty"]
    probabilities = probabilities_for(truth.labels())
    assert network_labels(probabilities) == truth.labels()
    # Forward is wrong with 0.6, backward is right with 0.99: right together.
    probabilities[0, 0] = [0.6, 0.0, 0.1, 0.3, 0.0]
    probabilities[0, 1] = [0.0025, 0.0025, 0.0025, 0.0025, 0.99]
    assert network_labels(probabilities) == truth.labels()
    probabilities[0, 1] = [0.99, 0.0025, 0.0025, 0.0025, 0.0025]
    assert network_labels(probabilities) == ["same", "valid_empty"]
    records = records_of(truth, [], probabilities, texts=False)
    assert balanced_accuracy(records.network_confusion) == 0.5


def test_pairs_are_scored_by_the_captions_that_were_published() -> None:
    truth = truth_with(((1, 3), (3, 5)), ("a", "b"), frames=7)
    silent = np.full((6, 2, 5), 0.2)
    right = records_of(truth, perfect(truth), silent, texts=False)
    assert right.confusion.diagonal().tolist() == [2, 1, 1, 1, 1]
    assert balanced_accuracy(right.confusion) == 1
    merged = [replace(perfect(truth)[0], end_frame=5)]
    records = records_of(truth, merged, silent, texts=False)
    assert records.confusion[LABELS.index("different"), LABELS.index("same")] == 1
    assert balanced_accuracy(records.confusion) == 4 / 5
    assert records_of(truth, [], silent, texts=False).confusion[:, LABELS.index("empty_empty")].sum() == 6


def test_rare_labels_weigh_as_much_as_common_ones() -> None:
    confusion = np.zeros((5, 5), np.int64)
    confusion[0, 0], confusion[1, 0], confusion[1, 1] = 1000, 3, 1
    assert balanced_accuracy(confusion) == (1 + 1 / 4) / 2


def test_another_number_of_samples_is_refused() -> None:
    truth = truth_with()
    with pytest.raises(ValueError, match="58 pairs, but 60 samples have 59"):
        records_of(truth, [], probabilities_for(truth.labels()[:-1]), texts=False)


def test_groups_hold_what_belongs_to_them() -> None:
    truth = truth_with()
    captions = list(truth.captions)
    captions[3] = replace(captions[3], language="ja", effect="fade")
    truth = replace(truth, captions=tuple(captions))
    ghost = Predicted(53, 56, 0.5, 0.5)
    groups = groups_of(score(truth, [*perfect(truth)[:3], ghost]), "effect")
    assert set(groups) == {"cut", "fade"}
    assert (not_found(groups["cut"]), phantom(groups["cut"])) == (0, 0)
    assert (not_found(groups["fade"]), phantom(groups["fade"])) == (1, 1)
    assert set(groups_of(score(truth, perfect(truth)), "language")) == {"en", "ja"}


def test_texts_are_compared_without_what_nobody_can_see() -> None:
    assert comparable("a  b …", spaced=True) == "a b ..."
    assert comparable("“l’été”", spaced=True) == '"l\'été"'
    assert comparable("e\u0301", spaced=True) == "é"
    assert comparable("ええ、多分… あなた", spaced=False) == "ええ、多分...あなた"
    assert comparable("A b", spaced=True) != comparable("a b", spaced=True)


def best_by_trying(true: list[int], predicted: list[int], tolerance: int) -> int:
    """The size of the largest matching, by trying every one."""
    if not true:
        return 0
    best = best_by_trying(true[1:], predicted, tolerance)
    for moment in predicted:
        if abs(moment - true[0]) <= tolerance:
            rest = [other for other in predicted if other != moment]
            best = max(best, 1 + best_by_trying(true[1:], rest, tolerance))
    return best


moments = st.lists(st.integers(0, 12), max_size=5, unique=True).map(sorted)


@given(true=moments, predicted=moments, tolerance=st.integers(0, 3))
def test_no_matching_of_moments_is_larger(true: list[int], predicted: list[int], tolerance: int) -> None:
    pairs = match_moments(true, predicted, tolerance)
    assert all(abs(true[i] - predicted[j]) <= tolerance for i, j in pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert len(pairs) == best_by_trying(true, predicted, tolerance)


def test_spans_are_matched_so_that_most_have_a_partner() -> None:
    assert match_spans([(0, 10), (10, 14)], [(0, 3), (3, 14)]) == [(0, 0), (1, 1)]
    assert match_spans([(0, 10)], [(0, 2), (2, 10)]) == [(0, 1)]
    assert match_spans([(0, 10)], [(9, 20)]) == []
    assert match_spans([(0, 2)], [(1, 9)]) == [(0, 0)]


cuts = st.lists(st.integers(1, 79), min_size=2, max_size=12, unique=True).map(sorted)


@settings(deadline=None)
@given(cuts=cuts)
def test_any_perfect_prediction_is_found_to_be_perfect(cuts: list[int]) -> None:
    spans = tuple(itertools.pairwise(cuts))
    truth = truth_with(spans, ("text",) * len(spans), frames=80)
    found = values(score(truth, perfect(truth), calls=len(spans)))
    assert all(value in (0.0, 1.0) for value in found.values())
    assert all(figure.holds for figure in figures_of(score(truth, perfect(truth), calls=len(spans))))


@settings(deadline=None)
@given(cuts=cuts, seed=st.integers(0, 1000))
def test_every_record_is_counted_once_whatever_was_predicted(cuts: list[int], seed: int) -> None:
    spans = tuple(itertools.pairwise(cuts))
    truth = truth_with(spans, ("text",) * len(spans), frames=80)
    chance = np.random.default_rng(seed)
    other = sorted(chance.choice(np.arange(80), size=6, replace=False).tolist())
    predicted = [Predicted(a, b, 0.5, 0.5) for a, b in itertools.pairwise(other)]
    records = score(truth, predicted)
    assert len(records.true_boundaries) == 2 * len(spans)
    assert len(records.predicted_boundaries) == 2 * len(predicted)
    assert sum(record.true is not None for record in records.captions) == len(spans)
    assert sum(record.predicted is not None for record in records.captions) == len(predicted)
    for which in ("near", "exact"):
        right = [getattr(record, which) for record in records.true_boundaries]
        assert sum(right) == sum(getattr(record, which) for record in records.predicted_boundaries)
    share = least_certain_share(records)
    assert share is not None
    assert 0 <= share <= 1
    assert not math.isnan(share)

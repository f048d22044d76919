"""Captions from pairs: exact on certain evidence, consistent on doubtful evidence, honest about the doubt."""

from __future__ import annotations

import itertools
import sqlite3
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from video_pipeline.captions.database import ExtentsDatabase
from video_pipeline.captions.extents import (
    Extent,
    decode,
    evidence_of,
    extents_of,
    find_extents,
    read_probabilities,
    stands_throughout,
)
from video_pipeline.captions.inference import Direction, PairResult
from video_pipeline.captions.labels import LABELS, pair_label, reverse
from video_pipeline.errors import Internal


def certain(shown: list[int | None], sure: float = 0.99) -> np.ndarray:
    """Probabilities of the pairs of a video whose samples show these captions (None: empty)."""
    rest = (1 - sure) / 4
    rows = []
    for left, right in itertools.pairwise(shown):
        label = pair_label(left, right)
        rows.append([[sure if name == one else rest for name in LABELS] for one in (label, reverse(label))])
    return np.array(rows).reshape(len(rows), 2, 5)


def spans(probabilities: np.ndarray) -> list[tuple[int, int]]:
    return [(extent.first_frame, extent.end_frame) for extent in extents_of(probabilities)]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ([None, 1, 1, None], [(1, 3)]),
        ([1, 1, None, None], [(0, 2)]),
        ([None, None, 1, 1], [(2, 4)]),
        ([1, 1, 2, 2], [(0, 2), (2, 4)]),
        ([None, 1, None, 2, None], [(1, 2), (3, 4)]),
        ([1, 2, 3], [(0, 1), (1, 2), (2, 3)]),
        ([None, None, None], []),
        ([1, 1, 1], [(0, 3)]),
        ([None, 1], [(1, 2)]),
        ([1, None], [(0, 1)]),
    ],
    ids=[
        "amid",
        "at the very start",
        "at the very end",
        "back to back",
        "one-sample captions",
        "all different",
        "none",
        "unchanged throughout",
        "the last sample only",
        "the first sample only",
    ],
)
def test_certain_pairs_give_exact_captions(shown: list[int | None], expected: list[tuple[int, int]]) -> None:
    assert spans(certain(shown)) == expected


def test_random_caption_lists_are_found_again_whole() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        shown: list[int | None] = []
        for number in range(int(rng.integers(1, 12))):
            shown += [number if rng.random() < 0.6 else None] * int(rng.integers(1, 9))
        if len(shown) < 2:
            continue
        expected = [
            (group[0], group[-1] + 1)
            for caption, indices in itertools.groupby(range(len(shown)), shown.__getitem__)
            if caption is not None
            for group in [list(indices)]
        ]
        assert spans(certain(shown)) == expected


def test_one_pair_that_contradicts_its_neighbours_does_not_split_a_caption() -> None:
    pairs = certain([None, 1, 1, 1, 1, 1, None])
    pairs[2] = [[0.3, 0.05, 0.6, 0.03, 0.02], [0.3, 0.05, 0.6, 0.02, 0.03]]
    assert spans(pairs) == [(1, 6)]


def test_both_directions_count() -> None:
    pairs = certain([1, 1, 1, 1], sure=0.96)
    pairs[1, 0] = [0.02, 0.95, 0.01, 0.01, 0.01]
    assert spans(pairs) == [(0, 4)]
    pairs[1, 1] = [0.01, 0.96, 0.01, 0.01, 0.01]
    assert spans(pairs) == [(0, 2), (2, 4)]


def test_the_boundary_in_doubt_is_the_least_certain_one() -> None:
    pairs = certain([None, None, 1, 1, 1, 1, None, None])
    pairs[5] = [[0.35, 0.02, 0.02, 0.01, 0.6], [0.35, 0.02, 0.02, 0.6, 0.01]]
    (extent,) = extents_of(pairs)
    assert extent.start_confidence > 0.95 > extent.end_confidence


def test_a_boundary_says_what_stands_beside_it() -> None:
    first, second, third = extents_of(certain([1, 1, 2, 2, None, 3]))
    assert (first.start_beside, first.end_beside) == ("video_edge", "other_caption")
    assert (second.start_beside, second.end_beside) == ("other_caption", "empty")
    assert (third.start_beside, third.end_beside) == ("empty", "video_edge")


def test_a_caption_at_the_videos_edge_is_as_sure_as_its_sample_shows_one() -> None:
    pairs = certain([1, 1, 1, 1, 1])
    (sure,) = extents_of(pairs)
    assert min(sure.start_confidence, sure.end_confidence) > 0.9
    for pair, label, edge in ((0, "empty_valid", "start"), (3, "valid_empty", "end")):
        doubtful = pairs.copy()
        for direction, told in enumerate((label, "valid_empty" if label == "empty_valid" else "empty_valid")):
            doubtful[pair, direction] = 0.01
            doubtful[pair, direction, LABELS.index("same")] = 0.57
            doubtful[pair, direction, LABELS.index(told)] = 0.4
        (found,) = extents_of(doubtful)
        assert (found.first_frame, found.end_frame) == (0, 5)
        confidences = {"start": found.start_confidence, "end": found.end_confidence}
        assert confidences.pop(edge) < 0.9 < min(confidences.values())


@pytest.mark.parametrize(
    ("spans", "count", "throughout"),
    [
        ([(0, 601)], 601, True),
        ([(0, 600)], 600, False),
        ([(1, 900)], 900, False),
        ([(0, 899)], 900, False),
        ([(0, 300), (300, 900)], 900, True),
        ([(0, 300), (301, 900)], 900, False),
        ([(0, 200), (200, 400), (400, 601)], 601, True),
        ([(0, 200), (200, 400), (400, 601)], 600, False),
        ([(0, 200), (200, 400), (400, 500), (500, 800)], 800, False),
        ([], 900, False),
    ],
)
def test_what_leaves_no_picture_empty_for_more_than_a_minute_and_hardly_changes_is_no_caption(
    spans: list[tuple[int, int]], count: int, throughout: bool
) -> None:
    extents = [Extent(first, end, 0.9, 0.9, "video_edge", "video_edge") for first, end in spans]
    assert stands_throughout(extents, count, Fraction(10)) is throughout


def test_without_evidence_nothing_changes_as_often_as_the_prior_says() -> None:
    """P(boundary) before any look, shared by the three labels that are one; two labels are none."""
    nothing_known = np.full((1, 2, 5), 0.2)
    scores = evidence_of(nothing_known, weight=0.5, change=0.1)[0]
    likely = dict(zip(LABELS, np.exp(scores - np.log(0.2)), strict=True))
    assert likely == pytest.approx(
        {"same": 0.9, "different": 0.1, "empty_empty": 0.9, "empty_valid": 0.1, "valid_empty": 0.1}
    )


def test_evidence_is_the_weighed_sum_of_both_directions_told_the_same_way_round() -> None:
    pairs = np.array([[[0.5, 0.1, 0.2, 0.15, 0.05], [0.4, 0.2, 0.1, 0.05, 0.25]]])
    scores = evidence_of(pairs, weight=0.3, change=0.5)[0] - np.log(0.5)
    both = {"same": 0.5 * 0.4, "different": 0.1 * 0.2, "empty_empty": 0.2 * 0.1,
            "empty_valid": 0.15 * 0.25, "valid_empty": 0.05 * 0.05}  # fmt: skip
    assert dict(zip(LABELS, scores, strict=True)) == pytest.approx(
        {label: 0.3 * np.log(product) for label, product in both.items()}
    )


def test_posteriors_and_path_agree_with_the_enumeration_of_all_paths() -> None:
    """The definition: every run of states, every label on it, weighed by its evidence."""
    rng = np.random.default_rng(1)
    pairs = rng.dirichlet(np.full(5, 0.5), (4, 2))
    evidence = evidence_of(pairs)
    weights: dict[tuple[int, ...], float] = {}
    for labels in itertools.product(range(5), repeat=4):
        ends_empty = [LABELS[label].endswith("_empty") for label in labels]
        begins_empty = [LABELS[label].startswith("empty_") for label in labels]
        if all(ends_empty[i] == begins_empty[i + 1] for i in range(3)):
            weights[labels] = float(np.exp(sum(evidence[i, label] for i, label in enumerate(labels))))
    total = sum(weights.values())
    expected = np.zeros((4, 5))
    for labels, weight in weights.items():
        for index, label in enumerate(labels):
            expected[index, label] += weight / total
    found = decode(evidence)
    assert np.allclose(found.posteriors, expected)
    assert tuple(found.path) == max(weights, key=weights.__getitem__)


def test_an_hour_of_doubtful_pairs_stays_finite() -> None:
    pairs = np.random.default_rng(2).dirichlet(np.full(5, 0.05), (36_000, 2))
    found = decode(evidence_of(pairs))
    assert np.isfinite(found.posteriors).all()
    assert np.allclose(found.posteriors.sum(axis=1), 1)


def test_a_single_sample_has_no_pairs_and_gives_no_captions() -> None:
    assert extents_of(np.zeros((0, 2, 5))) == []


def written(path: Path, pairs: np.ndarray) -> Path:
    with ExtentsDatabase(
        path, frames_recipe="f", model_version="m", model_checkpoint_path="c", run_id="r"
    ) as database:
        for index, (forward, backward) in enumerate(pairs):
            ends = [
                Direction(LABELS[int(one.argmax())], float(one.max()), tuple(one.tolist()))
                for one in (forward, backward)
            ]
            database.add([PairResult(index, index + 1, ends[0], ends[1], 1.0)])
        database.finish(len(pairs) + 1)
    return path


def test_captions_come_from_the_database_of_the_pass(tmp_path: Path) -> None:
    pairs = certain([None, 1, 1, 2, None])
    database = written(tmp_path / "extents.db", pairs)
    assert np.allclose(read_probabilities(database), pairs)
    assert [(e.first_frame, e.end_frame) for e in find_extents(database)] == [(1, 3), (3, 4)]


def test_a_database_with_a_missing_pair_is_refused(tmp_path: Path) -> None:
    database = written(tmp_path / "extents.db", certain([None, 1, 1, 2, None]))
    connection = sqlite3.connect(database)
    connection.execute("DELETE FROM pair_results WHERE frame1_index = 2")
    connection.commit()
    connection.close()
    with pytest.raises(Internal, match=r"\(3, 4\) stands where \(2, 3\)"):
        find_extents(database)

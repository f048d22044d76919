from __future__ import annotations

import pytest

from video_pipeline.captions.labels import LABELS, REVERSED, labels_of, pair_label, reverse
from video_pipeline.models.caption_pairs import LABEL_COUNT


def test_the_order_of_the_labels_is_the_databases() -> None:
    assert LABELS == ("same", "different", "empty_empty", "empty_valid", "valid_empty")


@pytest.mark.parametrize("label", LABELS)
def test_reversing_twice_gives_the_label_back(label) -> None:
    assert reverse(reverse(label)) == label


@pytest.mark.parametrize(("left", "right"), [(None, None), ("a", None), (None, "a"), ("a", "a"), ("a", "b")])
def test_the_label_of_the_swapped_pair_is_the_reversed_label(left: str | None, right: str | None) -> None:
    assert pair_label(right, left) == reverse(pair_label(left, right))


def test_an_empty_frame_beside_a_caption_is_named_in_order() -> None:
    assert pair_label(None, "a") == "empty_valid"
    assert pair_label("a", None) == "valid_empty"


def test_the_network_has_one_output_per_label() -> None:
    assert len(LABELS) == LABEL_COUNT


def test_values_of_the_swapped_pair_are_put_in_the_order_of_the_pair() -> None:
    of_swapped = [f"({label} of b, a)" for label in LABELS]
    in_order = [of_swapped[place] for place in REVERSED]
    assert in_order == [f"({reverse(label)} of b, a)" for label in LABELS]
    assert REVERSED == [0, 1, 2, 4, 3]


def test_labels_are_read_off_what_captions_span() -> None:
    """Two that touch, a gap of two samples, one of a single sample, and an empty end."""
    assert labels_of([(0, 2), (2, 4), (6, 7)], 9) == [
        "same", "different", "same", "valid_empty",
        "empty_empty", "empty_valid", "valid_empty", "empty_empty",
    ]  # fmt: skip
    assert labels_of([(0, 4)], 4) == ["same"] * 3
    assert labels_of([], 3) == ["empty_empty"] * 2
    assert labels_of([(0, 1)], 1) == []


def test_captions_are_compared_by_what_they_are_and_not_by_which_object() -> None:
    assert pair_label(["Hello"], ["Hello"]) == "same"
    assert pair_label(["Hello"], ["Goodbye"]) == "different"

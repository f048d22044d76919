from __future__ import annotations

import pytest

from video_pipeline.captions.labels import LABELS, pair_label, reverse
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

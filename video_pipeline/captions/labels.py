"""The five labels of a pair of neighbouring frames, and what they mean. Pure.

Belongs here: the names, their order in every probability vector, and the algebra between them.
Does not belong here: networks, or turning labels into caption spans (`extents`).

A *valid* frame shows a caption in the crop region, an *empty* one does not. The label of the pair (a, b) is
`same` (both valid, one caption), `different` (both valid, two captions), or which of the two are empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, get_args

Label = Literal["same", "different", "empty_empty", "empty_valid", "valid_empty"]

LABELS: tuple[Label, ...] = get_args(Label)
"""The order of the five values in every probability vector, logit vector and database column group."""

_REVERSED: dict[Label, Label] = {"empty_valid": "valid_empty", "valid_empty": "empty_valid"}


def reverse(label: Label) -> Label:
    """The label of (b, a), given the label of (a, b)."""
    return _REVERSED.get(label, label)


REVERSED: list[int] = [LABELS.index(reverse(label)) for label in LABELS]
"""Positions in LABELS: values of (b, a) taken in this order stand in the order of (a, b)."""

CHANGES: list[int] = [LABELS.index(label) for label in ("different", "empty_valid", "valid_empty")]
"""Positions in LABELS of pairs between which a caption begins, ends, or becomes another."""


def pair_label(left: object | None, right: object | None) -> Label:
    """The true label of two frames. Each is given as its caption, compared by `==`, or None if empty."""
    if left is None:
        return "empty_empty" if right is None else "empty_valid"
    if right is None:
        return "valid_empty"
    return "same" if left == right else "different"


def labels_of(captions: Iterable[tuple[int, int]], frame_count: int) -> list[Label]:
    """The labels of the `frame_count` - 1 pairs of neighbouring samples, given what each caption spans: its
    first sample and the one after its last."""
    shown: list[int | None] = [None] * frame_count
    for number, (first, end) in enumerate(captions):
        shown[first:end] = [number] * (end - first)
    return [pair_label(left, right) for left, right in pairwise(shown)]

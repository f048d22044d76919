"""Captions that were taken for one, apart again: lettering told that they are several, pairs tell where.

Belongs here: the likeliest place of a change that is known to lie between two samples, the extents and
changes after it, and leaving out what turned out to be no caption. Does not belong here: telling captions by
their lettering (`belonging`, `representative`), captions from pairs alone (`extents`).

That two pictures of what was taken for one caption show different lettering is surer than anything the
network says of the pairs between them. So one of these is what happened there, at pairs p < q:

    the caption became the other one at p      same ... different at p ... same
    it went at p, and the other came at q      same ... valid_empty, empty_empty ..., empty_valid ... same

Each has the sum of its pairs' evidence (`extents.evidence_of`) as its score. The best is taken; the
confidence of an end is the share that all ways with this very end have of the whole, as in `extents`.

Measured on `evaluation.development` (16 programmes, 638 captions): of six captions that had been lost in
others three are found so, and none is divided that was whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from video_pipeline.captions.extents import Extent, evidence_of
from video_pipeline.captions.labels import LABELS
from video_pipeline.captions.settle import beside

if TYPE_CHECKING:
    from video_pipeline.captions.representative import CaptionText
    from video_pipeline.captions.settle import Changes
    from video_pipeline.captions.windows import End

LEAST = 4
"""Samples between the first and the last picture of a part, where not all of them can be read. Where one
caption fades into the next, the first pictures of that may still show the other one."""

_SAME, _DIFFERENT, _EMPTY_EMPTY, _EMPTY_VALID, _VALID_EMPTY = range(len(LABELS))


@dataclass(frozen=True)
class Part:
    """What a run of a caption's pictures says, from sample `first` to sample `last`, both included."""

    first: int
    last: int
    text: CaptionText


class Divided(NamedTuple):
    """Extents, and changes and texts by their numbers; `left_out` are those that are none any more."""

    extents: list[Extent]
    changes: Changes
    texts: dict[int, CaptionText]
    left_out: list[Extent]


def divided(
    extents: Sequence[Extent],
    changes: Changes,
    parts: Mapping[int, Sequence[Part]],
    probabilities: np.ndarray,
    longest: Fraction,
) -> Divided:
    """The extents with each divided into its parts, but for those of more than `longest` samples in which no
    lettering of their own was found: a logo, or a sign, that stands before and after them as well.

    `parts` are by number, in order, at least one each where there is any; `probabilities` (N - 1, 2, 5) of
    all pairs. New ends have no change: nothing closer than samples was looked at there.
    """
    found: list[Extent] = []
    moved: Changes = {}
    texts: dict[int, CaptionText] = {}
    left_out: list[Extent] = []
    for number, extent in enumerate(extents, 1):
        own = _of(extent, parts.get(number, ()))
        nothing = bool(own) and all(part.text.unread == "nothing_recognised" for part in own)
        if nothing and extent.end_frame - extent.first_frame > longest:
            left_out.append(extent)
            continue
        pieces = _pieces(extent, own, probabilities)
        ends: tuple[tuple[End, int], ...] = (("start", len(found) + 1), ("end", len(found) + len(pieces)))
        for end, at in ends:
            change = changes.get((number, end))
            if change is not None:
                moved[at, end] = replace(change, number=at)
        texts |= {len(found) + at: part.text for at, part in enumerate(own, 1)}
        found += pieces
    return Divided([beside(found, at) for at in range(len(found))], moved, texts, left_out)


def _of(extent: Extent, parts: Sequence[Part]) -> list[Part]:
    """The parts that lie within the extent, whose ends may have been moved since they were read."""
    if len(parts) < 2:
        return list(parts)
    inside = [part for part in parts if part.last >= extent.first_frame and part.first < extent.end_frame]
    if all(part.text.text is not None for part in inside):
        return inside or [parts[0]]
    sure = [part for part in inside if part.last - part.first >= LEAST]
    return sure or [max(parts, key=lambda part: part.last - part.first)]


def _pieces(extent: Extent, parts: Sequence[Part], probabilities: np.ndarray) -> list[Extent]:
    pieces = [extent]
    for before, after in itertools.pairwise(parts):
        whole = pieces.pop()
        first = max(before.last, whole.first_frame)
        end, end_sure, start, start_sure = _change(evidence_of(probabilities[first : after.first]))
        pieces += [
            replace(whole, end_frame=first + end + 1, end_confidence=end_sure, end_beside="empty"),
            replace(whole, first_frame=first + start + 1, start_confidence=start_sure, start_beside="empty"),
        ]
    return pieces


def _change(evidence: np.ndarray) -> tuple[int, float, int, float]:
    """Of M >= 1 pairs that at which one caption ends and that at which the other one begins, each with its
    probability; the same pair if there is nothing between them."""
    count = len(evidence)
    same = np.concatenate([[0.0], np.cumsum(evidence[:, _SAME])])
    empty = np.concatenate([[0.0], np.cumsum(evidence[:, _EMPTY_EMPTY])])
    after = same[count] - same[1:]
    gone, come = same[:-1] + evidence[:, _VALID_EMPTY] - empty[1:], empty[:-1] + evidence[:, _EMPTY_VALID]
    scores = gone[:, None] + come + after
    scores[np.tril_indices(count)] = -np.inf
    np.fill_diagonal(scores, same[:-1] + evidence[:, _DIFFERENT] + after)
    chances = np.exp(scores - scores.max())
    chances /= chances.sum()
    end, start = (int(at) for at in np.unravel_index(int(scores.argmax()), scores.shape))
    return end, float(chances[end].sum()), start, float(chances[:, start].sum())

"""Captions from pairs: the likeliest run of states through a video, and how sure each boundary is.

Belongs here: the Viterbi and forward-backward passes over pair probabilities, reading them from the database.
Does not belong here: the network, moving a boundary to a source picture (`narrow`), text.

Each sample is empty or shows a caption; between neighbours there are five transitions, and they are just the
five labels of a pair:

    empty -> empty   empty_empty        caption -> empty     valid_empty
    empty -> caption empty_valid        caption -> caption   same, different

A pair's evidence for a transition is log P(label | forward) + log P(reversed label | backward): the network
sees both orders of a pair, and both must agree. The best path (Viterbi 1967) makes neighbouring labels
consistent, which single pairs are not: "same" cannot follow "empty_empty". The probability of a boundary is
its transition's posterior (forward-backward, Rabiner 1989, section III), which counts every other path.

`EVIDENCE` tempers the sum: two directions of one pair are not independent, and a network is too sure of
itself. It is fitted on validation scenes by `python -m video_pipeline.captions.train calibrate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from video_pipeline.captions.database import open_to_read
from video_pipeline.captions.labels import LABELS, REVERSED
from video_pipeline.errors import Internal

if TYPE_CHECKING:
    from video_pipeline.captions.document import Edge

EVIDENCE = 0.3
"""Weight of the summed log probabilities: 0.5 is their mean."""

CHANGE_PRIOR = 0.2
"""Prior probability that a boundary lies between two samples. In programmes it is 0.04 to 0.08, but the
network learns from scenes with 0.3 and is never surer than 0.98: their prior would overrule its surest
word."""

LONGEST_S = 60
STANDS_S = 20
"""Captions come and go. What leaves no picture empty in a video longer than the first, and changes less
often than the second on average, is none: it is a logo, or a sign in a picture that never changes. In the
programmes of the evaluation captions stand for 2.7 s on average at most, and none for longer than 5."""

_SMALLEST = 1e-6
"""Floor of a probability, so that one saturated pair cannot veto a path for ever."""

_SAME, _DIFFERENT, _EMPTY_EMPTY, _EMPTY_VALID, _VALID_EMPTY = range(5)
_FROM_EMPTY = np.array([False, False, True, True, False])
_TO_EMPTY = np.array([False, False, True, False, True])


@dataclass(frozen=True, slots=True)
class Extent:
    """One caption over the samples `first_frame` .. `end_frame` - 1, with the probability of either end."""

    first_frame: int
    end_frame: int
    start_confidence: float
    end_confidence: float
    start_beside: Edge
    end_beside: Edge


class Decoded(NamedTuple):
    """Labels (N - 1,) of the best path as positions in LABELS, and the posteriors (N - 1, 5) of all."""

    path: np.ndarray
    posteriors: np.ndarray


def find_extents(database: Path) -> list[Extent]:
    """The captions of a caption extents database, in order. Internal if pairs are missing in it."""
    return extents_of(read_probabilities(database))


def read_probabilities(database: Path) -> np.ndarray:
    """(N - 1, 2, 5) float64: the forward and backward probabilities of each pair, in the order of LABELS."""
    names = [f"{direction}_prob_{label}" for direction in ("forward", "backward") for label in LABELS]
    connection = open_to_read(database)
    try:
        rows = connection.execute(
            f"SELECT frame1_index, frame2_index, {', '.join(names)} FROM pair_results ORDER BY frame1_index"
        ).fetchall()
    finally:
        connection.close()
    for index, row in enumerate(rows):
        if row[:2] != (index, index + 1):
            raise Internal(f"pair ({row[0]}, {row[1]}) stands where ({index}, {index + 1}) belongs")
    return np.array([row[2:] for row in rows], np.float64).reshape(len(rows), 2, len(LABELS))


def extents_of(probabilities: np.ndarray) -> list[Extent]:
    """Captions of N samples from the probabilities of their N - 1 pairs, (N - 1, 2, 5).

    No pairs (a video of one sample) give no captions: a single picture has nothing to be compared with.
    """
    if not len(probabilities):
        return []
    path, posteriors = decode(evidence_of(probabilities))
    sure = posteriors[np.arange(len(path)), path]
    edges = (float(posteriors[0, ~_FROM_EMPTY].sum()), float(posteriors[-1, ~_TO_EMPTY].sum()))
    inside = not _FROM_EMPTY[path[0]]
    return extents_along(path, sure, np.arange(len(path)), len(path), inside=inside, edges=edges)


def extents_along(
    path: np.ndarray,
    sure: np.ndarray,
    pairs: np.ndarray,
    count: int,
    *,
    inside: bool,
    edges: tuple[float, float],
) -> list[Extent]:
    """Captions along a path: labels (M,), how sure each is (M,) 0..1, and the pairs (M,) they are of, in
    order, out of `count`. `inside` tells whether the video begins with a caption, `edges` how sure one is at
    its first and last sample.
    """
    extents: list[Extent] = []
    start: tuple[int, float, Edge] | None = (0, edges[0], "video_edge") if inside else None
    for label, confidence, at in zip(path, sure, pairs, strict=True):
        pair = int(at)
        if label in (_VALID_EMPTY, _DIFFERENT) and start is not None:
            beside: Edge = "empty" if label == _VALID_EMPTY else "other_caption"
            extents.append(Extent(start[0], pair + 1, start[1], float(confidence), start[2], beside))
            start = None
        if label in (_EMPTY_VALID, _DIFFERENT):
            beside = "empty" if label == _EMPTY_VALID else "other_caption"
            start = (pair + 1, float(confidence), beside)
    if start is not None:
        extents.append(Extent(start[0], count + 1, start[1], edges[1], start[2], "video_edge"))
    return extents


def stands_throughout(extents: Sequence[Extent], count: int, rate: Fraction) -> bool:
    """Whether what was found in `count` samples at `rate` Hz is no caption but something that stays."""
    if not extents or count <= LONGEST_S * rate or count <= STANDS_S * rate * len(extents):
        return False
    ends = [0, *(extent.end_frame for extent in extents)]
    return ends[-1] == count and ends[:-1] == [extent.first_frame for extent in extents]


def evidence_of(
    probabilities: np.ndarray, weight: float = EVIDENCE, change: float = CHANGE_PRIOR
) -> np.ndarray:
    """(N - 1, 2, 5) probabilities to log scores (N - 1, 5) of the five transitions."""
    logs = np.log(np.maximum(probabilities, _SMALLEST))
    both = weight * (logs[:, 0] + logs[:, 1, REVERSED])
    stay, move = np.log(1 - change), np.log(change)
    return both + np.array([stay, move, stay, move, move])


def decode(evidence: np.ndarray) -> Decoded:
    """Best path and posteriors for log scores (M, 5); M >= 1. State 0 is empty, state 1 shows a caption."""
    scores = np.full((len(evidence), 2, 2), -np.inf)
    scores[:, 0, 0], scores[:, 0, 1] = evidence[:, _EMPTY_EMPTY], evidence[:, _EMPTY_VALID]
    scores[:, 1, 0] = evidence[:, _VALID_EMPTY]
    within = evidence[:, [_SAME, _DIFFERENT]]
    path = _best_path(scores, within)
    scores[:, 1, 1] = np.logaddexp(within[:, 0], within[:, 1])
    return Decoded(path, _posteriors(scores, within))


def _best_path(scores: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Viterbi. Between two caption states the better of `same` and `different` is taken."""
    best_within = within.argmax(axis=1)
    steps = scores.copy()
    steps[:, 1, 1] = within.max(axis=1)
    total = np.zeros(2)
    came_from = np.empty((len(steps), 2), np.int8)
    for index, step in enumerate(steps):
        through = total[:, None] + step
        came_from[index] = through.argmax(axis=0)
        total = through.max(axis=0)
    state = int(total.argmax())
    labels = np.empty(len(steps), np.int64)
    for index in range(len(steps) - 1, -1, -1):
        before = int(came_from[index, state])
        if before and state:
            labels[index] = (_SAME, _DIFFERENT)[best_within[index]]
        elif before:
            labels[index] = _VALID_EMPTY
        else:
            labels[index] = _EMPTY_VALID if state else _EMPTY_EMPTY
        state = before
    return labels


def _posteriors(scores: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Forward-backward in log space: (M, 5), each row sums to 1."""
    count = len(scores)
    ahead = np.zeros((count + 1, 2))
    for index in range(count):
        reached = ahead[index][:, None] + scores[index]
        ahead[index + 1] = np.logaddexp(reached[0], reached[1])
        ahead[index + 1] -= ahead[index + 1].max()
    behind = np.zeros((count + 1, 2))
    for index in range(count - 1, -1, -1):
        left = scores[index] + behind[index + 1]
        behind[index] = np.logaddexp(left[:, 0], left[:, 1])
        behind[index] -= behind[index].max()
    joint = ahead[:-1, :, None] + scores + behind[1:, None, :]
    logs = np.empty((count, len(LABELS)))
    logs[:, _EMPTY_EMPTY], logs[:, _EMPTY_VALID], logs[:, _VALID_EMPTY] = (
        joint[:, 0, 0],
        joint[:, 0, 1],
        joint[:, 1, 0],
    )
    logs[:, [_SAME, _DIFFERENT]] = joint[:, 1, 1, None] + within - scores[:, 1, 1, None]
    logs -= logs.max(axis=1, keepdims=True)
    chances = np.exp(logs)
    return chances / chances.sum(axis=1, keepdims=True)

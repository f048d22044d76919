"""A second opinion on pairs that the network was not sure of: more than two pictures are compared.

Belongs here: which pairs are doubtful, what the pictures around them say, captions from both. Does not belong
here: captions from pairs alone (`extents`), the exact picture of a change (`narrow`).

Two neighbouring pictures may tell too little: a logo beside the captions makes an empty picture look like a
caption, a face or a page behind one word hides that it became another. The median of up to four pictures
before a pair and that of up to four after it show what stands still in either, and little else; the same
network compares those two. Measured on `evaluation.development` (16 programmes, 638 captions): of 75 changes
that lay inside captions and that neighbouring pictures missed, all are above one half then, and of 848
doubtful pairs without a change none is.

All changes found, old and new, are then decoded again as one chain (`extents.decode`) with what is between
them weighed in, so that after a caption has gone there is nothing until the next one comes. Of the captions
there pairs alone do not find 6.1 %, and both together 0.9 %.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.captions.extents import Decoded, Extent, decode, evidence_of, extents_along
from video_pipeline.captions.labels import CHANGES, LABELS, REVERSED
from video_pipeline.captions.medians import median
from video_pipeline.streaming.pipeline import Pipeline

if TYPE_CHECKING:
    from video_pipeline.media.frames import CroppedPicture
    from video_pipeline.models.caption_pairs import CaptionPairNet, Features

WIDE = 4
"""Samples to either side whose median is taken; fewer where another caption begins or ends."""

DOUBT = 0.02
"""Posterior of a change, where the best path has none, from which it is looked at again: 893 of 8,336 pairs
on the development programmes. None of the changes that were missed there had less; at 0.05 a sixth has."""

CHANGED = 0.5
"""Probability of a change between the medians from which there is one."""

APART = 2
"""Samples around a change within which there is no second one: medians of either side see both as one."""

BETWEEN = 0.3
"""Weight of the mean log probability of the pairs between two changes; from 0.3 to 0.6 nothing differs, at 0
more phantoms are found (1.3 % for 0.8 %)."""

_Sides = tuple[int, np.ndarray, np.ndarray]
"""A pair, and the median strips before and after it."""

_BATCH = 16
_SMALLEST = 1e-6
_SAME, _EMPTY_EMPTY = LABELS.index("same"), LABELS.index("empty_empty")
_INTO_CAPTION = np.array([True, True, False, True, False])
_FROM_CAPTION = np.array([True, True, False, False, True])


@dataclass(frozen=True)
class Pairs:
    """What pairs alone say of N samples: `probabilities` (N - 1, 2, 5), and both decoded."""

    probabilities: np.ndarray
    decoded: Decoded

    @classmethod
    def of(cls, probabilities: np.ndarray) -> Pairs:
        return cls(probabilities, decode(evidence_of(probabilities)))

    @property
    def change(self) -> np.ndarray:
        """(N - 1,) the posterior of any change."""
        return self.decoded.posteriors[:, CHANGES].sum(axis=1)

    @property
    def on_path(self) -> np.ndarray:
        """(N - 1,) bool: where the best path has a change."""
        return np.isin(self.decoded.path, CHANGES)

    @property
    def doubtful(self) -> np.ndarray:
        """(N - 1,) bool: where it has none, but might."""
        return (self.change > DOUBT) & ~self.on_path


def opinions(
    net: CaptionPairNet, pairs: Pairs, pictures: Iterable[CroppedPicture], device: str = "cpu"
) -> dict[int, np.ndarray]:
    """By pair, changes of the path and doubtful ones: log probabilities (5,) of the medians around it, both
    directions averaged. `pictures` are those of all samples, in order; memory is flat.

    They are taken in a thread of their own, so that the decoder works on while medians are compared.
    """
    medians = _Medians(pairs, device)
    waiting: list[_Sides] = []
    found: dict[int, np.ndarray] = {}

    def compare(picture: CroppedPicture) -> None:
        waiting.extend(medians.take(picture))
        while len(waiting) >= _BATCH:
            found.update(_compared(net, waiting[:_BATCH], device))
            del waiting[:_BATCH]

    def needed() -> Iterator[CroppedPicture]:
        return itertools.takewhile(lambda _picture: medians.wanting, pictures)

    Pipeline("decode", needed, [], sink=compare, sink_name="compare").run()
    if waiting:
        found.update(_compared(net, waiting, device))
    return found


def reconsidered(pairs: Pairs, opinions: dict[int, np.ndarray]) -> list[Extent]:
    """The captions of pairs and opinions together, in order."""
    rows = _changes(pairs, opinions)
    count = len(pairs.probabilities)
    if not rows:
        always = bool((pairs.decoded.path == _SAME).any())
        edge = np.zeros(0, np.int64)
        return extents_along(edge, edge, edge, count, inside=always, edges=_edges(pairs))
    logs = np.log(np.maximum(pairs.probabilities, _SMALLEST))
    both = (logs[:, 0] + logs[:, 1, REVERSED]) / 2
    evidence = np.stack([opinions[row] for row in rows]) + evidence_of(pairs.probabilities)[rows]
    between = BETWEEN * np.stack(
        [_mean(both[after + 1 : row]) for after, row in zip([-1, *rows], [*rows, count], strict=True)]
    )
    evidence += np.where(_INTO_CAPTION, between[1:, 1:], between[1:, :1])
    evidence[0] += np.where(_FROM_CAPTION, between[0, 1], between[0, 0])
    chain = decode(evidence)
    sure = chain.posteriors[np.arange(len(rows)), chain.path] * _here(pairs.change, rows)
    inside = bool(_FROM_CAPTION[chain.path[0]])
    return extents_along(chain.path, sure, np.array(rows), count, inside=inside, edges=_edges(pairs))


class _Medians:
    """Puts together the median strips before and after each pair to look at, out of pictures in order."""

    def __init__(self, pairs: Pairs, device: str) -> None:
        self._device = device
        self._held: dict[int, np.ndarray] = {}
        self._wanted: deque[tuple[int, int, int]] = deque()
        edges = np.array([-1, *np.flatnonzero(pairs.on_path), len(pairs.probabilities)])
        for pair in np.flatnonzero(pairs.on_path | pairs.doubtful):
            before, after = edges[edges < pair][-1], edges[edges > pair][0]
            self._wanted.append((int(pair), max(before + 1, pair - WIDE + 1), min(after, pair + WIDE)))

    @property
    def wanting(self) -> bool:
        """Whether any picture is wanted still."""
        return bool(self._wanted)

    def take(self, picture: CroppedPicture) -> Iterator[_Sides]:
        """The pairs that are complete with this picture, with both strips in the network's size."""
        small: np.ndarray | None = None
        for sample in picture.samples:
            if any(low <= sample <= high for _, low, high in self._near()):
                small = _small(picture, self._device) if small is None else small
                self._held[sample] = small
            while self._wanted and self._wanted[0][2] == sample:
                pair, low, high = self._wanted.popleft()
                yield pair, _median(self._held, low, pair + 1), _median(self._held, pair + 1, high + 1)
            low = min((low for _, low, _ in self._near()), default=sample + 1)
            self._held = {at: plane for at, plane in self._held.items() if at >= low}

    def _near(self) -> Iterator[tuple[int, int, int]]:
        return itertools.islice(self._wanted, 2 * WIDE + 1)


def _small(picture: CroppedPicture, device: str) -> np.ndarray:
    from video_pipeline.models.caption_pairs import resize, stack_planes

    return resize(stack_planes([picture.frame.y], device))[0].cpu().numpy()


def _median(held: dict[int, np.ndarray], start: int, stop: int) -> np.ndarray:
    return median([held[at] for at in range(start, stop)])


def _compared(net: CaptionPairNet, items: list[_Sides], device: str) -> dict[int, np.ndarray]:
    import torch

    from video_pipeline.models.caption_pairs import as_input, stack_planes

    def encoded(planes: list[np.ndarray]) -> Features:
        return net.encode(as_input(stack_planes(planes, device)))

    with torch.inference_mode():
        before, after = encoded([item[1] for item in items]), encoded([item[2] for item in items])
        forward, backward = net.classify(before, after)
        both = (forward.log_softmax(1) + backward.log_softmax(1)[:, REVERSED]) / 2
    return dict(zip((item[0] for item in items), both.double().cpu().numpy(), strict=True))


def _changes(pairs: Pairs, opinions: dict[int, np.ndarray]) -> list[int]:
    """Pairs in order at which something may change: those of the path, and doubtful ones that the medians
    confirm; of several of those within `APART` the one that neighbouring pictures say most of."""
    taken = [int(pair) for pair in np.flatnonzero(pairs.on_path)]
    confirmed = [
        int(pair)
        for pair in np.flatnonzero(pairs.doubtful)
        if np.exp(opinions[int(pair)][CHANGES]).sum() > CHANGED
    ]
    for pair in sorted(confirmed, key=lambda pair: -pairs.change[pair]):
        if all(abs(pair - other) > APART for other in taken):
            taken.append(pair)
    return sorted(taken)


def _mean(both: np.ndarray) -> np.ndarray:
    """(2,) mean log probability that nothing, and that one caption, stands through these pairs (M, 5)."""
    return both[:, [_EMPTY_EMPTY, _SAME]].mean(axis=0) if len(both) else np.zeros(2)


def _here(change: np.ndarray, rows: list[int]) -> np.ndarray:
    """(R,) of each change, if it is one, the probability that it lies at its very pair and at none within
    `APART`."""
    edges = [-1, *rows, len(change)]
    shares = []
    for before, row, after in zip(edges, rows, edges[2:], strict=False):
        around = change[max(before + 1, row - APART) : min(after, row + APART + 1)].sum()
        shares.append(change[row] / max(around, _SMALLEST))
    return np.array(shares)


def _edges(pairs: Pairs) -> tuple[float, float]:
    """Probabilities that a caption stands in the first and in the last sample."""
    posteriors = pairs.decoded.posteriors
    return float(posteriors[0, _FROM_CAPTION].sum()), float(posteriors[-1, _INTO_CAPTION].sum())

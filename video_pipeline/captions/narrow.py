"""From a sample to a source picture: when exactly a caption appears or goes.

Belongs here: which pictures around a boundary to look at, and where among them the change lies. Does not
belong here: finding captions (`extents`), decoding.

A boundary at sample k says that the change lies between the pictures of samples k - 1 and k. The pictures
between them were skipped; here each is compared with both ends by the same network. Exactly one change lies
in the window (the path through the samples says so), so the answer is the split whose evidence is greatest.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.captions.labels import LABELS, REVERSED, Label

if TYPE_CHECKING:
    from video_pipeline.media.frames import CroppedPicture
    from video_pipeline.models.caption_pairs import CaptionPairNet, Features

NARROWING_VERSION = 1
"""Part of the text recipe: other pictures or another rule are other times."""

MAX_PICTURES = 32
"""Pictures of a window at most: 60 Hz video sampled at 2 Hz is looked at whole. Beyond, every second picture
is, or every fourth, and the resolution that is reached says so."""

_STAY: dict[Label, tuple[Label, Label]] = {
    "empty_valid": ("empty_empty", "same"),
    "valid_empty": ("same", "empty_empty"),
    "different": ("same", "same"),
}
"""By the boundary's label: the label of two pictures before it, and of two pictures after it."""


class Windows:
    """Where pictures between samples are wanted: between samples k - 1 and k for every boundary at k."""

    def __init__(self, pts: Sequence[int], boundaries: Sequence[int]) -> None:
        """`pts` (N,): each sample's source PTS; `boundaries`: sample numbers, 1 .. N - 1, in order."""
        self._lows = [pts[k - 1] for k in boundaries]
        self._highs = [pts[k] for k in boundaries]

    def between(self, pts: int) -> bool:
        """Whether a picture lies strictly inside a window."""
        at = bisect.bisect_left(self._lows, pts) - 1
        return at >= 0 and self._lows[at] < pts < self._highs[at]


@dataclass
class Gathered:
    """The pictures of one window, in order, thinned out evenly where there are more than `MAX_PICTURES`."""

    sample: int
    label: Label
    first: CroppedPicture
    inner: list[CroppedPicture] = field(default_factory=list)
    _stride: int = 1
    _seen: int = 0

    def add(self, picture: CroppedPicture) -> None:
        """A picture after `first` and before the window's last."""
        if self._seen % self._stride == 0:
            self.inner.append(picture)
        self._seen += 1
        if len(self.inner) > MAX_PICTURES - 2:
            self.inner = self.inner[::2]
            self._stride *= 2


def first_after_change(
    net: CaptionPairNet, label: Label, pictures: Sequence[CroppedPicture], device: str = "cpu"
) -> int:
    """Position (1 .. M - 1) of the first of M >= 2 pictures after the change that `label` names.

    The first picture lies before the change and the last one after it.
    """
    import torch

    from video_pipeline.models.caption_pairs import prepare, stack_planes

    count = len(pictures)
    if count == 2:
        return 1
    inner = list(range(1, count - 1))
    with torch.inference_mode():
        features = net.encode(prepare(stack_planes([picture.frame.y for picture in pictures], device)))
        to_first = _log_labels(net, features, [0] * len(inner), inner)
        to_last = _log_labels(net, features, inner, [count - 1] * len(inner))
    before, after = (LABELS.index(name) for name in _STAY[label])
    change = LABELS.index(label)
    if_before = to_first[:, before] + to_last[:, change]
    if_after = to_first[:, change] + to_last[:, after]
    scores = np.concatenate(([0.0], np.cumsum(if_before - if_after)))
    return 1 + int(scores.argmax())


def _log_labels(net: CaptionPairNet, features: Features, left: list[int], right: list[int]) -> np.ndarray:
    """(P, 5): log probabilities of pairs of the pictures, both directions averaged."""
    forward, backward = net.classify(features.select(left), features.select(right))
    both = forward.log_softmax(1) + backward.log_softmax(1)[:, REVERSED]
    return (both / 2).cpu().numpy()

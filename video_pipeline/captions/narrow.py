"""From a sample to a source picture: when exactly a caption appears or goes.

Belongs here: where among the pictures around an end the change lies. Does not belong here: which pictures to
look at (`windows`), how opaque a caption is in them (`opacity`), finding captions (`extents`).

Where a caption fades, its end is where it is half opaque, which `opacity` measures; this may move the end by
some samples. All else is a cut. A boundary at sample k says that the
change lies between the pictures of samples k - 1 and k. The pictures between them were skipped; here each is
compared with both ends by the same network. Exactly one change lies in the window (the path through the
samples says so), so the answer is the split whose evidence is greatest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.captions.labels import LABELS, REVERSED, Label
from video_pipeline.captions.opacity import Fade, follow
from video_pipeline.captions.windows import Window

if TYPE_CHECKING:
    from video_pipeline.media.frames import CroppedPicture
    from video_pipeline.models.caption_pairs import CaptionPairNet, Features

NARROWING_VERSION = 4
"""Part of the text recipe: other pictures or another rule are other times."""

MAX_PICTURES = 32
"""Pictures of a cut's bracket at most: 60 Hz video sampled at 2 Hz is looked at whole. Beyond, every second
picture is, or every fourth, and the resolution that is reached says so."""

FADE_ERROR_SECONDS = 0.012
"""Standard deviation of a fade's crossing: of 282 ends on `evaluation.development` a quarter is off by a
picture of 20 to 42 ms, as with this."""

FADES_RIGHT = 0.98
"""Share of fades that are within a picture at all, on the same."""

CLEAR_CUT = 15.0
"""How much likelier a boundary at its very sample has a clear cut of opacity there than one that is not at
it, and how much less likely it has none. Of 961 ends that do not fade on `evaluation.development`, 891 of 949
right ones have one and none of the eight wrong ones that are of more than two pictures."""

_STAY: dict[Label, tuple[Label, Label]] = {
    "empty_valid": ("empty_empty", "same"),
    "valid_empty": ("same", "empty_empty"),
    "different": ("same", "same"),
}
"""By the boundary's label: the label of two pictures before it, and of two pictures after it."""


@dataclass(frozen=True)
class Narrowed:
    """One end of a caption among source pictures: the last `before` the change and the first `after` it that
    were looked at, and the `sample` it is at now. `confidence` is the probability, 0..1, that it is at that
    very sample where a fade told it, and None where the network's word stands; the odds of that word are then
    to be multiplied by `odds`."""

    sample: int
    before: CroppedPicture
    after: CroppedPicture
    confidence: float | None
    odds: float = 1.0


def narrowed(net: CaptionPairNet, window: Window, time_base: Fraction, device: str = "cpu") -> Narrowed:
    """Where the end of a caption lies in its window. `time_base` is seconds per tick of the pictures' PTS."""
    span, pictures = window.span, window.pictures
    clock = [float(picture.pts * time_base) for picture in pictures]
    planes = [picture.frame.to_host().y for picture in pictures]
    course = follow(planes, clock, window.change, end=span.end == "end")
    fade = course.fade
    if fade is not None:
        before, after = pictures[fade.position - 1 : fade.position + 1]
        sample = next(kept.samples[0] for kept in pictures[fade.position :] if kept.samples)
        return Narrowed(sample, before, after, _sureness(fade, pictures, clock))
    bracket = window.bracket
    step = -(-len(bracket) // MAX_PICTURES)
    bracket = [*bracket[:-1:step], bracket[-1]]
    at = first_after_change(net, span.label, bracket, device)
    odds = 1.0
    if not course.short:
        first = window.change - len(window.bracket) + 1
        inside = course.cut is not None and first < course.cut <= window.change
        odds = CLEAR_CUT if inside else 1 / CLEAR_CUT
    return Narrowed(span.sample, bracket[at - 1], bracket[at], None, odds)


def _sureness(fade: Fade, pictures: Sequence[CroppedPicture], clock: Sequence[float]) -> float:
    """Probability that the true crossing lies between the same two samples."""
    shows = [at for at, picture in enumerate(pictures) if picture.samples]
    earlier = max((clock[at] for at in shows if at < fade.position), default=clock[0])
    later = min((clock[at] for at in shows if at >= fade.position), default=clock[-1])
    off = FADE_ERROR_SECONDS * math.sqrt(2)
    within = math.erf((later - fade.seconds) / off) + math.erf((fade.seconds - earlier) / off)
    return FADES_RIGHT * within / 2


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

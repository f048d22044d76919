"""How good a caption pair network is: on stored scenes, on the demo clip, and in milliseconds.

Belongs here: confusion matrices and what is read off them, the demo clip's figures, the cost.
Does not belong here: fitting, or the sentences of the model card (`card.py`).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch

from video_pipeline.captions.inference import PairClassifier, PairResult, classify_all
from video_pipeline.captions.labels import LABELS, Label, pair_label, reverse
from video_pipeline.captions.train.data import SceneSet, network_input, pairs_of
from video_pipeline.models.caption_pairs import CaptionPairNet
from video_pipeline.models.weights import LoadedModel


def predictions(
    net: CaptionPairNet, scenes: SceneSet, batch: int = 8
) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
    """(shape, scene, true labels, predicted labels) of the neighbouring pairs of every scene, both directions
    averaged."""
    net.eval()
    swap = [
        LABELS.index(label) for label in ("same", "different", "empty_empty", "valid_empty", "empty_valid")
    ]
    found = []
    for shape, ids in enumerate(scenes.captions):
        for at in range(0, len(ids), batch):
            numbers = np.arange(at, min(at + batch, len(ids)))
            pairs = pairs_of(ids[numbers], (1,))
            with torch.inference_mode():
                pictures = network_input(scenes.pictures[shape][numbers]).flatten(0, 1)[:, None]
                features = net.encode(pictures)
                forward, backward = net.classify(features.select(pairs.left), features.select(pairs.right))
                chances = forward.softmax(1) + backward.softmax(1)[:, swap]
            guesses, truth = chances.argmax(1).numpy(), pairs.labels.numpy()
            owner = pairs.left.numpy() // ids.shape[1]
            for index, number in enumerate(numbers):
                mine = owner == index
                found.append((shape, int(number), truth[mine], guesses[mine]))
    return found


def confusion_of(net: CaptionPairNet, scenes: SceneSet) -> np.ndarray:
    """Counts (5, 5): rows are the truth, columns the prediction, in the order of LABELS."""
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    for _, _, truth, guesses in predictions(net, scenes):
        np.add.at(confusion, (truth, guesses), 1)
    return confusion


def balanced_accuracy(confusion: np.ndarray) -> float:
    """Mean recall over the labels that occur."""
    totals = confusion.sum(axis=1)
    return float((confusion.diagonal()[totals > 0] / totals[totals > 0]).mean())


def accuracy_by_effect(net: CaptionPairNet, scenes: SceneSet) -> dict[str, tuple[float, int]]:
    """Share of pairs that are right, and their number, for every effect and script in the scenes."""
    right: dict[str, int] = {}
    total: dict[str, int] = {}
    for shape, number, truth, guesses in predictions(net, scenes):
        for effect in set(scenes.effects[shape][number]):
            right[effect] = right.get(effect, 0) + int((truth == guesses).sum())
            total[effect] = total.get(effect, 0) + len(truth)
    return {
        effect: (right[effect] / total[effect], total[effect]) for effect in sorted(total) if total[effect]
    }


@dataclass(frozen=True)
class ClipReport:
    """A clip with known cues, sampled: pair accuracy, and each cue's error at both ends in samples.

    `errors` has one entry per cue: (start error, end error), predicted minus true, or None where no predicted
    caption overlaps the cue most. Cues that no sample shows are left out.
    """

    pairs: int
    accuracy: float
    balanced_accuracy: float
    errors: list[tuple[int, int] | None]
    phantoms: int

    def within(self, samples: int) -> float:
        """Share of all boundaries (two per cue) that are at most `samples` off."""
        near = sum(abs(end) <= samples for found in self.errors if found for end in found)
        return near / (2 * len(self.errors))


DEMO = Path(__file__).resolve().parents[2] / "demo"
DEMO_CLIP, DEMO_CUES = DEMO / "street.mp4", DEMO / "street.cues.json"


def demo_report(
    model: LoadedModel, clip: Path = DEMO_CLIP, cues: Path = DEMO_CUES, *, rate: int = 10
) -> ClipReport:
    """Decode the clip, take the pictures at k / rate, crop, classify, and compare with the cue list."""
    truth = json.loads(cues.read_text(encoding="utf-8"))
    planes, frames = sampled_strips(clip, truth["crop_region"], rate)
    captions: list[int | None] = [
        next(
            (n for n, cue in enumerate(truth["cues"]) if cue["start_frame"] <= frame < cue["end_frame"]), None
        )
        for frame in frames
    ]
    results = list(classify_all(model, (Strip(plane) for plane in planes)))
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    guesses: list[Label] = [_joint(result) for result in results]
    for index, guess in enumerate(guesses):
        confusion[LABELS.index(pair_label(captions[index], captions[index + 1])), LABELS.index(guess)] += 1
    predicted = spans_of(guesses)
    errors: list[tuple[int, int] | None] = []
    used: set[int] = set()
    for number in sorted({caption for caption in captions if caption is not None}):
        shown = [index for index, caption in enumerate(captions) if caption == number]
        start, end = shown[0], shown[-1] + 1
        overlaps = [min(end, b) - max(start, a) for a, b in predicted]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best < 0 or overlaps[best] <= 0 or best in used:
            errors.append(None)
            continue
        used.add(best)
        errors.append((predicted[best][0] - start, predicted[best][1] - end))
    accuracy = float(confusion.diagonal().sum() / confusion.sum())
    return ClipReport(
        len(results), accuracy, balanced_accuracy(confusion), errors, len(predicted) - len(used)
    )


def sampled_strips(clip: Path, crop: dict[str, float], rate: int) -> tuple[list[np.ndarray], list[int]]:
    """Cropped luma (H, W) of the picture at each k / rate of a constant-rate clip, and its number."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        frame_rate = Fraction(stream.average_rate or 0)
        pictures = [frame.to_ndarray()[: frame.height] for frame in container.decode(stream)]
    height, width = pictures[0].shape
    left, top = (round(crop[side] * full / 2) * 2 for side, full in (("left", width), ("top", height)))
    wide, high = (round(crop[side] * full / 2) * 2 for side, full in (("width", width), ("height", height)))
    wanted = range(math.ceil(len(pictures) * rate / frame_rate))
    frames = [math.floor(k * frame_rate / rate) for k in wanted]
    planes = [np.ascontiguousarray(pictures[frame][top : top + high, left : left + wide]) for frame in frames]
    return planes, frames


@dataclass(frozen=True)
class Strip:
    """A cropped luma plane, as `PairClassifier` takes it."""

    y: np.ndarray


def _joint(result: PairResult) -> Label:
    """The label both directions agree on most."""
    forward = dict(zip(LABELS, result.forward.probs, strict=True))
    backward = dict(zip(LABELS, result.backward.probs, strict=True))
    sums = [forward[label] + backward[reverse(label)] for label in LABELS]
    return LABELS[sums.index(max(sums))]


def spans_of(labels: Sequence[Label]) -> list[tuple[int, int]]:
    """Half-open sample ranges of captions, read off the labels pair by pair: a measuring stick only."""
    spans: list[tuple[int, int]] = []
    start: int | None = 0 if labels and labels[0] in ("same", "different", "valid_empty") else None
    for index, label in enumerate(labels):
        if label in ("different", "valid_empty", "empty_empty") and start is not None:
            spans.append((start, index + 1))
            start = None
        if label in ("different", "empty_valid"):
            start = index + 1
        elif label == "same" and start is None:
            start = index
    if start is not None:
        spans.append((start, len(labels) + 1))
    return spans


def milliseconds_per_frame(
    model: LoadedModel, height: int = 160, width: int = 1280, batch: int = 32, rounds: int = 20
) -> float:
    """Median CPU time of one frame (prepare, encode, both directions) in a full batch.

    Counts the calling thread only: set torch to one thread first.
    """
    rng = np.random.default_rng(0)
    strips = [Strip(rng.integers(0, 256, (height, width), dtype=np.uint8)) for _ in range(batch)]
    classifier = PairClassifier(model, batch_size=batch)
    times = []
    for turn in range(rounds):
        began = time.thread_time()
        for index, strip in enumerate(strips):
            classifier.push(turn * batch + index, strip)
        times.append((time.thread_time() - began) * 1000 / batch)
    return float(np.median(times[1:]))

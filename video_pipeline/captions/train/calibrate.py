"""How far the network's probabilities can be trusted along a path: fits `extents.EVIDENCE`.

Belongs here: the fit on validation scenes, and the table that shows whether confidences are true. Does not
belong here: training, accuracy (`evaluate.py`).

`extents` sums the log probabilities of both directions, weighted. The weight is the one under which the
posteriors of whole scenes explain the true labels best (greatest mean log posterior: one parameter, so 600
scenes are plenty). Scenes change captions more often than programmes do; the fit uses their own share.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from video_pipeline.captions.extents import decode, evidence_of
from video_pipeline.captions.labels import LABELS
from video_pipeline.captions.train.data import SceneSet, label_numbers, network_input
from video_pipeline.captions.train.scenes import SAMPLES, UNSURE
from video_pipeline.models.caption_pairs import CaptionPairNet

UNKNOWN = -1
WEIGHTS = np.round(np.arange(0.1, 1.21, 0.05), 2)
STEPS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0)


def scene_chances(net: CaptionPairNet, scenes: SceneSet) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per scene: probabilities of its pairs (SAMPLES - 1, 2, 5), and true labels, UNKNOWN amid a fade."""
    found = []
    left = np.arange(SAMPLES - 1)
    for shape, ids in enumerate(scenes.captions):
        for number in range(len(ids)):
            with torch.inference_mode():
                pictures = network_input(scenes.pictures[shape][number : number + 1])[0][:, None]
                features = net.encode(pictures)
                both = net.classify(features.select(left.tolist()), features.select((left + 1).tolist()))
            chances = np.stack([logits.softmax(1).double().numpy() for logits in both], axis=1)
            a, b = ids[number, :-1], ids[number, 1:]
            truth = label_numbers(a, b)
            truth[(a == UNSURE) | (b == UNSURE)] = UNKNOWN
            found.append((chances, truth))
    return found


def fit_evidence(scenes: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, dict[float, float]]:
    """The best weight, and the mean log posterior of the true labels by weight."""
    change = share_of_changes(scenes)
    scores: dict[float, float] = {}
    for weight in WEIGHTS:
        logs = []
        for chances, truth in scenes:
            posteriors = decode(evidence_of(chances, weight=float(weight), change=change)).posteriors
            known = np.flatnonzero(truth != UNKNOWN)
            logs.append(np.log(np.maximum(posteriors[known, truth[known]], 1e-12)))
        scores[float(weight)] = float(np.concatenate(logs).mean())
    return max(scores, key=scores.__getitem__), scores


def share_of_changes(scenes: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Share of the known pairs that are boundaries."""
    truth = np.concatenate([labels for _, labels in scenes])
    truth = truth[truth != UNKNOWN]
    stays = (truth == LABELS.index("same")) | (truth == LABELS.index("empty_empty"))
    return float((~stays).mean())


def reliability(
    scenes: list[tuple[np.ndarray, np.ndarray]], weight: float
) -> list[tuple[float, float, int, float, float]]:
    """(from, to, pairs, mean confidence, share right) of the best path's labels, by confidence."""
    change = share_of_changes(scenes)
    sure, right = [], []
    for chances, truth in scenes:
        found = decode(evidence_of(chances, weight=weight, change=change))
        known = truth != UNKNOWN
        sure.append(found.posteriors[np.arange(len(truth)), found.path][known])
        right.append((found.path == truth)[known])
    confidence, correct = np.concatenate(sure), np.concatenate(right)
    rows = []
    for low, high in itertools.pairwise(STEPS):
        inside = (confidence >= low) & ((confidence < high) | (high == 1.0))
        if inside.any():
            mean, share = float(confidence[inside].mean()), float(correct[inside].mean())
            rows.append((low, high, int(inside.sum()), mean, share))
    return rows


def report(net: CaptionPairNet, scenes: SceneSet) -> str:
    """The fitted weight and the table, as the command prints them."""
    chances = scene_chances(net, scenes)
    weight, scores = fit_evidence(chances)
    lines = [f"EVIDENCE = {weight} (mean log posterior {scores[weight]:.4f}; at 0.5 {scores[0.5]:.4f})", ""]
    lines.append("confidence of a label   pairs   mean   right")
    lines += [
        f"{low:.3f} .. {high:.3f}        {count:8d}  {mean:.3f}  {share:.3f}"
        for low, high, count, mean, share in reliability(chances, weight)
    ]
    return "\n".join(lines)

"""Calibration: the weight that is fitted is the one under which confidences are true."""

from __future__ import annotations

import numpy as np
import pytest

from video_pipeline.captions.extents import EVIDENCE
from video_pipeline.captions.labels import LABELS, reverse
from video_pipeline.captions.train.calibrate import UNKNOWN, fit_evidence, reliability, share_of_changes
from video_pipeline.models.weights import SHIPPED_CAPTION_WEIGHTS

REVERSED = [LABELS.index(reverse(label)) for label in LABELS]


def scenes_of(*, independent: bool, count: int = 400) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scenes of consistent labels with honest probabilities: Gaussian evidence, whose log likelihoods are the
    logits. The two directions are of two looks, or the same look twice."""
    rng = np.random.default_rng(4)
    scenes = []
    for _ in range(count):
        valid = np.zeros(16, bool)
        for index in range(1, 16):
            valid[index] = rng.random() < (0.7 if valid[index - 1] else 0.3)
        new = rng.random(15) < 0.3
        truth = np.array(
            [
                LABELS.index(("different" if new[i] else "same") if valid[i + 1] else "valid_empty")
                if valid[i]
                else LABELS.index("empty_valid" if valid[i + 1] else "empty_empty")
                for i in range(15)
            ]
        )
        looks = [_honest(truth, rng) for _ in range(2)]
        forward, backward = looks if independent else (looks[0], looks[0])
        scenes.append((np.stack((forward, backward[:, REVERSED]), axis=1), truth))
    return scenes


def _honest(truth: np.ndarray, rng: np.random.Generator, step: float = 1.6) -> np.ndarray:
    seen = rng.normal(0, 1, (len(truth), 5))
    seen[np.arange(len(truth)), truth] += step
    likelihood = np.exp(step * seen)
    return likelihood / likelihood.sum(axis=1, keepdims=True)


@pytest.mark.slow
def test_one_look_told_twice_counts_half() -> None:
    assert abs(fit_evidence(scenes_of(independent=False))[0] - 0.5) <= 0.1


@pytest.mark.slow
def test_two_looks_count_fully() -> None:
    assert abs(fit_evidence(scenes_of(independent=True))[0] - 1.0) <= 0.15


@pytest.mark.slow
def test_with_the_fitted_weight_confidences_are_true() -> None:
    scenes = scenes_of(independent=True)
    weight, _ = fit_evidence(scenes)
    for _, _, count, mean, share in reliability(scenes, weight):
        assert abs(mean - share) < 0.05 or count < 100


def test_pairs_amid_a_fade_are_not_counted() -> None:
    (chances, truth), *_ = scenes_of(independent=True, count=1)
    same, different = LABELS.index("same"), LABELS.index("different")
    truth = np.array([same, different, UNKNOWN, UNKNOWN] + [same] * 11)
    assert share_of_changes([(chances, truth)]) == 1 / 13


def test_the_shipped_model_was_calibrated_with_the_weight_in_use() -> None:
    assert f"`EVIDENCE` = {EVIDENCE}," in SHIPPED_CAPTION_WEIGHTS.with_suffix(".md").read_text()

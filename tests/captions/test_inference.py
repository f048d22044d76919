from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from video_pipeline.captions.inference import PairClassifier, PairResult, classify_all
from video_pipeline.captions.labels import LABELS, reverse
from video_pipeline.captions.train.evaluate import DEMO_CLIP, DEMO_CUES, Strip, demo_report, sampled_strips
from video_pipeline.errors import BadInput, Internal
from video_pipeline.models.caption_pairs import CaptionPairNet
from video_pipeline.models.weights import load_caption_model

MODEL = load_caption_model()


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def demo_strips() -> list[Strip]:
    """The demo clip's caption strips at 10 Hz: real footage with captions."""
    crop = json.loads(DEMO_CUES.read_text(encoding="utf-8"))["crop_region"]
    return [Strip(plane) for plane in sampled_strips(DEMO_CLIP, crop, 10)[0]]


def classify(frames: list[Strip], batch_size: int = 32) -> list[PairResult]:
    return list(classify_all(MODEL, iter(frames), batch_size=batch_size))


def timeless(results: list[PairResult]) -> list[PairResult]:
    return [dataclasses.replace(result, processing_time_ms=0.0) for result in results]


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("count", [0, 1, 2, 31, 32, 33, 65])
def test_n_frames_give_n_minus_one_neighbouring_pairs(count: int, batch_size: int) -> None:
    results = classify(demo_strips()[:count], batch_size)
    expected = [(index, index + 1) for index in range(count - 1)]
    assert [(result.frame1_index, result.frame2_index) for result in results] == expected


def test_the_batch_size_does_not_change_the_values() -> None:
    reference = classify(demo_strips()[90:155], 32)
    for batch_size in (1, 7):
        for ours, theirs in zip(classify(demo_strips()[90:155], batch_size), reference, strict=True):
            for direction in ("forward", "backward"):
                a, b = getattr(ours, direction), getattr(theirs, direction)
                np.testing.assert_allclose(a.probs, b.probs, atol=1e-4)


def test_two_runs_with_one_batch_size_are_equal_to_the_last_bit() -> None:
    frames = demo_strips()[:70]
    assert timeless(classify(frames, 7)) == timeless(classify(frames, 7))


def test_pairs_come_out_when_a_batch_is_full_and_never_before() -> None:
    classifier = PairClassifier(MODEL, batch_size=8)
    lengths = [len(classifier.push(index, frame)) for index, frame in enumerate(demo_strips()[:20])]
    assert lengths == [0] * 7 + [7] + [0] * 7 + [8] + [0] * 4
    assert len(classifier.finish()) == 4
    assert classifier.finish() == []


def test_each_frame_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = CaptionPairNet.encode

    def counting(self: CaptionPairNet, luma: torch.Tensor):
        encoded.append(len(luma))
        return encode(self, luma)

    monkeypatch.setattr(CaptionPairNet, "encode", counting)
    classify(demo_strips()[:65], 16)
    assert encoded == [16, 16, 16, 16, 1]


def test_a_frame_object_that_comes_again_is_not_encoded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    once = demo_strips()[128:152]
    thrice = [frame for frame in once for _ in range(3)]
    copies = [Strip(frame.y.copy()) for frame in thrice]
    expected = classify(copies, 8)
    encoded: list[int] = []
    encode = CaptionPairNet.encode

    def counting(self: CaptionPairNet, luma: torch.Tensor):
        encoded.append(len(luma))
        return encode(self, luma)

    monkeypatch.setattr(CaptionPairNet, "encode", counting)
    results = classify(thrice, 8)
    assert sum(encoded) == len(once)
    for ours, theirs in zip(results, expected, strict=True):
        np.testing.assert_allclose(ours.forward.probs, theirs.forward.probs, atol=1e-4)


def test_a_whole_batch_of_one_repeated_frame_works() -> None:
    results = classify([demo_strips()[3]] * 21, 4)
    assert len(results) == 20
    assert {result.forward.label for result in results} == {"same"}


def test_playing_the_frames_backwards_swaps_forward_and_backward() -> None:
    frames = demo_strips()[95:140]
    there, back = classify(frames), classify(frames[::-1])[::-1]
    for ahead, behind in zip(there, back, strict=True):
        np.testing.assert_allclose(ahead.forward.probs, behind.backward.probs, atol=1e-4)
        np.testing.assert_allclose(ahead.backward.probs, behind.forward.probs, atol=1e-4)
    one_sided = [result for result in there if result.forward.label in ("empty_valid", "valid_empty")]
    assert one_sided, "this stretch has captions that appear and vanish"
    assert all(result.backward.label == reverse(result.forward.label) for result in one_sided)


def test_the_probabilities_are_five_sum_to_one_and_carry_the_label() -> None:
    for result in classify(demo_strips()[:64]):
        for direction in (result.forward, result.backward):
            assert sum(direction.probs) == pytest.approx(1, abs=1e-5)
            assert (
                direction.confidence == max(direction.probs) == direction.probs[LABELS.index(direction.label)]
            )
        assert result.processing_time_ms > 0


@pytest.mark.parametrize("index", [0, 2, 5])
def test_a_frame_out_of_order_is_an_internal_error(index: int) -> None:
    classifier = PairClassifier(MODEL)
    classifier.push(0, demo_strips()[0])
    with pytest.raises(Internal, match="frame 1 was due"):
        classifier.push(index, demo_strips()[1])


def test_a_frame_of_another_size_is_an_internal_error() -> None:
    classifier = PairClassifier(MODEL)
    classifier.push(0, demo_strips()[0])
    with pytest.raises(Internal, match="Frame 1"):
        classifier.push(1, Strip(np.zeros((72, 574), np.uint8)))


def test_a_batch_of_no_frames_is_bad_input() -> None:
    with pytest.raises(BadInput):
        PairClassifier(MODEL, batch_size=0)


@pytest.mark.parametrize("shape", [(16, 16), (16, 1920), (1080, 64), (402, 27), (26, 402)])
def test_strips_of_odd_proportions_are_classified(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    frames = [Strip(rng.integers(0, 256, shape, dtype=np.uint8)) for _ in range(3)]
    assert len(classify(frames)) == 2


def test_the_demo_clips_captions_are_found_to_the_sample() -> None:
    report = demo_report(MODEL)
    assert report.pairs == 419
    assert report.accuracy >= 0.99
    assert report.balanced_accuracy >= 0.97
    assert report.phantoms == 0
    assert all(found is not None for found in report.errors), "a caption was not found"
    assert report.within(1) == 1.0
    assert report.within(0) >= 0.96


def test_a_frame_of_a_1280x160_strip_costs_less_than_the_budget() -> None:
    from video_pipeline.captions.train.evaluate import milliseconds_per_frame

    assert milliseconds_per_frame(MODEL, rounds=6) < 9.0, (
        "the target is 3 ms; three times that leaves room for a slow machine"
    )

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import ROOT
from video_pipeline.captions.labels import LABELS, Label, pair_label
from video_pipeline.captions.train.data import (
    SceneSet,
    as_stored,
    batches,
    label_numbers,
    network_input,
    numbered_scene,
    pairs_of,
)
from video_pipeline.captions.train.evaluate import balanced_accuracy, confusion_of, spans_of
from video_pipeline.captions.train.fit import Recipe, fit, fold, with_batch_norm
from video_pipeline.captions.train.media import load_media
from video_pipeline.captions.train.scenes import EMPTY, SAMPLES, SHAPES, UNSURE
from video_pipeline.errors import BadInput
from video_pipeline.models.caption_pairs import CaptionPairNet, input_size, prepare

MEDIA = ROOT / ".cache" / "training"
needs_media = pytest.mark.skipif(
    not (MEDIA / "photos").is_dir(), reason="needs scripts/fetch_training_media.py to have run"
)


def test_labels_of_arrays_are_those_of_single_pairs() -> None:
    ids = np.array([EMPTY, 0, 1, 2])
    left, right = (side.ravel() for side in np.meshgrid(ids, ids))
    for a, b, number in zip(left, right, label_numbers(left, right), strict=True):
        expected = pair_label(None if a == EMPTY else int(a), None if b == EMPTY else int(b))
        assert LABELS[number] == expected


def test_pairs_leave_out_frames_amid_a_fade_and_never_cross_scenes() -> None:
    captions = np.full((2, SAMPLES), EMPTY)
    captions[1, 5] = UNSURE
    pairs = pairs_of(captions, (1, 2))
    assert (pairs.left // SAMPLES == pairs.right // SAMPLES).all()
    assert SAMPLES + 5 not in torch.cat((pairs.left, pairs.right))
    assert len(pairs.left) == (15 + 14) + (15 + 14 - 4)


def test_folding_the_batch_norms_does_not_change_the_network() -> None:
    torch.manual_seed(0)
    net = with_batch_norm(CaptionPairNet())
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
    net.eval()
    folded = fold(net)
    assert set(folded.state_dict()) == set(CaptionPairNet().state_dict())
    pictures = torch.randn(3, 1, 64, 512)
    with torch.inference_mode():
        for ours, theirs in zip(
            net.classify(net.encode(pictures), net.encode(pictures.flip(0))),
            folded.classify(folded.encode(pictures), folded.encode(pictures.flip(0))),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_stored_pictures_are_the_products_own_input() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 96, 768), dtype=np.uint8)
    direct = prepare(torch.from_numpy(frames))[:, 0]
    assert torch.equal(network_input(as_stored(frames)[None])[0], direct)


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_all_heights_of_a_shape_have_one_input_size(shape: int) -> None:
    aspect, heights, _ = SHAPES[shape]
    sizes = {input_size(height, round(height * aspect / 2) * 2) for height in heights}
    assert sizes == {input_size(1000, round(1000 * aspect))}


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        ([], []),
        (["empty_empty"], []),
        (["same", "same"], [(0, 3)]),
        (["empty_valid", "same", "different", "valid_empty"], [(1, 3), (3, 4)]),
        (["valid_empty", "empty_empty", "empty_valid"], [(0, 1), (3, 4)]),
    ],
)
def test_spans_are_read_off_the_labels(labels: list[Label], spans: list[tuple[int, int]]) -> None:
    assert spans_of(labels) == spans


def test_balanced_accuracy_is_the_mean_recall_of_the_labels_that_occur() -> None:
    confusion = np.zeros((5, 5), int)
    confusion[0, 0], confusion[1, 1], confusion[1, 0] = 90, 1, 1
    assert balanced_accuracy(confusion) == pytest.approx(0.75)


def test_missing_media_are_bad_input_that_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="fetch_training_media"):
        load_media(tmp_path, "train")


@needs_media
def test_no_photograph_clip_font_or_line_is_in_two_splits_and_the_demo_is_only_tested_on() -> None:
    train, val, test = (load_media(MEDIA, split) for split in ("train", "val", "test"))
    for kind in ("photos", "clips"):
        parts = [set(getattr(media, kind)) for media in (train, val, test)]
        assert len(set.union(*parts)) == sum(len(part) for part in parts)
    for kind in ("fonts", "texts"):
        parts = [{x for many in getattr(media, kind).values() for x in many} for media in (train, val, test)]
        assert len(set.union(*parts)) == sum(len(part) for part in parts)
    shown = [
        str(path)
        for media in (train, val)
        for paths in (media.clips, *media.fonts.values())
        for path in paths
    ]
    assert not [name for name in shown if "vtest" in name or "DejaVu" in name]


@needs_media
def test_a_scenes_number_decides_it_whole() -> None:
    media = load_media(MEDIA, "test")
    (first_shape, first), (shape, again) = numbered_scene(media, 5, 3), numbered_scene(media, 5, 3)
    assert first_shape == shape
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.captions, again.captions)


@pytest.mark.slow
def test_training_repeats_from_its_seed_and_learns_what_is_easy() -> None:
    rng = np.random.default_rng(0)
    ids = rng.choice([EMPTY, 0, 1], (12, SAMPLES))
    pictures = np.full((12, SAMPLES, 64, 512), 60, np.uint8)
    pictures[ids == 0, 20:40, 40:200] = 220
    pictures[ids == 1, 20:40, 300:460] = 220
    empty = [np.empty((0, SAMPLES, *input_size(1000, round(1000 * SHAPES[0][0]))), np.uint8)]
    scenes = SceneSet(
        [*empty * 3, pictures, *empty * 2],
        [ids if shape == 3 else np.empty((0, SAMPLES), int) for shape in range(len(SHAPES))],
        [[("plain",)] * (12 if shape == 3 else 0) for shape in range(len(SHAPES))],
    )
    recipe = Recipe(seed=3, epochs=3, batch=2, average=0.5)
    first, second = fit(scenes, scenes, recipe), fit(scenes, scenes, recipe)
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert balanced_accuracy(confusion_of(first, scenes)) > 0.5


def test_a_pass_over_a_set_deals_every_scene_at_most_once_and_one_shape_at_a_time() -> None:
    scenes = SceneSet(
        [np.empty(0)] * 6, [np.zeros((count, SAMPLES), int) for count in (5, 8, 0, 1, 12, 3)], [[]] * 6
    )
    dealt = [
        (shape, int(n)) for shape, numbers in batches(scenes, 4, np.random.default_rng(0)) for n in numbers
    ]
    assert len(dealt) == len(set(dealt)) == 4 + 8 + 12

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from video_pipeline.models.caption_pairs import (
    INPUT_PIXELS,
    STRIDE,
    CaptionPairNet,
    input_size,
    prepare,
    stack_planes,
)


@given(st.integers(16, 2160), st.integers(16, 3840))
def test_any_strip_gets_an_input_of_about_the_same_area_in_whole_strides(height: int, width: int) -> None:
    rows, columns = input_size(height, width)
    assert rows % STRIDE == columns % STRIDE == 0
    assert INPUT_PIXELS * 0.6 <= rows * columns <= INPUT_PIXELS * 1.5


@pytest.mark.parametrize(("height", "width"), [(160, 1280), (72, 576), (80, 1280), (160, 640), (27, 402)])
def test_the_proportions_of_usual_strips_are_kept_within_a_fifth(height: int, width: int) -> None:
    rows, columns = input_size(height, width)
    assert columns / rows == pytest.approx(width / height, rel=0.2)


def test_prepare_is_the_antialiased_resize_that_pillow_makes() -> None:
    rng = np.random.default_rng(1)
    plane = rng.integers(0, 256, (160, 1280), dtype=np.uint8)
    rows, columns = input_size(160, 1280)
    by_pillow = np.asarray(Image.fromarray(plane).resize((columns, rows), Image.Resampling.BILINEAR))
    ours = prepare(torch.from_numpy(plane)[None])[0, 0].numpy() * 56 + 112
    np.testing.assert_allclose(ours, by_pillow, atol=1.01)
    assert (np.abs(ours - by_pillow) > 0.5).mean() < 0.02, "both round to whole luma steps"


def test_prepare_gives_each_frame_the_same_values_alone_and_in_a_batch() -> None:
    rng = np.random.default_rng(2)
    planes = torch.from_numpy(rng.integers(0, 256, (5, 90, 700), dtype=np.uint8))
    together = prepare(planes)
    for index in range(5):
        assert torch.equal(prepare(planes[index : index + 1])[0], together[index])


def test_planes_may_come_from_numpy_or_from_torch() -> None:
    plane = np.arange(64 * 512, dtype=np.uint8).reshape(64, 512)
    stacked = stack_planes([plane, torch.from_numpy(plane)])
    assert stacked.shape == (2, 64, 512)
    assert torch.equal(stacked[0], stacked[1])


def test_swapping_the_frames_swaps_the_two_directions_exactly() -> None:
    torch.manual_seed(3)
    net = CaptionPairNet().eval()
    with torch.inference_mode():
        features = net.encode(torch.randn(2, 1, 64, 512))
        a, b = features.select([0]), features.select([1])
        forward, backward = net.classify(a, b)
        swapped_forward, swapped_backward = net.classify(b, a)
    torch.testing.assert_close(forward, swapped_backward)
    torch.testing.assert_close(backward, swapped_forward)
    assert not torch.allclose(forward, backward), "an untrained net must tell the directions apart"


def test_a_copy_of_one_frames_features_does_not_keep_the_batch_alive() -> None:
    net = CaptionPairNet().eval()
    with torch.inference_mode():
        features = net.encode(torch.randn(8, 1, 64, 512))
        kept = features.select(slice(-1, None)).copy()
    assert kept.maps.untyped_storage().nbytes() == features.maps.untyped_storage().nbytes() // 8

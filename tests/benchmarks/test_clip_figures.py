"""What judges clips must see what is wrong with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.clip_media import SAMPLE_RATE, click
from benchmarks.clip_peers import RecordedNetwork
from benchmarks.clip_truth import _click_near


@pytest.mark.parametrize("late", [-0.04, 0.0, 0.0125, 0.06])
def test_a_click_is_found_as_late_as_it_is(late: float) -> None:
    sound = np.random.default_rng(3).normal(0, 0.01, SAMPLE_RATE)
    begin = round((0.5 + late) * SAMPLE_RATE)
    sound[begin : begin + len(click())] += 0.6 * click()
    assert _click_near(sound, 0.5) - 0.5 == pytest.approx(late, abs=1 / SAMPLE_RATE)


def test_the_double_of_the_network_gives_again_what_it_made_first_in_order() -> None:
    network = RecordedNetwork()
    upscaler = network.as_upscaler()
    pictures = [torch.full((1, 4, 6, 3), shade, dtype=torch.uint8) for shade in (10, 200)]
    made = [next(upscaler.enlarge(picture)).clone() for picture in pictures]
    assert made[0].shape == (1, 3, 16, 24)
    network.rewind()
    again = [next(upscaler.enlarge(torch.zeros_like(picture))) for picture in pictures]
    for one, other in zip(made, again, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(*again)


def test_the_double_refuses_another_size_than_it_made() -> None:
    network = RecordedNetwork()
    upscaler = network.as_upscaler()
    next(upscaler.enlarge(torch.zeros((1, 4, 6, 3), dtype=torch.uint8)))
    network.rewind()
    with pytest.raises(AssertionError):
        next(upscaler.enlarge(torch.zeros((1, 6, 6, 3), dtype=torch.uint8)))

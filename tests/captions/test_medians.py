"""Medians of pictures are numpy's, value for value."""

from __future__ import annotations

import numpy as np
import pytest

from video_pipeline.captions.medians import lower_median, median


def some_pictures(count: int) -> list[np.ndarray]:
    return [
        np.random.default_rng(seed).integers(0, 256, (7, 33, 3)).astype(np.uint8) for seed in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 9, 15, 24])
def test_medians_are_those_that_numpy_finds(count: int) -> None:
    pictures = some_pictures(count)
    stack = np.stack(pictures)
    middle = (count - 1) // 2
    assert (lower_median(pictures) == np.partition(stack, middle, axis=0)[middle]).all()
    assert (median(pictures) == np.median(stack, axis=0).astype(np.uint8)).all()
    assert median(pictures).dtype == np.uint8


def test_the_pictures_themselves_stay_as_they_are() -> None:
    pictures = some_pictures(5)
    for picture in pictures:
        picture.setflags(write=False)
    middle = median(pictures)
    assert not any(np.shares_memory(middle, picture) for picture in pictures)
    assert all((one == other).all() for one, other in zip(pictures, some_pictures(5), strict=True))


def test_no_pictures_have_no_median() -> None:
    with pytest.raises(ValueError, match="at least one"):
        median([])

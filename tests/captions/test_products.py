"""Inner products of pictures are right."""

from __future__ import annotations

import numpy as np
import pytest

from video_pipeline.captions.products import inner


@pytest.mark.parametrize("shape", [(162_560,), (12, 162_560), (0,)])
def test_an_inner_product_is_the_one_in_twice_the_precision(shape: tuple[int, ...]) -> None:
    chance = np.random.default_rng(5)
    rows = chance.normal(0, 9, shape).astype(np.float32)
    vector = chance.normal(0, 9, shape[-1]).astype(np.float32)
    found = inner(rows, vector)
    assert (found.shape, found.dtype) == (shape[:-1], np.float32)
    size = np.sqrt((rows.astype(np.float64) ** 2).sum(-1) * (vector.astype(np.float64) ** 2).sum())
    assert (np.abs(found - rows.astype(np.float64) @ vector) <= 1e-5 * size).all()

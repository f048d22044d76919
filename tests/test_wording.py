"""Counts as people read them."""

from __future__ import annotations

import pytest

from video_pipeline.wording import counted


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs"), (1200, "1,200 runs")], ids=str
)
def test_one_alone_is_no_plural_and_thousands_are_set_apart(count: int, told: str) -> None:
    assert counted(count, "run") == told

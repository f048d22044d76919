"""Recipes: whatever changes an artefact changes its recipe, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from video_pipeline.captions import recipes
from video_pipeline.captions.recipes import (
    chunks_recipe,
    extents_recipe,
    frames_recipe,
    layout_recipe,
    text_recipe,
)
from video_pipeline.media.geometry import PixelCrop

CROP = PixelCrop(left=32, top=270, width=576, height=72)
MAKERS: dict[str, tuple[Callable[..., str], dict[str, Any], dict[str, Any]]] = {
    "frames": (
        frames_recipe,
        {"source_version": "v1", "crop": CROP, "rate": Fraction(10)},
        {"source_version": "v2", "rate": Fraction(30000, 1001)},
    ),
    "chunks": (
        chunks_recipe,
        {"frames": "f" * 16, "preset": "fast", "encoder_version": 1},
        {"frames": "e" * 16, "preset": "small", "encoder_version": 2},
    ),
    "extents": (
        extents_recipe,
        {"frames": "f" * 16, "weights_sha256": "a" * 64, "task_version": 1},
        {"frames": "e" * 16, "weights_sha256": "b" * 64, "task_version": 2},
    ),
    "layout": (
        layout_recipe,
        {"source_version": "v1", "weights_sha256": "a" * 64, "layout_version": 1, "task_version": 1},
        {"source_version": "v2", "weights_sha256": "b" * 64, "layout_version": 2, "task_version": 2},
    ),
    "text": (
        text_recipe,
        {
            "extents": "f" * 16,
            "ocr_version": "reader 1",
            "narrowing_version": 1,
            "chunks": "c" * 16,
            "task_version": 1,
        },
        {
            "extents": "e" * 16,
            "ocr_version": None,
            "narrowing_version": 2,
            "chunks": None,
            "task_version": 2,
        },
    ),
}


@pytest.mark.parametrize(
    ("artefact", "changed"), [(name, part) for name, (_, _, other) in MAKERS.items() for part in other]
)
def test_each_part_changes_the_recipe(artefact: str, changed: str) -> None:
    make, parts, other = MAKERS[artefact]
    assert make(**parts) == make(**parts)
    assert make(**parts) != make(**(parts | {changed: other[changed]}))


@pytest.mark.parametrize("edge", ["left", "top", "width", "height"])
def test_each_edge_of_the_crop_changes_the_frames(edge: str) -> None:
    make, parts, _ = MAKERS["frames"]
    moved = replace(CROP, **{edge: getattr(CROP, edge) + 2})
    assert make(**parts) != make(**(parts | {"crop": moved}))


def test_another_sampling_rule_is_another_set_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    make, parts, _ = MAKERS["frames"]
    before = make(**parts)
    monkeypatch.setattr(recipes, "SAMPLING_RULE_VERSION", recipes.SAMPLING_RULE_VERSION + 1)
    assert make(**parts) != before


def test_one_rate_has_one_recipe_however_it_was_written() -> None:
    make, parts, _ = MAKERS["frames"]
    assert make(**(parts | {"rate": Fraction("12.5")})) == make(**(parts | {"rate": Fraction(25, 2)}))


def test_artefacts_of_equal_parts_do_not_share_a_recipe() -> None:
    """Each lies below a prefix of its own, but a recipe is also compared without one."""
    chunks = chunks_recipe(frames="f" * 16, preset="fast", encoder_version=1)
    extents = extents_recipe(frames="f" * 16, weights_sha256="fast", task_version=1)
    assert chunks != extents


def test_recipes_are_sixteen_hex_digits() -> None:
    for make, parts, _ in MAKERS.values():
        recipe = make(**parts)
        assert len(recipe) == 16
        assert set(recipe) <= set("0123456789abcdef")


def test_the_recipes_of_today_are_those_of_published_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written down: were they to change by accident, every video would be made again at the next run."""
    monkeypatch.setattr(recipes, "SAMPLING_RULE_VERSION", 1)
    assert {name: make(**parts) for name, (make, parts, _) in MAKERS.items()} == {
        "frames": "f8b8f9817c8f1d2d",
        "chunks": "92f60bdd3e9887b5",
        "extents": "0e4cdf72078dbba2",
        "layout": "59931973f458a53d",
        "text": "2a6607bc361ad7fd",
    }

"""Recipes: what an artefact is made of, as one hash per artefact.

Belongs here: the recipe of each artefact. Does not belong here: making anything, where it lies (`keys`), or
the versions that enter a recipe by hand (they stand beside the code they describe).
"""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction

from video_pipeline.keys import recipe_hash
from video_pipeline.media.geometry import PixelCrop
from video_pipeline.media.timeline import SAMPLING_RULE_VERSION


def layout_recipe(*, source_version: str, weights_sha256: str, layout_version: int, task_version: int) -> str:
    """H(source version, SHA-256 of the weights, version of the rule, version of the task)."""
    return recipe_hash(
        artefact="layout",
        source=source_version,
        weights=weights_sha256,
        layout=layout_version,
        task=task_version,
    )


def frames_recipe(*, source_version: str, crop: PixelCrop, rate: Fraction) -> str:
    """H(source version, pixel crop, rate, version of the sampling rule)."""
    return recipe_hash(
        artefact="frames",
        source=source_version,
        crop=asdict(crop),
        rate=rate,
        sampling_rule=SAMPLING_RULE_VERSION,
    )


def chunks_recipe(*, frames: str, preset: str, encoder_version: int) -> str:
    """H(frames, preset, version of the encoder settings)."""
    return recipe_hash(artefact="chunks", frames=frames, preset=preset, encoder=encoder_version)


def extents_recipe(*, frames: str, weights_sha256: str, task_version: int) -> str:
    """H(frames, SHA-256 of the weights, version of the task)."""
    return recipe_hash(artefact="extents", frames=frames, weights=weights_sha256, task=task_version)


def text_recipe(
    *, extents: str, ocr_version: str | None, narrowing_version: int, chunks: str | None, task_version: int
) -> str:
    """H(extents, version of the recogniser, rule of narrowing, chunks in the review page, version of the
    task). None: without text, without chunks."""
    return recipe_hash(
        artefact="text",
        extents=extents,
        ocr=ocr_version,
        narrowing=narrowing_version,
        chunks=chunks,
        task=task_version,
    )

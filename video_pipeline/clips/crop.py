"""Where the crop of a re-framed clip lies at a moment: proportions, limits and the grid it snaps to.

Belongs here: pure geometry, exact in integers once it is on the grid. Does not belong here: key frames and
what is between them (`interpolation`), pixels (`reframe`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from video_pipeline.errors import BadInput

WHOLE_PIXELS = 1.0
"""A crop given in whole pixels can rarely have the output's proportions: 203x360 stands for 202.5x360. So
much width beyond them asks for no more height."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of a picture. Its numbers count steps of 1/`grid` source pixel; edges, not sample centres."""

    left: int
    top: int
    width: int
    height: int
    grid: int


@dataclass(frozen=True, slots=True)
class Cut:
    """A rectangle of whole pixels, all four numbers even."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes a crop has to do with, in pixels: of the source's picture and of the output, all even."""

    source_width: int
    source_height: int
    output_width: int
    output_height: int


def place_crop(wanted: tuple[float, float, float, float], shape: Shape, grid: int) -> Crop:
    """The crop for a wanted (left, top, width, height) in source pixels.

    It has the output's proportions and the wanted centre, is the smallest that holds the wanted rectangle
    (but for WHOLE_PIXELS of its width), is made smaller where the picture is, and is then pushed inside. Size
    and place are each rounded to the grid, halves up, so proportions are kept to half a step a side. A little
    change of what is wanted changes the crop a little. BadInput for a width or height that is not above 0,
    and for numbers that are not finite.
    """
    left, top, width, height = (float(value) for value in wanted)
    if not all(map(math.isfinite, (left, top, width, height))) or width <= 0 or height <= 0:
        raise BadInput(
            "A crop needs a finite place and a width and height above 0.",
            input=f"{width:g}x{height:g} at ({left:g}, {top:g})",
            what_to_do="give the crop's left and top edge, width and height in pixels of the source",
        )
    proportion = shape.output_width / shape.output_height
    tall = height + max(0.0, width - height * proportion - WHOLE_PIXELS) / proportion
    tall = min(tall, shape.source_height, shape.source_width / proportion)
    across = max(1, _nearest(tall * proportion * grid))
    down = max(1, _nearest(tall * grid))
    return Crop(
        left=_inside((left + width / 2) * grid - across / 2, shape.source_width * grid - across),
        top=_inside((top + height / 2) * grid - down / 2, shape.source_height * grid - down),
        width=across,
        height=down,
        grid=grid,
    )


def needs_upscaling(crop: Crop, shape: Shape) -> bool:
    """True if the crop has fewer pixels than the output in width or in height."""
    return crop.width < shape.output_width * crop.grid or crop.height < shape.output_height * crop.grid


def may_need_upscaling(key_frames: np.ndarray, shape: Shape, grid: int) -> bool:
    """True if somewhere along key frames (n, 4: left, top, width, height) a crop may need the network.

    Never False where one does. Between two key frames a crop can be smaller than at both, where width grows
    while height shrinks, so each pair's smaller width and height are looked at together.
    """
    sizes = np.asarray(key_frames, dtype=np.float64)[:, 2:]
    least = np.minimum(sizes, np.concatenate((sizes[1:], sizes[-1:])))
    crops = (place_crop((0.0, 0.0, width, height), shape, grid) for width, height in least.tolist())
    return any(needs_upscaling(crop, shape) for crop in crops)


def cut_around(crop: Crop, shape: Shape) -> Cut:
    """The whole pixels that the network gets to see for a crop.

    Even numbers, so that chroma is cut between samples. The size depends on the crop's size alone, wherever
    it lies, so that the crops of a pan go through the network in one batch: up to 4 pixels a side larger.
    """
    left, width = _even_range(crop.left, crop.width, crop.grid, shape.source_width)
    top, height = _even_range(crop.top, crop.height, crop.grid, shape.source_height)
    return Cut(left=left, top=top, width=width, height=height)


def _even_range(start: int, length: int, grid: int, whole: int) -> tuple[int, int]:
    """Start and length in pixels of the least even range that holds the crop wherever it starts."""
    farthest = 2 * grid - 1
    pixels = min(-(-(length + farthest) // (2 * grid)) * 2, whole)
    return min(start // (2 * grid) * 2, whole - pixels), pixels


def _inside(start: float, last: int) -> int:
    return min(max(_nearest(start), 0), last)


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)

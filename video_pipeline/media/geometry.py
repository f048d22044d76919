"""Crop regions: from fractions of the displayed picture to pixels, and from there into the coded picture.

Belongs here: the one rounding rule and the one mapping through rotation, shared by every decoder. Does not
belong here: pixels. Pure; no media library.

Words. The *coded* picture is what the codec stores (after the codec's own cropping); the *displayed* picture
is the coded one after the container's display matrix (ISO/IEC 14496-12, section 6.2.2 and 8.3.2). Pixel
aspect ratio plays no part: a fraction of the width is the same fraction of a stretched width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, model_validator

from video_pipeline.errors import BadInput

MIN_CROP_SIDE = 16
"""Pixels. Below this a caption cannot be read, and VP9 would spend more on headers than on content."""

_SLACK_PIXELS = 1e-3
"""A fraction typed as 0.3333 and one computed as 1/3 must round to the same edge."""


class CropRegion(BaseModel):
    """A rectangle as fractions 0..1 of the displayed picture (after rotation); `left + width <= 1`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    left: float = Field(ge=0, lt=1, allow_inf_nan=False)
    top: float = Field(ge=0, lt=1, allow_inf_nan=False)
    width: float = Field(gt=0, le=1, allow_inf_nan=False)
    height: float = Field(gt=0, le=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _ends_inside_the_picture(self) -> CropRegion:
        for start, length in (("left", "width"), ("top", "height")):
            end = getattr(self, start) + getattr(self, length)
            if end > 1 + 1e-9:
                raise ValueError(
                    f"{start} + {length} = {end:.6g} is more than 1: the crop leaves the picture"
                )
        return self


@dataclass(frozen=True)
class PixelCrop:
    """A rectangle in pixels of the displayed picture: even position, even size, at least 16x16, inside it."""

    left: int
    top: int
    width: int
    height: int


def to_pixel_crop(region: CropRegion, display_width: int, display_height: int) -> PixelCrop:
    """The pixels of `region` in a displayed picture of `display_width` x `display_height` pixels.

    Each edge goes outwards to the next even pixel (an edge within 1/1000 pixel of one stays there), so no
    row of a caption is lost; then inwards to the even part of the picture: of an odd size the last coded row
    or column, which has no chroma sample of its own, is never part of a crop.
    Raises BadInput if fewer than 16 pixels remain in either direction.
    """
    left, right = _even_span(region.left, region.width, display_width)
    top, bottom = _even_span(region.top, region.height, display_height)
    crop = PixelCrop(left=left, top=top, width=right - left, height=bottom - top)
    if crop.width < MIN_CROP_SIDE or crop.height < MIN_CROP_SIDE:
        raise BadInput(
            f"the crop region is {crop.width}x{crop.height} pixels of a {display_width}x{display_height} "
            f"picture; at least {MIN_CROP_SIDE}x{MIN_CROP_SIDE} are needed",
            input=f"crop_region {region.left:g},{region.top:g} {region.width:g}x{region.height:g}",
            what_to_do="enlarge the crop region, or use a video of higher resolution.",
        )
    return crop


def _even_span(start: float, length: float, size: int) -> tuple[int, int]:
    even_size = size // 2 * 2
    first = math.floor((start * size + _SLACK_PIXELS) / 2) * 2
    last = math.ceil(((start + length) * size - _SLACK_PIXELS) / 2) * 2
    return min(first, even_size), min(last, even_size)


@dataclass(frozen=True)
class Orientation:
    """How the coded picture is turned for display: first `rotation` degrees clockwise, then mirrored
    left to right if `mirrored`. The eight right-angled cases of a display matrix."""

    rotation: int = 0
    mirrored: bool = False

    @property
    def swaps_sides(self) -> bool:
        return self.rotation in (90, 270)

    def display_size(self, coded_width: int, coded_height: int) -> tuple[int, int]:
        """(width, height) of the displayed picture."""
        return (coded_height, coded_width) if self.swaps_sides else (coded_width, coded_height)


def orientation_from_matrix(matrix: tuple[int, ...]) -> Orientation | None:
    """The orientation of a 3x3 display matrix (9 numbers, row by row, 16.16 fixed point for the first two
    columns); None if it is not right-angled.

    ISO/IEC 14496-12 6.2.2 maps a coded point (x, y) to (a x + c y, b x + d y) for rows (a b u)(c d v).
    Scale is ignored, signs and the swap of axes count; translation is whatever brings the picture back to
    the origin.
    """
    a, b, _, c, d = matrix[:5]
    big = max(abs(a), abs(b), abs(c), abs(d))
    if big == 0:
        return None

    def sign(value: int) -> int:
        return 0 if abs(value) < big * 0.01 else (1 if value > 0 else -1)

    return _ORIENTATIONS.get((sign(a), sign(b), sign(c), sign(d)))


_ORIENTATIONS = {
    (1, 0, 0, 1): Orientation(0),
    (0, 1, -1, 0): Orientation(90),
    (-1, 0, 0, -1): Orientation(180),
    (0, -1, 1, 0): Orientation(270),
    (-1, 0, 0, 1): Orientation(0, mirrored=True),
    (0, 1, 1, 0): Orientation(90, mirrored=True),
    (1, 0, 0, -1): Orientation(180, mirrored=True),
    (0, -1, -1, 0): Orientation(270, mirrored=True),
}


@dataclass(frozen=True)
class CodedCrop:
    """A crop's rectangle in the coded picture: even left and top, even size, so chroma samples stay whole."""

    left: int
    top: int
    width: int
    height: int


def to_coded_crop(
    crop: PixelCrop, orientation: Orientation, coded_width: int, coded_height: int
) -> CodedCrop:
    """Where `crop`, given in the displayed picture, lies in the coded one.

    The displayed picture is taken as the even part of the coded one, turned: so an odd coded size, turned,
    moves a crop by at most one pixel and never off the chroma grid.
    """
    width, height = coded_width // 2 * 2, coded_height // 2 * 2
    display_width, display_height = orientation.display_size(width, height)
    left, top = crop.left, crop.top
    if left + crop.width > display_width or top + crop.height > display_height:
        raise ValueError(f"{crop} leaves the displayed picture of {display_width}x{display_height}")
    if orientation.mirrored:
        left = display_width - left - crop.width
    right_gap = display_width - left - crop.width
    bottom_gap = display_height - top - crop.height
    match orientation.rotation:
        case 0:
            return CodedCrop(left, top, crop.width, crop.height)
        case 90:
            return CodedCrop(top, right_gap, crop.height, crop.width)
        case 180:
            return CodedCrop(right_gap, bottom_gap, crop.width, crop.height)
        case 270:
            return CodedCrop(bottom_gap, left, crop.height, crop.width)
    raise ValueError(f"rotation {orientation.rotation} is not 0, 90, 180 or 270")

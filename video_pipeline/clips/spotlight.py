"""Elliptical spotlights over a picture: what lies outside darkened, or what lies inside brightened.

Belongs here: the ellipse, its edge, and the arithmetic on 8-bit 4:2:0 planes. Does not belong here: the
request, the interpolation of key frames (`interpolation`), decoding or encoding.

How a region lights. (0, 0) is the picture's top left corner, and pixel (i, j) lies at (i + 1/2, j + 1/2).
With d the distance from the ellipse's centre in radii (1 on the ellipse), a region's mask is 1 for d <= 1 and
falls to 0 at d = 1 + feather by the smooth step 1 - e^2 (3 - 2e), e = (d - 1) / feather. A region's amount is
its opacity times its fade, which goes to 0 at the region's end, and its light is amount x mask. With the
largest light at a pixel, and the largest amount of all active regions:

- dark_overlay keeps 1 - strength x (amount - light) of luma above 16 and of chroma about 128. So the darkness
  goes as the last region fades out;
- brightness_boost adds strength x light of the same, up to luma 235 and chroma 16..240. What lies beyond
  those already stays.

Scaling Y' - 16, Cb - 128 and Cr - 128 alike scales R'G'B', of which they are sums (ITU-R BT.709-6, signal
format), so hue and saturation stay. The mask of a chroma sample is the mean of its 2x2 luma pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from video_pipeline.clips.interpolation import Curve, Interpolation
from video_pipeline.clips.spotlight_pixels import (
    BLACK,
    NEUTRAL,
    Box,
    cut,
    even_below,
    lighten_chroma,
    lighten_luma,
    mix,
    weights_of,
)
from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.frames import CroppedFrame

Effect = Literal["dark_overlay", "brightness_boost", "original"]
EFFECTS: tuple[Effect, ...] = ("dark_overlay", "brightness_boost", "original")

_STEPS = 4096  # of the falloff's table: one entry off is at most a third of a luma step
_BAND = 128  # rows done at once: what lies between stays in the cache; 16, 32 and 64 took longer
_SMALLEST_RADIUS = 0.5  # pixels: less might pass between two pixel centres
_SHARPEST_EDGE = 1e-6  # of the radius: keeps the table's indices far within an integer


@dataclass(frozen=True, slots=True, eq=False)
class SpotlightRegion:
    """One spotlight, active for start <= t < end (seconds).

    `times` are the key frames' seconds, strictly increasing; `values` (n, 5) their centre x and y and radius
    x and y in pixels of the picture, and opacity 0..1.
    """

    start: Fraction
    end: Fraction
    times: Sequence[Fraction]
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class _Light:
    """A region at one moment; `edge` is the feather used, in radii."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    edge: float
    amount: float

    def box(self, width: int, height: int) -> Box:
        """The part of the picture outside which the mask is 0."""
        reach_x, reach_y = self.radius_x * (1 + self.edge), self.radius_y * (1 + self.edge)
        return Box(
            even_below(self.x - reach_x, width),
            even_below(self.y - reach_y, height),
            width - even_below(width - self.x - reach_x, width),
            height - even_below(height - self.y - reach_y, height),
        )

    def mask_table(self) -> np.ndarray:
        """The mask (_STEPS + 1,), float64, over d^2 from 1 to (1 + edge)^2: first 1, last 0."""
        square = np.linspace(1.0, (1 + self.edge) ** 2, _STEPS + 1)
        e = np.clip((np.sqrt(square) - 1) / self.edge, 0.0, 1.0)
        return 1 - e * e * (3 - 2 * e)

    def weights(self, table: np.ndarray, box: Box) -> np.ndarray:
        """`table`'s entries (h, w) for the pixels of `box`, by their distance."""
        scale = _STEPS / ((1 + self.edge) ** 2 - 1)
        across = (np.arange(box.left, box.right) + 0.5 - self.x) / self.radius_x
        down = (np.arange(box.top, box.bottom) + 0.5 - self.y) / self.radius_y
        # Rounded before they are added: one entry off at most, and the sums are indices already.
        columns = np.rint(across * across * scale).astype(np.intp)
        rows = np.rint((down * down - 1) * scale).astype(np.intp)
        return table.take(rows[:, None] + columns, mode="clip")


class Spotlight:
    """Spotlights over the pictures of one clip; it keeps no state from picture to picture.

    `width` and `height` (even) are the pictures' size in pixels; `strength` 0..1 is the part of the light
    that is taken outside or gained inside; `feather` 0..1 the part of the radius, outwards, over which an
    edge falls off (at least a pixel of the longer radius, so that no edge is jagged); `fade_out` the seconds
    before a region's end in which it goes out (all of the region, if that is shorter). A radius below half a
    pixel counts as half a pixel.

    Raises BadInput that names the region for radii that are not positive, an opacity outside 0..1, an end
    that is not after the start, and what `Curve` refuses; and for parameters out of their range.
    """

    def __init__(
        self,
        regions: Sequence[SpotlightRegion],
        *,
        width: int,
        height: int,
        effect: Effect = "dark_overlay",
        strength: float = 0.6,
        feather: float = 0.25,
        fade_out: Fraction = Fraction(1, 2),
        interpolation: Interpolation = "linear",
    ) -> None:
        _check_parameters(width, height, effect, strength, feather, fade_out)
        self._width, self._height = width, height
        self._effect: Effect = effect
        self._strength, self._feather, self._fade_out = strength, feather, fade_out
        self._regions = [
            (region, _curve(region, interpolation, f"highlight region {number}"))
            for number, region in enumerate(regions)
        ]

    def apply(self, frame: CroppedFrame, t: Fraction) -> CroppedFrame:
        """The picture shown at `t` seconds with its spotlights: new planes, or `frame` itself where nothing
        changes (no active region, no opacity left, `original`). `frame` is limited range; its tags are kept.

        Equal to the formulas in float64 to within 1 of 255, and bit for bit the same wherever it is computed.
        Raises Internal if the picture is not of the size given at the start.
        """
        if (frame.width, frame.height) != (self._width, self._height):
            got, wanted = f"{frame.width}x{frame.height}", f"{self._width}x{self._height}"
            raise Internal(f"A picture of {got} came to a spotlight for {wanted}.")
        lights = self._lights(t)
        amount = max((light.amount for light in lights), default=0.0)
        if self._effect == "original" or weights_of(self._strength * amount) == 0:
            return frame
        if self._effect == "dark_overlay":
            return self._darkened(frame, lights, amount)
        return self._brightened(frame, lights)

    def _lights(self, t: Fraction) -> list[_Light]:
        lights = []
        for region, curve in self._regions:
            if not region.start <= t < region.end:
                continue
            x, y, radius_x, radius_y, opacity = (float(value) for value in curve.at(t))
            radius_x, radius_y = max(radius_x, _SMALLEST_RADIUS), max(radius_y, _SMALLEST_RADIUS)
            edge = max(self._feather, 1 / max(radius_x, radius_y), _SHARPEST_EDGE)
            fade = min(self._fade_out, region.end - region.start)
            left = float(min(Fraction(1), (region.end - t) / fade)) if fade else 1.0
            lights.append(_Light(x, y, radius_x, radius_y, edge, opacity * left))
        return lights

    def _darkened(self, frame: CroppedFrame, lights: list[_Light], amount: float) -> CroppedFrame:
        tables = [
            weights_of(1 - self._strength * (amount - light.amount * light.mask_table())) for light in lights
        ]
        outside = weights_of(1 - self._strength * amount)
        y, u, v = (np.empty_like(plane) for plane in (frame.y, frame.u, frame.v))
        for source, towards, out in ((frame.y, BLACK, y), (frame.u, NEUTRAL, u), (frame.v, NEUTRAL, v)):
            for top in range(0, len(source), _BAND):
                mix(source[top : top + _BAND], outside, towards, out[top : top + _BAND])
        for box, luma, chroma in self._lit_bands(lights, tables, outside):
            mix(cut(frame.y, box), luma, BLACK, cut(y, box))
            mix(cut(frame.u, box, 2), chroma, NEUTRAL, cut(u, box, 2))
            mix(cut(frame.v, box, 2), chroma, NEUTRAL, cut(v, box, 2))
        return CroppedFrame(y, u, v, frame.tags)

    def _brightened(self, frame: CroppedFrame, lights: list[_Light]) -> CroppedFrame:
        tables = [weights_of(self._strength * light.amount * light.mask_table()) for light in lights]
        y, u, v = (plane.copy() for plane in (frame.y, frame.u, frame.v))
        for box, luma, chroma in self._lit_bands(lights, tables, weights_of(0.0)):
            lighten_luma(cut(y, box), luma)
            lighten_chroma(cut(u, box, 2), chroma)
            lighten_chroma(cut(v, box, 2), chroma)
        return CroppedFrame(y, u, v, frame.tags)

    def _lit_bands(
        self, lights: list[_Light], tables: list[np.ndarray], outside: np.ndarray
    ) -> Iterator[tuple[Box, np.ndarray, np.ndarray]]:
        """Boxes that together hold all light, each with the weights of its luma (h, w) and chroma (h/2, w/2):
        the largest of each light's, `outside` where there is none."""
        boxes = [light.box(self._width, self._height) for light in lights]
        for top in range(0, self._height, _BAND):
            parts = [box.rows(top, top + _BAND) for box in boxes]
            lit = [part for part in parts if not part.empty]
            if not lit:
                continue
            around = Box(
                min(part.left for part in lit),
                min(part.top for part in lit),
                max(part.right for part in lit),
                max(part.bottom for part in lit),
            )
            luma = np.full((around.bottom - around.top, around.right - around.left), outside, np.uint16)
            for light, table, part in zip(lights, tables, parts, strict=True):
                if not part.empty:
                    inside = luma[
                        part.top - around.top : part.bottom - around.top,
                        part.left - around.left : part.right - around.left,
                    ]
                    np.maximum(inside, light.weights(table, part), out=inside)
            pairs = luma[0::2] + luma[1::2]
            yield around, luma, (pairs[:, 0::2] + pairs[:, 1::2] + np.uint16(2)) >> 2


def _check_parameters(
    width: int, height: int, effect: str, strength: float, feather: float, fade_out: Fraction
) -> None:
    if width < 2 or height < 2 or width % 2 or height % 2:
        raise BadInput(f"A spotlight needs an even picture size, not {width}x{height}.", input="size")
    if effect not in EFFECTS:
        raise BadInput(f"Unknown effect {effect!r}; there are {', '.join(EFFECTS)}.", input="effect_type")
    for name, value in (("strength", strength), ("feather", feather)):
        if not 0 <= value <= 1:
            raise BadInput(f"It is {value}, and must lie within 0..1.", input=name)
    if fade_out < 0:
        raise BadInput(f"It is {float(fade_out)} s, and must not be negative.", input="fade_out")


def _curve(region: SpotlightRegion, interpolation: Interpolation, name: str) -> Curve:
    if region.end <= region.start:
        raise BadInput(
            f"It ends at {float(region.end):.6f} s, not after its start at {float(region.start):.6f} s.",
            input=name,
        )
    curve = Curve(region.times, region.values, interpolation, name=name)
    if curve.values.shape[1] != 5:
        raise BadInput(f"A key frame has {curve.values.shape[1]} values and needs 5.", input=name)
    if (curve.values[:, 2:4] <= 0).any():
        raise BadInput("A radius is not above 0.", input=name)
    opacity = curve.values[:, 4]
    if (opacity < 0).any() or (opacity > 1).any():
        raise BadInput("An opacity does not lie within 0..1.", input=name)
    return curve

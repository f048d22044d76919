"""How opaque a caption is in each picture around one of its ends, and when a fade passes one half.

Belongs here: measuring opacity, telling a fade from a cut, the moment of half opacity. Does not belong here:
which pictures to look at (`windows`), cuts (`narrow`), samples.

A picture near an end is alpha x (the caption over its background) + the background alone. Its fine structure
F is regressed on that of two others of the same window: T, the median of the pictures deepest inside the
caption, and B, one without it; F = alpha T + beta B. T holds what stands behind the caption as well, so where
the picture stands still beta takes up what T has too much of it, and alpha is exact; where it moves, fine
structure of different moments hardly correlates. Least squares with two unknowns (a matched filter that knows
its background); the flat rest of the picture says nothing and is taken off by the blur.

A caption counts as shown from half of its opacity on. A fade that is linear in time, as editors make them,
crosses it where a line through its ramp does.

The settings were found on `evaluation.development`, 161 captions that fade and 477 that do not, none of them
in the evaluation set. 279 of the 322 ends of fades are recognised (most others are of captions that were not
found at all), 98 of 100 to within a picture of the true one, and 3 ends of other captions are taken for
fades. With twice the radius 96 of 100 are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from video_pipeline.captions.medians import median
from video_pipeline.captions.products import inner

BOX = (0.02, 2)
"""Radius of the blur that is taken off: a share of the strip's height, and pixels at least. Strokes stay."""

DEEP_SECONDS = 0.25
"""T is the median of this much of the window at its inner end."""

_NEARLY = 0.03
"""B is the picture nearest to the caption among those that show this much more of it than the best one."""

_SLOWEST = 0.25
"""Opacity a second: four seconds from nothing to all is the slowest fade that is told from drift."""
_RISES = 3
"""Steps of a fade at least: 120 ms at 25 pictures a second."""
_JUMP = 0.5
"""Share of the whole rise above which a single step is a cut."""
_BEFORE = 0.25
"""Opacity from which a fade may start: what is left of the caption before, or a background alike."""
_LEVEL_SECONDS = 0.12
"""The level that a fade comes to is the median of this much after it."""
_STEADY = 0.15
"""That level stays within this share of itself, or nothing was reached."""
_AWAY, _THERE = 0.35, 0.45
"""Opacity before a clear cut at most, which it rises by at least; and after it at least: scenes are cut
under a caption, too."""
_ROOM = (2, 4)
"""Pictures without the caption and with it that a clear cut takes."""
_RIDGE = 1e-3
"""Of T's energy, added to B's: an empty B must not be blown up."""


@dataclass(frozen=True)
class Fade:
    """`position` (1 .. M - 1) is the first picture after the change: at half opacity or more at a start,
    below it at an end. `seconds` is the crossing itself on the clock of the pictures' times."""

    position: int
    seconds: float


@dataclass(frozen=True)
class Course:
    """What opacity does around an end: it fades, or it is cut at a picture (`cut`, counted as `position` of
    `Fade`), or neither is clear. `short` if there are too few pictures for a cut to be clear. Whether
    it is a caption that changes is the network's word: a scene that is cut under one is a cut as well."""

    fade: Fade | None = None
    cut: int | None = None
    short: bool = False


def follow(planes: Sequence[np.ndarray], times: Sequence[float], change: int, *, end: bool) -> Course:
    """The course of opacity around a caption's start (or its end).

    `planes` are M luma strips (H, W) uint8 in order at `times` in seconds, ascending; the network says that
    picture `change` (1 .. M - 1) is the first after the change.
    """
    if len(planes) < _RISES + 2:
        return Course(short=True)
    ordered, clock, outside = list(planes), np.asarray(times, np.float64), change
    if end:  # as a start that is played backwards
        ordered, clock, outside = ordered[::-1], -clock[::-1], len(planes) - change
    alpha = opacity(ordered, clock, outside)
    crossing = _crossing(alpha, clock)
    if crossing is None:
        step = _step(alpha)
        cut = step if step is None or not end else len(planes) - step
        return Course(cut=cut, short=outside < _ROOM[0] or len(planes) - outside < _ROOM[1])
    seconds = -crossing if end else crossing
    # At a start the first picture not before the crossing, at an end the first one after it.
    position = int(np.searchsorted(np.asarray(times), seconds, side="right" if end else "left"))
    return Course(fade=Fade(min(max(position, 1), len(planes) - 1), seconds))


def opacity(planes: Sequence[np.ndarray], times: np.ndarray, outside: int) -> np.ndarray:
    """(M,) of a caption that appears, in M >= 2 luma strips (H, W) uint8: 0 without it and 1 deep inside it.

    The first `outside` pictures are held to be without the caption, or at the start of its fade."""
    deep = [plane for plane, time in zip(planes, times, strict=True) if time > times[-1] - DEEP_SECONDS]
    shown = _fine(median(deep))
    fine = np.stack([_fine(plane) for plane in planes])
    energy = float(inner(shown, shown))
    if energy < shown.size:  # a root mean square below one level of 255: nothing stands there
        return np.zeros(len(planes))
    along = inner(fine, shown) / energy
    before = along[: max(outside, 1)]
    without = fine[np.flatnonzero(before <= before.min() + _NEARLY)[-1]]
    cross = float(inner(shown, without))
    matrix = np.array([[energy, cross], [cross, float(inner(without, without)) + _RIDGE * energy]])
    return np.linalg.solve(matrix, np.stack([along * energy, inner(fine, without)]))[0]


def _crossing(alpha: np.ndarray, times: np.ndarray) -> float | None:
    """When a caption that fades in passes half of its opacity; None if it does not fade."""
    first, last = _longest_rise(alpha, times)
    rise = alpha[last] - alpha[first]
    steps = np.diff(alpha[first : last + 1])
    if last - first < _RISES or rise < 0.5 or steps.max() > _JUMP * rise or alpha[first] > _BEFORE:
        return None
    after = alpha[last:][times[last:] < times[last] + _LEVEL_SECONDS]
    level = float(np.median(after))
    if len(after) < 2 or np.abs(after - level).max() > _STEADY * level:
        return None
    ramp = np.arange(first, last + 1)
    amid = ramp[(alpha[ramp] > 0.08 * level) & (alpha[ramp] < 0.92 * level)]
    amid = amid if len(amid) >= 2 else ramp
    slope, offset = np.polyfit(times[amid] - times[first], alpha[amid], 1)
    return float(times[first] + (level / 2 - offset) / slope)


def _step(alpha: np.ndarray) -> int | None:
    """The first picture after the one step from a caption that is not there to one that is, or None."""
    at = int(np.diff(alpha).argmax()) + 1
    clear = alpha[:at].max() <= _AWAY and alpha[at:].min() >= _THERE and alpha[at] - alpha[at - 1] >= _AWAY
    return at if clear else None


def _longest_rise(alpha: np.ndarray, times: np.ndarray) -> tuple[int, int]:
    """First and last picture of the run of rising pictures that rises most; (0, 0) where none does."""
    rising = np.diff(alpha) > np.maximum(0.01, _SLOWEST * np.diff(times))
    best, start = (0, 0), 0
    for at, rises in enumerate([*rising, False]):
        if not rises:
            if alpha[at] - alpha[start] > alpha[best[1]] - alpha[best[0]]:
                best = (start, at)
            start = at + 1
    return best


def _fine(plane: np.ndarray) -> np.ndarray:
    """(H, W) uint8 to (H x W,) float32 without what is coarser than strokes: each pixel less the mean of the
    square about it, edges repeated.

    For 1152x144 0.3 ms; Pillow's box, which takes fractional radii, 1.1 ms, a Gaussian of OpenCV, which comes
    with the extra `ocr` only, 3 ms."""
    radius = max(round(BOX[0] * plane.shape[0]), BOX[1])
    side = 2 * radius + 1
    # The sum of a square of up to 16 x 16 pixels fits into 16 bits.
    padded = np.pad(plane, radius, mode="edge").astype(np.uint16 if side <= 16 else np.uint32)
    sums = _sums(_sums(padded, side).T, side).T
    return (plane - sums * np.float32(1 / side**2)).ravel()


def _sums(rows: np.ndarray, count: int) -> np.ndarray:
    """Of N rows the N - count + 1 sums of `count` neighbours, by powers of two: 4 additions for 7 rows."""
    length = len(rows) - count + 1
    total = np.zeros_like(rows[:length])
    at, width = 0, 1
    while True:
        if count & width:
            total += rows[at : at + length]
            at += width
        if 2 * width > count:
            return total
        rows = rows[:-width] + rows[width:]
        width *= 2

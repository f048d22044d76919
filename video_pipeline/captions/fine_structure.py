"""The fine structure of lettering in two pictures: how alike it is, and where it differs.

Belongs here: what lettering has that light and shade behind it have not, and comparing that. Does not belong
here: what follows from it (`belonging`), finding lettering (`recognise`).
"""

from __future__ import annotations

import math

import numpy as np

from video_pipeline.captions.products import inner

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of a picture."""

THERE = (0.7, 0.6)
"""Least correlation and slope with a picture without the caption of lettering that stands there as well."""
SURELY_THERE = (0.9, 0.9)
"""The same where nothing would be left: a caption that fades in and out is in the pictures beside it, too."""
_OWN = 0.2
"""Of the squared difference to a picture without the caption in nine of ten of its columns, what a column has
at least."""
_FINE = 0.3
"""Sigma, in box heights, of the blur that is taken off: strokes stay, light and shade behind them go."""
_LEAST_SIGMA = 3
"""Pixels of a blur's sigma in the picture that it is made of."""
_SHAKE = 0.15
"""Box heights that filmed lettering may move to either side between two pictures; 2 pixels at least."""


def found_in(beside: np.ndarray, shows: np.ndarray, box: Box) -> tuple[float, float]:
    """How much `beside` has what the caption's nearest picture, `shows`, has in the box, or near to it: the
    correlation of the fine structure at the best place, and the slope of its regression. (0, 0) for a box
    without any structure."""
    matched = _matched(shows, beside, box)
    return (0.0, 0.0) if matched is None else _likeness(*matched)


def reaches(likeness: tuple[float, float], least: tuple[float, float]) -> bool:
    return likeness[0] >= least[0] and likeness[1] >= least[1]


def _matched(picture: np.ndarray, other: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray] | None:
    """The fine structure (height, width, 3) in the box, and that of `other` where it is likest, within
    `_SHAKE`. None for a box without any."""
    import cv2

    left, top, right, bottom = box
    if left >= right or top >= bottom:
        return None
    shake = max(2, round(_SHAKE * (bottom - top)))
    height, width = picture.shape[:2]
    margin = max(shake, bottom - top)
    fine, x, y = fine_near(picture, box, margin)
    lettering = fine[top - y : bottom - y, left - x : right - x]
    if _is_flat(lettering, float((lettering**2).sum())):
        return None
    low_x, low_y = max(0, left - shake) - x, max(0, top - shake) - y
    field = fine_near(other, box, margin)[0][
        low_y : min(height, bottom + shake) - y, low_x : min(width, right + shake) - x
    ]
    correlation = cv2.matchTemplate(field, lettering, cv2.TM_CCORR_NORMED)
    row, column = np.unravel_index(int(correlation.argmax()), correlation.shape)
    return lettering, field[row : row + bottom - top, column : column + right - left]


def _likeness(lettering: np.ndarray, there: np.ndarray) -> tuple[float, float]:
    """Correlation of two fine structures (height, width, 3), and the slope of the second's regression on the
    first. (0, 0) where either has none."""
    energy, product = float((lettering**2).sum()), float((there * lettering).sum())
    beside = float((there**2).sum())
    if _is_flat(lettering, energy) or beside == 0:
        return 0.0, 0.0
    return product / math.sqrt(energy * beside), product / energy


def changed_columns(picture: np.ndarray, other: np.ndarray, box: Box) -> tuple[int, int]:
    """The columns of the box, half-open, without what stands at its ends in `other` as well: from the first
    window that does not, as wide as the box is high, to the last. The whole width where none stands."""
    left, top, right, bottom = box
    size, width = bottom - top, right - left
    matched = _matched(picture, other, box)
    if matched is None or width < 2 * size:
        return 0, width
    lettering, there = matched
    starts = range(0, width - size + 1, max(1, size // 4))
    likeness = [_likeness(lettering[:, at : at + size], there[:, at : at + size]) for at in starts]
    stands = [reaches(each, SURELY_THERE) for each in likeness]
    changes = [at for at, each in enumerate(likeness) if each != (0, 0) and not stands[at]]
    if not changes:
        return 0, width
    first, stop = starts[changes[0]], starts[changes[-1]] + size
    difference = ((lettering - there)[:, first:stop] ** 2).sum((0, 2))
    own = first + np.flatnonzero(difference >= _OWN * np.percentile(difference, 90))
    edge = max(1, size // 10)
    return (
        max(0, int(own[0]) - edge) if any(stands[: changes[0]]) else 0,
        min(width, int(own[-1]) + 1 + edge) if any(stands[changes[-1] + 1 :]) else width,
    )


def correlation_of(fine: np.ndarray, other: np.ndarray) -> float:
    """Of the fine structure (M,) of one place in two pictures; 0 where either has none. For 800x40 pixels
    0.02 ms, where `matchTemplate` takes 0.7."""
    energy, beside = float(inner(fine, fine)), float(inner(other, other))
    if _is_flat(fine, energy) or beside == 0:
        return 0.0
    return float(inner(fine, other)) / math.sqrt(energy * beside)


def _is_flat(fine: np.ndarray, energy: float) -> bool:
    """A root mean square below one level of 255: an empty place."""
    return energy < fine.size


def fine_near(picture: np.ndarray, box: Box, margin: int) -> tuple[np.ndarray, int, int]:
    """float32 of the box and `margin` pixels around it, so that the blur at its edge knows what is beside it,
    without what is coarser than `_FINE`; and where its left upper corner lies in the picture."""
    left, top, right, bottom = box
    height, width = picture.shape[:2]
    x, y = max(0, left - margin), max(0, top - margin)
    levels = picture[y : min(height, bottom + margin), x : min(width, right + margin)].astype(np.float32)
    return levels - _blurred(levels, max(_FINE * (bottom - top), 0.5)), x, y


def _blurred(levels: np.ndarray, sigma: float) -> np.ndarray:
    """(H, W, 3) float32 under a Gaussian blur of `sigma` pixels.

    A wide one is made of a smaller picture, in which it is still `_LEAST_SIGMA` pixels wide: for 900x120 and
    a sigma of 12 0.2 ms instead of 5.7, with 0.7 levels of 255 between the two (root mean square)."""
    import cv2

    smaller = int(sigma // _LEAST_SIGMA)
    if smaller < 2:
        return cv2.GaussianBlur(levels, (0, 0), sigma)
    height, width = levels.shape[:2]
    size = (-(-width // smaller), -(-height // smaller))
    small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / smaller), (width, height))


def correlations(fines: np.ndarray) -> np.ndarray | None:
    """(N, N) of the fine structure (N, height, width, 3) of one place in N pictures; None where one of them
    has none."""
    flat = fines.reshape(len(fines), -1)
    products = np.stack([inner(flat, row) for row in flat])
    energies = products.diagonal()
    if _is_flat(flat[0], float(energies.min())):
        return None
    return products / np.sqrt(np.outer(energies, energies))

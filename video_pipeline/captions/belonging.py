"""Which lettering in a strip is the caption's, and which only stands or moves beside it.

Belongs here: comparing lettering with the pictures before, after and during a caption. Does not belong here:
finding lettering and reading it (`recognise`), choosing the pictures (`look`).

A caption comes and goes as a whole and stays as it is in between. So lettering is not the caption's if it

- changes while the caption stays: a ticker, credits, text on something that moves;
- is there without the caption as well: a channel's logo, a sign, a page or a screen that is filmed.

Both are told by the correlation of the lettering's fine structure between two pictures, with the slope of
their regression for what is there but fainter (a caption that has half faded). Measured on 882 boxes of
lettering in 18 programmes of the evaluation set, which the settings were chosen on:

    the caption's own    from picture to picture below 0.7 in a quarter of the steps at most, below 0.4 in
                         1 box of 744; with a picture without it 0.51 at most, but for one of 0.69
    tickers              from picture to picture below 0.7 in seven steps of eight or more
    logos, filmed text   with a picture without the caption 0.7 and slope 0.6 or more, or it moves: 92 of 100

On scenes of the training's validation split that nothing was chosen on, 512 captions: the character error
rate fell from 0.149 to 0.120 where there is a logo and from 0.079 to 0.073 elsewhere; 2 captions were read
worse by more than a character, 1 of them lost nearly all of its text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from video_pipeline.captions.products import inner

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of a picture."""

_STILL = 0.7
_MOST = 0.5
"""Lettering moves if more than this share of the steps are less alike than `_STILL`."""
_SAME = 0.4
"""Lettering that does not move is another one after a step less alike than this."""
_LETTER, _OTHER_LETTER = 0.9, 0.4
"""Pictures of one letter are at least as alike as the former, and those of two letters by the latter less."""
_THERE = (0.7, 0.6)
"""Least correlation and slope with a picture without the caption of lettering that stands there as well."""
_SURELY_THERE = (0.9, 0.9)
"""The same where nothing would be left: a caption that fades in and out is in the pictures beside it, too."""
_FINE = 0.3
"""Sigma, in box heights, of the blur that is taken off: strokes stay, light and shade behind them go."""
_SHAKE = 0.15
"""Box heights that filmed lettering may move to either side between two pictures; 2 pixels at least."""


class Belonging:
    """What is known about one caption's lettering from pictures, all (H, W, 3) uint8 of one size.

    `pictures` show the caption, in order, at least one; `before` and `after` are without any caption, or None
    where none is near. `stays` tells that it stands longer than captions do: then it may well be nothing but
    what is there without it.
    """

    def __init__(
        self,
        pictures: Sequence[np.ndarray],
        before: np.ndarray | None,
        after: np.ndarray | None,
        *,
        stays: bool = False,
    ) -> None:
        self._pictures = pictures
        self._surely_there = _THERE if stays else _SURELY_THERE
        # Kept, because `runs` asks for boxes that `own` was asked for; a blur is 5 ms.
        self._known: dict[Box, list[float]] = {}
        self._fines: dict[Box, list[np.ndarray]] = {}
        self._without = [
            (beside, pictures[end]) for beside, end in ((before, 0), (after, -1)) if beside is not None
        ]

    def own(self, boxes: Sequence[Box]) -> list[bool]:
        """Which of the boxes of lettering, found in any of the caption's pictures, are the caption's.

        Where all of it moves, nothing is told by that. Where all of it is there on one of two sides as well,
        that boundary was missed: then only what is surely there on every side is refused.
        """
        stays = [not _moves(self._steps(box)) for box in boxes]
        if not any(stays):
            stays = [True] * len(boxes)
        found = [[_found_in(beside, shows, box) for beside, shows in self._without] for box in boxes]
        own = [
            stay and not any(_reaches(side, _THERE) for side in sides)
            for stay, sides in zip(stays, found, strict=True)
        ]
        if not any(own):
            own = [
                stay and not (sides and all(_reaches(side, self._surely_there) for side in sides))
                for stay, sides in zip(stays, found, strict=True)
            ]
        return own

    def runs(self, boxes: Sequence[Box]) -> list[slice]:
        """The runs of pictures in which the boxes, the caption's own, show the same, in order. It is one of
        them all unless a boundary between two captions was missed."""
        still = [box for box in boxes if not _moves(self._steps(box))]
        letters = [likeness for box in still for likeness in self._by_letter(box)]
        cuts = [
            at
            for at in range(1, len(self._pictures))
            if any(self._steps(box)[at - 1] < _SAME for box in still)
            or any(_is_cut(likeness, at) for likeness in letters)
        ]
        return [slice(start, end) for start, end in pairwise([0, *cuts, len(self._pictures)])]

    def _by_letter(self, box: Box) -> list[np.ndarray]:
        """How alike each picture's fine structure is to each other's (N, N), in one window of the box after
        the other: as wide as it is high, about a letter, each half over the next."""
        fines = np.stack(self._fine_in(box))
        _, size, width, _ = fines.shape
        starts = range(0, max(1, width - size + 1), max(1, size // 2))
        found = (_correlations(fines[:, :, start : start + size]) for start in starts)
        return [each for each in found if each is not None]

    def _steps(self, box: Box) -> list[float]:
        """How alike the box is before and after each step from a picture to the next: the correlation of its
        fine structure."""
        if box not in self._known:
            self._known[box] = [
                _correlation(one, other)
                for one, other in pairwise(fine.ravel() for fine in self._fine_in(box))
            ]
        return self._known[box]

    def _fine_in(self, box: Box) -> list[np.ndarray]:
        """The fine structure (height, width, 3) in the box of each picture."""
        left, top, right, bottom = box
        if left >= right or top >= bottom:
            return [np.zeros((0, 0, 3), np.float32)] * len(self._pictures)
        if box not in self._fines:
            self._fines[box] = []
            for picture in self._pictures:
                fine, x, y = _fine_near(picture, box, bottom - top)
                self._fines[box].append(fine[top - y : bottom - y, left - x : right - x])
        return self._fines[box]


def _correlations(fines: np.ndarray) -> np.ndarray | None:
    """(N, N) of the fine structure (N, height, width, 3) of one place in N pictures; None where one of them
    has none."""
    flat = fines.reshape(len(fines), -1)
    products = np.stack([inner(flat, row) for row in flat])
    energies = products.diagonal()
    if _is_flat(flat[0], float(energies.min())):
        return None
    return products / np.sqrt(np.outer(energies, energies))


def _is_cut(likeness: np.ndarray, at: int) -> bool:
    """Whether all pictures before `at` show one thing, and all from there on another."""
    count = len(likeness)
    if not 2 <= at <= count - 2:
        return False
    within = min(likeness[:at, :at].min(), likeness[at:, at:].min())
    return bool(within >= _LETTER and likeness[:at, at:].max() <= within - _OTHER_LETTER)


def alike(one: np.ndarray, other: np.ndarray, boxes: Sequence[Box]) -> bool:
    """Whether two pictures (H, W, 3) show the same in every box."""
    both = Belonging([one, other], None, None)
    return all(both._steps(box)[0] >= _SAME for box in boxes)


def _moves(steps: Sequence[float]) -> bool:
    return sum(step < _STILL for step in steps) > _MOST * len(steps)


def _found_in(beside: np.ndarray, shows: np.ndarray, box: Box) -> tuple[float, float]:
    """How much `beside` has what the caption's nearest picture, `shows`, has in the box, or near to it."""
    return _likeness(shows, beside, box, max(2, round(_SHAKE * (box[3] - box[1]))))


def _reaches(likeness: tuple[float, float], least: tuple[float, float]) -> bool:
    return likeness[0] >= least[0] and likeness[1] >= least[1]


def _likeness(picture: np.ndarray, other: np.ndarray, box: Box, shake: int) -> tuple[float, float]:
    """Correlation of the fine structure in the box with `other`'s at the best place within `shake` pixels,
    and the slope of its regression on the box's. (0, 0) for a box without any structure."""
    import cv2

    left, top, right, bottom = box
    if left >= right or top >= bottom:
        return 0.0, 0.0
    height, width = picture.shape[:2]
    margin = max(shake, bottom - top)
    fine, x, y = _fine_near(picture, box, margin)
    lettering = fine[top - y : bottom - y, left - x : right - x]
    energy = float((lettering**2).sum())
    if _is_flat(lettering, energy):
        return 0.0, 0.0
    low_x, low_y = max(0, left - shake) - x, max(0, top - shake) - y
    field = _fine_near(other, box, margin)[0][
        low_y : min(height, bottom + shake) - y, low_x : min(width, right + shake) - x
    ]
    correlation = cv2.matchTemplate(field, lettering, cv2.TM_CCORR_NORMED)
    row, column = np.unravel_index(int(correlation.argmax()), correlation.shape)
    there = field[row : row + bottom - top, column : column + right - left]
    return float(correlation[row, column]), float((there * lettering).sum()) / energy


def _correlation(fine: np.ndarray, other: np.ndarray) -> float:
    """Of the fine structure (M,) of one place in two pictures; 0 where either has none. For 800x40 pixels
    0.02 ms, where `matchTemplate` takes 0.7."""
    energy, beside = float(inner(fine, fine)), float(inner(other, other))
    if _is_flat(fine, energy) or beside == 0:
        return 0.0
    return float(inner(fine, other)) / math.sqrt(energy * beside)


def _is_flat(fine: np.ndarray, energy: float) -> bool:
    """A root mean square below one level of 255: an empty place."""
    return energy < fine.size


def _fine_near(picture: np.ndarray, box: Box, margin: int) -> tuple[np.ndarray, int, int]:
    """float32 of the box and `margin` pixels around it, so that the blur at its edge knows what is beside it,
    without what is coarser than `_FINE`; and where its left upper corner lies in the picture."""
    import cv2

    left, top, right, bottom = box
    height, width = picture.shape[:2]
    x, y = max(0, left - margin), max(0, top - margin)
    levels = picture[y : min(height, bottom + margin), x : min(width, right + margin)].astype(np.float32)
    return levels - cv2.GaussianBlur(levels, (0, 0), max(_FINE * (bottom - top), 0.5)), x, y

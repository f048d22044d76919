"""Which lettering in a strip is the caption's, and which only stands or moves beside it.

Belongs here: comparing lettering with the pictures before, after and during a caption. Does not belong here:
finding lettering and reading it (`recognise`), choosing the pictures (`look`).

A caption comes and goes as a whole and stays as it is in between. So lettering is not the caption's if it

- changes while the caption stays: a ticker, credits, text on something that moves;
- is there without the caption as well: a channel's logo, a sign, a page or a screen that is filmed;
- is there under the next caption as well, and of another size than what changes, or across its lines: a page
  or a screen that is filmed for as long as captions follow each other without a gap.

All are told by the correlation of the lettering's fine structure between two pictures, with the slope of
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

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from video_pipeline.captions.fine_structure import (
    SURELY_THERE,
    THERE,
    Box,
    changed_columns,
    correlation_of,
    correlations,
    fine_near,
    found_in,
    reaches,
)

Touching = tuple[np.ndarray | None, np.ndarray | None]
"""Pictures of the captions before and after, where they follow each other without a gap."""

_STILL = 0.7
_MOST = 0.5
"""Lettering moves if more than this share of the steps are less alike than `_STILL`."""
_SAME = 0.4
"""Lettering that does not move is another one after a step less alike than this."""
_LETTER, _OTHER_LETTER = 0.9, 0.4
"""Pictures of one letter are at least as alike as the former, and those of two letters by the latter less."""
_ONE_SIZE = 1.5
"""Boxes of lettering of one size are higher than each other by this factor at most: those of a line with Ü
and g are 1.3 times as high as those of one with neither."""
_LINES_APART, _ONE_LINE = 0.25, 0.75
"""The height that boxes of a block share at most in two lines, and at least in one line."""
_CHANGES = 0.6
"""Lettering that is less alike in every caption that touches changes with the captions."""
_PARTLY = 0.2
"""Least correlation with a picture without the caption of lettering that may be there in part."""


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
        touching: Touching = (None, None),
        stays: bool = False,
    ) -> None:
        self._pictures = pictures
        self._surely_there = THERE if stays else SURELY_THERE
        # Kept, because `runs` asks for boxes that `own` was asked for.
        self._known: dict[Box, list[float]] = {}
        self._fines: dict[Box, list[np.ndarray]] = {}
        self._found: dict[Box, list[tuple[float, float]]] = {}
        self._without = _pairs((before, after), pictures)
        self._touching = _pairs(touching, pictures)

    def parts(self, boxes: Sequence[Box]) -> list[Box | None]:
        """Of each box the part that is the caption's own, as high as the box; None where none is. What is
        filmed beside a caption, in one line with it, is found in one box with it."""
        return [self._part(box) if mine else None for box, mine in zip(boxes, self.own(boxes), strict=True)]

    def _part(self, box: Box) -> Box:
        left, top, right, bottom = box
        for (beside, shows), (likeness, _) in zip(self._without, self._found_beside(box), strict=True):
            if likeness >= _PARTLY:
                first, stop = changed_columns(shows, beside, box)
                left, right = max(left, box[0] + first), min(right, box[0] + stop)
        return (left, top, right, bottom) if right - left >= bottom - top else box

    def own(self, boxes: Sequence[Box]) -> list[bool]:
        """Which of the boxes of lettering, found in any of the caption's pictures, are the caption's.

        Where all of it moves, nothing is told by that. Where all of it is there on one of two sides as well,
        that boundary was missed: then only what is surely there on every side is refused.
        """
        stays = [not _moves(self._steps(box)) for box in boxes]
        if not any(stays):
            stays = [True] * len(boxes)
        found = [self._found_beside(box) for box in boxes]
        own = [
            stay and not any(reaches(side, THERE) for side in sides)
            for stay, sides in zip(stays, found, strict=True)
        ]
        if not any(own):
            own = [
                stay and not (sides and all(reaches(side, self._surely_there) for side in sides))
                for stay, sides in zip(stays, found, strict=True)
            ]
        return self._without_filmed(boxes, own)

    def _found_beside(self, box: Box) -> list[tuple[float, float]]:
        """How much the pictures without the caption have of what is in the box."""
        if box not in self._found:
            self._found[box] = [found_in(beside, shows, box) for beside, shows in self._without]
        return self._found[box]

    def _without_filmed(self, boxes: Sequence[Box], own: list[bool]) -> list[bool]:
        """Of the boxes that are the caption's own, those that may be beside what surely changes from caption
        to caption. What a caption that touches has as well is filmed if it cannot stand in one block with
        what changes. So is what cannot and stands in one line with that: the caption covers some of it."""
        touched = [
            [found_in(other, shows, box) for other, shows in self._touching] if mine else []
            for box, mine in zip(boxes, own, strict=True)
        ]
        changing = [
            box for box, sides in zip(boxes, touched, strict=True) if sides and max(sides)[0] < _CHANGES
        ]
        if not changing:
            return own
        fits = [any(_fits(box, other) for other in changing) for box in boxes]
        filmed = [
            box
            for box, sides, fit in zip(boxes, touched, fits, strict=True)
            if not fit and any(reaches(side, SURELY_THERE) for side in sides)
        ]
        return [
            mine and (fit or not any(_shared(box, other) > 0.5 for other in filmed))
            for box, mine, fit in zip(boxes, own, fits, strict=True)
        ]

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
        found = (correlations(fines[:, :, start : start + size]) for start in starts)
        return [each for each in found if each is not None]

    def _steps(self, box: Box) -> list[float]:
        """How alike the box is before and after each step from a picture to the next: the correlation of its
        fine structure."""
        if box not in self._known:
            self._known[box] = [
                correlation_of(one, other)
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
                fine, x, y = fine_near(picture, box, bottom - top)
                self._fines[box].append(fine[top - y : bottom - y, left - x : right - x])
        return self._fines[box]


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


def _height(box: Box) -> int:
    return box[3] - box[1]


def _shared(box: Box, other: Box) -> float:
    """The height that two boxes share, as a part of the smaller one's."""
    return (min(box[3], other[3]) - max(box[1], other[1])) / max(1, min(_height(box), _height(other)))


def _fits(box: Box, other: Box) -> bool:
    """Whether two boxes of lettering can stand in one block: of one size, in one line or in two."""
    small, large = sorted((_height(box), _height(other)))
    return large <= _ONE_SIZE * small and not _LINES_APART < _shared(box, other) < _ONE_LINE


def _pairs(
    beside: tuple[np.ndarray | None, np.ndarray | None], pictures: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What is there of the pictures before and after, each with the caption's picture nearest to it."""
    return [(other, pictures[end]) for other, end in zip(beside, (0, -1), strict=True) if other is not None]

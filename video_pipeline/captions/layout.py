"""Where a video's captions stand: the band in which text stands and changes.

Belongs here: the score of a band, its exact rows and columns, the reasons. Does not belong here: the task
around it (`layout_task`), decoding (`media.sparse`), the picture of it (`layout_preview`).

The pair network looks at overlapping bands of a few hundred pictures in pairs a third of a second apart. A
caption stands still for that long while the scene moves. Between one moment and the next, seconds later, a
caption changes and a logo does not. So a band's score is the expected number of *different* captions seen:

    score = v_0 + sum over j > 0 of v_j (1 - v_(j-1) s_j)

with v_j = P(same) of the pair at moment j, s_j = P(same) across moments j - 1 and j. A v_j below SURE counts
as none: a little doubt at each of many moments would add up to captions that nobody saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from video_pipeline.captions.labels import LABELS
from video_pipeline.media.geometry import CropRegion

if TYPE_CHECKING:
    from video_pipeline.media.frames import CroppedFrame
    from video_pipeline.media.sparse import PicturePair
    from video_pipeline.models.caption_pairs import CaptionPairNet, Features

LAYOUT_VERSION = 3
"""Part of the layout's recipe."""

FALLBACK = CropRegion(left=0.05, top=0.75, width=0.9, height=0.2)
"""Where captions stand in most videos; used, and said, where none were seen."""

BAND_HEIGHTS = (0.14, 0.22)
"""Of the picture's height: one and two lines of usual captions with room around them."""

ENOUGH = 3.0
"""Different captions that must have been seen in a band: one or two may be titles or signs."""

CHANGING = 0.2
"""Changes a shown moment beyond the first that must have been seen too. Something that never changes is
called another one at up to 0.15 of its moments (a caption of the demo clip frozen over the whole of it); the
clip's own captions, looked at every two seconds, at 0.58."""

SURE = 0.6
"""P(same) from which a moment counts as showing a caption."""

LINE_GAP = 0.5
"""Rows between the strokes of two lines, as a part of those of one: 0.41 in DejaVu Sans as libass sets it."""

EDGE = 24
"""Luma step between neighbouring pixels from which it is an edge of a stroke."""

SIDES = (0.02, 0.98)
"""Columns the bands span: captions keep clear of the picture's edge."""

_SAME = LABELS.index("same")


@dataclass(frozen=True)
class Band:
    """A candidate: its rows as fractions of the picture, and what was seen in it."""

    top: float
    height: float
    score: float
    standing: tuple[float, ...]
    """P(same) at each moment."""

    @property
    def shown(self) -> int:
        """Moments at which something stands in it."""
        return sum(value >= SURE for value in self.standing)

    @property
    def changes(self) -> bool:
        """Whether captions were seen: enough of them, and not one thing called another now and then."""
        return self.score >= max(ENOUGH, 1 + CHANGING * (self.shown - 1))


@dataclass(frozen=True)
class Layout:
    """The region, whether captions were found, why, all bands (best first), and the moments looked at."""

    region: CropRegion
    found: bool
    reasons: tuple[str, ...]
    bands: tuple[Band, ...]
    moments: tuple[float, ...]
    examples: tuple[PicturePair, ...] = field(default=(), repr=False)
    """Up to six moments with a caption, for the preview."""


def candidate_bands() -> list[tuple[float, float]]:
    """(top, height) of every band: each height, in steps of half of it, flush with the bottom edge."""
    bands = []
    for height in BAND_HEIGHTS:
        steps = int((1 - height) / (height / 2))
        bands += [(1 - height - step * height / 2, height) for step in range(steps, -1, -1)]
    return bands


class LayoutFinder:
    """Is shown pairs in order of time and keeps what the layout is decided from; bounded in memory."""

    def __init__(self, net: CaptionPairNet) -> None:
        self._net = net
        self._bands = candidate_bands()
        self._before: list[Features] = []
        self._standing: list[np.ndarray] = []
        self._lasting: list[np.ndarray] = []
        self._moments: list[float] = []
        self._edges = _EdgeCounts()
        self._kept: list[PicturePair] = []

    def add(self, pair: PicturePair) -> None:
        """One moment. About 50 ms at 720p."""
        now = [self._features(pair.first, height) for height in BAND_HEIGHTS]
        then = [self._features(pair.second, height) for height in BAND_HEIGHTS]
        self._standing.append(self._same(now, then))
        if self._before:
            self._lasting.append(self._same(self._before, now))
        self._before = then
        self._moments.append(pair.seconds)
        best = int(self._standing[-1].argmax())
        self._edges.add(pair, self._standing[-1], self._bands)
        if self._standing[-1][best] >= SURE and len(self._kept) < 60:
            self._kept.append(pair)

    def finish(self) -> Layout:
        """The layout of everything that was shown."""
        if not self._standing:
            return self._nothing("the video is too short to be looked at in pairs")
        seen_at = np.array(self._standing)
        standing = np.where(seen_at >= SURE, seen_at, 0)
        lasting = np.array(self._lasting).reshape(len(standing) - 1, len(self._bands))
        scores = standing[0] + (standing[1:] * (1 - standing[:-1] * lasting)).sum(axis=0)
        bands = tuple(
            sorted(
                (
                    Band(top, height, float(score), tuple(float(value) for value in column))
                    for (top, height), score, column in zip(self._bands, scores, standing.T, strict=True)
                ),
                key=lambda band: -band.score,
            )
        )
        best = next((band for band in bands if band.changes), bands[0])
        seen = f"{best.score:.1f} different captions at {best.shown} of {len(standing)} moments"
        if not best.changes:
            return self._nothing(f"no band shows text that stands and changes: {seen} at most", bands)
        drawn = self._edges.region(best)
        region = drawn or _whole(best)
        how = "where strokes came and went" if drawn else "the whole band, whose strokes are too faint"
        reasons = (
            f"rows {region.top:.3f} to {region.top + region.height:.3f} of the picture: {seen}",
            f"the next band that does not touch it shows {_elsewhere(bands, region):.1f}",
            f"columns {region.left:.3f} to {region.left + region.width:.3f}: {how}",
        )
        examples = tuple(self._kept[:: max(1, len(self._kept) // 6)][:6])
        return Layout(region, True, reasons, bands, tuple(self._moments), examples)

    def _nothing(self, why: str, bands: Sequence[Band] = ()) -> Layout:
        reasons = (why, "the usual place at the bottom is taken; caption_request.json overrides it")
        return Layout(FALLBACK, False, reasons, tuple(bands), tuple(self._moments))

    def _features(self, picture: CroppedFrame, height: float) -> Features:
        """Of all bands of one height, which are of one size."""
        import torch

        from video_pipeline.models.caption_pairs import prepare, stack_planes

        strips = [_strip(picture, top, height) for top, high in self._bands if high == height]
        with torch.inference_mode():
            return self._net.encode(prepare(stack_planes(strips)))

    def _same(self, left: list[Features], right: list[Features]) -> np.ndarray:
        """P(same) of every band, both directions averaged."""
        import torch

        chances = []
        with torch.inference_mode():
            for one, other in zip(left, right, strict=True):
                forward, backward = self._net.classify(one, other)
                chances.append((forward.softmax(1)[:, _SAME] + backward.softmax(1)[:, _SAME]) / 2)
            return torch.cat(chances).numpy()


def _strip(picture: CroppedFrame, top: float, height: float) -> np.ndarray:
    rows, columns = picture.y.shape
    left, right = (round(side * columns / 2) * 2 for side in SIDES)
    first = round(top * rows)
    return np.ascontiguousarray(picture.y[first : first + max(16, round(height * rows)), left:right])


def _whole(band: Band) -> CropRegion:
    left, right = SIDES
    return CropRegion(
        left=left, top=round(band.top, 4), width=round(right - left, 4), height=round(band.height, 4)
    )


def _elsewhere(bands: Sequence[Band], region: CropRegion) -> float:
    apart = [
        band.score
        for band in bands
        if band.top >= region.top + region.height or band.top + band.height <= region.top
    ]
    return max(apart, default=0.0)


class _EdgeCounts:
    """Where strokes come and go: per pixel, at how many moments an edge stood still for the pair, over all
    moments and over those at which each band showed a caption."""

    def __init__(self) -> None:
        self._all: np.ndarray | None = None
        self._by_band: dict[int, np.ndarray] = {}
        self._moments = 0
        self._bands: list[tuple[float, float]] = []

    def add(self, pair: PicturePair, standing: np.ndarray, bands: list[tuple[float, float]]) -> None:
        edges = _edges(pair.first) & _edges(pair.second)
        if self._all is None:
            self._all = np.zeros(edges.shape, np.uint16)
        self._all += edges
        self._moments += 1
        self._bands = bands
        for index in np.flatnonzero(standing >= SURE):
            counts = self._by_band.setdefault(int(index), np.zeros(edges.shape, np.uint16))
            counts += edges

    def region(self, band: Band) -> CropRegion | None:
        """The rows and columns of the strokes in and around `band`, with room around them; None where no
        stroke has an edge of `EDGE` (blurred letters, or letters hardly lighter than what is behind them)."""
        index = self._bands.index((band.top, band.height))
        counts, every = self._by_band[index].astype(np.float32), self._all
        assert every is not None
        # An edge at most moments is the scene's or a logo's; a caption's strokes are elsewhere each time.
        counts[every > 0.5 * self._moments] = 0
        rows, columns = counts.shape
        low = max(0, round((band.top - band.height / 2) * rows))
        high = min(rows, round((band.top + 1.5 * band.height) * rows))
        profile = _smooth(counts[low:high].sum(axis=1), max(1, rows // 120))
        if profile.max() == 0:
            return None
        first, last = _around_peak(profile, 0.18)
        top, bottom = low + first, low + last
        room = max(0.35 * (bottom - top), 0.02 * rows)
        across = _smooth(counts[top:bottom].sum(axis=0), max(1, columns // 60))
        # Below a fifth of the fullest column lie the edges of what passes by: with 0.04 the bundled clip's
        # region spanned the picture, and a lamp post in it passed for a caption.
        used = np.flatnonzero(across > 0.2 * across.max())
        left, right = int(used[0]), int(used[-1]) + 1
        margin = 0.06 * columns
        box = [
            (left - margin) / columns,
            (right + margin) / columns,
            (top - room) / rows,
            (bottom + room) / rows,
        ]
        x0, x1, y0, y1 = (round(min(1.0, max(0.0, value)), 4) for value in box)
        if abs((x0 + x1) / 2 - 0.5) < 0.08:  # centred lines: the longest may not have been seen
            reach = max(0.5 - x0, x1 - 0.5, 0.38)
            x0, x1 = round(max(0.0, 0.5 - reach), 4), round(min(1.0, 0.5 + reach), 4)
        return CropRegion(left=x0, top=y0, width=round(x1 - x0, 4), height=round(y1 - y0, 4))


def _edges(picture: CroppedFrame) -> np.ndarray:
    """(H, W) bool: a step to the next pixel of at least EDGE, horizontally."""
    luma = picture.y.astype(np.int16)
    found = np.zeros(luma.shape, bool)
    found[:, 1:] = np.abs(luma[:, 1:] - luma[:, :-1]) >= EDGE
    return found


def _smooth(values: np.ndarray, reach: int) -> np.ndarray:
    kernel = np.ones(2 * reach + 1) / (2 * reach + 1)
    return np.convolve(values, kernel, mode="same")


def _around_peak(profile: np.ndarray, share: float) -> tuple[int, int]:
    """Half-open range of the rows of text: above `share` of the peak, over gaps as between two lines: up to
    `LINE_GAP` of the fullest one."""
    strong = profile > share * profile.max()
    at = int(profile.argmax())
    first = last = at
    while first > 0 and strong[first - 1]:
        first -= 1
    while last < len(profile) - 1 and strong[last + 1]:
        last += 1
    gap = max(2, len(profile) // 10, round(LINE_GAP * (last + 1 - first)))
    for step, limit in ((-1, -1), (1, len(profile))):
        row, missed = at, 0
        while row != limit and missed <= gap:
            if strong[row]:
                first, last, missed = min(first, row), max(last, row), 0
            else:
                missed += 1
            row += step
    return first, last + 1


def moments_of(duration: Fraction, most: int = 150) -> list[Fraction]:
    """Moments to look at, seconds: half a second apart, in long videos `most` of them, evenly."""
    count = max(1, min(most, int(duration * 2)))
    return [duration * (4 * number + 1) / (4 * count) for number in range(count)]

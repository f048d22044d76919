"""How the place of captions is decided from what was seen: rules by hand, without a network."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from video_pipeline.captions.layout import (
    FALLBACK,
    SIDES,
    Band,
    Layout,
    LayoutFinder,
    candidate_bands,
)
from video_pipeline.captions.layout_preview import render_preview
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.geometry import CropRegion
from video_pipeline.media.sparse import PicturePair

HEIGHT, WIDTH = 360, 640
BANDS = candidate_bands()
BOTTOM = BANDS.index(max(BANDS))
"""The lowest of the bands for one line."""


def picture(
    *lettering: tuple[slice, slice], logo: tuple[slice, slice] | None = None, seed: int = 0
) -> CroppedFrame:
    """Grey with patches of strokes: random black and white blocks of 3 pixels, others for each seed."""
    y = np.full((HEIGHT, WIDTH), 90, np.uint8)
    for place, ink in [(place, seed) for place in lettering] + ([(logo, -1)] if logo else []):
        rows, columns = y[place].shape
        blocks = np.random.default_rng(ink + 5).integers(0, 2, (rows // 3 + 1, columns // 3 + 1))
        y[place] = np.kron(blocks, np.ones((3, 3)))[:rows, :columns] * 200 + 20
    chroma = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    return CroppedFrame(y, chroma, chroma, ColourTags(1, 1, 1, 1))


class Told(LayoutFinder):
    """A test double of the finder whose network is told what it sees: P(same) of each band at each moment,
    and between each moment and the one before it."""

    def __init__(self, standing: list[dict[int, float]], lasting: dict[int, float] | None = None) -> None:
        super().__init__(None)  # pyright: ignore[reportArgumentType]
        self.standing, self.lasting = iter(standing), lasting or {}

    def _features(self, picture: CroppedFrame, height: float) -> Any:
        return picture

    def _same(self, left: list[Any], right: list[Any]) -> np.ndarray:
        told = self.lasting if left is self._before else next(self.standing)
        return np.array([told.get(band, 0.0) for band in range(len(BANDS))])


def laid_out(
    standing: list[dict[int, float]],
    lasting: dict[int, float] | None = None,
    pictures: list[CroppedFrame] | None = None,
) -> Layout:
    finder = Told(standing, lasting)
    for moment in range(len(standing)):
        shown = pictures[moment] if pictures else picture()
        finder.add(PicturePair(float(moment), shown, shown))
    return finder.finish()


@pytest.mark.parametrize(("captions", "found"), [(2, False), (3, True)])
def test_one_or_two_captions_may_be_titles_and_three_are_enough(captions: int, found: bool) -> None:
    standing = [{BOTTOM: 1.0} if moment % 3 == 0 else {} for moment in range(3 * captions)]
    layout = laid_out(standing)
    assert layout.found is found
    assert layout.bands[0].score == captions
    assert layout.bands[0].shown == captions
    assert f"{captions}.0 different captions at {captions} of {3 * captions} moments" in layout.reasons[0]


def test_a_little_doubt_at_many_moments_adds_up_to_nothing() -> None:
    layout = laid_out([{BOTTOM: 0.59} for _ in range(40)])
    assert not layout.found
    assert layout.bands[0].score == 0


@pytest.mark.parametrize(("lasting", "found"), [(0.85, False), (0.6, True)])
def test_what_is_called_another_now_and_then_is_one_thing_and_what_often_changes_is_captions(
    lasting: float, found: bool
) -> None:
    layout = laid_out([{BOTTOM: 1.0} for _ in range(20)], {BOTTOM: lasting})
    assert layout.bands[0].score == pytest.approx(1 + 19 * (1 - lasting))
    assert layout.found is found


def test_a_caption_that_comes_after_nothing_is_another_one_whatever_is_said_of_the_nothing() -> None:
    standing = [{BOTTOM: 1.0} if moment % 2 == 0 else {} for moment in range(9)]
    assert laid_out(standing, {BOTTOM: 0.9}).bands[0].score == 5


def test_each_moment_is_compared_with_the_end_of_the_one_before() -> None:
    compared: list[tuple[CroppedFrame, CroppedFrame]] = []

    class Watched(Told):
        def _same(self, left: list[Any], right: list[Any]) -> np.ndarray:
            compared.append((left[0], right[0]))
            return super()._same(left, right)

    finder = Watched([{}, {}, {}])
    pairs = [PicturePair(float(k), picture(seed=2 * k), picture(seed=2 * k + 1)) for k in range(3)]
    for pair in pairs:
        finder.add(pair)
    within = [(pair.first, pair.second) for pair in pairs]
    across = [(before.second, after.first) for before, after in itertools.pairwise(pairs)]
    assert compared == [within[0], within[1], across[0], within[2], across[1]]


def test_strokes_that_are_gone_a_third_of_a_second_later_are_no_captions() -> None:
    place, passing = (slice(310, 334), slice(90, 300)), (slice(310, 334), slice(450, 600))
    finder = Told([{BOTTOM: 1.0}] * 9)
    for moment in range(9):
        first, second = picture(place, passing, seed=moment), picture(place, seed=moment)
        finder.add(PicturePair(float(moment), first, second))
    region = finder.finish().region
    assert region.left + region.width < 0.6


def test_of_a_band_that_hardly_changes_and_one_that_does_the_latter_is_taken() -> None:
    top = BANDS.index(min(BANDS))
    standing = [{top: 1.0, **({BOTTOM: 1.0} if moment % 10 == 0 else {})} for moment in range(40)]
    layout = laid_out(standing, {top: 0.9})
    assert layout.bands[0].top == BANDS[top][0]
    assert layout.bands[0].score > layout.bands[1].score
    assert layout.found
    assert layout.region.top > 0.7


def test_without_captions_the_usual_place_is_taken_and_every_band_is_kept() -> None:
    layout = laid_out([{} for _ in range(5)])
    assert (layout.found, layout.region) == (False, FALLBACK)
    assert len(layout.bands) == len(BANDS)
    assert layout.moments == (0.0, 1.0, 2.0, 3.0, 4.0)


def test_the_region_is_drawn_around_the_strokes_with_room() -> None:
    place = (slice(310, 334), slice(90, 420))
    layout = laid_out([{BOTTOM: 1.0}] * 9, pictures=[picture(place, seed=k) for k in range(9)])
    region = layout.region
    assert 0.80 < region.top < 310 / HEIGHT
    assert 334 / HEIGHT < region.top + region.height < 0.99
    # Left of the middle: as wide as the strokes and six parts in a hundred on either side.
    assert region.left == pytest.approx(90 / WIDTH - 0.06, abs=0.02)
    assert region.left + region.width == pytest.approx(420 / WIDTH + 0.06, abs=0.02)
    assert "where strokes came and went" in layout.reasons[2]


def test_centred_lines_are_given_the_room_of_longer_ones() -> None:
    place = (slice(310, 334), slice(250, 390))
    layout = laid_out([{BOTTOM: 1.0}] * 9, pictures=[picture(place, seed=k) for k in range(9)])
    assert (layout.region.left, layout.region.width) == (0.12, 0.76)


def test_a_logo_beside_the_captions_does_not_widen_the_region() -> None:
    place, logo = (slice(310, 334), slice(90, 300)), (slice(300, 340), slice(560, 620))
    with_logo = [picture(place, logo=logo, seed=k) for k in range(9)]
    layout = laid_out([{BOTTOM: 1.0}] * 9, pictures=with_logo)
    assert layout.region.left + layout.region.width < 0.6


def test_two_lines_are_one_region() -> None:
    lines = [(slice(285, 305), slice(100, 540)), (slice(315, 335), slice(100, 540))]
    layout = laid_out([{BOTTOM: 1.0}] * 9, pictures=[picture(*lines, seed=k) for k in range(9)])
    assert layout.region.top < 285 / HEIGHT
    assert layout.region.top + layout.region.height > 335 / HEIGHT


def test_a_second_line_that_few_captions_have_is_in_the_region_too() -> None:
    """Lines of 34 rows, 17 apart: half a line, which is more than a tenth of the rows around the band."""
    lines = [(slice(268, 302), slice(100, 540)), (slice(319, 353), slice(100, 540))]
    shown = [picture(*(lines if k % 3 == 0 else lines[1:]), seed=k) for k in range(9)]
    region = laid_out([{BOTTOM: 1.0}] * 9, pictures=shown).region
    assert region.top < 268 / HEIGHT
    assert region.top + region.height > 353 / HEIGHT


def test_captions_too_faint_for_an_edge_are_given_the_whole_band() -> None:
    """Blurred letters, or letters hardly lighter than the picture: seen by the network, no step is sharp."""
    layout = laid_out([{BOTTOM: 1.0}] * 9)
    top, height = BANDS[BOTTOM]
    assert layout.found
    assert layout.region == CropRegion(
        left=SIDES[0], top=round(top, 4), width=round(SIDES[1] - SIDES[0], 4), height=height
    )
    assert "too faint" in layout.reasons[2]


def test_the_reasons_name_what_other_bands_show() -> None:
    top = BANDS.index(min(BANDS))
    layout = laid_out([{BOTTOM: 1.0, top: 0.7 if moment < 3 else 0.0} for moment in range(9)])
    assert layout.reasons[1] == "the next band that does not touch it shows 2.1"


@pytest.mark.parametrize("moments", [1, 5, 6, 7, 59, 100])
def test_examples_are_six_at_most_spread_over_the_moments_with_a_caption(moments: int) -> None:
    standing = [{BOTTOM: 1.0}] * max(moments, 3) + [{}] * 5
    layout = laid_out(standing)
    seconds = [pair.seconds for pair in layout.examples]
    assert 3 <= len(seconds) <= 6
    assert seconds == sorted(seconds)
    assert seconds[0] == 0
    assert all(second < max(moments, 3) for second in seconds)


def test_the_preview_marks_the_region_and_the_band_that_was_taken() -> None:
    """Not the band of the highest score, where that is one thing that was called another now and then."""
    low, high = Band(0.78, 0.14, 8.0, (1.0,) * 8), Band(0.02, 0.14, 9.0, (1.0,) * 60)
    assert low.changes
    assert not high.changes
    region = CropRegion(left=0.25, top=0.75, width=0.5, height=0.2)
    pair = PicturePair(1.0, picture(), picture())
    sheet = np.asarray(
        Image.open(io.BytesIO(render_preview(Layout(region, True, ("why",), (high, low), (1.0,), (pair,)))))
    ).astype(int)
    mark, dim = np.array((250, 204, 21)), np.array((113, 113, 122))

    def has(colour: np.ndarray, rows: slice, columns: slice) -> bool:
        return bool((np.abs(sheet[rows, columns] - colour).max(axis=2) <= 2).any())

    bars = slice(990, 1110)
    scale = 480 / WIDTH * HEIGHT
    of_low, of_high = (slice(int(10 + at * scale) - 4, int(10 + at * scale) + 4) for at in (0.85, 0.09))
    assert has(mark, of_low, bars)
    assert not has(dim, of_low, bars)
    assert has(dim, of_high, bars)
    assert not has(mark, of_high, bars)
    left, top = 10 + round(0.25 * 480), 10 + round(0.75 * scale)
    assert has(mark, slice(top - 2, top + 3), slice(left + 40, left + 44)), "the region's upper edge"
    assert not has(mark, slice(top - 30, top - 20), slice(left + 40, left + 44))


def test_the_times_in_the_preview_can_be_read_on_a_bright_picture() -> None:
    white = replace(picture(), y=np.full((HEIGHT, WIDTH), 235, np.uint8))
    layout = Layout(FALLBACK, True, ("why",), (), (1.0,), (PicturePair(1.0, white, white),))
    sheet = np.asarray(Image.open(io.BytesIO(render_preview(layout))).convert("L"))
    label = sheet[14:32, 16:60]
    assert (label < 40).any(), "a dark rim"
    assert (label > 200).any()


def test_the_preview_of_nothing_found_holds_the_reasons_alone() -> None:
    layout = laid_out([{} for _ in range(5)])
    sheet = Image.open(io.BytesIO(render_preview(layout)))
    assert sheet.height < 80
    assert np.asarray(sheet).max() > 200, "and they can be read"


def test_the_preview_shows_each_example_in_a_place_of_its_own() -> None:
    region = CropRegion(left=0.25, top=0.75, width=0.5, height=0.2)
    pairs = tuple(PicturePair(float(k), picture(), picture()) for k in range(3))
    band = Band(0.78, 0.14, 8.0, (1.0,) * 8)
    layout = Layout(region, True, ("why",), (band,), (0.0, 1.0, 2.0), pairs)
    sheet = np.asarray(Image.open(io.BytesIO(render_preview(layout)))).astype(int)
    marked = np.abs(sheet - np.array((250, 204, 21))).max(axis=2) <= 2
    height = round(480 * HEIGHT / WIDTH)
    for number in range(3):
        left, top = 10 + number % 2 * 490, 10 + number // 2 * (height + 10)
        cell = marked[top : top + height, left : left + 480]
        rows, columns = np.flatnonzero(cell.any(axis=1)), np.flatnonzero(cell.any(axis=0))
        assert (rows[0], rows[-1]) == pytest.approx((0.75 * height, 0.95 * height), abs=2)
        assert (columns[0], columns[-1]) == pytest.approx((0.25 * 480, 0.75 * 480), abs=2)

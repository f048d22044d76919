"""How sure a narrowed end is: a clear cut, none, a fade near to or far from a sample. No network is asked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.captions.test_opacity import FPS, fading, film
from video_pipeline.captions import narrow
from video_pipeline.captions.narrow import CLEAR_CUT, FADES_RIGHT, MAX_PICTURES, Narrowed, narrowed
from video_pipeline.captions.windows import Span, Window
from video_pipeline.media.frames import ColourTags, CroppedFrame, CroppedPicture

CHROMA = np.zeros((1, 1), np.uint8)


def window(planes: Sequence[np.ndarray], every: int, sample: int, end: bool = False) -> Window:
    """Pictures at 25 Hz, each `every`-th of which a sample shows; PTS are pictures."""
    pictures = [
        CroppedPicture(
            at,
            range(at // every, at // every + (at % every == 0)),
            CroppedFrame(plane, CHROMA, CHROMA, ColourTags()),
        )
        for at, plane in enumerate(planes)
    ]
    name: Any = "end" if end else "start"
    label: Any = "valid_empty" if end else "empty_valid"
    return Window(Span(1, name, sample, label, 0, len(planes) // every), pictures)


def found(shown: Window, monkeypatch: pytest.MonkeyPatch, at: int = 1) -> Narrowed:
    """Narrowed, with a test double of the network's word: the change comes with bracket picture `at`."""
    monkeypatch.setattr(narrow, "first_after_change", lambda _net, _label, pictures, _device: at)
    return narrowed(None, shown, Fraction(1, int(FPS)))  # pyright: ignore[reportArgumentType]


def test_a_clear_cut_between_the_two_samples_speaks_for_the_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    one = found(window(film([0.0] * 12 + [1.0] * 12, "moving"), 4, 3), monkeypatch, at=4)
    assert (one.sample, one.before.pts, one.after.pts) == (3, 11, 12)
    assert (one.confidence, one.odds) == (None, CLEAR_CUT)


@pytest.mark.parametrize(
    "alphas",
    [[0.0] * 5 + [1.0] * 19, [0.0] * 8 + [1.0] * 16, [0.0] * 17 + [1.0] * 7],
    ids=["long before", "with the sample before", "after"],
)
def test_a_clear_cut_anywhere_else_speaks_against_it(
    monkeypatch: pytest.MonkeyPatch, alphas: list[float]
) -> None:
    """The boundary at sample 3 says that the change lies in pictures 9 to 12."""
    assert found(window(film(alphas, "moving"), 4, 3), monkeypatch).odds == 1 / CLEAR_CUT


def test_no_clear_cut_at_all_speaks_against_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [np.full((80, 480), 90, np.uint8)] * 24
    assert found(window(plain, 4, 3), monkeypatch).odds == 1 / CLEAR_CUT


def test_too_few_pictures_speak_neither_for_nor_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (4, 14):
        planes = film([0.0] * 12 + [1.0] * 12, "moving")[12 - count // 2 : 12 + 2]
        shown = window(planes, 1, count // 2)
        assert found(shown, monkeypatch).odds == 1.0


def test_the_end_of_a_caption_is_its_first_picture_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    one = found(window(film([1.0] * 12 + [0.0] * 12, "moving"), 4, 3, end=True), monkeypatch, at=4)
    assert (one.before.pts, one.after.pts, one.odds) == (11, 12, CLEAR_CUT)


def test_a_fade_that_crosses_far_from_a_sample_is_as_sure_as_fades_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Half opaque at picture 18.5; samples are shown by pictures 15 and 20.
    one = found(window(film(fading(8), "moving"), 5, 3), monkeypatch)
    assert (one.before.pts, one.after.pts, one.sample) == (18, 19, 4)
    assert one.confidence == pytest.approx(FADES_RIGHT, abs=0.005)
    assert one.odds == 1.0


def test_a_fade_that_crosses_beside_a_sample_is_less_sure_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # The same fade; now picture 18 shows a sample, 20 ms before the crossing.
    near = found(window(film(fading(8), "moving"), 6, 3), monkeypatch)
    assert (near.before.pts, near.after.pts, near.sample) == (18, 19, 4)
    assert near.confidence is not None
    assert 0.6 < near.confidence < 0.96


def test_a_fade_out_ends_with_the_first_picture_below_half(monkeypatch: pytest.MonkeyPatch) -> None:
    # Half opaque at picture 18.5 on its way out.
    one = found(window(film(fading(8)[::-1], "moving"), 5, 3, end=True), monkeypatch)
    assert (one.before.pts, one.after.pts, one.sample) == (18, 19, 4)


def test_a_long_bracket_is_thinned_out_and_keeps_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """63 pictures lie between two samples: every second one is looked at, and the last."""
    asked: list[list[int]] = []

    def first_after(_net: object, _label: str, pictures: list[CroppedPicture], _device: str) -> int:
        asked.append([picture.pts for picture in pictures])
        return 2

    monkeypatch.setattr(narrow, "first_after_change", first_after)
    plain = [np.full((16, 32), 90, np.uint8)] * 128
    one = narrowed(None, window(plain, 63, 1), Fraction(1, 63))  # pyright: ignore[reportArgumentType]
    (bracket,) = asked
    assert (bracket[0], bracket[-1]) == (0, 63)
    assert len(bracket) <= MAX_PICTURES + 1
    assert {later - earlier for earlier, later in itertools.pairwise(bracket[:-1])} == {2}
    assert (one.before.pts, one.after.pts) == (bracket[1], bracket[2])

"""Which picture a reader gave: the product's is right on awkward films, and a wrong one is found out."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from experiments.films import awkward
from experiments.reading_task import Truth, _judged, _read, _truth

MOMENTS = 6


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return awkward(tmp_path_factory.mktemp("films"))


@pytest.mark.parametrize("name", ["cfr", "b-frames", "open-gop", "vfr", "rotated", "edit-list"])
def test_the_products_reader_gives_every_picture_at_its_moment(films: dict[str, Path], name: str) -> None:
    truth = _truth(films[name])
    found = _read("clip_source", films[name], truth, random.Random(3), MOMENTS)
    assert (found.right, found.wrong) == (MOMENTS, ())
    assert found.counted == found.pictures == len(truth.pts)
    assert found.ranges_right == found.ranges > 0


def test_a_picture_too_many_is_counted(films: dict[str, Path]) -> None:
    truth = _truth(films["cfr"])
    fewer = replace(truth, pts=truth.pts[:-1], lumas=truth.lumas[:-1])
    found = _read("clip_source", films["cfr"], fewer, random.Random(3), 1)
    assert (found.pictures, found.counted) == (len(truth.pts) - 1, len(truth.pts))


def test_the_films_are_what_they_are_called(films: dict[str, Path]) -> None:
    vfr = _truth(films["vfr"])
    assert len(set(np.diff(vfr.pts))) > 2
    assert len(set(np.diff(_truth(films["cfr"]).pts))) == 1
    assert _truth(films["rotated"]).lumas[0].shape == (320, 180)
    assert _truth(films["b-frames"]).lumas[0].shape == (180, 320)
    edited = _truth(films["edit-list"])
    assert 0 < len(edited.pts) < len(_truth(films["b-frames"]).pts)


def _made() -> Truth:
    """Five pictures, 40 ms each, every one of another grey."""
    lumas = [np.full((4, 4), 40 * number, np.uint8) for number in range(5)]
    return Truth([0, 40, 80, 120, 160], lumas, 200, Fraction(1, 1000), Fraction(25))


def test_a_reader_that_is_late_is_found_out() -> None:
    truth = _made()
    asked = [Fraction(10, 1000), Fraction(130, 1000), Fraction(199, 1000)]
    late = _judged(truth, asked, 6, lambda moment: truth.lumas[min(4, truth.shown_at(moment) + 1)])
    assert (late.right, late.one_later, late.asked) == (1, 2, 3)  # the last picture has none after it
    assert (late.pictures, late.counted) == (5, 6), "what there are, and what the reader says"
    assert late.wrong[0] == "0.010 s: 1, not 0"


def test_a_reader_that_gives_nothing_or_another_size_is_wrong() -> None:
    truth = _made()
    assert _judged(truth, [Fraction(0)], 5, lambda moment: None).right == 0
    assert _judged(truth, [Fraction(0)], 5, lambda moment: np.zeros((2, 2), np.uint8)).right == 0


def test_a_moment_shows_the_picture_with_the_largest_timestamp_not_after_it() -> None:
    truth = _made()
    assert [truth.shown_at(Fraction(at, 1000)) for at in (0, 39, 40, 199)] == [0, 0, 1, 4]

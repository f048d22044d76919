"""Opacity: fades over pictures that move, stand still or are cut are crossed where they were drawn to."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest

from video_pipeline.captions.opacity import Course, follow, opacity

HEIGHT, WIDTH, FPS = 80, 480, 25.0
Scene = Literal["still", "moving", "cut"]


def lettering(text: str = "half of a caption") -> tuple[np.ndarray, np.ndarray]:
    """White letters with a dark edge: their luma, and where they cover the picture (both (H, W) 0..1)."""
    return written(text, (40, 52), 2), written(text, (40, 52), 6)


def written(text: str, place: tuple[int, int], width: int) -> np.ndarray:
    plane = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.putText(plane, text, place, cv2.FONT_HERSHEY_DUPLEX, 1.1, (255,), width, cv2.LINE_AA)
    return plane.astype(np.float32) / 255


def background(scene: Scene, at: int, cut_at: int) -> np.ndarray:
    """(H, W) float32: cloudy noise of letters' size, which stands still, drifts, or is another one from
    `cut_at` on."""
    seed = 2 if scene == "cut" and at >= cut_at else 1
    noise = np.random.default_rng(seed).normal(0, 1, (HEIGHT, WIDTH * 2)).astype(np.float32)
    cloudy = 110 + 260 * cv2.GaussianBlur(noise, (0, 0), 3)
    left = 4 * at if scene == "moving" else 0
    return cloudy[:, left : left + WIDTH]


def film(alphas: list[float], scene: Scene, cut_at: int = 0, logo: bool = False) -> list[np.ndarray]:
    ink, cover = lettering()
    planes = []
    for at, alpha in enumerate(alphas):
        picture = background(scene, at, cut_at)
        if logo:
            picture = np.maximum(picture, 235 * written("24", (430, 30), 3))
        picture = picture + alpha * cover * (235 * ink + 16 * (1 - ink) - picture)
        planes.append(np.clip(picture, 0, 255).round().astype(np.uint8))
    return planes


def fading(length: int, before: int = 15, after: int = 15) -> list[float]:
    """Opacity of a fade over `length` pictures; it is one half at picture `before` + `length` / 2 - 0.5."""
    return [0.0] * before + [(at + 0.5) / length for at in range(length)] + [1.0] * after


@pytest.mark.parametrize("scene", ["still", "moving"])
@pytest.mark.parametrize("length", [4, 7, 10, 25])
def test_a_fade_in_is_crossed_at_half_opacity(scene: Scene, length: int) -> None:
    alphas = fading(length)
    planes = film(alphas, scene, logo=scene == "still")
    found = follow(planes, [at / FPS for at in range(len(planes))], 16, end=False).fade
    assert found is not None
    assert found.seconds * FPS == pytest.approx(14.5 + length / 2, abs=0.5)
    assert alphas[found.position - 1] <= 0.5 <= alphas[found.position] or length % 2


@pytest.mark.parametrize("scene", ["still", "moving"])
def test_a_fade_out_is_a_fade_in_played_backwards(scene: Scene) -> None:
    alphas = fading(8)[::-1]
    planes = film(alphas, scene)
    found = follow(planes, [at / FPS for at in range(len(planes))], 22, end=True).fade
    assert found is not None
    assert alphas[found.position] < 0.5 <= alphas[found.position - 1]


@pytest.mark.parametrize("scene", ["still", "moving", "cut"])
@pytest.mark.parametrize("between", [[], [0.5]])
def test_a_cut_is_no_fade(scene: Scene, between: list[float]) -> None:
    planes = film([0.0] * 15 + between + [1.0] * 15, scene, cut_at=18)
    course = follow(planes, [at / FPS for at in range(len(planes))], 15, end=False)
    assert course.fade is None
    assert between or course.cut == 15


def test_a_scene_that_is_cut_amid_a_caption_is_no_fade() -> None:
    planes = film([1.0] * 30, "cut", cut_at=15)
    assert follow(planes, [at / FPS for at in range(30)], 15, end=False).fade is None


def test_nothing_but_a_plain_picture_has_no_opacity() -> None:
    planes = [np.full((HEIGHT, WIDTH), 90, np.uint8)] * 20
    times = np.arange(20) / FPS
    assert opacity(planes, times, 10).tolist() == [0.0] * 20
    assert follow(planes, list(times), 10, end=False) == Course()


def test_opacity_is_measured_beside_a_logo_that_stands_still() -> None:
    alphas = fading(10)
    measured = opacity(film(alphas, "still", logo=True), np.arange(len(alphas)) / FPS, 16)
    assert np.abs(measured - alphas).max() < 0.03


def test_a_fade_that_the_window_cuts_off_is_left_to_the_network() -> None:
    planes = film(fading(20, after=0)[:28], "moving")
    assert follow(planes, [at / FPS for at in range(len(planes))], 16, end=False).fade is None


def test_a_cut_at_an_end_is_told_by_its_first_picture_without_the_caption() -> None:
    planes = film([1.0] * 12 + [0.0] * 9, "moving")
    assert follow(planes, [at / FPS for at in range(21)], 13, end=True) == Course(cut=12)


def test_a_cut_is_not_clear_between_too_few_pictures() -> None:
    planes = film([0.0] * 12 + [1.0] * 3, "moving")
    assert follow(planes, [at / FPS for at in range(15)], 12, end=False).short


def test_a_cut_is_not_clear_after_too_few_pictures_without_the_caption() -> None:
    planes = film([0.0] + [1.0] * 14, "moving")
    assert follow(planes, [at / FPS for at in range(15)], 1, end=False).short
    planes = film([1.0] * 14 + [0.0], "moving")
    assert follow(planes, [at / FPS for at in range(15)], 14, end=True).short


def test_of_four_pictures_nothing_is_said() -> None:
    planes = film([0.0, 0.0, 1.0, 1.0], "moving")
    assert follow(planes, [at / FPS for at in range(4)], 2, end=False) == Course(short=True)


@pytest.mark.parametrize("length", [5, 8])
def test_a_fade_out_is_crossed_at_half_opacity_too(length: int) -> None:
    alphas = fading(length)[::-1]
    planes = film(alphas, "moving")
    found = follow(planes, [at / FPS for at in range(len(planes))], 22, end=True).fade
    assert found is not None
    assert found.seconds * FPS == pytest.approx(14.5 + length / 2, abs=0.5)


def test_a_fade_from_one_caption_to_another_alike_is_left_to_the_network() -> None:
    """More than a quarter is there before it rises: what rises is not all of a caption."""
    planes = film([0.4] * 15 + [0.4 + 0.06 * (at + 1) for at in range(10)] + [1.0] * 15, "moving")
    assert follow(planes, [at / FPS for at in range(len(planes))], 16, end=False).fade is None


def test_a_drift_over_many_seconds_is_no_fade() -> None:
    planes = film([at / 39 for at in range(40)], "moving")
    assert follow(planes, [0.25 * at for at in range(40)], 20, end=False).fade is None


def test_three_pictures_without_the_caption_are_enough_for_a_clear_cut_at_its_end() -> None:
    planes = film([1.0] * 14 + [0.0] * 3, "moving")
    assert follow(planes, [at / FPS for at in range(17)], 14, end=True) == Course(cut=14)
    planes = film([0.0] * 3 + [1.0] * 14, "moving")
    assert follow(planes, [at / FPS for at in range(17)], 3, end=False) == Course(cut=3)

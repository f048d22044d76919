"""Clips of copied packets: turned films, checks that fail, what the result says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips.films import Desk, Sound, make_film, numbers, rgb_of, shown, tone
from tests.fixtures.media_factory import ffmpeg
from video_pipeline.clips import copying
from video_pipeline.clips.finishing import side_by_side
from video_pipeline.errors import BadInput, Internal

EVERY_TENTH = {"preset": "veryfast", "sc_threshold": "0"}
"""Key frames where `gop` has them, and nowhere else."""


def turned_film(desk: Desk) -> str:
    straight = make_film(desk.films / "straight.mp4", gop=10, sound=Sound(tone(440)))
    ffmpeg(["-display_rotation:v", "-90", "-i", str(straight), "-c", "copy", str(desk.films / "turned.mp4")])
    return desk.put(desk.films / "turned.mp4")


def test_a_copied_film_that_was_held_turned_is_as_large_as_it_is_shown(desk: Desk) -> None:
    key = turned_film(desk)
    copied = desk.run("extract_clip", source_key=key, start=0.4, end=1.2, mode="copy")
    assert copied.copied
    assert (copied.width, copied.height) == (96, 160)
    first = round(copied.start_seconds * 25)
    assert 0 < first <= 10
    # What is cut from the copy is upright: it is still turned by its container.
    again = desk.run("extract_clip", "c2", source_key=copied.output_key, start=0, end=0.4)
    assert (again.width, again.height) == (96, 160)
    assert numbers(shown(desk.fetch(again.output_key), turn=1))[:10] == list(range(first, first + 10))


def test_a_copied_film_that_was_not_turned_keeps_its_size(desk: Desk) -> None:
    for size in ((160, 96), (96, 160)):
        key = desk.film(f"of{size[0]}.mp4", size=size, frames=10)
        result = desk.run("extract_clip", source_key=key, start=0, end=0.4, mode="copy")
        assert (result.width, result.height) == size


def failing(said: str) -> Any:
    def check(*_arguments: Any, **_wanted: Any) -> Any:
        raise Internal(said)

    return check


def test_a_copy_that_does_not_pass_its_check_is_refused_with_what_to_do(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = desk.film(frames=10)
    monkeypatch.setattr(copying, "verify_clip", failing("it stutters"))
    with pytest.raises(BadInput, match="its packets do not make a clip that plays: it stutters") as caught:
        desk.run("extract_clip", source_key=key, start=0, end=0.4, mode="copy")
    assert key in (caught.value.input or "")
    assert "use mode accurate" in (caught.value.what_to_do or "")
    assert desk.stored() == [key]


def test_an_overlay_whose_copy_does_not_pass_its_check_is_encoded_and_says_so(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = desk.film(frames=10)
    monkeypatch.setattr(copying, "verify_clip", failing("it stutters"))
    result = desk.run("render_overlay", source_key=key)
    assert not result.copied
    (said,) = result.degraded
    assert said.startswith("encoded again: its packets do not make a clip that plays: it stutters")
    assert numbers(shown(desk.fetch(result.output_key))) == list(range(10))


@pytest.mark.parametrize("task", ["extract_clip", "render_overlay"])
def test_a_copy_says_what_it_is_of_and_leaves_a_clip_a_picture_and_a_manifest(desk: Desk, task: str) -> None:
    key = desk.film(gop=10, sound=Sound(tone(440)))
    cut = {"start": 0.5, "end": 1.0, "mode": "copy"} if task == "extract_clip" else {}
    result = desk.run(task, source_key=key, **cut)
    assert (result.copied, result.made_of) == (True, key)
    assert result.start_seconds == numbers(shown(desk.fetch(result.output_key)))[0] / 25
    assert (0 < result.start_seconds <= 0.5) if cut else (result.start_seconds == 0)
    assert result.frame_rate == "25"
    assert sorted(set(desk.stored()) - {key}) == sorted(result.output_keys())
    assert len(result.output_keys()) == 3
    assert not desk.run(task, source_key=key, **cut).made


def test_a_preview_of_an_overlay_without_regions_shows_the_pictures_and_copies_nothing(desk: Desk) -> None:
    key = desk.film()
    preview = desk.run("render_overlay", source_key=key, preview=2)
    assert (preview.copied, preview.output_key, preview.frames) == (False, None, 50)
    assert preview.preview_seconds == (0.5, 1.5)
    assert preview.start_seconds == 0.0


def test_the_sheet_of_a_copy_shows_its_middle_picture_as_the_source_and_as_the_copy_have_it(
    desk: Desk,
) -> None:
    film = make_film(desk.films / "film.mp4", frames=40, gop=10, options=EVERY_TENTH)
    result = desk.run("extract_clip", source_key=desk.put(film), start=0.5, end=1.2, mode="copy")
    assert (result.start_seconds, result.frames) == (0.4, 20)
    sheet = np.asarray(Image.open(desk.fetch(result.picture_key)))
    assert sheet.shape == (540, 900 + 8 + 900, 3)
    one, other = sheet[:, :900], sheet[:, 908:]
    assert np.array_equal(one, other)
    # Pictures 10 to 29: the middle of 0.8 s is where the twentieth begins.
    assert np.array_equal(one, side_by_side([rgb_of(shown(film)[20])]))


def test_the_sheet_of_a_copy_that_was_held_turned_is_upright(desk: Desk) -> None:
    copied = desk.run("extract_clip", source_key=turned_film(desk), start=0.4, end=1.2, mode="copy")
    assert Image.open(desk.fetch(copied.picture_key)).size == (324 + 8 + 324, 540)

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips.films import (
    DARK,
    LIGHT,
    TALL,
    TALL_ROWS,
    WIDE,
    Desk,
    Shown,
    Sound,
    clicks,
    clicks_in,
    crop_at,
    level_of,
    numbers,
    psnr,
    put_repeating_weights,
    rgb_of,
    shown,
    sound_in,
    tone,
    whole_picture,
)
from video_pipeline.clips.title_card import COLOURS
from video_pipeline.errors import BadInput
from video_pipeline.models import upscaler

AAC_FRAME = 1024 / 48000
V_FIRST, V_SECOND = 120, 136
SMOOTH = {"crf": 2, "preset": "ultrafast"}


def two_films(desk: Desk) -> list[dict[str, Any]]:
    """Two framed clips of 2 s: the first low in V with 440 Hz, the second high with 660 Hz."""
    first = desk.film("first.mp4", v=V_FIRST, sound=Sound(tone(440)))
    second = desk.film("second.mp4", first=100, v=V_SECOND, sound=Sound(tone(660)))
    return [{"source_key": key, "keyframes": [whole_picture()]} for key in (first, second)]


def join_wide(desk: Desk, clips: list[dict[str, Any]], **fields: Any) -> tuple[Any, list[Shown]]:
    result = desk.run("process_multi_clip", clips=clips, **{**WIDE, **fields})
    return result, shown(desk.fetch(result.output_key))


def heard(desk: Desk, result: Any, start: float, stop: float) -> tuple[float, float]:
    """How loud 440 and 660 Hz are between two moments."""
    samples = sound_in(desk.fetch(result.output_key))[1][int(start * 48000) : int(stop * 48000), 0]
    return level_of(samples, 440), level_of(samples, 660)


# process_multi_clip


@pytest.mark.parametrize(("transition", "frames"), [("cut", 100), ("fade", 100), ("dissolve", 90)])
def test_joined_clips_last_as_long_as_they_should_and_sound_each_in_its_place(
    desk: Desk, transition: str, frames: int
) -> None:
    result, clip = join_wide(desk, two_films(desk), transition=transition, transition_seconds=0.4)
    assert (result.frames, len(clip)) == (frames, frames)
    assert [one.time for one in clip] == [Fraction(n, 25) for n in range(frames)]
    assert (clip[0].number, clip[-1].number) == (0, 149)
    start, samples, rate, channels = sound_in(desk.fetch(result.output_key))
    assert (start, rate, channels) == (0, 48000, 2)
    assert abs(len(samples) / 48000 - frames / 25) <= AAC_FRAME
    first, second = heard(desk, result, 0.1, 1.5)
    assert first == pytest.approx(0.3, abs=0.03)
    assert second < 0.01
    first, second = heard(desk, result, frames / 25 - 1.5, frames / 25 - 0.1)
    assert first < 0.01
    assert second == pytest.approx(0.3, abs=0.03)


def test_a_cut_goes_from_the_last_picture_of_one_clip_to_the_first_of_the_next(desk: Desk) -> None:
    clips = two_films(desk)
    made, clip = join_wide(desk, clips)
    assert numbers(clip) == [*range(50), *range(100, 150)]
    again, _ = join_wide(desk, clips)
    assert (made.made, again.made) == (True, False)


@pytest.mark.slow
def test_a_dissolve_adds_both_clips_by_weights_that_grow_frame_by_frame(desk: Desk) -> None:
    result, clip = join_wide(
        desk, two_films(desk), transition="dissolve", transition_seconds=0.4, encoding=SMOOTH
    )
    for place, one in enumerate(clip):
        share = min(1.0, max(0.0, (place - 40 + 1) / 11))
        assert one.v.mean() == pytest.approx(V_FIRST * (1 - share) + V_SECOND * share, abs=1)
    middle = clip[44]
    for bit in range(8):
        levels = [LIGHT if number >> (7 - bit) & 1 else DARK for number in (44, 104)]
        rows = middle.y[bit * 6 + 2 : bit * 6 + 4]
        assert rows.mean() == pytest.approx(levels[0] * 6 / 11 + levels[1] * 5 / 11, abs=3)
    first, second = heard(desk, result, 1.7, 1.9)
    assert first == pytest.approx(0.3 * 0.5**0.5, abs=0.04)
    assert second == pytest.approx(0.3 * 0.5**0.5, abs=0.04)


@pytest.mark.slow
def test_a_fade_goes_to_black_in_its_first_half_and_comes_back_in_its_second(desk: Desk) -> None:
    result, clip = join_wide(
        desk, two_films(desk), transition="fade", transition_seconds=0.4, encoding=SMOOTH
    )
    plain = join_wide(desk, two_films(desk), encoding=SMOOTH)[1]
    for place, (one, before) in enumerate(zip(clip, plain, strict=True)):
        light = {45: 5, 46: 4, 47: 3, 48: 2, 49: 1, 50: 1, 51: 2, 52: 3, 53: 4, 54: 5}.get(place, 6) / 6
        assert one.y.mean() == pytest.approx(16 + (float(before.y.mean()) - 16) * light, abs=2)
        assert one.v.mean() == pytest.approx(128 + (float(before.v.mean()) - 128) * light, abs=1)
    samples = np.abs(sound_in(desk.fetch(result.output_key))[1][:, 0])
    assert samples[int(1.98 * 48000) : int(2.02 * 48000)].max() < 0.06


def test_each_clip_has_its_own_crop_speeds_and_trim(desk: Desk) -> None:
    first, second = two_films(desk)
    weights = put_repeating_weights(desk)
    clips = [
        {**first, "keyframes": [crop_at(0, x=10)], "trim_start": 0.4, "trim_end": 0.8},
        {
            **second,
            "keyframes": [crop_at(0, x=100)],
            "trim_end": 0.8,
            "segments": [{"start": 0.4, "end": 0.8, "speed": 2}],
        },
    ]
    result = desk.run("process_multi_clip", clips=clips, weights_key=weights, **TALL)
    clip = shown(desk.fetch(result.output_key), TALL_ROWS)
    assert numbers(clip) == [*range(10, 20), *range(100, 110), *range(110, 120, 2)]
    assert clip[0].u.mean() + 20 < clip[-1].u.mean()
    assert result.enlarged_frames == 25


def test_the_network_is_loaded_once_for_all_clips(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[Any] = []
    load = upscaler.load_upscaler

    def counted(*arguments: Any, **options: Any) -> Any:
        loads.append(arguments)
        return load(*arguments, **options)

    monkeypatch.setattr(upscaler, "load_upscaler", counted)
    key = desk.film(frames=3)
    clips = [{"source_key": key, "keyframes": [crop_at()]}] * 4
    result = desk.run("process_multi_clip", clips=clips, weights_key=put_repeating_weights(desk), **TALL)
    assert result.frames == 12
    assert len(loads) == 1


@pytest.mark.slow
@pytest.mark.parametrize("transition", ["cut", "dissolve"])
def test_forty_joined_clips_stay_in_time_with_their_sound(desk: Desk, transition: str) -> None:
    rate = Fraction(30000, 1001)
    key = desk.film(rate=rate, frames=60, sound=Sound(clicks(rate)))
    # Of each, 0.77 s from picture 8 on: its picture 12, and the click with it, come 4 frames later.
    item = {"source_key": key, "keyframes": [whole_picture()]}
    clips = [{**item, "trim_start": 0.267, "trim_end": 0.767}] * 40
    result, clip = join_wide(desk, clips, fps="30000/1001", transition=transition, transition_seconds=0.1)
    pictures = [float(now.time) for before, now in pairwise(clip) if before.number != 12 == now.number]
    sounds = clicks_in(sound_in(desk.fetch(result.output_key))[1][:, 0])
    assert len(pictures) == len(sounds) == 40
    off = [sound - picture for sound, picture in zip(sounds, pictures, strict=True)]
    assert max(abs(late) for late in off) <= AAC_FRAME
    assert abs(np.mean(off[-5:]) - np.mean(off[:5])) < 0.005


def test_a_clip_too_short_for_its_dissolve_is_named_and_nothing_is_left(desk: Desk) -> None:
    clips = two_films(desk)
    before = desk.stored()
    with pytest.raises(BadInput, match="too short for its transitions") as raised:
        join_wide(desk, [clips[0], {**clips[1], "trim_end": 0.2}], transition="dissolve")
    assert "clip 2, " in (raised.value.input or "")
    assert desk.stored() == before


def test_a_preview_of_joined_clips_shows_both(desk: Desk) -> None:
    clips = two_films(desk)
    made, clip = join_wide(desk, clips, encoding=SMOOTH)
    preview = desk.run("process_multi_clip", clips=clips, preview=4, encoding=SMOOTH, **WIDE)
    assert (preview.frames, preview.duration_seconds) == (made.frames, made.duration_seconds)
    by_time = {round(float(one.time), 6): one for one in clip}
    for seconds, key in zip(preview.preview_seconds, preview.preview_keys, strict=True):
        assert psnr(np.asarray(Image.open(desk.fetch(key))), rgb_of(by_time[seconds])) > 42


# create_annotated_compilation

LARGE = (640, 384)


def test_a_compilation_writes_over_its_clips_and_leaves_the_rest_of_the_picture(desk: Desk) -> None:
    key = desk.film(size=LARGE, frames=12, sound=Sound(tone(440)))
    clips = [{"source_key": key, "name": "A run", "notes": "From the left", "rating": 5, "tags": ["run"]}]
    result = desk.run("create_annotated_compilation", clips=clips, encoding=SMOOTH)
    assert (result.width, result.height, result.frames) == (*LARGE, 12)
    assert result.degraded == ()
    source = shown(desk.fetch(key))
    for one, before in zip(shown(desk.fetch(result.output_key)), source, strict=True):
        changed = np.abs(one.y.astype(int) - before.y).mean(axis=1) > 8
        assert 0.05 < changed.mean() < 0.6
        edges = np.flatnonzero(changed)
        assert changed[edges[0] : edges[-1] + 1].mean() > 0.9
        apart = np.abs(rgb_of(one).astype(int) - COLOURS[5]).max(axis=2)
        assert (apart <= 12).sum() > 100, "the badge of its rating"


def test_a_preview_says_what_does_not_fit_as_the_render_does(desk: Desk) -> None:
    clips = [{"source_key": desk.film(size=LARGE, frames=12), "name": "A run", "notes": "Many words " * 99}]
    preview = desk.run("create_annotated_compilation", clips=clips, preview=1, encoding=SMOOTH)
    made = desk.run("create_annotated_compilation", clips=clips, encoding=SMOOTH)
    assert len(made.degraded) == 1
    assert "characters are left out" in made.degraded[0]
    assert preview.degraded == made.degraded


def test_an_annotation_is_shown_for_the_wanted_seconds_of_each_clip(desk: Desk) -> None:
    key = desk.film(size=LARGE, frames=25)
    clips = [{"source_key": key, "name": "A run", "start": start, "end": 0.8} for start in (0.4, 0.0)]
    result = desk.run("create_annotated_compilation", clips=clips, annotation_seconds=0.2, encoding=SMOOTH)

    source = shown(desk.fetch(key))
    expected = [*source[10:20], *source[:20]]
    changed = [
        bool((np.abs(one.y.astype(int) - before.y).mean(axis=1) > 8).any())
        for one, before in zip(shown(desk.fetch(result.output_key)), expected, strict=True)
    ]
    assert changed == [True] * 5 + [False] * 5 + [True] * 5 + [False] * 15


def test_an_annotation_longer_than_its_clip_is_shown_to_the_end(desk: Desk) -> None:
    key = desk.film(size=LARGE, frames=6)
    clips = [{"source_key": key, "name": "A run"}]
    result = desk.run("create_annotated_compilation", clips=clips, annotation_seconds=5.0, encoding=SMOOTH)
    for one, before in zip(shown(desk.fetch(result.output_key)), shown(desk.fetch(key)), strict=True):
        assert (np.abs(one.y.astype(int) - before.y).mean(axis=1) > 8).any()


def test_other_shapes_and_rates_are_fitted_into_the_first_clip_s(desk: Desk) -> None:
    wide = desk.film("wide.mp4", size=LARGE, frames=25, sound=Sound(tone(440)))
    tall = desk.film("tall.mp4", size=(192, 320), rate=Fraction(50), frames=50, first=100)
    clips = [{"source_key": key, "name": "A"} for key in (wide, tall)]
    result = desk.run("create_annotated_compilation", clips=clips, encoding=SMOOTH)
    assert (result.width, result.height, result.frame_rate, result.frames) == (*LARGE, "25", 50)
    clip = shown(desk.fetch(result.output_key))
    # 192x320 in 384 rows is 230 wide, with black on both sides.
    beside = clip[30].y[150:230, [*range(200), *range(440, 640)]]
    assert np.abs(beside.astype(int) - 16).max() <= 3
    for place in (25, 37, 49):
        inside = clip[place].y[:, 212:428]
        number = 100 + (place - 25) * 2
        for bit in (2, 3, 4):
            level = LIGHT if number >> (7 - bit) & 1 else DARK
            assert inside[bit * 48 + 12 : bit * 48 + 36].mean() == pytest.approx(level, abs=4)
    first, _ = heard(desk, result, 0.1, 0.9)
    assert first == pytest.approx(0.3, abs=0.03)
    samples = sound_in(desk.fetch(result.output_key))[1]
    assert np.abs(samples[int(1.1 * 48000) :]).max() < 0.01


def test_a_compilation_may_have_a_size_and_a_rate_of_its_own(desk: Desk) -> None:
    key = desk.film(size=LARGE, frames=25)
    clips = [{"source_key": key, "name": "A"}]
    size: dict[str, Any] = {"output_width": 480, "output_height": 320}
    result = desk.run("create_annotated_compilation", clips=clips, fps="50", **size, encoding=SMOOTH)
    assert (result.width, result.height, result.frame_rate) == (480, 320, "50")
    assert (result.frames, result.duration_seconds) == (50, 1.0)
    clip = shown(desk.fetch(result.output_key))
    assert [one.time for one in clip] == [Fraction(n, 50) for n in range(50)]
    # 640x384 in 480 columns is 288 high, with 16 rows of black above; the bar hides the lower bits.
    assert all(np.abs(one.y[:14].astype(int) - 16).max() <= 3 for one in clip[::10])
    assert clip[48].y[16 + 3 * 36 + 10 : 16 + 3 * 36 + 26, 120:360].mean() == pytest.approx(LIGHT, abs=4)
    assert clip[10].y[16 + 3 * 36 + 10 : 16 + 3 * 36 + 26, 120:360].mean() == pytest.approx(DARK, abs=4)


def test_text_too_long_for_its_place_is_shortened_and_the_result_says_so(desk: Desk) -> None:
    key = desk.film(size=LARGE, frames=3)
    clips = [
        {"source_key": key, "name": "Short"},
        {"source_key": key, "name": "Long", "notes": "more and more words " * 200},
    ]
    result = desk.run("create_annotated_compilation", clips=clips)
    assert result.degraded
    assert all(line.startswith("clip 2, ") for line in result.degraded)


def test_a_compilation_of_parts_fades_between_them(desk: Desk) -> None:
    key = desk.film(size=LARGE, frames=50)
    clips = [
        {"source_key": key, "name": "A", "start": 0.4, "end": 0.8},
        {"source_key": key, "name": "B", "start": 1.2},
    ]
    fields = {"clips": clips, "transition": "fade", "transition_seconds": 0.16, "encoding": SMOOTH}
    result = desk.run("create_annotated_compilation", **fields)
    clip = shown(desk.fetch(result.output_key))
    assert len(clip) == 10 + 20
    light = [float(one.y[:40].mean()) for one in clip]
    assert light[10] == pytest.approx(light[9], abs=3)
    assert max(light[9], light[10]) < min(light[7], light[12]) - 10


def test_letters_that_no_font_has_are_refused_before_anything_is_rendered(desk: Desk) -> None:
    key = desk.film(size=LARGE, frames=3)
    with pytest.raises(BadInput):
        desk.run("create_annotated_compilation", clips=[{"source_key": key, "name": "A \U000f1234"}])
    assert desk.stored() == [key]

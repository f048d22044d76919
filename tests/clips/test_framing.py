from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips.films import (
    TALL,
    TALL_ROWS,
    TENANT,
    WIDE,
    Desk,
    Shown,
    Sound,
    clicks,
    clicks_in,
    column_of,
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
from video_pipeline.clips.framing_plan import FramingPlan, format_of
from video_pipeline.clips.request import ProcessMultiClipRequest
from video_pipeline.clips.request_base import exact
from video_pipeline.clips.shots import Shot
from video_pipeline.clips.sources import StoreSources
from video_pipeline.errors import BadInput
from video_pipeline.media.colour_torch import BT709_LIMITED
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.models import upscaler
from video_pipeline.models.upscaler import Upscaler

NTSC = Fraction(30000, 1001)
SMOOTH = {"crf": 2, "preset": "ultrafast"}


def frame_wide(desk: Desk, key: str, **fields: Any) -> tuple[Any, list[Shown]]:
    """All of the picture at half its size; the result and its pictures."""
    fields = {**WIDE, "keyframes": [whole_picture()], **fields}
    result = desk.run("process_framing_ai", source_key=key, **fields)
    return result, shown(desk.fetch(result.output_key))


def frame_tall(desk: Desk, key: str, **fields: Any) -> tuple[Any, list[Shown]]:
    """A crop enlarged twice by the double of the network; the result and its pictures."""
    fields = {**TALL, "keyframes": [crop_at()], "weights_key": put_repeating_weights(desk), **fields}
    result = desk.run("process_framing_ai", source_key=key, **fields)
    return result, shown(desk.fetch(result.output_key), TALL_ROWS)


# When


@pytest.mark.parametrize(
    ("rate", "frames", "fps", "seconds"),
    [
        (Fraction(60), 120, "30", 2.0),
        (Fraction(25), 50, "30", 2.0),
        (Fraction(25), 50, "10", 2.0),
        (NTSC, 60, "30000/1001", 2.002),
        (NTSC, 60, "60", 2.0),
    ],
)
def test_at_another_rate_a_clip_lasts_as_long_and_shows_what_the_source_shows(
    desk: Desk, rate: Fraction, frames: int, fps: str, seconds: float
) -> None:
    key = desk.film(rate=rate, frames=frames, sound=Sound(clicks(rate)))
    result, clip = frame_wide(desk, key, fps=fps)
    assert result.duration_seconds == pytest.approx(seconds, abs=1e-3)
    assert [one.time for one in clip] == [n / Fraction(fps) for n in range(len(clip))]
    assert numbers(clip) == [int(one.time * rate) for one in clip]
    heard = clicks_in(sound_in(desk.fetch(result.output_key))[1][:, 0])
    at = [float(n * 12 / rate) for n in range(len(heard))]
    assert len(heard) == -(-frames // 12)
    assert heard == pytest.approx(at, abs=0.005)


def test_slow_motion_lies_on_the_wanted_seconds_and_nowhere_else(desk: Desk) -> None:
    key = desk.film(sound=Sound(tone(440)))
    slow = {"start": 0.8, "end": 1.2, "speed": 0.5}
    result, clip = frame_wide(desk, key, segments=[slow])
    twice = [number for number in range(20, 30) for _ in (0, 1)]
    assert numbers(clip) == [*range(20), *twice, *range(30, 50)]
    assert result.duration_seconds == pytest.approx(2.4)
    samples = sound_in(desk.fetch(result.output_key))[1][:, 0]
    assert abs(len(samples) / 48000 - 2.4) <= 1024 / 48000
    inside = samples[int(0.85 * 48000) : int(1.55 * 48000)]
    assert level_of(inside, 440) > 0.2
    assert level_of(inside, 440) > 20 * level_of(inside, 220)


def test_what_a_segment_leaves_out_is_neither_seen_nor_heard(desk: Desk) -> None:
    key = desk.film(sound=Sound(clicks(Fraction(25))))
    gone = {"start": 0.32, "end": 1.2, "keep": False}
    result, clip = frame_wide(desk, key, segments=[gone])
    assert numbers(clip) == [*range(8), *range(30, 50)]
    heard = clicks_in(sound_in(desk.fetch(result.output_key))[1][:, 0])
    assert heard == pytest.approx([0, 0.32 + 0.24, 0.32 + 0.72], abs=0.005)


def test_a_segment_outside_of_what_is_shown_is_named_and_another_is_not(desk: Desk) -> None:
    key, slow = desk.film(), {"speed": 0.5}
    segments = [
        {"start": 0, "end": 0.4, **slow},
        {"start": 0.7, "end": 0.84, **slow},
        {"start": 1.2, "end": 1.4, "keep": False},
        {"start": 1.4, "end": 9, **slow},
    ]
    result, _ = frame_wide(desk, key, trim_start=0.8, trim_end=1.4, segments=segments)
    said = [note for note in result.notes if "segment" in note]
    assert said == [f"segment {n} changes nothing: it lies outside of what is shown" for n in (1, 4)]
    clip = {"source_key": key, "keyframes": [whole_picture()]}
    outside = {**clip, "segments": [{"start": 3, "end": 4, **slow}]}
    joined = desk.run("process_multi_clip", clips=[clip, outside], **WIDE)
    assert [note for note in joined.notes if "segment 1 of clip 2 changes nothing" in note]


def test_a_part_ten_times_as_fast_is_a_tenth_as_long(desk: Desk) -> None:
    fast = {"start": 0.4, "end": 1.6, "speed": 10}
    result, clip = frame_wide(desk, desk.film(sound=Sound(tone(440))), segments=[fast])
    assert numbers(clip) == [*range(10), 10, 20, 30, *range(40, 50)]
    assert result.frames == 23


def test_uneven_times_of_a_source_become_even_without_moving(desk: Desk) -> None:
    ticks = [0, 20, 45, 130, 150, 190, 300, 320, 420, 500]
    key = desk.film(ticks=ticks, time_base=Fraction(1, 600), rate=Fraction(12))
    _, clip = frame_wide(desk, key, fps="30")
    for one in clip:
        assert one.number == max(n for n, tick in enumerate(ticks) if Fraction(tick, 600) <= one.time)


def test_a_source_whose_tick_is_a_whole_picture_shows_none_early(desk: Desk) -> None:
    key = desk.film("ticks.avi", rate=Fraction(5), frames=10, options={"preset": "veryfast", "bf": "0"})
    source = shown(desk.fetch(key))
    assert {one.time * 5 % 1 for one in source} == {0}
    result, clip = frame_wide(desk, key, fps="30")
    begin = exact(result.start_seconds)
    for one in clip:
        assert one.number == max(before.number for before in source if before.time <= begin + one.time)


@pytest.mark.parametrize("name", ["trim_start", "trim_end"])
def test_a_trim_outside_the_video_is_refused_and_leaves_nothing(desk: Desk, name: str) -> None:
    key = desk.film()
    with pytest.raises(BadInput, match=r"which lasts from 0.000 s to 2.000 s"):
        frame_wide(desk, key, **{name: 2.5})
    assert desk.stored() == [key]


# Where


def test_the_crop_follows_its_key_frames(desk: Desk) -> None:
    pan = [crop_at(0, x=10), crop_at(1, x=90)]
    _, clip = frame_tall(desk, desk.film(), keyframes=pan, interpolation="linear", encoding=SMOOTH)
    assert numbers(clip) == list(range(50))
    for one in clip:
        left = 10 + 80 * min(1.0, float(one.time))
        assert column_of(one.u) == pytest.approx(left + 25, abs=1.5)


def test_trimming_moves_neither_the_crop_nor_the_slow_motion(desk: Desk) -> None:
    key = desk.film()
    fields = {
        "keyframes": [crop_at(0.2, x=0), crop_at(1.8, x=110)],
        "segments": [{"start": 0.8, "end": 1.2, "speed": 0.5}],
    }
    _, full = frame_tall(desk, key, **fields)
    trimmed_result, trimmed = frame_tall(desk, key, trim_start=0.6, trim_end=1.4, **fields)
    assert trimmed_result.start_seconds == 0.6
    assert numbers(trimmed) == numbers(full)[15:45]
    for one, before in zip(trimmed, full[15:45], strict=True):
        assert column_of(one.u) == pytest.approx(column_of(before.u), abs=0.8)


def test_key_frames_in_a_smaller_copy_of_the_video_cut_the_same_pixels(desk: Desk) -> None:
    key = desk.film(frames=10)
    full, _ = frame_tall(desk, key, keyframes=[crop_at(0, x=20), crop_at(1, x=60)])
    small = [
        {"time": time, "x": x / 4, "y": 3 / 2, "width": 50 / 4, "height": 90 / 2}
        for time, x in ((0, 20), (1, 60))
    ]
    scaled, _ = frame_tall(desk, key, keyframes=small, reference_size={"width": 40, "height": 48})
    assert scaled.recipe != full.recipe
    assert scaled.sha256 == full.sha256


# The network


def test_the_shipped_network_enlarges_and_is_named_in_the_result(desk: Desk) -> None:
    key = desk.film(frames=4)
    fields = {**TALL, "output_width": 200, "output_height": 360, "keyframes": [crop_at()]}
    result = desk.run("process_framing_ai", source_key=key, **fields)
    rows = (TALL_ROWS[0] * 2, TALL_ROWS[1] * 2)
    assert numbers(shown(desk.fetch(result.output_key), rows)) == [0, 1, 2, 3]
    assert result.enlarged_frames == 4
    shipped = upscaler.load_upscaler("cpu")
    assert result.model_sha256 == shipped.sha256
    assert result.phases["model_load"] > 0
    plain = desk.run("process_framing_ai", source_key=key, upscale="never", **fields)
    assert (plain.enlarged_frames, plain.model_sha256) == (0, None)
    assert plain.sha256 != result.sha256


def test_a_crop_with_enough_pixels_needs_no_network_and_the_result_says_so(desk: Desk) -> None:
    result, _ = frame_wide(desk, desk.film(frames=5))
    assert (result.enlarged_frames, result.model_sha256) == (0, None)
    assert any("not enlarged by the network" in note for note in result.notes)


def test_of_several_clips_each_goes_by_its_own_crop_for_its_mark_and_for_the_network(desk: Desk) -> None:
    key = desk.film(frames=5)
    small = {"time": 0, "x": 40, "y": 24, "width": 40, "height": 24}
    request = ProcessMultiClipRequest.model_validate(
        {
            "tenant_id": TENANT,
            "clip_id": "two",
            **WIDE,
            "clips": [{"source_key": key, "keyframes": [frame]} for frame in (whole_picture(), small)],
        }
    )
    programme: Any = None
    plan = FramingPlan(programme, format_of(request), StoreSources(desk.store, [key, key]))
    box, picture = plan.crop_box(request, request.clips), flat_picture()
    marked = [box(Shot(clip, picture, Fraction(0), Fraction(1))) for clip in (0, 1)]
    assert marked == [(0, 0, 160, 96), (40, 24, 40, 24)]
    assert plan.enlarges(request, request.clips)
    assert not plan.enlarges(request, request.clips[:1])


def flat_picture() -> CroppedFrame:
    chroma = np.full((48, 80), 128, np.uint8)
    return CroppedFrame(np.full((96, 160), 100, np.uint8), chroma, chroma, BT709_LIMITED)


def test_only_frames_that_lack_pixels_go_through_the_network(desk: Desk) -> None:
    zoom = [crop_at(0, x=0, y=0, width=53, height=96), crop_at(0.4, x=0, y=0, width=27, height=48)]
    small: dict[str, Any] = {"output_width": 40, "output_height": 72}
    result, clip = frame_tall(desk, desk.film(frames=11), keyframes=zoom, interpolation="linear", **small)
    # The height goes from 96 to 48 in 10 frames: it is 72 at the fifth, which still has enough.
    assert len(clip) == 11
    assert result.enlarged_frames == 5


def test_a_crop_that_lacks_pixels_only_between_its_key_frames_is_enlarged_there(desk: Desk) -> None:
    cross = [
        {"time": 0, "x": 0, "y": 0, "width": 53, "height": 24},
        {"time": 0.4, "x": 0, "y": 0, "width": 12, "height": 96},
    ]
    small = {"output_width": 50, "output_height": 90}
    result, _ = frame_tall(desk, desk.film(frames=11), keyframes=cross, interpolation="linear", **small)
    assert result.enlarged_frames > 0


# Failure


def failing_upscaler(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """Doubles the network by one that fails after so many passes; the list grows with each."""
    passes: list[int] = []
    load: Callable[..., Upscaler] = upscaler.load_upscaler

    def loaded(*arguments: Any, **options: Any) -> Upscaler:
        made = load(*arguments, **options)

        def fail(_net: Any, given: Any) -> None:
            passes.append(len(given[0]))
            if len(passes) > after:
                raise ArithmeticError("the network broke")

        made.net.register_forward_pre_hook(fail)
        return made

    monkeypatch.setattr(upscaler, "load_upscaler", loaded)
    return passes


@pytest.mark.parametrize("task", ["process_framing_ai", "process_framing_ai_chunk"])
def test_a_frame_that_fails_fails_the_clip_and_leaves_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    key = desk.film()
    fields = {**TALL, "keyframes": [crop_at()], "weights_key": put_repeating_weights(desk)}
    before = desk.stored()
    passes = failing_upscaler(monkeypatch, after=2)
    chunk: dict[str, Any] = {"start_frame": 0, "end_frame": 50} if task.endswith("chunk") else {}
    with pytest.raises(ArithmeticError, match="the network broke"):
        desk.run(task, source_key=key, **fields, **chunk)
    assert len(passes) == 3
    assert desk.stored() == before


def test_a_chunk_off_the_segments_is_refused(desk: Desk) -> None:
    key = desk.film(frames=120)
    fields = {**WIDE, "keyframes": [whole_picture()]}
    for first, stop in ((1, 50), (0, 51), (50, 121)):
        with pytest.raises(
            BadInput, match=rf"frames {first} to {stop} are no chunk of 120 in segments of 50"
        ):
            desk.run("process_framing_ai_chunk", source_key=key, start_frame=first, end_frame=stop, **fields)


# Previews


def test_a_preview_s_pictures_are_the_clip_s_and_it_says_how_long_the_clip_is(desk: Desk) -> None:
    key = desk.film()
    fields: dict[str, Any] = {
        "keyframes": [crop_at(0, x=10), crop_at(1, x=90)],
        "segments": [{"start": 0.8, "end": 1.2, "speed": 0.5}],
        "encoding": SMOOTH,
    }
    made, clip = frame_tall(desk, key, **fields)
    before = set(desk.stored())
    weights = put_repeating_weights(desk)
    preview = desk.run(
        "process_framing_ai", source_key=key, preview=5, weights_key=weights, **{**TALL, **fields}
    )
    assert (preview.frames, preview.duration_seconds) == (made.frames, made.duration_seconds)
    assert preview.output_key is None
    assert set(desk.stored()) - before == set(preview.preview_keys)
    assert preview.preview_seconds == tuple(number / 25 for number in (6, 18, 30, 42, 54))
    assert len(preview.preview_keys) == 5
    by_time = {round(float(one.time), 6): one for one in clip}
    for seconds, picture in zip(preview.preview_seconds, preview.preview_keys, strict=True):
        assert psnr(np.asarray(Image.open(desk.fetch(picture))), rgb_of(by_time[seconds])) > 42


def test_the_picture_of_before_and_after_lies_beside_the_clip(desk: Desk) -> None:
    result, _ = frame_wide(desk, desk.film(frames=5))
    sheet = Image.open(desk.fetch(result.picture_key))
    assert sheet.size == (900 + 8 + 900, 540)

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.clips.films import (
    HEIGHT,
    Desk,
    Shown,
    Sound,
    clicks,
    clicks_in,
    level_of,
    make_film,
    numbers,
    psnr,
    rgb_of,
    shown,
    sound_in,
    tone,
)
from tests.fixtures.media_factory import MediaFactory, ffmpeg
from video_pipeline.clips.request_base import exact
from video_pipeline.errors import BadInput

NTSC = Fraction(30000, 1001)
AAC_FRAME = 1024 / 48000
UNEVEN = [0]
while len(UNEVEN) < 60:
    UNEVEN.append(UNEVEN[-1] + (20, 25, 60, 24, 31)[len(UNEVEN) % 5])

PYRAMID = {"preset": "veryfast", "crf": "16", "x264-params": "bframes=3:b-pyramid=normal:b-adapt=0"}
OPEN_GOP = {
    "preset": "veryfast",
    "crf": "16",
    "x264-params": "open-gop=1:keyint=13:bframes=3:b-adapt=0:scenecut=0",
}

FILMS: dict[str, tuple[str, dict[str, Any]]] = {
    "25 a second": ("a.mp4", {}),
    "30 a second": ("a.mp4", {"rate": Fraction(30)}),
    "29.97 a second": ("a.mp4", {"rate": NTSC}),
    "60 a second": ("a.mp4", {"rate": Fraction(60), "frames": 120}),
    "uneven times": ("a.mp4", {"rate": Fraction(25), "ticks": UNEVEN, "time_base": Fraction(1, 600)}),
    "pyramid of B-frames": ("a.mp4", {"options": PYRAMID}),
    "open GOPs": ("a.mp4", {"options": OPEN_GOP}),
    "MOV": ("a.mov", {"rate": NTSC}),
    "Matroska with times in milliseconds": ("a.mkv", {"rate": NTSC}),
    "WebM": ("a.webm", {"codec": "libvpx-vp9"}),
}


def expected(source: list[Shown], start: float, end: float) -> list[Shown]:
    """The pictures of a source that are shown in [start, end), found the slow way."""
    begin, stop = exact(start), exact(end)
    first = max(index for index, one in enumerate(source) if one.time <= begin)
    return [one for one in source[first:] if one.time < stop]


def assert_same_pictures(clip: list[Shown], wanted: list[Shown]) -> None:
    assert numbers(clip) == numbers(wanted)
    assert -1 not in numbers(wanted)
    assert [one.time for one in clip] == [one.time - wanted[0].time for one in wanted]


def assert_sound_fits(path: Path, duration: float) -> np.ndarray:
    """Stereo at 48 kHz, from the first picture to the end of the last; its samples."""
    start, samples, rate, channels = sound_in(path)
    assert (rate, channels) == (48000, 2)
    assert abs(start) <= AAC_FRAME
    assert abs(start + len(samples) / rate - duration) <= AAC_FRAME
    return samples


def off_click(path: Path, clip: list[Shown], every: int = 12) -> list[float]:
    """Seconds by which each click is heard after the picture it belongs to. Up to one frame of AAC may be
    heard after the last picture's end."""
    times = [float(one.time) for one in clip if one.number % every == 0]
    end = clip[-1].time + (clip[-1].time - clip[-2].time)
    heard = [click for click in clicks_in(sound_in(path)[1][:, 0]) if click < end - Fraction(1, 100)]
    assert len(times) == len(heard) > 1
    return [click - time for click, time in zip(heard, times, strict=True)]


# extract_clip


@pytest.mark.parametrize("name", FILMS)
def test_an_accurate_cut_has_every_picture_of_its_part_once_at_its_own_time(desk: Desk, name: str) -> None:
    file, how = FILMS[name]
    key = desk.film(file, **how)
    source = shown(desk.fetch(key))
    wanted = expected(source, 0.51, 1.29)
    assert 10 < len(wanted) < len(source)
    result = desk.run("extract_clip", source_key=key, start=0.51, end=1.29)
    clip = shown(desk.fetch(result.output_key))
    assert_same_pictures(clip, wanted)
    assert result.frames == len(clip)
    assert result.start_seconds == pytest.approx(float(wanted[0].time), abs=1e-9)
    assert_sound_fits(desk.fetch(result.output_key), result.duration_seconds)


@pytest.mark.parametrize(("start", "end", "first", "count"), [(0.5005, 1.001, 15, 15), (0.0, 0.001, 0, 1)])
def test_a_cut_on_a_picture_s_own_time_begins_with_it_and_ends_before_the_one_at_its_end(
    desk: Desk, start: float, end: float, first: int, count: int
) -> None:
    key = desk.film(rate=NTSC, time_base=Fraction(1, 30000))
    result = desk.run("extract_clip", source_key=key, start=start, end=end)
    assert numbers(shown(desk.fetch(result.output_key))) == list(range(first, first + count))


def test_a_whole_film_cut_from_its_beginning_to_its_end_loses_nothing(desk: Desk) -> None:
    key = desk.film(sound=Sound(clicks(Fraction(25))))
    result = desk.run("extract_clip", source_key=key, start=0, end=2)
    path = desk.fetch(result.output_key)
    assert numbers(shown(path)) == list(range(50))
    assert (result.frames, result.duration_seconds) == (50, 2.0)
    assert max(abs(offset) for offset in off_click(path, shown(path))) < 0.005


def test_a_film_that_was_held_turned_is_cut_upright(desk: Desk) -> None:
    straight = make_film(desk.films / "straight.mp4", options=PYRAMID)
    ffmpeg(["-display_rotation:v", "-90", "-i", str(straight), "-c", "copy", str(desk.films / "turned.mp4")])
    key = desk.put(desk.films / "turned.mp4")
    result = desk.run("extract_clip", source_key=key, start=0.51, end=1.29)
    clip = shown(desk.fetch(result.output_key), turn=1)
    assert (result.width, result.height) == (96, 160)
    assert_same_pictures(clip, expected(shown(straight), 0.51, 1.29))


def test_a_film_of_odd_size_loses_its_last_row_and_column_and_the_result_says_so(desk: Desk) -> None:
    even = make_film(desk.films / "even.mp4")
    odd = str(desk.films / "odd.webm")
    ffmpeg(["-i", str(even), "-vf", "crop=159:95:0:0:exact=1,scale=159:95", "-c:v", "libvpx-vp9",
            "-deadline", "realtime", "-cpu-used", "8", "-crf", "20", "-b:v", "0", odd])  # fmt: skip
    key = desk.put(desk.films / "odd.webm")
    result = desk.run("extract_clip", source_key=key, start=0.51, end=1.29)
    clip = shown(desk.fetch(result.output_key), rows=(0, HEIGHT))
    assert (result.width, result.height) == (158, 94)
    assert any("odd" in note for note in result.notes)
    assert_same_pictures(clip, expected(shown(even), 0.51, 1.29))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["ten_bit", "hevc_open_gop", "h264_fragmented", "edit_trim", "mpeg4_avi"])
def test_real_footage_of_other_kinds_keeps_its_pictures_and_times(
    desk: Desk, media: MediaFactory, variant: str
) -> None:
    path = media.path(variant)
    result = desk.run(
        "extract_clip", source_key=desk.put(path, variant.replace("_", "-")), start=0.3, end=0.9
    )
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base or 1)
        pictures = [
            (Fraction(frame.pts or 0) * base, frame.to_ndarray(format="gray").astype(int))
            for frame in container.decode(stream)
        ]
    first = max(index for index, (time, _) in enumerate(pictures) if time <= exact(0.3))
    wanted = [one for one in pictures[first:] if one[0] < exact(0.9)]
    clip = shown(desk.fetch(result.output_key))
    assert [one.time for one in clip] == [time - wanted[0][0] for time, _ in wanted]
    for one, (_, gray) in zip(clip, wanted, strict=True):
        apart = [float(np.abs(_luma(other) - one.y).mean()) for _, other in pictures]
        assert apart[pictures.index(next(p for p in pictures if p[1] is gray))] == pytest.approx(
            min(apart), abs=0.3
        )


def _luma(gray: np.ndarray) -> np.ndarray:
    """8-bit limited luma of libav's full-range grey."""
    return gray * 219 / 255 + 16


def test_a_copied_cut_begins_at_the_key_frame_before_and_says_so(desk: Desk) -> None:
    key = desk.film(gop=10, frames=75, sound=Sound(clicks(Fraction(25))))
    result = desk.run("extract_clip", source_key=key, start=0.91, end=2.31, mode="copy")
    path = desk.fetch(result.output_key)
    clip = shown(path)
    assert result.copied
    assert result.start_seconds == 0.8
    assert numbers(clip)[0] == 20
    assert numbers(clip) == list(range(20, 20 + len(clip)))
    assert clip[-1].number >= 57
    assert max(abs(offset) for offset in off_click(path, clip)) <= AAC_FRAME


def test_a_copied_cut_keeps_the_bits_of_its_pictures(desk: Desk) -> None:
    key = desk.film(gop=10)
    source = shown(desk.fetch(key))
    result = desk.run("extract_clip", source_key=key, start=0.4, end=1.2, mode="copy")
    for one in shown(desk.fetch(result.output_key)):
        assert np.array_equal(one.y, source[one.number].y)


def test_a_copied_cut_keeps_its_source_s_own_sound(desk: Desk) -> None:
    key = desk.film(sound=Sound(tone(440), rate=44100, layout="mono"))
    result = desk.run("extract_clip", source_key=key, start=0, end=1, mode="copy")
    _, samples, rate, channels = sound_in(desk.fetch(result.output_key))
    assert (rate, channels) == (44100, 1)
    assert level_of(samples[10_000:30_000, 0], 440, rate) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("mode", ["accurate", "copy"])
@pytest.mark.parametrize(("start", "end"), [(2.0, 3.0), (1.0, 2.2), (5.0, 6.0)])
def test_times_outside_the_film_are_refused_with_the_times_it_has(
    desk: Desk, mode: str, start: float, end: float
) -> None:
    key = desk.film()
    said = f"from {start:.3f} s to {end:.3f} s is not in the video, which lasts from 0.000 s to 2.000 s"
    with pytest.raises(BadInput, match=re.escape(said)) as raised:
        desk.run("extract_clip", source_key=key, start=start, end=end, mode=mode)
    assert raised.value.input is not None
    assert key in raised.value.input
    assert desk.stored() == [key]


def test_a_source_that_is_missing_or_no_video_is_named(desk: Desk, media: MediaFactory) -> None:
    with pytest.raises(BadInput, match="no such object") as missing:
        desk.run("extract_clip", source_key="demo/gone.mp4", start=0, end=1)
    assert "demo/gone.mp4" in (missing.value.input or "")
    key = desk.put(media.path("text"))
    with pytest.raises(BadInput) as text:
        desk.run("extract_clip", source_key=key, start=0, end=1)
    assert key in (text.value.input or "")


def test_a_source_that_is_cut_off_leaves_no_clip(desk: Desk, media: MediaFactory) -> None:
    key = desk.put(media.path("truncated_faststart_60"))
    with pytest.raises(BadInput):
        desk.run("extract_clip", source_key=key, start=0, end=2.4)
    assert desk.stored() == [key]


# Sound

SOUNDS = {
    "stereo": Sound(tone(440)),
    "5.1": Sound(tone(440), layout="5.1"),
    "44.1 kHz": Sound(tone(440), rate=44100),
    "mono": Sound(tone(440), layout="mono"),
    "mono at 22.05 kHz": Sound(tone(440), rate=22050, layout="mono"),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_whatever_a_source_sounds_like_its_cut_has_the_tone_in_stereo(desk: Desk, name: str) -> None:
    key = desk.film(sound=SOUNDS[name])
    result = desk.run("extract_clip", source_key=key, start=0.51, end=1.51)
    samples = assert_sound_fits(desk.fetch(result.output_key), result.duration_seconds)
    for channel in (0, 1):
        heard = samples[4800:-4800, channel]
        assert level_of(heard, 440) > 0.12
        assert level_of(heard, 440) > 50 * level_of(heard, 1000)


def test_a_source_without_sound_gives_a_silent_track(desk: Desk) -> None:
    result = desk.run("extract_clip", source_key=desk.film(), start=0.51, end=1.51)
    samples = assert_sound_fits(desk.fetch(result.output_key), result.duration_seconds)
    assert np.abs(samples).max() < 1e-4


def test_sound_that_starts_late_and_ends_early_is_heard_at_its_own_time(desk: Desk) -> None:
    sound = Sound(tone(440), start=Fraction(4, 5), seconds=Fraction(2, 5))
    key = desk.film("late.mkv", sound=sound)
    result = desk.run("extract_clip", source_key=key, start=0.4, end=1.6)
    samples = assert_sound_fits(desk.fetch(result.output_key), result.duration_seconds)
    loud = np.flatnonzero(np.abs(samples[:, 0]) > 0.1) / 48000
    assert (loud[0], loud[-1]) == pytest.approx((0.4, 0.8), abs=0.03)


# render_overlay


def region(start: float, end: float, x: float = 80, y: float = 48, rx: float = 24, ry: float = 20) -> dict:
    keyframe = {"x": x, "y": y, "radius_x": rx, "radius_y": ry}
    return {
        "start_time": start,
        "end_time": end,
        "keyframes": [{"time": start, **keyframe}, {"time": end, **keyframe, "x": x + 8}],
    }


@pytest.mark.parametrize("effect", ["dark_overlay", "original"])
def test_an_overlay_that_changes_nothing_is_a_copy_of_the_source(desk: Desk, effect: str) -> None:
    key = desk.film(sound=Sound(tone(440)))
    regions = [region(0, 1)] if effect == "original" else []
    result = desk.run("render_overlay", source_key=key, highlight_regions=regions, effect_type=effect)
    assert result.copied
    assert result.frames == 50
    source = shown(desk.fetch(key))
    for one, before in zip(shown(desk.fetch(result.output_key)), source, strict=True):
        assert one.time == before.time
        assert np.array_equal(one.y, before.y)


@pytest.mark.parametrize("variant", ["edit_trim", "edit_trim_open_gop"])
def test_a_source_whose_edit_list_hides_its_key_picture_is_copied(
    desk: Desk, media: MediaFactory, variant: str
) -> None:
    result = desk.run("render_overlay", source_key=desk.put(media.path(variant), "trimmed"))
    assert result.copied
    assert result.degraded == ()


@pytest.mark.parametrize("variant", ["vp8", "h264_intra_refresh"])
def test_a_source_that_cannot_be_copied_is_encoded_again_and_the_result_says_so(
    desk: Desk, media: MediaFactory, variant: str
) -> None:
    key = desk.put(media.path(variant), "odd-one")
    result = desk.run("render_overlay", source_key=key)
    assert not result.copied
    assert len(result.degraded) == 1
    assert result.degraded[0].startswith("encoded again: ")
    source = shown(desk.fetch(key))
    clip = shown(desk.fetch(result.output_key))
    assert [one.time for one in clip] == [one.time - source[0].time for one in source]


def test_a_source_that_is_cut_off_is_refused_and_not_encoded_up_to_its_end(
    desk: Desk, media: MediaFactory
) -> None:
    key = desk.put(media.path("truncated_faststart_60"))
    with pytest.raises(BadInput):
        desk.run("render_overlay", source_key=key)
    assert desk.stored() == [key]


def test_a_spotlight_darkens_around_it_while_it_is_lit_and_nothing_at_other_times(desk: Desk) -> None:
    key = desk.film(sound=Sound(clicks(Fraction(25))))
    source = shown(desk.fetch(key))
    result = desk.run(
        "render_overlay", source_key=key, highlight_regions=[region(0.4, 1.2)], fade_out=0, strength=0.6
    )
    clip = shown(desk.fetch(result.output_key))
    assert [one.time for one in clip] == [one.time for one in source]
    corner, centre = np.s_[:20, :20], np.s_[40:56, 76:88]
    for one, before in zip(clip, source, strict=True):
        lit = exact(0.4) <= one.time < exact(1.2)
        dark = before.y[corner].astype(float)
        if lit:
            assert one.y[corner].mean() == pytest.approx((16 + (dark - 16) * 0.4).mean(), abs=3)
        else:
            assert one.y[corner].mean() == pytest.approx(dark.mean(), abs=1.5)
        assert one.y[centre].mean() == pytest.approx(before.y[centre].mean(), abs=2.5)
    assert max(abs(off) for off in off_click(desk.fetch(result.output_key), source)) < 0.005


def test_regions_given_in_a_smaller_copy_of_the_video_light_the_same_pixels(desk: Desk) -> None:
    key = desk.film(frames=12)
    full = desk.run("render_overlay", source_key=key, highlight_regions=[region(0, 1)])
    small = region(0, 1)
    for keyframe in small["keyframes"]:
        keyframe.update({name: keyframe[name] / 2 for name in ("x", "radius_x")})
        keyframe.update({name: keyframe[name] / 4 for name in ("y", "radius_y")})
    scaled = desk.run(
        "render_overlay",
        source_key=key,
        highlight_regions=[small],
        reference_size={"width": 80, "height": 24},
    )
    assert scaled.recipe != full.recipe
    assert scaled.sha256 == full.sha256


# Previews


@pytest.mark.parametrize("task", ["extract_clip", "render_overlay"])
def test_a_preview_shows_frames_of_the_clip_and_makes_no_clip(desk: Desk, task: str) -> None:
    key = desk.film()
    fields: dict[str, Any] = (
        {"start": 0.4, "end": 1.6} if task == "extract_clip" else {"highlight_regions": [region(0.4, 1.2)]}
    )
    preview = desk.run(task, source_key=key, preview=3, **fields)
    assert preview.output_key is None
    assert len(preview.preview_keys) == 3
    shares = [preview.duration_seconds * part for part in (1 / 6, 3 / 6, 5 / 6)]
    assert preview.preview_seconds == pytest.approx(shares, abs=1e-6)
    assert not any(found.endswith((".mp4", ".json")) for found in set(desk.stored()) - {key})
    made = desk.run(task, source_key=key, **fields)
    assert (preview.frames, preview.duration_seconds) == (made.frames, made.duration_seconds)
    clip = shown(desk.fetch(made.output_key))
    for seconds, picture in zip(preview.preview_seconds, preview.preview_keys, strict=True):
        of_clip = max((one for one in clip if one.time <= exact(seconds)), key=lambda one: one.time)
        assert psnr(np.asarray(Image.open(desk.fetch(picture))), rgb_of(of_clip)) > 38

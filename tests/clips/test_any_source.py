"""Sources of every kind through every rendering task, each from end to end: colours, sound, damage, trims."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from PIL import Image

from tests.clips.films import (
    HEIGHT,
    TENANT,
    WIDE,
    WIDTH,
    Desk,
    Shown,
    Sound,
    level_of,
    make_film,
    numbers,
    psnr,
    rgb_of,
    shown,
    sound_in,
    tone,
    whole_picture,
)
from tests.conftest import ROOT
from tests.fixtures.media_factory import MediaFactory, ffmpeg
from video_pipeline.clips import task_requests
from video_pipeline.clips.current import set_current
from video_pipeline.clips.intake import add_clip, load_clip_request
from video_pipeline.errors import BadInput
from video_pipeline.keys import ClipId

SMOOTH = {"crf": 2, "preset": "ultrafast"}
LARGE = {"output_width": 640, "output_height": 384}
"""What a compilation of films is fitted into: four times their size, so that text can be read."""

TASKS = (
    "extract_clip",
    "render_overlay",
    "process_framing_ai",
    "process_multi_clip",
    "create_annotated_compilation",
)


def request_for(task: str, keys: Sequence[str], seconds: float = 2.0) -> dict[str, Any]:
    """A request that shows all of the last of `keys`, which lasts `seconds`, and those before it where a task
    takes several."""
    (*_, key) = keys
    light = {"time": 0, "x": 80, "y": 48, "radius_x": 30, "radius_y": 30}
    framings = [{"source_key": each, "keyframes": [whole_picture()]} for each in keys]
    return {
        "extract_clip": {"source_key": key, "start": 0, "end": seconds},
        "render_overlay": {
            "source_key": key,
            "highlight_regions": [{"start_time": 0, "end_time": 2, "keyframes": [light]}],
        },
        "process_framing_ai": {**WIDE, **framings[-1], "upscale": "never"},
        "process_multi_clip": {**WIDE, "clips": framings, "upscale": "never"},
        "create_annotated_compilation": {
            **LARGE,
            "clips": [{"source_key": each, "name": "A"} for each in keys],
        },
    }[task]


# Colours


def bt601_copy(film: list[Shown], path: Path) -> Path:
    """The same colours by the other matrix (ITU-R BT.601, 2.5), converted here in float64 and tagged so."""
    with av.open(str(path), "w") as container:
        stream = cast(Any, container.add_stream("libx264", rate=25, options={"preset": "fast", "crf": "1"}))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 6, 1, 1, 1
        for one in film:
            luma = (one.y.astype(float) - 16) / 219
            cb, cr = ((plane.repeat(2, 0).repeat(2, 1).astype(float) - 128) / 224 for plane in (one.u, one.v))
            red, blue = luma + 1.5748 * cr, luma + 1.8556 * cb
            green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152
            luma = 0.299 * red + 0.587 * green + 0.114 * blue
            u, v = (((blue - luma) / 1.772)[::2, ::2], ((red - luma) / 1.402)[::2, ::2])
            planes = [16 + 219 * luma, 128 + 224 * u, 128 + 224 * v]
            flat = np.concatenate([np.rint(plane).astype(np.uint8).reshape(-1) for plane in planes])
            frame = av.VideoFrame.from_ndarray(flat.reshape(HEIGHT * 3 // 2, WIDTH), format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("task", TASKS)
def test_a_source_in_bt601_is_converted_and_not_only_tagged(desk: Desk, task: str) -> None:
    """With other tags alone, luma would be 4 of 255 too high. swscale takes it down by one on the way."""
    plain = make_film(desk.films / "plain.mp4", frames=6, v=150, options={"preset": "fast", "crf": "1"})
    other = bt601_copy(shown(plain), desk.films / "bt601.mp4")
    made = [
        desk.run(task, path.stem, **request_for(task, [desk.put(path)], 0.24), encoding=SMOOTH)
        for path in (plain, other)
    ]
    clips = [desk.fetch(result.output_key) for result in made]
    for path in clips:
        with av.open(str(path)) as container:
            codec = container.streams.video[0].codec_context
            assert (codec.colorspace, codec.color_primaries, codec.color_trc, codec.color_range) == (1,) * 4
    wanted, found = (shown(path) for path in clips)
    assert numbers(wanted) == numbers(found)
    for one, before in zip(found, wanted, strict=True):
        for plane, should in ((one.y, before.y), (one.u, before.u), (one.v, before.v)):
            assert plane.mean() == pytest.approx(should.mean(), abs=0.7)
    assert any("BT.601" in note for note in made[1].notes)


# Joined sources that have little in common


def test_sources_of_every_kind_join_each_with_its_own_pictures_and_sound(desk: Desk) -> None:
    slow = [0, 40, 120, 160, 300, 340, 420, 560, 600, 640, 760]
    odd = desk.films / "odd.webm"
    even = make_film(desk.films / "even.mp4", first=150, sound=Sound(tone(880), rate=22050, layout="mono"))
    one_less = ["-vf", "crop=159:95:0:0:exact=1,scale=159:95"]
    vp9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-crf", "20", "-b:v", "0"]
    ffmpeg(["-i", str(even), *one_less, *vp9, "-c:a", "libopus", str(odd)])
    keys = [
        desk.film("plain.mp4", sound=Sound(tone(440))),
        desk.film("silent.mp4", rate=Fraction(60), frames=60, first=60),
        desk.film(
            "uneven.mkv",
            ticks=slow,
            time_base=Fraction(1, 1000),
            first=120,
            sound=Sound(tone(660), layout="5.1", rate=44100),
        ),
        desk.put(odd),
    ]
    ends = (0.8, 0.8, 0.72, 0.8)
    clips = [
        {"source_key": key, "keyframes": [whole_picture()], "trim_end": end}
        for key, end in zip(keys, ends, strict=True)
    ]
    result = desk.run("process_multi_clip", **WIDE, upscale="never", clips=clips)
    path = desk.fetch(result.output_key)
    uneven = [120 + max(n for n, tick in enumerate(slow) if tick <= 40 * place) for place in range(18)]
    every = [60 + int(Fraction(place, 25) * 60) for place in range(20)]
    assert numbers(shown(path)) == [*range(20), *every, *uneven, *range(150, 170)]
    assert result.frame_rate == "25"
    start, samples, rate, channels = sound_in(path)
    assert (start, rate, channels) == (0, 48000, 2)
    borders = [0.0, 0.8, 1.6, 2.32, 3.12]
    assert abs(len(samples) / rate - borders[-1]) <= 1024 / 48000
    for number, pitch in enumerate((440, None, 660, 880)):
        begin, end = (round(48000 * at) for at in (borders[number] + 0.1, borders[number + 1] - 0.1))
        for channel in (0, 1):
            heard = {hertz: level_of(samples[begin:end, channel], hertz) for hertz in (440, 660, 880)}
            assert {hertz for hertz, level in heard.items() if level > 0.1} == ({pitch} if pitch else set())
            assert all(level < 0.01 for hertz, level in heard.items() if hertz != pitch)


def test_a_film_that_was_held_turned_is_framed_upright(desk: Desk) -> None:
    straight = make_film(desk.films / "straight.mp4", frames=20)
    ffmpeg(["-display_rotation:v", "-90", "-i", str(straight), "-c", "copy", str(desk.films / "turned.mp4")])
    whole = {"time": 0, "x": 0, "y": 0, "width": HEIGHT, "height": WIDTH}
    size = {"output_width": HEIGHT // 2, "output_height": WIDTH // 2, "fps": "25", "upscale": "never"}
    key = desk.put(desk.films / "turned.mp4")
    result = desk.run("process_framing_ai", source_key=key, keyframes=[whole], **size)
    assert numbers(shown(desk.fetch(result.output_key), turn=1)) == list(range(20))


# Damage


@pytest.mark.parametrize("task", [*TASKS, "process_framing_ai_chunk"])
def test_a_picture_that_cannot_be_read_fails_the_clip_and_is_not_left_out(
    desk: Desk, media: MediaFactory, task: str
) -> None:
    keys = [desk.put(media.path(name), name.replace("_", "-")) for name in ("h264_b", "corrupt_middle")]
    if task.endswith("chunk"):
        fields = {**request_for("process_framing_ai", keys), "start_frame": 0, "end_frame": 50}
    else:
        fields = request_for(task, keys)
    with pytest.raises(BadInput, match="corrupt-middle"):
        desk.run(task, **fields)
    assert sorted(desk.stored()) == sorted(keys)


@pytest.mark.parametrize("task", TASKS)
def test_sound_that_cannot_be_read_fails_the_clip_and_is_not_silence(desk: Desk, task: str) -> None:
    whole = make_film(desk.films / "whole.mkv", sound=Sound(tone(440), codec="flac"))
    damaged = desk.films / "damaged.mkv"
    ffmpeg(["-i", str(whole), "-c", "copy", "-bsf:a", "noise=amount=50", str(damaged)])
    keys = [desk.put(whole), desk.put(damaged)]
    assert desk.run(task, "good", **request_for(task, [keys[0]])).made
    before = desk.stored()
    with pytest.raises(BadInput, match=r"the sound is damaged.*damaged/video\.mkv"):
        desk.run(task, "bad", **request_for(task, keys))
    assert desk.stored() == before


# What was asked for, after the clip is cut again, and before it is made


def cut_and_light(desk: Desk, name: str, key: str, start: float, **cut: Any) -> dict[int, Shown]:
    """The pictures, by their number in the source, of a clip cut at `start` under the same spotlight."""
    clip = ClipId(TENANT, name)
    light = {"y": 48, "radius_x": 16, "radius_y": 30}
    region = {
        "start_time": 0.3,
        "end_time": 1.5,
        "keyframes": [{"time": 0.5, "x": 30, **light}, {"time": 1.6, "x": 140, **light}],
    }
    overlay = {"highlight_regions": [region], "strength": 0.9, "fade_out": 0.2}
    add_clip(
        desk.store,
        clip,
        {"source_key": key, "start": start, "end": 1.8, "encoding": SMOOTH, "overlay": overlay, **cut},
    )
    asked = load_clip_request(desk.store, clip)
    made = desk.run_request("extract_clip", task_requests.extract_request(clip, asked))
    set_current(desk.store, clip, "clip", made)
    lit = desk.run_request("render_overlay", task_requests.overlay_request(desk.store, clip, asked))
    pictures = shown(desk.fetch(lit.output_key))
    return {round((Fraction(made.start_seconds) + one.time) * 25): one for one in pictures}


@pytest.mark.parametrize(
    "again",
    [{"start": 0.8}, {"start": 0.73}, {"start": 0.91, "mode": "copy"}],
    ids=["later", "odd", "copied"],
)
def test_cutting_again_moves_no_spotlight_off_its_place(desk: Desk, again: dict[str, Any]) -> None:
    key = desk.film(gop=10, options={"preset": "veryfast", "crf": "4"})
    first = cut_and_light(desk, "first", key, 0.4)
    second = cut_and_light(desk, "second", key, **again)
    both = sorted(set(first) & set(second))
    assert len(both) > 20
    for number in both:
        assert psnr(second[number].y, first[number].y) > 38, number
    moved = [float(np.abs(first[n].y.astype(int) - shown(desk.fetch(key))[n].y).mean()) for n in both[::8]]
    assert max(moved) > 20 > 2 > min(moved), "lit first, and then no more"


def test_a_preview_of_a_compilation_shows_what_is_written_and_what_is_joined(desk: Desk) -> None:
    keys = [desk.film(frames=25, sound=Sound(tone(440))), desk.film("second.mp4", frames=25, first=100)]
    fields = {
        **request_for("create_annotated_compilation", keys),
        "transition": "dissolve",
        "transition_seconds": 0.4,
        "annotation_seconds": 0.5,
        "encoding": SMOOTH,
    }
    preview = desk.run("create_annotated_compilation", preview=6, **fields)
    assert (preview.output_key, len(preview.preview_keys)) == (None, 6)
    assert not any(key.endswith((".mp4", ".json")) for key in set(desk.stored()) - set(keys))
    made = desk.run("create_annotated_compilation", **fields)
    assert (preview.frames, preview.duration_seconds) == (made.frames, made.duration_seconds) == (40, 1.6)
    assert preview.preview_seconds == tuple(number / 25 for number in (3, 10, 16, 23, 30, 36))
    by_time = {round(float(one.time), 6): one for one in shown(desk.fetch(made.output_key))}
    for seconds, key in zip(preview.preview_seconds, preview.preview_keys, strict=True):
        assert psnr(np.asarray(Image.open(desk.fetch(key))), rgb_of(by_time[seconds])) > 38


# One of each


def test_there_is_one_interpolation_and_one_place_where_video_is_encoded() -> None:
    """Four interpolations and 55 lists of ffmpeg arguments drifted apart in an earlier suite."""
    curves, others, encoding, programs = set(), set(), set(), set()
    for path in [
        path for part in ("clips", "media") for path in (ROOT / "video_pipeline" / part).glob("*.py")
    ]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Curve":
                curves.add(path.name)
            if isinstance(node, ast.Attribute) and node.attr in ("interp", "interp1d", "CubicSpline"):
                others.add(path.name)
            if isinstance(node, ast.Constant) and node.value == "libx264":
                encoding.add(path.name)
            if isinstance(node, ast.Constant) and node.value in ("ffmpeg", "-shortest"):
                programs.add(path.name)
    # The writer asks libx264 for nothing but the form of a track.
    assert (curves, others) == ({"framing_plan.py", "spotlight.py"}, set())
    assert (encoding, programs) == ({"h264.py", "mp4_write.py"}, set())

"""What a render leaves beside its clip: the picture of before and after, what it took, how far it is."""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips.films import (
    TALL,
    TALL_ROWS,
    WIDE,
    Desk,
    Shown,
    Sound,
    crop_at,
    number_in,
    psnr,
    put_repeating_weights,
    rgb_of,
    shown,
    tone,
    whole_picture,
)
from video_pipeline.clips.finishing import PHASES, marked, png_of, progress_of, side_by_side
from video_pipeline.errors import Cancelled
from video_pipeline.worker import TaskContext

SMOOTH = {"crf": 2, "preset": "ultrafast"}
MARK = (255, 212, 0)


def flat(width: int, height: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.uint8), (height, width, 3)).copy()


# The sheet


def test_pictures_stand_side_by_side_at_one_height_with_black_between_them() -> None:
    red, green, blue = (200, 30, 30), (30, 200, 30), (30, 30, 200)
    sheet = side_by_side([flat(320, 180, red), flat(100, 400, green), flat(540, 540, blue)])
    # 180 and 400 rows are brought to 540, and the widths with them.
    assert sheet.shape == (540, 960 + 8 + 135 + 8 + 540, 3)
    begins = {0: (960, red), 968: (135, green), 1111: (540, blue)}
    for left, (width, colour) in begins.items():
        assert (sheet[:, left : left + width] == colour).all()
    for left in (960, 1103):
        assert (sheet[:, left : left + 8] == 0).all()


def test_the_narrowest_picture_is_still_a_pixel_wide() -> None:
    assert side_by_side([flat(2, 4000, (9, 9, 9)), flat(540, 540, (9, 9, 9))]).shape == (540, 1 + 8 + 540, 3)


@pytest.mark.parametrize(("height", "thick"), [(100, 2), (360, 2), (1080, 6), (2160, 12)])
def test_a_mark_is_as_thick_as_can_be_seen_when_the_picture_is_made_small(height: int, thick: int) -> None:
    found = marked(flat(200, height, (90, 90, 90)), (50, 40, 60, 30))
    rows, columns = ((found == MARK).all(axis=2).any(axis=axis) for axis in (1, 0))
    assert np.flatnonzero(rows)[[0, -1]].tolist() == [40 - thick, 70 + thick - 1]
    assert np.flatnonzero(columns)[[0, -1]].tolist() == [50 - thick, 110 + thick - 1]
    assert (found[40:70, 50:110] == 90).all()


# Before and after


def halves(desk: Desk, result: Any, before_width: int) -> tuple[np.ndarray, np.ndarray]:
    """The two pictures of the sheet; the first is `before_width` wide there."""
    sheet = np.asarray(Image.open(desk.fetch(result.picture_key)))
    assert (sheet[:, before_width : before_width + 8] == 0).all()
    return sheet[:, :before_width], sheet[:, before_width + 8 :]


def on_sheet(one: np.ndarray) -> np.ndarray:
    return side_by_side([one])


def assert_shows(
    desk: Desk, result: Any, before: Shown, after: Shown, mark: tuple[float, float, float, float] | None
) -> None:
    source = rgb_of(before)
    left, right = halves(desk, result, 900)
    assert np.array_equal(left, on_sheet(source if mark is None else marked(source, mark)))
    assert psnr(right, on_sheet(rgb_of(after))) > 35


def test_the_sheet_of_a_framed_clip_shows_the_middle_frame_and_marks_its_crop(desk: Desk) -> None:
    key = desk.film(frames=20, sound=Sound(tone(440)))
    fields = {
        **TALL,
        "keyframes": [crop_at(0, x=10), crop_at(0.8, x=90)],
        "trim_start": 0.2,
        "weights_key": put_repeating_weights(desk),
        "encoding": SMOOTH,
    }
    result = desk.run("process_framing_ai", source_key=key, **fields)
    clip = shown(desk.fetch(result.output_key), TALL_ROWS)
    assert clip[7].number == 12
    # 0.48 s of 0.8 from column 10 to column 90.
    assert_shows(desk, result, shown(desk.fetch(key))[12], clip[7], (58, 3, 50, 90))


def test_the_sheet_of_joined_clips_shows_no_blend_of_two(desk: Desk) -> None:
    keys = [desk.film("a.mp4", frames=10), desk.film("b.mp4", frames=10, first=100, v=140)]
    clips = [
        {"source_key": key, "keyframes": [{**whole_picture(), "x": x, "width": 60, "height": 36}]}
        for key, x in zip(keys, (5, 70), strict=True)
    ]
    # 16 frames, of which 6 to 9 show both: the middle one is a blend.
    result = desk.run(
        "process_multi_clip",
        clips=clips,
        upscale="never",
        transition="dissolve",
        transition_seconds=0.16,
        encoding=SMOOTH,
        **WIDE,
    )
    assert result.frames == 16
    clip = shown(desk.fetch(result.output_key))
    assert_shows(desk, result, shown(desk.fetch(keys[0]))[5], clip[5], (5, 0, 60, 36))


def test_the_sheet_of_a_spotlight_has_no_mark(desk: Desk) -> None:
    key = desk.film(frames=9)
    light = {"time": 0, "x": 80, "y": 48, "radius_x": 30, "radius_y": 30}
    region = {"start_time": 0, "end_time": 1, "keyframes": [light]}
    result = desk.run("render_overlay", source_key=key, highlight_regions=[region], encoding=SMOOTH)
    before, after = shown(desk.fetch(key))[4], shown(desk.fetch(result.output_key))[4]
    assert number_in(before.y) == 4
    assert after.y[:8, :8].mean() < before.y[:8, :8].mean() - 10
    assert_shows(desk, result, before, after, None)


def test_the_sheet_of_a_cut_shows_its_middle_picture_twice(desk: Desk) -> None:
    key = desk.film(frames=40)
    result = desk.run("extract_clip", source_key=key, start=0.4, end=0.8, encoding=SMOOTH)
    assert_shows(desk, result, shown(desk.fetch(key))[15], shown(desk.fetch(result.output_key))[5], None)


# What it says of itself


@pytest.mark.parametrize("mode", ["accurate", "copy"])
def test_a_clip_says_what_it_is_of_and_how_long_its_making_took(desk: Desk, mode: str) -> None:
    key = desk.film(frames=30, sound=Sound(tone(440)))
    began = time.monotonic()
    result = desk.run("extract_clip", source_key=key, start=0, end=1, mode=mode)
    took = time.monotonic() - began
    assert (result.made_of, result.copied, result.made) == (key, mode == "copy", True)
    assert result.ms_per_frame is not None
    assert result.phases["check"] <= result.ms_per_frame * result.frames / 1000 <= took
    assert set(result.phases) < set(PHASES)
    assert {"copy"} & set(result.phases) == ({"copy"} if mode == "copy" else set())
    assert all(0 < seconds <= took for seconds in result.phases.values())
    assert result.size_bytes == len(desk.store.get(result.output_key))
    assert abs(result.av_offset_ms) <= 1024 / 48
    assert desk.last is not None
    usage = desk.last.usage
    assert (usage.frames, usage.video_seconds) == (result.frames, result.duration_seconds)
    assert (usage.output_pixels, usage.bytes_written) == (160 * 96, result.size_bytes)


@pytest.mark.parametrize(
    "task", ["extract_clip", "copy", "process_multi_clip", "create_annotated_compilation"]
)
def test_a_render_says_how_much_of_its_sources_it_read(desk: Desk, task: str) -> None:
    key = desk.film(frames=25, sound=Sound(tone(440)))
    framing = {"source_key": key, "keyframes": [whole_picture()]}
    fields: dict[str, Any] = {
        "extract_clip": {"source_key": key, "start": 0, "end": 1},
        "copy": {"source_key": key, "start": 0, "end": 1, "mode": "copy"},
        "process_multi_clip": {**WIDE, "clips": [framing, framing]},
        "create_annotated_compilation": {
            "clips": [{"source_key": key, "name": "A"}],
            "output_width": 640,
            "output_height": 384,
        },
    }[task]
    desk.run("extract_clip" if task == "copy" else task, **fields)
    assert desk.last is not None
    size = len(desk.store.get(key))
    # All of it, by the pass over the pictures; the sound and the header may be read again.
    assert size <= (desk.last.usage.bytes_read or 0) <= 12 * size


def test_a_preview_says_what_the_clip_will_be_and_counts_only_its_pictures(desk: Desk) -> None:
    key = desk.film(frames=25, sound=Sound(tone(440)))
    clips = [{"source_key": key, "keyframes": [whole_picture()]}] * 2
    preview = desk.run("process_multi_clip", clips=clips, preview=3, **WIDE)
    assert (preview.width, preview.height, preview.frame_rate) == (80, 48, "25")
    assert (preview.frames, preview.duration_seconds) == (50, 2.0)
    assert desk.last is not None
    assert (desk.last.usage.frames, desk.last.usage.output_pixels) == (3, 80 * 48)
    assert Image.open(desk.fetch(preview.preview_keys[0])).size == (80, 48)


def test_no_more_frames_are_told_of_than_there_were_to_be(desk: Desk) -> None:
    """A source without an index is counted by its average rate, and may have a few more."""

    def too_many(context: TaskContext) -> None:
        tell = progress_of(context, "render", 10)
        for done in (0, 4, 10, 11):
            tell(done)

    desk.before_run = too_many
    desk.run("extract_clip", source_key=desk.film(frames=3), start=0, end=0.12)
    told = [event for event in desk.told if event["event"] == "progress" and event["stage"] == "render"]
    assert [(event["done"], event["total"], event["unit"]) for event in told] == [
        (0, 10, "frames"),
        (4, 10, "frames"),
        (10, 10, "frames"),
        (10, 10, "frames"),
    ]


def test_a_preview_that_is_cancelled_stops_at_its_next_picture(desk: Desk) -> None:
    class Stops(list):
        """Cancels the task at the first thing it tells."""

        def append(self, event: Any) -> None:
            super().append(event)
            assert desk.last is not None
            desk.last.cancel.cancel("enough")

    desk.told = Stops()
    with pytest.raises(Cancelled, match="enough"):
        desk.run("extract_clip", source_key=desk.film(), start=0, end=2, preview=5)
    assert len(desk.told) == 1


def test_a_picture_is_stored_without_loss() -> None:
    made = np.random.default_rng(3).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png_of(made)))), made)

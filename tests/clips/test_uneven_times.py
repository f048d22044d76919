"""Sources whose pictures stand for very different times, as screen recordings do, through every kind of clip
that keeps the source's own times."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tests.clips.films import Desk, shown
from video_pipeline.media.mp4.boxes import whole
from video_pipeline.media.mp4.movie import shown_seconds

REORDERED = {"preset": "veryfast", "bf": "3"}
MILLISECONDS = Fraction(1, 1000)
UNEVEN = {
    "a still before the last picture": [*range(0, 480, 40), 2400],
    "stills all along": [0, 40, 80, 120, 160, 2000, 2040, 2080, 2120, 4000, 4040],
    "a still at the beginning": [0, 1600, *range(1640, 1880, 40)],
    "only stills": [0, 1200, 2400, 3600],
    "pictures missing before the end": [*range(0, 600, 40), 640, 720, 760],
}


@pytest.fixture(params=UNEVEN.values(), ids=list(UNEVEN))
def ticks(request: pytest.FixtureRequest) -> list[int]:
    return request.param


def lit(desk: Desk, key: str, **fields: Any) -> Any:
    spot = [{"time": 0.02, "x": 80, "y": 40, "radius_x": 20, "radius_y": 20}]
    region = {"start_time": 0.02, "end_time": 0.3, "keyframes": spot}
    return desk.run("render_overlay", source_key=key, highlight_regions=[region], **fields)


def test_an_overlay_keeps_every_picture_and_its_time_and_ends_with_the_last(
    desk: Desk, ticks: list[int]
) -> None:
    key = desk.film(ticks=ticks, time_base=MILLISECONDS, frames=len(ticks), options=REORDERED)
    source = shown(desk.fetch(key))
    result = lit(desk, key)
    clip = shown(desk.fetch(result.output_key))
    assert [one.time for one in clip] == [one.time - source[0].time for one in source]
    dark = 0.35  # from when on no spotlight lies over the picture's number
    assert [one.number for one in clip if one.time > dark] == [
        one.number for one in source if one.time - source[0].time > dark
    ]
    assert result.duration_seconds > float(clip[-1].time)


def test_the_boxes_of_the_file_state_the_length_that_the_result_states(desk: Desk, ticks: list[int]) -> None:
    key = desk.film(ticks=ticks, time_base=MILLISECONDS, frames=len(ticks), options=REORDERED)
    result = lit(desk, key)
    data = desk.fetch(result.output_key).read_bytes()
    at = data.index(b"moov") + 4
    length = int.from_bytes(data[at - 8 : at - 4], "big") - 8
    lasts, step = shown_seconds(whole(data[at : at + length], "moov", at), "clip.mp4")
    assert float(lasts) == pytest.approx(result.duration_seconds, abs=float(step))


@pytest.mark.parametrize("mode", ["accurate", "copy"])
def test_such_a_source_is_cut_as_well(desk: Desk, ticks: list[int], mode: str) -> None:
    key = desk.film(ticks=ticks, time_base=MILLISECONDS, frames=len(ticks), options=REORDERED)
    result = desk.run("extract_clip", source_key=key, start=0, end=ticks[-1] / 1000 + 0.01, mode=mode)
    assert [one.number for one in shown(desk.fetch(result.output_key))] == [
        one.number for one in shown(desk.fetch(key))
    ]

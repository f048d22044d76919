"""What `render_overlay` is asked for reaches the pictures: each setting, several regions, key frames."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.clips.films import HEIGHT, WIDTH, Desk, Shown, psnr, shown
from video_pipeline.clips.spotlight import Spotlight, SpotlightRegion
from video_pipeline.media.frames import ColourTags, CroppedFrame

TAGS = ColourTags(1, 1, 1, 1)
DEFAULTS: dict[str, Any] = {
    "effect_type": "dark_overlay",
    "strength": 0.6,
    "feather": 0.25,
    "fade_out": 0.5,
    "interpolation": "monotone_cubic",
}
PLACES = ("x", "y", "radius_x", "radius_y", "opacity")
REGIONS: list[tuple[float, float, list[tuple[float, ...]]]] = [
    # From, to, and key frames: when, where, how wide and high, how opaque.
    (0.08, 0.9, [(0.1, 30, 30, 20, 14, 1.0), (0.2, 50, 60, 30, 25, 0.7), (0.8, 120, 40, 14, 30, 1.0)]),
    (0.32, 0.72, [(0.4, 130, 70, 25, 20, 0.5)]),
]


def asked() -> list[dict[str, Any]]:
    return [
        {
            "start_time": start,
            "end_time": end,
            "keyframes": [dict(zip(("time", *PLACES), frame, strict=True)) for frame in frames],
        }
        for start, end, frames in REGIONS
    ]


def exactly(seconds: float) -> Fraction:
    return Fraction(str(seconds))


def wanted(source: list[Shown], **settings: Any) -> list[CroppedFrame]:
    settings = {**DEFAULTS, **settings}
    spotlight = Spotlight(
        [
            SpotlightRegion(
                exactly(start),
                exactly(end),
                [exactly(frame[0]) for frame in frames],
                np.array([frame[1:] for frame in frames]),
            )
            for start, end, frames in REGIONS
        ],
        width=WIDTH,
        height=HEIGHT,
        effect=settings["effect_type"],
        strength=settings["strength"],
        feather=settings["feather"],
        fade_out=exactly(settings["fade_out"]),
        interpolation=settings["interpolation"],
    )
    return [spotlight.apply(CroppedFrame(one.y, one.u, one.v, TAGS), one.time) for one in source]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"effect_type": "brightness_boost"},
        {"strength": 0.3},
        {"feather": 0.9},
        {"fade_out": 0.1},
        {"interpolation": "linear"},
    ],
    ids=["defaults", "boost", "strength", "feather", "fade out", "linear"],
)
def test_every_setting_of_an_overlay_reaches_its_pictures(desk: Desk, settings: dict[str, Any]) -> None:
    key = desk.film(frames=25, v=140)
    source = shown(desk.fetch(key))
    result = desk.run(
        "render_overlay",
        source_key=key,
        highlight_regions=asked(),
        encoding={"crf": 1, "preset": "ultrafast"},
        **settings,
    )
    clip = shown(desk.fetch(result.output_key))
    should = wanted(source, **settings)
    for one, frame in zip(clip, should, strict=True):
        for plane, exact in ((one.y, frame.y), (one.u, frame.u), (one.v, frame.v)):
            assert psnr(plane, exact) > 44
    if settings:
        plain = wanted(source)
        assert min(psnr(one.y, other.y) for one, other in zip(should, plain, strict=True)) < 40


def test_a_region_outside_of_the_clip_is_named_and_another_is_not(desk: Desk) -> None:
    (region,) = asked()[:1]
    regions = [
        {**region, "start_time": -1.0, "end_time": 0.0},
        {**region, "start_time": 0.9, "end_time": 5.0},
        {**region, "start_time": 1.0, "end_time": 5.0},
    ]
    result = desk.run("render_overlay", source_key=desk.film(frames=25), highlight_regions=regions)
    assert result.frames == 25
    assert result.notes == tuple(
        f"highlight region {number} is not seen: it lies outside of the clip" for number in (1, 3)
    )

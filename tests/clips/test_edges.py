"""Times between ticks, ends within a tick, odd time bases: where renders once crashed or differed.

Belongs here: what concerns several clip tasks at their edges. Does not belong here: what a task does in
general (its own file).
"""

from __future__ import annotations

import gc
import weakref
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips.films import (
    TENANT,
    WIDE,
    Desk,
    Sound,
    clicks,
    make_film,
    number_in,
    numbers,
    shown,
    whole_picture,
)
from video_pipeline.clips import shots
from video_pipeline.clips.current import set_current
from video_pipeline.clips.framing import framed_output
from video_pipeline.clips.framing_plan import FramingPlan
from video_pipeline.clips.intake import ClipRequest
from video_pipeline.clips.publishing import clip_recipe, input_versions
from video_pipeline.clips.request import ExtractClipRequest, ProcessFramingAiRequest, ProcessMultiClipRequest
from video_pipeline.clips.request_base import exact
from video_pipeline.clips.result import RenderResult
from video_pipeline.clips.shots import programme_frames
from video_pipeline.clips.task_requests import framing_request
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.keys import ClipId
from video_pipeline.tasks import call_key_of, find_task

MATROSKA = {"name": "film.mkv", "time_base": Fraction(1, 1000)}
BARE = {"preset": "veryfast", "bf": "0"}


def framing(key: str, **fields: Any) -> dict[str, Any]:
    return {**WIDE, "source_key": key, "keyframes": [whole_picture()], **fields}


def shown_numbers(desk: Desk, request: dict[str, Any], first: int, stop: int | None) -> list[int]:
    """What tells the source picture behind each of the frames `first` to `stop`, when they are read alone."""
    asked = ProcessFramingAiRequest(tenant_id=TENANT, clip_id="c1", **request)
    plan = FramingPlan.of(asked, desk.store, framed_output(desk.store, asked))
    frames = programme_frames(plan.programme, plan.format, plan.sources.open, first, stop)
    return [int(frame.shots[0].picture.y.astype(int).sum()) for frame in frames]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("film", "fields"),
    [
        ({"name": "film.avi", "options": BARE}, {"fps": "50"}),
        (MATROSKA, {"fps": "25", "trim_start": 0.0395}),
        (MATROSKA, {"fps": "50", "trim_start": 0.0005}),
    ],
    ids=["a tick is a picture", "half a millisecond off", "at twice the rate"],
)
def test_a_range_of_frames_shows_what_the_whole_clip_shows_there(
    desk: Desk, film: dict[str, Any], fields: dict[str, Any]
) -> None:
    request = framing(desk.film(**film), **fields)
    whole = shown_numbers(desk, request, 0, None)
    for size in (1, 7):
        parts = [
            shown_numbers(desk, request, first, min(first + size, len(whole)))
            for first in range(0, len(whole), size)
        ]
        assert [number for part in parts for number in part] == whole


@pytest.mark.parametrize(
    "film", [MATROSKA, {"time_base": Fraction(1, 12800)}, {"name": "film.avi", "options": BARE}]
)
def test_a_moment_within_half_a_tick_of_the_end_shows_the_last_picture(
    desk: Desk, film: dict[str, Any]
) -> None:
    key = desk.film(**film)
    result = desk.run("process_framing_ai", **framing(key, trim_start=1.9996, fps="30"))
    assert numbers(shown(desk.fetch(result.output_key))) == [49]
    assert desk.run("process_framing_ai", **framing(key, trim_start=1.9996, preview=1)).preview_keys
    assert len(desk.run("detect_players", source_key=key, time=1.9996, draw=False).frames) == 1


@pytest.mark.parametrize(
    "film", [MATROSKA, {"time_base": Fraction(1, 12800)}, {"name": "film.avi", "options": BARE}]
)
@pytest.mark.parametrize("length", [0.00001, 0.0004, 0.015])
def test_a_cut_shorter_than_a_tick_has_the_picture_shown_there(
    desk: Desk, film: dict[str, Any], length: float
) -> None:
    key = desk.film(**film)
    result = desk.run("extract_clip", source_key=key, start=1.0, end=1.0 + length)
    at = max(one.number for one in shown(desk.fetch(key)) if one.time <= 1)
    assert numbers(shown(desk.fetch(result.output_key)))[0] == at
    assert desk.run("extract_clip", source_key=key, start=1.0, end=1.0 + length, preview=1).preview_keys


@pytest.mark.parametrize("end", [1.04, 1.06, 1.1])
def test_a_cut_that_ends_between_coarse_ticks_has_sound_as_long_as_its_pictures(
    desk: Desk, end: float
) -> None:
    key = desk.film(
        "slow.avi",
        rate=Fraction(10),
        frames=20,
        options=BARE,
        sound=Sound(clicks(Fraction(10)), codec="pcm_s16le"),
    )
    result = desk.run("extract_clip", source_key=key, start=0.2, end=end)
    wanted = [one.number for one in shown(desk.fetch(key)) if Fraction(2, 10) <= one.time < exact(end)]
    assert numbers(shown(desk.fetch(result.output_key))) == wanted
    assert result.audio_seconds == pytest.approx(result.duration_seconds, abs=0.0214)


def test_a_source_whose_tick_is_no_simple_fraction_is_cut(desk: Desk) -> None:
    key = desk.film("ntsc.avi", rate=Fraction(30000, 1001), options=BARE)
    result = desk.run("extract_clip", source_key=key, start=0.5, end=1.2)
    clip = shown(desk.fetch(result.output_key))
    assert [one.time for one in clip] == [n * Fraction(1001, 30000) for n in range(len(clip))]
    assert len(clip) > 15


def test_previews_of_different_lengths_do_not_overwrite_each_other(desk: Desk) -> None:
    key = desk.film()
    first = desk.run("extract_clip", source_key=key, start=0, end=2, preview=2)
    before = [desk.store.get(name) for name in first.preview_keys]
    desk.run("extract_clip", source_key=key, start=0, end=2, preview=5)
    assert [desk.store.get(name) for name in first.preview_keys] == before


def test_a_preview_of_uneven_times_says_how_many_frames_there_will_be(desk: Desk) -> None:
    ticks = [0, 40, 80, 1200, 1240, 1280, *range(1320, 2000, 40)]
    key = desk.film(ticks=ticks, time_base=Fraction(1, 1000), rate=Fraction(25), frames=len(ticks))
    preview = desk.run("extract_clip", source_key=key, start=0.0, end=1.25, preview=4)
    assert abs(preview.frames - 5) <= 1
    clip = desk.run("extract_clip", source_key=key, start=0.0, end=1.25)
    assert (clip.frames, clip.picture_key is not None) == (5, True)


@pytest.mark.parametrize(("start", "end"), [(0.41, 1.0), (0.41, 0.99), (0.4, 1.01), (0.43, 0.45)])
def test_a_preview_of_a_cut_between_pictures_says_what_the_clip_has(
    desk: Desk, start: float, end: float
) -> None:
    fields = {"source_key": desk.film(frames=50), "start": start, "end": end}
    preview, clip = desk.run("extract_clip", **fields, preview=1), desk.run("extract_clip", **fields)
    assert preview.frames == clip.frames
    assert preview.start_seconds == clip.start_seconds == 0.4
    assert preview.duration_seconds == pytest.approx(clip.duration_seconds, abs=1e-6)


def test_a_preview_of_a_source_whose_tick_is_a_picture_shows_the_picture_of_each_moment(desk: Desk) -> None:
    key = desk.film("film.avi", options=BARE)
    preview = desk.run("extract_clip", source_key=key, start=0.4, end=1.62, preview=3)
    source = shown(desk.fetch(key))
    grey = [np.asarray(Image.open(desk.fetch(name)).convert("L")) for name in preview.preview_keys]
    assert [number_in(picture) for picture in grey] == [
        max(one.number for one in source if one.time <= exact(0.4) + exact(seconds))
        for seconds in preview.preview_seconds
    ]


def test_a_preview_of_a_copy_says_the_length_of_the_copy(desk: Desk) -> None:
    key = desk.film(gop=20)
    fields = {"source_key": key, "start": 0.9, "end": 1.5, "mode": "copy"}
    preview = desk.run("extract_clip", preview=2, **fields)
    clip = desk.run("extract_clip", **fields)
    assert (preview.start_seconds, preview.duration_seconds) == (clip.start_seconds, clip.duration_seconds)


def test_a_cancelled_copy_stops_at_its_next_packet(desk: Desk) -> None:
    key = desk.film()
    desk.before_run = lambda context: context.cancel.cancel("a person")
    with pytest.raises(Cancelled):
        desk.run("extract_clip", source_key=key, start=0, end=2, mode="copy")


@pytest.mark.slow
def test_joining_many_clips_keeps_only_those_in_sight(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Watched(shots.ClipReader):
        """Remembers its readers."""

        def __init__(self, *args: Any, **how: Any) -> None:
            nonlocal most
            super().__init__(*args, **how)
            alive.add(self)
            gc.collect()
            most = max(most, len(alive))

    monkeypatch.setattr(shots, "ClipReader", Watched)
    key = desk.film(frames=10)
    clip = {"source_key": key, "keyframes": [whole_picture()]}
    desk.run("process_multi_clip", **{**WIDE, "fps": "10"}, clips=[clip] * 12)
    assert most <= 2


# Requests


@pytest.mark.parametrize("text", ["23.976023976", "29.97002997002997", "29.97", "59.94"])
def test_a_rate_of_television_is_what_people_mean_by_its_decimals(text: str) -> None:
    asked = ProcessFramingAiRequest(tenant_id="a", clip_id="b", **framing("a/x.mp4", fps=text))
    assert asked.rate.denominator == 1001


@pytest.mark.parametrize("text", ["29.99", "23.95", "24", "30", "59.9"])
def test_a_rate_near_one_of_television_stays_what_was_written(text: str) -> None:
    asked = ProcessFramingAiRequest(tenant_id="a", clip_id="b", **framing("a/x.mp4", fps=text))
    assert asked.rate == Fraction(text)


@pytest.mark.parametrize(
    "fields", [{"fps": "25.000000123"}, {"fps": "29.987651"}, {"encoding": {"crf": 0.5}}]
)
def test_what_the_encoder_cannot_take_is_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"too fine|greater than or equal to 1"):
        ProcessFramingAiRequest(tenant_id="a", clip_id="b", **framing("a/x.mp4", **fields))


def test_another_encoder_or_network_is_another_clip_and_another_call(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = desk.film()
    asked = ProcessFramingAiRequest(tenant_id=TENANT, clip_id="c1", **framing(key))
    task = find_task("process_framing_ai")
    versions = input_versions(asked, desk.store)

    def both() -> tuple[str, str]:
        return clip_recipe("k", 1, asked, versions), call_key_of(task, asked, desk.store)

    before = both()
    monkeypatch.setattr("video_pipeline.clips.request_base.ENCODER_VERSION", 999)
    changed = both()
    assert all(one != other for one, other in zip(before, changed, strict=True))
    monkeypatch.setattr("video_pipeline.clips.request.shipped_sha256", lambda _path: "another")
    assert all(one != other for one, other in zip(changed, both(), strict=True))
    cut = ExtractClipRequest(tenant_id=TENANT, clip_id="c1", source_key=key, start=0, end=1)
    assert set(cut.shipped_inputs()) == {"encoder"}
    assert set(ProcessMultiClipRequest.shipped_inputs(_multi(key))) == {"encoder", "upscaler"}


def _multi(key: str) -> ProcessMultiClipRequest:
    clip = {"source_key": key, "keyframes": [whole_picture()]}
    return ProcessMultiClipRequest.model_validate({"tenant_id": TENANT, "clip_id": "c1", "clips": [clip]})


def test_bad_weights_are_named_by_the_key_in_the_request(desk: Desk) -> None:
    desk.store.put(f"{TENANT}/weights.safetensors", b"no weights")
    small = {"time": 0, "x": 0, "y": 0, "width": 20, "height": 12}
    with pytest.raises(BadInput) as caught:
        desk.run(
            "process_framing_ai",
            **framing(desk.film(), keyframes=[small], weights_key=f"{TENANT}/weights.safetensors"),
        )
    assert caught.value.input == f"{TENANT}/weights.safetensors"


# Chains


def finished(desk: Desk, stage: Any, name: str, made_of: str | None, start: float = 0.0) -> str:
    key = f"{TENANT}/client/clips/c1/{name}/clip.mp4"
    result = RenderResult(
        kind="double", recipe=name, width=160, height=96, frame_rate="25", frames=50, duration_seconds=2.0,
        output_key=key, manifest_key=f"{key}.json", start_seconds=start, made_of=made_of,
    )  # fmt: skip
    set_current(desk.store, ClipId(TENANT, "c1"), stage, result)
    return key


def test_an_overlay_of_an_earlier_cut_is_not_framed(desk: Desk) -> None:
    clip = ClipId(TENANT, "c1")
    asked = ClipRequest.model_validate(
        {
            "source_key": f"{TENANT}/v.mp4", "start": 1, "end": 3, "overlay": {},
            "framing": {"keyframes": [whole_picture(1.0)]},
        }
    )  # fmt: skip
    old = finished(desk, "clip", "cut1", f"{TENANT}/v.mp4", 1.0)
    lit = finished(desk, "overlay_clip", "lit1", old)
    assert framing_request(desk.store, clip, asked).source_key == lit
    finished(desk, "clip", "cut2", f"{TENANT}/v.mp4", 2.0)
    with pytest.raises(BadInput, match="earlier clip"):
        framing_request(desk.store, clip, asked)


def test_the_film_maker_of_these_tests_numbers_its_pictures(desk: Desk, tmp_path: Any) -> None:
    assert numbers(shown(make_film(tmp_path / "film.mp4", frames=5))) == list(range(5))

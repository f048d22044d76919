from __future__ import annotations

import json
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest

from tests.clips.films import (
    TALL,
    TALL_ROWS,
    TENANT,
    Desk,
    Shown,
    Sound,
    column_of,
    crop_at,
    put_repeating_weights,
    shown,
    tone,
    whole_picture,
)
from video_pipeline.clips import task_requests
from video_pipeline.clips.current import Stage, current_renders, set_current
from video_pipeline.clips.intake import ClipRequest, add_clip, load_clip_request
from video_pipeline.clips.request import ProcessFramingAiRequest
from video_pipeline.clips.result import RenderResult
from video_pipeline.clips.task_requests import (
    compilation_request,
    extract_request,
    framing_request,
    multi_clip_request,
    overlay_request,
    players_request,
)
from video_pipeline.errors import BadInput, Transient
from video_pipeline.keys import ClipId, clip_current_key, clip_request_key
from video_pipeline.store.base import ObjectInfo, PreconditionFailed
from video_pipeline.store.directory import DirectoryStore

CLIP = ClipId(TENANT, "c1")
KEY = f"{TENANT}/client/videos/street/video.mp4"
CUT = {"source_key": KEY, "start": 1.0, "end": 2.0}
A_MULTI_CLIP = {"clips": [{"clip": "other", "keyframes": [crop_at()]}]}
A_COMPILATION = {"clips": [{"clip": "other", "name": "A"}]}
ALL_GONE = [{"start": 0.5, "end": 1.5, "keep": False}, {"start": 1.5, "end": 9, "keep": False}]
STAGES: tuple[Stage, ...] = ("clip", "overlay_clip", "framed_clip", "multi_clip", "annotated_compilation")


def finished(name: str, start: float | None = None) -> RenderResult:
    """What a render answers, as far as the pointer needs it."""
    return RenderResult(
        kind="double",
        recipe=name,
        width=160,
        height=96,
        frame_rate="25",
        frames=50,
        duration_seconds=2.0,
        output_key=f"{TENANT}/client/clips/{name}/clip.mp4",
        manifest_key=f"{TENANT}/client/clips/{name}/manifest.json",
        start_seconds=start,
    )


def asked(**fields: Any) -> ClipRequest:
    return ClipRequest.model_validate(fields)


# request.json


def test_a_request_is_read_back_as_it_was_put_there(desk: Desk) -> None:
    data = {**CUT, "framing": {"keyframes": [crop_at(1.5)], "fps": "30000/1001"}, "encoding": {"crf": 20}}
    key = add_clip(desk.store, CLIP, data)
    assert key == clip_request_key(CLIP)
    assert load_clip_request(desk.store, CLIP) == ClipRequest.model_validate(data)
    assert set(json.loads(desk.store.get(key))) == set(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "name a source_key, multi_clip or compilation"),
        ({"source_key": KEY}, "a source_key needs start and end"),
        ({"start": 1.0}, "need a source_key"),
        ({"end": 1.0}, "need a source_key"),
        ({"players": {}}, "need a source_key"),
        ({"overlay": {}}, "need a source_key"),
        ({"framing": {"keyframes": [crop_at()]}}, "need a source_key"),
        ({"source_key": KEY, "start": 1.0}, "a source_key needs start and end"),
        ({"source_key": KEY, "end": 1.0}, "a source_key needs start and end"),
        ({**CUT, "players": {"timestamps": []}}, "players.timestamps"),
        ({**CUT, "players": {"min_confidence": 1.1}}, "players.min_confidence"),
        ({**CUT, "players": {"min_confidence": -0.1}}, "players.min_confidence"),
        ({"multi_clip": {"clips": []}}, "multi_clip.clips"),
        ({"compilation": {"clips": []}}, "compilation.clips"),
        ({"compilation": {**A_COMPILATION, "transition_seconds": 0}}, "compilation.transition_seconds"),
        ({"compilation": {**A_COMPILATION, "transition_seconds": 10.1}}, "compilation.transition_seconds"),
        ({"multi_clip": {**A_MULTI_CLIP, "transition_seconds": 0}}, "multi_clip.transition_seconds"),
        ({"multi_clip": {**A_MULTI_CLIP, "transition_seconds": 10.1}}, "multi_clip.transition_seconds"),
        ({**CUT, "end": 1.0}, "ends at 1.0 s, not after it starts at 1.0 s"),
        ({**CUT, "end": 0.5, "mode": "copy"}, "not after it starts"),
        ({**CUT, "players": {"timestamps": [0.94, 1.0, 2.0]}}, "at 0.94, 2.0 s, and the clip goes from 1.0"),
        ({**CUT, "framing": {"keyframes": [crop_at()], "trim_start": 2.0}}, "trim_start is 2.0 s, and the"),
        ({**CUT, "framing": {"keyframes": [crop_at()], "trim_end": 1.0}}, "trim_end is 1.0 s, and the clip"),
        ({**CUT, "framing": {"keyframes": [crop_at()], "trim_end": 2.11}}, "goes from 1.0 s to 2.0 s"),
        ({**CUT, "players": {"timestamps": [1.5], "rate": "2"}}, "give either timestamps or a rate"),
        ({**CUT, "end": 2001.5, "players": {}}, "2001 pictures are asked for, at most 2000 are drawn, and"),
        ({**CUT, "end": 101.0, "players": {"rate": "201", "draw": False}}, "20100 pictures .* at most 20000"),
        ({**CUT, "start": True}, "start: Input should be a valid number"),
        ({**CUT, "start": "1"}, "start: Input should be a valid number"),
        (
            {**CUT, "framing": {"keyframes": [crop_at()], "segments": ALL_GONE}},
            "segments leave nothing of it",
        ),
        ({**CUT, "farming": {}}, "farming"),
        ({**CUT, "overlay": {"strenght": 0.5}}, "strenght"),
        ({**CUT, "framing": {"keyframes": [crop_at(2), crop_at(1)]}}, "order of time"),
        ({"compilation": {"clips": [{"name": "A"}]}}, "name either source_key or clip"),
        ({"compilation": {"clips": [{"name": "A", "clip": "a", "source_key": KEY}]}}, "name either"),
        ({"multi_clip": {"clips": [{"clip": "A B", "keyframes": [crop_at()]}]}}, "not a valid clip name"),
        ({"compilation": {**A_COMPILATION, "output_width": 640}}, "belong together"),
        ({"compilation": {**A_COMPILATION, "output_width": 641, "output_height": 360}}, "output_width"),
        ({"compilation": {**A_COMPILATION, "output_width": 640, "output_height": 14}}, "output_height"),
        ({"compilation": {**A_COMPILATION, "output_width": 9000, "output_height": 360}}, "output_width"),
        ({"compilation": {**A_COMPILATION, "annotation_seconds": 0}}, "annotation_seconds"),
        ({"compilation": {**A_COMPILATION, "annotation_seconds": 36_001}}, "annotation_seconds"),
        ({**CUT, "players": {"weights_key": "other/w.safetensors"}}, "does not lie under"),
        ({**CUT, "framing": {"keyframes": [crop_at()], "weights_key": "other/w"}}, "does not lie under"),
        ({"multi_clip": {**A_MULTI_CLIP, "weights_key": "other/w"}}, "does not lie under"),
        ({**CUT, "source_key": "other/video.mp4"}, "does not lie under the request's tenant"),
        ({"compilation": {"clips": [{"name": "A", "source_key": "other/a.mp4"}]}}, "does not lie under"),
    ],
)
def test_a_request_that_is_wrong_is_not_stored_and_says_what_is_wrong(
    desk: Desk, data: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        add_clip(desk.store, CLIP, data)
    assert desk.stored() == []


@pytest.mark.parametrize("content", [None, b"not JSON", b'{"source_key": 3}', b"[]", b"\xff\xfe"])
def test_a_stored_request_that_cannot_be_read_is_named(desk: Desk, content: bytes | None) -> None:
    if content is not None:
        desk.store.put(clip_request_key(CLIP), content)
    with pytest.raises(BadInput) as raised:
        load_clip_request(desk.store, CLIP)
    assert clip_request_key(CLIP) in (raised.value.input or "")
    assert raised.value.what_to_do


# Sections and renders that are missing


@pytest.mark.parametrize("name", ["players", "framing", "multi_clip", "compilation"])
def test_a_section_that_is_missing_is_named(desk: Desk, name: str) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.0))
    make = cast(Callable[..., Any], getattr(task_requests, f"{name}_request"))
    with pytest.raises(BadInput, match=f"has no '{name}'") as raised:
        make(desk.store, CLIP, asked(**CUT))
    assert raised.value.input == clip_request_key(CLIP)
    assert f"add {name}" in (raised.value.what_to_do or "")


def test_a_request_without_a_source_cannot_be_cut() -> None:
    only = asked(compilation={"clips": [{"source_key": KEY, "name": "A"}]})
    with pytest.raises(BadInput, match="has no 'source_key'"):
        extract_request(CLIP, only)


@pytest.mark.parametrize("name", ["players", "overlay", "framing"])
def test_what_is_done_to_a_clip_waits_until_it_is_cut(desk: Desk, name: str) -> None:
    sections = {"players": {}, "overlay": {}, "framing": {"keyframes": [crop_at(1)]}}
    make = getattr(task_requests, f"{name}_request")
    with pytest.raises(BadInput, match=r"demo--c1 has no clip yet.*materialise clip"):
        make(desk.store, CLIP, asked(**CUT, **sections))


def test_framing_takes_the_overlaid_clip_where_an_overlay_is_asked_for(desk: Desk) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.0))
    framing = {"keyframes": [crop_at(1)]}
    with pytest.raises(BadInput, match=r"no overlay_clip yet.*materialise overlay_clip"):
        framing_request(desk.store, CLIP, asked(**CUT, overlay={}, framing=framing))
    set_current(desk.store, CLIP, "overlay_clip", finished("lit", 0.0))
    over = framing_request(desk.store, CLIP, asked(**CUT, overlay={}, framing=framing))
    plain = framing_request(desk.store, CLIP, asked(**CUT, framing=framing))
    assert over.source_key.endswith("lit/clip.mp4")
    assert plain.source_key.endswith("cut/clip.mp4")
    assert over.keyframes == plain.keyframes
    assert over.keyframes[0].time == 0.0


# Times


def test_every_time_of_a_section_is_moved_and_nothing_else_is(desk: Desk) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.1))
    light = {"x": 2.5, "y": 3.5, "radius_x": 4.5, "radius_y": 5.5}
    request = asked(
        **CUT,
        overlay={
            "fade_out": 1.5,
            "strength": 0.75,
            "highlight_regions": [
                {
                    "start_time": 1.4,
                    "end_time": 1.7,
                    "keyframes": [{"time": 0.1, **light}, {"time": 2, **light}],
                }
            ],
        },
        framing={
            "keyframes": [crop_at(0.3, x=1.25), crop_at(1.2, x=9.75)],
            "trim_start": 1.3,
            "trim_end": 1.9,
            "segments": [{"start": 1.1, "end": 1.35, "speed": 0.5}],
        },
        players={"timestamps": [1.06, 1.6]},
    )
    over = overlay_request(desk.store, CLIP, request)
    (region,) = over.highlight_regions
    assert (region.start_time, region.end_time) == (0.3, 0.6)
    assert [keyframe.time for keyframe in region.keyframes] == [-1.0, 0.9]
    assert [keyframe.x for keyframe in region.keyframes] == [2.5, 2.5]
    assert (over.fade_out, over.strength) == (1.5, 0.75)
    assert request.overlay is not None
    set_current(desk.store, CLIP, "overlay_clip", finished("lit", 0.0))
    framed = framing_request(desk.store, CLIP, request)
    assert [keyframe.time for keyframe in framed.keyframes] == [-0.8, 0.1]
    assert [keyframe.x for keyframe in framed.keyframes] == [1.25, 9.75]
    assert (framed.trim_start, framed.trim_end) == (0.2, 0.8)
    assert [(part.start, part.end, part.speed) for part in framed.segments] == [(0.0, 0.25, 0.5)]
    players = players_request(desk.store, CLIP, request)
    assert players.timestamps == (0.0, 0.5)


def test_a_trim_from_before_the_clip_begins_means_its_beginning(desk: Desk) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.1))
    framing = {"keyframes": [crop_at(1)], "trim_start": 1.0, "trim_end": 1.5}
    framed = framing_request(desk.store, CLIP, asked(**CUT, framing=framing))
    assert (framed.trim_start, framed.trim_end) == (0.0, 0.4)


def test_people_are_not_looked_for_before_the_clip_begins_but_for_a_rounded_time(desk: Desk) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.1))
    edge = players_request(desk.store, CLIP, asked(**CUT, players={"timestamps": [1.05, 1.1, 1.35]}))
    assert edge.timestamps == (0.0, 0.0, 0.25)
    said = r"at 1.04, 3.1 s, and the clip goes from 1.100 s to 3.100 s"
    copied = {**CUT, "mode": "copy"}
    with pytest.raises(BadInput, match=said) as caught:
        players_request(desk.store, CLIP, asked(**copied, players={"timestamps": [1.04, 1.5, 3.09, 3.1]}))
    assert caught.value.input == clip_request_key(CLIP)


@pytest.mark.parametrize(
    ("trim", "said"),
    [
        ({"trim_start": 3.1}, "trim_start is 3.1 s"),
        ({"trim_end": 3.21}, "trim_end is 3.21 s"),
        ({"trim_start": 0.2, "trim_end": 1.1}, "trim_end is 1.1 s"),
    ],
)
def test_a_trim_outside_of_the_clip_is_refused_in_the_times_of_the_request(
    desk: Desk, trim: dict[str, float], said: str
) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.1))
    request = asked(**{**CUT, "mode": "copy"}, framing={"keyframes": [crop_at(1)], **trim})
    with pytest.raises(BadInput, match=f"{said}, and the clip goes from 1.100 s to 3.100 s") as caught:
        framing_request(desk.store, CLIP, request)
    assert caught.value.input == clip_request_key(CLIP)


@pytest.mark.parametrize(
    "kept",
    [
        {"segments": [{**ALL_GONE[0], "start": 1.04}, ALL_GONE[1]]},
        {"segments": [ALL_GONE[0], {**ALL_GONE[1], "start": 1.54}]},
        {"segments": [ALL_GONE[0], {**ALL_GONE[1], "end": 1.96}]},
        {"segments": [ALL_GONE[0], {**ALL_GONE[1], "keep": True}]},
        {"segments": [ALL_GONE[0]], "trim_start": 1.4, "trim_end": 1.6},
    ],
    ids=["beginning", "gap", "end", "kept", "trimmed"],
)
def test_segments_that_leave_something_are_taken(desk: Desk, kept: dict[str, Any]) -> None:
    assert add_clip(desk.store, CLIP, {**CUT, "framing": {"keyframes": [crop_at()], **kept}})


def test_as_many_pictures_as_may_be_are_taken(desk: Desk) -> None:
    for end, players in ((2001.0, {}), (101.0, {"rate": "200", "draw": False}), (1.1, {"timestamps": [1.0]})):
        assert add_clip(desk.store, CLIP, {**CUT, "end": end, "players": players})


def test_a_trim_to_a_rounded_end_of_the_clip_is_taken(desk: Desk) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.1))
    framing = {"keyframes": [crop_at(1)], "trim_start": 3.0, "trim_end": 3.2}
    framed = framing_request(desk.store, CLIP, asked(**{**CUT, "mode": "copy"}, framing=framing))
    assert (framed.trim_start, framed.trim_end) == (1.9, 2.1)


def test_everything_else_that_a_section_says_reaches_its_task(desk: Desk) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.0))
    set_current(desk.store, ClipId(TENANT, "other"), "clip", finished("other"))
    joined = {"transition": "fade", "transition_seconds": 10.0}
    request = asked(
        **CUT,
        mode="copy",
        encoding={"crf": 20},
        players={"rate": "1/2", "min_confidence": 1.0, "draw": False},
        overlay={},
        framing={"keyframes": [crop_at(1)], "num_chunks": 3, "output_width": 100, "output_height": 180},
        multi_clip={**A_MULTI_CLIP, **joined, "fps": "50"},
        compilation={**A_COMPILATION, **joined, "fps": "50", "output_width": 640, "output_height": 384},
    )
    cut = extract_request(CLIP, request)
    assert (cut.source_key, cut.start, cut.end, cut.mode, cut.encoding.crf) == (KEY, 1.0, 2.0, "copy", 20)
    assert (cut.tenant_id, cut.clip_id) == (TENANT, "c1")
    players = players_request(desk.store, CLIP, request)
    assert (players.rate, players.min_confidence, players.draw) == ("1/2", 1.0, False)
    over = overlay_request(desk.store, CLIP, request)
    assert (over.highlight_regions, over.encoding.crf) == ((), 20)
    set_current(desk.store, CLIP, "overlay_clip", finished("lit", 0.0))
    framed = framing_request(desk.store, CLIP, request)
    assert (framed.num_chunks, framed.output_width, framed.encoding.crf) == (3, 100, 20)
    for made in (
        multi_clip_request(desk.store, CLIP, request),
        compilation_request(desk.store, CLIP, request),
    ):
        assert (made.transition, made.transition_seconds, made.fps) == ("fade", 10.0, "50")
        assert made.encoding.crf == 20
    assert compilation_request(desk.store, CLIP, request).output_width == 640


def test_players_are_looked_for_once_a_second_unless_it_is_said_when(desk: Desk) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.0))
    assert players_request(desk.store, CLIP, asked(**CUT, players={})).rate == "1"


def cut_and_frame(desk: Desk, clip: ClipId, key: str, start: float, **cut: Any) -> dict[int, Shown]:
    """The pictures, by number, of a clip cut at `start` and framed with the same request as ever."""
    weights = put_repeating_weights(desk)
    add_clip(
        desk.store,
        clip,
        {
            "source_key": key,
            "start": start,
            "end": 1.8,
            "encoding": {"crf": 2, "preset": "ultrafast"},
            **cut,
            "framing": {
                **TALL,
                "weights_key": weights,
                "keyframes": [crop_at(0.2, x=5), crop_at(1.7, x=105)],
                "segments": [{"start": 1.2, "end": 1.4, "speed": 0.5}],
            },
        },
    )
    request = load_clip_request(desk.store, clip)
    made = desk.run_request("extract_clip", extract_request(clip, request))
    set_current(desk.store, clip, "clip", made)
    framing = framing_request(desk.store, clip, request)
    fields = framing.model_dump(exclude={"num_chunks"})
    result = desk.run_request("process_framing_ai", ProcessFramingAiRequest.model_validate(fields))
    pictures = shown(desk.fetch(result.output_key), TALL_ROWS)
    found = [one.number for one in pictures]
    assert [number for number in found if found.count(number) == 2] == [
        n for n in range(30, 35) for _ in "ab"
    ]
    return {one.number: one for one in pictures}


@pytest.mark.slow
@pytest.mark.parametrize(
    "again",
    [{"start": 0.8}, {"start": 0.73}, {"start": 0.91, "mode": "copy"}],
    ids=["later", "odd", "copied"],
)
def test_cutting_again_moves_neither_crop_nor_slow_motion_off_its_place(
    desk: Desk, again: dict[str, Any]
) -> None:
    key = desk.film(gop=10, options={"preset": "veryfast", "crf": "4"}, sound=Sound(tone(440)))
    first = cut_and_frame(desk, CLIP, key, 0.4)
    second = cut_and_frame(desk, ClipId(TENANT, "c2"), key, **again)
    both = sorted(set(first) & set(second))
    assert len(both) > 20
    for number in both:
        assert column_of(second[number].u) == pytest.approx(column_of(first[number].u), abs=0.8)
    assert column_of(first[both[0]].u) + 30 < column_of(first[both[-1]].u)


# Other clips


def test_another_clip_stands_for_its_furthest_render(desk: Desk) -> None:
    other = ClipId(TENANT, "other")
    request = asked(
        multi_clip={
            "clips": [
                {"clip": "other", "keyframes": [whole_picture()]},
                {"source_key": KEY, "keyframes": [whole_picture()]},
            ]
        },
        compilation={"clips": [{"clip": "other", "name": "A", "start": 0.5}], "annotation_seconds": 1.5},
    )
    for stage in ("clip", "overlay_clip", "multi_clip", "framed_clip"):
        set_current(desk.store, other, cast(Stage, stage), finished(stage.replace("_", "-")))
        joined = multi_clip_request(desk.store, CLIP, request)
        compiled = compilation_request(desk.store, CLIP, request)
        wanted = f"{TENANT}/client/clips/{stage.replace('_', '-')}/clip.mp4"
        assert [clip.source_key for clip in joined.clips] == [wanted, KEY]
        assert compiled.clips[0].source_key == wanted
        assert compiled.clips[0].start == 0.5
        assert compiled.annotation_seconds == 1.5


def test_another_clip_that_was_never_rendered_is_named(desk: Desk) -> None:
    request = asked(compilation={"clips": [{"clip": "other", "name": "A"}]})
    with pytest.raises(BadInput, match=r"demo--other has no clip yet.*materialise clip"):
        compilation_request(desk.store, CLIP, request)


# current.json


class RacingStore(DirectoryStore):
    """Lets somebody else write just before each of its first `races` writes."""

    def __init__(self, root: Path, races: int, other: Callable[[int], None]) -> None:
        super().__init__(root)
        self.races, self.other, self.lost = races, other, 0

    def put(self, key: str, data: Any, **how: Any) -> ObjectInfo:
        if self.races:
            self.races -= 1
            self.other(self.races)
        try:
            return super().put(key, data, **how)
        except PreconditionFailed:
            self.lost += 1
            raise


@pytest.mark.parametrize("there", [False, True], ids=["the first pointer", "a later one"])
def test_two_that_end_at_once_are_both_in_the_pointer(desk: Desk, there: bool) -> None:
    if there:
        set_current(desk.store, CLIP, "clip", finished("cut", 1.0))
    racing = RacingStore(
        desk.films.parent / "store",
        1,
        lambda _: set_current(desk.store, CLIP, "overlay_clip", finished("lit")),
    )
    set_current(racing, CLIP, "framed_clip", finished("framed"))
    assert racing.lost == 1
    renders = current_renders(desk.store, CLIP).renders
    assert set(renders) == {"overlay_clip", "framed_clip"} | ({"clip"} if there else set())
    assert renders["framed_clip"].recipe == "framed"


def test_five_threads_that_end_at_once_are_all_in_the_pointer(desk: Desk) -> None:
    ready = threading.Barrier(len(STAGES))

    def end(stage: Stage) -> None:
        ready.wait()
        set_current(desk.store, CLIP, stage, finished(stage.replace("_", "-")))

    threads = [threading.Thread(target=end, args=(stage,)) for stage in STAGES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(current_renders(desk.store, CLIP).renders) == set(STAGES)


def test_a_pointer_that_changes_all_the_time_is_left_for_another_attempt(desk: Desk) -> None:
    racing = RacingStore(
        desk.films.parent / "store",
        99,
        lambda left: set_current(desk.store, CLIP, "clip", finished(f"cut{left}")),
    )
    with pytest.raises(Transient) as raised:
        set_current(racing, CLIP, "framed_clip", finished("framed"))
    assert raised.value.input == clip_current_key(CLIP)


def test_the_present_render_set_again_writes_nothing(desk: Desk) -> None:
    set_current(desk.store, CLIP, "clip", finished("cut", 1.0))
    before = desk.store.head(clip_current_key(CLIP))
    set_current(desk.store, CLIP, "clip", finished("cut", 1.0))
    after = desk.store.head(clip_current_key(CLIP))
    assert before is not None
    assert after is not None
    assert after.modified == before.modified


def test_a_render_keeps_the_exact_time_it_begins_at(desk: Desk) -> None:
    key = desk.film(rate=Fraction(30000, 1001), time_base=Fraction(1, 30000))
    result = desk.run("extract_clip", source_key=key, start=0.51, end=1.0)
    set_current(desk.store, CLIP, "clip", result)
    start = current_renders(desk.store, CLIP).renders["clip"].start_seconds
    assert start == pytest.approx(15 * 1001 / 30000, abs=1e-9)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"renders": {"clip": {"frames": 3}}}', b'{"schema_version": 2}']
)
def test_a_damaged_pointer_is_named_with_what_to_do_and_is_not_written_over(
    desk: Desk, content: bytes
) -> None:
    key = clip_current_key(CLIP)
    desk.store.put(key, content)
    for ask in (
        lambda: current_renders(desk.store, CLIP),
        lambda: set_current(desk.store, CLIP, "clip", finished("cut", 1.1)),
    ):
        with pytest.raises(BadInput, match="the clip's pointer is damaged") as caught:
            ask()
        assert caught.value.input == key
        assert "delete it" in (caught.value.what_to_do or "")
    assert desk.store.get(key) == content

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clips.films import (
    TALL,
    TENANT,
    WIDE,
    Desk,
    Sound,
    crop_at,
    put_repeating_weights,
    tone,
    whole_picture,
)
from video_pipeline.clips import finishing, publishing
from video_pipeline.clips.publishing import clip_recipe
from video_pipeline.clips.request import ProcessFramingAiRequest
from video_pipeline.clips.result import ClipManifest, RenderResult
from video_pipeline.errors import BadInput, Cancelled, Internal, Transient
from video_pipeline.store.base import ObjectInfo
from video_pipeline.store.directory import DirectoryStore


class WatchedStore(DirectoryStore):
    """A store that remembers what was written, and can fail at a key."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written: list[str] = []
        self.how: dict[str, dict[str, Any]] = {}
        self.fails_at: str | None = None

    def put(self, key: str, data: Any, **how: Any) -> ObjectInfo:
        if self.fails_at is not None and key.endswith(self.fails_at):
            raise Transient("the store went away", input=key)
        self.written.append(key)
        self.how[key] = how
        return super().put(key, data, **how)


@pytest.fixture
def store(desk: Desk) -> WatchedStore:
    desk.store = WatchedStore(desk.films.parent / "store")
    return desk.store


@pytest.fixture
def request_of(desk: Desk, store: WatchedStore) -> dict[str, dict[str, Any]]:
    """A small request for each rendering task."""
    key = desk.film(frames=8, sound=Sound(tone(440)))
    framing = {"source_key": key, "keyframes": [whole_picture()]}
    keyframe = {"time": 0, "x": 80, "y": 48, "radius_x": 20, "radius_y": 20}
    return {
        "extract_clip": {"source_key": key, "start": 0, "end": 0.24},
        "render_overlay": {
            "source_key": key,
            "highlight_regions": [{"start_time": 0, "end_time": 1, "keyframes": [keyframe]}],
        },
        "process_framing_ai": {**WIDE, **framing},
        "process_multi_clip": {**WIDE, "clips": [framing, framing]},
        "create_annotated_compilation": {
            "clips": [{"source_key": key, "name": "A"}],
            "output_width": 640,
            "output_height": 384,
        },
    }


TASKS = (
    "extract_clip",
    "render_overlay",
    "process_framing_ai",
    "process_multi_clip",
    "create_annotated_compilation",
)


def manifest_of(desk: Desk, result: RenderResult) -> ClipManifest:
    assert result.manifest_key is not None
    return ClipManifest.model_validate_json(desk.store.get(result.manifest_key))


def clips_of(desk: Desk) -> list[str]:
    return desk.stored(f"{TENANT}/client/clips/")


@pytest.mark.parametrize("task", TASKS)
def test_a_render_leaves_its_clip_its_picture_and_its_manifest_and_nothing_else(
    desk: Desk, store: WatchedStore, request_of: dict[str, Any], task: str
) -> None:
    before = desk.stored()
    store.written.clear()
    result = desk.run(task, **request_of[task])
    assert result.made
    assert sorted(set(desk.stored()) - set(before)) == sorted(result.output_keys())
    assert store.written == [result.output_key, result.picture_key, result.manifest_key]
    manifest = manifest_of(desk, result)
    assert manifest.result == result
    assert [item.key for item in manifest.objects] == [result.output_key, result.picture_key]
    for item in manifest.objects:
        data = desk.store.get(item.key)
        assert (item.size, item.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    source = next(key for key in before if key.endswith("video.mp4"))
    info = desk.store.head(source)
    assert info is not None
    assert manifest.sources == {source: info.version}
    assert (manifest.kind, manifest.recipe) == (task, result.recipe)
    assert (manifest.tenant, manifest.clip) == (TENANT, "c1")


def test_what_is_written_says_its_type_and_its_hash_to_the_store(
    desk: Desk, store: WatchedStore, request_of: dict[str, Any]
) -> None:
    """A browser plays a clip from a link only where the store says that it is one."""
    result = desk.run("extract_clip", **request_of["extract_clip"])
    types = {
        result.output_key: "video/mp4",
        result.picture_key: "image/png",
        result.manifest_key: "application/json",
    }
    assert {key: store.how[key]["content_type"] for key in types} == types
    for key in (result.output_key, result.picture_key):
        assert store.how[key]["sha256"] == hashlib.sha256(desk.store.get(key)).hexdigest()


@pytest.mark.parametrize("task", TASKS)
def test_the_same_request_again_writes_nothing_and_gives_the_same_clip(
    desk: Desk, store: WatchedStore, request_of: dict[str, Any], task: str
) -> None:
    first = desk.run(task, **request_of[task])
    store.written.clear()
    again = desk.run(task, **request_of[task])
    assert store.written == []
    assert not again.made
    assert again.model_copy(update={"made": True}) == first


def test_the_same_request_under_another_clip_gives_the_same_bytes_elsewhere(
    desk: Desk, request_of: dict[str, Any]
) -> None:
    one = desk.run("process_framing_ai", "c1", **request_of["process_framing_ai"])
    other = desk.run("process_framing_ai", "c2", **request_of["process_framing_ai"])
    assert one.output_key != other.output_key
    assert one.sha256 == other.sha256


def test_a_source_with_other_content_is_another_recipe_and_the_same_content_is_not(
    desk: Desk, request_of: dict[str, Any]
) -> None:
    asked = request_of["extract_clip"]
    first = desk.run("extract_clip", **asked)
    same = desk.store.get(asked["source_key"])
    desk.film(frames=9)
    changed = desk.run("extract_clip", **asked)
    assert changed.made
    assert changed.recipe != first.recipe
    desk.store.put(asked["source_key"], same)
    again = desk.run("extract_clip", **asked)
    assert not again.made
    assert again.output_key == first.output_key


def test_other_weights_under_the_same_key_are_another_recipe(desk: Desk, store: WatchedStore) -> None:
    key = desk.film(frames=2)
    weights = put_repeating_weights(desk)
    fields = {**TALL, "source_key": key, "keyframes": [crop_at()], "weights_key": weights}
    first = desk.run("process_framing_ai", **fields)
    data = bytearray(desk.store.get(weights))
    data[-2:] = b"\x80\x3e"
    desk.store.put(weights, bytes(data))
    other = desk.run("process_framing_ai", **fields)
    assert other.made
    assert other.recipe != first.recipe
    assert other.model_sha256 != first.model_sha256


@pytest.mark.parametrize(
    "change", [{"encoding": {"crf": 30, "preset": "ultrafast"}}, {"end": 0.2}, {"mode": "copy"}]
)
def test_whatever_changes_the_clip_changes_the_recipe(
    desk: Desk, request_of: dict[str, Any], change: dict[str, Any]
) -> None:
    first = desk.run("extract_clip", **request_of["extract_clip"])
    other = desk.run("extract_clip", **{**request_of["extract_clip"], **change})
    assert other.made
    assert other.recipe != first.recipe


@pytest.mark.parametrize("lost", ["output_key", "picture_key", "manifest_key"])
def test_a_clip_that_lost_an_object_is_made_again(desk: Desk, request_of: dict[str, Any], lost: str) -> None:
    first = desk.run("extract_clip", **request_of["extract_clip"])
    desk.store.delete(getattr(first, lost))
    again = desk.run("extract_clip", **request_of["extract_clip"])
    assert again.made
    assert (again.output_key, again.sha256) == (first.output_key, first.sha256)
    assert not desk.run("extract_clip", **request_of["extract_clip"]).made


def test_a_clip_whose_file_was_cut_off_is_made_again(desk: Desk, request_of: dict[str, Any]) -> None:
    first = desk.run("extract_clip", **request_of["extract_clip"])
    desk.store.put(first.output_key, desk.store.get(first.output_key)[:-1])
    assert desk.run("extract_clip", **request_of["extract_clip"]).made


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"schema_version": 2}'])
def test_a_clip_whose_manifest_cannot_be_read_is_made_again(
    desk: Desk, request_of: dict[str, Any], content: bytes
) -> None:
    first = desk.run("extract_clip", **request_of["extract_clip"])
    assert first.manifest_key is not None
    desk.store.put(first.manifest_key, content)
    again = desk.run("extract_clip", **request_of["extract_clip"])
    assert again.made
    assert (again.output_key, again.sha256) == (first.output_key, first.sha256)
    assert not desk.run("extract_clip", **request_of["extract_clip"]).made


def test_a_recipe_is_made_of_the_request_with_numbers_as_they_were_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[dict[str, Any]] = []

    def recipe(**fields: Any) -> str:
        taken.append(fields)
        return "recipe"

    monkeypatch.setattr(publishing, "recipe_hash", recipe)
    framing = {"keyframes": [crop_at(0.1, x=1 / 3)], "segments": [{"start": 0.5, "end": 1, "speed": 0.5}]}
    asked = ProcessFramingAiRequest.model_validate(
        {"tenant_id": TENANT, "clip_id": "c1", "source_key": f"{TENANT}/v.mp4", "preview": 3, **framing}
    )
    assert clip_recipe("kind", 7, asked, {"key": "version"}) == "recipe"
    (fields,) = taken
    assert (fields["kind"], fields["version"], fields["inputs"]) == ("kind", 7, {"key": "version"})
    assert set(fields["shipped"]) == {"encoder", "upscaler"}
    request = fields["request"]
    assert "preview" not in request
    assert (request["clip_id"], request["output_width"]) == ("c1", 810)
    assert (request["keyframes"][0]["time"], request["keyframes"][0]["x"]) == ("0.1", repr(1 / 3))
    assert request["segments"] == [{"start": "0.5", "end": "1.0", "speed": "0.5", "keep": True}]


@pytest.mark.parametrize("name", ["clip.mp4", "before_after.png", "manifest.json"])
def test_a_store_that_goes_away_leaves_no_manifest_and_the_next_run_makes_the_clip(
    desk: Desk, store: WatchedStore, request_of: dict[str, Any], name: str
) -> None:
    store.fails_at = name
    with pytest.raises(Transient, match="the store went away"):
        desk.run("extract_clip", **request_of["extract_clip"])
    assert not any(key.endswith("manifest.json") for key in desk.stored())
    store.fails_at = None
    result = desk.run("extract_clip", **request_of["extract_clip"])
    assert result.made
    assert sorted(clips_of(desk)) == sorted(result.output_keys())


def test_a_clip_that_does_not_pass_its_check_is_not_published(
    desk: Desk, request_of: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = finishing.verify_clip

    def wants_one_more(path: Path, *, frames: int, **wanted: Any) -> Any:
        return check(path, frames=frames + 1, **wanted)

    monkeypatch.setattr(finishing, "verify_clip", wants_one_more)
    with pytest.raises(Internal):
        desk.run("extract_clip", **request_of["extract_clip"])
    assert clips_of(desk) == []


@pytest.mark.parametrize("task", TASKS)
def test_a_cancelled_render_leaves_nothing(desk: Desk, request_of: dict[str, Any], task: str) -> None:
    class Stops(list):
        """Cancels the task at the first thing it tells."""

        def append(self, event: Any) -> None:
            assert desk.last is not None
            desk.last.cancel.cancel("enough")

    desk.told = Stops()
    with pytest.raises(Cancelled):
        desk.run(task, **request_of[task])
    assert clips_of(desk) == []


@pytest.mark.parametrize("task", TASKS)
def test_a_render_tells_how_far_it_is_up_to_its_last_frame(
    desk: Desk, request_of: dict[str, Any], task: str
) -> None:
    result = desk.run(task, **request_of[task])
    told = [event for event in desk.told if event["event"] == "progress"]
    assert [event["done"] for event in told] == sorted(event["done"] for event in told)
    assert told[-1]["done"] == told[-1]["total"] == result.frames
    assert told[-1]["seconds_left"] == 0
    assert all((event["done"] > 0) == (event["seconds_left"] is not None) for event in told)
    assert all(event["rate_per_s"] > 0 for event in told if event["done"])
    assert desk.last is not None
    assert "timing_waterfall.html" in desk.last.reports
    assert {"decode", "encode", "mux", "check", "upload"} <= set(result.phases)


def test_an_input_that_goes_away_is_named(desk: Desk, request_of: dict[str, Any]) -> None:
    asked = request_of["process_multi_clip"]
    gone = {**asked["clips"][0], "source_key": "demo/client/videos/gone/video.mp4"}
    with pytest.raises(BadInput, match="no such object") as raised:
        desk.run("process_multi_clip", **{**asked, "clips": [asked["clips"][0], gone]})
    assert "gone/video.mp4" in (raised.value.input or "")
    assert clips_of(desk) == []


def test_a_preview_tells_how_far_it_is_frame_by_frame(desk: Desk, request_of: dict[str, Any]) -> None:
    desk.run("process_multi_clip", **request_of["process_multi_clip"], preview=3)
    told = [event for event in desk.told if event["event"] == "progress"]
    assert [(event["done"], event["total"]) for event in told] == [(1, 3), (2, 3), (3, 3)]


def test_a_mark_lies_around_its_box_and_covers_nothing_in_it() -> None:
    rgb = np.full((360, 200, 3), 90, np.uint8)
    found = finishing.marked(rgb, (40, 60, 80, 120))
    wanted = rgb.copy()
    wanted[58:182, 38:122] = (255, 212, 0)
    wanted[60:180, 40:120] = 90
    assert np.array_equal(found, wanted)
    assert (rgb == 90).all()

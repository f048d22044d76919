"""What a search for people answers and stores: own weights, batches, doing it again, exact numbers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clips.films import TENANT, Desk, Sound, tone
from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline.clips import detect
from video_pipeline.clips.detect_request import DetectPlayersResult
from video_pipeline.errors import BadInput
from video_pipeline.models import person_detector
from video_pipeline.models.person_detector import SHIPPED_DETECTOR_WEIGHTS
from video_pipeline.task_context import TaskContext


@pytest.fixture
def street(desk: Desk) -> dict[str, Any]:
    """A request for two pictures of the demo clip, in which there are people."""
    return {"source_key": desk.put(DEMO_CLIP), "timestamps": [10.0, 20.0], "draw": False}


def test_weights_of_ones_own_are_taken_from_the_store_and_are_another_recipe(
    desk: Desk, street: dict[str, Any]
) -> None:
    shipped = desk.run("detect_players_batch", **street)
    key = f"{TENANT}/server/weights/mine.safetensors"
    desk.store.put(key, SHIPPED_DETECTOR_WEIGHTS)
    own = desk.run("detect_players_batch", weights_key=key, **street)
    assert shipped.detections > 0
    assert own.frames == shipped.frames
    assert own.model_sha256 == shipped.model_sha256
    assert own.recipe != shipped.recipe
    assert own.made


def test_numbers_are_rounded_to_what_a_batchs_size_does_not_change_and_pictures_without_are_counted(
    desk: Desk, street: dict[str, Any]
) -> None:
    result = desk.run("detect_players_batch", **street)
    boxes = [box for frame in result.frames for box in frame.detections]
    assert boxes
    for box in boxes:
        fields = box.model_dump(exclude={"class_name", "confidence"})
        assert fields == {name: round(value, 2) for name, value in fields.items()}
        assert box.confidence == round(box.confidence, 4)
    assert {box.confidence for box in boxes} != {round(box.confidence, 2) for box in boxes}
    none = desk.run("detect_players_batch", **{**street, "min_confidence": 1.0})
    assert (none.detections, none.detected_pictures, none.pictures_without) == (0, 2, 2)
    assert result.pictures_without == sum(not frame.detections for frame in result.frames)
    assert (result.detected_pictures, result.detections) == (2, len(boxes))


@pytest.mark.parametrize(
    ("at_once", "most", "told"),
    [(16, 1, [1, 2, 3, 4, 5]), (16, 2, [2, 4, 5]), (3, 99, [3, 5]), (16, 0, [1, 2, 3, 4, 5])],
)
def test_large_pictures_go_through_in_smaller_batches_down_to_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, at_once: int, most: int, told: list[int]
) -> None:
    monkeypatch.setattr(person_detector, "BATCH", at_once)
    monkeypatch.setattr(person_detector, "BATCH_PIXELS", most * 160 * 96 + 160 * 96 - 1)
    if most == 0:
        monkeypatch.setattr(person_detector, "BATCH_PIXELS", 10)
    key = desk.film(frames=25, sound=Sound(tone(440)))
    result = desk.run("detect_players_batch", source_key=key, rate="5", draw=False)
    assert result.detected_pictures == 5
    events = [event for event in desk.told if event["event"] == "progress"]
    assert [(event["done"], event["total"]) for event in events] == [(done, 5) for done in told]


def test_pictures_are_numbered_in_order_of_time_and_are_stored_only_where_they_are_asked_for(
    desk: Desk,
) -> None:
    key = desk.film(frames=25)
    result = desk.run("detect_players_batch", source_key=key, timestamps=[0.8, 0.0, 0.4])
    names = [name.rpartition("/")[2] for name in result.picture_keys]
    assert names == [f"picture_{n:05d}.png" for n in range(3)]
    assert [frame.picture_key for frame in result.frames] == [result.picture_keys[n] for n in (2, 0, 1)]
    assert set(desk.stored()) == {key, *result.output_keys()}
    plain = desk.run("detect_players_batch", source_key=key, timestamps=[0.8], draw=False)
    assert plain.picture_keys == ()
    assert plain.frames[0].picture_key is None


def test_a_stored_answer_that_cannot_be_read_is_made_again(desk: Desk) -> None:
    fields = {"source_key": desk.film(frames=5), "time": 0.1, "draw": False}
    first = desk.run("detect_players", **fields)
    desk.store.put(first.detections_key, b'{"kind": "of another version"}')
    again = desk.run("detect_players", **fields)
    assert again.made
    assert DetectPlayersResult.model_validate_json(desk.store.get(first.detections_key)) == again
    assert not desk.run("detect_players", **fields).made


def test_an_answer_says_how_long_it_took_and_what_was_done_to_the_pictures(desk: Desk) -> None:
    key = desk.film(frames=5)
    result = desk.run("detect_players", source_key=key, time=0.1, draw=False)
    assert 0 < result.seconds_taken < 60
    assert (result.kind, result.source_key, result.notes) == ("detect_players", key, ())
    assert desk.last is not None
    assert desk.last.usage.frames == 1
    assert (desk.last.usage.bytes_read or 0) > 0
    assert {"model_load", "decode", "inference"} <= {span.name for span in desk.last.recorder.spans()}
    assert detect.DETECTIONS in result.detections_key


def test_a_preview_shows_some_of_the_pictures_and_says_how_many_there_will_be_and_that_none_was_measured(
    desk: Desk, street: dict[str, Any]
) -> None:
    asked = {"source_key": street["source_key"], "rate": "1/4", "draw": False}
    preview = desk.run("detect_players_batch", preview=2, **asked)
    assert (preview.preview_of, len(preview.frames), preview.detected_pictures) == (11, 2, 2)
    # 0, 4, …, 40 s in two shares: the third and the ninth of eleven.
    assert [frame.asked_seconds for frame in preview.frames] == [8, 32]
    assert len(preview.picture_keys) == 2
    stored = desk.stored()
    assert preview.detections_key in stored
    assert not [key for key in stored if key.endswith(detect.DETECTIONS)], "it is not of all pictures"
    assert all("/preview/02/picture_" in key for key in preview.picture_keys)
    assert all(desk.store.get(key).startswith(b"\x89PNG") for key in preview.picture_keys)
    assert preview.prediction is None
    assert preview.not_foretold.startswith(
        "nothing was measured of detect_players_batch on machines of one's own"
    )
    assert desk.last is not None
    assert not desk.last.usage.frames, "it is no run that a model should be fitted to"
    whole = desk.run("detect_players_batch", **asked)
    assert desk.last.usage.frames == 11
    assert whole.made
    assert (whole.preview_of, whole.not_foretold, len(whole.frames)) == (None, None, 11)
    assert whole.recipe == preview.recipe
    assert whole.frames[2].detections == preview.frames[0].detections
    again = desk.run("detect_players_batch", preview=2, **asked)
    assert again.preview_of == 11, "what is there already is no answer to what it would cost"


def test_a_preview_counts_each_moment_once_and_its_cost_is_that_of_all_pictures(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    costed: list[int] = []

    def foretold(context: TaskContext, task: str, frames: int) -> dict[str, Any]:
        costed.append(frames)
        return {"not_foretold": "by a double"}

    monkeypatch.setattr(detect, "foretold", foretold)
    asked = {"source_key": desk.film(frames=25), "timestamps": [0.8, 0.0, 0.4, 0.8, 0.2]}
    preview = desk.run("detect_players_batch", preview=2, **asked)
    assert (preview.preview_of, len(preview.frames), costed) == (4, 2, [4])


def test_a_rate_may_ask_for_as_many_drawn_pictures_as_are_drawn_and_for_more_that_are_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detect, "MAX_DRAWN", 5)
    key = desk.film(frames=25)
    assert len(desk.run("detect_players_batch", source_key=key, rate="5").picture_keys) == 5
    assert desk.run("detect_players_batch", source_key=key, rate="6", draw=False).detected_pictures == 6
    with pytest.raises(BadInput, match="6 pictures are asked for, and no more than 5 are drawn"):
        desk.run("detect_players_batch", source_key=key, rate="6")


def test_a_preview_refuses_a_moment_that_it_would_not_show(desk: Desk, street: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"not in the video.*999"):
        desk.run("detect_players_batch", **{**street, "timestamps": [1.0, 2.0, 999.0]}, preview=1)

"""The task that looks for the captions' place: what it stores, in which order, and how it ends early."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.doubles.far_store import put_far_away
from tests.fixtures.media_factory import MediaFactory
from tests.media.conftest import media as media
from video_pipeline.captions import layout_task
from video_pipeline.captions.intake import add_video, layout_request
from video_pipeline.captions.layout import FALLBACK, candidate_bands
from video_pipeline.captions.request import FindLayoutResult
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.keys import VideoId, caption_request_key
from video_pipeline.store.base import ObjectStore
from video_pipeline.worker import TaskContext

VIDEO = VideoId("acme", "clip")
MakeContext = Callable[..., TaskContext]


def put(store: ObjectStore, media: MediaFactory, variant: str = "h264_p") -> None:
    add_video(store, VIDEO, media.path(variant), crop_region=None, frame_rate=10, preset="fast")


def look(store: ObjectStore, context: TaskContext) -> FindLayoutResult:
    return layout_task.run(layout_request(store, VIDEO), context)


def layouts(store: ObjectStore) -> list[str]:
    return [item.key for item in store.list("acme/") if "/layouts/" in item.key]


def test_too_little_to_tell_gives_the_usual_place_and_says_that_it_is_not_what_was_asked(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory
) -> None:
    put(store, media)
    events: list[dict[str, Any]] = []
    result = look(store, make_context(store, events))
    assert (result.found, result.crop_region) == (False, FALLBACK)
    assert result.degraded == list(result.reasons) != []
    # 2.4 seconds: a moment each half second, and a pair wherever a second picture follows.
    assert result.moments == 4
    document = json.loads(store.get(result.layout_key))
    assert document["found"] is False
    assert document["crop_region"] == FALLBACK.model_dump()
    assert document["reasons"] == list(result.reasons)
    assert len(document["moments_s"]) == 4
    assert document["moments_s"] == sorted(document["moments_s"])
    assert len(document["bands"]) == len(candidate_bands())
    scores = [band["different_captions"] for band in document["bands"]]
    assert scores == sorted(scores, reverse=True)
    assert document["source_key"] == "acme/client/videos/clip/video.mp4"
    progress = [event for event in events if event["event"] == "progress"]
    assert (progress[-1]["done"], progress[-1]["total"]) == (4, 4)
    with Image.open(io.BytesIO(store.get(result.preview_key))) as preview:
        assert preview.format == "PNG"


def test_the_layout_is_written_after_its_picture(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, media)
    written: list[str] = []
    original = type(store).put

    def noting(self: Any, key: str, *arguments: Any, **options: Any) -> Any:
        done = original(self, key, *arguments, **options)
        written.append(key)
        return done

    monkeypatch.setattr(type(store), "put", noting)
    result = look(store, make_context(store))
    assert written == [result.preview_key, result.layout_key]


def test_a_cancel_ends_the_looking_and_stores_nothing(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory
) -> None:
    put(store, media)
    context = make_context(store)
    context.cancel.cancel("enough")
    with pytest.raises(Cancelled, match="enough"):
        look(store, context)
    assert layouts(store) == []


def test_a_source_that_is_no_video_is_named_and_nothing_is_stored(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory
) -> None:
    put(store, media, "text")
    with pytest.raises(BadInput, match=r"acme/client/videos/clip/video\.mp4"):
        look(store, make_context(store))
    assert layouts(store) == []


def test_a_checkpoint_that_is_not_there_is_named(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory
) -> None:
    put(store, media)
    store.put(caption_request_key(VIDEO), b'{"model_key": "acme/server/mine.safetensors"}')
    with pytest.raises(BadInput, match=r"mine\.safetensors"):
        look(store, make_context(store))


def test_a_video_that_is_not_on_this_machine_is_read_through_the_store_and_closed(
    store: ObjectStore, make_context: MakeContext, media: MediaFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, media)
    here = look(store, make_context(store))
    opened = put_far_away(store, monkeypatch)
    there = look(store, make_context(store))
    assert there.model_dump(exclude={"wall_seconds"}) == here.model_dump(exclude={"wall_seconds"})
    assert [reader.closed for reader in opened] == [True]

"""Videos and wishes come into the store as they were given, and what is wrong with them is said at once."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from video_pipeline import keys
from video_pipeline.captions.intake import (
    add_video,
    crop_of,
    find_source,
    layout_request,
    load_caption_request,
    parse_crop,
    pass_request,
    reading_request,
)
from video_pipeline.captions.plan import layout_prefix_of, source_of
from video_pipeline.captions.request import STAGES, CaptionRequest
from video_pipeline.errors import BadInput
from video_pipeline.keys import VideoId
from video_pipeline.media.geometry import CropRegion
from video_pipeline.store.base import ObjectStore

VIDEO = VideoId("acme", "clip")
BAND = CropRegion(left=0.05, top=0.7, width=0.9, height=0.27)


def given(folder: Path, name: str = "holiday.MP4", content: bytes = b"footage") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def add(store: ObjectStore, path: Path, *, crop: CropRegion | None = BAND, rate: object = "12.5") -> str:
    return add_video(store, VIDEO, path, crop_region=crop, frame_rate=rate, preset="small")


def wish(store: ObjectStore, text: str) -> None:
    store.put(keys.caption_request_key(VIDEO), text.encode())


def test_a_video_is_stored_whole_with_its_request_beside_it(store: ObjectStore, tmp_path: Path) -> None:
    footage = bytes(range(256)) * 20_000
    key = add(store, given(tmp_path, content=footage))
    assert key == "acme/client/videos/clip/video.mp4"
    assert store.get(key) == footage
    assert find_source(store, VIDEO) == key
    assert load_caption_request(store, VIDEO) == CaptionRequest(
        crop_region=BAND, frame_rate=Fraction(25, 2), preset="small"
    )


def test_a_request_without_a_region_says_nothing_of_one(store: ObjectStore, tmp_path: Path) -> None:
    add(store, given(tmp_path), crop=None)
    written = json.loads(store.get(keys.caption_request_key(VIDEO)))
    assert written == {"frame_rate": "25/2", "preset": "small"}


def test_adding_it_again_replaces_it(store: ObjectStore, tmp_path: Path) -> None:
    add(store, given(tmp_path))
    add(store, given(tmp_path, content=b"better footage"), rate=5)
    assert store.get(find_source(store, VIDEO)) == b"better footage"
    assert load_caption_request(store, VIDEO).frame_rate == 5


def test_a_second_source_under_another_extension_is_refused_and_the_first_stays(
    store: ObjectStore, tmp_path: Path
) -> None:
    add(store, given(tmp_path))
    with pytest.raises(BadInput, match=r"a source already: .*video\.mp4"):
        add(store, given(tmp_path, "holiday.webm"))
    assert find_source(store, VIDEO).endswith("video.mp4")


@pytest.mark.parametrize("name", ["holiday.txt", "holiday"])
def test_a_file_of_another_kind_is_refused(store: ObjectStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="extension"):
        add(store, given(tmp_path, name))
    assert list(store.list("acme/")) == []


def test_a_file_that_is_not_there_or_a_folder_is_refused(store: ObjectStore, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.mp4", tmp_path):
        with pytest.raises(BadInput, match="no such file") as caught:
            add(store, path)
        assert caught.value.input == str(path)


@pytest.mark.parametrize("rate", [0, "a", 1000])
def test_a_rate_that_cannot_be_is_refused_before_anything_is_stored(
    store: ObjectStore, tmp_path: Path, rate: object
) -> None:
    with pytest.raises(BadInput, match="caption request is not valid") as caught:
        add(store, given(tmp_path), rate=rate)
    assert caught.value.input == str(rate)
    assert list(store.list("acme/")) == []


def test_a_video_without_a_source_or_with_two_is_refused(store: ObjectStore) -> None:
    with pytest.raises(BadInput, match="no source in the store") as caught:
        find_source(store, VIDEO)
    assert "acme/client/videos/clip/video.mp4" in str(caught.value)
    for extension in ("mov", "avi"):
        store.put(keys.source_key(VIDEO, extension), b"footage")
    with pytest.raises(BadInput, match=r"2 sources: .*video\.mov, .*video\.avi"):
        find_source(store, VIDEO)


@pytest.mark.parametrize("extension", keys.VIDEO_EXTENSIONS)
def test_a_source_is_found_under_each_extension(store: ObjectStore, extension: str) -> None:
    store.put(keys.source_key(VIDEO, extension), b"footage")
    assert find_source(store, VIDEO) == f"acme/client/videos/clip/video.{extension}"


def test_without_a_request_the_defaults_hold(store: ObjectStore) -> None:
    assert load_caption_request(store, VIDEO) == CaptionRequest()
    assert CaptionRequest().frame_rate == 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{not json", "JSON"),
        ('{"frame_rat": 5}', "frame_rat"),
        ('{"frame_rate": 0, "preset": "best"}', r"frame_rate: .*preset: "),
        ('{"crop_region": {"left": 0.5, "top": 0, "width": 0.6, "height": 1}}', "crop_region"),
    ],
)
def test_a_request_that_is_wrong_is_named_with_its_fields(store: ObjectStore, text: str, says: str) -> None:
    wish(store, text)
    with pytest.raises(BadInput, match=says) as caught:
        load_caption_request(store, VIDEO)
    assert caught.value.input == f"{store.uri}/acme/server/videos/clip/caption_request.json"


def test_what_a_person_wrote_stands_in_every_request(store: ObjectStore, tmp_path: Path) -> None:
    key = add(store, given(tmp_path))
    asked = load_caption_request(store, VIDEO).model_copy(update={"model_key": "acme/server/own.safetensors"})
    wish(store, asked.model_dump_json())
    of_pass = pass_request(store, VIDEO, ("vp9_chunks", "cropped_frames"))
    assert of_pass.model_dump(include={"video_key", "tenant_id", "video_id", "preset", "model_key"}) == {
        "video_key": key,
        "tenant_id": "acme",
        "video_id": "clip",
        "preset": "small",
        "model_key": "acme/server/own.safetensors",
    }
    assert (of_pass.crop_region, of_pass.frame_rate) == (BAND, Fraction(25, 2))
    assert of_pass.stages == ("cropped_frames", "vp9_chunks")
    assert crop_of(store, VIDEO) == BAND
    for chunks in (True, False):
        reading = reading_request(store, VIDEO, chunks=chunks)
        assert reading.as_pass() == pass_request(store, VIDEO, STAGES)
        assert reading.chunks is chunks
        assert reading.ocr
    layout = layout_request(store, VIDEO)
    assert (layout.video_key, layout.model_key) == (key, "acme/server/own.safetensors")


def test_a_region_that_was_found_is_taken_where_no_person_gave_one(
    store: ObjectStore, tmp_path: Path
) -> None:
    add(store, given(tmp_path), crop=None)
    with pytest.raises(BadInput, match="captions stand is not known") as caught:
        crop_of(store, VIDEO)
    assert caught.value.input == f"{store.uri}/acme/server/videos/clip/caption_request.json"
    version = source_of(store, find_source(store, VIDEO)).version
    where = layout_prefix_of(store, layout_request(store, VIDEO), source_version=version)
    store.put(where + "layout.json", json.dumps({"crop_region": BAND.model_dump()}).encode())
    assert crop_of(store, VIDEO) == BAND
    # A person's word ranks above what was found; another source has a place of its own.
    own = CropRegion(left=0.2, top=0.1, width=0.6, height=0.2)
    wish(store, CaptionRequest(crop_region=own).model_dump_json())
    assert crop_of(store, VIDEO) == own
    wish(store, CaptionRequest().model_dump_json())
    store.put(find_source(store, VIDEO), b"other footage")
    with pytest.raises(BadInput, match="captions stand is not known"):
        crop_of(store, VIDEO)


@pytest.mark.parametrize("text", ["0.1,0.75,0.8,0.2", " 0.1, 0.75 ,0.8,0.2 "])
def test_a_crop_is_read_from_four_parts(text: str) -> None:
    assert parse_crop(text) == CropRegion(left=0.1, top=0.75, width=0.8, height=0.2)


@pytest.mark.parametrize(
    "text", ["", "0.1,0.75,0.8", "0.1,0.75,0.8,0.2,0", "a,b,c,d", "0.1,0.75,0.95,0.2", "0,0,0,1"]
)
def test_a_crop_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadInput, match="is not a crop region") as caught:
        parse_crop(text)
    assert caught.value.input == "--crop"
    assert "Value error" not in str(caught.value)  # pydantic's word for it
    assert "0.1,0.75,0.8,0.2" in str(caught.value.what_to_do)

"""A request says which field is wrong, and names what it reads; a result names what it wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.sampling.results_made import made_result
from video_pipeline import keys
from video_pipeline.errors import BadInput
from video_pipeline.sampling.intake import load_sample_request
from video_pipeline.sampling.request import MAX_FRAMES, RunInferenceRequest, SampleOptions
from video_pipeline.store.directory import DirectoryStore

URL = "https://host/a.mp4"


def request(**fields: Any) -> RunInferenceRequest:
    given = {"tenant_id": "acme", "sample_id": "look", "video_urls": (URL,), **fields}
    return RunInferenceRequest.model_validate(given)


@pytest.mark.parametrize("path", ["/a.mp4", "./a.mp4", "../a.mp4", "~/a.mp4", "file:///a.mp4"])
def test_a_task_reads_no_paths(path: str) -> None:
    with pytest.raises(ValidationError, match="is a path"):
        request(video_urls=(path,))


@pytest.mark.parametrize(
    "fields",
    [
        {"video_urls": ("other/client/videos/a/video.mp4",)},
        {"classifier": {"weights_key": "other/client/models/mine.safetensors", "architecture": "x"}},
        {"classifier": {"import_path": "a:b", "labels_key": "other/client/models/labels.txt"}},
    ],
)
def test_every_key_lies_under_the_requests_tenant(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="does not lie under"):
        request(**fields)


def test_a_tasks_classifier_is_no_file_of_one_machine() -> None:
    with pytest.raises(ValidationError, match="use weights_key"):
        request(classifier={"path": "/models/mine.pt2"})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tenant_id": "Acme Inc"}, "tenant"),
        ({"sample_id": "a--b"}, "sample"),
        ({"video_urls": ()}, "video_urls"),
        ({"seed": 1}, "seed"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises((BadInput, ValidationError), match=said):
        request(**fields)


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_stored_request_that_is_no_json_is_named(data: bytes, tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    key = keys.sample_request_key("acme", "look")
    store.put(key, data)
    with pytest.raises(BadInput, match="not valid") as caught:
        load_sample_request(store, keys.SampleId("acme", "look"))
    assert caught.value.input == f"{store.uri}/{key}"


def test_a_call_has_a_limit_of_frames_however_they_come_about() -> None:
    most = {"num_batches": MAX_FRAMES // 20, "frames_per_sample": 10, "video_urls": (URL, f"{URL}2")}
    assert request(**most).batches == MAX_FRAMES // 20
    for more in (
        {"num_batches": MAX_FRAMES // 20 + 1},
        {"frames_per_sample": 11},
        {"video_urls": (URL, f"{URL}2", f"{URL}3")},
    ):
        with pytest.raises(ValidationError, match="make several samples of it"):
            request(**{**most, **more})


def test_timestamps_and_their_strategy_belong_together_and_count_the_batches() -> None:
    assert SampleOptions(strategy="timestamps", timestamps=(1.0, 2.0, 3.0)).batches == 3
    assert SampleOptions(strategy="timestamps", timestamps=(1.0, 2.0), num_batches=2).batches == 2
    assert SampleOptions(num_batches=4).batches == 4
    for strategy, timestamps in (("random", (1.0,)), ("timestamps", ())):
        with pytest.raises(ValidationError, match="belong together"):
            SampleOptions.model_validate({"strategy": strategy, "timestamps": timestamps})
    with pytest.raises(ValidationError, match="leave it out"):
        SampleOptions(strategy="timestamps", timestamps=(1.0, 2.0), num_batches=3)


def test_a_request_names_the_objects_it_depends_on_and_no_urls() -> None:
    videos = (URL, "acme/client/videos/a/video.mp4", "s3://bucket/b.mp4")
    spec = {
        "weights_key": "acme/client/models/mine.safetensors",
        "architecture": "efficientnet_lite0",
        "labels_key": "acme/client/models/labels.txt",
    }
    assert request(video_urls=videos, classifier=spec).input_keys() == {
        "video 1": videos[1],
        "classifier": spec["weights_key"],
        "labels": spec["labels_key"],
    }
    assert request().input_keys() == {}


def test_a_result_names_every_object_that_it_wrote() -> None:
    result, _ = made_result(videos=1, frames=2)
    written = {"frame_png_keys": ("a/1.png", "a/2.png"), "report_keys": {"bandwidth": "a/b.html"}}
    assert result.model_copy(update=written).output_keys() == ["a/1.png", "a/2.png", "a/b.html"]

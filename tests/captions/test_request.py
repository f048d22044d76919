from __future__ import annotations

import time
from fractions import Fraction

import pytest
from pydantic import ValidationError

from video_pipeline.captions import recognise
from video_pipeline.captions.request import (
    STAGES,
    Artefact,
    CaptionRequest,
    CropAndInferRequest,
    CropAndInferResult,
    FindLayoutRequest,
    ReadCaptionsRequest,
    ReadCaptionsResult,
)
from video_pipeline.errors import BadInput
from video_pipeline.models.weights import weights_sha256
from video_pipeline.tasks import find_task

CROP = {"left": 0.1, "top": 0.8, "width": 0.8, "height": 0.15}
REQUEST = {
    "video_key": "acme/client/videos/a/video.mp4",
    "tenant_id": "acme",
    "video_id": "a",
    "crop_region": CROP,
}


@pytest.mark.parametrize(
    ("given", "rate"),
    [
        (10, Fraction(10)),
        (12.5, Fraction(25, 2)),
        ("30000/1001", Fraction(30000, 1001)),
        (0.1, Fraction(1, 10)),
    ],
)
def test_a_rate_is_an_exact_fraction_through_json(given: object, rate: Fraction) -> None:
    request = CropAndInferRequest.model_validate({**REQUEST, "frame_rate": given})
    assert request.frame_rate == rate
    assert CropAndInferRequest.model_validate_json(request.model_dump_json()) == request


@pytest.mark.parametrize("given", [0, -1, "a", "1/0", True, None, 241, "nan", "inf", float("nan"), [10]])
def test_a_rate_that_is_none_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        CaptionRequest.model_validate({"crop_region": CROP, "frame_rate": given})


@pytest.mark.parametrize(
    "given", ["1e99999999", "1E-99999999", "9" * 10**6, "1/" + "9" * 10**6, "0." + "9" * 10**6, "1_0"]
)
def test_a_rate_that_would_take_hours_to_work_out_is_refused_at_once(given: str) -> None:
    began = time.thread_time()
    with pytest.raises(ValidationError, match="is not a frame rate"):
        CaptionRequest.model_validate({"crop_region": CROP, "frame_rate": given})
    assert time.thread_time() - began < 1


@pytest.mark.parametrize(
    ("given", "rate"), [(" 12.5 ", "25/2"), ("+5", "5"), ("30000/1001", "30000/1001"), ("240", "240")]
)
def test_a_rate_may_be_written_as_text(given: str, rate: str) -> None:
    request = CaptionRequest.model_validate({"frame_rate": given})
    assert request.frame_rate == Fraction(rate)
    assert request.model_dump(mode="json")["frame_rate"] == rate


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"crop_region": {**CROP, "width": 0.95}}, "leaves the picture"),
        ({"crop_region": {**CROP, "height": 0}}, "height"),
        ({"crop_region": {**CROP, "colour": 1}}, "colour"),
        ({"frame_rat": 10}, "frame_rat"),
        ({"stages": []}, "stages is empty"),
        ({"stages": ["everything"]}, "stages"),
        ({"encoder_workers": 0}, "encoder_workers"),
        ({"encoder_workers": 65}, "encoder_workers"),
        ({"encoder_workers": "many"}, "'auto' for every core"),
        ({"encoder_workers": 2.5}, "encoder_workers"),
        ({"preset": "best"}, "preset"),
        ({"video_key": "other/client/videos/a/video.mp4"}, "tenant"),
        ({"video_key": "acme/../other/video.mp4"}, "clean"),
        ({"model_key": "other/model.safetensors"}, "tenant"),
        ({"tenant_id": "Acme"}, "'acme'"),
        ({"video_id": "a--b"}, "'a-b'"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        find_task("crop_and_infer_caption_frame_extents").parse_request({**REQUEST, **change})


def test_the_defaults_are_those_that_the_documents_state() -> None:
    wish = CaptionRequest()
    assert (wish.crop_region, wish.frame_rate, wish.preset, wish.model_key) == (None, 10, "fast", None)
    of_pass = CropAndInferRequest.model_validate(REQUEST)
    assert (of_pass.frame_rate, of_pass.encoder_workers, of_pass.inference_batch_size) == (10, None, 32)
    assert (of_pass.preset, of_pass.model_key, of_pass.stages) == ("fast", None, STAGES)
    reading = ReadCaptionsRequest.model_validate(REQUEST)
    assert (reading.ocr, reading.chunks) == (True, True)
    assert reading.as_pass() == of_pass


def test_auto_and_no_number_of_encoders_are_one_request_and_so_one_call() -> None:
    auto = CropAndInferRequest.model_validate({**REQUEST, "encoder_workers": "auto"})
    assert auto == CropAndInferRequest.model_validate(REQUEST)
    assert auto.model_dump(mode="json") == CropAndInferRequest.model_validate(REQUEST).model_dump(mode="json")
    given = CropAndInferRequest.model_validate({**REQUEST, "encoder_workers": 64})
    assert given.encoder_workers == 64


def test_the_order_of_stages_does_not_matter() -> None:
    backwards = CropAndInferRequest.model_validate({**REQUEST, "stages": list(reversed(STAGES))})
    assert backwards == CropAndInferRequest.model_validate(REQUEST)
    assert backwards.model_dump_json() == CropAndInferRequest.model_validate(REQUEST).model_dump_json()


def test_what_a_request_reads_enters_its_call_by_version() -> None:
    request = CropAndInferRequest.model_validate(REQUEST)
    assert request.input_keys() == {"video": "acme/client/videos/a/video.mp4"}
    own = CropAndInferRequest.model_validate({**REQUEST, "model_key": "acme/server/own.safetensors"})
    assert own.input_keys() == {
        "video": "acme/client/videos/a/video.mp4",
        "model": "acme/server/own.safetensors",
    }


def test_the_weights_that_ship_are_an_input_where_they_are_used() -> None:
    shipped = {"weights": weights_sha256()}
    of_pass = CropAndInferRequest.model_validate(REQUEST)
    assert of_pass.shipped_inputs() == shipped
    assert CropAndInferRequest.model_validate({**REQUEST, "stages": ["vp9_chunks"]}).shipped_inputs() == {}
    own = {**REQUEST, "model_key": "acme/server/own.safetensors"}
    assert CropAndInferRequest.model_validate(own).shipped_inputs() == {}
    layout = {name: REQUEST[name] for name in ("video_key", "tenant_id", "video_id")}
    assert FindLayoutRequest.model_validate(layout).shipped_inputs() == shipped
    assert FindLayoutRequest.model_validate(layout).input_keys() == {
        "video": "acme/client/videos/a/video.mp4"
    }
    model = {"model_key": "acme/server/own.safetensors"}
    assert FindLayoutRequest.model_validate(layout | model).shipped_inputs() == {}
    assert FindLayoutRequest.model_validate(layout | model).input_keys()["model"] == model["model_key"]


def test_a_recogniser_that_was_installed_since_is_another_call(monkeypatch: pytest.MonkeyPatch) -> None:
    request = ReadCaptionsRequest.model_validate(REQUEST)
    found = []
    for version in ("reader 1", "reader 2", None):
        monkeypatch.setattr(recognise, "recogniser_version", lambda version=version: version)
        found.append(request.shipped_inputs())
    weights = {"weights": weights_sha256()}
    assert found == [weights | {"ocr": "reader 1"}, weights | {"ocr": "reader 2"}, weights | {"ocr": "none"}]
    monkeypatch.setattr(recognise, "recogniser_version", lambda: "reader 1")
    silent = ReadCaptionsRequest.model_validate({**REQUEST, "ocr": False})
    assert silent.shipped_inputs() == weights | {"ocr": "none"}


@pytest.mark.parametrize(
    "change", [{"video_key": "other/client/videos/a/video.mp4"}, {"model_key": "other/x"}, {"tenant_id": "A"}]
)
def test_every_request_refuses_what_lies_under_another_tenant(change: dict[str, object]) -> None:
    layout = {name: REQUEST[name] for name in ("video_key", "tenant_id", "video_id")}
    for model, fields in ((FindLayoutRequest, layout), (ReadCaptionsRequest, REQUEST)):
        with pytest.raises((ValidationError, BadInput)):
            model.model_validate({**fields, **change})


def test_a_result_names_what_must_still_be_there_for_it_to_be_true() -> None:
    def artefact(name: str) -> Artefact:
        return Artefact(recipe="f" * 16, manifest_key=name, made=True, objects=1, bytes=1)

    result = CropAndInferResult(
        source_version="v1",
        frame_count=1,
        frame_rate=Fraction(10),
        frame_width=16,
        frame_height=16,
        frames=artefact("frames"),
        chunks=artefact("chunks"),
    )
    assert result.output_keys() == ["frames", "chunks"]
    read = ReadCaptionsResult(captions=artefact("captions"), caption_count=0, with_text=0)
    assert read.output_keys() == ["captions"]

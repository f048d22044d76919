from __future__ import annotations

from fractions import Fraction

import pytest
from pydantic import ValidationError

from video_pipeline.captions.request import STAGES, CaptionRequest, CropAndInferRequest
from video_pipeline.errors import BadInput
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
    ("change", "says"),
    [
        ({"crop_region": {**CROP, "width": 0.95}}, "leaves the picture"),
        ({"crop_region": {**CROP, "height": 0}}, "height"),
        ({"crop_region": {**CROP, "colour": 1}}, "colour"),
        ({"frame_rat": 10}, "frame_rat"),
        ({"stages": []}, "stages is empty"),
        ({"stages": ["everything"]}, "stages"),
        ({"encoder_workers": 0}, "encoder_workers"),
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


def test_the_order_of_stages_does_not_matter() -> None:
    backwards = CropAndInferRequest.model_validate({**REQUEST, "stages": list(reversed(STAGES))})
    assert backwards == CropAndInferRequest.model_validate(REQUEST)
    assert backwards.model_dump_json() == CropAndInferRequest.model_validate(REQUEST).model_dump_json()

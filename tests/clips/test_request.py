from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from pydantic import ValidationError

from video_pipeline.clips.detect_request import DetectPlayersBatchRequest
from video_pipeline.clips.request import (
    CreateAnnotatedCompilationRequest,
    ExtractClipRequest,
    ProcessFramingAiChunkRequest,
    ProcessFramingAiParallelRequest,
    ProcessFramingAiRequest,
    ProcessMultiClipRequest,
    RenderOverlayRequest,
)
from video_pipeline.clips.request_base import ClipTask, exact
from video_pipeline.errors import BadInput
from video_pipeline.tasks import find_task

KEY = "demo/client/videos/street/video.mp4"
NAMES = {"tenant_id": "demo", "clip_id": "c1"}


def crop(time: float = 0.0, **other: float) -> dict[str, float]:
    return {"time": time, "x": 10, "y": 20, "width": 90, "height": 160, **other}


def light(time: float = 0.0) -> dict[str, float]:
    return {"time": time, "x": 50, "y": 40, "radius_x": 20, "radius_y": 30}


def framing(**other: Any) -> dict[str, Any]:
    return {"source_key": KEY, "keyframes": [crop()], **other}


REQUESTS: dict[type[ClipTask], dict[str, Any]] = {
    ExtractClipRequest: {"source_key": KEY, "start": 1.25, "end": 2},
    RenderOverlayRequest: {
        "source_key": KEY,
        "highlight_regions": [{"start_time": 0, "end_time": 0.1, "keyframes": [light(0), light(0.3)]}],
    },
    ProcessFramingAiRequest: framing(
        fps="30000/1001", segments=[{"start": 0.1, "end": 0.3, "speed": 0.25}], trim_start=0.1, trim_end=0.7
    ),
    ProcessFramingAiChunkRequest: framing(start_frame=60, end_frame=120),
    ProcessFramingAiParallelRequest: framing(num_chunks=4, reference_size={"width": 640, "height": 360}),
    ProcessMultiClipRequest: {"clips": [framing(), framing(trim_start=1)], "transition": "dissolve"},
    CreateAnnotatedCompilationRequest: {
        "clips": [{"source_key": KEY, "name": "A run", "rating": 5, "tags": ["run"]}],
        "output_width": 640,
        "output_height": 360,
    },
}


def read(model: type[ClipTask], **fields: Any) -> Any:
    return model.model_validate({**NAMES, **REQUESTS[model], **fields})


def framed(**fields: Any) -> ProcessFramingAiRequest:
    return read(ProcessFramingAiRequest, **fields)


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
def test_a_request_is_the_same_after_a_round_trip_through_json(model: type[ClipTask]) -> None:
    request = read(model)
    assert model.model_validate_json(request.model_dump_json()) == request


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
def test_a_field_that_does_not_exist_is_refused_by_name(model: type[ClipTask]) -> None:
    with pytest.raises(ValidationError, match="sharpness"):
        read(model, sharpness=3)


def test_a_field_that_does_not_exist_is_refused_deep_inside_too() -> None:
    with pytest.raises(ValidationError, match="zoom"):
        framed(keyframes=[crop(zoom=2)])


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
def test_every_key_of_a_request_lies_under_its_tenant(model: type[ClipTask]) -> None:
    fields = json.loads(json.dumps(REQUESTS[model]).replace("demo/client", "other/client"))
    with pytest.raises(BadInput, match=r"other/client/.* does not lie under the request's tenant"):
        model.model_validate({**NAMES, **fields})


def test_weights_of_another_tenant_are_refused_too() -> None:
    with pytest.raises(BadInput, match="other/weights"):
        framed(weights_key="other/weights.pth")


OWN = "demo/server/weights/own.pth"


@pytest.mark.parametrize(
    ("model", "fields", "shipped"),
    [
        (ExtractClipRequest, {}, {"encoder"}),
        (CreateAnnotatedCompilationRequest, {}, {"encoder"}),
        *(
            (model, fields, shipped)
            for model in (ProcessFramingAiRequest, ProcessFramingAiParallelRequest, ProcessMultiClipRequest)
            for fields, shipped in (({}, {"encoder", "upscaler"}), ({"weights_key": OWN}, {"encoder"}))
        ),
    ],
)
def test_a_clip_is_of_the_network_that_ships_unless_it_has_weights_of_its_own(
    model: type[ClipTask], fields: dict[str, Any], shipped: set[str]
) -> None:
    assert set(read(model, **fields).shipped_inputs()) == shipped


def test_pictures_are_of_the_detector_that_ships_unless_they_have_weights_of_their_own() -> None:
    asked = {**NAMES, "source_key": KEY, "timestamps": [1]}
    assert set(DetectPlayersBatchRequest.model_validate(asked).shipped_inputs()) == {"detector"}
    assert not DetectPlayersBatchRequest.model_validate({**asked, "weights_key": OWN}).shipped_inputs()


@pytest.mark.parametrize(
    ("model", "fields", "read_by_name"),
    [
        (ExtractClipRequest, {}, {"source": KEY}),
        (RenderOverlayRequest, {}, {"source": KEY}),
        (ProcessFramingAiChunkRequest, {"weights_key": OWN}, {"source": KEY, "weights": OWN}),
        (ProcessMultiClipRequest, {"weights_key": OWN}, {"clip 1": KEY, "clip 2": KEY, "weights": OWN}),
        (CreateAnnotatedCompilationRequest, {}, {"clip 1": KEY}),
    ],
)
def test_a_request_names_every_object_that_it_reads(
    model: type[ClipTask], fields: dict[str, Any], read_by_name: dict[str, str]
) -> None:
    assert read(model, **fields).input_keys() == read_by_name


@pytest.mark.parametrize("names", [{"tenant_id": "../up"}, {"clip_id": "a--b"}, {"clip_id": "A b"}])
def test_names_that_could_leave_their_folder_are_refused(names: dict[str, str]) -> None:
    with pytest.raises(BadInput, match=r"is not a valid (tenant|clip) name"):
        framed(**names)


def test_a_wrong_request_reaches_the_caller_of_a_task_as_bad_input() -> None:
    with pytest.raises(BadInput, match="keyframes"):
        find_task("process_framing_ai").parse_request({**NAMES, "source_key": KEY})


@pytest.mark.parametrize("times", [(1.0, 0.5), (1.0, 1.0)])
def test_key_frames_out_of_order_are_refused_with_their_times(times: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match=f"order of time: {times[1]} s follows {times[0]} s"):
        framed(keyframes=[crop(time) for time in times])
    region = {"start_time": 0, "end_time": 3, "keyframes": [light(time) for time in times]}
    with pytest.raises(ValidationError, match=f"order of time: {times[1]} s follows {times[0]} s"):
        read(RenderOverlayRequest, highlight_regions=[region])


def test_key_frames_may_lie_before_the_source_begins() -> None:
    assert framed(keyframes=[crop(-2.5), crop(1)]).keyframes[0].time == -2.5


def test_a_crop_needs_a_key_frame_and_an_area() -> None:
    with pytest.raises(ValidationError, match="keyframes"):
        framed(keyframes=[])
    with pytest.raises(ValidationError, match="width"):
        framed(keyframes=[crop(width=0)])


@pytest.mark.parametrize(
    "fields",
    [
        {"trim_start": 2, "trim_end": 2},
        {"trim_start": 3, "trim_end": 2},
        {"segments": [{"start": 2, "end": 1}]},
    ],
)
def test_a_part_that_ends_before_it_starts_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"it ends at \d.0 s, not after it starts at \d.0 s"):
        framed(**fields)


@pytest.mark.parametrize("end", [1.0, 0.5])
def test_a_part_of_a_compilation_that_ends_before_it_starts_is_refused(end: float) -> None:
    part = {"source_key": KEY, "name": "A", "start": 1.0, "end": end}
    with pytest.raises(ValidationError, match=f"it ends at {end} s, not after it starts at 1.0 s"):
        read(CreateAnnotatedCompilationRequest, clips=[part])


@pytest.mark.parametrize("end", [1.0, 0.5])
def test_a_cut_and_a_region_that_end_before_they_start_are_refused(end: float) -> None:
    with pytest.raises(ValidationError, match=f"it ends at {end} s, not after it starts at 1.0 s"):
        read(ExtractClipRequest, start=1.0, end=end)
    region = {"start_time": 1.0, "end_time": end, "keyframes": [light(0)]}
    with pytest.raises(ValidationError, match=f"it ends at {end} s, not after it starts at 1.0 s"):
        read(RenderOverlayRequest, highlight_regions=[region])


def test_segments_may_touch_but_not_overlap() -> None:
    assert len(framed(segments=[{"start": 0, "end": 1}, {"start": 1, "end": 2}]).segments) == 2
    with pytest.raises(ValidationError, match=r"segment at 0.9 s begins before the one before it ends"):
        framed(segments=[{"start": 0, "end": 1}, {"start": 0.9, "end": 2}])


@pytest.mark.parametrize("speed", [0.09, 10.1, 0, -1, float("nan"), float("inf")])
def test_speeds_outside_a_tenth_to_ten_are_refused(speed: float) -> None:
    with pytest.raises(ValidationError, match="speed"):
        framed(segments=[{"start": 0, "end": 1, "speed": speed}])


@pytest.mark.parametrize(
    ("text", "rate"), [("30", 30), ("30000/1001", Fraction(30000, 1001)), ("12.5", 12.5)]
)
def test_a_rate_is_an_exact_fraction(text: str, rate: Fraction) -> None:
    assert framed(fps=text).rate == rate


@pytest.mark.parametrize("text", ["0.5", "241", "30/0", "fast", "-25", "nan", "", "1e99999999", "9" * 10**6])
def test_a_rate_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="fps"):
        framed(fps=text)


def test_more_pictures_are_looked_at_than_are_drawn() -> None:
    asked = {"tenant_id": "a", "clip_id": "b", "source_key": "a/x.mp4", "timestamps": list(range(2001))}
    with pytest.raises(ValidationError, match="no more than 2000 pictures are drawn: say draw=false"):
        DetectPlayersBatchRequest.model_validate(asked)
    assert DetectPlayersBatchRequest.model_validate({**asked, "draw": False}).timestamps is not None
    assert DetectPlayersBatchRequest.model_validate({**asked, "timestamps": list(range(2000))}).draw


def test_output_sizes_are_even_and_belong_together() -> None:
    with pytest.raises(ValidationError, match="output_width"):
        framed(output_width=811)
    with pytest.raises(ValidationError, match="output_width and output_height belong together"):
        read(CreateAnnotatedCompilationRequest, output_height=None)


def test_a_chunk_has_no_preview() -> None:
    with pytest.raises(ValidationError, match="preview"):
        read(ProcessFramingAiChunkRequest, preview=2)


@pytest.mark.parametrize("rating", [0, 6])
def test_a_rating_is_one_to_five(rating: int) -> None:
    with pytest.raises(ValidationError, match="rating"):
        read(CreateAnnotatedCompilationRequest, clips=[{"source_key": KEY, "name": "A", "rating": rating}])


def test_seconds_are_taken_as_they_are_written() -> None:
    assert exact(0.1) == Fraction(1, 10)
    assert exact(1e-07) == Fraction(1, 10**7)
    assert exact(12345.678) == Fraction(12345678, 1000)


def test_no_clip_is_joined_from_none_or_from_more_than_500() -> None:
    for count in (0, 501):
        with pytest.raises(ValidationError, match="clips"):
            read(ProcessMultiClipRequest, clips=[framing()] * count)
    assert len(read(ProcessMultiClipRequest, clips=[framing()] * 500).clips) == 500

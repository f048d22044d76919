from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any
from unittest.mock import PropertyMock, patch

import pytest

from tests.clips.films import TENANT, Desk
from tests.clips.test_parallel import FanOutDouble, calls, uneven_film
from video_pipeline.clips.foretelling import chunks_that_pay, on_machines
from video_pipeline.clips.intake import FramingSection
from video_pipeline.clips.request import ProcessFramingAiParallelRequest
from video_pipeline.costs.plan import shipped_plan
from video_pipeline.costs.predict import Coefficients, predict
from video_pipeline.worker import TaskContext

_ = calls  # the fixture


def modal_model(rate: Fraction) -> Coefficients:
    """What ships of framing with the network, for clips of a frame rate."""
    (c,) = (c for c in shipped_plan().coefficients if c.task == "process_framing_ai")
    return on_machines(c, rate)


@pytest.fixture
def on_modal():
    """Doubles the compute of a call that runs on Modal, for what asks which backend it is."""
    with patch.object(TaskContext, "compute", new_callable=PropertyMock) as compute:
        compute.return_value = SimpleNamespace(backend="modal")
        yield


@pytest.mark.parametrize(("seconds", "chunks"), [(2, 1), (3, 2), (6, 2), (7, 4), (60, 4)])
def test_without_a_model_a_clip_gets_as_many_chunks_as_the_table_has_for_its_length(
    seconds: int, chunks: int
) -> None:
    assert chunks_that_pay(seconds * 30, Fraction(30), None) == chunks


def test_with_a_model_segments_of_the_clips_own_rate_count() -> None:
    c = modal_model(Fraction(30))
    assert c.segment_frames == 60
    assert chunks_that_pay(240, Fraction(30), c) == 4, "four segments, one for each"
    assert chunks_that_pay(150, Fraction(30), c) == 3, "three segments"
    assert modal_model(Fraction(6)).segment_frames == 12


@pytest.mark.parametrize("wanted", ["auto", None])
def test_auto_and_nothing_are_one_request(wanted: str | None) -> None:
    fields = {
        "tenant_id": TENANT,
        "clip_id": "c",
        "source_key": f"{TENANT}/client/videos/v/video.mp4",
        "keyframes": [{"time": 0, "x": 0, "y": 0, "width": 10, "height": 10}],
    }
    asked = ProcessFramingAiParallelRequest.model_validate({**fields, "num_chunks": wanted})
    assert asked == ProcessFramingAiParallelRequest.model_validate(fields)
    section = FramingSection.model_validate({"keyframes": fields["keyframes"], "num_chunks": wanted})
    assert section.num_chunks is None


@pytest.mark.parametrize("wanted", [0, 65, "many"])
def test_what_is_no_number_of_chunks_is_refused(wanted: Any) -> None:
    with pytest.raises(ValueError, match="num_chunks"):
        FramingSection.model_validate(
            {"keyframes": [{"time": 0, "x": 0, "y": 0, "width": 10, "height": 10}], "num_chunks": wanted}
        )


def test_a_render_on_modal_has_its_prediction_beside_it(desk: Desk, calls: FanOutDouble, on_modal) -> None:
    request = uneven_film(desk)
    result = desk.run("process_framing_ai_parallel", "joined", num_chunks=3, **request)
    c = modal_model(Fraction(6))
    assert result.prediction is not None
    found = predict(c, result.frames, 3)
    assert (result.prediction.seconds, result.prediction.usd) == (found.seconds, found.usd)
    assert result.prediction.chunks == len(result.chunks) == 3
    assert result.prediction.machine == "T4 on Modal"
    assert result.prediction.model_as_of == c.as_of
    again = desk.run("process_framing_ai_parallel", "joined", num_chunks=3, **request)
    assert again.prediction == result.prediction, "the manifest keeps it"


def test_a_render_on_a_machine_nothing_was_measured_on_has_none(desk: Desk, calls: FanOutDouble) -> None:
    assert desk.run("process_framing_ai_parallel", num_chunks=2, **uneven_film(desk)).prediction is None


def test_a_render_that_no_network_enlarges_has_none(desk: Desk, calls: FanOutDouble, on_modal) -> None:
    request = {**uneven_film(desk), "upscale": "never"}
    assert desk.run("process_framing_ai_parallel", num_chunks=2, **request).prediction is None

"""What a person is told of a request that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, ValidationError

from video_pipeline.errors import problems_of
from video_pipeline.strict import StrictModel


class Light(StrictModel):
    radii: tuple[int, ...] = Field(min_length=1)


class Asked(StrictModel):
    lights: tuple[Light, ...] = Field(min_length=1)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"lights": []}, "lights: Tuple should have at least 1 item after validation, not 0"),
        ({"lights": [{"radii": ["wide"]}]}, "lights.0.radii.0: Input should be a valid integer"),
        ({"lights": [{"radii": []}]}, "lights.0.radii: Tuple should have at least 1 item after"),
        ({"lights": [{"radii": [1]}], "lamp": 1}, "lamp: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_item_is_told_and_no_tuple_that_lacks_it(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Asked.model_validate(asked)
    problems = problems_of(caught.value, "request")
    assert problems.startswith(said)
    assert ";" not in problems

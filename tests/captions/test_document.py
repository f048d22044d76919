"""captions.json: what is written is read back, and nothing that contradicts itself is accepted."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from pydantic import ValidationError

from tests.captions.documents import boundary, caption, document
from video_pipeline.captions.document import Boundary, CaptionsDocument


def test_a_document_survives_json_with_exact_times() -> None:
    written = document(caption(1, 3, 8, text="Hello\nworld"), caption(2, 8, 12), rate=Fraction(30000, 1001))
    assert CaptionsDocument.model_validate_json(written.model_dump_json()) == written


def test_the_json_holds_times_exactly_and_as_numbers_for_people() -> None:
    plain = json.loads(document(caption(1, 13, 20)).model_dump_json())["captions"][0]
    assert (plain["start"]["exact"], plain["start"]["seconds"]) == ("13/10", 1.3)
    assert plain["confidence"] == 0.9


def test_a_derived_field_that_was_edited_by_hand_does_not_win() -> None:
    plain = json.loads(boundary(Fraction(1, 2)).model_dump_json()) | {"seconds": 99.0}
    assert Boundary.model_validate(plain).seconds == 0.5


def test_no_captions_at_all_are_a_valid_document() -> None:
    assert document().captions == ()


@pytest.mark.parametrize(
    "captions",
    [
        (caption(2, 0, 3),),
        (caption(1, 0, 5), caption(2, 4, 8)),
        (caption(1, 5, 5),),
        (caption(1, 0, 10**6),),
    ],
    ids=["numbers with a gap", "overlapping", "empty", "beyond the video"],
)
def test_captions_that_contradict_each_other_are_refused(captions: tuple) -> None:
    with pytest.raises(ValidationError):
        document(*captions)


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="confidense"):
        Boundary.model_validate(json.loads(boundary(Fraction(1)).model_dump_json()) | {"confidense": 1})

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
        (caption(1, 0, 5), caption(3, 6, 8)),
        (caption(1, 0, 5, end=boundary(Fraction(7, 10))), caption(2, 6, 8)),
        (caption(1, 0, 5, start=boundary(Fraction(1, 2))),),
    ],
    ids=[
        "numbers that begin late",
        "overlapping",
        "empty",
        "beyond the video",
        "numbers with a gap",
        "times that overlap",
        "a time of nothing",
    ],
)
def test_captions_that_contradict_each_other_are_refused(captions: tuple) -> None:
    with pytest.raises(ValidationError):
        document(*captions)


def test_captions_may_touch_and_end_with_the_video() -> None:
    assert len(document(caption(1, 0, 5), caption(2, 5, 600)).captions) == 2


def test_a_caption_is_as_sure_as_its_less_certain_end() -> None:
    for start, end in ((0.3, 0.8), (0.8, 0.3)):
        first, last = boundary(Fraction(0), confidence=start), boundary(Fraction(1), confidence=end)
        assert caption(1, 0, 10, start=first, end=last).confidence == 0.3


@pytest.mark.parametrize("confidence", [-0.01, 1.01, float("nan")])
def test_a_confidence_that_is_no_probability_is_refused(confidence: float) -> None:
    with pytest.raises(ValidationError):
        boundary(Fraction(1), confidence=confidence)


def test_a_sample_is_shown_at_its_place_after_the_first_picture() -> None:
    made = document(rate=Fraction(30000, 1001), first_picture=Fraction(2, 5))
    assert made.sample_time(0) == Fraction(2, 5)
    assert made.sample_time(30) == Fraction(2, 5) + Fraction(1001, 1000)


def test_a_document_of_another_schema_is_refused() -> None:
    plain = json.loads(document().model_dump_json()) | {"schema_version": 2}
    with pytest.raises(ValidationError, match="schema_version"):
        CaptionsDocument.model_validate(plain)


def test_a_document_cannot_be_changed_by_accident() -> None:
    made = caption(1, 0, 10, text="Hello")
    with pytest.raises(ValidationError, match="frozen"):
        made.text = "Goodbye"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="confidense"):
        Boundary.model_validate(json.loads(boundary(Fraction(1)).model_dump_json()) | {"confidense": 1})

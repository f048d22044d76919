"""What every model on the wire has in common."""

from __future__ import annotations

from fractions import Fraction

import pytest
from pydantic import ValidationError

from video_pipeline.strict import StrictModel, fraction_of


class Ask(StrictModel):
    rate: int = 1


def test_a_misspelt_field_is_refused_and_an_instance_does_not_change() -> None:
    with pytest.raises(ValidationError, match="rat"):
        Ask.model_validate({"rat": 2})
    ask = Ask(rate=2)
    with pytest.raises(ValidationError, match="frozen"):
        ask.rate = 3  # pyright: ignore[reportAttributeAccessIssue]
    # So it can be a key, as where requests are told apart.
    assert hash(ask) == hash(Ask(rate=2))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("30", Fraction(30)),
        (" 29.97 ", Fraction(2997, 100)),
        ("30000/1001", Fraction(30000, 1001)),
        ("-1.5", Fraction(-3, 2)),
        ("9" * 20, Fraction(int("9" * 20))),
    ],
)
def test_a_fraction_is_read_as_people_write_it(text: str, value: Fraction) -> None:
    assert fraction_of(text) == value


@pytest.mark.parametrize(
    "text", ["", "1e99999999", "1/2/3", "1.", ".5", "nan", "inf", "0x10", "1/0", "9" * 21, "1/" + "9" * 21]
)
def test_what_is_no_fraction_or_would_take_for_ever_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fraction"):
        fraction_of(text)

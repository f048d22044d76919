"""The base of everything that is JSON on the wire.

Belongs here: what every such model shares. Does not belong here: any model.
"""

from __future__ import annotations

import re
from fractions import Fraction

from pydantic import BaseModel, ConfigDict

_FRACTION = re.compile(r"\s*[+-]?\d{1,20}(\.\d{1,20}|/\d{1,20})?\s*")


class StrictModel(BaseModel):
    """Unknown fields are refused: a misspelt option must not become a default. Instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def fraction_of(text: str) -> Fraction:
    """The fraction that people write as "30", "29.97" or "30000/1001". ValueError for anything else.

    `Fraction` takes exponents too, and would work on "1e99999999" for hours."""
    if not _FRACTION.fullmatch(text):
        raise ValueError("no number and no fraction such as '30000/1001'")
    try:
        return Fraction(text)
    except ZeroDivisionError:
        raise ValueError("a fraction over zero") from None

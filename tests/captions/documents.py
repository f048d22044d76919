"""Small captions.json documents for tests."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from video_pipeline.captions.document import Boundary, Caption, CaptionsDocument, Strip


def boundary(seconds: Fraction, *, confidence: float = 0.9, **fields: Any) -> Boundary:
    """A boundary beside an empty strip, known to a tenth of a second."""
    known = {"resolution": Fraction(1, 10), "pts": None, "beside": "empty"} | fields
    return Boundary(exact=seconds, confidence=confidence, **known)


def caption(
    number: int,
    first: int,
    end: int,
    /,
    *,
    rate: Fraction = Fraction(10),
    text: str | None = None,
    **fields: Any,
) -> Caption:
    """A caption over samples first .. end - 1."""
    ends: dict[str, Any] = {"start": boundary(first / rate), "end": boundary(end / rate)} | fields
    return Caption(number=number, first_frame=first, end_frame=end, text=text, **ends)


def document(
    *captions: Caption, rate: Fraction = Fraction(10), frame_count: int = 600, **fields: Any
) -> CaptionsDocument:
    """A video of 1280x720 whose strip is 1280x160 at the bottom."""
    known: dict[str, Any] = {
        "tenant": "demo",
        "video": "street",
        "source_key": "demo/client/videos/street/video.mp4",
        "source_version": "v1",
        "frames_recipe": "0" * 16,
        "extents_recipe": "1" * 16,
        "text_recipe": "2" * 16,
        "frame_rate": rate,
        "frame_count": frame_count,
        "time_base": Fraction(1, 12800),
        "first_picture": Fraction(0),
        "strip": Strip(left=0, top=560, width=1280, height=160, display_width=1280, display_height=720),
        "ocr": None,
        "captions": captions,
    }
    return CaptionsDocument(**(known | fields))

"""What requests of the clip suite are made of: numbers with bounds, exact times, whose the clip is.

Belongs here: types of fields, and what every request, or every render, has. Does not belong here: any task's
own request (`request.py`, `detect_request.py`). Pure pydantic.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from video_pipeline.keys import check_key, check_name
from video_pipeline.media.h264 import ENCODER_VERSION
from video_pipeline.strict import StrictModel, fraction_of

Interpolation = Literal["linear", "monotone_cubic"]
Effect = Literal["dark_overlay", "brightness_boost", "original"]
Transition = Literal["cut", "fade", "dissolve"]
Preset = Literal[
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"
]

MAX_SIDE = 8192
MAX_CLIPS = 500
MAX_KEYFRAMES = 10_000


def exact(seconds: float) -> Fraction:
    """The number a person wrote: 0.1 is one tenth, not the nearest binary float."""
    return Fraction(repr(seconds))


BEYOND_END = Fraction(1, 10)
"""Seconds by which a wanted end may pass the source's: editors round durations. More is a mistake."""

MAX_TICKS = 1_000_000
"""The largest numerator of a frame rate: it becomes the file's time scale."""


def _rate(text: str) -> str:
    try:
        value = fraction_of(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no frame rate: write 30, 29.97 as 30000/1001") from None
    if not 1 <= value <= 240:
        raise ValueError(f"{text} frames per second is not between 1 and 240")
    # 29.97 and 23.976023976 are how people write n x 1000/1001, the rates of NTSC.
    meant = Fraction(round(value * 1001 / 1000) * 1000, 1001)
    if abs(value - meant) < meant / 100_000:
        value = meant
    if value.numerator > MAX_TICKS:
        raise ValueError(f"{text} is too fine a frame rate: write it as a simple fraction, as 30000/1001")
    return str(value)


# Strict: `true` is not one second. Whole numbers are numbers too.
Seconds = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False, strict=True)]
Moment = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False, strict=True)]
"""Seconds that may lie before a source begins: a key frame there still shapes what follows."""
Coordinate = Annotated[float, Field(ge=-1e5, le=1e5, allow_inf_nan=False, strict=True)]
Length = Annotated[float, Field(gt=0, le=1e5, allow_inf_nan=False, strict=True)]
Rate = Annotated[str, AfterValidator(_rate)]
"""Frames per second as a fraction: "30", "30000/1001"."""


class Size(StrictModel):
    width: int = Field(ge=1, le=1 << 16)
    height: int = Field(ge=1, le=1 << 16)


class Encoding(StrictModel):
    """Settings of libx264: constant quality (1 best .. 51) and preset. 18 looks like the original."""

    crf: float = Field(default=18.0, ge=1, le=51)
    preset: Preset = "medium"


class ClipTask(StrictModel):
    """What every request of the suite names: whose it is, and under which clip its objects lie."""

    tenant_id: str
    clip_id: str

    @model_validator(mode="after")
    def _names_and_keys_are_clean(self) -> ClipTask:
        check_name("tenant", self.tenant_id)
        check_name("clip", self.clip_id)
        for key in self.input_keys().values():
            check_key(key, tenant=self.tenant_id)
        return self

    def input_keys(self) -> dict[str, str]:
        """Every object the task reads, by what it is."""
        return {}


class Render(ClipTask):
    """What every rendering task takes. With `preview`, that many frames are rendered as PNG, spread over the
    clip, and nothing else is made: the answer says how long the clip will be."""

    encoding: Encoding = Encoding()
    preview: int | None = Field(default=None, ge=1, le=64)

    def shipped_inputs(self) -> dict[str, str]:
        """Inputs that ship with the code: another version of one gives another clip."""
        return {"encoder": str(ENCODER_VERSION)}


def ordered(start: float, end: float) -> None:
    if end <= start:
        raise ValueError(f"it ends at {end} s, not after it starts at {start} s")


def ascending(times: list[float]) -> None:
    for before, after in itertools.pairwise(times):
        if after <= before:
            raise ValueError(f"key frames stand in order of time: {after} s follows {before} s")

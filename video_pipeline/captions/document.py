"""captions.json: the captions of one video, as editors, players and the review page read them.

Belongs here: the schema and what must hold within it. Does not belong here: finding captions (`extents`),
reading them (`reading`), other file formats (`subtitles`, `review`). Pure pydantic.

Times are seconds on the movie timeline (the clock a player shows), each as an exact fraction (a string such
as "1001/300") and as a float for those who do not need it exact. Frames are sample numbers: sample k is the
picture presented at k / frame_rate after the first. All ranges are half-open: a caption is on screen from
`start` up to, and not including, `end`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    computed_field,
    model_validator,
)

SCHEMA_VERSION = 1

Exact = Annotated[
    Fraction,
    BeforeValidator(lambda value: Fraction(value) if isinstance(value, int | str) else value),
    PlainSerializer(str, return_type=str),
]
"""A fraction; a string such as "13/10" in JSON."""

Edge = Literal["empty", "other_caption", "video_edge"]
"""What lies on the other side of a boundary: no caption, another caption, or the video's start or end."""

Unread = Literal["no_ocr", "script_not_readable", "nothing_recognised"]
"""Why a caption has no text: extra `ocr` not installed, a script the recogniser does not know, or no text."""


class _Strict(BaseModel):
    """Unknown fields are refused; derived ones (`seconds`, `confidence`) are recomputed on reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_derived(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if name not in cls.model_computed_fields}


class Boundary(_Strict):
    """One end of a caption.

    `exact` is the presentation time of the first picture that shows the caption (a start) or no longer shows
    it (an end). The true change lies in (exact - resolution, exact]: `resolution` is the distance to the
    picture before it that was looked at, 1 / frame_rate or less. `pts` is that first picture's timestamp in
    the source's time base, or None where no such picture was looked at. `confidence` is the calibrated
    probability, 0..1, that the boundary is at this sample.
    """

    exact: Exact
    resolution: Exact
    pts: int | None
    confidence: float = Field(ge=0, le=1)
    beside: Edge

    @computed_field
    @property
    def seconds(self) -> float:
        return float(self.exact)


class Caption(_Strict):
    """One caption: what stands on the screen unchanged over the samples `first_frame` .. `end_frame` - 1.

    `text` has its lines joined by "\\n". `text_confidence` is the recogniser's own, 0..1, lowest line.
    `unread` says why there is no text. `script` is the writing found, an ISO 15924 code such as "Latn",
    where it was recognised.
    """

    number: int = Field(ge=1)
    first_frame: int = Field(ge=0)
    end_frame: int = Field(ge=1)
    start: Boundary
    end: Boundary
    text: str | None = None
    text_confidence: float | None = Field(default=None, ge=0, le=1)
    script: str | None = None
    unread: Unread | None = None
    ocr_calls: int = Field(default=0, ge=0)

    @computed_field
    @property
    def confidence(self) -> float:
        """Of the less certain boundary."""
        return min(self.start.confidence, self.end.confidence)


class Strip(_Strict):
    """The crop region in pixels of the displayed picture."""

    left: int
    top: int
    width: int
    height: int
    display_width: int
    display_height: int


class CaptionsDocument(_Strict):
    """The whole file. Captions are in order of time and do not overlap; numbers count from 1."""

    schema_version: Literal[1] = SCHEMA_VERSION
    tenant: str
    video: str
    source_key: str
    source_version: str
    frames_recipe: str
    extents_recipe: str
    text_recipe: str
    frame_rate: Exact
    frame_count: int = Field(ge=0)
    time_base: Exact
    first_picture: Exact
    """Movie time of sample 0, seconds."""
    strip: Strip
    ocr: str | None
    """The recogniser and its version, or None."""
    captions: tuple[Caption, ...]
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _captions_are_in_order(self) -> CaptionsDocument:
        end, clock = 0, None
        for number, caption in enumerate(self.captions, 1):
            if caption.number != number:
                raise ValueError(f"caption {caption.number} stands where {number} belongs")
            if not end <= caption.first_frame < caption.end_frame <= self.frame_count:
                raise ValueError(f"the frames of caption {number} overlap another's or leave the video")
            start, before = caption.start.exact, clock
            clock = caption.end.exact
            if start >= clock or (before is not None and start < before):
                raise ValueError(f"the times of caption {number} overlap another's or are empty")
            end = caption.end_frame
        return self

    def sample_time(self, frame: int) -> Fraction:
        """Movie time of a sample, seconds."""
        return self.first_picture + frame / self.frame_rate

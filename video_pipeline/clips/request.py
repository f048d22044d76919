"""What one asks of the clip tasks: JSON on the wire, strict models in code.

Belongs here: requests of rendering tasks and what some of them share. Does not belong here: what all of them
are made of (`request_base.py`), results (`result.py`), frame arithmetic (`timeline.py`), media. Pure
pydantic.

Times are seconds of the *source's* timeline, what a player shows while the source plays, so that trimming a
clip again moves no crop and no spotlight. Positions are pixels of the displayed source picture, or of
`reference_size` if that is given: boxes found in a smaller copy of the video keep their place.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from video_pipeline.clips.request_base import (
    MAX_CLIPS,
    MAX_KEYFRAMES,
    MAX_SIDE,
    Coordinate,
    Effect,
    Interpolation,
    Length,
    Moment,
    Rate,
    Render,
    Seconds,
    Size,
    Transition,
    ascending,
    ordered,
)
from video_pipeline.models.shipped import UPSCALER_WEIGHTS, shipped_sha256
from video_pipeline.strict import StrictModel

# Cutting


class Cut(StrictModel):
    """A part of a source. `accurate` begins at the picture shown at `start`, and is encoded again; `copy`
    copies packets, so it begins at the key frame before, and the answer says where that is."""

    source_key: str
    start: Seconds
    end: Seconds
    mode: Literal["accurate", "copy"] = "accurate"

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Cut:
        ordered(self.start, self.end)
        return self


class ExtractClipRequest(Render, Cut):
    def input_keys(self) -> dict[str, str]:
        return {"source": self.source_key}


# Spotlights


class HighlightKeyframe(StrictModel):
    """An ellipse at a moment: its centre and radii in pixels, and how much of the effect there is."""

    time: Moment
    x: Coordinate
    y: Coordinate
    radius_x: Length
    radius_y: Length
    opacity: float = Field(default=1.0, ge=0, le=1)


class HighlightRegion(StrictModel):
    """One spotlight, lit for `start_time <= t < end_time`. It stands still before its first and after its
    last key frame."""

    start_time: Moment
    end_time: Moment
    keyframes: tuple[HighlightKeyframe, ...] = Field(min_length=1, max_length=MAX_KEYFRAMES)

    @model_validator(mode="after")
    def _in_order(self) -> HighlightRegion:
        ordered(self.start_time, self.end_time)
        ascending([keyframe.time for keyframe in self.keyframes])
        return self


class SpotlightSettings(StrictModel):
    """Elliptical spotlights over a clip. `strength` is how much light is taken outside (dark_overlay) or
    gained inside (brightness_boost); `feather` the part of the radius, outwards, over which the edge falls
    off; `fade_out` the seconds in which a region goes out before its end. `original` changes no picture.
    No regions: the source is copied, not encoded again."""

    highlight_regions: tuple[HighlightRegion, ...] = Field(default=(), max_length=256)
    effect_type: Effect = "dark_overlay"
    strength: float = Field(default=0.6, ge=0, le=1)
    feather: float = Field(default=0.25, ge=0, le=1)
    fade_out: Seconds = 0.5
    interpolation: Interpolation = "monotone_cubic"
    reference_size: Size | None = None


class RenderOverlayRequest(Render, SpotlightSettings):
    source_key: str

    def input_keys(self) -> dict[str, str]:
        return {"source": self.source_key}


# Framing

SLOWEST, FASTEST = 0.1, 10.0


class CropKeyframe(StrictModel):
    """The part of the picture that is shown at a moment: left and top edge, width and height in pixels."""

    time: Moment
    x: Coordinate
    y: Coordinate
    width: Length
    height: Length


class Segment(StrictModel):
    """A part that plays at another speed (0.5 is slow motion), or with `keep` false is left out."""

    start: Moment
    end: Moment
    speed: float = Field(default=1.0, ge=SLOWEST, le=FASTEST, allow_inf_nan=False)
    keep: bool = True

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Segment:
        ordered(self.start, self.end)
        return self


class FramingSettings(StrictModel):
    """How one clip is re-framed: what is kept of the source between `trim_start` and `trim_end`, how fast its
    segments play (at normal speed elsewhere), and where the crop stands over time."""

    keyframes: tuple[CropKeyframe, ...] = Field(min_length=1, max_length=MAX_KEYFRAMES)
    interpolation: Interpolation = "monotone_cubic"
    reference_size: Size | None = None
    trim_start: Seconds | None = None
    trim_end: Seconds | None = None
    segments: tuple[Segment, ...] = Field(default=(), max_length=1000)

    @model_validator(mode="after")
    def _in_order(self) -> FramingSettings:
        ascending([keyframe.time for keyframe in self.keyframes])
        for before, after in itertools.pairwise(self.segments):
            if after.start < before.end:
                raise ValueError(f"the segment at {after.start} s begins before the one before it ends")
        if self.trim_start is not None and self.trim_end is not None:
            ordered(self.trim_start, self.trim_end)
        return self


class Framing(FramingSettings):
    """One clip of the store, re-framed."""

    source_key: str


class FramedOutput(StrictModel):
    """The picture that comes out, and the network that enlarges: `auto` where the crop has fewer pixels than
    the output, `never` for a plain resize. `weights_key` names a checkpoint of one's own in the store.
    `precision` is for GPUs, where `auto` computes in float16; a checkpoint whose values pass its range needs
    `full`, which is float32."""

    output_width: int = Field(default=810, ge=16, le=MAX_SIDE, multiple_of=2)
    output_height: int = Field(default=1440, ge=16, le=MAX_SIDE, multiple_of=2)
    fps: Rate = "30"
    upscale: Literal["auto", "never"] = "auto"
    weights_key: str | None = None
    precision: Literal["auto", "full"] = "auto"

    def weights(self) -> dict[str, str]:
        """The shipped network by its hash, unless the request names its own."""
        return {} if self.weights_key is not None else {"upscaler": shipped_sha256(UPSCALER_WEIGHTS)}

    @property
    def rate(self) -> Fraction:
        return Fraction(self.fps)


class ProcessFramingAiRequest(Render, FramedOutput, Framing):
    def input_keys(self) -> dict[str, str]:
        return _keys({"source": self.source_key, "weights": self.weights_key})

    def shipped_inputs(self) -> dict[str, str]:
        return super().shipped_inputs() | self.weights()


class ProcessFramingAiChunkRequest(ProcessFramingAiRequest):
    """Output frames `start_frame` to `end_frame` (half-open, on segment borders) of what the whole request
    gives, as a part: no sound, no clip of its own."""

    start_frame: int = Field(ge=0)
    end_frame: int = Field(ge=1)
    preview: None = None


NumChunks = Annotated[
    Annotated[int, Field(ge=1, le=64)] | Literal["auto"] | None,
    AfterValidator(lambda value: None if value == "auto" else value),
]
"""In how many calls; "auto" and None are one: as many as the cost model says pay."""


class ProcessFramingAiParallelRequest(ProcessFramingAiRequest):
    """The same clip in `num_chunks` calls side by side."""

    num_chunks: NumChunks = None


# Joining


class JoinSettings(StrictModel):
    """How clips follow each other. `transition_seconds` is how long a dissolve overlaps, or how long a fade
    takes through black."""

    transition: Transition = "cut"
    transition_seconds: float = Field(default=0.5, gt=0, le=10)


class ProcessMultiClipRequest(Render, FramedOutput, JoinSettings):
    """Clips re-framed and joined: one load of the network, one frame rate."""

    clips: tuple[Framing, ...] = Field(min_length=1, max_length=MAX_CLIPS)

    def input_keys(self) -> dict[str, str]:
        clips = {f"clip {number}": clip.source_key for number, clip in enumerate(self.clips, 1)}
        return _keys({**clips, "weights": self.weights_key})

    def shipped_inputs(self) -> dict[str, str]:
        return super().shipped_inputs() | self.weights()


class Annotations(StrictModel):
    """What is written over a clip of a compilation, which is whole or from `start` to `end`. Ratings are 1 to
    5, shown as in annotated games of chess: ?? ? !? ! !!"""

    start: Seconds | None = None
    end: Seconds | None = None
    name: str = Field(min_length=1, max_length=500)
    notes: str = Field(default="", max_length=5000)
    rating: int | None = Field(default=None, ge=1, le=5)
    tags: tuple[str, ...] = Field(default=(), max_length=50)

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Annotations:
        if self.start is not None and self.end is not None:
            ordered(self.start, self.end)
        return self


class AnnotatedClip(Annotations):
    """A clip of a compilation, and what is written over it."""

    source_key: str


class CompilationSettings(JoinSettings):
    """How a compilation looks. Size and rate are the first clip's if not given; other shapes are fitted
    inside, with black beside. `annotation_seconds`: how long an annotation is shown from its clip's
    beginning; None: as long as the clip."""

    output_width: int | None = Field(default=None, ge=16, le=MAX_SIDE, multiple_of=2)
    output_height: int | None = Field(default=None, ge=16, le=MAX_SIDE, multiple_of=2)
    fps: Rate | None = None
    annotation_seconds: float | None = Field(default=None, gt=0, le=36_000, allow_inf_nan=False)

    @model_validator(mode="after")
    def _a_size_has_two_sides(self) -> CompilationSettings:
        if (self.output_width is None) != (self.output_height is None):
            raise ValueError("output_width and output_height belong together")
        return self


class CreateAnnotatedCompilationRequest(Render, CompilationSettings):
    """Clips one after the other, each with its annotation."""

    clips: tuple[AnnotatedClip, ...] = Field(min_length=1, max_length=MAX_CLIPS)

    def input_keys(self) -> dict[str, str]:
        return {f"clip {number}": clip.source_key for number, clip in enumerate(self.clips, 1)}


def _keys(named: dict[str, str | None]) -> dict[str, str]:
    return {name: key for name, key in named.items() if key is not None}

"""What the rendering tasks answer: JSON on the wire.

Belongs here: results and the manifest that names a clip's objects. Does not belong here: requests, and what
detection answers (`detect_request.py`). Pure pydantic.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from video_pipeline.strict import StrictModel


class RenderPrediction(StrictModel):
    """What the cost model said of a render before it began: wall seconds and US dollars with 95 % intervals
    of a single run, None where it has none. `machine` is what it holds for, `basis` where its coefficients
    come from and what they are of; `notes` say what lies outside of what was measured."""

    seconds: float
    low: float | None
    high: float | None
    usd: float | None
    usd_low: float | None
    usd_high: float | None
    chunks: int
    machine: str
    basis: str
    model_as_of: str
    notes: tuple[str, ...] = ()


class RenderResult(StrictModel):
    """A finished clip, or its preview.

    `start_seconds` is the source time of its first picture, where a clip is one part of one source.
    `enlarged_frames` went through the network. `made` is false where the same clip was there already.
    `phases` are wall seconds of kinds of work, which overlap; `ms_per_frame` is the whole call over its
    frames. `degraded` lists what was done other than asked, `notes` what else is worth knowing.
    """

    kind: str
    recipe: str
    width: int
    height: int
    frame_rate: str
    """Frames per second as a fraction; the average where the source's own times were kept."""

    frames: int
    duration_seconds: float
    output_key: str | None = None
    picture_key: str | None = None
    """Before and after, side by side."""

    preview_keys: tuple[str, ...] = ()
    preview_seconds: tuple[float, ...] = ()
    """When in the clip each preview frame is shown."""

    manifest_key: str | None = None
    start_seconds: float | None = None
    made_of: str | None = None
    """The key of the source, where a clip is made of one."""

    size_bytes: int | None = None
    sha256: str | None = None
    av_offset_ms: float | None = None
    audio_seconds: float | None = None
    copied: bool = False
    """Packets were copied, nothing was encoded."""

    enlarged_frames: int = 0
    model_sha256: str | None = None
    chunks: tuple[ChunkRow, ...] = ()
    prediction: RenderPrediction | None = None
    """What was foretold of this render on the machines it ran on; of a preview, of the render to come."""

    not_foretold: str | None = None
    """Of a preview, why its cost on the backend in use is not foretold."""

    made: bool = True
    phases: dict[str, float] = Field(default_factory=dict)
    ms_per_frame: float | None = None
    notes: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()

    def output_keys(self) -> list[str]:
        named = (self.output_key, self.picture_key, self.manifest_key)
        return [*(key for key in named if key is not None), *self.preview_keys]


class ChunkRow(StrictModel):
    """One call of a parallel render: its half-open range of output frames."""

    start_frame: int
    end_frame: int
    call: str
    seconds: float
    attempt: int


class ChunkResult(StrictModel):
    """A part of a clip: the frames it holds, in order, and where it lies until the clip is joined."""

    part_key: str
    start_frame: int
    end_frame: int
    frames: int
    sha256: str
    size_bytes: int
    enlarged_frames: int
    model_sha256: str | None
    phases: dict[str, float] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()

    def output_keys(self) -> list[str]:
        return [self.part_key]


class ClipObject(StrictModel):
    key: str
    size: int
    sha256: str


class ClipManifest(StrictModel):
    """`manifest.json` of a clip: written last; without it the clip does not exist."""

    schema_version: Literal[1] = 1
    kind: str
    tenant: str
    clip: str
    recipe: str
    sources: dict[str, str]
    """Store version by key."""

    objects: tuple[ClipObject, ...]
    result: RenderResult


RenderResult.model_rebuild()

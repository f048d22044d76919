"""A clip's request in the store: what a person or an editor wants of one partition.

Belongs here: its form, putting it there, and turning it into the requests of tasks. Does not belong here:
running them.

Times in `request.json` are seconds of the source video throughout, also for what is done to the cut clip:
they are moved to its own timeline here, so cutting it again moves no crop and no spotlight off its place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from video_pipeline import keys
from video_pipeline.clips.current import Stage, current_renders
from video_pipeline.clips.detect_request import DetectionRate, DetectPlayersBatchRequest
from video_pipeline.clips.request import (
    MAX_CLIPS,
    MAX_SIDE,
    Annotations,
    CreateAnnotatedCompilationRequest,
    Encoding,
    ExtractClipRequest,
    FramedOutput,
    FramingSettings,
    NumChunks,
    ProcessFramingAiParallelRequest,
    ProcessMultiClipRequest,
    Rate,
    RenderOverlayRequest,
    Seconds,
    SpotlightSettings,
    Transition,
    exact,
)
from video_pipeline.errors import BadInput, problems_of
from video_pipeline.keys import ClipId, check_key, check_name
from video_pipeline.store.base import ObjectMissing, ObjectStore
from video_pipeline.strict import StrictModel

RequestT = TypeVar("RequestT", bound=BaseModel)

EARLY = Fraction(1, 20)
"""Seconds before a clip's first picture that still mean it: a rounded number, or a frame."""

FINISHED: tuple[Stage, ...] = ("framed_clip", "multi_clip", "overlay_clip", "clip")
"""Which render of another clip is taken where a request names it: the furthest there is."""


class PlayersSection(StrictModel):
    """Where people are looked for: at `timestamps` (source seconds), or `rate` times a second."""

    timestamps: tuple[Seconds, ...] | None = Field(default=None, min_length=1)
    rate: DetectionRate | None = None
    min_confidence: float = Field(default=0.5, ge=0, le=1)
    draw: bool = True
    weights_key: str | None = None


class FramingSection(FramedOutput, FramingSettings):
    """How the clip is re-framed, and in how many calls."""

    num_chunks: NumChunks = None


class _NamedSource(StrictModel):
    """A video of the store by key, or another clip of the tenant by name: its furthest render is taken."""

    source_key: str | None = None
    clip: str | None = None

    @model_validator(mode="after")
    def _names_one(self) -> _NamedSource:
        if (self.source_key is None) == (self.clip is None):
            raise ValueError("name either source_key or clip")
        if self.clip is not None:
            check_name("clip", self.clip)
        return self


class MultiClipItem(FramingSettings, _NamedSource):
    """A clip to be framed and joined."""


class MultiClipSection(FramedOutput):
    clips: tuple[MultiClipItem, ...] = Field(min_length=1, max_length=MAX_CLIPS)
    transition: Transition = "cut"
    transition_seconds: float = Field(default=0.5, gt=0, le=10)


class CompilationItem(Annotations, _NamedSource):
    """A clip and what is written over it."""


class CompilationSection(StrictModel):
    clips: tuple[CompilationItem, ...] = Field(min_length=1, max_length=MAX_CLIPS)
    transition: Transition = "cut"
    transition_seconds: float = Field(default=0.5, gt=0, le=10)
    output_width: int | None = Field(default=None, ge=16, le=MAX_SIDE, multiple_of=2)
    output_height: int | None = Field(default=None, ge=16, le=MAX_SIDE, multiple_of=2)
    fps: Rate | None = None
    annotation_seconds: float | None = Field(default=None, gt=0, le=36_000, allow_inf_nan=False)

    @model_validator(mode="after")
    def _a_size_has_two_sides(self) -> CompilationSection:
        if (self.output_width is None) != (self.output_height is None):
            raise ValueError("output_width and output_height belong together")
        return self


class ClipRequest(StrictModel):
    """`request.json` of a clip. `source_key` with `start` and `end` says what is cut; each further section
    asks for one asset: `players`, `overlay`, `framing`, `multi_clip`, `compilation`."""

    source_key: str | None = None
    start: Seconds | None = None
    end: Seconds | None = None
    mode: Literal["accurate", "copy"] = "accurate"
    encoding: Encoding = Encoding()
    players: PlayersSection | None = None
    overlay: SpotlightSettings | None = None
    framing: FramingSection | None = None
    multi_clip: MultiClipSection | None = None
    compilation: CompilationSection | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> ClipRequest:
        of_the_cut = (self.players, self.overlay, self.framing, self.start, self.end)
        if self.source_key is None:
            if any(part is not None for part in of_the_cut):
                raise ValueError("start, end, players, overlay and framing need a source_key")
            if self.multi_clip is None and self.compilation is None:
                raise ValueError("name a source_key, multi_clip or compilation")
        elif self.start is None or self.end is None:
            raise ValueError("a source_key needs start and end")
        return self


def load_clip_request(store: ObjectStore, clip: ClipId) -> ClipRequest:
    """BadInput that names the object if it is missing or wrong."""
    key = keys.clip_request_key(clip)
    name = f"{store.uri}/{key}"
    try:
        return _checked(clip, json.loads(store.get(key)), name)
    except ObjectMissing:
        raise BadInput(
            f"the clip {clip.partition_key} has no request",
            input=name,
            what_to_do="put one there: video-pipeline add-clip",
        ) from None
    except (ValueError, RecursionError) as error:  # the latter for brackets within brackets without end
        raise BadInput(
            f"the clip's request is no JSON: {error}", input=name, what_to_do="write it again."
        ) from None


def add_clip(store: ObjectStore, clip: ClipId, data: Mapping[str, Any]) -> str:
    """Validate a request and store it; its key."""
    asked = _checked(clip, data, clip.partition_key)
    key = keys.clip_request_key(clip)
    text = json.dumps(asked.model_dump(mode="json", exclude_defaults=True), indent=2)
    store.put(key, text.encode(), content_type="application/json")
    return key


def _checked(clip: ClipId, data: Any, name: str) -> ClipRequest:
    asked = _model(ClipRequest, data, name)
    items = [
        *(asked.multi_clip.clips if asked.multi_clip else ()),
        *(asked.compilation.clips if asked.compilation else ()),
    ]
    networks = [part.weights_key for part in (asked.players, asked.framing, asked.multi_clip) if part]
    for key in (asked.source_key, *(item.source_key for item in items), *networks):
        if key is not None:
            check_key(key, tenant=clip.tenant)
    return asked


def _model(model: type[RequestT], data: Any, name: str) -> RequestT:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadInput(
            f"the clip's request is not valid: {problems_of(error, 'request')}",
            input=name,
            what_to_do="correct the named fields.",
        ) from None


# Requests of tasks


def extract_request(clip: ClipId, asked: ClipRequest) -> ExtractClipRequest:
    return _task(
        ExtractClipRequest,
        clip,
        {
            "source_key": _needed(asked.source_key, clip, "source_key"),
            "start": asked.start,
            "end": asked.end,
            "mode": asked.mode,
            "encoding": asked.encoding,
        },
    )


def players_request(store: ObjectStore, clip: ClipId, asked: ClipRequest) -> DetectPlayersBatchRequest:
    section = _needed(asked.players, clip, "players")
    cut = current_renders(store, clip).need("clip", clip)
    shift = exact(cut.start_seconds or 0.0)
    fields = section.model_dump(mode="json", exclude_none=True)
    if section.timestamps is not None:
        early = [time for time in section.timestamps if exact(time) < shift - EARLY]
        if early:
            raise BadInput(
                f"people are looked for at {', '.join(map(str, early))} s, before the clip begins at "
                f"{float(shift):.3f} s",
                input=keys.clip_request_key(clip),
                what_to_do="choose times within the clip, in seconds of the source video",
            )
        fields["timestamps"] = [max(0.0, float(exact(time) - shift)) for time in section.timestamps]
    elif section.rate is None:
        fields["rate"] = "1"
    return _task(DetectPlayersBatchRequest, clip, {"source_key": cut.output_key, **fields})


def overlay_request(store: ObjectStore, clip: ClipId, asked: ClipRequest) -> RenderOverlayRequest:
    """Over the cut clip. Without the section there are no regions, and the clip is copied."""
    section = asked.overlay or SpotlightSettings()
    cut = current_renders(store, clip).need("clip", clip)
    fields = _moved(section.model_dump(mode="json"), exact(cut.start_seconds or 0.0))
    return _task(
        RenderOverlayRequest, clip, {**fields, "source_key": cut.output_key, "encoding": asked.encoding}
    )


def framing_request(store: ObjectStore, clip: ClipId, asked: ClipRequest) -> ProcessFramingAiParallelRequest:
    """Of the overlaid clip, or of the cut one where there is no overlay section."""
    section = _needed(asked.framing, clip, "framing")
    renders = current_renders(store, clip)
    cut = renders.need("clip", clip)
    source = renders.fresh("overlay_clip", clip) if asked.overlay is not None else cut
    fields = _moved(section.model_dump(mode="json"), exact(cut.start_seconds or 0.0))
    return _task(
        ProcessFramingAiParallelRequest,
        clip,
        {**fields, "source_key": source.output_key, "encoding": asked.encoding},
    )


def multi_clip_request(store: ObjectStore, clip: ClipId, asked: ClipRequest) -> ProcessMultiClipRequest:
    section = _needed(asked.multi_clip, clip, "multi_clip")
    fields = section.model_dump(mode="json", exclude={"clips"})
    clips = [_resolved(store, clip, item) for item in section.clips]
    return _task(ProcessMultiClipRequest, clip, {**fields, "clips": clips, "encoding": asked.encoding})


def compilation_request(
    store: ObjectStore, clip: ClipId, asked: ClipRequest
) -> CreateAnnotatedCompilationRequest:
    section = _needed(asked.compilation, clip, "compilation")
    fields = section.model_dump(mode="json", exclude={"clips"})
    clips = [_resolved(store, clip, item) for item in section.clips]
    return _task(
        CreateAnnotatedCompilationRequest, clip, {**fields, "clips": clips, "encoding": asked.encoding}
    )


def _resolved(store: ObjectStore, clip: ClipId, item: MultiClipItem | CompilationItem) -> dict[str, Any]:
    """An item with the key of its source."""
    fields = item.model_dump(mode="json", exclude={"clip"})
    if item.clip is not None:
        other = ClipId(clip.tenant, item.clip)
        fields["source_key"] = current_renders(store, other).furthest(FINISHED, other).output_key
    return fields


def _needed(section: Any, clip: ClipId, name: str) -> Any:
    if section is None:
        raise BadInput(
            f"the request of {clip.partition_key} has no {name!r}",
            input=keys.clip_request_key(clip),
            what_to_do=f"add {name} to it, or leave this asset out",
        )
    return section


def _moved(fields: dict[str, Any], shift: Fraction) -> dict[str, Any]:
    """Every time in a section `shift` seconds earlier."""
    names = {"time", "start_time", "end_time", "trim_start", "trim_end", "start", "end"}

    def moved(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: moved(item, key) for key, item in value.items()}
        if isinstance(value, list):
            return [moved(item) for item in value]
        if name in names and isinstance(value, float):
            earlier = float(exact(value) - shift)
            return max(0.0, earlier) if name.startswith("trim_") else earlier
        return value

    return moved(fields)


def _task(model: type[RequestT], clip: ClipId, fields: Mapping[str, Any]) -> RequestT:
    return _model(
        model, {"tenant_id": clip.tenant, "clip_id": clip.clip, **fields}, keys.clip_request_key(clip)
    )

"""What a clip's request asks for as the requests of tasks.

Belongs here: which render a task reads, and moving times to its timeline. Does not belong here: the form of a
clip's request (`intake.py`) and of a task's (`request.py`), running tasks.

Times in `request.json` are seconds of the source video throughout, also for what is done to the cut clip:
they are moved to its own timeline here, so cutting it again moves no crop and no spotlight off its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeVar

from pydantic import BaseModel

from video_pipeline import keys
from video_pipeline.clips.current import CurrentRender, Stage, current_renders
from video_pipeline.clips.detect_request import DetectPlayersBatchRequest
from video_pipeline.clips.intake import (
    ClipRequest,
    CompilationItem,
    FramingSection,
    MultiClipItem,
    PlayersSection,
    checked_model,
)
from video_pipeline.clips.request import (
    CreateAnnotatedCompilationRequest,
    ExtractClipRequest,
    ProcessFramingAiParallelRequest,
    ProcessMultiClipRequest,
    RenderOverlayRequest,
    SpotlightSettings,
)
from video_pipeline.clips.request_base import exact
from video_pipeline.errors import BadInput
from video_pipeline.keys import ClipId
from video_pipeline.store.base import ObjectStore

RequestT = TypeVar("RequestT", bound=BaseModel)

FINISHED: tuple[Stage, ...] = ("framed_clip", "multi_clip", "overlay_clip", "clip")
"""Which render of another clip is taken where a request names it: the furthest there is."""


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
    _within(clip, cut, section)
    fields = section.model_dump(mode="json", exclude_none=True)
    if section.timestamps is not None:
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
    _within(clip, cut, section)
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


def _within(clip: ClipId, cut: CurrentRender, section: PlayersSection | FramingSection) -> None:
    """BadInput, in the times that the request is written in, for a section that the clip as it was cut has no
    pictures for: its task knows only the times of the cut clip."""
    begin = exact(cut.start_seconds or 0.0)
    end = begin + exact(cut.duration_seconds)
    outside = section.outside(begin, end)
    if outside is not None:
        raise BadInput(
            f"{outside}, and the clip goes from {float(begin):.3f} s to {float(end):.3f} s",
            input=keys.clip_request_key(clip),
            what_to_do="choose times within the clip, in seconds of the source video",
        )


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
    return checked_model(
        model, {"tenant_id": clip.tenant, "clip_id": clip.clip, **fields}, keys.clip_request_key(clip)
    )

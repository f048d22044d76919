"""A clip's request in the store: what a person or an editor wants of one partition.

Belongs here: its form, putting it there, reading it. Does not belong here: the requests of tasks that it
becomes (`task_requests.py`), running them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from video_pipeline import keys
from video_pipeline.clips.detect_request import MAX_DRAWN, MAX_FRAMES, DetectionRate, check_chosen
from video_pipeline.clips.request import (
    Annotations,
    CompilationSettings,
    FramedOutput,
    FramingSettings,
    JoinSettings,
    NumChunks,
    SpotlightSettings,
)
from video_pipeline.clips.request_base import BEYOND_END, MAX_CLIPS, Encoding, Seconds, exact, ordered
from video_pipeline.errors import BadInput, problems_of
from video_pipeline.keys import ClipId, check_key, check_name
from video_pipeline.store.base import ObjectMissing, ObjectStore
from video_pipeline.strict import StrictModel

RequestT = TypeVar("RequestT", bound=BaseModel)

EARLY = Fraction(1, 20)
"""Seconds before a clip's first picture that still mean it: a rounded number, or a frame."""


class PlayersSection(StrictModel):
    """Where people are looked for: at `timestamps` (source seconds), or `rate` times a second, which is once
    if neither is given."""

    timestamps: tuple[Seconds, ...] | None = Field(default=None, min_length=1, max_length=MAX_FRAMES)
    rate: DetectionRate | None = None
    min_confidence: float = Field(default=0.5, ge=0, le=1)
    draw: bool = True
    weights_key: str | None = None

    @model_validator(mode="after")
    def _says_which_pictures(self) -> PlayersSection:
        check_chosen(self.timestamps, self.rate, draw=self.draw)
        return self

    def outside(self, begin: Fraction, end: Fraction) -> str | None:
        """What it asks for that a clip of these seconds of the source has not, or too much of it, if
        anything."""
        if self.timestamps is None:
            count = math.ceil((end - begin) * Fraction(self.rate or 1))
            most, drawn = (MAX_DRAWN, "drawn") if self.draw else (MAX_FRAMES, "looked at")
            return f"{count} pictures are asked for, at most {most} are {drawn}" if count > most else None
        wrong = [time for time in self.timestamps if not begin - EARLY <= exact(time) < end]
        return f"people are looked for at {', '.join(map(str, wrong))} s" if wrong else None


class FramingSection(FramedOutput, FramingSettings):
    """How the clip is re-framed, and in how many calls."""

    num_chunks: NumChunks = None

    def outside(self, begin: Fraction, end: Fraction) -> str | None:
        """As of `PlayersSection`. A trim from before the clip means its beginning."""
        if self.trim_start is not None and exact(self.trim_start) >= end:
            return f"trim_start is {self.trim_start} s"
        if self.trim_end is not None and not begin < exact(self.trim_end) <= end + BEYOND_END:
            return f"trim_end is {self.trim_end} s"
        at = begin if self.trim_start is None else max(begin, exact(self.trim_start))
        stop = end if self.trim_end is None else min(end, exact(self.trim_end))
        for segment in self.segments:
            if not segment.keep and exact(segment.start) <= at:
                at = max(at, exact(segment.end))
        return "the segments leave nothing of it" if at >= stop else None


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


class MultiClipSection(FramedOutput, JoinSettings):
    clips: tuple[MultiClipItem, ...] = Field(min_length=1, max_length=MAX_CLIPS)


class CompilationItem(Annotations, _NamedSource):
    """A clip and what is written over it."""


class CompilationSection(CompilationSettings):
    clips: tuple[CompilationItem, ...] = Field(min_length=1, max_length=MAX_CLIPS)


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
        else:
            ordered(self.start, self.end)
            self._sections_lie_within(self.start, self.end)
        return self

    def _sections_lie_within(self, start: float, end: float) -> None:
        if self.mode == "copy":
            return  # where such a clip begins and ends is known when it is there
        for section in (self.players, self.framing):
            outside = section and section.outside(exact(start), exact(end))
            if outside:
                raise ValueError(f"{outside}, and the clip goes from {start} s to {end} s")


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
    asked = checked_model(ClipRequest, data, name)
    items = [
        *(asked.multi_clip.clips if asked.multi_clip else ()),
        *(asked.compilation.clips if asked.compilation else ()),
    ]
    networks = [part.weights_key for part in (asked.players, asked.framing, asked.multi_clip) if part]
    for key in (asked.source_key, *(item.source_key for item in items), *networks):
        if key is not None:
            check_key(key, tenant=clip.tenant)
    return asked


def checked_model(model: type[RequestT], data: Any, name: str) -> RequestT:
    """`data` as `model`. BadInput that names every wrong field, and the input `name`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadInput(
            f"the clip's request is not valid: {problems_of(error, 'request')}",
            input=name,
            what_to_do="correct the named fields.",
        ) from None

"""Which render of each kind is a clip's present one.

Belongs here: `current.json` of a clip, reading it and changing it safely. Does not belong here: rendering, or
what a request asks for. A reader never sees a render that is not whole: the pointer changes last.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import Field, ValidationError

from video_pipeline import keys
from video_pipeline.clips.result import RenderResult
from video_pipeline.errors import BadInput, Transient, problems_of
from video_pipeline.keys import ClipId
from video_pipeline.store.base import ObjectMissing, ObjectStore, PreconditionFailed
from video_pipeline.strict import StrictModel

Stage = Literal["clip", "overlay_clip", "framed_clip", "multi_clip", "annotated_compilation"]

ATTEMPTS = 10


class CurrentRender(StrictModel):
    """One kind's present render."""

    recipe: str
    output_key: str
    manifest_key: str
    start_seconds: float | None
    made_of: str | None = None
    """The key of the source it was made of."""

    frames: int
    duration_seconds: float


class CurrentRenders(StrictModel):
    schema_version: Literal[1] = 1
    renders: dict[Stage, CurrentRender] = Field(default_factory=dict)

    def need(self, stage: Stage, clip: ClipId) -> CurrentRender:
        """BadInput that says which asset to materialise."""
        if stage not in self.renders:
            raise BadInput(
                f"the clip {clip.partition_key} has no {stage} yet",
                input=keys.clip_current_key(clip),
                what_to_do=f"materialise {stage} for this partition first",
            )
        return self.renders[stage]

    def fresh(self, stage: Stage, clip: ClipId) -> CurrentRender:
        """Like `need`; BadInput too where it was made of a cut or an overlay that is not the present one."""
        render = self.need(stage, clip)
        made_from = [self.renders[before].output_key for before in MADE_OF[stage] if before in self.renders]
        if render.made_of is not None and made_from and render.made_of not in made_from:
            raise BadInput(
                f"the {stage} of {clip.partition_key} was made of an earlier {' or '.join(MADE_OF[stage])}",
                input=keys.clip_current_key(clip),
                what_to_do=f"materialise {stage} for this partition again",
            )
        return render

    def furthest(self, stages: tuple[Stage, ...], clip: ClipId) -> CurrentRender:
        """The first of `stages` that there is. BadInput if it is out of date."""
        there: list[Stage] = [stage for stage in stages if stage in self.renders]
        return self.fresh(there[0] if there else stages[-1], clip)


MADE_OF: dict[Stage, tuple[Stage, ...]] = {
    "clip": (),
    "overlay_clip": ("clip",),
    "framed_clip": ("overlay_clip", "clip"),
    "multi_clip": (),
    "annotated_compilation": (),
}
"""Which renders of the same partition each kind is made of."""


def current_renders(store: ObjectStore, clip: ClipId) -> CurrentRenders:
    """BadInput if the pointer is damaged."""
    key = keys.clip_current_key(clip)
    try:
        return _parsed(store.get(key), key)
    except ObjectMissing:
        return CurrentRenders()


def _parsed(data: bytes, key: str) -> CurrentRenders:
    try:
        return CurrentRenders.model_validate_json(data)
    except ValidationError as error:
        raise BadInput(
            f"the clip's pointer is damaged: {problems_of(error, 'file')}",
            input=key,
            what_to_do="delete it, and run the clip's stages again: what is finished is found there",
        ) from None


def set_current(store: ObjectStore, clip: ClipId, stage: Stage, result: RenderResult) -> None:
    """Make a finished render the present one of its kind; others stay. By compare-and-swap, so two that end
    at once are both in it."""
    assert result.output_key is not None
    assert result.manifest_key is not None
    render = CurrentRender(
        recipe=result.recipe,
        output_key=result.output_key,
        manifest_key=result.manifest_key,
        start_seconds=result.start_seconds,
        made_of=result.made_of,
        frames=result.frames,
        duration_seconds=result.duration_seconds,
    )
    key = keys.clip_current_key(clip)
    conditional = store.conditional_writes()
    for _ in range(ATTEMPTS):
        etag: str | None = None
        renders = CurrentRenders()
        try:
            data, etag = store.get_with_etag(key)
            renders = _parsed(data, key)
        except ObjectMissing:
            pass
        if renders.renders.get(stage) == render:
            return
        changed = CurrentRenders(renders={**renders.renders, stage: render})
        content = json.dumps(changed.model_dump(mode="json"), indent=1).encode()
        conditions = {"if_match": etag, "if_none_match": etag is None} if conditional else {}
        try:
            store.put(key, content, content_type="application/json", **conditions)
            return
        except PreconditionFailed:
            continue
    raise Transient("the clip's pointer is being changed by too many at once", input=key)

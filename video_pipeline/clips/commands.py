"""`video-pipeline add-clip`, `clip` and `clip-schema`.

Belongs here: arguments, which tasks run in which order, and what is printed. Does not belong here: the form
of a request (`intake.py`), how it becomes requests of tasks (`task_requests.py`), running a call (the program
passes that in).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from video_pipeline.clips import intake
from video_pipeline.clips.current import Stage, set_current
from video_pipeline.clips.detect_request import DetectPlayersBatchRequest, DetectPlayersResult
from video_pipeline.clips.intake import ClipRequest
from video_pipeline.clips.request_base import Render
from video_pipeline.clips.result import RenderPrediction, RenderResult
from video_pipeline.clips.task_requests import (
    compilation_request,
    extract_request,
    framing_request,
    multi_clip_request,
    overlay_request,
    players_request,
)
from video_pipeline.errors import BadInput
from video_pipeline.keys import ClipId
from video_pipeline.wording import counted

if TYPE_CHECKING:
    from video_pipeline.calls import ResultRecord
    from video_pipeline.settings import Settings
    from video_pipeline.store.base import ObjectStore

Call = Callable[["Settings", "ObjectStore", str, BaseModel], "tuple[ResultRecord, bool]"]
"""Runs a task to its end with its progress on the terminal: its result, and whether it was known already."""

Build = Callable[["ObjectStore", ClipId, ClipRequest], BaseModel]

PLAYERS = "player_detections"
MOST_PREVIEWS = 64


class Step(NamedTuple):
    """An asset of a clip: the section of the request that asks for it, its task, and the task's request."""

    section: str
    task: str
    build: Build
    stage: Stage | None
    """Its place in the clip's `current.json`; None for what is no render."""


STEPS: dict[str, Step] = {
    "clip": Step(
        "source_key",
        "extract_clip",
        lambda _, clip, asked: extract_request(clip, asked),
        "clip",
    ),
    PLAYERS: Step("players", "detect_players_batch", players_request, None),
    "overlay_clip": Step("overlay", "render_overlay", overlay_request, "overlay_clip"),
    "framed_clip": Step("framing", "process_framing_ai_parallel", framing_request, "framed_clip"),
    "multi_clip": Step("multi_clip", "process_multi_clip", multi_clip_request, "multi_clip"),
    "annotated_compilation": Step(
        "compilation",
        "create_annotated_compilation",
        compilation_request,
        "annotated_compilation",
    ),
}
"""In the order in which they are made: each reads what those before it made."""


def add_clip_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser], call: Call) -> None:
    """Add the three commands to the parser of the program."""
    add = commands.add_parser("add-clip", help="check a clip's request and put it into the store")
    add.add_argument("partition", metavar="TENANT--CLIP")
    add.add_argument(
        "request", type=Path, metavar="REQUEST.json", help="its form: video-pipeline clip-schema"
    )
    add.set_defaults(run=run_add_clip)

    clip = commands.add_parser("clip", help="make what a clip's request asks for")
    clip.add_argument("partition", metavar="TENANT--CLIP")
    clip.add_argument(
        "--stage", nargs="+", choices=list(STEPS), help="only these; default: all the request asks for"
    )
    clip.add_argument(
        "--preview",
        type=_preview,
        metavar="N",
        help=f"only N frames (1 to {MOST_PREVIEWS}) of each stage as PNG, how long it will be, and its cost",
    )
    clip.set_defaults(run=partial(run_clip, call=call))

    schema = commands.add_parser("clip-schema", help="print the JSON schema of a clip's request")
    schema.set_defaults(run=run_clip_schema)


def run_add_clip(arguments: argparse.Namespace) -> int:
    """Stores the request; the partition's name is printed."""
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    clip = ClipId.from_partition_key(arguments.partition)
    path: Path = arguments.request
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"it cannot be read: {error.strerror}", input=str(path), what_to_do="check the path"
        ) from None
    except (ValueError, RecursionError) as error:  # the latter for brackets within brackets without end
        raise BadInput(f"it is no JSON: {error}", input=str(path), what_to_do="correct it") from None
    key = intake.add_clip(open_store(load_settings()), clip, data)
    print(f"stored {key}; its partition is {clip.partition_key}")
    return 0


def run_clip(arguments: argparse.Namespace, call: Call) -> int:
    """Makes the stages one after the other. With a preview, a stage whose input is not made yet is left out
    and named, unless it was chosen: then that is BadInput."""
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    settings = load_settings()
    store = open_store(settings)
    clip = ClipId.from_partition_key(arguments.partition)
    asked = intake.load_clip_request(store, clip)
    preview: int | None = arguments.preview
    chosen: list[str] | None = arguments.stage
    for name in stages_of(asked, chosen):
        step = STEPS[name]
        try:
            request = step.build(store, clip, asked)
        except BadInput as error:
            if preview is None or chosen is not None:
                raise
            print(f"{name}: no preview: {error}")
            continue
        if preview is not None:
            assert isinstance(request, Render | DetectPlayersBatchRequest)
            request = request.model_copy(update={"preview": preview})
        print(f"{name}: {step.task}", file=sys.stderr)
        record, _ = call(settings, store, step.task, request)
        if step.stage is None:
            _print(store, name, DetectPlayersResult.model_validate(record.result), _detected)
            continue
        result = RenderResult.model_validate(record.result)
        if preview is None:
            set_current(store, clip, step.stage, result)
        _print(store, name, result, _rendered if preview is None else _previewed)
    return 0


def stages_of(asked: ClipRequest, chosen: list[str] | None) -> list[str]:
    """Those to be made, in order."""
    if chosen is None:
        return [name for name, step in STEPS.items() if getattr(asked, step.section) is not None]
    return [name for name in STEPS if name in chosen]


def run_clip_schema(_: argparse.Namespace) -> int:
    """For editors, and for whoever writes requests by program."""
    print(json.dumps(ClipRequest.model_json_schema(), indent=2))
    return 0


def _preview(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_PREVIEWS:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and {MOST_PREVIEWS}")
    return int(text)


Lines = Callable[["ObjectStore", Any], Iterator[str]]


def _print(store: ObjectStore, name: str, result: Any, lines: Lines) -> None:
    first, *rest = lines(store, result)
    print(f"{name}: {first}")
    for line in (*rest, *(f"note: {note}" for note in result.notes)):
        print(f"  {line}")
    sys.stdout.flush()
    for line in result.degraded:
        print(f"done other than asked: {line}", file=sys.stderr)


def _rendered(store: ObjectStore, result: RenderResult) -> Iterator[str]:
    made = "" if result.made else ", was there already"
    yield f"{_size(result)}{made}"
    assert result.output_key is not None
    yield _place(store, result.output_key)
    if result.copied and result.start_seconds is not None:
        yield f"copied without encoding; begins at {result.start_seconds:.3f} s of the source"
    if result.enlarged_frames:
        yield f"{counted(result.enlarged_frames, 'frame')} enlarged by the network"
    if len(result.chunks) > 1:
        yield f"made in {len(result.chunks)} calls side by side"
    if result.picture_key is not None:
        yield f"before and after: {_place(store, result.picture_key)}"


def _previewed(store: ObjectStore, result: RenderResult) -> Iterator[str]:
    yield f"will have {_size(result)}"
    yield from _cost(result)
    for seconds, key in zip(result.preview_seconds, result.preview_keys, strict=True):
        yield f"{seconds:8.3f} s  {_place(store, key)}"


def _cost(result: RenderResult | DetectPlayersResult) -> Iterator[str]:
    if result.prediction is not None:
        yield _foretold(result.prediction)
        yield from (f"outside of what was measured: {note}" for note in result.prediction.notes)
    if result.not_foretold is not None:
        none = "" if result.prediction is not None else "its time and cost are not foretold: "
        yield f"{none}{result.not_foretold}"


def _foretold(prediction: RenderPrediction) -> str:
    usd = "" if prediction.usd is None else f" and ${prediction.usd:.2f}"
    between = (
        ""
        if prediction.low is None or prediction.high is None
        else f" (95 %: {prediction.low:.0f} to {prediction.high:.0f} s)"
    )
    calls = counted(prediction.chunks, "call")
    return (
        f"on {prediction.machine}, in {calls}, about {prediction.seconds:.0f} s{usd} are foretold{between}; "
        f"{prediction.basis}, as of {prediction.model_as_of}"
    )


def _detected(store: ObjectStore, result: DetectPlayersResult) -> Iterator[str]:
    if result.preview_of is not None:
        yield f"will look for people at {counted(result.preview_of, 'moment')}"
        yield from _cost(result)
    made = "" if result.made else ", was there already"
    without = f", {result.pictures_without} without anybody" if result.pictures_without else ""
    people = "1 person" if result.detections == 1 else f"{result.detections:,} people"
    yield f"{people} in {counted(result.detected_pictures, 'picture')}{without}{made}"
    yield _place(store, result.detections_key)
    if result.picture_keys:
        folder = _place(store, result.picture_keys[0]).rpartition("/")[0]
        yield f"with boxes drawn: {len(result.picture_keys)} in {folder}/"


def _size(result: RenderResult) -> str:
    return (
        f"{counted(result.frames, 'frame')}, {result.duration_seconds:.3f} s, "
        f"{result.width}x{result.height} at {result.frame_rate} frames per second"
    )


def _place(store: ObjectStore, key: str) -> str:
    return str(store.local_path(key) or f"{store.uri}/{key}")

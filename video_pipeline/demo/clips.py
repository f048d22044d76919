"""`make demo-clips`: the clip jobs on the bundled sports clip, through Dagster, without a service or account.

Belongs here: preparing the store, starting `dagster job execute` three times, naming what there is to look
at. Does not belong here: the jobs, or what is asked of them (the two `.request.json` beside this module).
"""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from typing import Any

from video_pipeline import keys
from video_pipeline.clips.current import CurrentRenders, Stage, current_renders
from video_pipeline.clips.intake import add_clip
from video_pipeline.demo.run import job_command, run_job
from video_pipeline.keys import ClipId, VideoId
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

VIDEO = VideoId("demo", "sport")
FLIP, HIGHLIGHTS = ClipId("demo", "flip"), ClipId("demo", "highlights")

JOBS = (
    ("make_clip", FLIP),
    ("multi_clip_only", HIGHLIGHTS),
    ("annotated_compilation_only", HIGHLIGHTS),
)
"""One clip through its four assets; then it is joined with other parts of the video in two ways."""


def store_demo_clips(store: ObjectStore) -> str:
    """Puts the bundled video and both requests into the store. Returns the video's key."""
    key = keys.source_key(VIDEO, "mp4")
    with as_file(files("video_pipeline.demo") / "sport.mp4") as path:
        store.put(key, path, content_type="video/mp4")
    for clip in (FLIP, HIGHLIGHTS):
        add_clip(store, clip, bundled_request(clip))
    return key


def bundled_request(clip: ClipId) -> dict[str, Any]:
    """What is asked of one of the two clips."""
    return json.loads((files("video_pipeline.demo") / f"{clip.clip}.request.json").read_text())


def run_clip_demo() -> int:
    """The exit code of the first job that failed, else 0."""
    store = open_store(load_settings())
    key = store_demo_clips(store)
    print(f"The video is in the store as {store.uri}/{key}")
    for job, clip in JOBS:
        code = run_job(job_command(job, clip.partition_key))
        if code != 0:
            return code
    _name_the_files(store)
    return 0


def _name_the_files(store: ObjectStore) -> None:
    flip, highlights = current_renders(store, FLIP), current_renders(store, HIGHLIGHTS)
    people = _newest_detections(store)
    print("\nDone. Look at:")
    for what, key in (
        ("people found, in one of two frames", f"{people}picture_00001.png"),
        ("the same as JSON", f"{people}detections.json"),
        ("the cut clip", _key(flip, FLIP, "clip")),
        ("under a spotlight that follows", _key(flip, FLIP, "overlay_clip")),
        ("re-framed, enlarged, half speed in the air", _key(flip, FLIP, "framed_clip")),
        ("that, before and after", _folder(flip, FLIP, "framed_clip") + "before_after.png"),
        ("two clips joined by a dissolve", _key(highlights, HIGHLIGHTS, "multi_clip")),
        ("three parts with annotations and fades", _key(highlights, HIGHLIGHTS, "annotated_compilation")),
        ("what was asked for", keys.clip_request_key(FLIP)),
        ("and of the joined ones", keys.clip_request_key(HIGHLIGHTS)),
    ):
        print(f"  {what + ':':44}{store.local_path(key) or f'{store.uri}/{key}'}")


def _key(renders: CurrentRenders, clip: ClipId, stage: Stage) -> str:
    return renders.need(stage, clip).output_key


def _folder(renders: CurrentRenders, clip: ClipId, stage: Stage) -> str:
    return keys.clip_prefix(clip, renders.need(stage, clip).recipe)


def _newest_detections(store: ObjectStore) -> str:
    found = [
        item
        for item in store.list(f"{FLIP.tenant}/client/clips/{FLIP.clip}/")
        if item.key.endswith("/detections.json")
    ]
    return max(found, key=lambda item: item.modified).key.removesuffix("detections.json")

"""`make demo`: the whole caption job on the bundled clip, through Dagster, without any service or account.

Belongs here: preparing the store, starting `dagster job execute`, and naming what there is to look at. Does
not belong here: the job.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from importlib.resources import as_file, files
from pathlib import Path

from video_pipeline import keys
from video_pipeline.captions.intake import add_video
from video_pipeline.keys import VideoId
from video_pipeline.media.geometry import CropRegion
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

VIDEO = VideoId("demo", "street")


def store_demo_clip(store: ObjectStore) -> str:
    """Puts the bundled clip and its caption request into the store. Returns the clip's key."""
    bundle = files("video_pipeline.demo")
    cues = json.loads((bundle / "street.cues.json").read_text())
    with as_file(bundle / "street.mp4") as clip:
        return add_video(
            store,
            VIDEO,
            clip,
            crop_region=CropRegion.model_validate(cues["crop_region"]),
            frame_rate="10",
            preset="fast",
        )


def job_command(job: str = "caption_video", partition: str = VIDEO.partition_key) -> list[str]:
    """How a job is started here and in CI: no daemon, no DAGSTER_HOME, no workspace file."""
    tags = json.dumps({"dagster/partition": partition})
    return [
        str(Path(sys.executable).with_name("dagster")),
        *("job", "execute", "-m", "video_pipeline.definitions", "-j", job, "--tags", tags),
        *("-c", str(Path(__file__).with_name("console.yaml"))),
    ]


def run_demo() -> int:
    settings = load_settings()
    store = open_store(settings)
    key = store_demo_clip(store)
    print(f"The clip is in the store as {store.uri}/{key}")
    code = run_job(job_command())
    if code != 0:
        return code
    _name_the_files(store)
    return 0


def run_job(command: list[str]) -> int:
    """Runs a job in the foreground; its exit code. Ctrl-C reaches it as well; this waits until it has cleaned
    up."""
    print(f"Running: {shlex.join(command)}", flush=True)
    code = _wait_for(command)
    if code != 0:
        print(f"The job ended with exit code {code}; its last lines above say why.", file=sys.stderr)
    return code


def _wait_for(command: list[str]) -> int:
    environment = dict(os.environ, DAGSTER_DISABLE_TELEMETRY="1")
    process = subprocess.Popen(command, env=environment)
    terminate = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                # The terminal sent it to the whole process group: the job is cancelling its call.
                continue
    finally:
        signal.signal(signal.SIGTERM, terminate)


def _name_the_files(store: ObjectStore) -> None:
    current = json.loads(store.get(keys.current_key(VIDEO)))
    frames = keys.frames_prefix(VIDEO, current["artefacts"]["frames"]["recipe"])
    extents = keys.database_key(VIDEO, current["artefacts"]["extents"]["recipe"])
    captions = keys.captions_prefix(VIDEO, current["artefacts"]["captions"]["recipe"])
    chunk = keys.chunk_key(VIDEO, current["artefacts"]["chunks"]["recipe"], 16, 0)
    reports = [
        item
        for item in store.list(f"{VIDEO.tenant}/server/results/")
        if item.key.endswith("/performance.txt")
    ]
    newest = max(reports, key=lambda item: item.modified).key.removesuffix("performance.txt")
    print("\nDone. Look at:")
    for what, key in (
        ("the page to check the captions in", captions + "review.html"),
        ("the captions (SRT)", captions + "captions.srt"),
        ("the captions (WebVTT)", captions + "captions.vtt"),
        ("the captions with all that is known", captions + "captions.json"),
        ("the contact sheet", frames + "contact_sheet.png"),
        ("a chunk for scrubbing, every 16th frame", chunk),
        ("the caption extents (SQLite)", extents),
        ("where the time went", newest + "timing_waterfall.html"),
        ("what each stage did, and what limits it", newest + "performance.txt"),
        ("what is published", keys.current_key(VIDEO)),
    ):
        print(f"  {what + ':':42}{store.local_path(key) or f'{store.uri}/{key}'}")

"""`make ui`: Dagster's UI on an instance of its own, with the bundled videos there to try things on.

Belongs here: the instance's folder, putting the demonstration's objects into the store once, registering
their partitions, starting `dagster dev`. Does not belong here: any work. Nothing is materialised by starting
the UI, and no object or partition of a person's own is changed.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from importlib.resources import as_file, files
from itertools import chain
from pathlib import Path
from typing import NoReturn

import dagster as dg

from video_pipeline import keys
from video_pipeline.clips.intake import add_clip
from video_pipeline.demo import clips, run
from video_pipeline.errors import BadInput
from video_pipeline.keys import SampleId
from video_pipeline.operations.instance_config import renew_config
from video_pipeline.partitions import CLIPS, SAMPLES, VIDEOS
from video_pipeline.sampling.intake import add_sample
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

SAMPLE = SampleId("demo", "look")
PARTITIONS = {
    VIDEOS: [run.VIDEO.partition_key, clips.VIDEO.partition_key],
    SAMPLES: [SAMPLE.partition_key],
    CLIPS: [clips.FLIP.partition_key, clips.HIGHLIGHTS.partition_key],
}
"""What the demonstration registers: two videos, frames of both, one clip and two ways to join it."""

ADDED = "demo_added_to.txt"
"""In the instance's folder: the stores that have had the demonstration put into them, one a line. Whoever
deletes a demonstration's video or partition does not get it back at the next start."""

VARIABLES = {"DAGSTER_DISABLE_TELEMETRY": "1", "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR": "1"}
"""What Dagster's processes take from the environment alone. The second lets a backfill of assets wait while
the code server is away; without it, the backfill fails and its queued runs are cancelled."""

DEFAULT_PORT = 3000


def add_demo_objects(store: ObjectStore) -> list[str]:
    """Puts what is missing of the demonstration into the store; the keys that were written.

    What is there under any of its keys stays as it is, and a video is added only where neither its file nor
    its request exists.
    """
    written: list[str] = []
    street = [*keys.source_keys(run.VIDEO), keys.caption_request_key(run.VIDEO)]
    if not any(store.head(key) for key in street):
        written.append(run.store_demo_clip(store))
    sport = keys.source_key(clips.VIDEO, "mp4")
    bundle = files("video_pipeline.demo")
    if not any(store.head(key) for key in keys.source_keys(clips.VIDEO)):
        with as_file(bundle / "sport.mp4") as path:
            store.put(sport, path, content_type="video/mp4")
        written.append(sport)
    for clip in (clips.FLIP, clips.HIGHLIGHTS):
        if store.head(keys.clip_request_key(clip)) is None:
            written.append(add_clip(store, clip, clips.bundled_request(clip)))
    if store.head(keys.sample_request_key(SAMPLE.tenant, SAMPLE.sample)) is None:
        videos = [keys.source_key(run.VIDEO, "mp4"), sport]
        written.append(add_sample(store, SAMPLE, videos, num_batches=4, offset_max_seconds=None))
    return written


def prepare(home: Path, config: Path) -> list[str]:
    """Makes the instance's folder and, once for each store, adds the demonstration. What it did, in lines.

    Only a directory is added to unasked: a bucket may be another person's, and uploads there cost money.
    """
    home.mkdir(parents=True, exist_ok=True)
    told = renew_config(home, config)
    settings = load_settings()
    if settings.is_bucket:
        return [*told, f"the store is {settings.store}: the demonstration is added to directories only"]
    store = open_store(settings)
    marks = home / ADDED
    known = marks.read_text().splitlines() if marks.exists() else []
    if store.uri in known:
        return told
    written = add_demo_objects(store)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for definition, wanted in PARTITIONS.items():
            there = set(instance.get_dynamic_partitions(definition))
            instance.add_dynamic_partitions(definition, [key for key in wanted if key not in there])
    marks.write_text("\n".join([*known, store.uri]) + "\n")
    return [
        *told,
        f"added {len(written)} objects of the tenant 'demo' to {store.uri}",
        "registered as partitions: " + ", ".join(chain(*PARTITIONS.values())),
    ]


def free_port(wanted: int | None) -> int:
    """The port asked for, `BadInput` if it is taken; unasked 3000 or, where that is taken, any free one."""
    for port in (wanted,) if wanted is not None else (DEFAULT_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise BadInput(
        f"port {wanted} is taken", input=f"--port {wanted}", what_to_do="choose another: make ui PORT=3100"
    )


def serve(home: Path, port: int) -> NoReturn:
    """Becomes `dagster dev`, so that Ctrl-C and signals reach it without a process in between."""
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.execve(
        dagster,
        [dagster, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
        {**os.environ, **VARIABLES, "DAGSTER_HOME": str(home)},
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m video_pipeline.demo.ui", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".dagster_home"), help="the instance's folder")
    parser.add_argument("--port", type=int, default=None, help=f"default {DEFAULT_PORT}, or a free one")
    arguments = parser.parse_args(argv)
    home = arguments.home.resolve()
    try:
        port = free_port(arguments.port)
        lines = prepare(home, Path("deploy/local/dagster.yaml"))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for line in lines:
        print(line)
    print(f"Dagster's UI will be at http://127.0.0.1:{port} in some 20 seconds. Ctrl-C ends it.", flush=True)
    serve(home, port)


if __name__ == "__main__":
    sys.exit(main())

"""`video-pipeline`: the commands for people, without Dagster's UI.

Belongs here: parsing arguments, printing, exit codes. Does not belong here: anything a command does beyond
calling one function of a domain. Exit codes: 0 done, 1 the work failed, 2 the command or its input is wrong,
130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from video_pipeline.errors import BadInput, PipelineError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from video_pipeline.calls import ResultRecord
    from video_pipeline.compute.base import Event
    from video_pipeline.settings import Settings
    from video_pipeline.store.base import ObjectStore


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except PipelineError as error:
        if error.kind == "cancelled" or getattr(getattr(error, "error", None), "kind", "") == "cancelled":
            print(f"cancelled: {error}", file=sys.stderr)
            return 130
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "video-pipeline", description="Captions, frame predictions and clips from videos in object storage."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="run the whole caption job on the bundled clip, through Dagster")
    demo.set_defaults(run=_demo)

    clips = commands.add_parser("demo-clips", help="run the clip jobs on the bundled sports clip")
    clips.set_defaults(run=_demo_clips)

    add = commands.add_parser("add-video", help="put a video and its caption request into the store")
    add.add_argument("file", type=Path)
    add.add_argument("--tenant", required=True)
    add.add_argument("--video", required=True)
    add.add_argument(
        "--crop",
        metavar="LEFT,TOP,WIDTH,HEIGHT",
        help="where captions stand, as parts of the displayed picture, each 0..1; without it, it is found",
    )
    add.add_argument("--rate", default="10", help="samples per second: a number or a fraction (default 10)")
    add.add_argument("--preset", choices=["fast", "small"], default="fast")
    add.set_defaults(run=_add_video)

    captions = commands.add_parser("captions", help="caption one video and publish it")
    captions.add_argument("partition", metavar="TENANT--VIDEO")
    captions.add_argument(
        "--stages", nargs="+", choices=["cropped_frames", "caption_frame_extents", "vp9_chunks"], default=None
    )
    captions.add_argument("--no-publish", action="store_true", help="make the artefacts, leave current.json")
    captions.set_defaults(run=_captions)

    from video_pipeline.sampling.commands import add_sampling_commands

    add_sampling_commands(commands)

    from video_pipeline.clips.commands import add_clip_commands

    add_clip_commands(commands, _call)

    from video_pipeline.operations.fetch_command import add_fetch_command

    add_fetch_command(commands)

    from video_pipeline.operations.retention_commands import add_retention_commands

    add_retention_commands(commands)

    from video_pipeline.compute.commands import add_call_commands

    add_call_commands(commands)

    from video_pipeline.costs.commands import add_cost_commands

    add_cost_commands(commands)
    return parser


def _demo(_: argparse.Namespace) -> int:
    from video_pipeline.demo.run import run_demo

    return run_demo()


def _demo_clips(_: argparse.Namespace) -> int:
    from video_pipeline.demo.clips import run_clip_demo

    return run_clip_demo()


def _add_video(arguments: argparse.Namespace) -> int:
    from video_pipeline.captions.intake import add_video, parse_crop
    from video_pipeline.keys import VideoId
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    video = VideoId(arguments.tenant, arguments.video)
    store = open_store(load_settings())
    key = add_video(
        store,
        video,
        arguments.file,
        crop_region=None if arguments.crop is None else parse_crop(arguments.crop),
        frame_rate=arguments.rate,
        preset=arguments.preset,
    )
    print(f"stored {key}; its partition is {video.partition_key}")
    return 0


def _captions(arguments: argparse.Namespace) -> int:
    from video_pipeline.captions.intake import (
        layout_request,
        load_caption_request,
        pass_request,
        reading_request,
    )
    from video_pipeline.captions.manifest import Kind
    from video_pipeline.captions.plan import find_captions, plan_for
    from video_pipeline.captions.publish import publish
    from video_pipeline.captions.request import STAGES
    from video_pipeline.keys import VideoId
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    settings = load_settings()
    store = open_store(settings)
    video = VideoId.from_partition_key(arguments.partition)
    if load_caption_request(store, video).crop_region is None:
        found = _call(settings, store, "find_caption_layout", layout_request(store, video))[0].result or {}
        print("\n".join(found["reasons"]))
        print(f"the band over pictures of the video: {_where(store, found['preview_key'])}")
    stages = tuple(arguments.stages or STAGES)
    record, known = _call(
        settings, store, "crop_and_infer_caption_frame_extents", pass_request(store, video, stages)
    )
    result = record.result or {}
    kinds = () if known else ("frames", "extents", "chunks")
    made = [kind for kind in kinds if (result.get(kind) or {}).get("made")]
    print(f"{result['frame_count']} frames; made: {', '.join(made) or 'nothing, all of it was there'}")
    if "timing_waterfall.html" in record.report_keys:
        print(f"where the time went: {_where(store, record.report_keys['timing_waterfall.html'])}")
    if "caption_frame_extents" in stages:
        request = reading_request(store, video, chunks="vp9_chunks" in stages)
        read = _call(settings, store, "read_captions", request)[0].result or {}
        print(f"{read['caption_count']} captions, {read['with_text']} with text")
        print("\n".join(read["preview"]))
        for line in read["degraded"]:
            print(f"done other than asked: {line}", file=sys.stderr)
    if not arguments.no_publish:
        plan = plan_for(store, pass_request(store, video, STAGES))
        prefixes: dict[Kind, str] = {kind: plan.prefix(kind) for kind in plan.existing}
        captions = find_captions(store, plan)
        if captions is not None:
            prefixes["captions"] = captions
            page = captions + "review.html"
            print(f"the page to check them in: {_where(store, page)}")
            if store.local_path(page) is None:
                print(f"to open it here: video-pipeline fetch {arguments.partition}")
        print(f"published: {', '.join(publish(store, video, prefixes).published)}")
    return 0


def _where(store: ObjectStore, key: str) -> str:
    """Where a person finds an object: its path, or its address in the bucket."""
    return str(store.local_path(key) or f"{store.uri}/{key}")


def _call(settings: Settings, store: ObjectStore, task: str, request: BaseModel) -> tuple[ResultRecord, bool]:
    """Runs a task to its end, with its progress on the terminal; Ctrl-C cancels it. Returns its result, and
    whether the call had ended before."""
    from video_pipeline.compute import open_compute
    from video_pipeline.compute.follow import Interrupts, run_call

    compute, printer = open_compute(settings, store), _ProgressPrinter()
    with Interrupts.watched() as interrupts:
        handle, record = run_call(
            compute,
            task,
            request,
            on_event=printer,
            interrupted=lambda: interrupts.asked,
        )
    printer.end()
    return record, handle.ended


class _ProgressPrinter:
    """One line that is rewritten on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last = 0.0
        self._open_line = False

    def __call__(self, event: Event) -> None:
        from video_pipeline.compute.follow import progress_line, retry_line

        if event.name == "log":
            self.end()
            print(event.data.get("line", ""), file=sys.stderr)
        elif event.name == "cost":
            self.end()
            print(f"cost: {event.data.get('cost')}", file=sys.stderr)
        elif event.name == "retry":
            self.end()
            print(retry_line(event.data), file=sys.stderr)
        elif event.name == "progress":
            if self._terminal:
                print(f"\r\x1b[K{progress_line(event.data)}", end="", file=sys.stderr, flush=True)
                self._open_line = True
            elif time.monotonic() - self._last > 2:
                self._last = time.monotonic()
                print(progress_line(event.data), file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._open_line:
            print(file=sys.stderr)
            self._open_line = False


if __name__ == "__main__":
    sys.exit(main())

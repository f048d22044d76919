"""`video-pipeline add-sample` and `video-pipeline index`: what is prepared for later samples.

Belongs here: arguments and what is printed. Does not belong here: anything else (`intake.py`, `indexes.py`).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from video_pipeline.sampling.command_parts import files_named, needs_store
from video_pipeline.wording import counted


def add_intake_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands to the parser of the program."""
    add = commands.add_parser("add-sample", help="put a sample's request into the store")
    add.add_argument("--tenant", required=True)
    add.add_argument("--sample", required=True)
    add.add_argument("--video-url", action="append", required=True, metavar="ADDRESS")
    add.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a field of the request, such as num_batches=4 or timestamps=[1,2.5]; may be repeated",
    )
    add.set_defaults(run=run_add_sample)

    index = commands.add_parser("index", help="read a video's index and keep it for later samples")
    index.add_argument("address", metavar="ADDRESS")
    index.add_argument("--tenant", help="keep it in the store for this tenant's samples, not on this machine")
    index.add_argument("--output", type=Path, metavar="FILE", help="write a copy into a file too")
    index.set_defaults(run=run_index_command)


def run_add_sample(arguments: argparse.Namespace) -> int:
    """Stores the request; the partition's name is printed."""
    from video_pipeline.errors import BadInput
    from video_pipeline.keys import SampleId
    from video_pipeline.sampling.intake import add_sample
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    options: dict[str, Any] = {}
    for text in arguments.option:
        name, equals, value = text.partition("=")
        try:
            options[name] = json.loads(value) if equals else True
        except (ValueError, RecursionError):  # the latter for brackets within brackets without end
            raise BadInput(
                f"the value of option {name} is not JSON",
                input=text[:100],
                what_to_do="quote text: name='\"text\"'",
            ) from None
    sample = SampleId(arguments.tenant, arguments.sample)
    for address in arguments.video_url:
        # In the store's own directory a key is a path as well.
        if not address.startswith(f"{sample.tenant}/") and Path(address).is_file():
            raise BadInput(
                "it is a file of this machine: a sample reads URLs and keys of the store",
                input=address,
                what_to_do=f"video-pipeline add-video {address} --tenant {sample.tenant} --video NAME puts "
                "it there; then give the key that it says",
            )
    key = add_sample(open_store(load_settings()), sample, arguments.video_url, **options)
    print(f"stored {key}; its partition is {sample.partition_key}")
    return 0


def run_index_command(arguments: argparse.Namespace) -> int:
    """Reads the whole index (of a fragmented file every fragment's header), describes it and keeps it where
    samples look for it: what taking in a video does, so that its first sample finds the index at hand. 1 if
    it is not kept."""
    from video_pipeline import keys
    from video_pipeline.media.mp4.sidecar import dump_index
    from video_pipeline.media.ranges.base import Traffic
    from video_pipeline.media.ranges.http_pool import HttpPool
    from video_pipeline.media.ranges.opening import open_source
    from video_pipeline.sampling.indexes import Indexes, is_stale
    from video_pipeline.sampling.keeping import FolderKeeper, StoreKeeper
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    settings = load_settings()
    needed = arguments.tenant is not None or needs_store([arguments.address])
    store = open_store(settings) if needed else None
    indexes = Indexes(FolderKeeper(settings.state_dir / "indexes"))
    if arguments.tenant is not None and store is not None:
        indexes = Indexes(StoreKeeper(store, keys.indexes_prefix(arguments.tenant)))
    traffic = Traffic()
    with HttpPool() as pool:
        source = open_source(arguments.address, pool=pool, store=store)
        index, at_hand = indexes.get(source, traffic)
        if at_hand:
            # The first answer tells the version that is there now; a stored index may be of another.
            source.read(0, 1, purpose="index", traffic=traffic)
            if is_stale(index, source):
                index, at_hand = indexes.renew(index, source, traffic), False
        samples = index.all_samples(traffic)
        end = float(index.end(traffic) * index.track.time_base)
        refused = indexes.save()
        source.close()
    entry = index.track.entries[0]
    print(
        f"{index.name}: {entry.codec} {entry.width}x{entry.height}, {len(samples)} pictures,"
        f" {int(samples.key.sum())} key frames, ends at {end:.3f} s; found by: {index.kind}"
    )
    print(
        f"read {counted(traffic.received(), 'byte')} in {counted(len(traffic.requests), 'request')}"
        f"{', what else there is was at hand' if at_hand else ''}"
    )
    if arguments.output is not None:
        data = dump_index(index)
        with files_named():
            arguments.output.write_bytes(data)
        print(f"wrote {len(data):,} bytes to {arguments.output}")
    for why in refused:
        print(f"{index.name}: its index is not kept, so each sample reads it anew: {why}", file=sys.stderr)
    return 1 if refused else 0

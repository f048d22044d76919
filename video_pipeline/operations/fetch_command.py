"""`video-pipeline fetch`: the arguments and what is printed.

Belongs here: parsing and printing. Does not belong here: what is copied (`fetching`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from video_pipeline.wording import counted

SHOWN = 20
"""So many files are named one by one; the chunks of an hour are 1,478."""


def add_fetch_command(commands: Any) -> None:
    fetch = commands.add_parser(
        "fetch", help="copy results out of the store, to open them here (from a bucket, most of all)"
    )
    fetch.add_argument(
        "wanted",
        metavar="PARTITION|KEY",
        help="TENANT--NAME: the published captions of a video, the present renders of a clip; "
        "or an object's key, or the beginning of keys up to a '/'",
    )
    fetch.add_argument(
        "--to",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="default: a folder named as the partition, or .",
    )
    fetch.set_defaults(run=_fetch)


def _fetch(arguments: argparse.Namespace) -> int:
    from video_pipeline.operations.fetching import copy_object, objects_of
    from video_pipeline.settings import load_settings
    from video_pipeline.store import open_store

    store = open_store(load_settings())
    found = objects_of(store, arguments.wanted)
    folder = arguments.to or Path("." if "/" in arguments.wanted else arguments.wanted)
    total = 0
    for number, (key, path) in enumerate(found.items()):
        total += copy_object(store, key, folder / path)
        if number < SHOWN:
            print(folder / path)
    more = f", {len(found) - SHOWN} more than are named above" if len(found) > SHOWN else ""
    print(f"{counted(len(found), 'file')}, {counted(total, 'byte')}, in {folder.resolve()}{more}")
    return 0

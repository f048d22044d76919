"""What must hold for a finished artefact, read back from the store. Each returns its problems in words.

Belongs here: checks a player or reader depends on. Does not belong here: checksums (`publish` reads every
byte), or Dagster.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from video_pipeline.captions.chunks import LEVELS, pictures_in_window, windows
from video_pipeline.captions.database import open_to_read
from video_pipeline.captions.document import CaptionsDocument
from video_pipeline.captions.manifest import Manifest, read_manifest
from video_pipeline.keys import VideoId, chunk_key
from video_pipeline.store.base import ObjectMissing, ObjectStore


def _manifest(store: ObjectStore, key: str) -> Manifest | None:
    found = read_manifest(store, key.removesuffix("manifest.json"))
    return found[0] if found else None


def _contents(store: ObjectStore, *keys: str) -> tuple[list[bytes], list[str]]:
    """What lies at the keys, and a problem for each that is not there."""
    contents: list[bytes] = []
    problems: list[str] = []
    for key in keys:
        try:
            contents.append(store.get(key))
        except ObjectMissing:
            problems.append(f"{key} is not in the store")
    return contents, problems


def check_frames(store: ObjectStore, manifest_key: str) -> list[str]:
    """frames.json lists every sample once, in presentation order; it and the contact sheet are there."""
    manifest = _manifest(store, manifest_key)
    if manifest is None:
        return [f"{manifest_key} is missing"]
    prefix = manifest_key.removesuffix("manifest.json")
    contents, problems = _contents(store, prefix + "frames.json", prefix + "contact_sheet.png")
    if problems:
        return problems
    document = json.loads(contents[0])
    pts = document["pts"]
    if not len(pts) == document["count"] == manifest.frame_count:
        problems.append(
            f"frames.json lists {len(pts)} samples and states {document['count']}, "
            f"the manifest states {manifest.frame_count}"
        )
    if any(later < earlier for earlier, later in itertools.pairwise(pts)):
        problems.append("the samples are not in presentation order")
    return problems


def check_extents(store: ObjectStore, manifest_key: str) -> list[str]:
    """n frames have n - 1 pairs of neighbours, each once, and the labels add up."""
    manifest = _manifest(store, manifest_key)
    if manifest is None:
        return [f"{manifest_key} is missing"]
    expected = max(manifest.frame_count - 1, 0)
    contents, problems = _contents(store, manifest.objects[0].key)
    if problems:
        return problems
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "extents.db")
        path.write_bytes(contents[0])
        with contextlib.closing(open_to_read(path)) as connection:
            count, neighbours, lowest, highest = connection.execute(
                "SELECT count(*), coalesce(sum(frame2_index = frame1_index + 1), 0), "
                "coalesce(min(frame1_index), 0), coalesce(max(frame2_index), 0) FROM pair_results"
            ).fetchone()
    if not count == neighbours == expected or (expected and (lowest, highest) != (0, expected)):
        problems.append(
            f"{manifest.frame_count} frames have {expected} pairs; the database has {count}, "
            f"{neighbours} of them neighbours, from frame {lowest} to {highest}"
        )
    labels: Mapping[str, int] = manifest.summary.get("labels", {})
    if sum(labels.values()) != expected:
        problems.append(f"the labels add up to {sum(labels.values())}, not {expected}")
    return problems


def check_captions(store: ObjectStore, manifest_key: str) -> list[str]:
    """captions.json keeps its schema, and the subtitle files hold as many cues as it has captions."""
    manifest = _manifest(store, manifest_key)
    if manifest is None:
        return [f"{manifest_key} is missing"]
    prefix = manifest_key.removesuffix("manifest.json")
    subtitles = ("captions.srt", "captions.vtt")
    contents, problems = _contents(store, prefix + "captions.json", *(prefix + name for name in subtitles))
    if problems:
        return problems
    try:
        document = CaptionsDocument.model_validate_json(contents[0])
    except ValidationError as error:
        return [f"captions.json does not keep its schema: {error}"]
    for name, subtitle in zip(subtitles, contents[1:], strict=True):
        cues = subtitle.decode().count(" --> ")
        if cues != len(document.captions):
            problems.append(f"{name} has {cues} cues, captions.json {len(document.captions)} captions")
    return problems


def check_chunks(store: ObjectStore, manifest_key: str) -> list[str]:
    """Every chunk a player may compute exists and holds the pictures it expects; there is no other."""
    manifest = _manifest(store, manifest_key)
    if manifest is None:
        return [f"{manifest_key} is missing"]
    video = VideoId(manifest.tenant, manifest.video)
    expected = {
        chunk_key(video, manifest.recipe, level, window): len(
            pictures_in_window(level, window, manifest.frame_count)
        )
        for level in LEVELS
        for window in windows(level, manifest.frame_count)
    }
    named = {item.key: item.frames for item in manifest.objects}
    problems = [f"{key} is missing from the manifest" for key in expected.keys() - named.keys()]
    problems += [f"{key} is not a chunk of this video" for key in named.keys() - expected.keys()]
    problems += [
        f"{key} states {named[key]} pictures, a player expects {count}"
        for key, count in expected.items()
        if key in named and named[key] != count
    ]
    listed = {item.key for item in store.list(manifest_key.removesuffix("manifest.json") + "modulo_")}
    problems += [f"{key} is not in the store" for key in expected.keys() - listed]
    return sorted(problems)

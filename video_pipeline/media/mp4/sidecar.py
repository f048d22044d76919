"""An index as bytes: kept between runs, or laid beside a video when it is taken in.

Belongs here: the format. Does not belong here: where such bytes are kept (`sampling.indexes`).

`VPINDEX2`, the SHA-256 of what follows, and a zip of numpy arrays without pickles (numpy's `npz`); `about` in
it is JSON: the file's size and tag, the track, the edits. Times and offsets are stored as differences, which
zip packs to a few bytes a sample. Loading checks every length against the others and never trusts an offset:
`VideoIndex.select` compares each with the file's size.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import asdict
from typing import Any

import numpy as np

from video_pipeline.errors import BadInput
from video_pipeline.media.geometry import Orientation
from video_pipeline.media.mp4.fragment_index import IN_MOVIE, FragmentIndex
from video_pipeline.media.mp4.fragments import NO_SAMPLES, Anchor, Fragment
from video_pipeline.media.mp4.index import VideoIndex
from video_pipeline.media.mp4.movie import Defaults, Movie
from video_pipeline.media.mp4.track import COLUMNS, Edit, SampleEntry, Samples, TrackInfo
from video_pipeline.media.mp4.window import Window
from video_pipeline.media.ranges.base import Identity, RangeSource

MAGIC = b"VPINDEX2"
SUFFIX = ".vpindex"
"""Of a side-car: the video's name and this."""

_MAX_BYTES = 1 << 30


def dump_index(index: VideoIndex) -> bytes:
    """The index as it is known now; of a fragmented file the fragments read so far."""
    track = index.track
    about: dict[str, Any] = {
        "size": index.identity.size,
        "tag": index.identity.tag,
        "kind": index.kind,
        "notes": index.notes,
        "stated_end": index.stated_end,
        "fragmented": index.movie.fragmented,
        "defaults": {track_id: asdict(given) for track_id, given in index.movie.defaults.items()},
        "fragments_duration": index.movie.fragments_duration,
        "track": {
            "track_id": track.track_id,
            "timescale": track.timescale,
            "duration": track.duration,
            "rotation": track.orientation.rotation,
            "mirrored": track.orientation.mirrored,
            "edits": [asdict(edit) for edit in track.edits],
            "entries": [{**asdict(entry), "extradata": entry.extradata.hex()} for entry in track.entries],
        },
    }
    arrays: dict[str, np.ndarray] = _columns("movie", index.movie.samples)
    if index.fragments is not None:
        loaded = [(part, then) for part, then in index.fragments.loaded() if part.start != IN_MOVIE]
        joined = Samples.join([part.samples for part, _ in loaded]) if loaded else NO_SAMPLES
        arrays |= _columns("fragment", joined)
        rows = [(part.start, part.moof_stop, then, len(part.samples), part.timed) for part, then in loaded]
        arrays["fragments"] = np.array(rows, np.int64).reshape(-1, 5)
        places = [(anchor.start, anchor.time) for anchor in index.fragments.anchors()]
        arrays["anchors"] = np.array(places, np.int64).reshape(-1, 2)
        about["first"] = index.fragments.first
        about["leads"] = index.fragments.leads()
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    packed = buffer.getvalue()
    return MAGIC + hashlib.sha256(packed).digest() + packed


def load_index(data: bytes, source: RangeSource, *, name: str) -> VideoIndex:
    """The index that `dump_index` wrote, over `source`, which must be the very file it was made of.

    `name` is the side-car's. BadInput if it is no index, of another format, or of another version of the
    file. Where the source has not been asked yet its version is unknown: compare `identity` after the first
    answer.
    """
    packed = data[len(MAGIC) + 32 :]
    if not data.startswith(MAGIC):
        raise _bad(name, "not a video index of this format")
    if hashlib.sha256(packed).digest() != data[len(MAGIC) : len(MAGIC) + 32]:
        raise _bad(name, "it is damaged")
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
            if sum(entry.file_size for entry in stored.zip.infolist()) > _MAX_BYTES:
                raise ValueError("too large")
            about = json.loads(stored["about"].tobytes())
            made_of = Identity(about["size"], about["tag"])
            if source.identity not in (None, made_of):
                raise _bad(name, "made of another version of the video")
            return _rebuild(about, stored, source, made_of)
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _bad(name, "its parts disagree") from error


def _rebuild(about: dict[str, Any], stored: Any, source: RangeSource, identity: Identity) -> VideoIndex:
    said = about["track"]
    entries = tuple(
        SampleEntry(
            **{
                **entry,
                "extradata": bytes.fromhex(entry["extradata"]),
                "colour": tuple(entry["colour"]) if entry["colour"] is not None else None,
            }
        )
        for entry in said["entries"]
    )
    track = TrackInfo(
        said["track_id"],
        said["timescale"],
        entries,
        tuple(Edit(**edit) for edit in said["edits"]),
        Orientation(said["rotation"], said["mirrored"]),
        said["duration"],
    )
    movie = Movie(
        track,
        _samples("movie", stored, len(entries)),
        about["fragmented"],
        {int(track_id): Defaults(**given) for track_id, given in about["defaults"].items()},
        about["fragments_duration"],
    )
    window = Window(source, identity.size)
    fragments = None
    if movie.fragmented:
        anchors = [Anchor(int(start), int(time)) for start, time in stored["anchors"] if start != IN_MOVIE]
        fragments = FragmentIndex(window, movie, about["first"], anchors)
        joined, at = _samples("fragment", stored, len(entries)), 0
        for start, moof_stop, then, count, timed in stored["fragments"].tolist():
            fragments.restore(Fragment(start, moof_stop, joined.part(at, at + count), bool(timed)), then)
            at += count
        for start, led in about["leads"]:
            fragments.restore_lead(start, led)
        if at != len(joined):
            raise ValueError("the fragments do not add up")
    return VideoIndex(
        window, movie, identity, fragments, about["kind"], list(about["notes"]), about["stated_end"]
    )


def _columns(prefix: str, samples: Samples) -> dict[str, np.ndarray]:
    """Times and offsets as differences to the sample before."""
    columns = {name: getattr(samples, name) for name in COLUMNS}
    columns |= {
        "offsets": np.diff(samples.offsets, prepend=0) - np.append(0, samples.sizes)[: len(samples)],
        "dts": np.diff(samples.dts, prepend=0),
        "pts": samples.pts - samples.dts,
    }
    return {f"{prefix}_{name}": column for name, column in columns.items()}


def _samples(prefix: str, stored: Any, entries: int) -> Samples:
    raw = {name: stored[f"{prefix}_{name}"] for name in COLUMNS}
    lengths = {column.shape for column in raw.values()}
    count = len(raw["sizes"])
    if lengths != {(count,)} or (raw["entry"] >= entries).any():
        raise ValueError("columns disagree")
    dts = np.cumsum(raw["dts"])
    offsets = np.cumsum(raw["offsets"] + np.append(0, raw["sizes"])[:count])
    return Samples(
        offsets.astype(np.int64),
        raw["sizes"].astype(np.int64),
        dts.astype(np.int64),
        (raw["pts"] + dts).astype(np.int64),
        raw["durations"].astype(np.int64),
        raw["key"].astype(bool),
        raw["entry"].astype(np.uint8),
    )


def _bad(name: str, why: str) -> BadInput:
    return BadInput(
        f"the stored index cannot be used: {why}", input=name, what_to_do="delete it: it is made anew."
    )

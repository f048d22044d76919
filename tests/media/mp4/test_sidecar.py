"""A stored index looks up the same pictures as the one it was made of, or is refused."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.fixtures.media_factory import MediaFactory
from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.opening import open_index
from video_pipeline.media.mp4.sidecar import MAGIC, dump_index, load_index
from video_pipeline.media.ranges.base import Traffic
from video_pipeline.media.ranges.file import FileSource

NAMES = (
    *("h264_b", "edit_empty", "rotated_90", "vfr_fragmented"),
    *("h264_fragmented", "h264_fragmented_hybrid", "av1_fragmented"),
    *("h264_fragmented_sidx", "h264_fragmented_mfra", "h264_fragmented_dash"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_index_finds_the_same_pictures_without_reading_the_file(
    name: str, media: MediaFactory
) -> None:
    traffic = Traffic()
    made = open_index(FileSource(media.path(name)), traffic)
    times = range(-1000, 40_000, 777)
    wanted = [made.select(time, traffic) for time in times]
    end = made.end(traffic)
    stored = load_index(dump_index(made), FileSource(media.path(name)), name="x.vpindex")
    quiet = Traffic()
    for time, selection in zip(times, wanted, strict=True):
        found = stored.select(time, quiet)
        assert (found.pts, found.media_pts, found.frame_index) == (
            selection.pts,
            selection.media_pts,
            selection.frame_index,
        )
        assert found.entry == selection.entry
        for column in ("offsets", "sizes", "pts", "dts", "key"):
            assert (getattr(found.samples, column) == getattr(selection.samples, column)).all()
    assert stored.end(quiet) == end
    assert (stored.track, stored.kind, stored.stated_end) == (made.track, made.kind, made.stated_end)
    assert stored.notes == made.notes
    assert not quiet.requests


def test_an_index_of_another_version_of_the_file_is_refused(media: MediaFactory, tmp_path) -> None:
    data = dump_index(open_index(FileSource(media.path("h264_b")), Traffic()))
    with pytest.raises(BadInput, match="another version"):
        load_index(data, FileSource(media.path("h264_faststart")), name="x.vpindex")


def test_damaged_bytes_are_refused_by_name(media: MediaFactory) -> None:
    path = media.path("h264_fragmented_mfra")
    data = dump_index(open_index(FileSource(path), Traffic()))
    chance = random.Random(3)
    for _ in range(300):
        damaged = bytearray(data)
        place = chance.randrange(len(damaged))
        if chance.random() < 0.2:
            del damaged[place:]
        else:
            damaged[place] ^= 1 << chance.randrange(8)
        with pytest.raises(BadInput) as caught:
            load_index(bytes(damaged), FileSource(path), name="x.vpindex")
        assert caught.value.input == "x.vpindex"


Change = Callable[[dict[str, Any]], Any]


def changed(data: bytes, change: Change) -> bytes:
    """A stored index whose checksum is right and whose parts are changed."""
    with np.load(io.BytesIO(data[len(MAGIC) + 32 :])) as stored:
        arrays = {name: stored[name].copy() for name in stored}
    about = json.loads(arrays["about"].tobytes())
    parts: dict[str, Any] = {**arrays, "about": about}
    change(parts)
    parts["about"] = np.frombuffer(json.dumps(parts["about"]).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **parts)
    packed = buffer.getvalue()
    return MAGIC + hashlib.sha256(packed).digest() + packed


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: parts["fragment_entry"].fill(1),
        lambda parts: parts.update(fragment_dts=parts["fragment_dts"][:-1]),
        lambda parts: parts["fragments"].__setitem__((0, 3), parts["fragments"][0, 3] - 1),
        lambda parts: parts.pop("anchors"),
        lambda parts: parts["about"].pop("track"),
        lambda parts: parts["about"]["track"]["entries"][0].update(extradata="no hex"),
        lambda parts: parts["about"]["leads"].append([12, 7]),
    ],
    ids=["entry", "column", "count", "anchors", "track", "extradata", "lead"],
)
def test_parts_that_disagree_are_refused_though_the_checksum_is_right(
    media: MediaFactory, change: Change
) -> None:
    path = media.path("h264_fragmented_mfra")
    index = open_index(FileSource(path), Traffic())
    index.all_samples(Traffic())
    data = dump_index(index)
    assert load_index(changed(data, lambda parts: None), FileSource(path), name="x").kind == "mfra"
    with pytest.raises(BadInput, match="its parts disagree") as caught:
        load_index(changed(data, change), FileSource(path), name="x.vpindex")
    assert caught.value.input == "x.vpindex"

"""Fragmented MP4 files whose times libav can only tell when it has looked ahead.

Belongs here: finding them by their first fragments. Does not belong here: reading them (`container`).

Composition offsets may be negative (ISO/IEC 14496-12:2022, 8.6.1.3), as writers of CMAF make them where
pictures are shown in another order than they are coded. libav then moves all times of the track by the lowest
that it has met (`mov_update_dts_shift` in libavformat/mov.c), so packets that come before that one have other
times than those behind it. A fragment that holds a group of pictures has met it. Where each picture is a
fragment, as in streams of low latency, the first has not: a key frame's offset is 0.
"""

from __future__ import annotations

import contextlib
from typing import BinaryIO

from video_pipeline.media.mp4.boxes import Malformed, parse_header, whole
from video_pipeline.media.mp4.fragments import lowest_offset

FRAGMENTS = 16
"""Looked at: more than pictures are reordered by in any codec here."""
WITHIN = 1 << 19
"""Bytes from the beginning: a stream of low latency has some hundred pictures in them."""
LARGEST = 1 << 16
"""Of a `moof` box of a few pictures; one of many has met the lowest offset itself."""


def comes_late(reader: BinaryIO, size: int) -> bool:
    """Whether a later one of the first fragments has a lower negative offset than the first. Leaves the
    reader somewhere else. A damaged structure is for who reads the file to tell."""
    lowest: list[int] = []
    at = 0
    with contextlib.suppress(Malformed):
        while at < min(size, WITHIN) and len(lowest) < FRAGMENTS:
            reader.seek(at)
            box = parse_header(reader.read(16), 0, at)
            if box.stop is None:
                break
            if box.kind == "moof":
                if box.stop - box.body > LARGEST:
                    break
                reader.seek(box.body)
                moof = whole(reader.read(box.stop - box.body), box.kind, box.body)
                lowest.append(min(0, lowest_offset(moof)))
                if lowest[-1] < lowest[0]:
                    return True
            at = box.stop
    return False

"""Finding fragments by bisection, in files that have no index of them.

Belongs here: probing places of the file for a fragment's header until few fragments are left to walk, and the
choice between that and walking from the start. Does not belong here: walking (`fragment_index.py`).
"""

from __future__ import annotations

from typing import Literal

from video_pipeline.media.mp4.boxes import HEADER
from video_pipeline.media.mp4.fragment_index import MAX_MOOF, FragmentIndex
from video_pipeline.media.mp4.fragments import Anchor, Fragment
from video_pipeline.media.mp4.window import latency
from video_pipeline.media.ranges.base import Traffic

Search = Literal["walk", "bisect"]

WALK_SECONDS = 1.0
"""A walk that takes no longer is preferred: it leaves an index of the whole file, and reads far fewer
bytes."""

NEAR = 2
"""Fragments that may be left between a known place and the wanted time; a walk over them costs less than a
probe."""

MAX_PROBES = 24
"""Per lookup. Interpolation needs two or three in real files; halving alone finds one fragment of 16
million."""


def choose_search(index: FragmentIndex, traffic: Traffic) -> tuple[Search, str]:
    """Walk or bisect, by the time a walk would take on this connection, and the reason in words."""
    fragment = typical_bytes(index)
    count = max(1, index.window.size // fragment)
    seconds = count * latency(traffic)
    said = f"about {count} fragments at {1000 * latency(traffic):.1f} ms a request are {seconds:.1f} s"
    return ("walk", said) if seconds <= WALK_SECONDS else ("bisect", said)


def typical_bytes(index: FragmentIndex) -> int:
    """Bytes from one fragment to the next: the mean of those known, at least 4 KiB."""
    spans = [then - fragment.start for fragment, then in index.loaded() if fragment.start >= 0]
    whole = [span for span in spans if span > 0]
    return max(4096, sum(whole) // len(whole)) if whole else max(4096, index.window.size // 64)


def narrow(index: FragmentIndex, media_time: int, traffic: Traffic) -> None:
    """Add places to `index` until the one before `media_time` lies at most NEAR fragments before it."""
    step = typical_bytes(index)
    for _ in range(MAX_PROBES):
        before, behind = _bracket(index, media_time)
        stop = behind.start if behind is not None else index.window.size
        if stop - max(0, before.start) <= (NEAR + 1) * step:
            return
        if behind is None:
            found = _first_after(index, max(before.start + 1, stop - step), stop, step, traffic)
            if found is None:
                # Nothing begins in the last stretch: one long fragment, or bytes that are no fragment.
                found = _first_after(index, before.start + 1, stop, step, traffic)
            if found is None:
                return
            continue
        share = (media_time - before.time) / max(1, behind.time - before.time)
        guess = before.start + int(share * (behind.start - before.start)) - step
        # Interpolation alone can creep; keep a tenth of the stretch on either side.
        edge = (behind.start - before.start) // 10
        guess = min(max(guess, before.start + 1), behind.start - edge)
        if _first_after(index, guess, behind.start, step, traffic) is None:
            found = _first_after(index, before.start + 1, guess, step, traffic)
            if found is None:
                return


def _bracket(index: FragmentIndex, media_time: int) -> tuple[Anchor, Anchor | None]:
    """The known places on either side of a time."""
    anchors = index.anchors()
    before = [anchor for anchor in anchors if anchor.time <= media_time] or anchors[:1]
    behind = [anchor for anchor in anchors if anchor.start > before[-1].start]
    return before[-1], behind[0] if behind else None


def _first_after(
    index: FragmentIndex, start: int, stop: int, block: int, traffic: Traffic
) -> Fragment | None:
    """Read the first fragment with pictures whose header begins in [start, stop), by looking for it in blocks
    of the file; None if there is none."""
    at = start
    while at < stop:
        end = min(stop + HEADER, at + block, index.window.size)
        data = index.window.source.read(at, end, purpose="index", traffic=traffic)
        index.window.keep(at, data)
        place = _header_in(data)
        while place is not None:
            fragment = index.read(at + place, traffic)
            if fragment is None:
                return None
            if len(fragment.samples):
                return fragment if fragment.start < stop else None
            place = _header_in(data, place + 8)
        if end - at <= HEADER:
            return None
        at = end - HEADER
    return None


def _header_in(data: bytes, start: int = 0) -> int | None:
    """Where a `moof` begins: its first child is an `mfhd` of 16 bytes (8.8.5), which makes twelve fixed
    bytes."""
    place = data.find(b"moof\0\0\0\x10mfhd", start + 4)
    while place >= 0:
        size = int.from_bytes(data[place - 4 : place], "big")
        if 24 <= size <= MAX_MOOF:
            return place - 4
        place = data.find(b"moof\0\0\0\x10mfhd", place + 1)
    return None

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

BLOCKS = 2
"""Blocks to which the bytes of a typical fragment are read. In one, a probe reads 1.0 of them; in two 0.75
and half a request more; in four 0.6 and one and a half more."""

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
        lowest = max(0, before.start) + 1
        if stop - lowest <= (NEAR + 1) * step:
            return
        if behind is None:
            # The end of the file first: its time is what interpolation needs, of all lookups.
            with index.first_probe:
                if _bracket(index, media_time)[1] is None and not _probe(
                    index, max(lowest, stop - step), lowest, stop, step, traffic
                ):
                    return
            if index.anchors()[-1].time <= media_time:
                return
            continue
        share = (media_time - before.time) / max(1, behind.time - before.time)
        guess = before.start + int(share * (stop - before.start)) - step
        # Interpolation alone can creep; keep a tenth of the stretch on either side.
        guess = min(guess, stop - (stop - before.start) // 10)
        if not _probe(index, max(lowest, guess), lowest, stop, step, traffic):
            return


def _probe(index: FragmentIndex, guess: int, lowest: int, stop: int, step: int, traffic: Traffic) -> bool:
    """Read a fragment that begins in [guess, stop), or else the nearest before that, ever further back."""
    reach = step
    while True:
        if _first_after(index, guess, stop, step, traffic) is not None:
            return True
        if guess <= lowest:
            return False
        guess, stop = max(lowest, guess - reach), guess
        reach *= 2


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
        end = min(stop + HEADER, at + block // BLOCKS, index.window.size)
        data = index.window.source.read(at, end, purpose="index", traffic=traffic)
        index.window.keep(at, data)
        place = header_in(data)
        while place is not None:
            fragment = index.read(at + place, traffic)
            if fragment is None:
                return None
            if len(fragment.samples):
                return fragment if fragment.start < stop else None
            place = header_in(data, place + 8)
        if end - at <= HEADER:
            return None
        at = end - HEADER
    return None


def header_in(data: bytes, start: int = 0) -> int | None:
    """Where a `moof` begins: its first child is an `mfhd` of 16 bytes (8.8.5), which makes twelve fixed
    bytes."""
    place = data.find(b"moof\0\0\0\x10mfhd", start + 4)
    while place >= 0:
        size = int.from_bytes(data[place - 4 : place], "big")
        if 24 <= size <= MAX_MOOF:
            return place - 4
        place = data.find(b"moof\0\0\0\x10mfhd", place + 1)
    return None

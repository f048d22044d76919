"""Which bytes to ask for, and reading them: the pictures from a key frame to a target, and little else.

Belongs here: joining selections that share pictures, joining ranges that nearly touch, reading them, and what
was needed of them. Does not belong here: finding selections (`media.mp4`), decoding, requests
(`media.ranges`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from video_pipeline.media.decode_memory import CodedPicture, CodedRun
from video_pipeline.media.mp4.index import Selection, VideoIndex
from video_pipeline.media.mp4.track import Samples
from video_pipeline.media.ranges.base import RangeSource, Traffic

GAP_BYTES = 16 << 10
"""Ranges this close are read as one: what lies between (mostly sound of the same moment, 4 to 16 KiB) costs
less than a request, which at 30 ms and 100 Mbit/s is worth 375 KB. Wider gaps are not read, since bytes count
too."""


@dataclass(frozen=True, eq=False)
class Group:
    """Pictures decoded in one go: `samples` in decode order, and the numbers of the frames that want one of
    them with its media PTS."""

    samples: Samples
    wanted: tuple[tuple[int, Selection], ...]

    @property
    def minimum_bytes(self) -> int:
        return int(self.samples.sizes.sum())


@dataclass(frozen=True, eq=False)
class Unit:
    """Groups whose bytes come by the same requests. `spans` are half-open ranges of the file, in order."""

    spans: tuple[tuple[int, int], ...]
    groups: tuple[Group, ...]

    @property
    def minimum_bytes(self) -> int:
        return sum(group.minimum_bytes for group in self.groups)


def plan_units(selections: Mapping[int, Selection]) -> list[Unit]:
    """Join the selections of one video (by frame number) into units, in order of the file.

    Selections that share a picture are decoded as one group; ranges of pictures at most GAP_BYTES apart
    become one span, and groups that share a span one unit.
    """
    groups = _groups(selections)
    spans: list[list[int]] = []
    for start, stop in sorted(pair for group in groups for pair in _ranges(group.samples)):
        if spans and start - spans[-1][1] <= GAP_BYTES:
            spans[-1][1] = max(spans[-1][1], stop)
        else:
            spans.append([start, stop])
    starts = np.array([start for start, _ in spans], np.int64)
    used = [np.unique(np.searchsorted(starts, group.samples.offsets, "right") - 1) for group in groups]
    units: list[tuple[set[int], list[Group]]] = []
    for group, places in zip(groups, used, strict=True):
        touching = [unit for unit in units if unit[0] & set(places.tolist())]
        joined = (set(places.tolist()).union(*(unit[0] for unit in touching)), [group])
        for unit in touching:
            joined[1][:0] = unit[1]
            units.remove(unit)
        units.append(joined)
    return [
        Unit(tuple((spans[place][0], spans[place][1]) for place in sorted(places)), tuple(members))
        for places, members in units
    ]


def _groups(selections: Mapping[int, Selection]) -> list[Group]:
    """Selections of overlapping runs joined, in order of decoding."""
    ordered = sorted(selections.items(), key=lambda item: (int(item[1].samples.dts[0]), item[0]))
    groups: list[Group] = []
    for number, selection in ordered:
        last = groups[-1] if groups else None
        if last is not None and int(selection.samples.dts[0]) <= int(last.samples.dts[-1]):
            joined = Samples.join([last.samples, selection.samples])
            _, order = np.unique(joined.dts, return_index=True)
            groups[-1] = Group(joined.take(order), (*last.wanted, (number, selection)))
        else:
            groups.append(Group(selection.samples, ((number, selection),)))
    return groups


def _ranges(samples: Samples) -> list[tuple[int, int]]:
    return [
        (int(start), int(start + size)) for start, size in zip(samples.offsets, samples.sizes, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Fetched:
    """Bytes of a unit's spans, by their first byte."""

    unit: Unit
    spans: tuple[tuple[int, bytes], ...]

    def run(self, group: Group, index: VideoIndex) -> CodedRun:
        """A group's coded pictures, as views into what was read."""
        starts = [start for start, _ in self.spans]
        pictures: list[CodedPicture] = []
        s = group.samples
        for offset, size, pts, dts, key in zip(s.offsets, s.sizes, s.pts, s.dts, s.key, strict=True):
            at = int(np.searchsorted(starts, offset, "right")) - 1
            inside = int(offset) - starts[at]
            data = memoryview(self.spans[at][1])[inside : inside + int(size)]
            pictures.append(CodedPicture(data, int(pts), int(dts), bool(key)))
        entry = group.wanted[0][1].entry
        return CodedRun(entry, index.track.time_base, index.track.orientation, pictures, index.name)


def fetch_unit(unit: Unit, source: RangeSource, traffic: Traffic) -> Fetched:
    """Read a unit's spans, each by one request."""
    return Fetched(
        unit,
        tuple(
            (start, source.read(start, stop, purpose="media", traffic=traffic)) for start, stop in unit.spans
        ),
    )


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` split by weight into integers that add up to it: what each frame bears of a common request."""
    whole = sum(weights)
    if not whole:
        return [total if place == 0 else 0 for place in range(len(weights))]
    ends = [total * sum(weights[: place + 1]) // whole for place in range(len(weights))]
    return [end - (ends[place - 1] if place else 0) for place, end in enumerate(ends)]

"""Extents after a second look: ends where a look put them, and no caption over another.

Belongs here: moving ends, and what must hold between neighbours. Does not belong here: looking (`look`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from video_pipeline.captions.extents import Extent
from video_pipeline.captions.windows import End

if TYPE_CHECKING:
    from video_pipeline.captions.document import Edge
    from video_pipeline.captions.look import Change

Changes = dict[tuple[int, End], "Change"]


def settled(
    extents: Sequence[Extent], changes: Mapping[tuple[int, End], Change]
) -> tuple[list[Extent], Changes]:
    """The extents with their ends at the samples of `changes`, which are by number (from 1) and end, and the
    changes that hold.

    Where one caption fades out while the next one fades in, both may be half opaque at once: the first ends
    where the second starts. No caption becomes empty: a window ends at the middle of its own caption, and
    reaches no further than that of its neighbour (`windows.spans`).
    """
    held: Changes = dict(changes)
    for number in range(1, len(extents)):
        end, start = held.get((number, "end")), held.get((number + 1, "start"))
        if end and start and (end.sample, end.pts) > (start.sample, start.pts):
            held[number, "end"] = replace(start, number=number, end="end")
    moved = [_moved(extent, number, held) for number, extent in enumerate(extents, 1)]
    return [beside(moved, at) for at in range(len(moved))], held


def _moved(extent: Extent, number: int, changes: Changes) -> Extent:
    start, end = changes.get((number, "start")), changes.get((number, "end"))
    if start is not None:
        sure = _sure(extent.start_confidence, start)
        extent = replace(extent, first_frame=start.sample, start_confidence=sure)
    if end is not None:
        sure = _sure(extent.end_confidence, end)
        extent = replace(extent, end_frame=end.sample, end_confidence=sure)
    return extent


def _sure(confidence: float, change: Change) -> float:
    """A fade's own confidence, or that of the pairs with its odds multiplied."""
    if change.confidence is not None:
        return change.confidence
    return confidence * change.odds / (confidence * change.odds + 1 - confidence)


def beside(moved: Sequence[Extent], at: int) -> Extent:
    """An extent with what lies beside it now: a fade may open a gap between two captions, or close one."""
    extent = moved[at]

    def edge(was: Edge, touches: bool) -> Edge:
        return "video_edge" if was == "video_edge" else "other_caption" if touches else "empty"

    before = at > 0 and moved[at - 1].end_frame == extent.first_frame
    after = at + 1 < len(moved) and moved[at + 1].first_frame == extent.end_frame
    return replace(
        extent, start_beside=edge(extent.start_beside, before), end_beside=edge(extent.end_beside, after)
    )

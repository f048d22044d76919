"""Which moments of a video are looked at.

Belongs here: strategies, and how a seed becomes times. Does not belong here: which picture is on screen then
(`media.mp4`). Pure but for what an index is asked.

A time depends on the seed, the number of the batch and the number of the video in the request, and on nothing
that is measured: the same request gives the same frames, however its work completes.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np

from video_pipeline.errors import BadInput
from video_pipeline.media.mp4.index import VideoIndex
from video_pipeline.media.ranges.base import Traffic

Strategy = Literal["random", "uniform", "timestamps", "key_frames"]

_MICROSECONDS = 1_000_000


def sample_times(
    index: VideoIndex,
    traffic: Traffic,
    *,
    strategy: Strategy,
    seed: int,
    batch: int,
    batches: int,
    video: int,
    offset_max: Fraction | None,
    frames: int,
    stride: Fraction,
    timestamps: Sequence[Fraction],
) -> list[Fraction]:
    """Seconds on the movie's timeline of the `frames` frames that one batch takes of one video, `stride`
    apart.

    random: uniform over [0, offset_max), or the video's length if that is less. uniform: the middle of the
    batch's equal share of it. key_frames: one of the key frames in it, each as likely. timestamps: that of
    the batch's number. Where `frames` do not fit behind a start, the last ones are the video's last picture.
    BadInput if a timestamp lies outside of the video.
    """
    if strategy == "timestamps":
        start = timestamps[batch]
        _check_inside(index, traffic, start)
    else:
        room = _room(index, traffic, offset_max, (frames - 1) * stride)
        chance = np.random.default_rng([seed, batch, video])
        if strategy == "random":
            start = Fraction(int(chance.random() * float(room) * _MICROSECONDS), _MICROSECONDS)
        elif strategy == "uniform":
            start = room * (2 * batch + 1) / (2 * batches)
        else:
            keys = index.key_frame_times(traffic)
            inside = keys[keys * float(index.track.time_base) < max(float(room), 1e-9)]
            pick = (inside if len(inside) else keys[:1])[int(chance.integers(max(1, len(inside))))]
            start = max(Fraction(0), int(pick) * index.track.time_base)
    return [start + number * stride for number in range(frames)]


def _room(index: VideoIndex, traffic: Traffic, offset_max: Fraction | None, span: Fraction) -> Fraction:
    """Seconds in which a sample may start."""
    if offset_max is not None and _reaches(index, offset_max + span):
        return offset_max
    length = max(Fraction(0), index.end(traffic) * index.track.time_base)
    room = max(Fraction(0), length - span)
    return room if offset_max is None else min(offset_max, room)


def _reaches(index: VideoIndex, seconds: Fraction) -> bool:
    """Whether a fragmented video is known to be longer without reading its last fragment's header."""
    if index.fragments is None or index.stated_end is not None:
        return False
    shift = index.track.edits[0].shift
    latest = max(anchor.time for anchor in index.fragments.anchors()) + shift
    return latest * index.track.time_base >= seconds


def _check_inside(index: VideoIndex, traffic: Traffic, seconds: Fraction) -> None:
    if seconds < 0:
        raise BadInput(
            f"timestamp {float(seconds):g} s is negative", input=index.name, what_to_do="use 0 or more."
        )
    if _reaches(index, seconds):
        return
    end = index.end(traffic) * index.track.time_base
    if seconds >= end:
        raise BadInput(
            f"timestamp {float(seconds):g} s lies behind the video's end at {float(end):.3f} s",
            input=index.name,
            what_to_do="choose an earlier time.",
        )

"""Which chunk holds which frame, and the assembler that turns a stream of frames into chunks.

The pyramid (DESIGN, section 5) holds every sampled frame exactly once: level 16 the frames with i % 16 == 0,
level 4 those with i % 4 == 0 that level 16 has not, level 1 the rest. A chunk of level M covers the window
of 32 M frame numbers that begins at `window = i // (32 M) * 32 M`, so a player computes name and position
of any frame without listing anything. `captions/player/chunk_address.js` is the same function for a player;
a test holds the two equal.

Belongs here: integer arithmetic on frame numbers, and grouping. Does not belong here: pixels, encoding
(`media.vp9`), full object keys (`keys.chunk_key`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from video_pipeline.errors import Internal

LEVELS = (16, 4, 1)
"""The pyramid's levels, coarse to fine: a player that loads them in this order can scrub at once."""

WINDOW_STEPS = 32
"""A chunk of level M covers 32 M frame numbers."""

FULL_CHUNK = {16: 32, 4: 24, 1: 24}
"""Pictures in a chunk whose window lies wholly inside the video."""

FrameT = TypeVar("FrameT")


def level_of(index: int) -> int:
    """The level (16, 4 or 1) that holds frame `index`, 0-based."""
    _check_index(index)
    return 16 if index % 16 == 0 else 4 if index % 4 == 0 else 1


def window_of(index: int, level: int) -> int:
    """The first frame number of the level's window around `index`; it names the chunk."""
    _check_index(index)
    span = window_span(level)
    return index // span * span


def window_span(level: int) -> int:
    """How many frame numbers a window of `level` covers: 512, 128 or 32."""
    _check_level(level)
    return WINDOW_STEPS * level


def position_in_chunk(index: int) -> int:
    """The 0-based position of frame `index` among its chunk's pictures."""
    level = level_of(index)
    rest = index % window_span(level)
    if level == 16:
        return rest // 16
    if level == 4:
        return rest // 4 - rest // 16 - 1
    return rest - rest // 4 - 1


def chunk_address(index: int) -> tuple[int, int, int]:
    """`(level, window, position)`: the one chunk that holds frame `index`, and where in it."""
    level = level_of(index)
    return level, window_of(index, level), position_in_chunk(index)


def chunk_name(level: int, window: int) -> str:
    """A chunk's name below its recipe's prefix, e.g. `modulo_4/chunk_0000000128.webm`."""
    _check_window(level, window)
    return f"modulo_{level}/chunk_{window:010d}.webm"


def pictures_in_window(level: int, window: int, frame_count: int) -> list[int]:
    """The frame numbers of one chunk, in order, in a video of `frame_count` frames; may be empty."""
    _check_window(level, window)
    _check_count(frame_count)
    stop = min(window + window_span(level), frame_count)
    return [index for index in range(window, stop, level) if level_of(index) == level]


def windows(level: int, frame_count: int) -> list[int]:
    """The windows of `level` that hold at least one picture: exactly the chunks that exist."""
    _check_level(level)
    _check_count(frame_count)
    first = {16: 0, 4: 4, 1: 1}[level]  # a window's first picture stands this far after its start
    return list(range(0, max(frame_count - first, 0), window_span(level)))


def all_chunks(frame_count: int) -> Iterator[tuple[int, int]]:
    """Every `(level, window)` of a video of `frame_count` frames, coarse to fine, each level in order."""
    for level in LEVELS:
        for window in windows(level, frame_count):
            yield level, window


@dataclass(frozen=True, slots=True)
class ChunkJob(Generic[FrameT]):
    """One chunk to encode: `frames[j]` is frame number `indices[j]` and becomes picture j."""

    level: int
    window: int
    indices: tuple[int, ...]
    frames: tuple[FrameT, ...]

    @property
    def name(self) -> str:
        return chunk_name(self.level, self.window)


class ChunkAssembler(Generic[FrameT]):
    """Groups the frames 0, 1, 2, … of one video into chunks; the order of the jobs depends on nothing else.

    A job leaves with the push of its window's last picture (so a push gives at most one), and the tails
    leave with `finish`, coarse to fine. At most 31 + 23 + 23 = 77 frames are held between two pushes, for
    any length. Not thread-safe: it belongs to one stage with one worker.
    """

    def __init__(self) -> None:
        self._next = 0
        self._finished = False
        self._held: dict[int, list[tuple[int, FrameT]]] = {level: [] for level in LEVELS}

    @property
    def frames_held(self) -> int:
        return sum(len(members) for members in self._held.values())

    def push(self, index: int, frame: FrameT) -> list[ChunkJob[FrameT]]:
        """Takes the next frame; returns the chunk it completes, if it completes one.

        Raises `Internal` for an index that does not follow the last one (a lost, repeated or reordered
        frame) and for a push after `finish`.
        """
        if self._finished:
            raise Internal(f"frame {index} came after the end of the chunks was announced")
        if index != self._next:
            raise Internal(
                f"the chunk assembler expected frame {self._next} and got {index}: a frame was lost, "
                "repeated or reordered on the way"
            )
        self._next += 1
        level = level_of(index)
        members = self._held[level]
        members.append((index, frame))
        return [self._release(level)] if len(members) == FULL_CHUNK[level] else []

    def finish(self) -> list[ChunkJob[FrameT]]:
        """Returns the incomplete chunks at the end, coarse to fine. A second call returns nothing."""
        self._finished = True
        return [self._release(level) for level in LEVELS if self._held[level]]

    def _release(self, level: int) -> ChunkJob[FrameT]:
        members = self._held[level]
        self._held[level] = []
        return ChunkJob(
            level=level,
            window=window_of(members[0][0], level),
            indices=tuple(index for index, _ in members),
            frames=tuple(frame for _, frame in members),
        )


def _check_index(index: int) -> None:
    if index < 0:
        raise ValueError(f"frame numbers begin at 0, not {index}")


def _check_count(frame_count: int) -> None:
    if frame_count < 0:
        raise ValueError(f"a video does not have {frame_count} frames")


def _check_level(level: int) -> None:
    if level not in LEVELS:
        raise ValueError(f"there is no level {level}: the levels are 16, 4 and 1")


def _check_window(level: int, window: int) -> None:
    if window < 0 or window % window_span(level):
        raise ValueError(f"no chunk at level {level} begins at frame {window}")

"""What travels through the stream of a sampling run.

Belongs here: frames that are wanted, ready and failed, what is planned and fetched for them, and what that
cost. Does not belong here: the work (`stream`), the result (`account`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from video_pipeline.errors import PipelineError
from video_pipeline.media.decode_memory import MemoryDecoder
from video_pipeline.media.mp4.index import Selection, VideoIndex
from video_pipeline.media.ranges.base import RangeSource, RequestRecord
from video_pipeline.sampling.fetch import Fetched, Group, Unit

if TYPE_CHECKING:
    from torch import Tensor

    from video_pipeline.models.classifier_spec import Prediction


@dataclass(frozen=True, slots=True)
class Visit:
    """One video and the batches for which it is looked into at once."""

    video: int
    batches: range


@dataclass(frozen=True, slots=True)
class Wanted:
    """Frame `frame` of the sample that batch `batch` takes of video `video`; `seconds` once it is chosen."""

    batch: int
    video: int
    frame: int
    seconds: Fraction | None = None


@dataclass(slots=True)
class Cost:
    """What one frame bears of requests, bytes and decoding."""

    requests: int = 0
    index_bytes: int = 0
    media_bytes: int = 0
    useful_bytes: int = 0
    pictures_decoded: int = 0
    index_was_at_hand: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Delivered:
    """A decoded frame: `pixels` (1, 3, H, W) float32, the network's input; then its `prediction`."""

    wanted: Wanted
    selection: Selection
    time_base: Fraction
    width: int
    height: int
    decoder: str
    cost: Cost
    pixels: Tensor
    png: bytes | None
    prediction: Prediction | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A frame that nobody gets, and why."""

    wanted: Wanted
    error: PipelineError
    cost: Cost


@dataclass(slots=True)
class VideoLog:
    """What is told of one video. Filled by whichever worker is at it; requests are added under a lock."""

    address: str
    requests: list[RequestRecord] = field(default_factory=list)
    index_kind: str | None = None
    index_was_at_hand: bool = False
    codec: str | None = None
    decoder: str | None = None
    decoder_reason: str | None = None
    notes: Sequence[str] = ()
    error: PipelineError | None = None
    useful_bytes: int = 0
    minimum_bytes: int = 0
    file_bytes: int | None = None


@dataclass(frozen=True, eq=False)
class PlannedUnit:
    """A unit of one video on its way: `wanted` and `costs` by frame number within the visit, also of frames
    that are in other units."""

    video: int
    source: RangeSource
    index: VideoIndex
    decoder: MemoryDecoder
    unit: Unit
    wanted: Mapping[int, Wanted]
    costs: Mapping[int, Cost]

    @property
    def numbers(self) -> list[int]:
        """The frames that are in this unit."""
        return [number for group in self.unit.groups for number, _ in group.wanted]


@dataclass(frozen=True, eq=False)
class FetchedGroup:
    """One group of a fetched unit."""

    work: PlannedUnit
    fetched: Fetched
    group: Group

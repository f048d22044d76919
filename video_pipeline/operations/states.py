"""How far partitions are: done, failed, in progress or missing. Plain values, without Dagster.

Belongs here: what a run that failed left behind, the states of one product's partitions, and which assets a
request asks for. Does not belong here: reading states (`resources.history`), choosing (`backfill`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime

from video_pipeline.clips.intake import ClipRequest, load_clip_request
from video_pipeline.keys import ClipId
from video_pipeline.store.base import ObjectStore

FAILURE_KIND_TAG = "video_pipeline/failure_kind"
"""On a run that failed: the kind of its error (`errors.ErrorKind`), so that nobody has to read its events."""

FAILURE_OF_TAG = "video_pipeline/failure_of"
"""Beside it, the id of the run that failed so: Dagster copies tags to a run that is started again, in the UI
too, and what was wrong with the first need not be what is wrong with the second."""

NOT_TRIED_AGAIN = ("bad_input",)
"""Kinds of failure that come again for the same inputs."""

CANCELLED = "cancelled"
"""The kind of a run that a person ended: in the UI, or by cancelling its call."""


@dataclass(frozen=True, slots=True)
class Product:
    """What one job makes for each partition of one kind.

    `ends` are the assets after which a partition is done: each was made, or left out by a run that succeeded.
    `optional`: which of them a partition needs is said by its request only.
    """

    name: str
    partitions: str
    job: str
    assets: tuple[str, ...]
    ends: tuple[str, ...]
    tasks: tuple[str, ...]
    """The calls that a whole run makes at most, by task: they bound what it may cost."""
    optional: bool = False


CAPTIONS = Product(
    name="captions",
    partitions="videos",
    job="caption_video",
    assets=(
        "source_video",
        "caption_layout",
        "cropped_frames",
        "caption_frame_extents",
        "vp9_chunks",
        "captions",
        "wasabi_upload",
    ),
    ends=("wasabi_upload",),
    tasks=("find_caption_layout", "crop_and_infer_caption_frame_extents", "read_captions"),
)
SAMPLES = Product(
    name="samples",
    partitions="samples",
    job="sample_videos",
    assets=("frame_samples", "frame_predictions"),
    ends=("frame_samples", "frame_predictions"),
    tasks=("run_inference",),
)
CLIPS = Product(
    name="clips",
    partitions="clips",
    job="make_clip",
    assets=("clip", "player_detections", "overlay_clip", "framed_clip"),
    ends=("clip", "player_detections", "overlay_clip", "framed_clip"),
    tasks=(
        "extract_clip",
        "detect_players_batch",
        "render_overlay",
        "process_framing_ai_parallel",
        *("process_framing_ai_chunk",) * 64,
    ),
    optional=True,
)
JOINED = Product(
    name="joined clips",
    partitions="clips",
    job="join_clips",
    assets=("multi_clip", "annotated_compilation"),
    ends=("multi_clip", "annotated_compilation"),
    tasks=("process_multi_clip", "create_annotated_compilation"),
    optional=True,
)
PRODUCTS = (CAPTIONS, SAMPLES, CLIPS, JOINED)


@dataclass(frozen=True, slots=True)
class FailedRun:
    """The last attempt at a partition, which failed or was cancelled. Times in seconds since the epoch."""

    run_id: str
    job: str
    began: float
    ended: float
    kind: str | None = None
    retry_due: bool = False
    """Whether Dagster is about to start it again by itself."""
    assets: frozenset[str] = frozenset()
    """The products' ends that it was to make and did not."""

    @property
    def ended_at(self) -> str:
        return f"{datetime.fromtimestamp(self.ended, UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class States:
    """The partitions of one product. `registered` in the order of registration, oldest first.

    Every key of `done`, `active`, `failed`, `cancelled` and `stale` is registered. `active`: queued, running,
    about to be retried, or in a backfill that has not asked for it yet; such a key may stand in another set
    too. `cancelled`: a person ended the last attempt, and nothing was made before that would do; where one of
    several ends failed earlier, such a key stands in `failed` too.
    """

    registered: Sequence[str]
    done: AbstractSet[str] = frozenset()
    active: AbstractSet[str] = frozenset()
    failed: Mapping[str, FailedRun] = field(default_factory=dict)
    cancelled: Mapping[str, FailedRun] = field(default_factory=dict)
    stale: AbstractSet[str] = frozenset()
    made: Mapping[str, AbstractSet[str]] = field(default_factory=dict)
    """By asset: the partitions for which it was made, or left out because nothing asks for it."""


Asked = Callable[[str], AbstractSet[str]]
"""The assets that a partition's request asks for, by partition key."""


def asked_of_clip(asked: ClipRequest) -> frozenset[str]:
    """The assets that a clip's request asks for (`assets.clips`)."""
    sections = {
        "clip": asked.source_key,
        "overlay_clip": asked.source_key,
        "player_detections": asked.players,
        "framed_clip": asked.framing,
        "multi_clip": asked.multi_clip,
        "annotated_compilation": asked.compilation,
    }
    return frozenset(name for name, section in sections.items() if section is not None)


def clip_reader(store: ObjectStore) -> Asked:
    """Reads requests of clips from the store. Raises what reading does; `BadInput` for a wrong request."""
    return lambda key: asked_of_clip(load_clip_request(store, ClipId.from_partition_key(key)))

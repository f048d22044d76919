"""`detect_players` and `detect_players_batch`: who is in chosen pictures of a video, and where.

Belongs here: the tasks: moments to pictures to boxes to objects in the store. Does not belong here: which
pictures those are (`detection_pictures.py`), the network (`models.person_detector`), following people.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from video_pipeline import keys
from video_pipeline.clips.detect_request import (
    MAX_DRAWN,
    DetectedFrame,
    Detecting,
    DetectPlayersBatchRequest,
    DetectPlayersRequest,
    DetectPlayersResult,
    PlayerBox,
    moment,
)
from video_pipeline.clips.detection_pictures import PictureAt, moments_at_rate, pictures_at
from video_pipeline.clips.preview_cost import foretold
from video_pipeline.clips.publishing import clip_recipe, input_versions, put_checked
from video_pipeline.clips.shots import preview_numbers
from video_pipeline.clips.sources import StoreSources
from video_pipeline.errors import BadInput
from video_pipeline.keys import ClipId
from video_pipeline.media.clip_source import ClipSource
from video_pipeline.store.base import ObjectMissing
from video_pipeline.telemetry.timing import timed_operation
from video_pipeline.telemetry.usage import FramePace

if TYPE_CHECKING:
    import torch

    from video_pipeline.models.person_detector import Detection, Detector
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.worker import TaskContext

VERSION = 1
"""Bumped when the same request may give another result."""

DETECTIONS = "detections.json"
PREVIEW = "preview.json"
"""Under another name: who looks for detections means those of all pictures that were asked for."""


def detect_players(request: DetectPlayersRequest, context: TaskContext) -> DetectPlayersResult:
    """The task: one picture."""
    return _detected("detect_players", request, context)


def detect_players_batch(request: DetectPlayersBatchRequest, context: TaskContext) -> DetectPlayersResult:
    """The task: many pictures of one video."""
    return _detected("detect_players_batch", request, context)


def moments_of(request: Detecting, source: ClipSource) -> list[Fraction]:
    """The seconds at which pictures are asked for, in the order of the request."""
    if isinstance(request, DetectPlayersRequest):
        return [moment(request.time)]
    assert isinstance(request, DetectPlayersBatchRequest), type(request)
    if request.timestamps is not None:
        return [moment(time) for time in request.timestamps]
    assert request.rate is not None, "the model has checked it"
    start, stop = (None if time is None else moment(time) for time in (request.start, request.stop))
    moments = moments_at_rate(source, Fraction(request.rate), start, stop)
    if request.draw and len(moments) > MAX_DRAWN:
        raise BadInput(
            f"{len(moments)} pictures are asked for, and no more than {MAX_DRAWN} are drawn",
            input=source.name,
            what_to_do="say draw=false, or choose a lower rate or a shorter part.",
        )
    return moments


def _detected(kind: str, request: Detecting, context: TaskContext) -> DetectPlayersResult:
    started = time.monotonic()
    detector = _load(request, context)
    versions = input_versions(request, context.store)
    recipe = clip_recipe(kind, VERSION, request, versions)
    prefix = keys.clip_prefix(ClipId(request.tenant_id, request.clip_id), recipe)
    preview = request.preview if isinstance(request, DetectPlayersBatchRequest) else None
    name = DETECTIONS
    if preview is not None:
        prefix, name = f"{prefix}preview/{preview:02d}/", PREVIEW
    elif (done := _existing(context.store, f"{prefix}{name}")) is not None:
        return done
    sources = StoreSources(context.store, [request.source_key], versions)
    with sources.open(0) as source:
        moments, cost = moments_of(request, source), {}
        if preview is not None:
            request = request.model_copy(update={"draw": True})
            every = sorted(set(moments))
            pictures_at(source, every)  # refuses what the whole would refuse; reads nothing yet
            moments = [every[place] for place in preview_numbers(len(every), preview)]
            cost = {"preview_of": len(every), **foretold(context, kind, len(every))}
        run = _Run(request, context, detector, source, prefix, started)
        run.go(moments)
        result = DetectPlayersResult(
            kind=kind,
            recipe=recipe,
            source_key=request.source_key,
            time_base=str(source.time_base),
            frames=tuple(run.rows[index] for index in sorted(run.rows)),
            detected_pictures=run.pictures,
            detections=run.detections,
            pictures_without=run.without,
            min_confidence=request.min_confidence,
            classes=request.classes,
            model="nanodet_g",
            model_sha256=detector.sha256,
            device=str(detector.device),
            detections_key=f"{prefix}{name}",
            picture_keys=tuple(run.picture_keys),
            seconds_taken=round(time.monotonic() - started, 3),
            notes=source.notes,
            **cost,
        )
    context.usage.bytes_read = sources.bytes_read
    if preview is None:
        # A few pictures far apart are other work than what models of this task are fitted to.
        context.usage.frames = run.pictures
    put_checked(context.store, result.detections_key, result.model_dump_json(indent=1).encode())
    return result


def _load(request: Detecting, context: TaskContext) -> Detector:
    """The detector, on the GPU if there is one. BadInput for unusable weights and for unknown classes."""
    import torch

    from video_pipeline.models import kept
    from video_pipeline.models.nanodet import COCO_CLASSES
    from video_pipeline.models.person_detector import load_detector

    unknown = [name for name in request.classes if name not in COCO_CLASSES]
    if unknown:
        raise BadInput(
            "the detector does not know these classes",
            input=f"classes: {', '.join(unknown)}",
            what_to_do=f"choose among: {', '.join(COCO_CLASSES)}",
        )
    weights: Path | None = None
    if request.weights_key is not None:
        weights = context.scratch / "detector.safetensors"
        weights.write_bytes(context.store.get(request.weights_key))
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    with timed_operation("model_load"):
        try:
            return kept.detector(device) if weights is None else load_detector(device, weights)
        except BadInput as error:
            if request.weights_key is None:
                raise
            raise BadInput(error.message, input=request.weights_key, what_to_do=error.what_to_do) from error


def _existing(store: ObjectStore, key: str) -> DetectPlayersResult | None:
    """What the same recipe gave, if all of it is still there."""
    try:
        result = DetectPlayersResult.model_validate_json(store.get(key))
    except (ObjectMissing, ValidationError):
        return None
    if any(store.head(picture) is None for picture in result.picture_keys):
        return None
    return result.model_copy(update={"made": False})


@dataclass
class _Run:
    """One pass over the pictures: decoded, detected and stored a batch at a time."""

    request: Detecting
    context: TaskContext
    detector: Detector
    source: ClipSource
    prefix: str
    started: float
    rows: dict[int, DetectedFrame] = field(default_factory=dict)
    picture_keys: list[str] = field(default_factory=list)
    pictures: int = 0
    detections: int = 0
    without: int = 0

    def go(self, moments: Sequence[Fraction]) -> None:
        from video_pipeline.models.person_detector import BATCH, BATCH_PIXELS

        pixels = self.source.width * self.source.height
        at_once = max(1, min(BATCH, BATCH_PIXELS // pixels))
        found, pace = pictures_at(self.source, moments), FramePace(self.context.usage)
        while batch := self._decoded(found, at_once):
            self.context.cancel.raise_if_cancelled()
            self._detect(batch, moments)
            pace.done(len(batch))
            self.context.progress("detect", len(self.rows), len(moments), unit="frames", started=self.started)

    def _decoded(self, found: Iterator[PictureAt], at_once: int) -> list[PictureAt]:
        with timed_operation("decode"):
            return list(islice(found, at_once))

    def _detect(self, batch: Sequence[PictureAt], moments: Sequence[Fraction]) -> None:
        from video_pipeline.models.person_detector import draw_detections

        with timed_operation("inference"):
            rgb = _rgb(batch, self.detector.device)
            found = self.detector.detect(
                rgb, min_confidence=self.request.min_confidence, classes=self.request.classes
            )
        for at, picture, detections in zip(batch, rgb, found, strict=True):
            key = None
            if self.request.draw:
                key = f"{self.prefix}picture_{self.pictures:05d}.png"
                with timed_operation("draw"):
                    png = _png(draw_detections(picture, detections))
                put_checked(self.context.store, key, png)
                self.picture_keys.append(key)
            boxes = tuple(_box(detection) for detection in detections)
            for index in at.asked:
                self.rows[index] = DetectedFrame(
                    asked_seconds=float(moments[index]),
                    seconds=float(at.picture.pts * self.source.time_base),
                    pts=at.picture.pts,
                    width=self.source.width,
                    height=self.source.height,
                    detections=boxes,
                    picture_key=key,
                )
            self.pictures += 1
            self.detections += len(boxes)
            self.without += not boxes


def _box(detection: Detection) -> PlayerBox:
    """Hundredths of a pixel and ten-thousandths of certainty: beyond that a batch's size changes them."""
    fields = asdict(detection)
    places = {name: 4 if name == "confidence" else 2 for name in fields if name != "class_name"}
    return PlayerBox(**fields | {name: round(fields[name], digits) for name, digits in places.items()})


def _rgb(batch: Sequence[PictureAt], device: torch.device) -> torch.Tensor:
    """The pictures as RGB (B, H, W, 3) uint8 on the device; only planes travel to it."""
    import torch

    from video_pipeline.media.colour_torch import cut_planes, rgb_from_planes

    pictures = []
    for at in batch:
        frame = at.picture.frame
        planes = cut_planes(frame, 0, 0, frame.width, frame.height)
        y, u, v = (torch.from_numpy(plane)[None].to(device) for plane in planes)
        pictures.append(rgb_from_planes(y, u, v))
    return torch.cat(pictures)


def _png(picture: torch.Tensor) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture.numpy()).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()

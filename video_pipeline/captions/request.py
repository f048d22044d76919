"""What one asks of the caption pass and what it answers: JSON on the wire, strict models in code.

Belongs here: the request and result of `crop_and_infer_caption_frame_extents`, and the caption request a
partition keeps in the store. Does not belong here: media, models, torch. Pure pydantic.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from video_pipeline.keys import VideoId, check_key
from video_pipeline.media.geometry import CropRegion
from video_pipeline.strict import StrictModel, fraction_of

Stage = Literal["cropped_frames", "caption_frame_extents", "vp9_chunks"]
STAGES: tuple[Stage, ...] = ("cropped_frames", "caption_frame_extents", "vp9_chunks")
"""The stages of one pass, in the order in which a frame meets them; also the assets' names."""

MAX_RATE = 240


def _to_rate(value: object) -> Fraction:
    """A rate in Hz from a number, `"30000/1001"` or `"12.5"`; a float counts as its shortest decimal."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        raise ValueError(f"{value!r} is not a frame rate: a number or a fraction such as '30000/1001'")
    try:
        if isinstance(value, str):
            rate = fraction_of(value)
        else:
            rate = Fraction(repr(value) if isinstance(value, float) else value)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"{str(value)[:40]!r} is not a frame rate: a number or a fraction such as '30000/1001'"
        ) from None
    if not 0 < rate <= MAX_RATE:
        raise ValueError(f"the frame rate {rate} Hz is outside 0 < rate <= {MAX_RATE}")
    if rate.denominator > 100_000 or rate.numerator > 24_000_000:
        raise ValueError(f"the frame rate {rate} has more digits than any video's: use a simpler fraction")
    return rate


Rate = Annotated[Fraction, BeforeValidator(_to_rate), PlainSerializer(str, return_type=str)]


def _auto_is_nothing(value: object) -> object:
    """`auto` means what saying nothing means, so that both are one call."""
    if value == "auto":
        return None
    if isinstance(value, str) and not value.strip().isdecimal():
        raise ValueError(f"{value[:40]!r} is no number of workers: give 1 to 64, or 'auto' for every core")
    return value


EncoderWorkers = Annotated[Annotated[int, Field(ge=1, le=64)] | None, BeforeValidator(_auto_is_nothing)]


class CaptionRequest(StrictModel):
    """`caption_request.json`: what a person wants for one video. Lives in the store, never in run config.

    Without `crop_region` the region is found by `find_caption_layout`.
    """

    crop_region: CropRegion | None = None
    frame_rate: Rate = Fraction(10)
    preset: Literal["fast", "small"] = "fast"
    model_key: str | None = None


class CropAndInferRequest(StrictModel):
    """The request of `crop_and_infer_caption_frame_extents`.

    `frame_rate` is the sample rate in Hz. `encoder_workers` is 1 to 64; `auto`, or nothing, is every core the
    worker has. The cost model chooses nothing here: a pass is one call, and the same chunks are encoded by
    however many workers. What it foretells of a pass stands beside the outcome in the call's
    usage (`foretelling`). `stages` names what to make; a stage whose recipe is already in the store is not
    made again.
    """

    video_key: str
    tenant_id: str
    video_id: str
    crop_region: CropRegion
    frame_rate: Rate = Fraction(10)
    encoder_workers: EncoderWorkers = None
    inference_batch_size: int = Field(default=32, ge=1, le=1024)
    preset: Literal["fast", "small"] = "fast"
    model_key: str | None = None
    stages: tuple[Stage, ...] = STAGES

    @model_validator(mode="after")
    def _names_and_keys_are_clean(self) -> CropAndInferRequest:
        video = VideoId(self.tenant_id, self.video_id)
        check_key(self.video_key, tenant=video.tenant)
        if self.model_key is not None:
            check_key(self.model_key, tenant=video.tenant)
        if not self.stages:
            raise ValueError(f"stages is empty: name at least one of {', '.join(STAGES)}")
        ordered = tuple(stage for stage in STAGES if stage in self.stages)
        if ordered != self.stages:
            # One canonical order: the same stages must give the same call key.
            object.__setattr__(self, "stages", ordered)
        return self

    @property
    def video(self) -> VideoId:
        return VideoId(self.tenant_id, self.video_id)

    def input_keys(self) -> dict[str, str]:
        """The store objects this request reads: they enter the call key by version."""
        keys = {"video": self.video_key}
        if self.model_key is not None:
            keys["model"] = self.model_key
        return keys

    def shipped_inputs(self) -> dict[str, str]:
        """Inputs that ship with the code, by hash: new weights are a new call."""
        if self.model_key is not None or "caption_frame_extents" not in self.stages:
            return {}
        from video_pipeline.models.weights import weights_sha256

        return {"weights": weights_sha256(None)}


class FindLayoutRequest(StrictModel):
    """The request of `find_caption_layout`."""

    video_key: str
    tenant_id: str
    video_id: str
    model_key: str | None = None

    @model_validator(mode="after")
    def _names_and_keys_are_clean(self) -> FindLayoutRequest:
        video = VideoId(self.tenant_id, self.video_id)
        for key in self.input_keys().values():
            check_key(key, tenant=video.tenant)
        return self

    @property
    def video(self) -> VideoId:
        return VideoId(self.tenant_id, self.video_id)

    def input_keys(self) -> dict[str, str]:
        keys = {"video": self.video_key}
        return keys if self.model_key is None else keys | {"model": self.model_key}

    def shipped_inputs(self) -> dict[str, str]:
        if self.model_key is not None:
            return {}
        from video_pipeline.models.weights import weights_sha256

        return {"weights": weights_sha256(None)}


class FindLayoutResult(StrictModel):
    """The result of `find_caption_layout`. Without captions `found` is false and the region the usual one."""

    crop_region: CropRegion
    found: bool
    reasons: tuple[str, ...]
    moments: int
    layout_key: str
    preview_key: str
    wall_seconds: float = 0.0
    degraded: list[str] = Field(default_factory=list)

    def output_keys(self) -> list[str]:
        return [self.layout_key, self.preview_key]


class Artefact(StrictModel):
    """One recipe's outcome: where its manifest lies and whether this call wrote it."""

    recipe: str
    manifest_key: str
    made: bool
    objects: int
    bytes: int


class CropAndInferResult(StrictModel):
    """The result of `crop_and_infer_caption_frame_extents`.

    `durations` are seconds of busy time per stage of the stream. `degraded` lists what was done other than
    asked; it is empty when everything was done as asked.
    """

    source_version: str
    frame_count: int
    frame_rate: Rate
    frame_width: int
    frame_height: int
    frames: Artefact
    extents: Artefact | None = None
    chunks: Artefact | None = None
    label_counts: dict[str, int] = Field(default_factory=dict)
    chunk_counts: dict[str, int] = Field(default_factory=dict)
    contact_sheet_key: str | None = None
    durations: dict[str, float] = Field(default_factory=dict)
    decode: dict[str, int] = Field(default_factory=dict)
    wall_seconds: float = 0.0
    degraded: list[str] = Field(default_factory=list)

    def output_keys(self) -> list[str]:
        """The objects that must exist for this result to still be true."""
        return [item.manifest_key for item in (self.frames, self.extents, self.chunks) if item is not None]


class ReadCaptionsRequest(StrictModel):
    """The request of `read_captions`: the same crop, rate and model as the pass whose extents it reads.

    `ocr` asks for text; without it, or without the extra `ocr`, captions come with times only. `chunks` asks
    for a review page with the video's published chunks in it, which must be there then.
    """

    video_key: str
    tenant_id: str
    video_id: str
    crop_region: CropRegion
    frame_rate: Rate = Fraction(10)
    preset: Literal["fast", "small"] = "fast"
    model_key: str | None = None
    ocr: bool = True
    chunks: bool = True

    @model_validator(mode="after")
    def _is_a_clean_pass(self) -> ReadCaptionsRequest:
        self.as_pass()
        return self

    def as_pass(self) -> CropAndInferRequest:
        """The pass that made the extents this reads."""
        return CropAndInferRequest(
            video_key=self.video_key,
            tenant_id=self.tenant_id,
            video_id=self.video_id,
            crop_region=self.crop_region,
            frame_rate=self.frame_rate,
            preset=self.preset,
            model_key=self.model_key,
        )

    def input_keys(self) -> dict[str, str]:
        return self.as_pass().input_keys()

    def shipped_inputs(self) -> dict[str, str]:
        """The weights, and the recogniser as it is installed: installing it is a new call."""
        from video_pipeline.captions.recognise import recogniser_version

        version = recogniser_version() if self.ocr else None
        return self.as_pass().shipped_inputs() | {"ocr": version or "none"}


class ReadCaptionsResult(StrictModel):
    """The result of `read_captions`. `unread` counts captions without text by reason."""

    captions: Artefact
    caption_count: int
    with_text: int
    unread: dict[str, int] = Field(default_factory=dict)
    ocr_calls: int = 0
    least_certain: float | None = None
    """The lowest confidence of any boundary."""
    preview: tuple[str, ...] = ()
    """The first captions in a line each, to look at."""
    durations: dict[str, float] = Field(default_factory=dict)
    wall_seconds: float = 0.0
    degraded: list[str] = Field(default_factory=list)

    def output_keys(self) -> list[str]:
        return [self.captions.manifest_key]

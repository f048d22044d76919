"""What one asks of `run_inference` and what it answers: JSON on the wire, strict models in code.

Belongs here: the task's request and result, what is told of each frame and of each video. Does not belong
here: media, torch. Pure pydantic.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from video_pipeline.keys import check_key, check_name
from video_pipeline.models.classifier_spec import ClassifierSpec, Prediction
from video_pipeline.strict import StrictModel

Strategy = Literal["random", "uniform", "timestamps", "key_frames"]
DecoderName = Literal["auto", "pyav", "nvdec", "videotoolbox"]

MAX_FRAMES = 100_000
"""Of one call. Each costs about 1.5 KB of the result, which is one object."""


class SampleOptions(StrictModel):
    """Which frames are looked at, and how.

    Each of `num_batches` batches takes one sample of every video: `frames_per_sample` frames,
    `frame_stride_seconds` apart. Samples start within the first `offset_max_seconds` (None: anywhere). With
    `strategy="timestamps"` batch number i starts at `timestamps[i]`, in seconds, in every video.
    """

    random_seed: int = Field(default=42, ge=0, lt=1 << 63)
    strategy: Strategy = "random"
    offset_max_seconds: float | None = Field(default=10.0, ge=0, allow_inf_nan=False)
    num_batches: int = Field(default=1, ge=1, le=MAX_FRAMES)
    frames_per_sample: int = Field(default=1, ge=1, le=1000)
    frame_stride_seconds: float = Field(default=0.16, gt=0, allow_inf_nan=False)
    timestamps: tuple[float, ...] = ()
    classifier: ClassifierSpec = ClassifierSpec()
    top_k: int = Field(default=5, ge=1, le=1000)
    return_frame_png: bool = False
    decoder: DecoderName = "auto"
    index_search: Literal["auto", "walk", "bisect"] = "auto"
    inference_batch_size: int | None = Field(default=None, ge=1, le=1024)

    @model_validator(mode="after")
    def _strategy_has_what_it_needs(self) -> SampleOptions:
        if (self.strategy == "timestamps") != bool(self.timestamps):
            raise ValueError("timestamps and strategy 'timestamps' belong together")
        if self.timestamps and self.num_batches not in (1, len(self.timestamps)):
            raise ValueError("num_batches is the number of timestamps: leave it out")
        return self

    @property
    def batches(self) -> int:
        return len(self.timestamps) or self.num_batches


class RunInferenceRequest(SampleOptions):
    """The request of the task `run_inference`. Videos are http(s) URLs, `s3://` addresses of the store's own
    bucket, or keys of the store under the tenant. Frames and reports are stored under `sample_id`."""

    tenant_id: str
    sample_id: str
    video_urls: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_and_addresses_are_clean(self) -> RunInferenceRequest:
        check_name("tenant", self.tenant_id)
        check_name("sample", self.sample_id)
        for address in self.video_urls:
            if address.startswith(("/", ".", "~", "file:")):
                raise ValueError(
                    f"{address!r} is a path: a task reads URLs and keys of the store, into which "
                    "`video-pipeline add-video` puts a file"
                )
            if "://" not in address:
                check_key(address, tenant=self.tenant_id)
        for key in (self.classifier.weights_key, self.classifier.labels_key):
            if key is not None:
                check_key(key, tenant=self.tenant_id)
        if self.classifier.path is not None:
            raise ValueError("classifier.path names a file of one machine: use weights_key")
        if len(self.video_urls) * self.batches * self.frames_per_sample > MAX_FRAMES:
            raise ValueError(f"more than {MAX_FRAMES} frames: make several samples of it")
        return self

    def input_keys(self) -> dict[str, str]:
        keys = {f"video {n}": address for n, address in enumerate(self.video_urls) if "://" not in address}
        extra = {"classifier": self.classifier.weights_key, "labels": self.classifier.labels_key}
        return keys | {name: key for name, key in extra.items() if key is not None}


class FrameError(StrictModel):
    """Why a frame was not delivered."""

    kind: str
    message: str
    input: str | None
    what_to_do: str | None


class FrameRow(StrictModel):
    """One frame that was asked for: what came of it and what it cost.

    `requested_seconds` is None where the video failed before a time was chosen. `pts` is in ticks of
    `time_base` on the movie's timeline, `frame_index` counts shown pictures from 0 (None in a fragmented file
    whose fragments before the picture need not be looked at to find it). Bytes and requests shared by several
    frames are split among them and add up.
    """

    batch: int
    video: int
    frame: int
    url: str
    requested_seconds: float | None = None
    delivered: bool
    error: FrameError | None = None
    seconds: float | None = None
    pts: int | None = None
    time_base: str | None = None
    frame_index: int | None = None
    width: int | None = None
    height: int | None = None
    decoder: str | None = None
    prediction: Prediction | None = None
    png_key: str | None = None
    requests: int = 0
    index_bytes: int = 0
    media_bytes: int = 0
    useful_bytes: int = 0
    minimum_bytes: int = 0
    """Bytes of the pictures from the key frame to this one, as if nothing else were wanted of the video."""
    pictures_decoded: int = 0
    index_was_at_hand: bool = False


class VideoRow(StrictModel):
    """One video: how its index was found and everything that was read of it. `minimum_bytes` counts each
    picture that any of its frames needs once for each time it had to be fetched."""

    url: str
    index_kind: str | None = None
    index_was_at_hand: bool = False
    codec: str | None = None
    requests: int = 0
    index_bytes: int = 0
    media_bytes: int = 0
    useful_bytes: int = 0
    minimum_bytes: int = 0
    file_bytes: int | None = None
    retries: int = 0
    decoder: str | None = None
    decoder_reason: str | None = None
    notes: tuple[str, ...] = ()
    error: FrameError | None = None


class RunInferenceResult(StrictModel):
    """The answer. Lists such as `top_classes` hold the delivered frames, in order of batch, video and frame.

    `*_time_seconds` are wall times: of each kind of work the time in which at least one worker did it. They
    overlap; `total_pipeline_time_seconds` is the whole call's. Upstream bytes came from the servers,
    downstream bytes went into decoders. `degraded` lists what was done other than asked.
    """

    platform: Literal["cuda", "mac", "cpu"]
    device: str
    gpu_name: str | None
    cuda_version: str | None
    torch_version: str
    decoder: str
    model: str
    model_sha256: str | None
    requested: int
    delivered: int
    failed: int
    top_classes: tuple[str, ...]
    confidences: tuple[float, ...]
    selected_timestamps_seconds: tuple[float, ...]
    model_load_time_seconds: float
    frame_extraction_time_seconds: float
    preprocess_time_seconds: float
    inference_time_seconds: float
    total_pipeline_time_seconds: float
    bandwidth_total_upstream_bytes: int
    bandwidth_total_downstream_bytes: int
    bandwidth_total_upstream_mb: float
    bandwidth_total_downstream_mb: float
    bandwidth_num_proxy_requests: int
    index_bytes: int
    media_bytes: int
    useful_bytes: int
    minimum_bytes: int
    index_cache_hits: int
    pictures_decoded: int
    frames: tuple[FrameRow, ...]
    videos: tuple[VideoRow, ...]
    frame_png_keys: tuple[str, ...] = ()
    report_keys: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()
    wandb_run: str | None = None

    def output_keys(self) -> list[str]:
        return [*self.frame_png_keys, *self.report_keys.values()]

"""The caption pass: decode, crop, infer, encode and upload one video as one stream.

Belongs here: joining the stages. Does not belong here: any stage's craft (`media`, `inference`, `chunks`),
what becomes of their outcome (`pass_artefacts`), or who runs it (`worker`).

    samples -> infer -> assemble -> encode x N -> upload x 2 -> manifest

No picture touches the disk. Memory is bounded by the queues and by the chunks being filled: at most 77 strips
wait for their chunk. Objects go first, manifests last: a pass that ends early leaves no artefact.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from video_pipeline.captions.chunks import ChunkAssembler, ChunkJob
from video_pipeline.captions.contact_sheet import ContactSheet
from video_pipeline.captions.database import ExtentsDatabase
from video_pipeline.captions.manifest import Kind, Manifest, ManifestObject, put_object
from video_pipeline.captions.pass_artefacts import build_result, write_artefacts
from video_pipeline.captions.plan import CaptionPlan, make_plan, open_source, read_model, source_of
from video_pipeline.captions.request import CropAndInferRequest, CropAndInferResult
from video_pipeline.errors import BadInput, Internal
from video_pipeline.keys import chunk_key
from video_pipeline.machine import usable_cores
from video_pipeline.media.decode import SampledDecoder, open_decoder
from video_pipeline.media.frames import Sample
from video_pipeline.media.vp9 import Preset, encode_chunk, verify_chunk
from video_pipeline.store.base import ObjectStore
from video_pipeline.store.reader import StoreReader
from video_pipeline.streaming.pipeline import Pipeline, Stage
from video_pipeline.streaming.stats import PipelineReport
from video_pipeline.telemetry.nvml import GpuSampler, GpuUtilisation
from video_pipeline.telemetry.timing import timed_operation
from video_pipeline.telemetry.usage import FramePace
from video_pipeline.worker import TaskContext

UPLOAD_WORKERS = 2
FRAME_QUEUE = 64
"""Strips between decode, inference and assembly: two inference batches, 20 MB at 1280x160."""
PACE_FRAMES = 32
"""Frames that are timed together: one by one they come in bursts, as queues fill and drain."""


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    level: int
    window: int
    frames: int
    data: bytes


@dataclass
class _Collected:
    """What the stream leaves behind beside its objects. Each field is touched by one stage only."""

    pts: list[int] = field(default_factory=list)
    contact_sheet: bytes = b""
    """PNG; empty where it lies in the store already."""
    chunks: list[ManifestObject] = field(default_factory=list)
    finished: int = 0
    """Samples that are through every stage: where there are chunks to make, encoded and uploaded."""


def run(
    request: CropAndInferRequest, context: TaskContext, *, sequential: bool = False
) -> CropAndInferResult:
    """The task `crop_and_infer_caption_frame_extents`.

    `sequential` runs each stage to its end before the next: chunks are byte-equal to the stream's and the
    database is equal in every column that is not a time or a run id.

    Raises `BadInput` for a video, crop or model that cannot be used, `Cancelled` when the token says so, and
    the first error of any stage otherwise; no manifest is written then.
    """
    started = time.monotonic()
    source = source_of(context.store, request.video_key)
    reader = open_source(context.store, request.video_key)
    with contextlib.ExitStack() as stack:
        if not isinstance(reader, Path):
            stack.callback(reader.close)
        with timed_operation("open_video", {"key": request.video_key}):
            decoder = open_decoder(
                reader, name=request.video_key, crop_region=request.crop_region, rate=request.frame_rate
            )
            stack.callback(decoder.close)
        plan = make_plan(
            context.store,
            request,
            display_width=decoder.probe.display_width,
            display_height=decoder.probe.display_height,
            source=source,
        )
        if not plan.missing:
            return build_result(plan, {}, wall_seconds=time.monotonic() - started)
        result = _Pass(plan, context, decoder).run(sequential=sequential, started=started)
        if isinstance(reader, StoreReader):
            context.usage.bytes_read = reader.bytes_fetched
        return result


class _Pass:
    """One run of the stream over one plan."""

    def __init__(self, plan: CaptionPlan, context: TaskContext, decoder: SampledDecoder) -> None:
        self.plan = plan
        self.request = plan.request
        self.context = context
        self.store: ObjectStore = context.store
        self.decoder = decoder
        self.made = _Collected()
        self.expected = _expected_frames(decoder, self.request.frame_rate)
        self.database: ExtentsDatabase | None = None
        # A GPU's decoder and the inference beside it leave all cores to the encoders.
        self.on_cpu = decoder.device == "cpu"

    def run(self, *, sequential: bool, started: float) -> CropAndInferResult:
        with contextlib.ExitStack() as stack:
            stages = self._stages(stack)
            pipeline = Pipeline(
                "decode",
                self._samples,
                stages,
                cancel=self.context.cancel,
                sink=self._collect,
                on_progress=lambda _snapshot: self._progress(started),
            )
            with GpuSampler() as gpu, timed_operation("stream", {"stages": [stage.name for stage in stages]}):
                report = pipeline.run_sequentially() if sequential else pipeline.run()
            self._progress(started)
            self.context.cancel.raise_if_cancelled()
            with timed_operation("write_manifests"):
                manifests = write_artefacts(
                    self.store,
                    self.plan,
                    pts=self.made.pts,
                    time_base=self.decoder.time_base,
                    probe=self.decoder.probe,
                    contact_sheet=self.made.contact_sheet,
                    database=self.database,
                    chunks=self.made.chunks,
                )
        return self._result(manifests, report, gpu.result, started)

    # The stages, in the order in which a frame meets them.

    def _samples(self) -> Iterator[Sample]:
        pace = FramePace(self.context.usage, at_least=PACE_FRAMES)
        sheet: ContactSheet | None = None
        if "frames" in self.plan.missing:
            sheet = ContactSheet(expected_frames=self.expected, rate=self.request.frame_rate)
        for sample in self.decoder.samples():
            if sample.index != len(self.made.pts):
                raise Internal(f"sample {sample.index} came where {len(self.made.pts)} belongs")
            self.made.pts.append(sample.pts)
            if sheet is not None:
                sheet.add(sample.index, sample.frame)
            yield sample
            pace.done(1)
        if sheet is not None and self.made.pts:
            # Here, while the last chunks are encoded: by itself drawing takes 0.1 s, 2 % of 90 s of video.
            with timed_operation("draw_contact_sheet"):
                self.made.contact_sheet = sheet.render()

    def _stages(self, stack: contextlib.ExitStack) -> list[Stage]:
        stages: list[Stage] = []
        if "extents" in self.plan.missing:
            stages.append(self._inference_stage(stack))
        if "chunks" in self.plan.missing:
            assembler = ChunkAssembler()
            preset: Preset = self.request.preset
            rate = self.request.frame_rate
            stages += [
                Stage(
                    "assemble",
                    lambda sample: assembler.push(sample.index, sample.frame.to_host()),
                    finish=assembler.finish,
                    queue_size=FRAME_QUEUE,
                ),
                Stage(
                    "encode",
                    lambda job: [_encode(job, rate, preset)],
                    workers=self.request.encoder_workers or usable_cores(),
                    queue_size=4,
                    needs_core=self.on_cpu,
                ),
                Stage("upload", lambda chunk: [self._upload(chunk)], workers=UPLOAD_WORKERS, queue_size=4),
            ]
        return stages

    def _inference_stage(self, stack: contextlib.ExitStack) -> Stage:
        import torch

        from video_pipeline.captions.inference import PairClassifier
        from video_pipeline.models import kept
        from video_pipeline.models.weights import load_caption_model

        # One thread per stage: torch's own would take the cores that decode and encode, and spin. The demo's
        # pass takes 2.2 s of CPU this way and 6.0 s with torch's default. A worker runs one task only.
        torch.set_num_threads(1)
        key = self.request.model_key
        with timed_operation("load_model"):
            if key is None:
                model = kept.caption_model()
            else:
                model = load_caption_model(read_model(self.store, key), name=key)
        if model.sha256 != self.plan.weights_sha256:
            raise BadInput(
                "the model checkpoint changed while the call began",
                input=key,
                what_to_do="run the call again",
            )
        database = stack.enter_context(
            ExtentsDatabase(
                self.context.scratch / "caption_frame_extents.db",
                frames_recipe=self.plan.recipes["frames"],
                model_version=model.sha256[:16],
                model_checkpoint_path=key or "shipped:caption_pairs.safetensors",
                run_id=uuid.uuid4().hex,
            )
        )
        self.database = database
        classifier = PairClassifier(
            model, batch_size=self.request.inference_batch_size, device=self.decoder.device
        )

        def infer(sample: Sample) -> list[Sample]:
            database.add(classifier.push(sample.index, sample.frame))
            return [sample]

        def finish() -> list[Sample]:
            database.add(classifier.finish())
            return []

        return Stage("infer", infer, finish=finish, queue_size=FRAME_QUEUE, needs_core=self.on_cpu)

    def _upload(self, chunk: EncodedChunk) -> ManifestObject:
        key = chunk_key(self.request.video, self.plan.recipes["chunks"], chunk.level, chunk.window)
        return put_object(self.store, key, chunk.data, "video/webm", frames=chunk.frames)

    def _collect(self, item: Any) -> None:
        if isinstance(item, ManifestObject):
            self.made.chunks.append(item)
            self.made.finished += item.frames or 0
        else:
            self.made.finished += 1

    def _progress(self, started: float) -> None:
        self.context.progress("captions", self.made.finished, self.expected, unit="frames", started=started)

    def _result(
        self, written: dict[Kind, Manifest], report: PipelineReport, gpu: GpuUtilisation, started: float
    ) -> CropAndInferResult:
        from video_pipeline.captions.pass_report import attach_reports

        wall = time.monotonic() - started
        usage, frames = self.context.usage, len(self.made.pts)
        usage.frames, usage.chunks = frames, len(self.made.chunks)
        usage.video_seconds = float(frames / self.request.frame_rate)
        usage.output_pixels = self.plan.crop.width * self.plan.crop.height
        usage.bytes_written = sum(manifest.total_bytes for manifest in written.values())
        attach_reports(self.context, report, frames=len(self.made.pts), chunks=len(self.made.chunks), gpu=gpu)
        return build_result(
            self.plan,
            written,
            wall_seconds=wall,
            durations={stage.name: round(stage.busy_s, 3) for stage in report.stages},
            decode={name: int(value) for name, value in asdict(self.decoder.stats).items()},
        )


def _encode(job: ChunkJob, rate: Fraction, preset: Preset) -> EncodedChunk:
    data = encode_chunk(job.frames, rate=rate, preset=preset)
    height, width = job.frames[0].y.shape
    verify_chunk(data, frames=len(job.frames), width=width, height=height, rate=rate)
    return EncodedChunk(job.level, job.window, len(job.frames), data)


def _expected_frames(decoder: SampledDecoder, rate: Fraction) -> int | None:
    duration = decoder.probe.duration_seconds
    return None if duration is None else max(1, round(Fraction(duration) * rate))

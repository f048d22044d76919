"""The table of tasks: what can be asked for, its version, its models and the hardware it wants.

Belongs here: one line of facts per task, read by every backend. Does not belong here: what a task does
(its domain), or how a backend runs it (`compute`, `modal_ops`). Functions and models are named by
`module:attribute` and imported when needed, so that reading the table imports no torch.

An installation adds tasks of its own by naming modules in `VIDEO_PIPELINE_TASK_MODULES`; each has a
`TASKS` tuple of `Task`.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from video_pipeline.errors import BadInput, problems_of
from video_pipeline.keys import SYSTEM_TENANT, canonical_json
from video_pipeline.settings import Settings

if TYPE_CHECKING:
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.task_context import TaskContext


@dataclass(frozen=True, slots=True)
class Hardware:
    """What one call of a task wants. `gpu` is Modal's name of a GPU type, or None for CPU only."""

    gpu: str | None
    cpu_cores: float
    memory_mib: int
    timeout_s: int


@dataclass(frozen=True)
class Task:
    """A plain function `run(request, context) -> result` and everything a backend must know about it."""

    name: str
    version: int
    """Bumped by hand when the same request may give another result: a new version is a new call."""
    run_path: str
    request_path: str
    result_path: str
    hardware: Hardware
    summary: str
    warm_path: str | None = None
    """A function without arguments that loads the network which the task holds, onto its device: a backend
    whose workers serve several calls runs it once per worker. None for a task that holds none."""
    foretells_itself: bool = False
    """Whether it puts into its usage what the cost model says of it, for which its worker need not ask."""

    @cached_property
    def request_model(self) -> type[BaseModel]:
        return _load(self.request_path)

    @cached_property
    def result_model(self) -> type[BaseModel]:
        return _load(self.result_path)

    def load(self) -> Callable[[Any, TaskContext], BaseModel]:
        return _load(self.run_path)

    def warm(self) -> None:
        """Imports what the task runs and loads the network that it holds."""
        self.load()
        if self.warm_path is not None:
            _load(self.warm_path)()

    def parse_request(self, data: BaseModel | Mapping[str, object]) -> BaseModel:
        """The validated request. `BadInput` lists every problem with its field."""
        if isinstance(data, self.request_model):
            return data
        raw = data.model_dump(mode="json") if isinstance(data, BaseModel) else dict(data)
        try:
            return self.request_model.model_validate(raw)
        except ValidationError as error:
            raise BadInput(
                f"The request for {self.name} is not valid: {problems_of(error, 'request')}",
                input=self.name,
                what_to_do="correct the named fields and submit again",
            ) from None

    def outputs_exist(self, result: Mapping[str, object], store: ObjectStore) -> bool:
        """Whether everything a stored result names is still there: only then may it be returned again."""
        parsed = self.result_model.model_validate(result)
        return all(store.head(key) is not None for key in getattr(parsed, "output_keys", list)())


def _load(path: str) -> Any:
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)


_HOUR = 3600

BUILT_IN: tuple[Task, ...] = (
    Task(
        name="crop_and_infer_caption_frame_extents",
        version=1,
        run_path="video_pipeline.captions.streaming_pass:run",
        request_path="video_pipeline.captions.request:CropAndInferRequest",
        result_path="video_pipeline.captions.request:CropAndInferResult",
        hardware=Hardware(gpu="A10G", cpu_cores=16, memory_mib=16_384, timeout_s=4 * _HOUR),
        summary="decode, crop, find caption extents, encode VP9 chunks and upload, in one streaming pass",
        warm_path="video_pipeline.captions.inference:warm_caption_model",
    ),
    Task(
        name="find_caption_layout",
        version=1,
        run_path="video_pipeline.captions.layout_task:run",
        request_path="video_pipeline.captions.request:FindLayoutRequest",
        result_path="video_pipeline.captions.request:FindLayoutResult",
        hardware=Hardware(gpu=None, cpu_cores=2, memory_mib=4_096, timeout_s=_HOUR),
        summary="find the band in which a video's captions stand, and a picture that shows why",
    ),
    Task(
        name="read_captions",
        version=2,
        run_path="video_pipeline.captions.reading:run",
        request_path="video_pipeline.captions.request:ReadCaptionsRequest",
        result_path="video_pipeline.captions.request:ReadCaptionsResult",
        hardware=Hardware(gpu="A10G", cpu_cores=8, memory_mib=8_192, timeout_s=4 * _HOUR),
        summary="turn extents into captions with exact times and text: JSON, SRT, WebVTT, a review page",
    ),
    Task(
        name="run_inference",
        version=1,
        run_path="video_pipeline.sampling.runner:run",
        request_path="video_pipeline.sampling.request:RunInferenceRequest",
        result_path="video_pipeline.sampling.request:RunInferenceResult",
        hardware=Hardware(gpu="B200", cpu_cores=8, memory_mib=16_384, timeout_s=_HOUR),
        summary="classify chosen frames of remote videos, reading little more than the bytes they need",
        warm_path="video_pipeline.models.kept:warm_classifier",
    ),
    Task(
        name="extract_clip",
        version=1,
        run_path="video_pipeline.clips.cutting:extract_clip",
        request_path="video_pipeline.clips.request:ExtractClipRequest",
        result_path="video_pipeline.clips.result:RenderResult",
        hardware=Hardware(gpu=None, cpu_cores=4, memory_mib=4_096, timeout_s=_HOUR),
        summary="cut a part of a video at exact frames, or copy it from the key frame before",
    ),
    Task(
        name="render_overlay",
        version=1,
        run_path="video_pipeline.clips.cutting:render_overlay",
        request_path="video_pipeline.clips.request:RenderOverlayRequest",
        result_path="video_pipeline.clips.result:RenderResult",
        hardware=Hardware(gpu=None, cpu_cores=8, memory_mib=8_192, timeout_s=2 * _HOUR),
        summary="light people with elliptical spotlights that follow key frames",
    ),
    Task(
        name="process_framing_ai",
        version=1,
        run_path="video_pipeline.clips.framing:process_framing_ai",
        request_path="video_pipeline.clips.request:ProcessFramingAiRequest",
        result_path="video_pipeline.clips.result:RenderResult",
        hardware=Hardware(gpu="T4", cpu_cores=8, memory_mib=8_192, timeout_s=4 * _HOUR),
        summary="re-frame a clip along key frames, enlarged by a network, with speed changes",
        warm_path="video_pipeline.models.kept:warm_upscaler",
    ),
    Task(
        name="process_framing_ai_chunk",
        version=1,
        run_path="video_pipeline.clips.framing:process_framing_ai_chunk",
        request_path="video_pipeline.clips.request:ProcessFramingAiChunkRequest",
        result_path="video_pipeline.clips.result:ChunkResult",
        hardware=Hardware(gpu="T4", cpu_cores=4, memory_mib=8_192, timeout_s=_HOUR),
        summary="a range of output frames of a re-framed clip, as a part",
        warm_path="video_pipeline.models.kept:warm_upscaler",
    ),
    Task(
        name="process_framing_ai_parallel",
        version=1,
        run_path="video_pipeline.clips.parallel:process_framing_ai_parallel",
        request_path="video_pipeline.clips.request:ProcessFramingAiParallelRequest",
        result_path="video_pipeline.clips.result:RenderResult",
        hardware=Hardware(gpu=None, cpu_cores=4, memory_mib=4_096, timeout_s=4 * _HOUR),
        summary="re-frame a clip in several calls side by side, joined without a seam",
        foretells_itself=True,
    ),
    Task(
        name="process_multi_clip",
        version=1,
        run_path="video_pipeline.clips.joining:process_multi_clip",
        request_path="video_pipeline.clips.request:ProcessMultiClipRequest",
        result_path="video_pipeline.clips.result:RenderResult",
        hardware=Hardware(gpu="T4", cpu_cores=8, memory_mib=8_192, timeout_s=4 * _HOUR),
        summary="re-frame several clips and join them with cuts, fades or dissolves",
        warm_path="video_pipeline.models.kept:warm_upscaler",
    ),
    Task(
        name="create_annotated_compilation",
        version=1,
        run_path="video_pipeline.clips.joining:create_annotated_compilation",
        request_path="video_pipeline.clips.request:CreateAnnotatedCompilationRequest",
        result_path="video_pipeline.clips.result:RenderResult",
        hardware=Hardware(gpu=None, cpu_cores=8, memory_mib=8_192, timeout_s=2 * _HOUR),
        summary="join clips, each with its name, notes, rating and tags written over it",
    ),
    Task(
        name="detect_players",
        version=1,
        run_path="video_pipeline.clips.detect:detect_players",
        request_path="video_pipeline.clips.detect_request:DetectPlayersRequest",
        result_path="video_pipeline.clips.detect_request:DetectPlayersResult",
        hardware=Hardware(gpu="T4", cpu_cores=4, memory_mib=8_192, timeout_s=_HOUR),
        summary="find the people in one frame",
        warm_path="video_pipeline.models.kept:warm_detector",
    ),
    Task(
        name="detect_players_batch",
        version=1,
        run_path="video_pipeline.clips.detect:detect_players_batch",
        request_path="video_pipeline.clips.detect_request:DetectPlayersBatchRequest",
        result_path="video_pipeline.clips.detect_request:DetectPlayersResult",
        hardware=Hardware(gpu="T4", cpu_cores=4, memory_mib=8_192, timeout_s=_HOUR),
        summary="find the people in many frames of a video",
        warm_path="video_pipeline.models.kept:warm_detector",
    ),
    Task(
        name="probe",
        version=1,
        run_path="video_pipeline.machine_probe:run",
        request_path="video_pipeline.machine_probe:ProbeRequest",
        result_path="video_pipeline.machine_probe:ProbeResult",
        hardware=Hardware(gpu=None, cpu_cores=2, memory_mib=4_096, timeout_s=600),
        summary="what the machine that runs tasks is and has: GPU, NVDEC, torch, encoders, fonts, store",
    ),
)


def all_tasks(settings: Settings | None = None) -> dict[str, Task]:
    """The table by name: the built-in tasks and those of `settings.task_modules`."""
    tasks = {task.name: task for task in BUILT_IN}
    for module in (settings.task_modules if settings else "").replace(",", " ").split():
        for task in _load(f"{module}:TASKS"):
            if task.name in tasks:
                raise BadInput(
                    f"two tasks are called {task.name!r}", input=module, what_to_do="rename the one you added"
                )
            tasks[task.name] = task
    return tasks


def find_task(name: str, settings: Settings | None = None) -> Task:
    tasks = all_tasks(settings)
    if name not in tasks:
        raise BadInput(
            f"there is no task {name!r}", input=name, what_to_do=f"use one of {', '.join(sorted(tasks))}"
        )
    return tasks[name]


def tenant_of(request: BaseModel) -> str:
    """The tenant under which a call's records lie."""
    return getattr(request, "tenant_id", None) or SYSTEM_TENANT


def call_key_of(task: Task, request: BaseModel, store: ObjectStore, *, repeat: int = 0) -> str:
    """The call key: 32 hex digits of SHA-256 over task, version, request, resolved inputs and `repeat`.

    Every store key the request reads is resolved to the object's version, so a replaced video is a new
    call. `BadInput` names an input that is not in the store.
    """
    inputs: dict[str, str] = dict(getattr(request, "shipped_inputs", dict)())
    for name, key in getattr(request, "input_keys", dict)().items():
        info = store.head(key)
        if info is None:
            raise BadInput(
                f"the {name} is not in the store",
                input=f"{store.uri}/{key}",
                what_to_do="upload it, or correct the key",
            )
        inputs[name] = info.version
    identity = canonical_json(
        {
            "task": task.name,
            "version": task.version,
            "request": request.model_dump_json(),
            "inputs": inputs,
            "repeat": repeat,
        }
    )
    return hashlib.sha256(identity.encode()).hexdigest()[:32]

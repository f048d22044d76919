"""What is asked of Modal for each task: one `FunctionSpec` per task, made from the task table.

Belongs here: names, GPU types, cores, memory, time limits, secrets, volumes, and the checks that Modal's
client does not make (it sends any GPU name and any time limit; the service refuses a wrong one at
deployment). Does not belong here: `modal` itself, images' contents, prices. Pure but for reading `gpus.json`.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal

from video_pipeline import __version__
from video_pipeline.compute.base import CallOptions
from video_pipeline.errors import BadInput
from video_pipeline.settings import Settings
from video_pipeline.tasks import Task

ImageName = Literal["cpu", "gpu"]

MAX_TIMEOUT_S = 24 * 3600
"""Modal's longest time limit of one attempt (its guide to timeouts)."""

STOP_S = 60
"""What a function has beyond its task's time limit: the worker ends a task itself, gives it 30 s to stop
(`worker_watch.GRACE_S`), ends its children and stores the result. Modal's own limit would leave no record."""

STARTUP_S = 600
"""A container's time to start: pulling an image with CUDA takes minutes on a machine that never had it."""

IDLE_S = 60
"""How long a container waits for the next call, at full price. A new one takes 10 s and more to start."""

MEMORY_LIMIT = 2
"""The hard limit on memory as a multiple of what is asked for: room for a peak, and an end to the bill."""

MIN_CONTAINERS = 0
"""None is kept, and paid for, while there are no calls."""

RETRIES = 0
"""Modal retries nothing: the caller does, by the kind of the error (`compute.follow`). What Modal does by
itself either way is to run a pre-empted input again."""

STORE_SECRET = "wasabi"
WANDB_SECRET = "wandb-secret"
KEYLESS = ("offline", "disabled")
"""Modes of W&B that need no key: who deploys with one of them needs no secret of that name."""
STORE_SECRET_KEYS = ("WASABI_ACCESS_KEY_READWRITE", "WASABI_SECRET_KEY_READWRITE")

MODELS_VOLUME = "video-pipeline-models"
MODELS_PATH = "/models"
"""Where the volume is mounted in functions with a GPU. Weights of the pipeline's own ship in the package;
this holds what a model of a user's own downloads (`TORCH_HOME` and `HF_HOME` point into it)."""

ON_ANY_HARDWARE = ("probe",)
"""Tasks that ask for no GPU and may be given one. Each is deployed twice, in the CPU image under its own name
and in the GPU image under `WITH_GPU`: a probe tells of the image in which it runs."""
WITH_GPU = "{}_with_gpu"


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One function of the deployed app. Seconds, cores and MiB as Modal counts them."""

    name: str
    """The task's, but for the second function of a task that runs on any hardware."""
    task: str
    image: ImageName
    gpu: str | None
    """Modal's documented name of the GPU type, an alias resolved."""
    cpu_cores: float
    memory_mib: int
    memory_limit_mib: int
    timeout_s: int
    max_containers: int
    secrets: tuple[str, ...]
    volumes: Mapping[str, str]
    """Path in the container -> name of the volume."""
    holds_model: bool = False
    """Whether it is a class that loads its task's network when a container starts, or a plain function."""
    startup_timeout_s: int = STARTUP_S
    idle_s: int = IDLE_S
    min_containers: int = MIN_CONTAINERS
    retries: int = RETRIES


@functools.cache
def _gpus() -> dict[str, Any]:
    return json.loads((files("video_pipeline.modal_ops") / "gpus.json").read_text(encoding="utf-8"))


def gpu_memory_gib(name: str) -> int:
    """The memory of a GPU type as Modal documents it."""
    return _gpus()["memory_gib"][gpu_name(name, input="gpu")]


def gpu_name(name: str, *, input: str) -> str:
    """Modal's documented name of a GPU type (`A10G` is `A10`; case does not matter). `BadInput` naming
    `input` for a name that is not on the dated list, several GPUs (`T4:2`) included: no task uses two."""
    known = _gpus()
    upper = name.upper()
    found = known["aliases"].get(upper, upper)
    if found not in known["memory_gib"]:
        choice = ", ".join((*known["memory_gib"], *known["aliases"]))
        raise BadInput(
            f"Modal has no GPU type {name!r} that this version knows (list of {known['as_of']})",
            input=input,
            what_to_do=f"use one of {choice}; a newer type goes into modal_ops/gpus.json and prices.json",
        )
    return found


def function_timeout_s(timeout_s: float, *, input: str) -> int:
    """Modal's time limit for a task that may take `timeout_s`. `BadInput` if it is not within 24 hours."""
    allowed = MAX_TIMEOUT_S - STOP_S
    if not math.isfinite(timeout_s) or not 0 < timeout_s <= allowed:
        raise BadInput(
            f"a time limit of {timeout_s:g} s is not possible on Modal: more than 0, at most {allowed} s "
            f"({MAX_TIMEOUT_S // 3600} hours less {STOP_S} s to stop in)",
            input=input,
            what_to_do="set another timeout_s, or split the work",
        )
    return math.ceil(timeout_s) + STOP_S


def spec_for(task: Task, settings: Settings, options: CallOptions | None = None) -> FunctionSpec:
    """The function of a task as one call with `options` (gpu, timeout_s) wants it; without, as deployed.

    `BadInput`: an unknown GPU type; a GPU for a task whose image has no CUDA; a time limit beyond Modal's.
    """
    options = options or CallOptions()
    hardware = task.hardware
    on_any = task.name in ON_ANY_HARDWARE
    if options.gpu is not None and hardware.gpu is None and not on_any:
        raise BadInput(
            f"{task.name} runs on a CPU only; it would pay for the {options.gpu} and not use it",
            input="gpu",
            what_to_do="leave the gpu option out",
        )
    chosen = options.gpu or hardware.gpu
    gpu = None if chosen is None else gpu_name(chosen, input=f"gpu of {task.name}")
    timeout_s = hardware.timeout_s if options.timeout_s is None else options.timeout_s
    return FunctionSpec(
        name=WITH_GPU.format(task.name) if on_any and gpu else task.name,
        task=task.name,
        image="gpu" if gpu else "cpu",
        gpu=gpu,
        cpu_cores=hardware.cpu_cores,
        memory_mib=hardware.memory_mib,
        memory_limit_mib=hardware.memory_mib * MEMORY_LIMIT,
        timeout_s=function_timeout_s(timeout_s, input=f"timeout_s of {task.name}"),
        max_containers=settings.modal_max_containers,
        secrets=(STORE_SECRET,) if settings.wandb_mode in KEYLESS else (STORE_SECRET, WANDB_SECRET),
        volumes={MODELS_PATH: MODELS_VOLUME} if gpu else {},
        holds_model=task.warm_path is not None,
    )


def deployed_specs(task: Task, settings: Settings) -> tuple[FunctionSpec, ...]:
    """The functions of a task, as deployed: one, or two for a task that runs on any hardware.

    The second of these has no GPU until a call names one: a GPU that is deployed with a function cannot be
    taken from it, and every call of it would pay for one.
    """
    deployed = spec_for(task, settings)
    if task.name not in ON_ANY_HARDWARE:
        return (deployed,)
    name = WITH_GPU.format(task.name)
    return deployed, replace(deployed, name=name, image="gpu", volumes={MODELS_PATH: MODELS_VOLUME})


def app_name(settings: Settings) -> str:
    """`video-pipeline`; with an environment other than the default, `video-pipeline-staging` and so on."""
    return "video-pipeline" if settings.env == "local" else f"video-pipeline-{settings.env}"


def app_tags(settings: Settings) -> dict[str, str]:
    """The app's tags on Modal: by them its costs can be told apart."""
    return {"project": "video-pipeline", "environment": settings.env, "version": __version__}


def worker_environment(settings: Settings) -> dict[str, str]:
    """The variables of every container: the deployer's settings, but no secret. `BadInput` without a bucket.

    Credentials come from the secret `wasabi`, the key of W&B from `wandb-secret`.
    """
    if not settings.is_bucket:
        raise BadInput(
            f"a Modal worker cannot see the directory {settings.store}",
            input="VIDEO_PIPELINE_STORE",
            what_to_do="set VIDEO_PIPELINE_STORE=s3://BUCKET before deploying",
        )
    variables = {
        "VIDEO_PIPELINE_ENV": settings.env,
        "VIDEO_PIPELINE_STORE": settings.store,
        "VIDEO_PIPELINE_COMPUTE": "modal",
        "VIDEO_PIPELINE_TASK_MODULES": settings.task_modules,
        "VIDEO_PIPELINE_MAX_USD_PER_CALL": str(settings.max_usd_per_call),
        "VIDEO_PIPELINE_MAX_USD_PER_RUN": str(settings.max_usd_per_run),
        "VIDEO_PIPELINE_MODAL_MAX_CONTAINERS": str(settings.modal_max_containers),
        "WASABI_ENDPOINT_URL": settings.wasabi_endpoint_url,
        "WASABI_REGION": settings.wasabi_region,
        "LOGGER_LEVEL": settings.logger_level,
        "WANDB_PROJECT": settings.wandb_project,
        "WANDB_MODE": settings.wandb_mode,
    }
    return {name: value for name, value in variables.items() if value}

"""The two container images, and which local files go on top of them.

Belongs here: pinned packages, the CUDA environment, the local source as the last layer. Does not belong here:
which task runs in which image (`specs`).

`cpu` has the CPU build of torch; `gpu` has CUDA's, PyNvVideoCodec (NVDEC) and NVML, and is the image of
decoding, inference and upscaling alike: all three need the same packages. Weights ship in the package, so
they arrive with the source; nothing is downloaded when a container starts.

Modal's client describes these images and does not build them; the service builds them at the first
deployment.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import modal

from video_pipeline.errors import BadInput
from video_pipeline.modal_ops.specs import MODELS_PATH, ImageName
from video_pipeline.models import cpu_threads
from video_pipeline.settings import Settings

PACKAGE = "video_pipeline"
PYTHON = "3.11"

SYSTEM_PACKAGES = ("libfribidi0", "fontconfig", "fonts-noto-core", "fonts-noto-cjk")
"""Pillow lays out right-to-left text with FriBiDi, which it does not bring; `fc-list` and fonts are for
titles in scripts that the bundled font lacks."""

PACKAGES = (
    "av==18.1.0",
    "boto3==1.44.5",
    "fonttools==4.68.0",
    "numpy==2.4.6",
    "onnxruntime==1.31.1",
    "opencv-python-headless==5.0.0.93",
    "pillow==13.0.0",
    "psutil==7.2.2",
    "pydantic==2.14.3",
    "pydantic-settings==2.16.3",
    "rapidocr==3.10.0",
    "safetensors==0.8.0",
    "urllib3==2.8.0",
    "wandb==0.31.0",
)
"""All that a shipped module imports, in the versions that the tests ran with. Modal adds its client."""

TORCH = "torch==2.13.0"
CPU_TORCH_INDEX = "https://download.pytorch.org/whl/cpu"
"""The default index has torch for Linux with gigabytes of CUDA only."""

GPU_PACKAGES = ("PyNvVideoCodec==2.2.4", "nvidia-ml-py==13.615.71")

DRIVER_CAPABILITIES = "compute,utility,video"
"""Without `video` the driver's container runtime leaves libnvcuvid out, and NVDEC does not start."""

SHIPPED = frozenset(
    {"__init__", "call_ends", "calls", "captions", "claims", "clips", "compute", "costs", "errors"}
    | {"foretelling", "keys", "machine", "machine_parts", "machine_probe", "media", "modal_ops", "models"}
    | {"sampling", "scratch", "settings", "store", "streaming", "strict", "task_context", "tasks"}
    | {"telemetry", "tracking", "wording", "worker", "worker_end", "worker_identity", "worker_watch"}
)
"""Top-level modules of ours that go along: what tasks, their workers and the app are made of. What they
import has to be here. Of the others, most need Dagster, which the images do not have."""

AT_HOME = frozenset(
    f"costs/{name}.py"
    for name in (
        *("commands", "dashboard", "dashboard_data", "drift", "enlarging", "experiment_results"),
        *("least_squares", "ledger", "ledger_command", "ledger_gaps", "mix", "model", "planning", "plots"),
        *("projection", "projection_table", "published", "published_hardware", "refit", "thresholds"),
    )
)
"""Modules that look at what was paid, with packages that no worker needs (pandas, scipy, matplotlib)."""


def is_left_out(path: Path) -> bool:
    """Whether a file or folder, named relative to the package, stays at home: what is not `SHIPPED`,
    those of `AT_HOME`, byte code, dot files."""
    hidden = any(part.startswith(".") or part == "__pycache__" for part in path.parts)
    stays = path.parts[0].removesuffix(".py") not in SHIPPED
    return hidden or path.suffix == ".pyc" or stays or path.as_posix() in AT_HOME


def is_byte_code_or_hidden(path: Path) -> bool:
    """What is left out of packages with a user's own tasks."""
    return path.suffix == ".pyc" or any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def task_packages(settings: Settings) -> tuple[str, ...]:
    """The top-level packages of `VIDEO_PIPELINE_TASK_MODULES`, which are shipped whole. `BadInput` naming one
    that cannot be found here."""
    names = dict.fromkeys(module.split(".")[0] for module in settings.task_modules.replace(",", " ").split())
    names.pop(PACKAGE, None)
    for name in names:
        if find_spec(name) is None:
            raise BadInput(
                f"there is no package {name!r} to ship to Modal",
                input="VIDEO_PIPELINE_TASK_MODULES",
                what_to_do="install it, or run from its folder",
            )
    return tuple(names)


def build_image(name: ImageName, settings: Settings) -> modal.Image:
    """The image of that name with the local source on top."""
    base = modal.Image.debian_slim(python_version=PYTHON).apt_install(*SYSTEM_PACKAGES)
    if name == "cpu":
        image = base.pip_install(TORCH, index_url=CPU_TORCH_INDEX).pip_install(*PACKAGES)
    else:
        image = base.pip_install(TORCH).pip_install(*PACKAGES, *GPU_PACKAGES)
        image = image.env(
            {
                "NVIDIA_DRIVER_CAPABILITIES": DRIVER_CAPABILITIES,
                "TORCH_HOME": f"{MODELS_PATH}/torch",
                "HF_HOME": f"{MODELS_PATH}/huggingface",
            }
        )
    return with_source(image.env(cpu_threads.ENVIRONMENT), settings)


def with_source(image: modal.Image, settings: Settings) -> modal.Image:
    """`image` with the package and the packages of a user's own tasks: mounted at a container's start, so a
    change of code builds no image."""
    image = image.add_local_python_source(PACKAGE, ignore=is_left_out)
    for package in task_packages(settings):
        image = image.add_local_python_source(package, ignore=is_byte_code_or_hidden)
    return image


def shipped_files(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Every file that a deployment uploads: where it lies here, and its path in the container, by the same
    code of Modal's client that uploads it."""
    from modal.mount import _Mount

    for package, ignore in (
        (PACKAGE, is_left_out),
        *((package, is_byte_code_or_hidden) for package in task_packages(settings)),
    ):
        mount = _Mount._from_local_python_packages(package, ignore=ignore)
        for entry in mount.entries:
            for local, remote in entry.get_files_to_upload():
                yield Path(local), str(remote)

"""The task `probe`: what the machine that runs tasks is and has.

Belongs here: the request, the result, and the result as a page of text. Does not belong here: how each part
is asked (`machine_parts`), or deciding what to run where.

What is not there is a reason in words, never a zero or an empty field. A machine without a GPU is a fine
machine to probe; who needs one says so (`needs`), and the probe of a machine that lacks it fails and names
what is missing.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
import uuid
from typing import TYPE_CHECKING, Literal

import psutil
from pydantic import Field

from video_pipeline import __version__, keys
from video_pipeline import machine_parts as parts
from video_pipeline.errors import Internal
from video_pipeline.machine import usable_cores
from video_pipeline.machine_parts import Absent, Gpu, Libav, NvdecCodec, Torch
from video_pipeline.strict import StrictModel

if TYPE_CHECKING:
    from video_pipeline.store.base import ObjectStore
    from video_pipeline.worker import TaskContext

Need = Literal["gpu", "nvdec", "torch_cuda", "fonts", "encoders", "conditional_writes"]

PLACE = ("MODAL_CLOUD_PROVIDER", "MODAL_REGION", "MODAL_TASK_ID", "MODAL_IMAGE_ID", "MODAL_ENVIRONMENT")
"""Variables that Modal sets in a container."""


class ProbeRequest(StrictModel):
    """`needs` names what the machine must have. `nonce` makes each probe a call of its own: the result of one
    is never given for another."""

    needs: tuple[Need, ...] = ()
    nonce: str = Field(default_factory=lambda: uuid.uuid4().hex)


class ProbeResult(StrictModel):
    """What was found. Memory and disk in MiB. `missing` says in words what tasks will not have."""

    package_version: str
    python: str
    system: str
    processor: str
    cores: int
    memory_mib: int
    memory_limit_mib: int | None
    """The container's limit, if there is one."""
    scratch_free_mib: int
    gpus: tuple[Gpu, ...] | Absent
    libnvcuvid: str | Absent
    nvdec: tuple[NvdecCodec, ...] | Absent
    torch: Torch | Absent
    libav: Libav
    fonts: dict[str, str | None]
    """Script -> the font file that draws it, or None."""
    right_to_left: bool
    """Whether Pillow lays out text with Raqm and FriBiDi."""
    packages: dict[str, str | None]
    store: str
    store_round_trip_s: float
    """Putting, getting and deleting a small object, together."""
    conditional_writes: bool
    """Whether the store refuses a second create of the same object."""
    place: dict[str, str]
    missing: tuple[str, ...]


def run(request: ProbeRequest, context: TaskContext) -> ProbeResult:
    """Asks the machine and attaches `probe.txt`. Internal, naming each, if one of `needs` is not there."""
    gpus, nvdec, torch, libav, fonts = (
        parts.gpus(),
        parts.nvdec(),
        parts.torch_here(),
        parts.libav(),
        parts.fonts(),
    )
    round_trip_s = _round_trip(context.store, context.call_key)
    conditional = context.store.conditional_writes()
    no_encoder = [name for name in parts.ENCODERS if name not in libav.encoders]
    no_font = [script for script, font in fonts.items() if font is None]
    lacking: dict[Need, str | None] = {
        "gpu": gpus.reason if isinstance(gpus, Absent) else None,
        "nvdec": nvdec.reason if isinstance(nvdec, Absent) else None,
        "torch_cuda": torch.reason if isinstance(torch, Absent) else torch.no_cuda,
        "encoders": f"libav cannot open {', '.join(no_encoder)}" if no_encoder else None,
        "fonts": f"no font draws {', '.join(no_font)}" if no_font else None,
        "conditional_writes": None
        if conditional
        else f"{context.store.uri} lets a second create of an object through: one writer per video, please",
    }
    result = ProbeResult(
        package_version=__version__,
        python=platform.python_version(),
        system=platform.platform(),
        processor=parts.processor(),
        cores=usable_cores(),
        memory_mib=psutil.virtual_memory().total >> 20,
        memory_limit_mib=parts.memory_limit_mib(),
        scratch_free_mib=shutil.disk_usage(context.scratch).free >> 20,
        gpus=gpus,
        libnvcuvid=parts.libnvcuvid(),
        nvdec=nvdec,
        torch=torch,
        libav=libav,
        fonts=fonts,
        right_to_left=parts.lays_out_right_to_left(),
        packages={name: parts.installed(name) for name in parts.PACKAGES},
        store=context.store.uri,
        store_round_trip_s=round_trip_s,
        conditional_writes=conditional,
        place={name: os.environ[name] for name in PLACE if name in os.environ},
        missing=tuple(f"{name}: {reason}" for name, reason in lacking.items() if reason is not None),
    )
    context.attach_report("probe.txt", describe(result))
    unmet = [f"{name}: {lacking[name]}" for name in request.needs if lacking[name] is not None]
    if unmet:
        raise Internal(
            f"this machine lacks what was needed: {'; '.join(unmet)}",
            input=f"{platform.node()}, needs {', '.join(request.needs)}",
            what_to_do="read probe.txt beside this result; on Modal look at the function's image and gpu",
        )
    return result


def _round_trip(store: ObjectStore, call_key: str) -> float:
    """Seconds to put, get and delete a small object. Internal if it comes back changed."""
    key = keys.report_prefix(keys.SYSTEM_TENANT, call_key) + "round_trip"
    data = os.urandom(1024)
    started = time.perf_counter()
    store.put(key, data)
    back = store.get(key)
    store.delete(key)
    seconds = time.perf_counter() - started
    if back != data:
        raise Internal("an object came back from the store changed", input=f"{store.uri}/{key}")
    return round(seconds, 3)


def describe(result: ProbeResult) -> str:
    """The result as lines for people: what is there first, what is missing last."""
    lines = [
        f"{result.processor}, {result.cores} usable cores, {result.memory_mib:,} MiB of memory"
        + (f" (limit {result.memory_limit_mib:,})" if result.memory_limit_mib else ""),
        f"{result.system}, Python {result.python}, video_pipeline {result.package_version}",
        f"scratch disk: {result.scratch_free_mib:,} MiB free",
    ]
    if isinstance(result.gpus, Absent):
        lines.append(f"GPU: none. {result.gpus.reason}")
    else:
        lines += [
            f"GPU: {gpu.name}, {gpu.memory_mib:,} MiB, driver {gpu.driver}, CUDA up to {gpu.cuda}"
            for gpu in result.gpus
        ]
    lines.append(f"libnvcuvid: {_or_reason(result.libnvcuvid)}")
    if isinstance(result.nvdec, Absent):
        lines.append(f"NVDEC: none. {result.nvdec.reason}")
    else:
        codecs = ", ".join(
            f"{row.codec} {row.bit_depth} bit up to {row.max_width}x{row.max_height}" for row in result.nvdec
        )
        lines.append(f"NVDEC: {codecs}")
    lines.append(f"torch: {_torch_line(result.torch)}")
    libraries = ", ".join(f"{name} {number}" for name, number in result.libav.versions.items())
    packages = ", ".join(f"{name} {number or '(none)'}" for name, number in result.packages.items())
    lines += [
        f"libav: {libraries}",
        f"encoders: {', '.join(result.libav.encoders) or 'none'}; in hardware: "
        f"{', '.join(result.libav.hardware_encoders) or 'none'}",
        *(f"font for {script}: {font or 'none'}" for script, font in result.fonts.items()),
        f"right-to-left layout: {'Raqm and FriBiDi' if result.right_to_left else 'none (libfribidi0)'}",
        f"packages: {packages}",
        f"store: {result.store}, round trip {result.store_round_trip_s:.3f} s, conditional writes: "
        f"{'yes' if result.conditional_writes else 'no'}",
        *(f"{name}: {value}" for name, value in result.place.items()),
        *(f"MISSING {reason}" for reason in result.missing),
    ]
    return "\n".join(lines) + "\n"


def _or_reason(value: str | Absent) -> str:
    return f"none. {value.reason}" if isinstance(value, Absent) else value


def _torch_line(torch: Torch | Absent) -> str:
    if isinstance(torch, Absent):
        return f"none. {torch.reason}"
    if torch.no_cuda is not None:
        return f"{torch.version} on the CPU: {torch.no_cuda}"
    return (
        f"{torch.version}, CUDA {torch.cuda}, on {torch.device} (compute capability {torch.capability}); "
        f"first product after {torch.first_product_s} s"
    )

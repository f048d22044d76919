"""What one attempt of one call used: seconds, processor time, memory, bytes, GPU.

Belongs here: the record (`Usage`), reading it from the process (`Meter`) and from the recorder's spans. Does
not belong here: what it costs (`costs`), where it is written down (`calls`, `costs.entries`), or the spans
themselves (`timing`). Free of heavy imports: every worker on every backend imports it.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Collection, Iterable, Mapping

from pydantic import BaseModel, ConfigDict, Field

from video_pipeline.machine import started_since_boot
from video_pipeline.telemetry.table import wall_seconds
from video_pipeline.telemetry.timing import Span

CANONICAL: Mapping[str, tuple[str, ...]] = {
    "download": ("download", "fetch", "fetch_again", "index", "open_video"),
    "model_load": ("model_load", "load_model"),
    "work": (
        "decode",
        "transform",
        "draw",
        "copy",
        "inference",
        "infer",
        "classify",
        "preprocess",
        "decode_pictures",
        "narrow",
        "read",
        "look_for_captions",
        "find_extents",
        "doubts",
    ),
    "encode": ("encode", "mux", "png"),
    "upload": ("upload", "write_manifests", "write_captions"),
}
"""The phases that every task is compared by, and the spans of which each is made. Phases run side by side, so
together they may be longer than the call."""

ONCE_A_CALL = {
    "concatenation_ms": "join",
    "cleanup_ms": "cleanup",
}
"""Figures of a fan-out that are a span's wall time."""


class Phase(BaseModel):
    """One phase, in milliseconds: `wall_ms` in which at least one of its spans was open, and the processor
    time of the threads that opened them (what other threads did for them is not in it; what a span inside
    another of the same phase and thread took is counted once)."""

    model_config = ConfigDict(extra="ignore")

    wall_ms: float = 0.0
    cpu_ms: float = 0.0


class Usage(BaseModel):
    """What one attempt of one call used. Everything that is not known is None or zero, and a record of before
    there was a field reads as if it had not been known.

    A task fills in what only it knows (`context.usage.frames = ...`), the worker the rest at the end.
    """

    model_config = ConfigDict(extra="ignore")

    wall_s: float = 0.0
    """From the claim to the result; of a worker that died, to its last heartbeat."""
    cpu_user_s: float = 0.0
    cpu_system_s: float = 0.0
    """Processor time of the process and of the children it has waited for, its start included. Workers of
    other calls are not among those: each has a record of its own."""
    peak_memory_mib: float = 0.0
    """The most the process has ever had in memory; in a process that serves several calls, not only this."""
    machine_s: float = 0.0
    """Seconds that a backend charges for this attempt: `wall_s`, and where the process began with this call
    its start up to the claim. What a warm container waits for its next call is nobody's."""
    cold: bool | None = None
    """Whether the process began with this call."""

    startup_overhead_ms: float | None = None
    """To the task's first line: from the call's submission on Modal (which is its spawn there), from the
    start of the process elsewhere."""
    queued_ms: float | None = None
    """From the submission to the claim."""
    phases: dict[str, Phase] = Field(default_factory=dict)
    """By the names of `CANONICAL`, and by the name of every span that is none of them."""
    model_load_time_ms: float | None = None
    orchestrator_startup_ms: float | None = None
    """Of a fan-out: from the task's first line to the first call it starts."""
    map_dispatch_ms: float | None = None
    """Of a fan-out: from the first call it starts to the last result."""
    chunk_download_overhead_ms: float | None = None
    """Before the first frame: opening, seeking, reading. Of a chunk its own, of a fan-out the sum."""
    concatenation_ms: float | None = None
    cleanup_ms: float | None = None

    ms_per_frame_mean: float | None = None
    """Over the batches that were timed (`FramePace`), all their time by all their frames; where none was, the
    whole call's time by its frames, and then `ms_per_frame_min` and `ms_per_frame_max` are None."""
    ms_per_frame_min: float | None = None
    ms_per_frame_max: float | None = None
    frames: int | None = None
    chunks: int | None = None
    video_seconds: float | None = None
    output_pixels: int | None = None
    """Width x height of an output frame."""
    bytes_read: int | None = None
    bytes_written: int | None = None

    gpu_type: str | None = None
    """Modal's name of the type; elsewhere None, and `gpu_name` says what there was."""
    gpu_name: str | None = None
    """What the driver calls it."""
    gpu_count: int = 0
    gpu_seconds: float = 0.0
    """`machine_s` x GPUs: all that is reserved on Modal, only what was used elsewhere."""
    cpu_cores: float = 0.0
    """Reserved on Modal; elsewhere processor seconds by `machine_s`, both with the start of the process."""
    memory_gib: float = 0.0
    """Reserved on Modal; elsewhere the peak."""

    predicted_s: float | None = None
    predicted_usd: float | None = None
    """What a plan said before the call."""

    @property
    def cpu_s(self) -> float:
        return self.cpu_user_s + self.cpu_system_s


class Machine(BaseModel):
    """What is reserved, and charged, for a call while it runs."""

    model_config = ConfigDict(extra="ignore")

    gpu_type: str | None = None
    gpu_count: int = 0
    cpu_cores: float = 0.0
    memory_gib: float = 0.0


class Meter:
    """Reads what one attempt of one call uses, from its making to `fill`.

    In a process that serves several calls, one after the other, the first one has the start of the process,
    and what happens between two calls is in none.
    """

    _served = 0

    def __init__(self, *, submitted_at: float | None, spawned: bool) -> None:
        """`submitted_at` in seconds since the epoch. `spawned`: whether start-up counts from the submission,
        as on Modal, or from the process's start."""
        self._submitted_at, self._spawned = submitted_at, spawned
        self._cold = Meter._served == 0
        Meter._served += 1
        self._before = [(0.0, 0.0) if self._cold else _processor_seconds(who) for who in _OURS]
        now = time.time()
        self._began = now - _process_age_s() if self._cold else now
        self._claimed_at, self._claimed = now, time.monotonic()
        self._task_began: float | None = None

    def claimed(self, at: float) -> None:
        """The call has been this worker's since `at`, in seconds since the epoch."""
        self._claimed_at, self._claimed = at, time.monotonic() - max(time.time() - at, 0.0)

    def task_begins(self) -> None:
        self._task_began = time.time()

    def fill(
        self, usage: Usage, spans: Iterable[Span], *, reserved: Machine | None, with_children: bool
    ) -> Usage:
        """Puts into `usage` what is known by now, and returns it. What the task has set itself stays.

        `reserved` is the machine on Modal, None elsewhere. `with_children`: whether the processes that this
        one has waited for worked for this call, and are no calls of their own.
        """
        usage.wall_s = round(time.monotonic() - self._claimed, 3)
        usage.machine_s = round(usage.wall_s + max(self._claimed_at - self._began, 0.0), 3)
        usage.cold = self._cold
        used = [
            _since(_processor_seconds(who), before)
            for who, before in zip(_OURS, self._before, strict=True)
            if who == resource.RUSAGE_SELF or with_children
        ]
        usage.cpu_user_s = round(sum(user for user, _ in used), 3)
        usage.cpu_system_s = round(sum(system for _, system in used), 3)
        usage.peak_memory_mib = _peak_memory_mib()
        if self._submitted_at is not None:
            usage.queued_ms = _ms(self._claimed_at - self._submitted_at)
        if self._task_began is not None:
            spawned_at = self._submitted_at if self._spawned else None
            began = self._began if spawned_at is None else spawned_at
            usage.startup_overhead_ms = _ms(self._task_began - began)
        _of_spans(usage, list(spans))
        _of_the_machine(usage, reserved)
        return usage


class FramePace:
    """Puts into a usage how long frames take in a stream: a batch's time goes from the end of the one before
    it, or from here, to its own. So all of them together are the stream's time, whatever runs side by side.
    """

    def __init__(self, usage: Usage, *, at_least: int = 1) -> None:
        """`at_least`: the frames that make a batch where they come one by one."""
        self._usage, self._at_least = usage, at_least
        self._since = self._began = time.monotonic()
        self._open = self._done = 0

    def done(self, frames: int) -> None:
        """So many further frames are done."""
        self._open += frames
        if self._open < self._at_least:
            return
        now = time.monotonic()
        self._done += self._open
        each = round((now - self._since) * 1000 / self._open, 3)
        usage = self._usage
        usage.ms_per_frame_mean = round((now - self._began) * 1000 / self._done, 3)
        known = [each] if usage.ms_per_frame_min is None else [each, usage.ms_per_frame_min]
        usage.ms_per_frame_min = min(known)
        usage.ms_per_frame_max = max(each, usage.ms_per_frame_max or 0.0)
        self._since, self._open = now, 0


def of_a_dead_worker(wall_s: float, reserved: Machine | None) -> Usage:
    """All that is known of an attempt whose worker did not live to tell: how long it was seen alive, and
    what was reserved meanwhile."""
    usage = Usage(wall_s=round(max(wall_s, 0.0), 3), machine_s=round(max(wall_s, 0.0), 3))
    if reserved is not None:
        _of_the_machine(usage, reserved)
    return usage


def phases_of(spans: Collection[Span]) -> dict[str, Phase]:
    """The canonical phases that occurred, and every other span by its name."""
    canonical = {name: phase for phase, names in CANONICAL.items() for name in names}
    groups: dict[str, list[Span]] = {}
    for span in spans:
        groups.setdefault(canonical.get(span.name, span.name), []).append(span)
    timed = {(span.process, span.number): span for span in spans if span.cpu_s is not None}

    def within(span: Span, phase: str) -> bool:
        """Whether a span around it, of the phase and in the same thread, has its processor time already."""
        around = timed.get((span.process, span.parent)) if span.parent is not None else None
        while around is not None and around.lane == span.lane:
            if canonical.get(around.name, around.name) == phase:
                return True
            around = timed.get((around.process, around.parent)) if around.parent is not None else None
        return False

    return {
        name: Phase(
            wall_ms=round(wall_seconds(members, {span.name for span in members}) * 1000, 3),
            cpu_ms=round(sum(span.cpu_s or 0.0 for span in members if not within(span, name)) * 1000, 3),
        )
        for name, members in groups.items()
    }


def _of_spans(usage: Usage, spans: list[Span]) -> None:
    usage.phases = phases_of(spans)
    if "model_load" in usage.phases:
        usage.model_load_time_ms = usage.phases["model_load"].wall_ms
    for field, name in ONCE_A_CALL.items():
        if name in usage.phases:
            setattr(usage, field, usage.phases[name].wall_ms)
    if usage.ms_per_frame_mean is None and usage.frames:
        usage.ms_per_frame_mean = round(usage.wall_s * 1000 / usage.frames, 3)


def _of_the_machine(usage: Usage, reserved: Machine | None) -> None:
    if reserved is not None:
        usage.gpu_type, usage.gpu_count = reserved.gpu_type, reserved.gpu_count
        usage.cpu_cores, usage.memory_gib = reserved.cpu_cores, reserved.memory_gib
    else:
        usage.cpu_cores = round(usage.cpu_s / usage.machine_s, 3) if usage.machine_s else 0.0
        usage.memory_gib = round(usage.peak_memory_mib / 1024, 3)
    name = _gpu_in_use()
    if name is not None:
        usage.gpu_name, usage.gpu_count = name, max(usage.gpu_count, 1)
    usage.gpu_seconds = round(usage.machine_s * usage.gpu_count, 3)


def _gpu_in_use() -> str | None:
    """The first GPU's name if this process computes on it; torch is asked only where a task has loaded it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return torch.cuda.get_device_name(0)


_OURS = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)


def _processor_seconds(who: int) -> tuple[float, float]:
    """User and system seconds (getrusage)."""
    used = resource.getrusage(who)
    return used.ru_utime, used.ru_stime


def _since(now: tuple[float, float], before: tuple[float, float]) -> tuple[float, float]:
    return now[0] - before[0], now[1] - before[1]


def _process_age_s() -> float:
    """How long this process has run."""
    boots = sys.platform == "linux"
    now = time.clock_gettime(time.CLOCK_BOOTTIME) if boots else time.time()
    return max(now - started_since_boot(os.getpid()), 0.0)


def _peak_memory_mib() -> float:
    """ru_maxrss is in KiB on Linux, in bytes on macOS."""
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _ms(seconds: float) -> float:
    """Not below zero: two machines' clocks may differ by more than a call waited."""
    return round(max(seconds, 0.0) * 1000, 3)

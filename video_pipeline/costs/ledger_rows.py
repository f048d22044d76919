"""A row of the ledger: its columns, and an entry's values with what the attempt cost.

Belongs here: columns and prices of one row. Does not belong here: tables and the store (`ledger`), a price
list's arithmetic (`estimate`). Free of pandas.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from video_pipeline.costs.entries import LedgerEntry
from video_pipeline.costs.estimate import Prices
from video_pipeline.errors import Internal, PipelineError
from video_pipeline.tasks import BUILT_IN, Task
from video_pipeline.telemetry.usage import Usage

log = logging.getLogger(__name__)

TEXT, NUMBER, WHOLE, YES, TIME = "string", "float64", "int64", "bool", "timestamp"

COLUMNS: dict[str, str] = {
    "key": TEXT,
    "attempt": WHOLE,
    "task": TEXT,
    "version": WHOLE,
    "tenant": TEXT,
    "partition": TEXT,
    "status": TEXT,
    "error_kind": TEXT,
    "backend": TEXT,
    "host": TEXT,
    "parent": TEXT,
    "started_at": TIME,
    "finished_at": TIME,
    "wall_s": NUMBER,
    "machine_s": NUMBER,
    "queued_s": NUMBER,
    "cpu_s": NUMBER,
    "cold": YES,
    "startup_overhead_ms": NUMBER,
    "model_load_time_ms": NUMBER,
    "download_ms": NUMBER,
    "work_ms": NUMBER,
    "encode_ms": NUMBER,
    "upload_ms": NUMBER,
    "orchestrator_startup_ms": NUMBER,
    "map_dispatch_ms": NUMBER,
    "chunk_download_overhead_ms": NUMBER,
    "concatenation_ms": NUMBER,
    "cleanup_ms": NUMBER,
    "ms_per_frame_mean": NUMBER,
    "ms_per_frame_min": NUMBER,
    "ms_per_frame_max": NUMBER,
    "frames": WHOLE,
    "chunks": WHOLE,
    "video_seconds": NUMBER,
    "output_pixels": WHOLE,
    "bytes_read": WHOLE,
    "bytes_written": WHOLE,
    "gpu_type": TEXT,
    "gpu_name": TEXT,
    "gpu_count": WHOLE,
    "gpu_seconds": NUMBER,
    "cpu_cores": NUMBER,
    "memory_gib": NUMBER,
    "peak_memory_mib": NUMBER,
    "predicted_s": NUMBER,
    "predicted_usd": NUMBER,
    "usd_gpu": NUMBER,
    "usd_cpu": NUMBER,
    "usd_memory": NUMBER,
    "usd": NUMBER,
    "usd_on_modal": NUMBER,
    "region": TEXT,
    "prices_as_of": TEXT,
    "degraded": YES,
    "degraded_lines": TEXT,
    "phases": TEXT,
}
"""The table's columns. Seconds, milliseconds, MiB, GiB and US dollars by their names; times in UTC. What an
attempt does not know is null. `phases` and `degraded_lines` are JSON."""

IDENTITY = ["key", "attempt", "started_at"]


@dataclass(frozen=True, slots=True)
class Pricing:
    """By which list, for which region, and with which task table (what local calls would have on Modal)."""

    prices: Prices
    region: str
    tasks: Mapping[str, Task]

    @classmethod
    def of(cls, prices: Prices | None, region: str, tasks: Mapping[str, Task] | None) -> Pricing:
        from video_pipeline.modal_ops import guard

        prices = prices or guard.prices()
        prices.region_factor(region)
        return cls(prices, region, tasks if tasks is not None else {task.name: task for task in BUILT_IN})

    def row(self, entry: LedgerEntry) -> dict[str, Any]:
        """The entry's row, with the columns of `COLUMNS`."""
        usage = entry.usage
        row = {
            **entry.model_dump(exclude={"usage", "degraded"}),
            **{name: value for name, value in usage.model_dump().items() if name in COLUMNS},
            "queued_s": None if usage.queued_ms is None else usage.queued_ms / 1000,
            "cpu_s": usage.cpu_s,
            **{
                f"{name}_ms": usage.phases[name].wall_ms if name in usage.phases else None
                for name in ("download", "work", "encode", "upload")
            },
            "degraded": bool(entry.degraded),
            "degraded_lines": json.dumps(entry.degraded),
            "phases": json.dumps({name: phase.model_dump() for name, phase in usage.phases.items()}),
            "region": self.region,
            "prices_as_of": self.prices.as_of,
            **self._usd(entry),
        }
        return {name: row.get(name) for name in COLUMNS}

    def _usd(self, entry: LedgerEntry) -> dict[str, float | None]:
        if entry.backend == "local":
            nothing = dict.fromkeys(("usd_gpu", "usd_cpu", "usd_memory", "usd"), 0.0)
            return {**nothing, "usd_on_modal": self._elsewhere(entry)}
        try:
            parts = self._parts(entry.usage)
        except Internal as error:
            log.warning("the attempt %d of the call %s has no price: %s", entry.attempt, entry.key, error)
            return {}
        total = sum(parts.values())
        return {**parts, "usd": total, "usd_on_modal": total}

    def _parts(self, usage: Usage) -> dict[str, float]:
        """Modal charges for what is reserved, or for what is used of cores and memory where that is more.
        Processor time is that of the start as well, so it is held against all seconds that are charged."""
        factor = self.prices.region_factor(self.region)
        used_cores = usage.cpu_s / usage.machine_s if usage.machine_s else 0.0
        cores = max(usage.cpu_cores, used_cores)
        memory_gib = max(usage.memory_gib, usage.peak_memory_mib / 1024)
        return {
            "usd_gpu": factor * usage.gpu_seconds * self.prices.gpu_s(usage.gpu_type),
            "usd_cpu": factor * usage.machine_s * cores * self.prices.cpu_core_per_s,
            "usd_memory": factor * usage.machine_s * memory_gib * self.prices.memory_gib_per_s,
        }

    def _elsewhere(self, entry: LedgerEntry) -> float | None:
        """What the same seconds cost on the machine that the task asks for on Modal, if it is known."""
        from video_pipeline.modal_ops.specs import gpu_name

        task = self.tasks.get(entry.task)
        if task is None:
            return None
        hardware = task.hardware
        try:
            gpu = None if hardware.gpu is None else gpu_name(hardware.gpu, input=entry.task)
            per_s = self.prices.per_s(
                gpu=gpu, cpu_cores=hardware.cpu_cores, memory_mib=hardware.memory_mib, region=self.region
            )
        except PipelineError as error:
            log.warning("%s has no price on Modal: %s", entry.task, error)
            return None
        return entry.usage.machine_s * per_s


def root_of(key: str, parents: Mapping[str, str]) -> str:
    """The call that began what `key` is a part of; `parents` are the starters by call. A circle ends at a
    call of its own."""
    seen = {key}
    while (parent := parents.get(key)) is not None and parent not in seen:
        seen.add(parent)
        key = parent
    return key

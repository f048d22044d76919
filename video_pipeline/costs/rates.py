"""What a second of each machine of a chunked task costs.

Belongs here: from the task table's hardware and the dated prices to `Rates`. Does not belong here: prices
(`modal_ops/prices.json`), predictions.
"""

from __future__ import annotations

from video_pipeline.costs.predict import Rates
from video_pipeline.modal_ops.guard import prices
from video_pipeline.modal_ops.specs import gpu_name
from video_pipeline.tasks import Hardware, find_task


def rates_for(
    *,
    whole: str,
    chunk: str,
    orchestrator: str | None = None,
    gpu: str | None = None,
    region_factor: float = 1.0,
) -> Rates:
    """Rates of the named tasks on Modal, as reserved: GPU, cores and memory. `gpu` replaces the GPU that the
    task table states for `whole` and `chunk`. `region_factor` multiplies all of it."""

    def per_s(task: str, replaced: str | None) -> float:
        hardware: Hardware = find_task(task).hardware
        wanted = replaced or hardware.gpu
        name = None if wanted is None else gpu_name(wanted, input=f"gpu of {task}")
        return region_factor * prices().per_s(
            gpu=name, cpu_cores=hardware.cpu_cores, memory_mib=hardware.memory_mib
        )

    return Rates(
        chunk_usd_per_s=per_s(chunk, gpu),
        whole_usd_per_s=per_s(whole, gpu),
        orchestrator_usd_per_s=0.0 if orchestrator is None else per_s(orchestrator, None),
        as_of=prices().as_of,
        region_factor=region_factor,
    )


def framing_rates(gpu: str | None = None, region_factor: float = 1.0) -> Rates:
    """Of `process_framing_ai_parallel` and what it calls."""
    return rates_for(
        whole="process_framing_ai",
        chunk="process_framing_ai_chunk",
        orchestrator="process_framing_ai_parallel",
        gpu=gpu,
        region_factor=region_factor,
    )

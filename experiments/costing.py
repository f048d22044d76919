"""What a call of an experiment costs by the dated price list.

Belongs here: which hardware a call is priced on. Does not belong here: prices and their arithmetic
(`video_pipeline.costs`, `modal_ops`).

On Modal a call is priced as what it reserved: GPU, cores and memory, for the seconds that are charged. On
this machine it is priced as what it used: its processor seconds, and for the seconds it ran the memory that
it took at most. Calls side by side share the cores of one machine and wait for each other: were each priced
as the whole machine, two at once would cost twice as much for the same work. It says what the work costs on
cores like these and kept busy, not what another machine would take. The start of a worker that began with the
call is in both, idle time of containers in neither.
"""

from __future__ import annotations

from video_pipeline.modal_ops.guard import prices
from video_pipeline.modal_ops.specs import gpu_name
from video_pipeline.settings import Settings
from video_pipeline.tasks import find_task
from video_pipeline.telemetry.usage import Usage

BASIS = {
    "local": "the processor seconds that calls used here at Modal's price of a core, and the memory "
    "that each took at most, for its seconds",
    "modal": "what a call reserves on Modal: GPU, cores and memory, for the seconds that are charged",
}


def as_of() -> str:
    """The date of the price list."""
    return prices().as_of


def usd(task: str, gpu: str | None, usage: Usage, settings: Settings) -> float:
    """US dollars of one call with this usage. `gpu` is the option it ran with."""
    if settings.compute == "local":
        memory = usage.machine_s * usage.peak_memory_mib / 1024 * prices().memory_gib_per_s
        return usage.cpu_s * prices().cpu_core_per_s + memory
    hardware = find_task(task, settings).hardware
    chosen = gpu or hardware.gpu
    return usage.machine_s * prices().per_s(
        gpu=None if chosen is None else gpu_name(chosen, input="gpu"),
        cpu_cores=hardware.cpu_cores,
        memory_mib=hardware.memory_mib,
    )

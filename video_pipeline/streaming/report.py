"""The report after each call: what every stage did, what limited it, and what to change.

Belongs here: the text. Does not belong here: the figures (`stats`) or their measurement (`pipeline`).
"""

from __future__ import annotations

from video_pipeline.streaming.stats import PipelineReport, StageStats, advice
from video_pipeline.telemetry.nvml import GpuUtilisation

TITLE = "PERFORMANCE METRICS"
_RULE = "=" * 80


def performance_report(
    report: PipelineReport, *, frames: int, pairs: int, chunks: int, gpu: GpuUtilisation
) -> str:
    """Plain text, 80 columns. `pairs` and `chunks` are 0 where the run made none."""
    lines = [TITLE, _RULE]
    lines.append(
        f"Whole stream: {report.wall_s:.2f} s, {frames} frames, {_rate(frames, report.wall_s)} frames/s"
    )
    if pairs:
        lines.append(f"Pairs: {pairs}, {_rate(pairs, report.wall_s)} pairs/s")
    if chunks:
        lines.append(f"Chunks: {chunks}")
    columns = (
        ("workers", 7),
        ("items", 7),
        ("busy s", 8),
        ("cpu s", 8),
        ("fps", 8),
        ("wait in", 8),
        ("wait out", 8),
    )
    lines += [
        "",
        f"{'stage':12} " + " ".join(f"{name:>{width}}" for name, width in columns) + f" {'queue':>11}",
    ]
    for stage in report.stages:
        lines.append(_stage_line(stage, frames))
    lines += [
        "",
        f"Overlap: {report.overlap_efficiency:.0%} of the floor of {report.floor_s:.2f} s "
        f"({report.process_cpu_s:.2f} s of CPU on {report.cores} cores)",
        f"GPU: {_gpu(gpu)}",
        f"Bottleneck: {report.bottleneck}",
    ]
    lines += [f"Advice: {line}" for line in advice(report)]
    lines.append(_RULE)
    return "\n".join(lines)


def _stage_line(stage: StageStats, frames: int) -> str:
    items = stage.items_in or stage.items_out
    per_second = _rate(frames * stage.workers, stage.busy_s)
    queue = f"{stage.queue_mean:.1f} / {stage.queue_max}"
    return (
        f"{stage.name:12} {stage.workers:>7} {items:>7} {stage.busy_s:>8.2f} {stage.cpu_s:>8.2f} "
        f"{per_second:>8} {stage.wait_in_s:>8.2f} {stage.wait_out_s:>8.2f} {queue:>11}"
    )


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:.1f}" if seconds > 0 else "-"


def _gpu(gpu: GpuUtilisation) -> str:
    if gpu.gpu_percent is None:
        return f"not measured: {gpu.reason}"
    return (
        f"{gpu.name}: {gpu.gpu_percent:.0f} % busy, NVDEC {gpu.nvdec_percent:.0f} %, "
        f"{gpu.memory_used_mib:.0f} MiB in use"
    )

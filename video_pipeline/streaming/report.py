"""The report after each call: what every stage did, what limited it, and what to change.

Belongs here: the text. Does not belong here: the figures (`stats`) or their measurement (`run`).
"""

from __future__ import annotations

from video_pipeline.streaming.stats import PipelineReport, StageStats, advice
from video_pipeline.telemetry.nvml import GpuUtilisation

TITLE = "PERFORMANCE METRICS"
_WIDTH = 105
_COLUMNS = (
    ("workers", 7),
    ("items", 7),
    ("busy s", 8),
    ("cpu s", 8),
    ("frames/s", 9),
    ("wait in", 8),
    ("wait out", 8),
    ("wait cpu", 8),
    ("queue", 10),
)


def performance_report(
    report: PipelineReport, *, frames: int, pairs: int, chunks: int, gpu: GpuUtilisation | None
) -> str:
    """Plain text; the table is 105 columns wide. `pairs` and `chunks` are 0 where the run made none."""
    wall = report.wall_s
    lines = [TITLE, "=" * _WIDTH]
    lines.append(f"Time: {wall:.2f} s   Frames: {frames}   Throughput: {_rate(frames, wall)} frames/s")
    if pairs:
        lines.append(f"Pairs: {pairs}   Throughput: {_rate(pairs, wall)} pairs/s")
    if chunks:
        lines.append(f"Chunks: {chunks}   Throughput: {_rate(chunks, wall)} chunks/s")
    lines += ["", "  ".join([f"{'stage':14}", *(f"{name:>{width}}" for name, width in _COLUMNS)])]
    lines += [_stage_line(stage, frames) for stage in report.stages]
    lines += [
        "frames/s: what the stage could do if it never waited. queue: items waiting before it, mean / most.",
        "wait: seconds without input, without room for output, without a free core; summed over workers.",
        "",
        f"Overlap: {report.overlap_efficiency:.0%} of what is possible: {wall:.2f} s, where "
        f"{report.floor_s:.2f} s is the floor ({report.process_cpu_s:.2f} s of CPU, {report.cores} cores)",
        f"GPU: {_gpu(gpu)}",
        f"Bottleneck: {report.bottleneck or 'none'}",
    ]
    lines += [f"Advice: {line}" for line in advice(report)]
    lines.append("=" * _WIDTH)
    return "\n".join(lines)


def _stage_line(stage: StageStats, frames: int) -> str:
    values = (
        str(stage.workers),
        str(stage.items_in or stage.items_out),
        f"{stage.busy_s:.2f}",
        f"{stage.cpu_s:.2f}",
        _rate(frames, stage.share_s),
        f"{stage.wait_in_s:.2f}",
        f"{stage.wait_out_s:.2f}",
        f"{stage.wait_cpu_s + stage.wait_turn_s:.2f}",
        f"{stage.queue_mean:.1f} / {stage.queue_max}",
    )
    cells = (f"{value:>{width}}" for value, (_, width) in zip(values, _COLUMNS, strict=True))
    return "  ".join([f"{stage.name[:14]:14}", *cells])


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds:.1f}" if seconds >= 0.0005 else "-"


def _gpu(gpu: GpuUtilisation | None) -> str:
    if gpu is None:
        return "not measured: nothing was sampled"
    if gpu.gpu_percent is None:
        return f"not measured: {gpu.reason}"
    decoder = "not measured" if gpu.nvdec_percent is None else f"{gpu.nvdec_percent:.0f} %"
    memory = "" if gpu.memory_used_mib is None else f", {gpu.memory_used_mib:.0f} MiB in use"
    return f"{gpu.name}: {gpu.gpu_percent:.0f} % busy, NVDEC {decoder}{memory}"

"""What a caption pass leaves to look at: the performance report, the waterfall, the trace, the statistics.

Belongs here: choosing and attaching the reports. Does not belong here: measuring (`streaming`, `telemetry`).
"""

from __future__ import annotations

import json

from video_pipeline.captions.offloading import offloading
from video_pipeline.streaming.report import performance_report
from video_pipeline.streaming.stats import PipelineReport
from video_pipeline.telemetry.nvml import GpuUtilisation
from video_pipeline.telemetry.perfetto import chrome_trace
from video_pipeline.telemetry.table import timing_table
from video_pipeline.telemetry.waterfall import waterfall_html
from video_pipeline.worker import TaskContext


def attach_reports(
    context: TaskContext, report: PipelineReport, *, frames: int, chunks: int, gpu: GpuUtilisation
) -> None:
    """Prints the report into the call's log and attaches its files to the call's result."""
    spans, dropped = context.recorder.spans(), context.recorder.dropped
    performance = performance_report(report, frames=frames, pairs=max(frames - 1, 0), chunks=chunks, gpu=gpu)
    elsewhere = offloading(report, has_gpu=gpu.gpu_percent is not None)
    about = f"\nEncoding elsewhere: {elsewhere.advice}" if elsewhere is not None else ""
    text = f"{performance}{about}\n\n{timing_table(spans, dropped=dropped)}\n"
    print(text, flush=True)
    context.attach_report("performance.txt", text)
    stages = {**report.to_dict(), "offloading": elsewhere.to_dict() if elsewhere is not None else None}
    context.attach_report("stages.json", json.dumps(stages, indent=1))
    context.attach_report(
        "timing_waterfall.html",
        waterfall_html(spans, title=f"Caption pass, {frames} frames", dropped=dropped),
    )
    context.attach_report("trace.json", json.dumps(chrome_trace(spans)))

"""What a stream says of itself: bottleneck, overlap, what would help."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from video_pipeline.streaming.pipeline import Pipeline, Stage
from video_pipeline.streaming.report import performance_report
from video_pipeline.streaming.stats import PipelineReport, StageStats, advice
from video_pipeline.telemetry.nvml import GpuSampler, GpuUtilisation


def sleeping(seconds: float):
    def work(item: int) -> list[int]:
        time.sleep(seconds)
        return [item]

    return work


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def report_of(*stages: StageStats, wall: float = 10.0, cores: int = 4, cpu: float = 4.0) -> PipelineReport:
    return PipelineReport(list(stages), wall, cores, cpu)


def test_the_slowest_stage_is_named_and_measured() -> None:
    report = Pipeline(
        "source",
        lambda: numbers(30),
        [Stage("quick", sleeping(0.001)), Stage("slow", sleeping(0.01)), Stage("last", sleeping(0.001))],
    ).run()
    assert report.bottleneck == "slow"
    slow = report.stages[2]
    assert slow.busy_s == pytest.approx(0.3, rel=0.5)
    assert report.stages[1].wait_out_s > slow.wait_out_s
    assert report.stages[3].wait_in_s > 0.1
    assert report.overlap_efficiency > 0.6
    assert slow.queue_max <= 8


def test_stages_that_do_not_overlap_score_low() -> None:
    stages = [Stage(name, sleeping(0.005)) for name in ("a", "b", "c")]
    together = Pipeline("source", lambda: numbers(20), stages).run()
    one_after_the_other = Pipeline("source", lambda: numbers(20), stages).run_sequentially()
    assert one_after_the_other.overlap_efficiency < 0.5 < together.overlap_efficiency


def test_the_floor_is_the_larger_of_cpu_and_the_slowest_stage() -> None:
    stages = StageStats("decode", busy_s=4), StageStats("encode", workers=2, busy_s=12)
    report = report_of(*stages, cpu=4)
    assert report.floor_s == 6
    assert report.overlap_efficiency == pytest.approx(0.6)
    assert report.bottleneck == "encode"
    assert report.with_one_more_worker("encode") == 4
    assert report_of(*stages, cpu=32).bottleneck == "cores"
    assert report_of(*stages, cpu=32).floor_s == 8


def test_the_advice_follows_the_figures() -> None:
    stages = StageStats("decode", busy_s=4), StageStats("encode", workers=2, busy_s=12, cpu_s=11)
    assert any("encoder_workers" in line for line in advice(report_of(*stages)))
    assert any("all 4 cores" in line and "encode" in line for line in advice(report_of(*stages, cpu=32)))
    source_bound = report_of(StageStats("decode", busy_s=9), StageStats("encode", workers=2, busy_s=2))
    assert any("it is the source" in line for line in advice(source_bound))
    even = report_of(StageStats("decode", busy_s=6), StageStats("infer", busy_s=6.1))
    assert any("another stage is as slow" in line for line in advice(even))
    assert any("overlap to" in line for line in advice(report_of(*stages, wall=100.0)))
    assert advice(report_of()) == []


def test_the_report_names_every_stage_and_says_why_there_is_no_gpu_figure() -> None:
    report = report_of(
        StageStats("decode", busy_s=4, items_out=100), StageStats("encode", workers=2, busy_s=12)
    )
    text = performance_report(
        report, frames=100, pairs=99, chunks=7, gpu=GpuUtilisation(reason="there is none")
    )
    assert text.startswith("PERFORMANCE METRICS")
    for part in (
        "decode",
        "encode",
        "99, 9.9 pairs/s",
        "Chunks: 7",
        "not measured: there is none",
        "Bottleneck: encode",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100
    with_gpu = performance_report(
        report, frames=1, pairs=0, chunks=0, gpu=GpuUtilisation(97.0, 40.0, 812.0, "A10G")
    )
    assert "A10G: 97 % busy, NVDEC 40 %, 812 MiB in use" in with_gpu


def test_without_an_nvidia_gpu_the_sampler_says_why() -> None:
    with GpuSampler() as sampler:
        pass
    assert sampler.result.gpu_percent is None or sampler.result.name
    assert sampler.result.gpu_percent is not None or sampler.result.reason

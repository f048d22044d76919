"""What a stream says of itself: bottleneck, overlap, what would help."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator

import pytest

from video_pipeline.machine import usable_cores
from video_pipeline.streaming.pipeline import Pipeline, Stage
from video_pipeline.streaming.report import performance_report
from video_pipeline.streaming.stats import PipelineReport, StageStats, advice
from video_pipeline.telemetry.nvml import GpuUtilisation

BLOCK = bytes(1 << 20)


def sleeping(seconds: float):
    def work(item: int) -> list[int]:
        time.sleep(seconds)
        return [item]

    return work


def burning(megabytes: int):
    """CPU work that releases Python's lock, as codecs do."""

    def work(item: int) -> list[int]:
        for _ in range(megabytes):
            hashlib.sha256(BLOCK)
        return [item]

    return work


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def report_of(*stages: StageStats, wall: float = 10.0, cores: int = 4, cpu: float = 4.0) -> PipelineReport:
    return PipelineReport(list(stages), wall, cores, cpu)


def stage_of(report: PipelineReport, name: str) -> StageStats:
    return next(stage for stage in report.stages if stage.name == name)


def test_the_slowest_stage_is_named_and_measured() -> None:
    spent: dict[str, float] = {"quick": 0.0, "slow": 0.0, "last": 0.0}

    def stage(name: str, seconds: Callable[[], float]) -> Stage:
        def work(item: int) -> list[int]:
            began = time.perf_counter()
            time.sleep(seconds())
            spent[name] += time.perf_counter() - began
            return [item]

        return Stage(name, work)

    def slow_seconds() -> float:
        # Whatever else runs on the machine: four times as long as the slower of the others has really taken.
        return max(0.01, 4 * max(spent["quick"], spent["last"]) - spent["slow"])

    stages = [stage("quick", lambda: 0.001), stage("slow", slow_seconds), stage("last", lambda: 0.001)]
    report = Pipeline("source", lambda: numbers(30), stages).run()
    assert report.bottleneck == "slow"
    quick, slow, last = report.stages[1:]
    for measured in (quick, slow, last):
        assert measured.busy_s == pytest.approx(spent[measured.name], rel=0.1, abs=0.03)
    assert quick.wait_out_s > slow.wait_out_s
    assert last.wait_in_s > last.busy_s
    assert report.overlap_efficiency == pytest.approx(slow.needed_s / report.wall_s)
    assert slow.busy_s > 0.6 * report.wall_s
    # The queue before the slow stage fills, the one behind it stays empty.
    assert slow.queue_max == 8
    assert slow.queue_mean > 3 > 1 > last.queue_mean


def test_a_slow_source_and_a_slow_sink_are_named_too() -> None:
    def slow_source() -> Iterator[int]:
        for item in range(20):
            time.sleep(0.01)
            yield item

    stages = [Stage("quick", sleeping(0.001))]
    by_source = Pipeline("source", slow_source, stages, sink=lambda _: None).run()
    by_sink = Pipeline("source", lambda: numbers(20), stages, sink=lambda _: time.sleep(0.01)).run()
    assert by_source.bottleneck == "source"
    assert stage_of(by_source, "quick").wait_in_s > 0.1
    assert by_sink.bottleneck == "sink"
    assert stage_of(by_sink, "sink").busy_s > 0.15
    assert any("by its nature" in line for line in advice(by_sink))


def test_stages_that_do_not_overlap_score_low() -> None:
    stages = [Stage(name, sleeping(0.005)) for name in ("a", "b", "c")]
    together = Pipeline("source", lambda: numbers(20), stages).run()
    one_after_the_other = Pipeline("source", lambda: numbers(20), stages).run_sequentially()
    for earlier, later in itertools.pairwise(one_after_the_other.stages[1:]):
        assert later.started is not None
        assert earlier.ended <= later.started
    assert one_after_the_other.overlap_efficiency < 0.5
    for earlier, later in itertools.pairwise(together.stages[1:]):
        assert later.started is not None
        assert later.started < earlier.ended
    # 0.9 on an idle machine. Where other work takes the cores, it takes some of the overlap too.
    waited = sum(stage.wait_cpu_s for stage in together.stages)
    assert together.overlap_efficiency > 0.5 or waited > 0.1 * together.wall_s


def test_work_that_burns_more_than_the_cores_is_limited_by_the_cores_and_not_by_a_stage() -> None:
    # One burner more than there are cores: each is busy nearly all the time, most of it waiting for a core.
    burners = [Stage(f"burner {number}", burning(2)) for number in range(2 * usable_cores() + 1)]
    report = Pipeline("source", lambda: numbers(60), burners).run()
    assert report.bottleneck == "cores"
    assert sum(stage.cpu_s for stage in report.stages) == pytest.approx(report.process_cpu_s, rel=0.3)
    assert sum(stage.wait_cpu_s for stage in report.stages) > 0.2 * report.wall_s
    for stage in report.stages[1:]:
        assert stage.needed_s < 0.9 * stage.busy_s


def test_stages_that_burn_one_after_the_other_score_low() -> None:
    if usable_cores() < 2:
        pytest.skip("on one core nothing can overlap")
    stages = [Stage(name, burning(3)) for name in ("a", "b")]
    report = Pipeline("source", lambda: numbers(12), stages).run_sequentially()
    assert report.overlap_efficiency < 0.75


def test_more_workers_help_by_what_the_floor_says() -> None:
    def run(workers: int) -> PipelineReport:
        slow = Stage("slow", sleeping(0.01), workers=workers)
        return Pipeline("source", lambda: numbers(40), [slow, Stage("quick", sleeping(0.002))]).run()

    # The quickest of three: other work may come to the machine between two runs, and goes again.
    one, two = (min((run(workers) for _ in range(3)), key=lambda report: report.wall_s) for workers in (1, 2))
    promised = one.what_one_more_worker_would_give["slow"]
    assert promised == pytest.approx(0.5, abs=0.1)
    assert 1 - two.wall_s / one.wall_s == pytest.approx(promised, abs=0.2)
    assert "quick" in one.what_one_more_worker_would_give
    assert one.what_one_more_worker_would_give["quick"] == 0
    assert "source" not in one.what_one_more_worker_would_give


def test_the_floor_is_the_larger_of_cpu_and_the_slowest_stage() -> None:
    stages = StageStats("decode", busy_s=4), StageStats("encode", workers=2, busy_s=12)
    report = report_of(*stages, cpu=4)
    assert report.floor_s == 6
    assert report.overlap_efficiency == pytest.approx(0.6)
    assert report.bottleneck == "encode"
    assert report.what_one_more_worker_would_give == {"decode": 0, "encode": pytest.approx(1 / 3)}
    assert report_of(*stages, cpu=32).bottleneck == "cores"
    assert report_of(*stages, cpu=32).floor_s == 8
    assert report_of(*stages, cpu=32).what_one_more_worker_would_give["encode"] == 0


def test_time_without_a_core_is_waiting_but_cpu_time_never_is() -> None:
    assert StageStats("a", busy_s=10, cpu_s=4, wait_cpu_s=5).needed_s == 5
    assert StageStats("a", busy_s=10, cpu_s=4, wait_cpu_s=9).needed_s == 4


def test_a_stage_is_the_sum_of_its_workers_from_the_first_start_to_the_last_end() -> None:
    total = StageStats("stage", workers=3, queue_mean=1.5, queue_max=4)
    total.add(StageStats("a", 1, 2, 3, 4.0, 5.0, 6.0, 7.0, 8.0, started=2.0, ended=9.0))
    total.add(StageStats("b", 1, 10, 20, 30.0, 40.0, 50.0, 60.0, 70.0, started=1.0, ended=8.0))
    total.add(StageStats("never began"))
    assert total == StageStats(
        "stage", 3, 12, 23, 34.0, 45.0, 56.0, 67.0, 78.0, queue_mean=1.5, queue_max=4, started=1.0, ended=9.0
    )


def test_waiting_for_a_core_is_others_doing_only_where_this_run_did_not_take_the_cores_itself() -> None:
    def said(waited: float, cpu: float) -> str:
        stage = StageStats("decode", busy_s=waited + 10, wait_cpu_s=waited)
        return " ".join(advice(report_of(stage, wall=100.0, cores=1, cpu=cpu)))

    assert "other work on this machine" in said(30, 70)
    assert "other work on this machine" not in said(20, 70)
    # Its own work takes four fifths of the cores' time: then it waited for itself, and overlaps well.
    assert "overlap" not in said(30, 81)


def test_the_advice_follows_the_figures() -> None:
    stages = (
        StageStats("decode", busy_s=4, scalable=False),
        StageStats("encode", workers=2, busy_s=12, cpu_s=11),
    )
    assert any("3 workers instead of 2" in line and "33%" in line for line in advice(report_of(*stages)))
    assert any("encoder_workers" in line for line in advice(report_of(*stages)))
    assert any("the 4 cores" in line and "encode" in line for line in advice(report_of(*stages, cpu=32)))
    source_bound = report_of(StageStats("decode", busy_s=9), StageStats("encode", workers=2, busy_s=2))
    assert any("it is the source" in line for line in advice(source_bound))
    even = report_of(StageStats("decode", busy_s=6), StageStats("infer", busy_s=6.1))
    assert any("the next limit is as close" in line for line in advice(even))
    single = report_of(StageStats("decode", busy_s=1), StageStats("infer", busy_s=6, scalable=False))
    assert any("by its nature" in line for line in advice(single))
    assert any("overlap to 6% only" in line for line in advice(report_of(*stages, wall=100.0)))
    starved = report_of(StageStats("decode", busy_s=90, wait_cpu_s=80), StageStats("encode"), wall=100.0)
    assert any("other work on this machine" in line for line in advice(starved))
    assert advice(report_of()) == []


def test_the_report_as_a_dictionary_is_json_with_the_derived_figures() -> None:
    report = report_of(StageStats("decode", busy_s=4), StageStats("encode", workers=2, busy_s=12))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["bottleneck"] == "encode"
    assert data["floor_s"] == 6
    assert data["what_one_more_worker_would_give"]["encode"] == pytest.approx(1 / 3)
    assert [stage["name"] for stage in data["stages"]] == ["decode", "encode"]
    json.dumps(report_of(wall=0.0).to_dict())


def test_the_report_names_every_stage_and_says_why_there_is_no_gpu_figure() -> None:
    report = report_of(
        StageStats("decode", busy_s=4, items_out=100),
        StageStats("encode", workers=2, busy_s=12, queue_mean=2.5, queue_max=4),
    )
    text = performance_report(
        report, frames=100, pairs=99, chunks=7, gpu=GpuUtilisation(reason="there is none")
    )
    assert text.startswith("PERFORMANCE METRICS")
    for part in (
        "Time: 10.00 s   Frames: 100   Throughput: 10.0 frames/s",
        "Pairs: 99   Throughput: 9.9 pairs/s",
        "Chunks: 7",
        "2.5 / 4",
        "Overlap: 60% of what is possible",
        "GPU: not measured: there is none",
        "Bottleneck: encode",
        "encoder_workers",
    ):
        assert part in text
    decode, encode = (line.split() for line in text.splitlines() if line.startswith(("decode", "encode")))
    assert (decode[:3], decode[5]) == (["decode", "1", "100"], "25.0")
    assert (encode[:2], encode[5]) == (["encode", "2"], "16.7")


def test_every_figure_of_a_stage_stands_in_its_own_column() -> None:
    stage = StageStats("stage", 3, 71, 72, 6.5, 4.25, 1.5, 2.5, 0.75, queue_mean=3.5, queue_max=9)
    text = performance_report(report_of(stage), frames=690, pairs=0, chunks=0, gpu=None)
    _, row = (line.split() for line in text.splitlines() if line.startswith("stage "))
    # 690 frames in (6.5 - 0.75) / 3 s.
    assert row == ["stage", "3", "71", "6.50", "4.25", "360.0", "1.50", "2.50", "0.75", "3.5", "/", "9"]
    assert "Pairs" not in text
    assert "Chunks" not in text


def test_a_stage_that_took_no_time_has_no_rate() -> None:
    stages = StageStats("none", busy_s=0.0004), StageStats("little", busy_s=0.0005)
    text = performance_report(report_of(*stages, wall=0.5), frames=10, pairs=0, chunks=0, gpu=None)
    rates = {
        line.split()[0]: line.split()[5] for line in text.splitlines() if line.startswith(("none", "little"))
    }
    assert rates == {"none": "-", "little": "20000.0"}
    assert "Throughput: 20.0 frames/s" in text


def test_the_report_fits_its_width_even_for_an_hour() -> None:
    hour = StageStats("encode_and_more_words", 16, 36000, 1478, 99999.9, 99999.9, 9999.9, 9999.9, 9999.9)
    text = performance_report(
        report_of(StageStats("decode"), hour, wall=3600.0), frames=36000, pairs=35999, chunks=1478, gpu=None
    )
    table = [line for line in text.splitlines() if not line.startswith(("Overlap", "Advice"))]
    assert max(map(len, table)) <= 110
    assert "not measured: nothing was sampled" in text


@pytest.mark.parametrize(
    ("gpu", "says"),
    [
        (
            GpuUtilisation(97.0, 40.0, 812.0, "A10G"),
            "GPU: A10G: 97 % busy, NVDEC 40 %, 812 MiB in use",
        ),
        (GpuUtilisation(97.0, None, None, "A100"), "GPU: A100: 97 % busy, NVDEC not measured"),
    ],
)
def test_gpu_figures_are_printed_where_there_are_some(gpu: GpuUtilisation, says: str) -> None:
    assert says in performance_report(report_of(StageStats("a")), frames=1, pairs=0, chunks=0, gpu=gpu)

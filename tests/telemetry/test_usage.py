"""What an attempt used: read from the process and from spans."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from tests.conftest import ROOT
from video_pipeline.telemetry import usage as module
from video_pipeline.telemetry.timing import Recorder, Span, timed_operation, use_recorder
from video_pipeline.telemetry.usage import (
    FramePace,
    Machine,
    Meter,
    Phase,
    Usage,
    of_a_dead_worker,
    phases_of,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of meters, in its one item."""
    now = [time.time()]
    double = SimpleNamespace(
        time=lambda: now[0],
        monotonic=lambda: now[0],
        clock_gettime=time.clock_gettime,
        CLOCK_BOOTTIME=getattr(time, "CLOCK_BOOTTIME", None),
    )
    monkeypatch.setattr(module, "time", double)
    return now


def span(name: str, start: float, end: float, *, cpu_s: float | None = None) -> Span:
    return Span(name, start, end, "lane", 1, 1, cpu_s=cpu_s)


def filled(usage: Usage, spans: list[Span], reserved: Machine | None = None) -> Usage:
    meter = Meter(submitted_at=None, spawned=False)
    meter.claimed(time.time())
    meter.task_begins()
    return meter.fill(usage, spans, reserved=reserved, with_children=False)


def test_a_phase_counts_time_side_by_side_once_and_processor_time_of_every_thread() -> None:
    phases = phases_of(
        [
            span("decode", 0.0, 2.0, cpu_s=1.0),
            span("transform", 1.0, 3.0, cpu_s=1.5),
            span("transform", 5.0, 6.0),
            span("join", 6.0, 6.5, cpu_s=0.25),
        ]
    )
    assert phases == {
        "work": Phase(wall_ms=4000.0, cpu_ms=2500.0),
        "join": Phase(wall_ms=500.0, cpu_ms=250.0),
    }


def test_a_span_within_another_of_its_phase_gives_its_processor_time_once() -> None:
    """`preprocess` runs inside `inference` here; a thread that `inference` started has time of its own."""
    spans = [
        Span("inference", 0.0, 3.0, "main", 1, 1, cpu_s=2.0),
        Span("encode", 0.5, 2.0, "main", 1, 2, parent=1, cpu_s=1.0),
        Span("preprocess", 1.0, 2.0, "main", 1, 3, parent=2, cpu_s=0.5),
        Span("preprocess", 1.0, 2.0, "other", 1, 4, parent=1, cpu_s=0.25),
        Span("transform", 3.0, 4.0, "main", 1, 5, cpu_s=0.125),
    ]
    phases = phases_of(spans)
    assert phases["work"] == Phase(wall_ms=4000.0, cpu_ms=2375.0)
    assert phases["encode"] == Phase(wall_ms=1500.0, cpu_ms=1000.0)


def test_spans_without_processor_time_hide_none_of_those_within_them() -> None:
    outer = Span("inference", 0.0, 3.0, "main", 1, 1)
    inner = Span("preprocess", 1.0, 2.0, "main", 1, 2, parent=1, cpu_s=0.5)
    assert phases_of([outer, inner])["work"].cpu_ms == 500


def test_a_phase_counts_the_spans_that_a_recorder_no_longer_keeps() -> None:
    recorder = Recorder(limit=1)
    for number in range(4):
        recorder.add(span("encode", number, number + 0.5, cpu_s=0.25))
    assert (len(recorder.spans()), recorder.dropped) == (1, 3)
    assert phases_of(recorder.every()) == {"encode": Phase(wall_ms=2000.0, cpu_ms=1000.0)}


def test_the_figures_of_a_fan_out_come_from_its_spans() -> None:
    usage = filled(Usage(), [span("join", 0, 0.5), span("cleanup", 0.5, 0.75), span("load_model", 1.0, 1.25)])
    assert usage.concatenation_ms == 500
    assert usage.cleanup_ms == 250
    assert usage.model_load_time_ms == 250


def test_time_per_frame_is_that_of_the_batches_of_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    usage = Usage()
    pace = FramePace(usage, at_least=2)
    for seconds, frames in ((1.0, 2), (4.0, 4), (0.5, 1), (0.1, 1), (0.2, 1)):
        now[0] += seconds
        pace.done(frames)
    assert (usage.ms_per_frame_min, usage.ms_per_frame_max) == (300, 1000)
    assert usage.ms_per_frame_mean == 700


def test_time_per_frame_is_the_calls_where_no_batch_was_timed(clock: list[float]) -> None:
    meter = Meter(submitted_at=None, spawned=False)
    meter.claimed(clock[0])
    clock[0] += 2
    usage = meter.fill(Usage(frames=4), [], reserved=None, with_children=False)
    assert usage.ms_per_frame_mean == pytest.approx(500)
    assert usage.ms_per_frame_min is usage.ms_per_frame_max is None


def test_what_is_reserved_is_what_counts_where_it_is_paid_for(clock: list[float]) -> None:
    reserved = Machine(gpu_type="T4", gpu_count=1, cpu_cores=8, memory_gib=8)
    meter = Meter(submitted_at=clock[0] - 3.0, spawned=True)
    meter.claimed(clock[0] - 2.0)
    meter.task_begins()
    usage = meter.fill(Usage(), [], reserved=reserved, with_children=False)
    assert (usage.gpu_type, usage.gpu_count, usage.cpu_cores, usage.memory_gib) == ("T4", 1, 8, 8)
    assert usage.gpu_seconds == usage.machine_s >= 2.0
    assert usage.queued_ms == pytest.approx(1000, abs=1)
    assert usage.startup_overhead_ms == pytest.approx(3000, abs=1)


@pytest.mark.parametrize(
    ("reserved", "count"), [(None, 1), (Machine(gpu_type="T4", gpu_count=2, cpu_cores=4, memory_gib=16), 2)]
)
def test_a_gpu_that_is_used_counts_where_none_was_reserved_and_no_more_where_some_were(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], reserved: Machine | None, count: int
) -> None:
    monkeypatch.setattr(module, "_gpu_in_use", lambda: "NVIDIA Double")
    monkeypatch.setattr(Meter, "_served", 1)
    meter = Meter(submitted_at=None, spawned=False)
    meter.claimed(clock[0] - 20)
    usage = meter.fill(Usage(), [], reserved=reserved, with_children=False)
    assert (usage.gpu_name, usage.gpu_count) == ("NVIDIA Double", count)
    assert usage.gpu_seconds == pytest.approx(20 * count, abs=0.01)


def test_a_dead_worker_used_what_was_reserved_while_it_was_seen_alive() -> None:
    lost = of_a_dead_worker(30.0, Machine(gpu_type="T4", gpu_count=1, cpu_cores=8, memory_gib=8))
    assert (lost.wall_s, lost.gpu_seconds, lost.cpu_cores) == (30, 30, 8)
    here = of_a_dead_worker(30.0, None)
    assert (here.wall_s, here.gpu_seconds, here.cpu_cores) == (30, 0, 0)


def test_the_usage_of_an_older_record_still_reads() -> None:
    old = {"wall_s": 1.5, "cpu_user_s": 1.0, "cpu_system_s": 0.5, "peak_memory_mib": 120.0}
    usage = Usage.model_validate(old)
    assert (usage.wall_s, usage.cpu_s, usage.frames, usage.gpu_seconds) == (1.5, 1.5, None, 0)
    assert Usage.model_validate({**old, "of_a_later_version": 1}) == usage


@pytest.mark.parametrize(("with_children", "seconds"), [(False, (2.0, 0.5)), (True, (9.0, 1.5))])
def test_processes_that_are_calls_of_their_own_are_counted_in_their_own_records(
    monkeypatch: pytest.MonkeyPatch, with_children: bool, seconds: tuple[float, float]
) -> None:
    used = {resource.RUSAGE_SELF: (1.0, 0.5), resource.RUSAGE_CHILDREN: (30.0, 4.0)}
    monkeypatch.setattr(module, "_processor_seconds", lambda who: used[who])
    monkeypatch.setattr(Meter, "_served", 1)
    meter = Meter(submitted_at=None, spawned=False)
    used |= {resource.RUSAGE_SELF: (3.0, 1.0), resource.RUSAGE_CHILDREN: (37.0, 5.0)}
    usage = meter.fill(Usage(), [], reserved=None, with_children=with_children)
    assert (usage.cpu_user_s, usage.cpu_system_s) == seconds


CALLS_OF_ONE_PROCESS = """
import json, time
from video_pipeline.telemetry.usage import Meter, Usage

def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass

burn(0.3)
for seconds in (0.2, 0.05):
    meter = Meter(submitted_at=None, spawned=False)
    meter.claimed(time.time())
    meter.task_begins()
    burn(seconds)
    print(meter.fill(Usage(), [], reserved=None, with_children=True).model_dump_json())
    burn(0.3)
    time.sleep(0.2)
"""


def test_the_first_call_of_a_process_has_its_start_and_the_next_only_its_own() -> None:
    run = subprocess.run(
        [sys.executable, "-c", CALLS_OF_ONE_PROCESS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    first, second = (Usage.model_validate_json(line) for line in run.stdout.splitlines())
    assert (first.cold, second.cold) == (True, False)
    assert first.cpu_s >= 0.5
    assert 0.04 <= second.cpu_s < 0.3
    assert first.startup_overhead_ms is not None
    assert first.startup_overhead_ms >= 300
    assert second.startup_overhead_ms is not None
    assert second.startup_overhead_ms < first.startup_overhead_ms
    for usage, before_the_claim_s in ((first, 0.28), (second, 0.0)):
        started_s = (usage.startup_overhead_ms or 0.0) / 1000
        # The claim lies between the beginning and the task's first line; a process's age is known to 10 ms.
        assert before_the_claim_s <= usage.machine_s - usage.wall_s + 0.001 <= started_s + 0.002


def test_the_cores_of_a_cold_worker_are_over_its_start_as_well() -> None:
    """Its processor seconds are: by the call's own short time they would be more cores than there are."""
    run = subprocess.run(
        [sys.executable, "-c", CALLS_OF_ONE_PROCESS.replace("(0.2, 0.05)", "(0.02, 0.05)")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = (Usage.model_validate_json(line) for line in run.stdout.splitlines())
    for usage in (first, second):
        assert usage.cpu_cores == pytest.approx(usage.cpu_s / usage.machine_s, abs=0.002)
        assert 0 < usage.cpu_cores < 1.2


def test_spans_as_the_worker_records_them_become_phases() -> None:
    recorder = Recorder()
    with use_recorder(recorder), timed_operation("a task"), timed_operation("upload"):
        time.sleep(0.02)
    phases = phases_of(recorder.spans())
    assert set(phases) == {"a task", "upload"}
    assert phases["upload"].wall_ms >= 20
    assert phases["upload"].cpu_ms < 20

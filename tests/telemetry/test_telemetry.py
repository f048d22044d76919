"""Spans, their table, their trace and their page."""

from __future__ import annotations

import contextvars
import json
import re
import threading
from typing import Any

import pytest

from video_pipeline.telemetry.perfetto import chrome_trace
from video_pipeline.telemetry.table import percentile, summarise, timing_table
from video_pipeline.telemetry.timing import Recorder, Span, timed_operation, use_recorder
from video_pipeline.telemetry.waterfall import waterfall_html


def span(name: str, start: float, duration: float, **options) -> Span:
    return Span(name, start, start + duration, options.pop("lane", "main"), 1, 1, **options)


def test_operations_nest_and_know_their_parent() -> None:
    with use_recorder(Recorder()) as recorder, timed_operation("outer", {"key": 1}), timed_operation("inner"):
        pass
    outer, inner = recorder.spans()
    assert (outer.name, inner.name) == ("outer", "inner")
    assert inner.parent == outer.number
    assert outer.parent is None
    assert outer.metadata == {"key": 1}
    assert outer.start <= inner.start <= inner.end <= outer.end


def test_what_comes_after_an_operation_is_beside_it_and_below_the_same_parent() -> None:
    with use_recorder(Recorder()) as recorder, timed_operation("outer"):
        with timed_operation("first"):
            pass
        with timed_operation("second"):
            pass
    outer, first, second = recorder.spans()
    assert (first.parent, second.parent) == (outer.number, outer.number)


def test_a_failed_operation_is_recorded_with_its_error() -> None:
    with (
        use_recorder(Recorder()) as recorder,
        pytest.raises(ValueError, match="broken"),
        timed_operation("failing"),
    ):
        raise ValueError("broken")
    (failed,) = recorder.spans()
    assert failed.error == "ValueError: broken"


def test_a_thread_with_a_copied_context_records_below_its_caller() -> None:
    def work() -> None:
        with timed_operation("in the thread"):
            pass

    with use_recorder(Recorder()) as recorder, timed_operation("caller"):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="worker 7")
        thread.start()
        thread.join()
    by_name = {item.name: item for item in recorder.spans()}
    assert by_name["in the thread"].parent == by_name["caller"].number
    assert by_name["in the thread"].lane == "worker 7"


def test_without_a_recorder_nothing_is_recorded_and_nothing_fails() -> None:
    with timed_operation("unseen"):
        pass


def test_what_is_over_the_limit_is_counted() -> None:
    with use_recorder(Recorder(limit=3)) as recorder:
        for number in range(5):
            with timed_operation(f"operation {number}"):
                pass
    assert len(recorder.spans()) == 3
    assert recorder.dropped == 2
    assert "2 spans beyond" in timing_table(recorder.spans(), dropped=recorder.dropped)


def test_spans_of_another_process_are_merged_through_json() -> None:
    theirs = [span("theirs", 5.0, 1.0, metadata={"a": [1]}), span("failed", 6.0, 1.0, error="E")]
    recorder = Recorder()
    recorder.merge(json.loads(json.dumps([item.to_dict() for item in theirs])))
    assert recorder.spans() == theirs


@pytest.mark.parametrize(("percent", "value"), [(50, 3), (95, 5), (1, 1), (100, 5), (60, 3), (61, 4)])
def test_percentiles_are_by_nearest_rank(percent: int, value: float) -> None:
    assert percentile([1, 2, 3, 4, 5], percent) == value


def test_the_table_adds_up() -> None:
    spans = [span("decode", 0, 0.1), span("decode", 1, 0.3), span("encode", 0, 1.0, error="E")]
    encode, decode = summarise(spans)
    assert (decode.count, decode.total, decode.mean) == (2, pytest.approx(0.4), pytest.approx(0.2))
    assert (decode.min, decode.max) == (pytest.approx(0.1), pytest.approx(0.3))
    assert encode.errors == 1
    text = timing_table(spans)
    assert text.startswith("TIMING WATERFALL CHART")
    for column in ("count", "total", "mean", "min", "max", "p50", "p95"):
        assert column in text
    assert "1 failed" in text


def test_the_trace_has_one_complete_event_per_span_and_a_name_per_lane() -> None:
    trace = chrome_trace(
        [span("a", 10.0, 0.5, lane="one", metadata={"k": 1}), span("b", 10.25, 0.1, lane="two", error="E")]
    )
    events = trace["traceEvents"]
    assert [event["args"]["name"] for event in events if event["ph"] == "M"] == ["one", "two"]
    complete = [event for event in events if event["ph"] == "X"]
    assert [(event["name"], event["ts"], event["dur"]) for event in complete] == [
        ("a", 0, 500000),
        ("b", 250000, 100000),
    ]
    assert complete[1]["args"]["error"] == "E"
    json.dumps(trace)


def test_the_trace_keeps_lanes_of_one_name_in_two_processes_apart() -> None:
    spans = [Span("a", 1.0, 2.0, "main", process, 1) for process in (11, 12)]
    events = chrome_trace(spans)["traceEvents"]
    assert [event["pid"] for event in events if event["ph"] == "M"] == [11, 12]
    assert len({event["tid"] for event in events}) == 2


def packed(page: str) -> dict[str, Any]:
    """The data in a page."""
    found = re.search(r"const data = (.*);\n", page)
    assert found is not None
    return json.loads(found.group(1))


def test_the_page_shows_each_span_in_its_lane_under_its_name_and_workers_by_number() -> None:
    lanes = ("encode-10", "read", "encode-2", "encode-1")
    spans = [span(f"in {lane}", start, 1.0, lane=lane) for start, lane in enumerate(lanes)]
    spans.append(span("in read", 9.0, 0.5, lane="read", error="E", metadata={"k": 1}))
    data = packed(waterfall_html(spans, dropped=3))
    assert data["lanes"] == ["encode-1", "encode-2", "encode-10", "read"]
    rows = [(data["lanes"][row[0]], data["names"][row[1]], *row[2:]) for row in data["spans"]]
    assert rows == [
        *((lane, f"in {lane}", 1000 * start, 1000, None, None) for start, lane in enumerate(lanes)),
        ("read", "in read", 9000, 500, "E", {"k": 1}),
    ]
    assert data["dropped"] == 3


def test_the_page_is_self_contained_and_nothing_in_it_can_end_its_script() -> None:
    evil = "</script><script>alert(1)</script><!--"
    page = waterfall_html([span(evil, 0, 1, metadata={evil: evil}, lane=evil)], title=evil)
    assert page.count("</script>") == 1
    assert evil not in page
    assert not re.search(r"(?:src|href)\s*=|https?://|@import|url\(", page)
    data = packed(page)
    assert data["names"] == [evil]
    assert data["spans"][0][3] == 1000

"""Times are wall times and each is counted once; errors and rows keep what they were given."""

from __future__ import annotations

from fractions import Fraction

import pytest

from video_pipeline.errors import BadInput
from video_pipeline.sampling.account import frame_row
from video_pipeline.sampling.frames import Cost, Failed, Wanted
from video_pipeline.telemetry.table import wall_seconds
from video_pipeline.telemetry.timing import Span


def span(name: str, start: float, end: float) -> Span:
    return Span(name, start, end, "lane", 1, 1)


def test_work_side_by_side_counts_once_and_gaps_do_not_count() -> None:
    spans = [
        span("fetch", 0, 2),
        span("fetch", 1, 3),
        span("fetch", 1.5, 1.8),
        span("decode", 10, 14),
        span("fetch", 5, 6),
    ]
    assert wall_seconds(spans, ("fetch",)) == pytest.approx(4)
    assert wall_seconds(spans, ("fetch", "decode")) == pytest.approx(8)
    assert wall_seconds(spans, ("inference",)) == 0


def test_a_failed_frame_keeps_its_time_its_cost_and_what_to_do() -> None:
    error = BadInput("gone", input="a.mp4", what_to_do="look elsewhere")
    item = Failed(Wanted(2, 1, 0, Fraction(3, 2)), error, Cost(requests=2, index_bytes=10, media_bytes=20))
    row = frame_row(item, "https://host/a.mp4", None)
    assert (row.batch, row.video, row.frame, row.requested_seconds) == (2, 1, 0, 1.5)
    assert (row.requests, row.index_bytes, row.media_bytes) == (2, 10, 20)
    assert row.error is not None
    assert (row.error.kind, row.error.what_to_do) == ("bad_input", "look elsewhere")
    assert not row.delivered

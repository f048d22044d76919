"""Spans in the Trace Event Format, which ui.perfetto.dev and chrome://tracing open.

Belongs here: the conversion. Format: "Trace Event Format" (Google, 2016), complete events (`ph: X`) and
metadata events (`ph: M`). Does not belong here: recording spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from video_pipeline.telemetry.timing import Span


def chrome_trace(spans: Sequence[Span]) -> dict[str, Any]:
    """One complete event per span, in microseconds since the first; lanes become named threads."""
    origin = min((span.start for span in spans), default=0.0)
    threads: dict[tuple[int, str], int] = {}
    events: list[dict[str, Any]] = []
    for span in spans:
        where = (span.process, span.lane)
        if where not in threads:
            threads[where] = len(threads) + 1
            events.append(
                {
                    "ph": "M",
                    "name": "thread_name",
                    "pid": span.process,
                    "tid": threads[where],
                    "args": {"name": span.lane},
                }
            )
        details: dict[str, Any] = dict(span.metadata)
        if span.error is not None:
            details["error"] = span.error
        events.append(
            {
                "ph": "X",
                "name": span.name,
                "pid": span.process,
                "tid": threads[where],
                "ts": round((span.start - origin) * 1e6, 1),
                "dur": round(span.duration * 1e6, 1),
                "args": details,
            }
        )
    return {"traceEvents": events, "displayTimeUnit": "ms"}

"""A worker's output as events: which lines are events, which are log."""

from __future__ import annotations

import json

from video_pipeline.compute.base import Event
from video_pipeline.worker import EVENT_PREFIX


def parse_line(line: str) -> Event:
    """One line without its end. What is not a well-formed event is `log`."""
    if line.startswith(EVENT_PREFIX):
        try:
            data = json.loads(line[len(EVENT_PREFIX) :])
        except (ValueError, RecursionError):
            data = None
        if isinstance(data, dict) and "event" in data:
            return Event(str(data.pop("event")), data)
    return Event("log", {"line": line})

"""The waterfall: spans as an interactive page, one lane per worker.

Belongs here: packing spans into the page. The page itself is `waterfall.html`, self-contained; nothing is
loaded from anywhere. Does not belong here: recording spans (`timing`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from video_pipeline.telemetry.timing import Span

_PLACE = "/*DATA*/null"


def waterfall_html(spans: Sequence[Span], *, title: str = "Timing waterfall", dropped: int = 0) -> str:
    """The page as text. Names and metadata are data in it, never markup."""
    page = (files("video_pipeline.telemetry") / "waterfall.html").read_text(encoding="utf-8")
    # "<" as an escape: JSON inside a script element must not be able to end it ("</script>") or to open a
    # comment ("<!--"); HTML Living Standard, section 4.12.1.3.
    data = json.dumps(_pack(spans, title, dropped), separators=(",", ":")).replace("<", "\\u003c")
    return page.replace(_PLACE, data, 1)


def _pack(spans: Sequence[Span], title: str, dropped: int) -> dict[str, Any]:
    """[lane, name, start ms, duration ms, error, metadata] by index: 20,000 spans take about 1 MB."""
    origin = min((span.start for span in spans), default=0.0)
    names: dict[str, int] = {}
    lanes = {lane: index for index, lane in enumerate(_in_order(spans))}
    rows = []
    for span in sorted(spans, key=lambda span: (span.start, -span.duration)):
        rows.append(
            [
                lanes[span.lane],
                names.setdefault(span.name, len(names)),
                round((span.start - origin) * 1000, 3),
                round(span.duration * 1000, 3),
                span.error,
                span.metadata or None,
            ]
        )
    return {"title": title, "names": list(names), "lanes": list(lanes), "spans": rows, "dropped": dropped}


def _in_order(spans: Sequence[Span]) -> list[str]:
    """Lanes from top to bottom: the workers of one stage together, by number; stages as they began."""
    began: dict[str, float] = {}
    for span in spans:
        stage = _stage(span.lane)[0]
        began[stage] = min(span.start, began.get(stage, span.start))
    return sorted({span.lane for span in spans}, key=lambda lane: (began[_stage(lane)[0]], _stage(lane)))


def _stage(lane: str) -> tuple[str, int]:
    """`encode-12` is worker 12 of `encode`."""
    name, number = re.fullmatch(r"(.*?)(?:[-_ ](\d+))?", lane, re.DOTALL).groups()  # type: ignore[union-attr]
    return name, int(number or -1)

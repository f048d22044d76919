"""What a sampling run fetched against what it needed: a page, a console table, tables for metadata.

Belongs here: packing a result and its requests for `bandwidth_report.html` (self-contained; nothing is loaded
from anywhere), and the two smaller forms. Does not belong here: accounting (`account`), drawing time
(`telemetry`).

Three kinds of bytes: index (what tells where pictures lie), media that the wanted pictures needed ("useful")
and media read beside it, because ranges that nearly touch are read as one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from video_pipeline.media.ranges.base import RequestRecord
from video_pipeline.sampling.picture_grid import video_name
from video_pipeline.sampling.request import FrameRow, RunInferenceResult, VideoRow
from video_pipeline.tracking.addresses import without_signatures

MAX_FRAMES = 20_000
MAX_REQUESTS = 50_000
"""In the page; at about 100 bytes each. What is left out is counted there."""

MAX_MARKDOWN_ROWS = 100

_PLACE = "/*DATA*/null"
_FRAME = (
    *("batch", "video", "frame", "seconds", "label", "confidence", "requests"),
    *("index_bytes", "media_bytes", "useful_bytes", "minimum_bytes", "pictures_decoded", "error"),
)
_REQUEST = (
    "video",
    "start",
    "stop",
    "purpose",
    "received",
    "began_ms",
    "took_ms",
    "attempt",
    "status",
    "error",
)


def bandwidth_report(
    result: RunInferenceResult,
    requests: Mapping[str, Sequence[RequestRecord]],
    *,
    sizes: Mapping[str, int] | None = None,
    title: str = "Bandwidth of a sample",
) -> str:
    """The page as text. Names and errors are data in it, never markup, and URLs have no queries.

    `requests` holds each video's by `"{number} {url}"`, its place in `result.videos` and its URL there, or
    by its URL alone; `sizes` the files' bytes by the same names. A video without a size is drawn up to the
    last byte that was asked of it.
    """
    page = (files("video_pipeline.sampling") / "bandwidth_report.html").read_text(encoding="utf-8")
    data = without_signatures(_pack(result, requests, sizes or {}, title))
    # As in telemetry/waterfall.py: JSON inside a script element must not be able to end it.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return page.replace(_PLACE, text, 1)


def _pack(
    result: RunInferenceResult,
    requests: Mapping[str, Sequence[RequestRecord]],
    sizes: Mapping[str, int],
    title: str,
) -> dict[str, Any]:
    """Rows are lists by the columns named beside them: 2,000 frames and 6,000 requests take about 500 KB."""
    records = [
        (number, record)
        for number, video in enumerate(result.videos)
        for record in _of(requests, number, video.url, ())
    ]
    origin = min((record.began for _, record in records), default=0.0)
    minimum = [0] * len(result.videos)
    for row in result.frames:
        minimum[row.video] += row.minimum_bytes
    return {
        "title": title,
        "totals": _totals(result),
        "frame_columns": _FRAME,
        "frames": [_frame(row) for row in result.frames[:MAX_FRAMES]],
        "frames_left_out": max(0, len(result.frames) - MAX_FRAMES),
        "videos": [
            {
                "name": video_name(video.url),
                **video.model_dump(exclude={"error"}),
                "minimum_bytes": minimum[number],
                "size": _of(sizes, number, video.url, None),
                "error": video.error and f"{video.error.kind}: {video.error.message}",
            }
            for number, video in enumerate(result.videos)
        ],
        "request_columns": _REQUEST,
        "requests": [_request(number, record, origin) for number, record in records[:MAX_REQUESTS]],
        "requests_left_out": max(0, len(records) - MAX_REQUESTS),
    }


def _of(by_name: Mapping[str, Any], number: int, url: str, otherwise: Any) -> Any:
    return by_name.get(f"{number} {url}", by_name.get(url, otherwise))


def _totals(result: RunInferenceResult) -> dict[str, int | float]:
    return {
        "frames": result.requested,
        "delivered": result.delivered,
        "failed": result.failed,
        "videos": len(result.videos),
        "fetched_bytes": result.bandwidth_total_upstream_bytes,
        "decoder_bytes": result.bandwidth_total_downstream_bytes,
        "index_bytes": result.index_bytes,
        "media_bytes": result.media_bytes,
        "useful_bytes": result.useful_bytes,
        "minimum_bytes": sum(row.minimum_bytes for row in result.frames),
        "requests": result.bandwidth_num_proxy_requests,
        "retries": sum(video.retries for video in result.videos),
        "index_cache_hits": result.index_cache_hits,
        "seconds": result.total_pipeline_time_seconds,
    }


def _frame(row: FrameRow) -> list[Any]:
    return [
        *(row.batch, row.video, row.frame, row.seconds if row.delivered else row.requested_seconds),
        row.prediction.label if row.prediction else None,
        row.prediction.confidence if row.prediction else None,
        *(row.requests, row.index_bytes, row.media_bytes, row.useful_bytes, row.minimum_bytes),
        row.pictures_decoded,
        f"{row.error.kind}: {row.error.message}" if row.error else None,
    ]


def _request(number: int, record: RequestRecord, origin: float) -> list[Any]:
    return [
        *(number, record.start, record.stop, record.purpose, record.received),
        *(round((record.began - origin) * 1000, 2), round((record.ended - record.began) * 1000, 2)),
        *(record.attempt, record.status, record.error),
    ]


def bandwidth_table(result: RunInferenceResult, *, videos: int = 10) -> str:
    """The console table: totals, and the `videos` of which most was fetched beside what was needed."""
    told = _totals(result)
    lines = [
        "BANDWIDTH (MB are 10^6 bytes)",
        f"frames    {told['frames']} asked for, {told['delivered']} delivered, {told['failed']} failed",
        f"fetched   {_mb(told['fetched_bytes'])} MB, {told['requests']} requests, {told['retries']} retried",
        f"  index   {_mb(told['index_bytes'])} MB, {told['index_cache_hits']} indexes were at hand",
        f"  media   {_mb(told['media_bytes'])} MB, of which {_mb(told['useful_bytes'])} MB were needed "
        f"and {_mb(told['media_bytes'] - told['useful_bytes'])} MB lay beside",
        f"  minimum {_mb(told['minimum_bytes'])} MB, each frame from its key frame on, by itself",
    ]
    worst = _worst_first(result.videos)[:videos]
    if worst:
        name_width = min(48, max(len("video"), *(len(_label(n, row)) for n, row in worst)))
        head = f"{'video':{name_width}} {'requests':>8} {'retries':>7}" + "".join(
            f" {name:>10}" for name in ("index MB", "media MB", "needed MB", "beside MB")
        )
        lines += ["", head, "-" * len(head)]
        for number, row in worst:
            values = (row.index_bytes, row.media_bytes, row.useful_bytes, _beside(row))
            lines.append(
                f"{_short(_label(number, row), name_width):{name_width}} {row.requests:>8} {row.retries:>7}"
                + "".join(f" {_mb(value):>10}" for value in values)
                + (f"  {row.error.kind}: {without_signatures(row.error.message)}" if row.error else "")
            )
        left = len(result.videos) - len(worst)
        if left:
            lines.append(f"and {left} more, of which less was fetched beside what was needed")
    return "\n".join(lines)


def markdown_tables(result: RunInferenceResult) -> dict[str, str]:
    """`predictions` and `bandwidth` as Markdown tables, each of at most MAX_MARKDOWN_ROWS rows."""
    predictions = [
        (
            *(row.batch, video_name(row.url)),
            "" if (at := row.seconds if row.delivered else row.requested_seconds) is None else f"{at:.2f}",
            row.prediction.label if row.prediction else "",
            f"{row.prediction.confidence:.1%}" if row.prediction else "",
            _mb(row.index_bytes + row.media_bytes),
            f"{row.error.kind}: {row.error.message}" if row.error else "",
        )
        for row in result.frames
    ]
    bandwidth = [
        (
            *(video_name(row.url), row.index_kind or "", "yes" if row.index_was_at_hand else "no"),
            *(row.requests, row.retries, _mb(row.index_bytes), _mb(row.media_bytes)),
            *(
                _mb(row.useful_bytes),
                _mb(_beside(row)),
                f"{row.error.kind}: {row.error.message}" if row.error else "",
            ),
        )
        for _, row in _worst_first(result.videos)
    ]
    return {
        "predictions": _markdown(
            ("batch", "video", "seconds", "label", "confidence", "MB", "error"), predictions
        ),
        "bandwidth": _markdown(
            (
                *("video", "index", "index at hand", "requests", "retries"),
                *("index MB", "media MB", "needed MB", "beside MB", "error"),
            ),
            bandwidth,
        ),
    }


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(_cell(value) for value in row) for row in rows[:MAX_MARKDOWN_ROWS]]
    text = "\n".join(f"| {line} |" for line in lines)
    more = len(rows) - MAX_MARKDOWN_ROWS
    return f"{text}\n\nand {more} more" if more > 0 else text


def _cell(value: object) -> str:
    """Text as a cell shows it: Markdown's and HTML's own signs are escaped (CommonMark 0.31, section 2.4)."""
    text = " ".join(str(without_signatures(value)).split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|~#&" else sign for sign in text)


def _worst_first(videos: Sequence[VideoRow]) -> list[tuple[int, VideoRow]]:
    """With their numbers: by what was fetched beside the needed, index included."""
    return sorted(enumerate(videos), key=lambda item: (-(_beside(item[1]) + item[1].index_bytes), item[0]))


def _beside(row: VideoRow) -> int:
    return max(0, row.media_bytes - row.useful_bytes)


def _label(number: int, row: VideoRow) -> str:
    return f"{number} {video_name(row.url)}"


def _short(text: str, width: int) -> str:
    return (
        text if len(text) <= width else f"{text[: width // 2]}…{text[len(text) - (width - width // 2 - 1) :]}"
    )


def _mb(count: int | float) -> str:
    return f"{count / 1e6:.3f}"

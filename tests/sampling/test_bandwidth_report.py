"""The bandwidth report's data, its console table and its Markdown, against the result they tell of."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.sampling.results_made import made_result, url_of
from video_pipeline.media.ranges.base import RequestRecord
from video_pipeline.sampling import bandwidth_report as module
from video_pipeline.sampling.bandwidth_report import bandwidth_report, bandwidth_table, markdown_tables
from video_pipeline.sampling.request import FrameError, RunInferenceResult


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r"^const data = (.*);$", page, re.MULTILINE)
    assert found
    return json.loads(found.group(1))


def by_name(columns: list[str], rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_every_frame_is_there_with_what_it_cost() -> None:
    result, requests = made_result(videos=3, frames=2, failed_videos=1)
    data = data_of(bandwidth_report(result, requests))
    frames = by_name(data["frame_columns"], data["frames"])
    assert len(frames) == 6
    for told, row in zip(frames, result.frames, strict=True):
        for name in ("batch", "video", "frame", "requests", "index_bytes", "media_bytes", "useful_bytes"):
            assert told[name] == getattr(row, name)
        assert told["error"] == (None if row.delivered else "bad_input: the server answers 404 Not Found")
        assert told["label"] == ("street sign" if row.delivered else None)
    assert sum(row["index_bytes"] + row["media_bytes"] for row in frames) == data["totals"]["fetched_bytes"]


def test_every_request_is_there_with_its_video_and_time() -> None:
    result, requests = made_result(videos=2, frames=2)
    data = data_of(bandwidth_report(result, requests))
    told = by_name(data["request_columns"], data["requests"])
    given = [(n, record) for n in range(2) for record in requests[url_of(n)]]
    assert len(told) == len(given) == 10
    for row, (video, record) in zip(told, given, strict=True):
        assert (row["video"], row["start"], row["stop"]) == (video, record.start, record.stop)
        assert (row["purpose"], row["received"], row["status"]) == (
            record.purpose,
            record.received,
            record.status,
        )
        assert row["began_ms"] == pytest.approx((record.began - 100) * 1000, abs=0.01)
        assert row["took_ms"] == pytest.approx((record.ended - record.began) * 1000, abs=0.01)
    assert [row["attempt"] for row in told[:3]] == [1, 2, 1]
    assert told[0]["error"] == "503 from the server"


def test_videos_have_their_sums_and_their_size() -> None:
    result, requests = made_result(videos=2, frames=3)
    data = data_of(bandwidth_report(result, requests, sizes={url_of(1): 41_000_000}))
    for number, video in enumerate(data["videos"]):
        rows = [row for row in result.frames if row.video == number]
        assert video["media_bytes"] == sum(row.media_bytes for row in rows)
        assert video["minimum_bytes"] == sum(row.minimum_bytes for row in rows)
        assert video["retries"] == 1
    assert [video["size"] for video in data["videos"]] == [None, 41_000_000]


def test_the_minimum_is_what_each_frame_needs_by_itself_where_frames_share_pictures() -> None:
    result, requests = made_result(videos=1, frames=4)
    alone = sum(row.minimum_bytes for row in result.frames)
    result = result.model_copy(update={"minimum_bytes": alone // 3})
    assert data_of(bandwidth_report(result, requests))["totals"]["minimum_bytes"] == alone
    assert f"minimum {alone / 1e6:.3f} MB, each frame from its key frame on, by itself" in bandwidth_table(
        result
    )


def test_a_video_asked_for_twice_has_its_own_requests_each_time() -> None:
    result, requests = made_result(videos=2, frames=1)
    first, second = requests[url_of(0)], requests[url_of(1)][:2]
    videos = tuple(video.model_copy(update={"url": url_of(0)}) for video in result.videos)
    result = result.model_copy(update={"videos": videos})
    data = data_of(bandwidth_report(result, {f"0 {url_of(0)}": first, f"1 {url_of(0)}": second}))
    assert [row[0] for row in data["requests"]] == [0, 0, 0, 0, 1, 1]


def with_texts(text: str) -> tuple[RunInferenceResult, dict[str, list[RequestRecord]]]:
    """A result with `text` wherever there is text from outside."""
    result, _ = made_result(videos=1, frames=1, failed_videos=1)
    error = FrameError(kind="bad_input", message=text, input=text, what_to_do=None)
    video = result.videos[0].model_copy(update={"url": text, "error": error, "notes": (text,), "codec": text})
    frame = result.frames[0].model_copy(update={"url": text, "error": error})
    record = RequestRecord(0, 10, "index", 3, 20, 5.0, 5.1, 1, 500, text)
    return result.model_copy(update={"videos": (video,), "frames": (frame,)}), {text: [record]}


def test_no_text_can_leave_the_data() -> None:
    evil = "</script><script>alert(1)</script><!--\u2028"
    result, requests = with_texts(evil)
    page = bandwidth_report(result, requests, title=evil)
    assert page.count("<script>") == page.count("</script>") == 1
    assert "<!--" not in page
    data = data_of(page)
    assert data["title"] == data["videos"][0]["codec"] == evil


def test_no_signature_is_shown_anywhere() -> None:
    signed = "https://user:SECRET@videos.example/a.mp4?sig=SECRET#SECRET"
    result, requests = with_texts(signed)
    page = bandwidth_report(result, requests)
    assert "https://videos.example/a.mp4" in page
    tables = markdown_tables(result)
    for text in (page, bandwidth_table(result), *tables.values()):
        assert "SECRET" not in text
    # The requests were found although their key is the address as it was given.
    assert len(data_of(page)["requests"]) == 1


def test_what_a_page_does_not_hold_is_counted_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FRAMES", 3)
    monkeypatch.setattr(module, "MAX_REQUESTS", 4)
    data = data_of(bandwidth_report(*made_result(videos=2, frames=4)))
    assert (len(data["frames"]), data["frames_left_out"]) == (3, 5)
    assert (len(data["requests"]), data["requests_left_out"]) == (4, 10)


def test_a_page_loads_nothing_and_says_so_to_the_browser() -> None:
    page = bandwidth_report(*made_result())
    assert "default-src 'none'" in page
    assert re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)", page) == []
    assert "@import" not in page
    assert "url(" not in page.lower().replace("createobjecturl(", "").replace("revokeobjecturl(", "")


def test_the_console_table_has_the_totals_and_the_worst_videos_first() -> None:
    result, _ = made_result(videos=5, frames=3, failed_videos=1)
    text = bandwidth_table(result, videos=3)
    assert f"{result.bandwidth_total_upstream_bytes / 1e6:.3f} MB, 25 requests, 4 retried" in text
    assert "15 asked for, 12 delivered, 3 failed" in text
    assert f"{(result.media_bytes - result.useful_bytes) / 1e6:.3f} MB lay beside" in text
    rows = re.findall(r"^\d \S+mp4 .*$", text, re.MULTILINE)
    assert len(rows) == 3
    beside = [float(row.split()[-1]) for row in rows]
    assert beside == sorted(beside, reverse=True)
    assert beside[0] == pytest.approx(
        max(video.media_bytes - video.useful_bytes for video in result.videos) / 1e6, abs=0.001
    )
    assert "and 2 more" in text
    whole = bandwidth_table(result)
    assert "bad_input: the server answers 404 Not Found" in whole
    assert "more, of which" not in whole


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_markdown_has_a_row_for_each_frame_and_each_video() -> None:
    result, _ = made_result(videos=2, frames=2, failed_videos=1)
    tables = markdown_tables(result)
    predictions = [cells(line) for line in tables["predictions"].splitlines()]
    assert predictions[0] == ["batch", "video", "seconds", "label", "confidence", "MB", "error"]
    assert len(predictions) == 2 + 4
    row = result.frames[0]
    assert row.prediction is not None
    assert predictions[2][1:5] == [
        *("0000-a-walk-in-the-park.mp4", f"{row.seconds:.2f}", "street sign"),
        f"{row.prediction.confidence:.1%}",
    ]
    assert predictions[3][-1] == r"bad\_input: the server answers 404 Not Found"
    bandwidth = [cells(line) for line in tables["bandwidth"].splitlines()]
    assert len(bandwidth) == 2 + 2
    assert bandwidth[2][4:7] == [
        *("1", f"{result.videos[0].index_bytes / 1e6:.3f}", f"{result.videos[0].media_bytes / 1e6:.3f}"),
    ]


def test_markdown_is_cut_and_says_so_and_holds_any_text() -> None:
    result, _ = made_result(videos=1, frames=130)
    lines = markdown_tables(result)["predictions"].splitlines()
    assert len([line for line in lines if line.startswith("|")]) == 2 + 100
    assert lines[-1] == "and 30 more"
    evil, _ = with_texts("a|b\n| c `d` <img src=x> [e](f) *g*")
    rows = [cells(line) for line in markdown_tables(evil)["bandwidth"].splitlines()]
    assert len(rows) == 3
    assert {len(row) for row in rows} == {10}
    assert rows[2][-1].endswith(r"a\|b \| c \`d\` \<img src=x\> \[e\](f) \*g\*")

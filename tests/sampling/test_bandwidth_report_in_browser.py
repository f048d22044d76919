"""The bandwidth report as a person uses it: open it, sort, choose, point, zoom; also with 2,000 frames."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import chromium
from tests.sampling.results_made import made_result, url_of
from video_pipeline.media.ranges.base import RequestRecord
from video_pipeline.sampling.bandwidth_report import bandwidth_report
from video_pipeline.sampling.request import RunInferenceResult

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def opened(
    browser: Browser,
    folder: Path,
    result: RunInferenceResult,
    requests: dict[str, list[RequestRecord]],
    scheme: Any = "light",
) -> tuple[Page, list[str]]:
    page = browser.new_page(viewport={"width": 1300, "height": 900}, color_scheme=scheme)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    # Not warnings: Chromium has advice for whoever reads a canvas back as often as these tests.
    page.on("console", lambda m: problems.append(m.text) if m.type != "warning" else None)
    page.on(
        "request", lambda asked: problems.append(asked.url) if not asked.url.startswith("file:") else None
    )
    (folder / "report.html").write_text(bandwidth_report(result, requests))
    page.goto((folder / "report.html").as_uri())
    return page, problems


def column(page: Page, table: str, number: int) -> list[str]:
    return page.eval_on_selector_all(
        f"#{table} .row", f"rows => rows.map(row => row.children[{number}].textContent)"
    )


def test_the_page_tells_the_totals_and_the_numbers_of_each_frame(browser: Browser, tmp_path: Path) -> None:
    result, requests = made_result(videos=2, frames=2, failed_videos=1)
    page, problems = opened(browser, tmp_path, result, requests)
    assert page.inner_text("#facts") == "4 frames of 2 videos in 1.50 s"
    cards = page.inner_text("#cards")
    fetched = float(cards.split()[0])
    assert cards.split()[1] == "KB"
    assert fetched == pytest.approx(result.bandwidth_total_upstream_bytes / 1e3, abs=0.06)
    assert "of 4 frames delivered, 2 failed" in cards
    needed = float(column(page, "frames", 7)[0].removesuffix(" KB"))
    assert needed == pytest.approx(result.frames[0].useful_bytes / 1e3, abs=0.06)
    assert column(page, "frames", 4)[1] == "bad_input: the server answers 404 Not Found"
    assert problems == []


def test_bars_are_to_scale(browser: Browser, tmp_path: Path) -> None:
    result, requests = made_result(videos=1, frames=4)
    page, _ = opened(browser, tmp_path, result, requests)
    told = page.eval_on_selector_all(
        "#frames .share",
        "bars => bars.map(bar => [...bar.children].map(part => part.getBoundingClientRect().width))",
    )
    room = page.eval_on_selector("#frames .share", "bar => bar.getBoundingClientRect().width")
    most = max(row.index_bytes + row.media_bytes for row in result.frames)
    for widths, row in zip(told, result.frames, strict=True):
        parts = (row.useful_bytes, row.media_bytes - row.useful_bytes, row.index_bytes)
        assert widths == pytest.approx([part / most * room for part in parts], abs=0.5)


def test_a_heading_sorts_and_the_filter_keeps_what_matches(browser: Browser, tmp_path: Path) -> None:
    result, requests = made_result(videos=3, frames=3, failed_videos=1)
    page, problems = opened(browser, tmp_path, result, requests)
    page.click("#frames .head button:text-is('needed')")
    sizes = [float(text.split()[0]) * (1e3 if "KB" in text else 1) for text in column(page, "frames", 7)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 5
    page.click("#frames .head button:has-text('needed')")
    again = [float(text.split()[0]) * (1e3 if "KB" in text else 1) for text in column(page, "frames", 7)]
    assert again == sorted(sizes)
    page.fill("#filter", "404")
    assert column(page, "frames", 1) == ["0002-a-walk-in-the-park.mp4"] * 3
    assert page.inner_text("#frames-say") == "3 of 9"
    assert problems == []


def test_a_range_tells_its_bytes_time_and_status_when_pointed_at(browser: Browser, tmp_path: Path) -> None:
    result, requests = made_result(videos=1, frames=1)
    media = requests[url_of(0)][-1]
    page, problems = opened(browser, tmp_path, result, requests)
    box = page.locator("#strip").bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] * (media.start + media.stop) / 2 / 40_000_000
    page.mouse.move(middle, box["y"] + 40)
    page.wait_for_selector("#tip", state="visible")
    tip = page.inner_text("#tip")
    assert tip.startswith(f"bytes {media.start:,} to {media.stop:,}")
    received = re.search(r"([\d.]+) KB received", tip)
    assert received
    assert float(received.group(1)) == pytest.approx(media.received / 1e3, abs=0.06)
    assert f"{(media.ended - media.began) * 1000:.1f} ms" in tip
    assert "HTTP 206, attempt 1" in tip
    small = page.locator("#videos .row canvas").bounding_box()
    assert small is not None
    page.mouse.move(small["x"] + small["width"] * media.start / 40_000_000, small["y"] + 8)
    assert page.inner_text("#tip") == tip
    page.mouse.move(middle + 60, box["y"] + 40)
    page.wait_for_selector("#tip", state="hidden")
    # The first quarter of the time is the request that failed.
    times = page.locator("#time").bounding_box()
    assert times is not None
    page.mouse.move(times["x"] + 5, times["y"] + 40)
    assert "503 from the server" in page.inner_text("#tip")
    assert problems == []


def strip_colours(page: Page) -> dict[str, list[int]]:
    """First and last column of the strip in which each colour of the legend is found, in its middle line."""
    return page.evaluate("""() => {
        const canvas = document.getElementById("strip"), found = {};
        const line = canvas.getContext("2d").getImageData(0, 40, canvas.width, 1).data;
        for (const name of ["needed", "index"]) {
            const swatch = getComputedStyle(document.querySelector("#legend ." + name));
            const want = swatch.backgroundColor.match(/\\d+/g).map(Number);
            for (let x = 0; x < canvas.width; x++)
                if (want.every((value, i) => Math.abs(value - line[4 * x + i]) < 3))
                    found[name] = [found[name]?.[0] ?? x, x];
        }
        return found;
    }""")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_index_and_media_lie_where_they_were_read_and_zoom_follows(
    browser: Browser, tmp_path: Path, scheme: str
) -> None:
    result, requests = made_result(videos=1, frames=1)
    media = requests[url_of(0)][-1]
    page, problems = opened(browser, tmp_path, result, requests, scheme)
    width = page.eval_on_selector("#strip", "canvas => canvas.width")
    colours = strip_colours(page)
    assert colours["needed"][0] == pytest.approx(media.start / 40_000_000 * width, abs=2)
    assert colours["index"][0] == 0
    assert colours["index"][1] >= width - 3
    page.evaluate(f"strip.view({media.start}, {media.stop})")
    colours = strip_colours(page)
    assert colours == {"needed": [0, width - 1]}
    page.focus("#strip")
    page.keyboard.press("-")
    assert page.evaluate("strip.to - strip.from") == pytest.approx((media.stop - media.start) * 1.4, rel=1e-3)
    page.keyboard.press("0")
    assert page.evaluate("[strip.from, strip.to]") == [0, 40_000_000]
    assert problems == []


def test_a_chosen_video_shows_its_own_requests(browser: Browser, tmp_path: Path) -> None:
    result, requests = made_result(videos=3, frames=2, failed_videos=1)
    page, problems = opened(browser, tmp_path, result, requests)
    assert page.inner_text("#time-says") == "Requests over time: 11 of all videos, up to 3 at once"
    page.click("#videos .row >> nth=2")
    assert page.inner_text("#chosen") == "0002-a-walk-in-the-park.mp4"
    assert "404 Not Found" in page.inner_text("#says")
    page.uncheck("#all")
    assert page.inner_text("#time-says") == "Requests over time: 1, up to 1 at once"
    page.focus("#videos .body")
    page.keyboard.press("ArrowUp")
    assert page.inner_text("#chosen") == "0001-a-walk-in-the-park.mp4"
    assert page.inner_text("#time-says") == "Requests over time: 5, up to 1 at once"
    assert problems == []


def test_two_thousand_frames_scroll_and_sort_at_once(browser: Browser, tmp_path: Path) -> None:
    page, problems = opened(browser, tmp_path, *made_result(videos=400, frames=5))
    assert page.locator("#frames .row").count() < 40
    page.evaluate("frameList.body.scrollTop = 1e9")
    page.wait_for_function("document.querySelector('#frames .row:last-child').textContent.startsWith('4')")
    last = page.locator("#frames .row").last
    assert last.inner_text().split()[:2] == ["4", "0399-a-walk-in-the-park.mp4"]
    for work in ("frameList.sort(frameList.columns[7])", "showVideo(7)", "drawAll()", "filterFrames()"):
        assert (
            page.evaluate(
                f"(() => {{ const began = performance.now(); {work}; return performance.now() - began; }})()"
            )
            < 500
        )
    assert problems == []


def test_markup_in_names_stays_text_and_the_json_can_be_saved(browser: Browser, tmp_path: Path) -> None:
    result, requests = made_result(videos=1, frames=1)
    evil = "<img src=x onerror=console.log('run')></script><b>bold"
    video = result.videos[0].model_copy(update={"url": evil, "notes": (evil,), "codec": evil})
    result = result.model_copy(update={"videos": (video,)})
    page, problems = opened(browser, tmp_path, result, {evil: requests[url_of(0)]})
    assert evil in page.inner_text("#says")
    assert page.locator("img, #says b").count() == 0
    with page.expect_download() as saved:
        page.click("#save")
    data = json.loads(Path(saved.value.path()).read_text())
    assert data["totals"]["fetched_bytes"] == result.bandwidth_total_upstream_bytes
    assert problems == []

"""The waterfall as a person uses it: open the file, filter, point, zoom; with twenty thousand spans too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import chromium
from video_pipeline.telemetry.timing import Span
from video_pipeline.telemetry.waterfall import waterfall_html

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def span(number: int, name: str, lane: str, start: float, length: float, error: str | None = None) -> Span:
    return Span(name, start, start + length, lane, process=1, number=number, error=error)


def opened(
    browser: Browser, folder: Path, spans: list[Span], title: str = "A pass"
) -> tuple[Page, list[str]]:
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    (folder / "waterfall.html").write_text(waterfall_html(spans, title=title))
    page.goto((folder / "waterfall.html").as_uri())
    return page, problems


def inked(page: Page) -> int:
    """Pixels of bars: the only things in the chart with colour."""
    return page.evaluate("""() => {
        const canvas = document.getElementById("canvas");
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let count = 0;
        for (let i = 0; i < pixels.length; i += 4) {
            const rgb = [pixels[i], pixels[i + 1], pixels[i + 2]];
            if (Math.max(...rgb) - Math.min(...rgb) > 60) count++;
        }
        return count;
    }""")


def test_a_bar_tells_its_name_and_error_when_pointed_at(browser: Browser, tmp_path: Path) -> None:
    spans = [span(0, "decode", "decode", 0, 10), span(1, "encode", "encode-1", 2, 6, "BadInput: no picture")]
    page, problems = opened(browser, tmp_path, spans)
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 150 + (box["width"] - 150) / 2, box["y"] + 26 + 28 + 12)
    page.wait_for_selector("#tip", state="visible")
    assert "encode" in page.inner_text("#tip")
    assert "BadInput: no picture" in page.inner_text("#tip")
    assert problems == []


def test_filter_zoom_and_reset_do_what_they_say(browser: Browser, tmp_path: Path) -> None:
    spans = [span(n, ("decode", "infer", "encode")[n % 3], "lane", n, 0.9) for n in range(30)]
    page, problems = opened(browser, tmp_path, spans)
    everything = inked(page)
    page.keyboard.press("/")
    page.fill("#filter", "infer")
    assert page.locator("#rows tr").count() == 1
    assert inked(page) < everything
    page.click("#reset")
    assert page.locator("#rows tr").count() == 3
    assert inked(page) == everything
    before = page.evaluate("[from, to]")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("+")
    zoomed = page.evaluate("[from, to]")
    assert zoomed[1] - zoomed[0] < before[1] - before[0]
    page.keyboard.press("0")
    assert page.evaluate("[from, to]") == before
    page.locator("#rows tr").first.click()
    assert page.locator("#rows tr.off").count() == 1
    assert problems == []


def test_the_workers_of_a_stage_stand_together_in_order(browser: Browser, tmp_path: Path) -> None:
    lanes = ["decode", "encode-10", "upload-1", "encode-2", "infer"]
    page, _ = opened(browser, tmp_path, [span(n, "work", lane, n, 1) for n, lane in enumerate(lanes)])
    assert page.evaluate("data.lanes") == ["decode", "encode-2", "encode-10", "upload-1", "infer"]


def test_names_are_text_and_never_markup(browser: Browser, tmp_path: Path) -> None:
    evil = "</script><img src=x onerror='window.hacked=1'><!--"
    page, problems = opened(browser, tmp_path, [span(0, evil, evil, 0, 1, evil)], title=evil)
    assert page.inner_text("#title") == evil
    assert page.evaluate("window.hacked") is None
    assert problems == []


def test_twenty_thousand_spans_are_drawn_and_counted(browser: Browser, tmp_path: Path) -> None:
    spans = [span(n, f"stage {n % 8}", f"worker-{n % 16}", n * 0.01, 0.02) for n in range(20_000)]
    page, problems = opened(browser, tmp_path, spans)
    assert "20000 spans in 16 lanes" in page.inner_text("#facts")
    assert [int(cell) for cell in page.locator("#rows td:nth-child(2)").all_inner_texts()] == [2500] * 8
    assert inked(page) > 50_000
    assert problems == []

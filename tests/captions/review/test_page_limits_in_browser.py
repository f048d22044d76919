"""The review page with little or much in it, in narrow windows, for everybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.captions.documents import caption, document
from tests.captions.review.person import (
    FRAMES,
    RATE,
    STRIP,
    at,
    exported,
    frames,
    opened,
    png,
    press,
    seen,
    street,
)
from video_pipeline.captions.review.page import ReviewChunk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_page_without_the_fine_levels_says_so_and_never_passes_a_picture_off_as_another(
    page: Page, tmp_path: Path, chunks: list[ReviewChunk]
):
    coarse = sum(len(chunk.data) for chunk in chunks if chunk.level == 16)
    opened(page, tmp_path, street(), chunks, max_bytes=coarse)
    expect(page.locator("#notices")).to_contain_text("every 16th sample only")
    expect(page.locator("#strip-badge")).to_have_text(
        "The page has no picture of sample 21; this is sample 16"
    )
    assert seen(page) == 16
    expect(page.locator("#boundary-end figcaption").last).to_contain_text(
        "≈ sample 32 (45 is not in the page)"
    )
    press(page, *["ArrowRight"] * 11)
    at(page, 32)
    expect(page.locator("#strip-badge")).to_be_hidden()


def test_a_page_without_any_picture_can_still_be_edited(page: Page, tmp_path: Path):
    opened(page, tmp_path, street(), [])
    expect(page.locator("#notices")).to_contain_text("were not there")
    expect(page.locator("#strip-badge")).to_have_text("No picture of this sample is in the page")
    press(page, ".")
    assert exported(page).captions[0].first_frame == 22


def test_broken_pictures_are_said_once_and_leave_no_other_picture_in_their_place(
    page: Page, tmp_path: Path, chunks: list[ReviewChunk]
):
    whole = [chunk for chunk in chunks if chunk.level != 4]
    broken = [ReviewChunk(4, chunk.window, chunk.data[:40]) for chunk in chunks if chunk.level == 4]
    pictures = {(1, "start"): (png(1020)[:50], png(1021)[:50])}
    opened(page, tmp_path, street(), whole + broken, pictures=pictures)
    at(page, 21)
    labels = page.locator("#boundary-start figcaption")
    expect(labels).to_have_text(["before: ≈ sample 16 (20 is not in the page)", "after: sample 21"])
    press(page, "ArrowLeft")
    badge = page.locator("#strip-badge")
    expect(badge).to_have_text("The page has no picture of sample 20; this is sample 16")
    assert seen(page) == 16
    press(page, "]", "]", "]")
    expect(labels).to_have_text(["before: sample 149", "after: sample 150"])
    press(page, ",", ",")
    expect(labels).to_have_text(["before: sample 147", "after: ≈ sample 144 (148 is not in the page)"])
    press(page, "End", "ArrowLeft", "ArrowLeft", "ArrowLeft")
    expect(badge).to_have_text("The page has no picture of sample 296; this is sample 288")
    assert seen(page) == 288
    press(page, "ArrowRight")
    at(page, 297)
    expect(badge).to_be_hidden()
    expect(page.locator("#notices p")).to_have_count(1)


def test_a_video_without_captions_can_be_given_some(page: Page, tmp_path: Path, chunks: list[ReviewChunk]):
    opened(page, tmp_path, document(rate=RATE, frame_count=FRAMES, strip=STRIP), chunks)
    at(page, 0)
    expect(page.locator("#no-selection")).to_be_visible()
    press(page, ".", "m", "Delete", "r", "Enter", "n", "1", "a")
    page.keyboard.type("new")
    (made,) = exported(page).captions
    assert (made.first_frame, made.end_frame, made.text, made.start.beside) == (0, 20, "new", "video_edge")


def test_two_thousand_captions_keep_few_rows_and_answer(page: Page, tmp_path: Path):
    many = document(
        *(
            caption(n + 1, 18 * n, 18 * n + 12, text=f"line {n + 1}", text_confidence=0.5 + n % 50 / 100)
            for n in range(2000)
        ),
        frame_count=36_000,
    )
    opened(page, tmp_path, many, [])
    rows = page.locator(".row")
    assert rows.count() < 40
    page.locator("#list").evaluate("(list) => { list.scrollTop = 1500 * 58; }")
    row = page.locator(".row", has_text="line 1504")
    row.click()
    expect(page.locator("#title")).to_have_text("Caption 1504 of 2000")
    expect(page.locator("#text")).to_have_value("line 1504")
    assert rows.count() < 40
    row.locator("input").check()
    expect(page.locator("#left")).to_have_text("1999 of 2000 left to review")
    press(page, "ArrowDown", "ArrowDown", "Delete")
    expect(page.locator("#title")).to_have_text("Caption 1506 of 1999")
    press(page, "0")
    page.locator("#list").evaluate("(list) => { list.scrollTop = list.scrollHeight; }")
    expect(page.locator(".row", has_text="line 2000")).to_be_visible()
    assert page.evaluate("document.querySelectorAll('#list *').length") < 600


def test_the_help_names_the_keys_and_can_switch_those_of_one_letter_off(ready: Page):
    press(ready, "?")
    expect(ready.locator("#help")).to_be_visible()
    expect(ready.locator("#keys")).to_contain_text("Merge with the next caption")
    ready.uncheck("#shortcuts")
    press(ready, "Escape", "Delete", "m", ".", "ArrowRight")
    assert frames(exported(ready)) == frames(street())[1:]


@pytest.mark.parametrize("width", [390, 900, 1400])
def test_nothing_lies_outside_the_window(page: Page, tmp_path: Path, chunks: list[ReviewChunk], width: int):
    page.set_viewport_size({"width": width, "height": 720})
    opened(page, tmp_path, street(), chunks)
    beyond = """() => [...document.querySelectorAll("button, select, input, output, h2, textarea")]
      .filter((node) => node.checkVisibility() && !node.closest("#list, #help"))
      .filter((node) => { const box = node.getBoundingClientRect(); const room =
        (node.closest("#details") ?? document.body).getBoundingClientRect();
        return box.right > room.right + 0.5 || box.left < room.left - 0.5; })
      .map((node) => node.outerHTML)"""
    assert page.evaluate(beyond) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_every_control_has_a_name_and_text_has_contrast(ready: Page):
    nameless = """() => [...document.querySelectorAll("button, input, select, textarea, canvas")]
      .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.labels?.length))
      .map((node) => node.outerHTML)"""
    assert ready.evaluate(nameless) == []
    # WCAG 2.2, 1.4.3: 4.5 to 1 for text of this size.
    pale = """() => {
      const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
      const behind = (node) => {
        for (; node; node = node.parentElement) {
          const colour = numbers(getComputedStyle(node).backgroundColor);
          if (colour.length === 3 || colour[3] === 1) return colour;
        }
      };
      return [...document.querySelectorAll("body *")]
        .filter((node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
        .filter((node) => node.checkVisibility())
        .filter((node) => !node.disabled && !["SCRIPT", "STYLE", "OPTION"].includes(node.tagName))
        .map((node) => {
          const colours = [numbers(getComputedStyle(node).color), behind(node)];
          const [a, b] = colours.map(luminance).sort((x, y) => y - x);
          return [(a + 0.05) / (b + 0.05), node.outerHTML.slice(0, 80)];
        })
        .filter(([contrast]) => contrast < 4.5);
    }"""
    assert ready.evaluate(pale) == []

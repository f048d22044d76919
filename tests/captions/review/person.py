"""What a person does with the review page, and the video they look at.

Belongs here: reading what is on the screen, pressing keys, saving files; no expectations of one test.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page, expect

from tests.captions.barcodes import HEIGHT, WIDTH, barcode_frame, read_barcode
from tests.captions.documents import boundary, caption, document
from video_pipeline.captions.document import CaptionsDocument, Strip
from video_pipeline.captions.review.page import ReviewChunk, render_review_page

FRAMES = 300
RATE = Fraction(10_000, 1001)
STRIP = Strip(left=0, top=600, width=WIDTH, height=HEIGHT, display_width=1280, display_height=720)


def street() -> CaptionsDocument:
    """Five captions; 2 and 3 touch, 4 is unsure, 5 has no text."""

    def at(frame: int, confidence: float = 0.97, **fields: Any):
        return boundary(frame / RATE, confidence=confidence, resolution=1 / RATE, **fields)

    def over(number: int, first: int, last: int, sure: float = 0.97, **fields: Any):
        ends: dict[str, Any] = {"start": at(first), "end": at(last, sure)} | fields
        return caption(number, first, last, rate=RATE, **ends)

    return document(
        over(1, 21, 45, text="first", text_confidence=0.95),
        over(2, 60, 83, text="second", text_confidence=0.97, end=at(83, beside="other_caption")),
        over(3, 83, 110, text="third", text_confidence=0.99, start=at(83, beside="other_caption")),
        over(4, 150, 181, 0.4, text="fourth\nwith two lines", text_confidence=0.99),
        over(5, 200, 230, unread="nothing_recognised"),
        rate=RATE,
        frame_count=FRAMES,
        strip=STRIP,
    )


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(barcode_frame(number).y).save(buffer, "PNG")
    return buffer.getvalue()


def opened(page: Page, folder: Path, captions: CaptionsDocument, chunks: list[ReviewChunk], **more: Any):
    pictures = more.pop("pictures", {})
    text = render_review_page(captions, chunks, pictures, **more)
    (folder / "review.html").write_text(text, encoding="utf-8")
    page.goto((folder / "review.html").as_uri())
    expect(page.locator("#sample")).not_to_be_empty()


def seen(page: Page, selector: str = "#strip") -> int:
    """The number that the picture on the screen carries."""
    shot = Image.open(io.BytesIO(page.locator(selector).screenshot())).convert("L")
    # The strip stands centred in its box, in its own proportions.
    box = np.asarray(shot)
    height, width = box.shape
    scale = min(width / WIDTH, height / HEIGHT)
    left, top = (width - scale * WIDTH) / 2, (height - scale * HEIGHT) / 2
    inner = shot.crop((round(left), round(top), round(left + scale * WIDTH), round(top + scale * HEIGHT)))
    return read_barcode(np.asarray(inner.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)))


def at(page: Page, frame: int) -> None:
    """The playhead is at `frame`, and the strip shows its picture."""
    expect(page.locator("#sample")).to_contain_text(f"sample {frame} of {FRAMES}")
    expect(page.locator("#strip")).to_have_attribute("data-sample", str(frame))
    assert seen(page) == frame


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def saved(page: Page, kind: str) -> str:
    with page.expect_download() as download:
        page.click(f"[data-act=export-{kind}]")
    return Path(download.value.path()).read_text(encoding="utf-8")


def exported(page: Page) -> CaptionsDocument:
    return CaptionsDocument.model_validate_json(saved(page, "json"))


def frames(captions: CaptionsDocument) -> list[tuple[int, int]]:
    return [(found.first_frame, found.end_frame) for found in captions.captions]

"""Chromium with the review page open, as a file, in a browser that has nothing stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser import chromium
from tests.captions.barcodes import barcode_frame
from tests.captions.review.person import FRAMES, RATE, opened, street
from video_pipeline.captions.chunks import ChunkAssembler
from video_pipeline.captions.review.page import ReviewChunk
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.vp9 import encode_chunk


@pytest.fixture(scope="session")
def chunks() -> list[ReviewChunk]:
    assembler: ChunkAssembler[CroppedFrame] = ChunkAssembler()
    jobs = [job for index in range(FRAMES) for job in assembler.push(index, barcode_frame(index))]
    return [
        ReviewChunk(job.level, job.window, encode_chunk(job.frames, rate=RATE))
        for job in [*jobs, *assembler.finish()]
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that has nothing stored; anything on its console fails the test."""
    context: BrowserContext = browser.new_context(
        viewport={"width": 1400, "height": 900}, offline=True, accept_downloads=True
    )
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"uncaught: {error}"))
    yield page
    context.close()
    assert wrong == []


@pytest.fixture
def ready(page: Page, tmp_path: Path, chunks: list[ReviewChunk]) -> Page:
    opened(page, tmp_path, street(), chunks)
    return page

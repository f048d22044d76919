"""Chromium for tests that look at a page as a person would."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

EXPECT_MS = 60_000
"""What is expected of a page may take so long on a machine with much other work; Playwright waits for 5 s."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser. Without Chromium the test is skipped, or fails where a browser is required."""
    program = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(program).exists():
        reason = "Chromium is not installed; this test needs a browser (Debian: apt-get install chromium)"
        if os.environ.get("VIDEO_PIPELINE_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    arguments = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    expect.set_options(timeout=EXPECT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()

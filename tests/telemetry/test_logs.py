"""Log lines of commands and workers: one plain form, and no chatter of libraries."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from video_pipeline.telemetry.logs import configure_logging

CHATTY = ("botocore", "boto3", "s3transfer", "urllib3", "libav")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers, levels = root.level, root.handlers[:], [logging.getLogger(name).level for name in CHATTY]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for name, was in zip(CHATTY, levels, strict=True):
        logging.getLogger(name).setLevel(was)


def said(capsys: pytest.CaptureFixture[str], level: str) -> list[str]:
    """The lines that one record of each level brings, of ours and of a library."""
    configure_logging(level)
    for name in ("video_pipeline.x", "urllib3.connectionpool"):
        for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(number, "said")
    lines = capsys.readouterr()
    assert lines.out == ""
    return lines.err.splitlines()


def test_lines_go_to_standard_error_once_with_time_level_and_name(capsys: pytest.CaptureFixture[str]) -> None:
    logging.getLogger().addHandler(logging.StreamHandler())
    lines = said(capsys, "WARNING")
    assert [line.split()[2:] for line in lines] == [
        ["WARNING", "video_pipeline.x:", "said"],
        ["ERROR", "video_pipeline.x:", "said"],
        ["WARNING", "urllib3.connectionpool:", "said"],
        ["ERROR", "urllib3.connectionpool:", "said"],
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ", line) for line in lines)


@pytest.mark.parametrize(("level", "ours", "theirs"), [("DEBUG", 4, 2), ("INFO", 3, 2), ("ERROR", 1, 1)])
def test_libraries_speak_from_warnings_up_and_never_below_the_level(
    capsys: pytest.CaptureFixture[str], level: str, ours: int, theirs: int
) -> None:
    lines = said(capsys, level)
    assert sum("video_pipeline.x" in line for line in lines) == ours
    assert sum("urllib3" in line for line in lines) == theirs

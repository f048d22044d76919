"""What a run prints for the person who waits for it."""

from __future__ import annotations

import logging

import dagster as dg
import pytest

from video_pipeline.resources.console import console


def opened() -> logging.Logger:
    return console(dg.build_init_logger_context())


def test_a_line_has_its_time_level_and_step_and_the_reason_of_an_exception(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = opened()
    meta = {"dagster_meta": {"step_key": "caption_pass", "orig_message": "120 of 420 frames"}}
    logger.info("caption_video - 2f01 - caption_pass - 120 of 420 frames", extra=meta)
    logger.debug("bookkeeping")
    try:
        raise OSError("the disk is full")
    except OSError:
        logger.exception("it failed")
    first, second, *traceback = capsys.readouterr().err.splitlines()
    assert first[8:] == " INFO    caption_pass: 120 of 420 frames"
    assert second[8:] == " ERROR   dagster: it failed"
    assert traceback[-1] == "OSError: the disk is full"


def test_the_level_is_the_settings_and_a_second_run_prints_nothing_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGGER_LEVEL", "warning")
    opened()
    logger = opened()
    logger.info("not of interest")
    logger.warning("of interest")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("WARNING dagster: of interest")

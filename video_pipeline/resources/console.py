"""The console log of a run: what a person who waits for it wants to read.

Belongs here: the level and the line format. Does not belong here: Dagster's event log, which keeps every
event whatever this prints. Dagster's own console logger prints its bookkeeping at DEBUG, some 60 lines a run.
"""

import logging
import sys

import dagster as dg

from video_pipeline.settings import load_settings


class _Line(logging.Formatter):
    """`05:44:26 INFO caption_pass: message`."""

    def format(self, record: logging.LogRecord) -> str:
        meta = getattr(record, "dagster_meta", {}) or {}
        step = meta.get("step_key") or meta.get("job_name") or "dagster"
        message = meta.get("orig_message") or record.getMessage()
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname:7} {step}: {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _open_console(_context: dg.InitLoggerContext) -> logging.Logger:
    # A class of its own and no registry: two runs in one process must not share handlers.
    logger = logging.Logger("video_pipeline.dagster", level=load_settings().logger_level)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    logger.addHandler(handler)
    return logger


console = dg.LoggerDefinition(_open_console, description="Lines from LOGGER_LEVEL up, on standard error.")

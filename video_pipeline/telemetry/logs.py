"""Log set-up, for the command line and for workers.

Belongs here: one plain line format. Does not belong here: Dagster's log, which has its own.
"""

from __future__ import annotations

import logging
import sys

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure_logging(level: str) -> None:
    """Plain lines on standard error, from `level` up; the chatty libraries from WARNING up."""
    logging.basicConfig(level=level, format=FORMAT, stream=sys.stderr, force=True)
    for name in ("botocore", "boto3", "s3transfer", "urllib3", "libav"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))

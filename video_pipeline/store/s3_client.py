"""The boto3 client of a bucket: retries, timeouts, checksums, credentials.

Belongs here: how the client is set up. Does not belong here: any request (`s3`).
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from video_pipeline.errors import BadInput
from video_pipeline.store.s3_errors import S3Location

_session_lock = threading.Lock()
"""Making a client is not thread-safe in boto3 (Boto3 documentation, "Session reference", Multithreading)."""


@functools.cache
def _session() -> Session:
    """Shared, as it keeps the parsed service model: a client takes 8 ms instead of 120."""
    return Session()


def make_client(
    location: S3Location,
    *,
    endpoint_url: str | None,
    region: str | None,
    access_key: str | None,
    secret_key: str | None,
    attempts: int,
    connect_timeout_s: float,
    read_timeout_s: float,
) -> Any:
    """A client that is safe for threads. Requests are tried `attempts` times in all (standard mode, at most
    20 s apart). `BadInput` where the endpoint or the region cannot be one."""
    config = Config(
        signature_version="s3v4",
        # Newer checksums are not known to every server; our SHA-256 is the check (DESIGN section 4).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        max_pool_connections=32,
        tcp_keepalive=True,
    )
    try:
        with _session_lock:
            # Without given keys a new session looks for credentials in today's environment.
            session = _session() if access_key else Session()
            return session.client(
                "s3",
                endpoint_url=endpoint_url,
                region_name=region,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                config=config,
            )
    except (BotoCoreError, ValueError) as error:
        raise BadInput(
            f"no S3 client can be made: {error}",
            input=str(location),
            what_to_do="check WASABI_ENDPOINT_URL and WASABI_REGION",
        ) from error

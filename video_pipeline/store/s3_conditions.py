"""Whether a server honours conditional writes: found out by trying, once per process.

Belongs here: the probe and its memory. Does not belong here: what callers do without conditional writes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from video_pipeline.store.s3_errors import (
    NETWORK_ERRORS,
    S3Location,
    is_not_implemented,
    is_precondition,
    translate,
)

log = logging.getLogger(__name__)

PROBES_PREFIX = "system/server/probes/"
ANOTHER_ETAG = f'"{"0" * 32}"'

_known: dict[S3Location, bool] = {}
_lock = threading.Lock()


def honours_conditions(client: Any, location: S3Location) -> bool:
    """True if a second create and the replacement of another ETag are both refused.

    Writes one object under `system/server/probes/` and deletes it. A server that lets a write through is
    named in a warning. Raises what any write raises (`BadInput`, `Transient`).
    """
    with _lock:
        if location not in _known:
            try:
                _known[location] = _probe(client, location.bucket, f"{PROBES_PREFIX}{uuid.uuid4().hex}")
            except (BotoCoreError, ClientError, *NETWORK_ERRORS) as error:
                raise translate(error, location, PROBES_PREFIX) from error
            if not _known[location]:
                log.warning(
                    "%s ignores conditional writes (If-None-Match, If-Match): racing writers are not kept "
                    "apart there. Publish each video from one place only.",
                    location,
                )
        return _known[location]


def _probe(client: Any, bucket: str, key: str) -> bool:
    written: list[str | None] = []

    def is_refused(conditions: dict[str, str]) -> bool | None:
        """None where the server does not know the header."""
        try:
            answer = client.put_object(Bucket=bucket, Key=key, Body=b"probe", **conditions)
        except ClientError as error:
            if is_precondition(error):
                return True
            if is_not_implemented(error):
                return None
            raise
        written.append(answer.get("VersionId"))
        return False

    try:
        return (
            is_refused({"IfNoneMatch": "*"}) is False
            and is_refused({"IfNoneMatch": "*"}) is True
            and is_refused({"IfMatch": ANOTHER_ETAG}) is True
        )
    finally:
        for version_id in dict.fromkeys(written):
            with contextlib.suppress(ClientError):
                client.delete_object(
                    Bucket=bucket, Key=key, **({"VersionId": version_id} if version_id else {})
                )

"""Reading bytes of one version of an S3 object, through connections that break.

Belongs here: pinning a version, ranges, and resuming a body where it broke off. Does not belong here: retries
of requests (botocore's) and read-ahead (`reader`).
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from video_pipeline.errors import Internal, Transient
from video_pipeline.store.base import replaced
from video_pipeline.store.reader import ReadStats
from video_pipeline.store.s3_errors import (
    NETWORK_ERRORS,
    S3Location,
    is_missing,
    is_precondition,
    status_of,
    translate,
)

log = logging.getLogger(__name__)

BODY_BYTES = 256 * 1024
BODY_FAILURES = 8
"""Times in a row that a body may break off without one new byte; with the waits between, about 13 s."""

RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Pin:
    """What makes a GET answer with one version or not at all."""

    etag: str | None = None
    version_id: str | None = None

    @classmethod
    def of(cls, version: str) -> Pin:
        """From `ObjectInfo.version`: `"etag"-size`, or a VersionId."""
        if '"' in version:
            return cls(etag=version[: version.rindex('"') + 1])
        return cls(version_id=version)

    @classmethod
    def to(cls, answer: dict[str, Any]) -> Pin:
        """To the version that an answer is of."""
        version_id = answer.get("VersionId")
        if version_id and version_id != "null":
            return cls(version_id=version_id)
        return cls(etag=answer["ETag"])

    @property
    def parameters(self) -> dict[str, str]:
        if self.version_id is not None:
            return {"VersionId": self.version_id}
        return {"IfMatch": self.etag} if self.etag is not None else {}


@dataclass(frozen=True, slots=True)
class Download:
    data: bytes
    metadata: dict[str, str]
    etag: str


class _ReplacedMeanwhile(Exception):
    """The pinned version is not there any more."""


def download(
    client: Any,
    location: S3Location,
    key: str,
    start: int,
    stop: int | None,
    pin: Pin | None = None,
    *,
    stats: ReadStats | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Download:
    """Bytes `start` to `stop` (None, or beyond it: the object's end) of one version.

    A pinned version that is gone is `BadInput`. Without a pin the first answer pins, and if that version is
    replaced before a resumption, the reading begins again with the new one. Once `stopped()` is true it
    returns early with whatever it has.
    """
    for _ in range(RESTARTS):
        reading = _Reading(client, location, key, start, stop, pin or Pin(), stats or ReadStats(), stopped)
        try:
            return reading.run()
        except _ReplacedMeanwhile:
            if pin is not None:
                raise replaced(location.uri, key) from None
    raise Transient("the object changes faster than it can be read", input=f"{location.uri}/{key}")


@dataclass(slots=True)
class _Reading:
    client: Any
    location: S3Location
    key: str
    start: int
    stop: int | None
    pin: Pin
    stats: ReadStats
    stopped: Callable[[], bool]

    def run(self) -> Download:
        data, metadata, etag = bytearray(), {}, ""
        failures = 0
        while self.stop is None or self.start + len(data) < self.stop:
            position = self.start + len(data)
            answer = self._ask(position)
            if answer is None or self.stopped():
                break
            metadata, etag = answer.get("Metadata", {}), answer["ETag"]
            before = len(data)
            try:
                self._receive(answer, data)
            except NETWORK_ERRORS as error:
                failures = 1 if len(data) > before else failures + 1
                if failures >= BODY_FAILURES:
                    raise translate(error, self.location, self.key) from error
                where = f"{self.location.uri}/{self.key}"
                log.info("%s broke off at byte %d, resuming: %s", where, self.start + len(data), error)
                time.sleep(0.05 * 2**failures)
            if self.stopped():
                break
        return Download(bytes(data), metadata, etag)

    def _ask(self, position: int) -> dict[str, Any] | None:
        """The answer to a GET from `position` on; None where the object ends before it."""
        whole = position == 0 and self.stop is None
        last = "" if self.stop is None else self.stop - 1
        wanted = {} if whole else {"Range": f"bytes={position}-{last}"}
        self.stats.add(requests=1)
        try:
            answer = self.client.get_object(
                Bucket=self.location.bucket, Key=self.key, **wanted, **self.pin.parameters
            )
        except ClientError as error:
            if status_of(error) == 416:
                return None
            if self.pin.parameters and (is_missing(error) or is_precondition(error)):
                raise _ReplacedMeanwhile from error
            raise translate(error, self.location, self.key) from error
        except (BotoCoreError, *NETWORK_ERRORS) as error:
            raise translate(error, self.location, self.key) from error
        try:
            if self.pin.etag is not None and answer["ETag"] != self.pin.etag:
                raise _ReplacedMeanwhile  # by a server that ignores If-Match
            self.stop = self._end(answer, position, whole=whole)
        except BaseException:
            answer["Body"].close()
            raise
        if not self.pin.parameters:
            self.pin = Pin.to(answer)
        return answer

    def _end(self, answer: dict[str, Any], position: int, *, whole: bool) -> int:
        """Where the wanted bytes end, now that the answer tells the object's size."""
        if whole:
            return int(answer["ContentLength"])
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.get("ContentRange", ""))
        if match is None or int(match[1]) != position:
            raise Internal(
                "the server did not answer with the range it was asked for",
                input=f"{self.location.uri}/{self.key} at {self.location.endpoint}",
            )
        return int(match[2]) if self.stop is None else min(self.stop, int(match[2]))

    def _receive(self, answer: dict[str, Any], data: bytearray) -> None:
        with contextlib.closing(answer["Body"]) as body:
            while not self.stopped() and (block := body.read(BODY_BYTES)):
                data += block
                self.stats.add(bytes_fetched=len(block))

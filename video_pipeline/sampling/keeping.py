"""Where stored indexes lie between runs: a folder of this machine, or the object store.

Belongs here: reading and writing named bytes. Does not belong here: what they hold (`media.mp4.sidecar`).
"""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from video_pipeline.errors import PipelineError
from video_pipeline.store.base import ObjectMissing, ObjectStore

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """A lost index is read again from the video, so neither method raises for a place that fails: it is
    logged, and `put` returns why nothing is kept, None where it is."""

    def get(self, name: str) -> bytes | None: ...

    def put(self, name: str, data: bytes) -> str | None: ...


@dataclass(frozen=True)
class FolderKeeper:
    """Files of a folder, each written whole or not at all: other runs read the same folder."""

    folder: Path

    def get(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("a stored index cannot be read: %s", error)
            return None

    def put(self, name: str, data: bytes) -> str | None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=".") as scratch:
                whole = Path(scratch) / name
                whole.write_bytes(data)
                os.replace(whole, self.folder / name)
        except OSError as error:
            return _not_stored(error)
        return None


@dataclass(frozen=True)
class StoreKeeper:
    """Objects under a prefix of the store, shared by every worker of a tenant."""

    store: ObjectStore
    prefix: str

    def get(self, name: str) -> bytes | None:
        try:
            return self.store.get(self.prefix + name)
        except ObjectMissing:
            return None
        except PipelineError as error:
            log.warning("a stored index cannot be read: %s", error)
            return None

    def put(self, name: str, data: bytes) -> str | None:
        try:
            self.store.put(self.prefix + name, data, content_type="application/octet-stream")
        except PipelineError as error:
            return _not_stored(error)
        return None


def _not_stored(error: Exception) -> str:
    log.warning("an index cannot be stored: %s", error)
    return f"it cannot be stored: {error}"

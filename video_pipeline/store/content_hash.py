"""SHA-256 of local files, remembered for the large ones.

Belongs here: when a remembered hash still holds, and where it is kept. Does not belong here: keys, versions
and everything else about a store.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from pathlib import Path

REMEMBERED_BYTES = 1024 * 1024
"""Smaller files are hashed again each time: about 1 ms for 1 MiB, so a chunk needs no file beside it."""

SETTLED_NS = 2_000_000_000
"""A file changed less than 2 s before it was hashed could change again within the same tick of the file
system's clock (2 s on FAT, 4 ms on ext4 before Linux 6.13) and look the same: not remembered yet."""

BLOCK_BYTES = 1024 * 1024


class StillChanging(Exception):
    """The file changed every time it was being hashed."""


class HashCache:
    """Hashes by key, valid while size, mtime, ctime and inode of the file are what they were.

    Kept in one small file per object under `folder`, shared by all processes, and in memory for a
    directory that cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._memory: dict[str, tuple[list[int], str]] = {}

    def digest(self, key: str, descriptor: int) -> tuple[str, os.stat_result]:
        """The open file's SHA-256 (hex), and its stat at that moment. Raises `StillChanging`."""
        for _ in range(3):
            before = os.fstat(descriptor)
            if before.st_size >= REMEMBERED_BYTES and (known := self._recall(key, before)):
                return known, before
            digest = _hash(descriptor, before.st_size)
            hashed_at = time.time_ns()
            if _identity(os.fstat(descriptor)) == _identity(before):
                if hashed_at - before.st_mtime_ns > SETTLED_NS:
                    self.remember(key, before, digest)
                return digest, before
        raise StillChanging

    def remember(self, key: str, stat: os.stat_result, digest: str) -> None:
        """Keeps `digest` for the file of this stat, if it is large enough to be worth it."""
        if stat.st_size < REMEMBERED_BYTES:
            return
        self._memory[key] = (_identity(stat), digest)
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
            temporary.write_text(json.dumps({"key": key, "file": _identity(stat), "sha256": digest}))
            temporary.replace(path)

    def forget(self, key: str) -> None:
        self._memory.pop(key, None)
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _recall(self, key: str, stat: os.stat_result) -> str | None:
        identity = _identity(stat)
        known = self._memory.get(key)
        if known is None or known[0] != identity:
            try:
                record = json.loads(self._path(key).read_text())
                known = (list(record["file"]), str(record["sha256"]))
            except (OSError, ValueError, KeyError, TypeError):
                return None
            self._memory[key] = known
        return known[1] if known[0] == identity else None

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()[:40]
        return self._folder / name[:2] / f"{name}.json"


def _identity(stat: os.stat_result) -> list[int]:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _hash(descriptor: int, size: int) -> str:
    """Of the first `size` bytes: a file that grows must not be chased."""
    digest = hashlib.sha256()
    position = 0
    while block := os.pread(descriptor, min(BLOCK_BYTES, size - position), position):
        digest.update(block)
        position += len(block)
    return digest.hexdigest()

"""What the directory store does to single files: write, place, sync, clean up.

Belongs here: small, safe steps over the POSIX file API. Does not belong here: keys, conditions, errors for
people.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from pathlib import Path

from video_pipeline.store.base import check_upload

COPY_BYTES = 1024 * 1024
ORPHAN_AGE_S = 3600
"""A file in tmp/ that is older than this and locked by nobody was left by a killed process."""


def is_regular(descriptor: int) -> bool:
    return stat.S_ISREG(os.fstat(descriptor).st_mode)


def write_synced(descriptor: int, data: bytes | Path) -> str:
    """Writes and syncs `data`; returns the SHA-256 of what was written."""
    digest = hashlib.sha256()
    if isinstance(data, Path):
        with check_upload(data).open("rb", buffering=0) as source:
            while block := source.read(COPY_BYTES):
                digest.update(block)
                _write_all(descriptor, block)
    else:
        digest.update(data)
        _write_all(descriptor, data)
    os.fsync(descriptor)
    return digest.hexdigest()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view) :]


def place_new(temporary: Path, path: Path) -> None:
    """Links the file to a name that must be free. Raises `FileExistsError`."""
    try:
        os.link(temporary, path)
        temporary.unlink()
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # exFAT and some network file systems have no hard links; the lock keeps our own writers apart.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "the object exists", str(path)) from error
        temporary.replace(path)


def remove_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True


def sync_directory(folder: Path) -> None:
    """Makes the new name itself survive a power cut. Some file systems refuse: then it is theirs to do."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path) -> None:
    """Removes what killed processes left in tmp/: old, and locked by nobody."""
    with contextlib.suppress(OSError), os.scandir(folder) as scan:
        for entry in scan:
            with contextlib.suppress(OSError):
                if time.time() - entry.stat().st_mtime >= ORPHAN_AGE_S:
                    remove_unlocked(Path(entry.path))


def remove_unlocked(path: Path) -> bool:
    """Removes a file in tmp/ unless somebody is writing it. False if so, or if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except (BlockingIOError, FileNotFoundError):
        return False
    finally:
        os.close(descriptor)
    return True

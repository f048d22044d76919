"""A worker's scratch folder, which goes when the worker goes, however it goes.

Belongs here: making one, and removing those whose workers are gone. Does not belong here: what a task keeps
in it.

A worker removes its own folder when it ends. One that is killed (kill -9, out of memory, a machine that lost
its power) cannot, and a part of a film may be gigabytes. So each folder is held by a lock on a file beside
it for as long as its worker lives; the kernel lets go of the lock whatever happens (flock(2)), and the next
worker to start removes every folder that nobody holds. Processes that a worker starts do not inherit it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "video_pipeline-scratch-"
_LOCK = "held"


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty directory below `parent` (by default where `tempfile` makes its own), removed at the end.

    Removes what workers that were killed left there first.
    """
    parent = parent or Path(tempfile.gettempdir())
    remove_abandoned(parent)
    place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock = os.open(place / "new", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Under this name only once it is held: who finds it free knows that its worker is gone.
        (place / "new").rename(place / _LOCK)
        folder = place / "files"
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(lock)


def remove_abandoned(parent: Path) -> list[Path]:
    """Removes the scratch folders of this user that no worker holds; those it removed."""
    removed = []
    for place in sorted(parent.glob(f"{PREFIX}*")):
        with contextlib.suppress(OSError):
            if place.is_symlink() or place.stat().st_uid != os.getuid():
                continue
            lock = os.open(place / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
                removed.append(place)
            finally:
                os.close(lock)
    return removed

"""What a local worker wrote: its output as events, and its last words.

Belongs here: reading a worker's output file. Does not belong here: which file that is (`compute.local`), or
what a line means (`compute.output_lines`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from video_pipeline.compute.base import Event
from video_pipeline.compute.output_lines import parse_line
from video_pipeline.worker import EVENT_PREFIX


class FileReader:
    """`EventReader` over a worker's output file, read by offset: whole lines, each once, from any process.
    `find` gives the file, once there is one."""

    def __init__(self, find: Callable[[], Path | None]) -> None:
        self._find = find
        self._path: Path | None = None
        self._offset = 0

    def read(self) -> list[Event]:
        path = self._path or self._find()
        if path is None:
            return []
        self._path = path
        with path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole, newline, _rest = data.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return (
            [parse_line(line) for line in whole.decode("utf-8", "replace").split("\n") if line]
            if newline
            else []
        )


def last_lines(path: Path | None, count: int = 15) -> str:
    """The end of what it said, events left out; empty without a file."""
    if path is None:
        return ""
    lines = [
        line for line in path.read_text(errors="replace").splitlines() if not line.startswith(EVENT_PREFIX)
    ]
    return "\n".join(lines[-count:])

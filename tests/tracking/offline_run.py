"""Reads the file of an offline W&B run: its framing by the format, its records by wandb's own messages.

The file is a LevelDB log (github.com/google/leveldb, doc/log_format.md) behind a header of 7 bytes: ":W&B",
magic 0xBEE1 and version 0, little-endian. wandb's Python reader left the package with its Go service.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK = 32 * 1024
_FULL, _FIRST, _LAST = 1, 2, 4


def records(path: Path) -> Iterator[Any]:
    """The run's records, in order."""
    data = path.read_bytes()
    assert data[:7] == struct.pack("<4sHB", b":W&B", 0xBEE1, 0), data[:7]
    at, whole = 7, b""
    while at + 7 <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if kind == 0:
            break
        part = data[at + 7 : at + 7 + length]
        whole = part if kind in (_FULL, _FIRST) else whole + part
        if kind in (_FULL, _LAST):
            record = wandb_internal_pb2.Record()  # pyright: ignore[reportAttributeAccessIssue]
            record.ParseFromString(whole)
            yield record
        at += 7 + length


class OfflineRun:
    """What was said in one run."""

    def __init__(self, directory: Path) -> None:
        (path,) = directory.glob("run-*.wandb")
        self.directory = directory
        self.all = list(records(path))
        run = next(record.run for record in self.all if record.WhichOneof("record_type") == "run")
        self.project = run.project
        self.config = {item.key: json.loads(item.value_json) for item in run.config.update}
        self.history: dict[str, Any] = {}
        for record in self.all:
            for item in record.history.item:
                place = self.history
                *outer, last = list(item.nested_key) or [item.key]
                for key in outer:
                    place = place.setdefault(key, {})
                place[last] = json.loads(item.value_json)
        self.artifacts = [
            record.request.log_artifact.artifact if record.HasField("request") else record.artifact
            for record in self.all
            if record.HasField("artifact") or record.request.HasField("log_artifact")
        ]

        self.files = {
            entry.path: Path(entry.local_path)
            for artifact in self.artifacts
            for entry in artifact.manifest.contents
        }

    def table(self, name: str) -> dict[str, Any]:
        """`columns` and `data` of a logged table. Pictures are objects with a `path` among `files`."""
        return json.loads(self.files[f"{name}.table.json"].read_text())

    def pages(self) -> dict[str, str]:
        """HTML files in artifacts, by name."""
        return {name: path.read_text() for name, path in self.files.items() if name.endswith(".html")}

"""Metadata values that several assets use: links, durations and pictures small enough for the event log.

Belongs here: turning store objects into `MetadataValue`s. Does not belong here: making the objects.
"""

from __future__ import annotations

import base64
import io
from fractions import Fraction

import dagster as dg

from video_pipeline.store.base import ObjectStore

PICTURE_WIDTH = 900
"""Wide enough to read a strip's caption; as JPEG about 60 kB, which an event log row can hold."""


def link(store: ObjectStore, key: str) -> dg.MetadataValue:
    """Where a person finds the object: a path in a directory store, else the object's URI.

    Not a presigned URL: the event log must hold nothing that grants access.
    """
    path = store.local_path(key)
    return (
        dg.MetadataValue.path(str(path)) if path is not None else dg.MetadataValue.text(f"{store.uri}/{key}")
    )


def seconds(duration: str | None) -> float:
    """A duration given as a fraction, in seconds; NaN where it is not known."""
    return float("nan") if duration is None else round(float(Fraction(duration)), 3)


def store_picture(store: ObjectStore, key: str | None, alt: str = "contact sheet") -> dg.MetadataValue:
    """The picture under `key`, scaled down and embedded, so that the UI shows it without the store."""
    if key is None:
        return dg.MetadataValue.text("no picture")
    from PIL import Image

    with Image.open(io.BytesIO(store.get(key))) as picture:
        small = picture.convert("RGB")
        if small.width > PICTURE_WIDTH:
            small = small.resize((PICTURE_WIDTH, max(1, small.height * PICTURE_WIDTH // small.width)))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/jpeg;base64,{data})")

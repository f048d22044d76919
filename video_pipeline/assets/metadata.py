"""Metadata values that several assets use: links, tables, and pictures small enough for the event log.

Belongs here: turning store objects and results into `MetadataValue`s. Does not belong here: making the
objects, or drawing (`plots.py`).

Dagster lists the entries in the order in which they are given: first what a person looks at, then numbers
(which Dagster plots over partitions), then files, then what only a search needs. Markdown of fewer than 1,000
characters is shown in the list itself, anything longer behind a link that opens it.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction

import dagster as dg

from video_pipeline.calls import ResultRecord
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


def links(store: ObjectStore, files: Mapping[str, str]) -> dict[str, dg.MetadataValue]:
    """`link` of each of the named objects."""
    return {name: link(store, key) for name, key in files.items()}


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MetadataValue:
    """A Markdown table, which the UI shows in the list as long as it is short."""
    lines = [columns, ["---"] * len(columns), *rows]
    return dg.MetadataValue.md(
        "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)
    )


def usage_figures(record: ResultRecord) -> dict[str, float]:
    """What the call that made a result used, as figures that plot over partitions; the money that a plan
    foresaw, where there was one. What attempts really cost stands in the ledger."""
    usage = record.usage
    figures = {
        "call_seconds": round(usage.wall_s, 3),
        "processor_seconds": round(usage.cpu_s, 3),
        "peak_memory_mib": round(usage.peak_memory_mib, 1),
    }
    return figures if usage.predicted_usd is None else {**figures, "predicted_usd": usage.predicted_usd}


def stages_table(store: ObjectStore, reports: Mapping[str, str]) -> dict[str, dg.MetadataValue]:
    """Where a stream's time went, from its report `stages.json`, and what limits it; nothing without one."""
    if "stages.json" not in reports:
        return {}
    report = json.loads(store.get(reports["stages.json"]))
    rows = [
        (
            *(stage["name"], stage["workers"], stage["items_out"], f"{stage['busy_s']:.1f}"),
            *(f"{stage['wait_in_s'] + stage['wait_out_s']:.1f}", f"{stage['wait_cpu_s']:.1f}"),
        )
        for stage in report["stages"]
    ]
    columns = ("stage", "workers", "items", "busy s", "waiting for others s", "waiting for a core s")
    return {
        "where_the_time_went": table(columns, rows),
        "limited_by": dg.MetadataValue.text(report["bottleneck"] or "nothing"),
    }


def seconds(duration: str | None) -> float | None:
    """A duration given as a fraction, in seconds; None where it is not known."""
    return None if duration is None else round(float(Fraction(duration)), 3)


def store_picture(store: ObjectStore, key: str | None, alt: str = "contact sheet") -> dg.MetadataValue:
    """The picture under `key`, scaled down and embedded, so that the UI shows it without the store."""
    return dg.MetadataValue.text("no picture") if key is None else embedded(store.get(key), alt)


def embedded(data: bytes, alt: str) -> dg.MetadataValue:
    """A picture file's bytes as a JPEG of at most `PICTURE_WIDTH`, within the metadata itself."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        small = picture.convert("RGB")
        if small.width > PICTURE_WIDTH:
            small = small.resize((PICTURE_WIDTH, max(1, small.height * PICTURE_WIDTH // small.width)))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=80)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return dg.MetadataValue.md(f"![{alt}](data:image/jpeg;base64,{encoded})")

"""Plots of results, for people who look at a partition.

Belongs here: drawing what a result's own file holds. Does not belong here: pictures that tasks make and store
(contact sheets, waterfalls), or numbers that Dagster plots over partitions by itself.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import dagster as dg

from video_pipeline.assets.metadata import embedded
from video_pipeline.captions.database import open_to_read
from video_pipeline.captions.labels import Label
from video_pipeline.captions.manifest import read_manifest
from video_pipeline.store.base import ObjectStore

COLUMNS = 900
"""Bins over the video's length; an hour at 10 samples a second has 40 pairs in each."""

STYLES: dict[Label, tuple[str, str]] = {
    "empty_empty": ("no caption", "#d9dce1"),
    "same": ("caption stays", "#9db8e8"),
    "valid_empty": ("caption goes", "#e0a030"),
    "empty_valid": ("caption appears", "#3d9a50"),
    "different": ("caption is exchanged", "#c03a2b"),
}
"""Words and colour of each label. Of several in one bin the last in this order is shown: changes are rare."""


def labels_over_time(store: ObjectStore, manifest_key: str, rate: float) -> dg.MetadataValue:
    """The extents of a video as a strip: the label of each pair of neighbouring samples, and under it the
    lowest confidence. `rate` is in samples per second."""
    rows = _rows(store, manifest_key)
    if not rows:
        return dg.MetadataValue.text("one sample has no neighbours")
    return embedded(_draw(rows, rate), "labels over time")


def _rows(store: ObjectStore, manifest_key: str) -> list[tuple[Label, float]]:
    """(label, its confidence) of each pair of neighbouring samples, in their order."""
    found = read_manifest(store, manifest_key.removesuffix("manifest.json"))
    if found is None:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "extents.db")
        path.write_bytes(store.get(found[0].objects[0].key))
        connection = open_to_read(path)
        try:
            return connection.execute(
                "SELECT forward_predicted_label, forward_confidence FROM pair_results ORDER BY frame1_index"
            ).fetchall()
        finally:
            connection.close()


def _draw(rows: list[tuple[Label, float]], rate: float) -> bytes:
    """A PNG of 900 pixels by 250."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    order = list(STYLES)
    columns = min(COLUMNS, len(rows))
    shown, lowest = [0] * columns, [1.0] * columns
    for number, (label, confidence) in enumerate(rows):
        column = number * columns // len(rows)
        shown[column] = max(shown[column], order.index(label))
        lowest[column] = min(lowest[column], confidence)
    seconds = (len(rows) + 1) / rate
    figure = Figure(figsize=(9, 2.5), dpi=100, layout="constrained")
    strip, line = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2])
    colours = [[int(STYLES[order[value]][1][at : at + 2], 16) for at in (1, 3, 5)] for value in shown]
    strip.imshow([colours], extent=(0, seconds, 0, 1), aspect="auto", interpolation="nearest")
    strip.set_yticks([])
    strip.legend(
        handles=[Patch(color=colour, label=words) for words, colour in STYLES.values()],
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=len(STYLES),
        frameon=False,
        fontsize=8,
    )
    line.plot([(at + 0.5) * seconds / columns for at in range(columns)], lowest, linewidth=0.8, color="#333")
    line.set_ylim(0, 1.03)
    line.set_xlim(0, seconds)
    line.set_ylabel("lowest\nconfidence", fontsize=8)
    line.set_xlabel("seconds of the video", fontsize=8)
    for axes in (strip, line):
        axes.tick_params(labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()

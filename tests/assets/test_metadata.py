"""What the UI shows of results: tables, plots, figures."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from video_pipeline.assets.metadata import PICTURE_WIDTH, embedded, seconds, stages_table, table
from video_pipeline.assets.plots import STYLES, _draw, _rows, labels_over_time
from video_pipeline.captions.database import ExtentsDatabase
from video_pipeline.captions.labels import LABELS, Label
from video_pipeline.captions.manifest import Manifest, put_object, write_manifest
from video_pipeline.store.directory import DirectoryStore


def pixels_of(png: bytes, colour: str) -> int:
    """How many pixels of the strip (below the legend, above the line) have the colour, to a few levels."""
    with Image.open(io.BytesIO(png)) as picture:
        strip = np.asarray(picture.convert("RGB")).astype(int)[30:75]
    wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return int((abs(strip - wanted).max(axis=2) < 12).sum())


def test_one_exchanged_caption_among_an_hour_of_others_is_seen() -> None:
    rows: list[tuple[Label, float]] = [("same", 0.99)] * 36_000
    assert pixels_of(_draw(rows, 10.0), STYLES["different"][1]) == 0
    rows[12_345] = ("different", 0.6)
    assert pixels_of(_draw(rows, 10.0), STYLES["different"][1]) >= 30


def drawn(rows: list[tuple[Label, float]], rate: float, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The figure in place of its bytes."""
    figures: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **options: figures.append(figure))
    _draw(rows, rate)
    return figures[0]


def test_labels_stand_at_their_seconds_with_the_lowest_confidence_of_each_bin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eleven samples at two a second have ten pairs; 1,800 pairs share 900 bins, two and two."""
    rows: list[tuple[Label, float]] = [("same", 0.9)] * 10
    rows[3] = ("empty_valid", 0.5)
    strip, line = drawn(rows, 2.0, monkeypatch).axes
    assert list(strip.images[0].get_extent()) == [0, 5.5, 0, 1]
    at = [tuple(pixel) for pixel in strip.images[0].get_array()[0]]
    assert [place for place in range(10) if at[place] != at[0]] == [3]
    assert list(line.lines[0].get_ydata()) == [0.9, 0.9, 0.9, 0.5, *[0.9] * 6]
    assert list(line.lines[0].get_xdata())[3] == pytest.approx(3.5 * 0.55)
    many: list[tuple[Label, float]] = [("same", 0.9), ("same", 0.8)] * 900
    many[1000], many[1003] = ("different", 0.3), ("empty_valid", 0.99)
    strip, line = drawn(many, 2.0, monkeypatch).axes
    found = list(line.lines[0].get_ydata())
    assert (len(found), found[500], found[501], min(found[:500])) == (900, 0.3, 0.9, 0.8)


def test_the_pairs_of_a_manifest_are_drawn_in_the_order_of_the_video(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    path = tmp_path / "extents.db"
    with ExtentsDatabase(path, frames_recipe="f", model_version="m", model_checkpoint_path="c", run_id="r"):
        pass
    with sqlite3.connect(path) as connection:
        for at in (2, 0, 1):
            pair = (at, at + 1, LABELS[at], 0.5 + at / 10, *[0.0] * 5, "same", 1.0, *[0.0] * 5, 1.0)
            connection.execute(f"INSERT INTO pair_results VALUES ({', '.join('?' * len(pair))})", pair)
    connection.close()
    item = put_object(store, "acme/x/extents.db", path.read_bytes(), "application/vnd.sqlite3")
    facts = {"kind": "extents", "tenant": "acme", "video": "v", "recipe": "a", "frames_recipe": "b"}
    source = {"source_key": "k", "source_version": "1", "frame_count": 4, "frame_rate": "2", "count": 1}
    manifest = Manifest.model_validate({**facts, **source, "objects": [item]})
    key = write_manifest(store, "acme/x/", manifest)
    assert _rows(store, key) == [(LABELS[0], 0.5), (LABELS[1], 0.6), (LABELS[2], 0.7)]
    assert str(labels_over_time(store, key, 2.0).value).startswith("![labels over time](data:image/jpeg")
    assert labels_over_time(store, "acme/none/manifest.json", 2.0).value == "one sample has no neighbours"


def test_every_label_has_a_style() -> None:
    assert set(STYLES) == set(LABELS)


def test_a_cell_with_a_bar_does_not_break_its_row() -> None:
    text = str(table(("a", "b"), [("x|y", 1)]).value)
    assert text == "| a | b |\n| --- | --- |\n| x/y | 1 |"


def test_the_stages_of_a_stream_fit_into_the_list_without_a_click(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    stage = {"workers": 2, "items_out": 36_000, "busy_s": 812.34, "wait_in_s": 100.0, "wait_out_s": 23.4}
    stages = [
        {"name": name, **stage, "wait_cpu_s": 12.3}
        for name in ("decode", "infer", "assemble", "encode", "upload", "sink")
    ]
    store.put("acme/stages.json", json.dumps({"stages": stages, "bottleneck": "infer"}).encode())
    shown = stages_table(store, {"stages.json": "acme/stages.json"})
    assert "| decode | 2 | 36000 | 812.3 | 123.4 | 12.3 |" in str(shown["where_the_time_went"].value)
    assert len(str(shown["where_the_time_went"].value)) < 1000  # the UI hides longer Markdown behind a link
    assert shown["limited_by"].value == "infer"
    assert stages_table(store, {}) == {}


def test_a_large_picture_is_scaled_down_and_a_small_one_kept() -> None:
    for width, expected in ((3000, PICTURE_WIDTH), (200, 200)):
        buffer = io.BytesIO()
        Image.new("RGB", (width, 100), "navy").save(buffer, "PNG")
        text = str(embedded(buffer.getvalue(), "a sheet").value)
        assert text.startswith("![a sheet](data:image/jpeg;base64,")
        with Image.open(io.BytesIO(base64.b64decode(text[34:-1]))) as picture:
            assert picture.width == expected


def test_a_length_that_is_not_known_is_left_out_and_not_shown_as_nan() -> None:
    assert seconds(None) is None
    assert seconds("1001/30000") == 0.033

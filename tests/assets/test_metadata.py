"""What the UI shows of results: tables, plots, figures."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from video_pipeline.assets.metadata import PICTURE_WIDTH, embedded, seconds, stages_table, table
from video_pipeline.assets.plots import STYLES, _draw
from video_pipeline.captions.labels import LABELS, Label
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

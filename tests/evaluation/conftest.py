"""A small test split of its own: the demo clip, a font that Pillow carries, and two sorts of lines.

Its names and lines are chosen so that the product's split puts them where they belong: "kept" lines into the
test split, "trained" ones into the training split.
"""

from __future__ import annotations

import io
import itertools
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageFont

from tests.conftest import ROOT
from video_pipeline.captions.train.media import Split, _by_hash

FONT = "DejaVuSans.ttf"
"""By its name it is in the test split; it is Pillow's own font."""


def of_split(split: Split, pattern: str, count: int) -> list[str]:
    """The first `count` fillings of `pattern` by letters that the product puts into `split`."""
    letters = ("".join(pair) for pair in itertools.product("abcdefghijkl", repeat=3))
    named = (pattern.format(word) for word in letters)
    return list(itertools.islice((name for name in named if _by_hash(name) == split), count))


@pytest.fixture(scope="session")
def media_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media")
    for name in ("photos", "clips", "fonts", "texts"):
        (root / name).mkdir()
    shutil.copy(ROOT / "video_pipeline/demo/street.mp4", root / "clips/vtest.mp4")
    drawn = ImageFont.load_default(20)
    assert isinstance(drawn, ImageFont.FreeTypeFont)
    assert isinstance(drawn.path, io.BytesIO)
    (root / "fonts" / FONT).write_bytes(drawn.path.getvalue())
    (photo,) = of_split("test", "grey{}", 1)
    Image.linear_gradient("L").resize((640, 360)).save(root / "photos" / f"{photo}.jpg")
    kept = of_split("test", "every kept {} word of a line is shown, and none is lost", 12)
    trained = of_split("train", "no trained {} word may ever be shown in this set of programmes", 12)
    (root / "texts/eng.txt").write_text("\n".join(kept + trained), encoding="utf-8")
    (root / "texts/film_en.txt").write_text("\n".join(of_split("test", "Look, {}!", 5)), encoding="utf-8")
    return root

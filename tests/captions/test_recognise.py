"""Reading one strip: what stands there, in the scripts that are known, and a plain no for the others."""

from __future__ import annotations

import json
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests.conftest import ROOT
from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline.captions import recognise
from video_pipeline.captions.recognise import Recogniser, recogniser_version
from video_pipeline.errors import BadInput
from video_pipeline.media.colour import frame_to_rgb
from video_pipeline.media.decode_software import SoftwareDecoder
from video_pipeline.media.geometry import CropRegion

FONTS = ROOT / ".cache" / "training" / "fonts"
CUES = json.loads(DEMO_CLIP.with_suffix(".cues.json").read_text())
needs_fonts = pytest.mark.skipif(
    not FONTS.is_dir(), reason="needs scripts/fetch_training_media.py to have run"
)


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser()


@lru_cache(maxsize=1)
def demo_strips() -> list[np.ndarray]:
    """The demo clip's strips at 1 Hz, RGB."""
    region = CropRegion.model_validate(CUES["crop_region"])
    decoder = SoftwareDecoder(DEMO_CLIP, name="demo", crop_region=region, rate=Fraction(1))
    return [frame_to_rgb(sample.frame.to_host()) for sample in decoder.samples()]


def drawn(text: str, font: str) -> np.ndarray:
    """White letters with a dark outline on grey, 40 pixels high."""
    face = ImageFont.truetype(str(FONTS / font), 40)
    picture = Image.new("RGB", (900, 110), (96, 110, 120))
    pen = ImageDraw.Draw(picture)
    pen.text((450, 55), text, "white", face, anchor="mm", stroke_width=3, stroke_fill=(10, 10, 10))
    return np.asarray(picture)


def test_both_lines_of_a_real_caption_are_read_in_order(recogniser: Recogniser) -> None:
    reading = recogniser.read(demo_strips()[6])
    assert reading.lines == ("The camera has stood on this roof", "since half past eight.")
    assert reading.script == "Latn"
    assert reading.confidence > 0.9
    assert reading.unread is None


def test_boxes_lie_in_the_picture(recogniser: Recogniser) -> None:
    strip = demo_strips()[6]
    height, width, _ = strip.shape
    boxes = recogniser.read(strip).boxes
    assert len(boxes) >= 2
    assert all(
        0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in boxes
    )


def test_a_strip_without_lettering_has_no_text(recogniser: Recogniser) -> None:
    reading = recogniser.read(np.full((80, 640, 3), 90, np.uint8))
    assert (reading.text, reading.unread, reading.boxes) == (None, "nothing_recognised", ())


@needs_fonts
@pytest.mark.parametrize(
    ("text", "font", "script"),
    [
        ("Größe, Öl und süße Äpfel.", "OpenSans-Semibold.ttf", "Latn"),
        ("¿Cómo estás, señor Núñez?", "OpenSans-Semibold.ttf", "Latn"),
        ("人人生而自由在尊严和权利上一律平等", "NotoSansCJK-Regular.ttc", "Hani"),
        ("すべての人間は、生まれながらにして自由", "NotoSansCJK-Regular.ttc", "Jpan"),
    ],
    ids=["German", "Spanish", "Chinese", "Japanese"],
)
def test_scripts_that_are_known_are_read(recogniser: Recogniser, text: str, font: str, script: str) -> None:
    reading = recogniser.read(drawn(text, font))
    assert reading.script == script
    assert reading.text == text


@needs_fonts
@pytest.mark.parametrize(
    ("text", "font"),
    [
        ("Все люди рождаются свободными", "OpenSans-Semibold.ttf"),
        ("모든 인간은 태어날 때부터 자유로우며", "NotoSansCJK-Regular.ttc"),
        ("सभी मनुष्यों को गौरव और अधिकारों", "NotoSansDevanagari-Regular.ttf"),
    ],
    ids=["Russian", "Korean", "Hindi"],
)
def test_scripts_that_are_not_known_are_said_and_not_guessed(
    recogniser: Recogniser, text: str, font: str
) -> None:
    reading = recogniser.read(drawn(text, font))
    assert (reading.text, reading.unread) == (None, "script_not_readable")


@pytest.mark.parametrize(
    ("letters", "probability", "text", "unread"),
    [
        ("dulum", 0.86, None, "script_not_readable"),
        ("dulum", 0.9, "dulum", None),
        ("亚可", 0.78, None, "script_not_readable"),
        ("亚可", 0.82, "亚可", None),
        ("!", 0.7, None, "nothing_recognised"),
        ("!", 0.9, "!", None),
    ],
)
def test_what_was_read_with_doubt_is_not_given_out_for_text(
    recogniser: Recogniser,
    monkeypatch: pytest.MonkeyPatch,
    letters: str,
    probability: float,
    text: str | None,
    unread: str | None,
) -> None:
    picture = Image.new("RGB", (300, 80), (96, 110, 120))
    ImageDraw.Draw(picture).text((130, 20), "Oh", "white", ImageFont.load_default(30))
    monkeypatch.setattr(recogniser, "_read_box", lambda *_: [(letter, probability) for letter in letters])
    reading = recogniser.read(np.asarray(picture))
    assert (reading.text, reading.unread) == (text, unread)


def test_only_what_is_of_interest_is_read(recogniser: Recogniser) -> None:
    picture = Image.new("RGB", (400, 120), (96, 110, 120))
    pen = ImageDraw.Draw(picture)
    face = ImageFont.load_default(28)
    pen.text((60, 10), "First words", "white", face)
    pen.text((60, 70), "Second words", "white", face)
    shown = np.asarray(picture)
    reading = recogniser.read(shown, lambda boxes: [box if box[1] > 50 else None for box in boxes])
    assert reading.lines == ("Second words",)
    assert all(top > 50 for _, top, _, _ in reading.boxes)
    assert recogniser.read(shown, lambda boxes: [None] * len(boxes)).unread == "nothing_recognised"

    second = round(60 + face.getlength("Second "))
    last = recogniser.read(
        shown, lambda boxes: [(second - 2, *box[1:]) if box[1] > 50 else None for box in boxes]
    )
    assert last.lines == ("words",)
    assert [left for left, *_ in last.boxes] == [second - 2]
    first = recogniser.read(
        shown, lambda boxes: [(*box[:2], second - 4, box[3]) if box[1] > 50 else None for box in boxes]
    )
    assert first.lines == ("Second",)


@pytest.mark.parametrize("shape", [(80, 640), (80, 640, 4)])
def test_a_picture_of_another_shape_is_a_mistake(recogniser: Recogniser, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="uint8"):
        recogniser.read(np.zeros(shape, np.uint8))


def test_the_version_names_the_library_and_the_models() -> None:
    version = recogniser_version()
    assert version is not None
    assert version.startswith("rapidocr 3.")
    assert version.count(".onnx ") == 2


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognise, "ocr_available", lambda: False)
    recogniser_version.cache_clear()
    try:
        assert recogniser_version() is None
        with pytest.raises(BadInput, match=r"not installed") as raised:
            Recogniser()
        assert "video-pipeline[ocr]" in str(raised.value.what_to_do)
    finally:
        recogniser_version.cache_clear()

"""The training media on disk, and which of it is for training, validation and testing.

Belongs here: the split by photograph, clip, font and text line, and reading them. Does not belong here:
fetching (`scripts/fetch_training_media.py`), drawing, motion.

No photograph, clip, font file or line of text stands in two splits. The demo clip's footage (vtest.avi) and
font (DejaVu) are only in the test split.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import av
import numpy as np
from PIL import Image, ImageFont

from video_pipeline.errors import BadInput

Split = Literal["train", "val", "test"]

CLIP_SPLIT: dict[str, Split] = {"vtest": "test", "bikes": "test", "carphone": "val", "cam03": "val"}
"""By part of the file name; every other clip trains."""

FONT_SPLIT: dict[str, Split] = {
    "DejaVu": "test",
    "OpenSans": "test",
    "NotoSerifCJK": "test",
    "NotoKufiArabic": "test",
    "NotoSerifDevanagari": "test",
    "NotoLoopedThai": "test",
    "NotoSerifHebrew": "test",
    "Lato": "val",
    "NotoRashiHebrew": "val",
    "NotoSerifThai": "val",
    "FreeSerif": "val",
}
"""By the start of the file name: whole families, so that no weight of a test font is ever trained on."""

LATIN = ("latin",)
EUROPE = ("latin", "cyrillic", "greek")
FONT_SCRIPTS: dict[str, tuple[str, ...]] = {
    "DejaVuSans": EUROPE,
    "DejaVuSerif": EUROPE,
    "OpenSans": EUROPE,
    "Lato-": LATIN,
    "LiberationS": EUROPE,
    "LiberationMono": EUROPE,
    "NimbusSans": LATIN,
    "NimbusRoman": LATIN,
    "NimbusMonoPS": LATIN,
    "URWGothic": LATIN,
    "URWBookman": LATIN,
    "P052": LATIN,
    "C059": LATIN,
    "FreeSans": EUROPE,
    "FreeSerif": EUROPE,
    "ComicNeue": LATIN,
    "NotoSans-": EUROPE,
    "NotoSerif-": EUROPE,
    "NotoSansDisplay-": EUROPE,
    "NotoSerifDisplay-": EUROPE,
    "NotoSansMono-": EUROPE,
    "NotoSansCJK": ("cjk",),
    "NotoSerifCJK": ("cjk",),
    "NotoNaskhArabic": ("arabic",),
    "NotoSansArabic": ("arabic",),
    "NotoKufiArabic": ("arabic",),
    "NotoSansHebrew": ("hebrew",),
    "NotoSerifHebrew": ("hebrew",),
    "NotoRashiHebrew": ("hebrew",),
    "NotoSansDevanagari": ("devanagari",),
    "NotoSerifDevanagari": ("devanagari",),
    "NotoSansThai": ("thai",),
    "NotoSerifThai": ("thai",),
    "NotoLoopedThai": ("thai",),
    "NotoSansTamil-": ("tamil",),
    "NotoSansBengali": ("bengali",),
    "NotoSansArmenian": ("armenian",),
    "NotoSansGeorgian": ("georgian",),
    "NotoSansEthiopic": ("ethiopic",),
}
"""Scripts that a font can write, by the start of its file name; other fonts are not used."""

SCRIPT_OF_TEXT: dict[str, str] = {
    **dict.fromkeys(("rus", "ukr", "bul", "srp_cyrl", "kaz", "film_ru"), "cyrillic"),
    **dict.fromkeys(("cmn_hans", "cmn_hant", "jpn", "kor", "film_ja"), "cjk"),
    **dict.fromkeys(("arb", "pes_1", "film_ar"), "arabic"),
    "ell_monotonic": "greek",
    "heb": "hebrew",
    "hin": "devanagari",
    "ben": "bengali",
    "tam": "tamil",
    "tha": "thai",
    "hye": "armenian",
    "kat": "georgian",
    "amh": "ethiopic",
}
"""By file stem; everything else is Latin."""

SCRIPT_WEIGHTS = {"latin": 0.52, "cjk": 0.18, "cyrillic": 0.1, "arabic": 0.07, "greek": 0.02}
"""Shares of the scripts among captions; the others share what is left."""

CLIP_WIDTH = 960


@dataclass
class Media:
    """One split's material. Photographs and clips are luma; texts are by script.

    `plates` are the pictures of opencv-doc: photographs, but also diagrams and screenshots full of lettering.
    """

    split: Split
    photos: list[Path]
    plates: list[Path]
    clips: list[Path]
    fonts: dict[str, list[Path]]
    texts: dict[str, list[str]]
    scripts: list[str] = field(default_factory=list)
    script_chances: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        self.scripts = sorted(set(self.fonts) & set(self.texts))
        rest = [script for script in self.scripts if script not in SCRIPT_WEIGHTS]
        left = 1 - sum(SCRIPT_WEIGHTS.values())
        weights = [SCRIPT_WEIGHTS.get(script, left / max(1, len(rest))) for script in self.scripts]
        self.script_chances = np.array(weights) / sum(weights)


def load_media(root: Path, split: Split) -> Media:
    """List a split of the media under `root`. BadInput if they were not fetched."""
    photos = [path for path in sorted((root / "photos").glob("*.jpg")) if _by_hash(_stem(path)) == split]
    clips = [path for path in sorted((root / "clips").glob("*")) if _clip_split(path) == split]
    fonts: dict[str, list[Path]] = {}
    for path in sorted((root / "fonts").glob("*")):
        name = path.name
        if next((where for start, where in FONT_SPLIT.items() if name.startswith(start)), "train") != split:
            continue
        for script in next((s for start, s in FONT_SCRIPTS.items() if name.startswith(start)), ()):
            fonts.setdefault(script, []).append(path)
    texts: dict[str, list[str]] = {}
    for path in sorted((root / "texts").glob("*.txt")):
        script = SCRIPT_OF_TEXT.get(path.stem, "latin")
        lines = path.read_text(encoding="utf-8").splitlines()
        texts.setdefault(script, []).extend(line for line in lines if _by_hash(line) == split)
    if not (photos and clips and fonts and texts):
        raise BadInput(
            "The training media are not there.",
            input=str(root),
            what_to_do="run python scripts/fetch_training_media.py",
        )
    plates = [path for path in photos if path.name.startswith("opencv-doc")]
    return Media(split, [path for path in photos if path not in plates], plates, clips, fonts, texts)


def _stem(photo: Path) -> str:
    """The name without running number and digits, so that photographs of one series share a split."""
    return re.sub(r"\d+", "", photo.stem)


def _by_hash(text: str) -> Split:
    """80 % train, 8 % validation, 12 % test, decided by the text itself."""
    share = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
    return "train" if share < 0.8 else "val" if share < 0.88 else "test"


def _clip_split(path: Path) -> Split:
    for part, where in CLIP_SPLIT.items():
        if part in path.name:
            return where
    return "train"


@lru_cache(maxsize=700)
def photo(path: Path) -> Image.Image:
    """A photograph as an 8-bit luma picture."""
    with Image.open(path) as opened:
        return opened.convert("L")


@lru_cache(maxsize=16)
def clip(path: Path) -> np.ndarray:
    """A clip's luma (T, H, W) uint8 at about 10 to 15 pictures a second and at most CLIP_WIDTH wide."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        every = max(1, round(float(stream.average_rate or 10) / 12))
        width = min(CLIP_WIDTH, stream.codec_context.width) // 2 * 2
        height = round(stream.codec_context.height * width / stream.codec_context.width) // 2 * 2
        pictures = [
            frame.reformat(width=width, height=height, format="gray").to_ndarray()
            for index, frame in enumerate(container.decode(stream))
            if index % every == 0
        ]
    return np.stack(pictures)


@lru_cache(maxsize=600)
def font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """A font at a pixel size."""
    return ImageFont.truetype(str(path), size)

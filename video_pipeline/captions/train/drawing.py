"""Captions as pictures: text, style and the masks that lay one over a background.

Belongs here: choosing a wording and a style, and drawing. Does not belong here: when a caption is shown, what
moves behind it (`scenes.py`), which fonts and lines may be used (`media.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from video_pipeline.captions.train.media import Media, font

Random = np.random.Generator


@dataclass(frozen=True)
class Style:
    """How a programme sets its captions; lengths in pixels of the strip, luma 0..255."""

    script: str
    font: Path
    size: int
    fill: int
    outline: int
    outline_width: int
    shadow: int
    box: float
    """Opacity of a box behind the text; 0 is none."""
    align: str
    baseline: float
    """Where the text block hangs vertically: 0 top of the strip, 1 bottom."""
    margin: int


@dataclass(frozen=True)
class Drawn:
    """A caption over a whole strip: out = background * (1 - alpha) + ink, both (H, W) float32."""

    alpha: np.ndarray
    ink: np.ndarray


def choose_style(media: Media, height: int, width: int, rng: Random) -> Style:
    """A style that suits a strip: one or two lines fit, most often white with a dark outline."""
    script = str(rng.choice(media.scripts, p=media.script_chances))
    share = rng.choice(
        [rng.uniform(0.2, 0.34), rng.uniform(0.3, 0.5), rng.uniform(0.45, 0.72)], p=[0.5, 0.35, 0.15]
    )
    size = max(9, round(height * share))
    dark_text = rng.random() < 0.05
    fill = (
        int(rng.integers(0, 40))
        if dark_text
        else int(rng.choice(np.array([255, 235, rng.integers(185, 250)])))
    )
    outline_width = int(rng.choice([0, max(1, size // 16), max(1, size // 10)], p=[0.25, 0.5, 0.25]))
    box = float(rng.choice([0, rng.uniform(0.35, 0.8), 1.0], p=[0.72, 0.18, 0.1]))
    shadow = int(rng.choice([0, max(1, size // 14)], p=[0.5, 0.5]))
    if not (outline_width or box or shadow) and rng.random() < 0.8:
        outline_width = max(1, size // 16)
    return Style(
        script=script,
        font=media.fonts[script][int(rng.integers(len(media.fonts[script])))],
        size=size,
        fill=fill,
        outline=int(rng.integers(200, 255)) if dark_text else int(rng.integers(0, 45)),
        outline_width=outline_width,
        shadow=0 if dark_text else shadow,
        box=box,
        align=str(rng.choice(["centre", "left", "right"], p=[0.78, 0.15, 0.07])),
        baseline=float(
            rng.choice([rng.uniform(0.4, 0.6), rng.uniform(0.75, 1), rng.uniform(0, 0.25)], p=[0.4, 0.5, 0.1])
        ),
        margin=round(width * rng.uniform(0.03, 0.15)),
    )


def choose_words(media: Media, script: str, rng: Random) -> list[str]:
    """A caption's words (for scripts without spaces: characters), a run out of one line of text."""
    lines = media.texts[script]
    line = lines[int(rng.integers(len(lines)))]
    words = list(line) if script in ("cjk", "thai") else line.split()
    count = min(
        len(words),
        int(rng.choice(np.array([1, 2, rng.integers(2, 6), rng.integers(4, 12)]), p=[0.06, 0.09, 0.4, 0.45])),
    )
    if script in ("cjk", "thai"):
        count = min(len(words), count * 3)
    start = int(rng.integers(0, len(words) - count + 1))
    return words[start : start + count]


def change_words(words: list[str], other: list[str], rng: Random) -> list[str]:
    """Nearly the same caption: a word replaced, added or dropped. Never equal to `words`."""
    at = int(rng.integers(len(words)))
    fresh = next((word for word in other if word != words[at]), "No")
    kind = rng.integers(4)
    if kind == 0 and len(words) > 1:
        return words[:at] + words[at + 1 :]
    if kind == 1:
        return [*words[:at], fresh, *words[at:]]
    if kind == 2:
        return [*words, fresh]
    return [*words[:at], fresh, *words[at + 1 :]]


def draw_caption(words: list[str], style: Style, height: int, width: int, rows: int) -> Drawn:
    """Set the words in at most `rows` lines; the size shrinks until the block fits the strip."""
    glue = "" if style.script in ("cjk", "thai") else " "
    while True:
        face = font(style.font, style.size)
        lines = _break(words, glue, rows)
        scratch = ImageDraw.Draw(Image.new("L", (1, 1)))
        block = "\n".join(lines)
        align = "center" if style.align == "centre" else style.align
        spacing = style.size // 8
        box = scratch.multiline_textbbox(
            (0, 0), block, font=face, spacing=spacing, align=align, stroke_width=style.outline_width
        )
        wide, high = box[2] - box[0], box[3] - box[1]
        if (wide <= width - 6 and high <= height - 2) or style.size <= 8:
            break
        shrink = min((width - 6) / max(1, wide), (height - 2) / max(1, high), 0.95)
        style = replace(style, size=max(8, int(style.size * shrink)))
    spare = width - wide
    left = {"centre": spare / 2, "left": min(style.margin, spare), "right": max(0, spare - style.margin)}[
        style.align
    ]
    x, y = round(left - box[0]), round((height - high) * style.baseline - box[1])
    options = {"font": face, "spacing": spacing, "align": align}
    fill = _mask(height, width, (x, y), block, **options)
    edge = _mask(height, width, (x, y), block, stroke_width=style.outline_width, **options)
    alpha, ink = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    if style.box:
        pad = style.size // 4
        rows_in = slice(max(0, round(y + box[1] - pad)), max(0, round(y + box[3] + pad)))
        columns_in = slice(max(0, round(x + box[0] - pad)), max(0, round(x + box[2] + pad)))
        alpha[rows_in, columns_in] = style.box
        ink[rows_in, columns_in] = style.box * style.outline
    if style.shadow and not style.box:
        cast = np.roll(edge, (style.shadow, style.shadow), axis=(0, 1)) * 0.8
        alpha, ink = alpha * (1 - cast) + cast, ink * (1 - cast) + cast * style.outline
    for mask, luma in ((edge, style.outline), (fill, style.fill)):
        alpha, ink = alpha * (1 - mask) + mask, ink * (1 - mask) + mask * luma
    return Drawn(alpha, ink)


def _break(words: list[str], glue: str, rows: int) -> list[str]:
    """The words in `rows` lines of about equal length."""
    rows = min(rows, len(words))
    if rows <= 1:
        return [glue.join(words)]
    total = sum(len(word) for word in words)
    lines: list[list[str]] = [[]]
    seen = 0
    for word in words:
        if len(lines) < rows and seen >= total * len(lines) / rows:
            lines.append([])
        lines[-1].append(word)
        seen += len(word)
    return [glue.join(line) for line in lines]


def _mask(height: int, width: int, at: tuple[int, int], text: str, **options) -> np.ndarray:
    """Coverage of the text, (height, width) float32 in 0..1."""
    picture = Image.new("L", (width, height))
    ImageDraw.Draw(picture).multiline_text(at, text, fill=255, **options)
    return np.asarray(picture, np.float32) / 255


def draw_sign(
    picture: Image.Image, words: str, face_path: Path, size: int, at: tuple[int, int], rng: Random
) -> None:
    """Scene text: lettering, often on a plate, painted into a photograph so that it moves with it."""
    face = font(face_path, size)
    box = ImageDraw.Draw(picture).textbbox((0, 0), words, font=face)
    plate = Image.new("L", (max(4, round(box[2] - box[0]) + size), max(4, round(box[3] - box[1]) + size)))
    ground, ink = (int(value) for value in rng.integers(0, 256, 2))
    if abs(ground - ink) < 80:
        ink = (ground + 128) % 256
    plate.paste(ground, (0, 0, *plate.size))
    ImageDraw.Draw(plate).text((size // 2 - box[0], size // 2 - box[1]), words, font=face, fill=ink)
    cover = Image.new("L", plate.size, 255)
    if rng.random() < 0.5:
        cover = Image.new("L", plate.size)
        ImageDraw.Draw(cover).text((size // 2 - box[0], size // 2 - box[1]), words, font=face, fill=255)
    angle = float(rng.choice([0, rng.uniform(-25, 25)], p=[0.3, 0.7]))
    plate = plate.rotate(angle, expand=True, resample=Image.Resampling.BILINEAR)
    cover = cover.rotate(angle, expand=True, resample=Image.Resampling.BILINEAR)
    picture.paste(plate, at, cover)

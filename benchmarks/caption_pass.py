"""The whole caption pass: against its own inline cost, and against the customary way of doing the same.

The customary way is what such systems do: ffmpeg writes the cropped samples as JPEG files, the files are read
back for the same model, and ffmpeg is started once per chunk over the files.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Cost, Figure, figure_of, interleaved, ratios
from benchmarks.media import BAND, ffmpeg_binary, video_720p
from video_pipeline.captions.chunks import LEVELS, pictures_in_window, windows
from video_pipeline.captions.inference import PairClassifier
from video_pipeline.captions.request import CropAndInferRequest
from video_pipeline.captions.streaming_pass import run
from video_pipeline.machine import usable_cores
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.geometry import to_pixel_crop
from video_pipeline.media.vp9 import CRF
from video_pipeline.models.weights import load_caption_model
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.telemetry.timing import Recorder
from video_pipeline.worker import TaskContext

RATE = Fraction(10)
REPEATS = 3
LONG_S = 300
"""Of the clip on which streaming is held against its floor: filling and emptying the stages takes 0.2 to
0.3 s, which is 5 % of a pass over 90 s of video, and 1.5 % of one over this."""
KEY = "bench/client/videos/clip/video.mp4"
CUSTOMARY = "-deadline good -cpu-used 2 -threads 2 -tile-columns 1 -frame-parallel 1"
EQUAL = "-deadline realtime -cpu-used 7 -lag-in-frames 0 -auto-alt-ref 0 -sharpness 1 -threads 1"


def our_pass(video: Path, *, sequential: bool = False) -> dict[str, Any]:
    """One pass into a store of its own, which is deleted again; its stages' figures."""
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(store=f"{folder}/store")
        store = open_store(settings)
        store.put(KEY, video)
        Path(folder, "scratch").mkdir()
        context = TaskContext(
            store=store,
            settings=settings,
            scratch=Path(folder, "scratch"),
            cancel=CancellationToken(),
            recorder=Recorder(),
            emit=lambda _event: None,
        )
        request = CropAndInferRequest(
            video_key=KEY, tenant_id="bench", video_id="clip", crop_region=BAND, frame_rate=RATE
        )
        run(request, context, sequential=sequential)
        return json.loads(context.reports["stages.json"][0])


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
    long, video = video_720p(b_frames=True, seconds=LONG_S), video_720p(b_frames=True)
    our_pass(video)
    streams, floors = [], []
    for _ in range(5):
        streams.append(our_pass(long)["wall_s"])
        floors.append(our_pass(long, sequential=True)["process_cpu_s"] / usable_cores())
    figures = [
        figure_of(
            "streaming wall over (inline CPU / cores)",
            1.15,
            [stream / floor for stream, floor in zip(streams, floors, strict=True)],
            detail={"stream_wall_s": streams, "inline_cpu_over_cores_s": floors},
        )
    ]
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

"""What a strip costs: VP9 against the customary settings, and inference against VP9."""

from __future__ import annotations

import statistics
import time

from benchmarks.harness import Figure, figure_of
from benchmarks.vp9_chunks import RATE, best_cpu, strips
from benchmarks.vp9_chunks import measure as measure_vp9
from video_pipeline.captions.chunks import all_chunks, pictures_in_window
from video_pipeline.captions.inference import PairClassifier
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.vp9 import encode_chunk
from video_pipeline.models.weights import load_caption_model

REPEATS = 5
FRAMES = 420


def inference_cpu(frames: list[CroppedFrame]) -> float:
    """CPU seconds to prepare, encode and classify every strip, both directions, in one thread."""
    import torch

    torch.set_num_threads(1)
    classifier = PairClassifier(load_caption_model(None), batch_size=32, device="cpu")
    began = time.thread_time()
    for index, frame in enumerate(frames):
        classifier.push(index, frame)
    classifier.finish()
    return time.thread_time() - began


def measure() -> list[Figure]:
    report = measure_vp9(FRAMES)
    less, difference = float(str(report["less_cpu_than_customary"])), float(str(report["vmaf_difference"]))
    figures = [
        Figure("VP9 `fast`: less CPU a strip than customary", 7.5, less, better="higher", detail=report),
        Figure("VP9 `fast`: VMAF away from customary", 0.3, abs(difference), unit="VMAF", detail=report),
    ]
    frames = strips(FRAMES)
    chunks = [
        [frames[i] for i in pictures_in_window(level, window, FRAMES)] for level, window in all_chunks(FRAMES)
    ]
    inference_cpu(frames)
    runs, details = [], []
    for _ in range(REPEATS):
        infer = inference_cpu(frames) / FRAMES
        encode = best_cpu(lambda chunk: encode_chunk(chunk, rate=RATE, preset="fast"), chunks)[0] / FRAMES
        runs.append(infer / encode)
        details.append({"infer_ms": round(1000 * infer, 2), "encode_ms": round(1000 * encode, 2)})
    figures.append(
        figure_of(
            "inference CPU a strip against `fast` VP9",
            0.6,
            runs,
            detail={"runs": details, "infer_ms": statistics.median(item["infer_ms"] for item in details)},
        )
    )
    return figures

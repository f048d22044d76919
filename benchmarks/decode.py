"""Decode, crop and sample: our decoder against ffmpeg-python piping cropped raw pictures."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

from benchmarks.harness import Figure, figure_of, interleaved, ratios
from benchmarks.media import BAND, ffmpeg_binary, video_720p
from video_pipeline.media.decode import open_decoder
from video_pipeline.media.geometry import to_pixel_crop

RATE = Fraction(10)
REPEATS = 5


def ours(video: Path) -> int:
    decoder = open_decoder(
        video, name=video.name, crop_region=BAND, rate=RATE, device="cpu", decoder_threads="auto"
    )
    return sum(1 for _ in decoder.samples())


def ffmpeg_pipe(video: Path) -> int:
    """The graph that ffmpeg-python users write, reading whole pictures from the pipe."""
    import ffmpeg

    crop = to_pixel_crop(BAND, 1280, 720)
    command = (
        ffmpeg.input(str(video))
        .filter("fps", fps=str(RATE))
        .crop(crop.left, crop.top, crop.width, crop.height)
        .output("pipe:", format="rawvideo", pix_fmt="yuv420p", loglevel="error")
        .compile(cmd=ffmpeg_binary())
    )
    size, count = crop.width * crop.height * 3 // 2, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, bufsize=size) as process:
        assert process.stdout is not None
        while len(process.stdout.read(size)) == size:
            count += 1
    return count


def measure() -> list[Figure]:
    figures = []
    for b_frames, target in ((True, 0.75), (False, 1.0)):
        video = video_720p(b_frames=b_frames)
        # Each picks by its own rule at the very end; anything else would compare different work.
        assert abs(ours(video) - ffmpeg_pipe(video)) <= 1
        costs = interleaved(
            REPEATS, ours=lambda video=video: ours(video), pipe=lambda video=video: ffmpeg_pipe(video)
        )
        kind = "with B-frames" if b_frames else "without B-frames"
        for what in ("wall", "cpu"):
            figures.append(
                figure_of(
                    f"decode + crop + sample, {kind}: {what} against ffmpeg-python",
                    target,
                    ratios(costs["ours"], costs["pipe"], what),
                    detail={
                        name: [round(getattr(cost, what), 2) for cost in runs] for name, runs in costs.items()
                    },
                )
            )
    return figures

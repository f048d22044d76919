"""What a VP9 chunk costs: our presets against the customary ffmpeg command, at the same CRF.

    python -m benchmarks.vp9_chunks [--frames N] [--output FILE.json]

The strips are the demo clip's caption region at 10 Hz, scaled to 1280x160, in the chunks of the pyramid.
CPU is user + system time of the best of three runs; VMAF (libvmaf, default model) compares each decoded
strip with its source; "two threads" is the wall time of one thread over that of two for the same chunks, the
best of three runs each, and says something only on a machine that is otherwise idle.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np

import video_pipeline.demo
from video_pipeline.captions.chunks import all_chunks, pictures_in_window
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.vp9 import CRF, encode_chunk, verify_chunk

WIDTH, HEIGHT = 1280, 160
RATE = Fraction(10)
RUNS = 3
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
RAW = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", "10", "-i"]
CUSTOMARY = (
    f"-c:v libvpx-vp9 -crf {CRF} -b:v 0 -deadline good -cpu-used 2 "
    "-threads 2 -tile-columns 1 -frame-parallel 1"
)
Encode = Callable[[list[CroppedFrame]], bytes]


def strips(limit: int) -> list[CroppedFrame]:
    """The demo clip's caption region at 10 Hz, scaled to 1280x160."""
    clip = Path(video_pipeline.demo.__path__[0]) / "street.mp4"
    picture = f"fps=10,crop=576:72:32:270,scale={WIDTH}:{HEIGHT}:flags=lanczos"
    command = [
        FFMPEG,
        "-v",
        "error",
        "-i",
        str(clip),
        "-vf",
        picture,
        "-pix_fmt",
        "yuv420p",
        "-f",
        "rawvideo",
        "-",
    ]
    raw = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.uint8)
    return [as_frame(strip) for strip in raw.reshape(-1, WIDTH * HEIGHT * 3 // 2)[:limit]]


def as_frame(strip: np.ndarray) -> CroppedFrame:
    luma, chroma = strip[: WIDTH * HEIGHT], strip[WIDTH * HEIGHT :].reshape(2, HEIGHT // 2, WIDTH // 2)
    tags = ColourTags(primaries=1, transfer=1, matrix=1, range=1)
    return CroppedFrame(luma.reshape(HEIGHT, WIDTH).copy(), chroma[0].copy(), chroma[1].copy(), tags)


def as_bytes(frames: list[CroppedFrame]) -> bytes:
    return b"".join(plane.tobytes() for frame in frames for plane in (frame.y, frame.u, frame.v))


def customary(frames: list[CroppedFrame]) -> bytes:
    command = [FFMPEG, "-v", "error", *RAW, "-", *CUSTOMARY.split(), "-f", "webm", "pipe:1"]
    return subprocess.run(command, input=as_bytes(frames), stdout=subprocess.PIPE, check=True).stdout


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def best_cpu(encode: Encode, chunks: list[list[CroppedFrame]]) -> tuple[float, list[bytes]]:
    best, made = float("inf"), []
    for _ in range(RUNS):
        before = cpu_seconds()
        made = [encode(chunk) for chunk in chunks]
        best = min(best, cpu_seconds() - before)
    return best, made


def vmaf(chunks: list[list[CroppedFrame]], encoded: list[bytes]) -> float:
    """The mean over all pictures."""
    with tempfile.TemporaryDirectory() as folder:
        source, result, log = (Path(folder) / name for name in ("source.yuv", "result.yuv", "log.json"))
        source.write_bytes(b"".join(as_bytes(chunk) for chunk in chunks))
        with result.open("wb") as file:
            for data in encoded:
                with av.open(io.BytesIO(data), "r") as container:
                    for picture in container.decode(video=0):
                        file.write(picture.to_ndarray(format="yuv420p").tobytes())
        if result.stat().st_size != source.stat().st_size:
            raise RuntimeError("the encoded chunks do not hold the pictures that were given")
        graph = f"libvmaf=log_path={log}:log_fmt=json"
        command = [
            FFMPEG,
            "-v",
            "error",
            *RAW,
            str(result),
            *RAW,
            str(source),
            "-lavfi",
            graph,
            "-f",
            "null",
            "-",
        ]
        subprocess.run(command, check=True)
        return json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"]


def seconds_with(threads: int, chunks: list[list[CroppedFrame]], encode: Encode) -> float:
    def work(own: list[list[CroppedFrame]]) -> None:
        for chunk in own:
            encode(chunk)

    workers = [threading.Thread(target=work, args=(chunks[number::threads],)) for number in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def measure(limit: int) -> dict[str, object]:
    frames = strips(limit)
    chunks = [
        [frames[index] for index in pictures_in_window(level, window, len(frames))]
        for level, window in all_chunks(len(frames))
    ]
    encoders: dict[str, Encode] = {
        f"ffmpeg {CUSTOMARY}": customary,
        "fast": lambda chunk: encode_chunk(chunk, rate=RATE, preset="fast"),
        "small": lambda chunk: encode_chunk(chunk, rate=RATE, preset="small"),
    }
    rows = []
    for name, encode in encoders.items():
        cpu, encoded = best_cpu(encode, chunks)
        rows.append(
            {
                "encoder": name,
                "cpu_ms_per_frame": round(1000 * cpu / len(frames), 2),
                "kilobits_per_second": round(8 * sum(map(len, encoded)) / (len(frames) / 10) / 1000, 1),
                "vmaf": round(vmaf(chunks, encoded), 2),
            }
        )
        print("{encoder:112}{cpu_ms_per_frame:8.2f}{kilobits_per_second:8.1f}{vmaf:8.2f}".format(**rows[-1]))
    fast = encoders["fast"]
    one, two = (min(seconds_with(threads, chunks, fast) for _ in range(RUNS)) for threads in (1, 2))
    data = [fast(chunk) for chunk in chunks]
    before = cpu_seconds()
    for chunk, made in zip(chunks, data, strict=True):
        verify_chunk(made, frames=len(chunk), width=WIDTH, height=HEIGHT, rate=RATE)
    checking = 1000 * (cpu_seconds() - before) / len(frames)
    return {
        "frames": len(frames),
        "chunks": len(chunks),
        "cores": os.cpu_count(),
        "rows": rows,
        "less_cpu_than_customary": round(rows[0]["cpu_ms_per_frame"] / rows[1]["cpu_ms_per_frame"], 1),
        "vmaf_difference": round(rows[1]["vmaf"] - rows[0]["vmaf"], 2),
        "two_threads": round(one / two, 2),
        "verify_ms_per_frame": round(checking, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=420, help="strips to encode, at most 420")
    parser.add_argument("--output", type=Path, help="write the figures as JSON here, too")
    arguments = parser.parse_args()
    print(f"{'encoder':112}{'ms CPU':>8}{'kb/s':>8}{'VMAF':>8}")
    result = measure(arguments.frames)
    print("fast: {less_cpu_than_customary} x less CPU, VMAF {vmaf_difference:+}".format(**result))
    print("two threads: {two_threads} x; verify_chunk: {verify_ms_per_frame} ms a frame".format(**result))
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

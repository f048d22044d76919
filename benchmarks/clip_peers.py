"""What our renders are measured against, and a double of the network that takes no time.

Belongs here: a bare decode, resize and encode; the script that one would write first. Does not belong here:
our own code paths, figures.

Every peer encodes with libx264 at the same CRF, preset, GOP and thread count as ours, and writes no sound. It
has `cpu-independent` too, as ours has for the same bytes on any processor: 2 % of the encoder's time, and no
matter of what stands around the encoder.
"""

from __future__ import annotations

import itertools
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import av.filter
import av.video.frame
import numpy as np
import torch
from av.codec.context import ThreadType
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.media import ffmpeg_binary
from video_pipeline.media.h264 import THREADS, H264Settings, segment_frames
from video_pipeline.models.srvgg import SrvggSize
from video_pipeline.models.upscaler import Upscaler

RATE = Fraction(30)


def transcode(film: Path, output: Path, settings: H264Settings, *, graph: str = "", frames: int = 0) -> None:
    """Decode, run an ffmpeg filter graph if there is one, encode: a PyAV loop with as many decoding threads
    as libav likes. `frames` 0 is all of them."""
    with av.open(str(film)) as source, av.open(str(output), "w") as target:
        video = source.streams.video[0]
        video.thread_type = "AUTO"
        filters = _filters(video, graph) if graph else None
        stream = None
        for frame in itertools.islice(source.decode(video), frames or None):
            if filters is not None:
                filters.push(frame)
                frame = filters.pull()
            assert isinstance(frame, av.VideoFrame)
            if stream is None:
                stream = target.add_stream("libx264", RATE, options=_options(settings))
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                stream.codec_context.thread_count = THREADS
                stream.codec_context.thread_type = ThreadType.FRAME
            frame.pict_type = av.video.frame.PictureType.NONE
            target.mux(stream.encode(frame))
        assert stream is not None
        target.mux(stream.encode(None))


def _options(settings: H264Settings) -> dict[str, str]:
    return {
        "crf": str(settings.crf),
        "preset": settings.preset,
        "g": str(segment_frames(RATE)),
        "profile": "high",
        "x264-params": "cpu-independent=1",
    }


def _filters(video: av.VideoStream, text: str) -> av.filter.Graph:
    graph = av.filter.Graph()
    steps = [graph.add_buffer(template=video)]
    for part in text.split(","):
        name, _, arguments = part.partition("=")
        steps.append(graph.add(name, arguments))
    graph.link_nodes(*steps, graph.add("buffersink")).configure()
    return graph


def transcode_by_ffmpeg(film: Path, output: Path, settings: H264Settings) -> None:
    """The same by ffmpeg's own program: its threads, no Python at all."""
    encode = ["-c:v", "libx264", "-threads", str(THREADS)]
    for name, value in _options(settings).items():
        encode += [f"-{'profile:v' if name == 'profile' else name}", value]
    command = [ffmpeg_binary(), "-v", "error", "-y", "-i", str(film), "-an", *encode, str(output)]
    subprocess.run(command, check=True)


def plain_script(
    film: Path, output: Path, settings: H264Settings, network: nn.Module, lefts: list[float], folder: Path
) -> None:
    """A crop 202x360 of each picture at `lefts`, enlarged to 810x1440, as one writes it first: seek to every
    frame with OpenCV, the network at batch 1, its floats to the host, resize there, a PNG each, one ffmpeg at
    the end. Around the network it is Real-ESRGAN's own `RealESRGANer.enhance` (0.3.0)."""
    import cv2

    folder.mkdir(exist_ok=True)
    capture = cv2.VideoCapture(str(film))
    for number, left in enumerate(lefts):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        done, picture = capture.read()
        assert done
        crop = picture[360:720, round(left) : round(left) + 202].astype(np.float32) / 255
        rgb = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)
        with torch.no_grad():
            enlarged = network(torch.from_numpy(np.transpose(rgb, (2, 0, 1))).float().unsqueeze(0))
        floats = enlarged.data.squeeze().float().cpu().clamp(0, 1).numpy()
        floats = np.transpose(floats[[2, 1, 0], :, :], (1, 2, 0))
        finished = cv2.resize(
            (floats * 255.0).round().astype(np.uint8), (810, 1440), interpolation=cv2.INTER_LANCZOS4
        )
        cv2.imwrite(str(folder / f"{number:05d}.png"), finished)
    capture.release()
    encode = [
        value
        for name, text in _options(settings).items()
        if name != "profile"
        for value in (f"-{name}", text)
    ]
    pictures = ["-framerate", str(RATE), "-i", str(folder / "%05d.png")]
    command = [ffmpeg_binary(), "-v", "error", "-y", *pictures, "-c:v", "libx264", "-threads", str(THREADS)]
    subprocess.run([*command, *encode, "-pix_fmt", "yuv420p", str(output)], check=True)


class RecordedNetwork(nn.Module):
    """A double of the upscaling network for measuring all that is not the network: it enlarges by a bicubic
    resize once, in a first run, and then hands out those very pictures in the same order, in no time. The
    pictures are in memory as the network's own are (a picture's colours one after the other)."""

    size = SrvggSize(features=64, middle=16, scale=4)
    reach = size.middle + 2

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[Tensor] = []
        self.next: int | None = None

    def rewind(self) -> None:
        """From now on hand out what was made."""
        self.next = 0

    def forward(self, rgb: Tensor) -> Tensor:
        if self.next is None:
            made = functional.interpolate(rgb, scale_factor=self.size.scale, mode="bicubic")
            self.pictures.append(made.contiguous())
            return self.pictures[-1]
        self.next += 1
        made = self.pictures[self.next - 1]
        assert made.shape[0] == rgb.shape[0]
        assert made.shape[2] == rgb.shape[2] * self.size.scale
        return made

    def as_upscaler(self) -> Upscaler:
        double: nn.Module = self
        return Upscaler(double, device=torch.device("cpu"), sha256="a double")  # pyright: ignore[reportArgumentType]

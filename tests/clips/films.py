"""Small films whose pictures say which they are, and a desk to run clip tasks at.

Belongs here: making such films, reading them back, running a task in this process. Does not belong here:
what must be true of a clip (the tests say that).

A picture of a film is 8 horizontal bands, a bit of its number each (the first is the highest), so its number
survives any crop of the width. U rises from left to right, so a crop's place can be read; V is the film's.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import safetensors.torch
import torch
from pydantic import BaseModel

from video_pipeline.media.colour import frame_to_rgb
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.models.srvgg import SRVGGNetCompact, SrvggSize
from video_pipeline.settings import Settings
from video_pipeline.store.directory import DirectoryStore
from video_pipeline.streaming.cancel import CancellationToken
from video_pipeline.tasks import find_task
from video_pipeline.telemetry.timing import Recorder, use_recorder
from video_pipeline.worker import TaskContext

TENANT = "demo"
WIDTH, HEIGHT, BITS = 160, 96, 8
DARK, LIGHT = 60, 190
U_LEFT, U_RIGHT = 108, 148
"""All colours of a film can be shown in RGB, if its V is within 10 of 128."""
CLICK_EVERY = 12
"""Frames of a film between two clicks of its sound, the first at its first picture."""

SoundMaker = Callable[[np.ndarray], np.ndarray]
"""Seconds -> samples in -1..1."""


def picture(number: int, v: int = 128, size: tuple[int, int] = (WIDTH, HEIGHT)) -> av.VideoFrame:
    """Picture `number` of a film of `size` (width, height), both even."""
    width, height = size
    y = np.empty((height, width), np.uint8)
    for bit in range(BITS):
        lit = number >> (BITS - 1 - bit) & 1
        y[bit * height // BITS : (bit + 1) * height // BITS] = LIGHT if lit else DARK
    u = np.broadcast_to(np.linspace(U_LEFT, U_RIGHT, width // 2), (height // 2, width // 2)).round()
    planes = [y, u.astype(np.uint8), np.full((height // 2, width // 2), v, np.uint8)]
    frame = av.VideoFrame.from_ndarray(np.concatenate([plane.reshape(-1) for plane in planes]).reshape(
        height * 3 // 2, width
    ), format="yuv420p")  # fmt: skip
    frame.colorspace = frame.color_primaries = frame.color_trc = 1
    frame.color_range = 1
    return frame


def tone(hertz: float, level: float = 0.3) -> SoundMaker:
    return lambda seconds: level * np.sin(2 * np.pi * hertz * seconds)


def clicks(rate: Fraction, every: int = CLICK_EVERY) -> SoundMaker:
    """5 ms of 2 kHz at the time of every `every`th picture of a film of `rate`."""
    period = float(every / rate)
    return lambda seconds: np.where(seconds % period < 0.005, 0.8 * np.sin(2 * np.pi * 2000 * seconds), 0.0)


@dataclass(frozen=True)
class Sound:
    """A film's sound track. `seconds` None: as long as the pictures; `start` after the first of them."""

    of: SoundMaker
    rate: int = 48000
    layout: str = "stereo"
    codec: str = "aac"
    start: Fraction = Fraction(0)
    seconds: Fraction | None = None


def make_film(
    path: Path,
    *,
    frames: int = 50,
    rate: Fraction = Fraction(25),
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    first: int = 0,
    v: int = 128,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    gop: int = 25,
    sound: Sound | None = None,
) -> Path:
    """A film of pictures `first` on. `ticks` are their PTS in `time_base`, by default one every 1 / rate."""
    time_base = time_base or 1 / rate
    ticks = list(ticks) if ticks is not None else [round(n / rate / time_base) for n in range(frames)]
    with av.open(str(path), "w") as container:
        stream = cast(Any, container.add_stream(codec, rate=rate, options=dict(options or _QUICK[codec])))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1
        for tag in ("colorspace", "color_primaries", "color_trc", "color_range"):
            setattr(stream.codec_context, tag, 1)
        track = None
        if sound is not None:
            quick = {"aac_coder": "fast"} if sound.codec == "aac" else {}
            track = cast(
                Any,
                container.add_stream(sound.codec, rate=sound.rate, layout=sound.layout, options=quick),
            )
        packets = []
        for number, pts in enumerate(ticks):
            frame = picture(first + number, v, size)
            frame.pts, frame.time_base = pts, time_base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if sound is not None:
            packets += _encoded_sound(track, sound, Fraction(len(ticks)) / rate)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


_QUICK = {
    "libx264": {"preset": "veryfast", "crf": "16", "bf": "2"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"},
}


def _encoded_sound(track: Any, sound: Sound, length: Fraction) -> list:
    layout = av.AudioLayout(sound.layout)
    seconds = np.arange(round((sound.seconds or length) * sound.rate)) / sound.rate
    samples = np.tile(sound.of(seconds).astype(np.float32), (layout.nb_channels, 1))
    packets = []
    step = 1024
    for at in range(0, samples.shape[1], step):
        block = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, at : at + step]), format="fltp", layout=sound.layout
        )
        block.sample_rate = sound.rate
        block.time_base = Fraction(1, sound.rate)
        block.pts = at + round(sound.start * sound.rate)
        packets += track.encode(block)
    return packets + track.encode(None)


# Reading back


@dataclass(frozen=True)
class Shown:
    """A decoded picture: when it is shown (seconds), its number, its planes."""

    time: Fraction
    number: int
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray


def shown(path: Path, rows: tuple[float, float] | None = None, turn: int = 0) -> list[Shown]:
    """All pictures of a video in order. `rows` is where in the picture the film's own top and bottom edge
    lie, by default its edges; `turn` quarter turns anticlockwise put a film upright that was shown turned."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            planes = [np.rot90(plane, turn) for plane in _planes(frame)]
            time = Fraction(cast(int, frame.pts)) * cast(Fraction, frame.time_base)
            found.append(Shown(time, number_in(planes[0], rows), *planes))
    return found


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    flat = frame.to_ndarray(format="yuv420p").reshape(-1)
    width, height = frame.width, frame.height
    luma, chroma = width * height, width * height // 4
    return [
        flat[:luma].reshape(height, width),
        flat[luma : luma + chroma].reshape(height // 2, width // 2),
        flat[luma + chroma :].reshape(height // 2, width // 2),
    ]


def number_in(y: np.ndarray, rows: tuple[float, float] | None = None) -> int:
    """The number that a picture's bands say; -1 where they are no clear dark and light."""
    top, bottom = rows or (0.0, float(len(y)))
    band = (bottom - top) / BITS
    number = 0
    for bit in range(BITS):
        begin, end = (round(top + band * (bit + place)) for place in (0.3, 0.7))
        inside = y[max(0, begin) : max(0, end), y.shape[1] // 4 : y.shape[1] * 3 // 4]
        level = float(inside.mean()) if inside.size else (DARK + LIGHT) / 2
        if abs(level - (DARK + LIGHT) / 2) < 25:
            return -1
        number = number * 2 + (level > (DARK + LIGHT) / 2)
    return number


def numbers(pictures: Sequence[Shown]) -> list[int]:
    return [one.number for one in pictures]


def rgb_of(one: Shown) -> np.ndarray:
    """A decoded picture as 8-bit RGB (H, W, 3)."""
    return frame_to_rgb(CroppedFrame(one.y, one.u, one.v, ColourTags(1, 1, 1, 1)))


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Of two 8-bit pictures, in dB; infinite where they are equal."""
    error = float(((one.astype(float) - other.astype(float)) ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def column_of(u: np.ndarray, width: int = WIDTH) -> float:
    """The column of a film `width` pixels wide that lies in the middle of a picture, from its U plane."""
    across = (float(u.mean()) - U_LEFT) / (U_RIGHT - U_LEFT)
    return across * (width - 2) + 1


def sound_in(path: Path) -> tuple[float, np.ndarray, int, int]:
    """When a video's sound begins (seconds), its samples (n, 2) as libav plays them, rate and channels."""
    blocks, start = [], None
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        for frame in container.decode(stream):
            start = float(frame.time or 0.0) if start is None else start
            blocks.append(frame.to_ndarray())
        samples = np.concatenate(blocks, axis=1).T
        return cast(float, start), samples, stream.rate, stream.channels


def level_of(samples: np.ndarray, hertz: float, rate: int = 48000) -> float:
    """How strong a tone is in mono samples: its amplitude."""
    seconds = np.arange(len(samples)) / rate
    window = np.hanning(len(samples))
    turning = np.exp(-2j * np.pi * hertz * seconds)
    return float(2 * abs((samples * window * turning).sum()) / window.sum())


def clicks_in(samples: np.ndarray, rate: int = 48000) -> list[float]:
    """When the clicks in mono samples begin (seconds): where the loudness of 1 ms first passes a quarter of
    the loudest. An encoder smears it by a few milliseconds."""
    loud = np.sqrt(np.convolve(samples**2, np.ones(rate // 1000) / (rate // 1000), mode="same"))
    above = np.flatnonzero(loud > loud.max() / 4)
    begins = above[np.concatenate([[True], np.diff(above) > rate // 50])]
    return [float(begin) / rate for begin in begins]


# The desk


@dataclass
class Desk:
    """A store and a way to run the clip tasks in this process."""

    store: DirectoryStore
    settings: Settings
    films: Path
    told: list[dict[str, Any]] = field(default_factory=list)
    last: TaskContext | None = None
    before_run: Callable[[TaskContext], None] = lambda _context: None

    def put(self, path: Path, name: str | None = None) -> str:
        """A film as an object of the store; its key."""
        key = f"{TENANT}/client/videos/{name or path.stem.replace('.', '-')}/video{path.suffix}"
        self.store.put(key, path)
        return key

    def film(self, name: str = "film.mp4", **how: Any) -> str:
        """Makes a film and puts it into the store; its key."""
        return self.put(make_film(self.films / name, **how))

    def run(self, task: str, clip_id: str = "c1", **fields: Any) -> Any:
        """A task's result; `encoding` is quick unless it is given."""
        found = find_task(task)
        if "encoding" in found.request_model.model_fields:
            fields.setdefault("encoding", {"crf": 16, "preset": "ultrafast"})
        return self.run_request(
            task, found.parse_request({"tenant_id": TENANT, "clip_id": clip_id, **fields})
        )

    def run_request(self, task: str, request: BaseModel) -> Any:
        scratch = Path(tempfile.mkdtemp(dir=self.films))
        self.last = TaskContext(
            store=self.store,
            settings=self.settings,
            scratch=scratch,
            cancel=CancellationToken(),
            recorder=Recorder(),
            emit=self.told.append,
        )
        self.before_run(self.last)
        try:
            with use_recorder(self.last.recorder):
                return find_task(task).load()(request, self.last)
        finally:
            shutil.rmtree(scratch)

    def fetch(self, key: str | None) -> Path:
        """An object as a local file."""
        assert key is not None
        path = self.store.local_path(key)
        assert path is not None
        return path

    def stored(self, prefix: str = f"{TENANT}/") -> list[str]:
        return [item.key for item in self.store.list(prefix)]


# Framing

CROP_TOP, CROP_HEIGHT, CROP_WIDTH = 3, 90, 50
TALL = {"output_width": 100, "output_height": 180, "fps": "25"}
"""What a crop of 50x90 is brought to here: twice its size, so the network is needed."""
TALL_ROWS = (-2.0 * CROP_TOP, 2.0 * (HEIGHT - CROP_TOP))
"""Where in such an output the film's own top and bottom edge lie."""
WIDE = {"output_width": WIDTH // 2, "output_height": HEIGHT // 2, "fps": "25"}
"""Half of the whole picture: no network."""


def crop_at(time: float = 0.0, x: float = 40.0, **other: float) -> dict[str, float]:
    """A key frame whose crop goes to a `TALL` output."""
    keyframe = {"time": time, "x": x, "y": CROP_TOP, "width": CROP_WIDTH, "height": CROP_HEIGHT}
    return {**keyframe, **other}


def whole_picture(time: float = 0.0) -> dict[str, float]:
    """A key frame whose crop is all of a film's picture."""
    return {"time": time, "x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}


def put_repeating_weights(desk: Desk) -> str:
    """A double of the network, as a checkpoint in the store: it repeats each pixel 4x4 times, in no time."""
    net = SRVGGNetCompact(SrvggSize(features=4, middle=0, scale=4))
    tensors = {name: torch.zeros_like(tensor) for name, tensor in net.state_dict().items()}
    key = f"{TENANT}/server/weights/repeat.safetensors"
    desk.store.put(key, safetensors.torch.save(tensors))
    return key

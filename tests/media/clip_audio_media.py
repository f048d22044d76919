"""Videos with known sound, made by PyAV for the tests of clip audio; and where the clicks came out.

Belongs here: media makers and measures for sound. Does not belong here: expectations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer

from video_pipeline.media.clip_audio import SAMPLE_RATE, AudioSpan, render_audio, samples_at

PICTURES_PER_S = 25
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def write_video(
    path: Path,
    sound: np.ndarray | None,
    *,
    codec: str = "aac",
    rate: int = SAMPLE_RATE,
    seconds: int | None = None,
    late: Fraction = Fraction(0),
    options: dict[str, str] | None = None,
    bit_rate: int = 192_000,
) -> Path:
    """A video of small pictures, 25/s, key frames 1 s apart, with `sound`, (channels, n) float32 at `rate`,
    that begins at `late` seconds; None: no audio track."""
    length = seconds if seconds is not None else -(-sound.shape[1] // rate) if sound is not None else 1
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=PICTURES_PER_S)
        video.width, video.height, video.pix_fmt, video.gop_size = 64, 64, "yuv420p", PICTURES_PER_S
        audio = None
        if sound is not None:
            audio = cast(AudioStream, container.add_stream(codec, rate=rate, layout=LAYOUTS[len(sound)]))
            audio.bit_rate = bit_rate
        for index in range(length * PICTURES_PER_S):
            picture = av.VideoFrame.from_ndarray(
                np.full((96, 64), 20 + index * 7 % 200, np.uint8), format="yuv420p"
            )
            picture.pts = index
            container.mux(video.encode(picture))
            if audio is not None and sound is not None:
                first, last = (k * rate // PICTURES_PER_S for k in (index, index + 1))
                _mux_sound(container, audio, sound[:, first:last], first + int(late * rate), rate)
        container.mux(video.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    return path


def _mux_sound(
    container: OutputContainer, audio: AudioStream, samples: np.ndarray, pts: int, rate: int
) -> None:
    if samples.shape[1]:
        layout = audio.codec_context.layout.name
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, pts, Fraction(1, rate)
        container.mux(audio.encode(frame))


def clicks(at: Sequence[int], length: int, channels: int = 2) -> np.ndarray:
    """(channels, length) float32: single samples of 0.9 at the positions `at`."""
    sound = np.zeros((channels, length), np.float32)
    sound[:, list(at)] = 0.9
    return sound


def sine(frequency: float, seconds: float, level: float = 0.5, channels: int = 2) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.tile(np.float32(level * np.sin(2 * np.pi * frequency * t)), (channels, 1))


def render(spans: Sequence[AudioSpan], paths: Sequence[Path], total: int | None = None) -> np.ndarray:
    """All blocks of `render_audio` over files, (n, 2)."""
    if total is None:
        total = max(span.offset + span.samples for span in spans)
    blocks = list(render_audio(spans, total, opener(paths), name=lambda index: paths[index].name))
    assert all(b.dtype == np.float32 and b.shape[1] == 2 and 0 < len(b) <= 48000 for b in blocks)
    return np.concatenate(blocks)


def opener(paths: Sequence[Path]):
    @contextlib.contextmanager
    def open_source(index: int) -> Iterator[Path]:
        yield paths[index]

    return open_source


def one_span(start: Fraction | float, stop: Fraction | float, speed: Fraction | int = 1) -> AudioSpan:
    """Source 0 from `start` to `stop`, the length that follows."""
    first, last, speed = Fraction(start), Fraction(stop), Fraction(speed)
    return AudioSpan(0, first, last, speed, 0, samples_at((last - first) / speed))


def loudest_near(sound: np.ndarray, at: int, reach: int = 2400) -> int:
    """The position of the largest sample of the left channel within `reach` of `at`."""
    first = max(0, at - reach)
    return first + int(np.abs(sound[first : at + reach, 0]).argmax())


def level(sound: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))


def pitch(sound: np.ndarray) -> float:
    """The strongest frequency of the left channel, in Hz, by the windowed spectrum's largest bin."""
    spectrum = np.abs(np.fft.rfft(sound[:, 0] * np.hanning(len(sound))))
    return float(np.argmax(spectrum) * SAMPLE_RATE / len(sound))


def without_packets(source: Path, target: Path, start: Fraction, stop: Fraction) -> Path:
    """A copy without the audio packets of [start, stop)."""
    return copied(
        source,
        target,
        lambda packet, _number: (
            None if start <= (packet.dts or 0) * Fraction(packet.time_base or 1) < stop else 0
        ),
    )


def copied(
    source: Path,
    target: Path,
    shift: Callable[[av.Packet, int], int | None],
    *,
    broken: Mapping[int, Callable[[bytes], bytes]] = MappingProxyType({}),
) -> Path:
    """A copy whose audio packet n is shifted by `shift` ticks, or left out where that is None;
    `broken` changes the bytes of some."""
    number = 0
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        targets = {s.index: writing.add_stream_from_template(s) for s in reading.streams}
        for packet in reading.demux():
            if not packet.size or packet.dts is None or packet.pts is None:
                continue
            if packet.stream.type == "audio":
                by = shift(packet, number)
                if by is None:
                    continue
                if number in broken:
                    packet = _with_bytes(packet, broken[number](bytes(packet)))
                packet.pts, packet.dts = (packet.pts or 0) + by, (packet.dts or 0) + by
                number += 1
            packet.stream = targets[packet.stream_index]
            writing.mux(packet)
    return target


def _with_bytes(packet: av.Packet, data: bytes) -> av.Packet:
    changed = av.Packet(data)
    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
    changed.time_base, changed.stream = packet.time_base, packet.stream
    return changed


def second_half(data: bytes) -> bytes:
    return data[len(data) // 2 :]


def one_wrong_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

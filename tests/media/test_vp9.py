"""Chunks as a decoder sees them: the right pictures at the right times, the same bytes every time."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import io
import itertools
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import psutil
import pytest
from av.video.stream import VideoStream
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.captions.barcodes import HEIGHT, WIDTH, barcode_frame, read_barcode
from video_pipeline.errors import Internal
from video_pipeline.media import vp9
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.vp9 import Preset, encode_chunk, picture_times_ms, verify_chunk
from video_pipeline.media.webm import parse_webm

TEN = Fraction(10)
RATES = [
    TEN,
    Fraction(10_000, 1001),
    Fraction(25, 3),
    Fraction(1),
    Fraction(1, 7),
    Fraction(30),
    Fraction(240),
]
PRESETS: list[Preset] = ["fast", "small"]


def frame_of(width: int, height: int, value: int = 90, tags: ColourTags | None = None) -> CroppedFrame:
    return CroppedFrame(
        np.full((height, width), value, np.uint8),
        np.full((height // 2, width // 2), 128, np.uint8),
        np.full((height // 2, width // 2), 128, np.uint8),
        tags or ColourTags(),
    )


def decoded(data: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(data), "r") as container:
        return list(container.decode(video=0))


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    array = frame.to_ndarray(format="yuv420p")
    height, width = frame.height, frame.width
    y, rest = array[:height], array[height:].reshape(-1)
    return [y, *rest.reshape(2, height // 2, width // 2)]


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(float) - second.astype(float)) ** 2)
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def numbers(data: bytes) -> list[int]:
    return [read_barcode(planes(frame)[0]) for frame in decoded(data)]


def chunk(count: int, first: int = 0, *, rate: Fraction = TEN, preset: Preset = "fast") -> bytes:
    return encode_chunk([barcode_frame(first + j) for j in range(count)], rate=rate, preset=preset)


def check(data: bytes, count: int, rate: Fraction = TEN) -> None:
    verify_chunk(data, frames=count, width=WIDTH, height=HEIGHT, rate=rate)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("count", [1, 2, 23, 24, 31, 32])
def test_a_chunk_decodes_to_its_frames_in_order(count: int, preset: Preset):
    data = chunk(count, first=400, preset=preset)
    check(data, count)
    assert numbers(data) == list(range(400, 400 + count))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_plane_looks_like_its_source(preset: Preset):
    frames = [barcode_frame(number) for number in range(24)]
    for source, picture in zip(frames, decoded(encode_chunk(frames, rate=TEN, preset=preset)), strict=True):
        for mine, theirs, least in zip(
            (source.y, source.u, source.v), planes(picture), (28, 38, 38), strict=True
        ):
            assert mine.shape == theirs.shape
            assert psnr(mine, theirs) > least


@pytest.mark.parametrize(("width", "height"), [(16, 16), (18, 16), (402, 26), (130, 70), (1000, 90), (2, 2)])
def test_widths_that_do_not_fill_libavs_lines_keep_every_column(width: int, height: int):
    ramp = np.linspace(20, 230, width).astype(np.uint8)
    source = frame_of(width, height)
    source.y[:] = ramp
    source.u[:] = ramp[::2]
    source.v[:] = ramp[::-2]
    data = encode_chunk([source] * 3, rate=TEN)
    verify_chunk(data, frames=3, width=width, height=height, rate=TEN)
    for picture in decoded(data):
        for mine, theirs in zip((source.y, source.u, source.v), planes(picture), strict=True):
            assert np.abs(mine.astype(int) - theirs).max() < 40


@pytest.mark.parametrize("rate", RATES)
def test_pictures_stand_at_the_rounded_millisecond_and_the_last_lasts_its_time(rate: Fraction):
    data = chunk(32, rate=rate)
    check(data, 32, rate)
    with av.open(io.BytesIO(data), "r") as container:
        assert container.streams.video[0].time_base == Fraction(1, 1000)
        stand = [packet.pts for packet in container.demux(video=0) if packet.size]
        assert stand == [int(1000 * j / rate + Fraction(1, 2)) for j in range(32)]
        assert container.duration == int(1000 * 32 / rate + Fraction(1, 2)) * 1000  # av counts microseconds


@given(
    st.integers(0, 5000),
    st.fractions(Fraction(1, 100), 500, max_denominator=100_000),
)
def test_the_middle_of_a_pictures_time_always_shows_that_picture(j: int, rate: Fraction):
    start, end = picture_times_ms(j + 1, rate)[-2:]
    assert start < 1000 * (j + Fraction(1, 2)) / rate < end
    assert abs(start - 1000 * j / rate) <= Fraction(1, 2)


@pytest.mark.parametrize("preset", PRESETS)
def test_hard_cuts_at_every_frame_still_make_one_key_frame(preset: Preset):
    random = np.random.default_rng(1)
    frames = []
    for _ in range(32):
        frame = frame_of(128, 64)
        frame.y[:] = np.kron(random.integers(0, 255, (8, 16), np.uint8), np.ones((8, 8), np.uint8))
        frames.append(frame)
    data = encode_chunk(frames, rate=TEN, preset=preset)
    verify_chunk(data, frames=32, width=128, height=64, rate=TEN)
    assert [picture.key_frame for picture in decoded(data)] == [True] + [False] * 31


@pytest.mark.parametrize(
    ("tags", "in_bitstream"),
    [
        (ColourTags(1, 1, 1, 1), (1, 1)),
        (ColourTags(6, 6, 6, 1), (6, 1)),
        (ColourTags(5, 6, 5, 2), (5, 2)),
        (ColourTags(9, 16, 9, 1), (9, 1)),
        (ColourTags(), (2, 1)),
    ],
    ids=["BT.709", "BT.601 NTSC", "BT.601 PAL full range", "BT.2020", "untagged"],
)
def test_colour_tags_reach_container_and_bitstream(tags: ColourTags, in_bitstream: tuple[int, int]):
    data = encode_chunk([frame_of(64, 32, tags=tags)] * 2, rate=TEN)
    with av.open(io.BytesIO(data), "r") as container:
        codec = container.streams.video[0].codec_context
        assert (codec.color_primaries, codec.color_trc) == (tags.primaries, tags.transfer)
        assert codec.colorspace == tags.matrix
        payloads = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    bare = av.CodecContext.create("vp9", "r")  # knows nothing of the container
    picture = bare.decode(av.Packet(payloads[0]))[0]
    assert (picture.colorspace, picture.color_range) == in_bitstream


def test_every_colour_code_point_of_h273_can_be_carried():
    for code in range(1, 23):
        data = encode_chunk([frame_of(16, 16, tags=ColourTags(code, code, code, 1))], rate=TEN)
        verify_chunk(data, frames=1, width=16, height=16, rate=TEN)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_frames_give_the_same_bytes_in_any_thread_at_any_time(preset: Preset):
    expected = [chunk(12, first=number, preset=preset) for number in range(4)]
    results: dict[tuple[int, int], bytes] = {}

    def work(worker: int) -> None:
        for number in range(4):
            results[worker, number] = chunk(12, first=number, preset=preset)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 12
    assert all(data == expected[number] for (_, number), data in results.items())


def test_another_process_gives_the_same_bytes():
    program = (
        "import hashlib; from tests.media.test_vp9 import chunk;"
        "print(hashlib.sha256(chunk(5)).hexdigest() + hashlib.sha256(chunk(5, preset='small')).hexdigest())"
    )
    mine = hashlib.sha256(chunk(5)).hexdigest() + hashlib.sha256(chunk(5, preset="small")).hexdigest()
    theirs = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert theirs.strip() == mine


def test_the_file_names_no_library_version_and_no_date():
    data = chunk(3)
    assert b"Lavc" not in data
    assert b"libvpx" not in data
    assert data.count(b"Lavf") == 2, "muxing and writing application, without a version"
    assert data[data.index(b"Lavf") + 4 :][:2] == b"WA", "the next element follows at once"
    assert b"\x44\x61\x88" not in data, "DateUTC"


def test_the_file_seeks_from_its_head():
    data = chunk(32)
    with av.open(io.BytesIO(data), "r") as container:
        for j in (31, 0, 17, 5, 30):
            container.seek(int((j + 0.5) * 100_000))
            times = [(frame.pts, read_barcode(planes(frame)[0])) for frame in container.decode(video=0)]
            assert (100 * j, j) in times


def test_the_small_preset_is_smaller():
    assert len(chunk(32, preset="small")) < 0.95 * len(chunk(32, preset="fast"))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 32),
    st.integers(8, 40).map(lambda half: 2 * half),
    st.integers(8, 40).map(lambda half: 2 * half),
    st.sampled_from(RATES),
    st.sampled_from(PRESETS),
)
def test_any_even_size_count_and_rate_gives_a_chunk_that_verifies(
    count: int, width: int, height: int, rate: Fraction, preset: Preset
):
    random = np.random.default_rng(count * width)
    frames = []
    for _ in range(count):
        frame = frame_of(width, height)
        frame.y[:] = random.integers(0, 256, (height, width), np.uint8)
        frames.append(frame)
    data = encode_chunk(frames, rate=rate, preset=preset)
    verify_chunk(data, frames=count, width=width, height=height, rate=rate)
    assert len(decoded(data)) == count


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 32), st.fractions(Fraction(1, 100), 500, max_denominator=100_000))
def test_any_rate_from_a_hundredth_to_500_hertz_gives_a_chunk_that_verifies(count: int, rate: Fraction):
    data = encode_chunk([frame_of(16, 16)] * count, rate=rate)
    verify_chunk(data, frames=count, width=16, height=16, rate=rate)


@pytest.mark.parametrize(
    ("frames", "rate", "said"),
    [
        ([], TEN, "at least one frame"),
        ([frame_of(64, 32)], Fraction(0), "frame rate"),
        ([frame_of(64, 32)], Fraction(-5), "frame rate"),
        ([frame_of(64, 32)], Fraction(501), "frame rate"),
        ([frame_of(63, 32)], TEN, "even sizes, not 63x32"),
        ([frame_of(64, 33)], TEN, "even sizes, not 64x33"),
        ([frame_of(0, 0)], TEN, "even sizes, not 0x0"),
        ([frame_of(64, 32), frame_of(64, 30)], TEN, "frame 1 of a chunk has planes of"),
        ([frame_of(64, 32), frame_of(64, 32, tags=ColourTags(matrix=6))], TEN, "frame 1 of a chunk has the"),
        ([frame_of(64, 32, tags=ColourTags(matrix=0))], TEN, "RGB"),
        ([frame_of(70_000, 16)], TEN, "libvpx failed"),
    ],
)  # fmt: skip
def test_frames_that_make_no_chunk_are_refused(frames: list[CroppedFrame], rate: Fraction, said: str):
    with pytest.raises(Internal, match=said):
        encode_chunk(frames, rate=rate)


def test_ten_bit_samples_and_wrong_chroma_are_refused():
    good = frame_of(64, 32)
    with pytest.raises(Internal, match="8-bit"):
        encode_chunk([CroppedFrame(good.y.astype(np.uint16), good.u, good.v, good.tags)], rate=TEN)
    with pytest.raises(Internal, match="planes of"):
        encode_chunk([CroppedFrame(good.y, good.u[:, :-1], good.v, good.tags)], rate=TEN)


class FailsMidway(list[CroppedFrame]):
    """Frames whose second reading breaks off: the first checks them, the second encodes."""

    readings = 0

    def __iter__(self) -> Iterator[CroppedFrame]:
        self.readings += 1
        yield from itertools.islice(super().__iter__(), 3 if self.readings > 1 else None)
        if self.readings > 1:
            raise OSError("the frames broke off")


class Meddled:
    """A double of an encoder's stream: the real one, whose packets pass through `change` on their way out."""

    def __init__(self, stream: VideoStream, change: Callable[[av.Packet], list[av.Packet]]) -> None:
        self.__dict__.update(_stream=stream, _change=change)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._stream, name, value)

    def encode(self, picture: av.VideoFrame | None) -> list[av.Packet]:
        return [made for packet in self._stream.encode(picture) for made in self._change(packet)]


def _lose_the_fourth(packet: av.Packet) -> list[av.Packet]:
    return [] if packet.pts == 300 else [packet]


def _swap_the_fourth_and_fifth(packet: av.Packet) -> list[av.Packet]:
    if packet.pts in (300, 400):
        packet.pts, packet.dts = 700 - packet.pts, 300
    return [packet]


@pytest.mark.parametrize(
    ("change", "stand"),
    [
        (_lose_the_fourth, [0, 100, 200, 400, 500]),
        (_swap_the_fourth_and_fifth, [0, 100, 200, 400, 300, 500]),
    ],
    ids=["one is lost", "two change places"],
)
def test_an_encoder_that_loses_or_exchanges_pictures_is_found_out(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[av.Packet], list[av.Packet]], stand: list[int]
):
    real_open = av.open

    @contextlib.contextmanager
    def opened(*arguments: Any, **options: Any) -> Iterator[Any]:
        with real_open(*arguments, **options) as container:
            yield SimpleNamespace(
                add_stream=lambda *a, **o: Meddled(container.add_stream(*a, **o), change), mux=container.mux
            )

    monkeypatch.setattr(vp9.av, "open", opened)
    with pytest.raises(Internal, match=re.escape(f"took 6 frames and gave pictures at {stand} ms")):
        encode_chunk([barcode_frame(number) for number in range(6)], rate=TEN)


def test_an_encoder_has_one_thread(monkeypatch: pytest.MonkeyPatch):
    threads = []
    configure = vp9._configure

    def noting(stream: VideoStream, *arguments: Any) -> None:
        configure(stream, *arguments)
        threads.append(stream.codec_context.thread_count)

    monkeypatch.setattr(vp9, "_configure", noting)
    chunk(2)
    assert threads == [1]


def test_a_failure_in_the_middle_passes_through_and_frees_the_encoder():
    frames = [barcode_frame(number) for number in range(8)]

    def fail(times: int) -> None:
        for _ in range(times):
            with pytest.raises(OSError, match="broke off"):
                encode_chunk(FailsMidway(frames), rate=TEN)
        gc.collect()

    fail(20)
    before = psutil.Process().memory_info().rss
    fail(100)
    grown = psutil.Process().memory_info().rss - before
    assert grown < 20e6, f"100 broken encoders left {grown / 1e6:.0f} MB"
    check(chunk(8), 8)


def test_the_container_says_vp9_its_size_and_its_duration():
    video = parse_webm(chunk(2))
    assert (video.codec_id, video.width, video.height, video.duration_ms) == ("V_VP9", WIDTH, HEIGHT, 200)

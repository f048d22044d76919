"""The check of a chunk against chunks that are broken on purpose: each is refused, and for its own reason."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction

import av
import imageio_ffmpeg
import numpy as np
import pytest
from av.video.stream import VideoStream

from tests.captions.barcodes import HEIGHT, WIDTH, barcode_frame
from video_pipeline.errors import Internal
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.vp9 import encode_chunk, verify_chunk
from video_pipeline.media.vp9_bitstream import NotVp9, read_headers, split_superframe
from video_pipeline.media.webm import NotOurWebm, _elements, _float, parse_webm

TEN = Fraction(10)
COUNT = 12
Packets = list[tuple[int, bytes]]


@pytest.fixture(scope="module")
def good() -> bytes:
    return encode_chunk([barcode_frame(number) for number in range(COUNT)], rate=TEN)


def check(
    data: bytes, frames: int = COUNT, width: int = WIDTH, height: int = HEIGHT, rate: Fraction = TEN
) -> None:
    verify_chunk(data, frames=frames, width=width, height=height, rate=rate)


def packets_of(data: bytes) -> Packets:
    return [(block.timestamp_ms, bytes(block.payload)) for block in parse_webm(data).blocks]


def mux(
    packets: Packets, *, duration: int = 100, codec: str = "libvpx-vp9", keys: tuple[int, ...] = (0,),
    width: int = WIDTH, height: int = HEIGHT, pix_fmt: str = "yuv420p",
) -> bytes:  # fmt: skip
    """Packets as one WebM file, by libavformat as the encoder's: only what a test changes differs."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=TEN)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for place, (pts, payload) in enumerate(packets):
            packet = av.Packet(payload)
            packet.stream, packet.time_base = stream, Fraction(1, 1000)
            packet.pts = packet.dts = pts
            packet.duration, packet.is_keyframe = duration, place in keys
            container.mux(packet)
    return buffer.getvalue()


def test_muxing_the_same_packets_again_still_verifies(good: bytes):
    check(mux(packets_of(good)))


def _retimed(packets: Packets) -> Packets:
    return [(100 * place, payload) for place, (_, payload) in enumerate(packets)]


DAMAGES: list[tuple[str, Callable[[Packets], bytes], str]] = [
    ("the last frame is missing", lambda p: mux(p[:-1]), "11 pictures instead of 12"),
    ("a frame in the middle is missing", lambda p: mux(p[:5] + p[6:]), "11 pictures instead of 12"),
    ("a frame is missing and the rest moved up", lambda p: mux(_retimed(p[:5] + p[6:])), "11 pictures"),
    ("a frame stands twice", lambda p: mux(_retimed([*p[:5], p[4], *p[5:]])), "13 pictures instead of 12"),
    ("no frames at all", lambda p: mux(p[:0]), "damaged|0 pictures"),
    ("two frames swapped with their times", lambda p: _swap_in_file(p), "picture 4 stands at 500 ms"),
    ("one time is 1 ms late", lambda p: mux([*p[:7], (701, p[7][1]), *p[8:]]), "picture 7 stands at 701 ms"),
    ("half the frame rate", lambda p: mux([(2 * t, data) for t, data in p]), "picture 1 stands at 200 ms"),
    ("each frame has a time of its own", lambda p: mux(p, duration=1), "unexpected element 0xA0"),
    ("the last frame has no time", lambda p: _of_duration(mux(p), 1100.0), "lasts 1100.0 ms instead of 1200"),
    ("the key frame is not first", lambda p: mux(_retimed([p[1], p[0], *p[2:]])), "not there"),
    ("the key frame is missing", lambda p: mux(_retimed([p[1], *p[1:]])), "not there"),
    ("two key frames", lambda p: mux([*p[:6], (600, p[0][1]), *p[7:]]), "key frames, instead of the first"),
    ("a second packet claims to be a key", lambda p: mux(p, keys=(0, 3)), r"\[0, 3\] are marked"),
    ("the key frame is not marked", lambda p: mux(p, keys=()), r"packets \[\] are marked"),
    ("another codec", lambda p: mux(p, codec="libvpx"), "the codec is V_VP8"),
    ("another size in the container", lambda p: mux(p, width=WIDTH + 2), "the size is 258x64 instead"),
    ("another size in the bitstream", lambda p: mux(_of_other_size()), "a coded frame is 258x64, not 256x64"),
    ("another profile", lambda p: mux(_of_profile_1()), "VP9 profile 1 instead of 0"),
    ("one packet holds two pictures", lambda p: mux([*p[:11], (1100, _joined(p[11][1], 2))]), "shows 2"),
    ("one packet is empty of VP9", lambda p: mux([*p[:3], (300, bytes(40)), *p[4:]]), "frame marker"),
]  # fmt: skip


def _swap_in_file(packets: Packets) -> bytes:
    """Frames 4 and 5 change places in the file, each with its own time (a muxer would refuse to)."""
    data = mux(packets)
    for near, far in ((400, 500),):
        first = data.index(struct.pack(">BhB", 0x81, near, 0))
        second = data.index(struct.pack(">BhB", 0x81, far, 0))
        changed = bytearray(data)
        changed[first + 1 : first + 3] = struct.pack(">h", far)
        changed[second + 1 : second + 3] = struct.pack(">h", near)
    return bytes(changed)


def _of_other_size() -> Packets:
    wide = [
        CroppedFrame(
            np.pad(frame.y, ((0, 0), (0, 2))),
            np.pad(frame.u, ((0, 0), (0, 1))),
            np.pad(frame.v, ((0, 0), (0, 1))),
            frame.tags,
        )
        for frame in map(barcode_frame, range(COUNT))
    ]
    return packets_of(encode_chunk(wide, rate=TEN))


def _of_profile_1() -> Packets:
    codec = av.CodecContext.create("libvpx-vp9", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt, codec.time_base = WIDTH, HEIGHT, "yuv444p", Fraction(1, 1000)
    codec.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    packets = []
    for number in range(COUNT):
        picture = av.VideoFrame(WIDTH, HEIGHT, "yuv444p")
        picture.pts = 100 * number
        packets += codec.encode(picture)
    packets += codec.encode(None)
    return [(packet.pts, bytes(packet)) for packet in packets]


def _of_duration(data: bytes, milliseconds: float) -> bytes:
    element = b"\x44\x89\x88"  # Info's Duration, 8 bytes
    start = data.index(element) + len(element)
    return data[:start] + struct.pack(">d", milliseconds) + data[start + 8 :]


def _joined(frame: bytes, times: int) -> bytes:
    """The frame `times` times as one superframe, sizes in four bytes (Annex B)."""
    marker = bytes([0b110_00_000 | 3 << 3 | times - 1])
    return frame * times + marker + struct.pack("<I", len(frame)) * times + marker


@pytest.mark.parametrize(("damage", "said"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_a_damaged_chunk_is_refused_for_what_is_wrong(
    good: bytes, damage: Callable[[Packets], bytes], said: str
):
    with pytest.raises(Internal, match=said):
        check(damage(packets_of(good)))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"frames": COUNT + 1}, "12 pictures instead of 13"),
        ({"frames": COUNT - 1}, "12 pictures instead of 11"),
        ({"frames": 0}, "12 pictures instead of 0"),
        ({"width": WIDTH - 2}, "size"),
        ({"height": HEIGHT + 2}, "size"),
        ({"rate": Fraction(25, 3)}, "picture 1 stands at 100 ms instead of 120 ms"),
        ({"rate": Fraction(10_000, 1001)}, "picture 5 stands at 500 ms instead of 501 ms"),
    ],
)
def test_a_good_chunk_is_not_another_one(good: bytes, asked: dict, said: str):
    with pytest.raises(Internal, match=said):
        check(good, **asked)


def test_every_truncation_and_every_byte_too_many_is_refused(good: bytes):
    for length in range(len(good)):
        with pytest.raises(Internal, match="damaged"):
            check(good[:length])
    for more in (b"\0", b"\xec\x80", good):
        with pytest.raises(Internal, match="damaged"):
            check(good + more)


@pytest.mark.slow
def test_no_damaged_byte_raises_anything_but_our_error(good: bytes):
    source = random.Random(3)
    refused = 0
    for _ in range(3000):
        changed = bytearray(good)
        for _ in range(source.choice((1, 1, 2, 8))):
            changed[source.randrange(len(good))] ^= 1 << source.randrange(8)
        try:
            check(bytes(changed))
        except Internal:
            refused += 1
    assert refused > 50, "flips in headers must be noticed"


def test_bytes_that_are_no_webm_are_refused():
    for data in (b"", b"\x1a\x45\xdf\xa3", b"hello", bytes(1000), b"\xff" * 1000):
        with pytest.raises(Internal, match="damaged"):
            check(data)


def test_the_strict_reader_agrees_with_libavformat(good: bytes):
    with av.open(io.BytesIO(good), "r") as container:
        theirs = [(p.pts, bytes(p), p.is_keyframe) for p in container.demux(video=0) if p.size]
    video = parse_webm(good)
    assert [(block.timestamp_ms, bytes(block.payload), block.keyframe) for block in video.blocks] == theirs


def test_the_strict_reader_refuses_other_peoples_files(good: bytes):
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("libvpx-vp9", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for packet in (*stream.encode(av.VideoFrame(64, 32, "yuv420p")), *stream.encode(None)):
            container.mux(packet)
    with pytest.raises(NotOurWebm, match="not 'webm'"):
        parse_webm(buffer.getvalue())


def test_an_element_without_content_may_stand_at_the_end_of_its_parent():
    assert [(identifier, bytes(body)) for identifier, body in _elements(memoryview(b"\xec\x80"), "file")] == [
        (0xEC, b"")
    ]
    with pytest.raises(NotOurWebm, match="ends or breaks in an element's header"):
        list(_elements(memoryview(b"\xec"), "file"))
    with pytest.raises(NotOurWebm, match="lacks its last 1 bytes"):
        list(_elements(memoryview(b"\xec\x81"), "file"))


@pytest.mark.parametrize(("layout", "size"), [(">f", 4), (">d", 8)])
def test_a_duration_is_read_in_either_precision_and_in_no_other(layout: str, size: int):
    written = struct.pack(layout, 2.5)
    assert len(written) == size
    assert _float(memoryview(written)) == 2.5
    for wrong in (written[:-1], written + b"\0", b""):
        with pytest.raises(NotOurWebm, match=f"has {len(wrong)} bytes"):
            _float(memoryview(wrong))


@pytest.fixture(scope="module")
def with_hidden_frames(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Packets of a two-pass encoding with alternate reference frames, by the ffmpeg command."""
    folder = tmp_path_factory.mktemp("hidden")
    raw = b"".join(
        frame.y.tobytes() + frame.u.tobytes() + frame.v.tobytes() for frame in map(barcode_frame, range(60))
    )
    source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", "10", "-i", "-"]
    codec = ["-c:v", "libvpx-vp9", "-b:v", "100k", "-auto-alt-ref", "1", "-lag-in-frames", "25"]
    for number in ("1", "2"):
        passes = ["-pass", number, "-passlogfile", str(folder / "log"), str(folder / "out.webm")]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *source, *codec, *passes]
        subprocess.run(command, input=raw, check=True)
    with av.open(str(folder / "out.webm"), "r") as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_hidden_frames_of_a_superframe_are_not_counted_as_pictures(with_hidden_frames: list[bytes]):
    headers = read_headers(memoryview(packet) for packet in with_hidden_frames)
    assert any(len(packet) > 1 for packet in headers), "the encoding must hold superframes to prove anything"
    assert [sum(header.shown for header in packet) for packet in headers] == [1] * 60
    coded = [header for packet in headers for header in packet]
    assert {(header.width, header.height, header.profile) for header in coded} == {(WIDTH, HEIGHT, 0)}
    assert [place for place, header in enumerate(coded) if header.key] == [0]
    check(mux([(100 * j, packet) for j, packet in enumerate(with_hidden_frames)]), frames=60)


def test_a_packet_of_hidden_frames_only_is_no_picture(with_hidden_frames: list[bytes]):
    place = next(
        j for j, packet in enumerate(with_hidden_frames) if len(split_superframe(memoryview(packet))) > 1
    )
    hidden = bytes(split_superframe(memoryview(with_hidden_frames[place]))[0])
    broken = [*with_hidden_frames[:place], _joined(hidden, 2)]  # alone, a muxer would merge it with the next
    with pytest.raises(Internal, match=f"packet {place} shows 0 pictures"):
        check(mux([(100 * j, packet) for j, packet in enumerate(broken)]), frames=len(broken))


def test_a_picture_shown_again_counts_as_one(good: bytes):
    first = packets_of(good)[0][1]
    show_slot_zero = bytes([0b10_0_0_1_000])
    headers = read_headers([memoryview(first), memoryview(show_slot_zero)])
    assert [(header.shown, header.key, header.width) for (header,) in headers] == [
        (True, True, WIDTH), (True, False, WIDTH),
    ]  # fmt: skip


def test_a_superframe_whose_sizes_do_not_fit_is_refused(good: bytes):
    payload = packets_of(good)[1][1]
    broken = payload + bytes([0b110_01_001, 255, 255, 255, 255, 0b110_01_001])
    with pytest.raises(NotVp9, match="does not fit"):
        split_superframe(memoryview(broken))


def test_the_check_costs_less_than_a_twentieth_of_the_encoding():
    random_luma = np.random.default_rng(0).integers(60, 190, (160, 1280), np.uint8)
    frames = []
    for number in range(24):
        chroma = np.full((80, 640), 128, np.uint8)
        frames.append(CroppedFrame(np.roll(random_luma, number, 1), chroma, chroma, ColourTags()))
    started = time.thread_time()
    data = encode_chunk(frames, rate=TEN)
    encoding = time.thread_time() - started
    started = time.thread_time()
    for _ in range(5):
        check(data, 24, 1280, 160)
    assert (time.thread_time() - started) / 5 < encoding / 20

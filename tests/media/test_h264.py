"""Segments of H.264: the same bytes however the work is cut, exact times, segments that decode alone."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction
from typing import cast

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from video_pipeline.errors import Internal
from video_pipeline.media.frames import ColourTags, CroppedFrame
from video_pipeline.media.h264 import (
    BT709,
    PRESETS,
    EncodedPacket,
    H264Settings,
    SegmentEncoder,
    VideoFormat,
    next_dts,
    segment_frames,
)

WIDTH, HEIGHT = 160, 96
NTSC = VideoFormat(WIDTH, HEIGHT, Fraction(1, 30000), Fraction(30000, 1001))
SETTINGS = H264Settings(crf=24, preset="veryfast")


def picture(number: int, width: int = WIDTH) -> CroppedFrame:
    """A moving texture whose top left 16 x 16 pixels tell `number`, with a hard cut every 47 frames."""
    texture = np.random.default_rng(number // 47).integers(40, 200, (HEIGHT // 8, width // 8), dtype=np.uint8)
    y = np.roll(texture.repeat(8, 0).repeat(8, 1), 2 * number, 1)
    y[:16, :16] = 16 + number % 200
    half = (HEIGHT // 2, width // 2)
    return CroppedFrame(
        np.ascontiguousarray(y), np.full(half, 100, np.uint8), np.full(half, 150, np.uint8), BT709
    )


def encode(
    times: Sequence[tuple[int, int]],
    fmt: VideoFormat = NTSC,
    first: int = 0,
    settings: H264Settings = SETTINGS,
) -> tuple[bytes, list[EncodedPacket]]:
    """(PTS, duration) of each picture of a run -> extradata and packets."""
    with SegmentEncoder(fmt, settings, first_frame=first) as encoder:
        packets = []
        for place, (pts, duration) in enumerate(times, first):
            packets += encoder.encode(picture(place, fmt.width), pts, duration)
        return encoder.extradata, packets + encoder.finish()


def even(count: int, start: int = 0) -> list[tuple[int, int]]:
    return [(1001 * place, 1001) for place in range(start, start + count)]


def uneven(count: int) -> list[tuple[int, int]]:
    """Steps of 1 to 3000 ticks, as from a phone. Around a border of segments, steps of one tick and then
    long ones: the second segment's encoder dates its first packets before the last of the first."""
    steps = np.random.default_rng(5).choice([1, 500, 1001, 3000], count)
    steps[50:60], steps[60:66] = 1, 3000
    starts = np.concatenate(([0], np.cumsum(steps)))
    return [(int(start), int(step)) for start, step in zip(starts, steps, strict=False)]


def decode(extradata: bytes, packets: Sequence[EncodedPacket]) -> list[av.VideoFrame]:
    codec = cast(VideoCodecContext, av.CodecContext.create("h264", "r"))
    codec.extradata = extradata
    codec.thread_count = 1
    frames = []
    for packet in packets:
        raw = av.Packet(packet.data)
        raw.pts, raw.dts = packet.pts, packet.dts
        frames += codec.decode(raw)
    return frames + codec.decode(None)


def segments(packets: Sequence[EncodedPacket]) -> list[list[EncodedPacket]]:
    out: list[list[EncodedPacket]] = []
    for packet in packets:
        if packet.key:
            out.append([])
        out[-1].append(packet)
    return out


def test_a_segment_is_two_seconds_of_pictures_and_at_least_one() -> None:
    rates = (Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(60), Fraction(1, 10))
    assert [segment_frames(rate) for rate in rates] == [50, 60, 48, 120, 1]


@pytest.mark.parametrize("preset", ["ultrafast", "medium"])
def test_several_encoders_that_begin_at_borders_give_the_same_bytes_as_one(preset: str) -> None:
    settings = H264Settings(crf=24, preset=preset)
    extradata, whole = encode(even(150), settings=settings)
    parts = [encode(even(60), settings=settings)]
    parts.append(encode(even(90, 60), first=60, settings=settings))
    assert [part[0] for part in parts] == [extradata, extradata]
    assert [packet.data for part in parts for packet in part[1]] == [packet.data for packet in whole]
    assert [(packet.pts, packet.dts) for part in parts for packet in part[1]] == [
        (packet.pts, packet.dts) for packet in whole
    ]


@pytest.mark.parametrize("width", [144, 160, 208])
def test_encoding_again_gives_the_same_bytes_in_widths_where_avx_512_used_to_differ(width: int) -> None:
    fmt = VideoFormat(width, HEIGHT, Fraction(1, 30000), Fraction(30000, 1001))
    settings = H264Settings(crf=24, preset="medium")
    assert len({hash(tuple(encode(uneven(70), fmt, settings=settings)[1])) for _ in range(10)}) == 1


@pytest.mark.parametrize("times", [even(130), uneven(130)], ids=["even", "uneven"])
def test_every_picture_keeps_its_pts_and_duration(times: list[tuple[int, int]]) -> None:
    _, packets = encode(times)
    assert sorted((packet.pts, packet.duration) for packet in packets) == times


@pytest.mark.parametrize("preset", PRESETS)
def test_dts_rises_and_never_passes_the_pts_with_any_preset(preset: str) -> None:
    _, packets = encode(uneven(130), settings=H264Settings(crf=30, preset=preset))
    dts = [packet.dts for packet in packets]
    assert dts == sorted(set(dts))
    assert all(packet.dts <= packet.pts for packet in packets)


@pytest.mark.parametrize("count", [1, 2, 3, 59, 60, 61, 120, 121])
def test_a_clip_may_end_anywhere_in_a_segment(count: int) -> None:
    extradata, packets = encode(even(count))
    assert [packet.key for packet in packets].count(True) == -(-count // 60)
    assert [frame.pts for frame in decode(extradata, packets)] == [1001 * place for place in range(count)]


def test_one_picture_each_two_seconds_gives_segments_of_one_picture() -> None:
    slow = VideoFormat(WIDTH, HEIGHT, Fraction(1, 2), Fraction(1, 2))
    _, packets = encode([(4 * place, 4) for place in range(5)], slow)
    assert [(packet.pts, packet.key) for packet in packets] == [(4 * place, True) for place in range(5)]


def test_each_segment_decodes_alone_to_what_it_is_in_the_whole() -> None:
    extradata, packets = encode(even(150))
    whole = {frame.pts: frame.to_ndarray() for frame in decode(extradata, packets)}
    assert len(whole) == 150
    parts = segments(packets)
    assert [len(part) for part in parts] == [60, 60, 30]
    for number, part in enumerate(parts):
        alone = decode(extradata, part)
        assert [frame.pts for frame in alone] == [1001 * (60 * number + j) for j in range(len(part))]
        assert all(np.array_equal(frame.to_ndarray(), whole[frame.pts]) for frame in alone)


def test_a_hard_cut_inside_a_segment_gets_an_intra_picture_that_is_no_key_frame() -> None:
    noise = np.random.default_rng(1).integers(16, 236, (HEIGHT, WIDTH), dtype=np.uint8)
    slope = np.ascontiguousarray(np.tile(np.linspace(40, 200, WIDTH).astype(np.uint8), (HEIGHT, 1)))
    grey = np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8)
    with SegmentEncoder(NTSC, H264Settings(crf=24, preset="medium")) as encoder:
        packets = []
        for place in range(60):
            y = noise if place < 30 else slope
            packets += encoder.encode(CroppedFrame(y, grey, grey, BT709), 1001 * place, 1001)
        packets += encoder.finish()
    frames = decode(encoder.extradata, packets)
    assert [place for place, frame in enumerate(frames) if frame.pict_type == PictureType.I] == [0, 30]
    assert [packet.pts for packet in packets if packet.key] == [0]


def test_a_slow_drain_changes_nothing_and_holds_up_the_end_of_the_next_segment() -> None:
    settings = H264Settings(crf=24, preset="ultrafast")
    _, wanted = encode(even(200), settings=settings)
    release = threading.Event()

    class SlowDrain(SegmentEncoder):
        """A double: the first drain waits for `release`."""

        def _packets(self, codec: VideoCodecContext, picture: VideoFrame | None) -> list[EncodedPacket]:
            if picture is None:
                assert release.wait(60)
            return super()._packets(codec, picture)

    packets = []
    with SlowDrain(NTSC, settings) as encoder:
        for place in range(200):
            if place == 118:
                threading.Timer(0.2, release.set).start()
            packets += encoder.encode(picture(place), 1001 * place, 1001)
            if place == 118:
                assert all(packet.pts < 60 * 1001 for packet in packets)
        packets += encoder.finish()
    assert packets == wanted


def test_the_pictures_come_back_as_they_were_and_in_order() -> None:
    extradata, packets = encode(even(100))
    for number, frame in enumerate(decode(extradata, packets)):
        y = frame.to_ndarray()[:HEIGHT, :WIDTH]
        assert abs(float(y[2:14, 2:14].mean()) - (16 + number)) < 1.5
        assert np.abs(y.astype(int) - picture(number).y).mean() < 4


def test_the_bitstream_says_bt709_limited_high_profile() -> None:
    frames = decode(*encode(even(5)))
    assert {(f.color_primaries, f.color_trc, f.colorspace, f.color_range) for f in frames} == {(1, 1, 1, 1)}
    extradata, _ = encode(even(1))
    assert extradata[4] & 31 == 7  # a sequence parameter set
    assert extradata[5] == 100  # profile_idc of High (ITU-T H.264, A.2.4)


def test_pictures_are_not_cut_into_slices_and_four_threads_are_used_on_any_machine() -> None:
    large = VideoFormat(640, 480, Fraction(1, 25), Fraction(25))
    grey = [np.full(shape, 90, np.uint8) for shape in ((480, 640), (240, 320), (240, 320))]
    with SegmentEncoder(large, SETTINGS) as encoder:
        encoder.encode(CroppedFrame(grey[0], grey[1], grey[2], BT709), 0, 1)
        (packet,) = encoder.finish()
    said = packet.data[: packet.data.index(b" aq=")].decode("latin-1").split()
    assert {"threads=4", "sliced_threads=0", "open_gop=0"} <= set(said)


def test_packets_come_while_frames_go_in_and_the_thread_ends_with_the_context() -> None:
    before = set(threading.enumerate())
    with SegmentEncoder(NTSC, SETTINGS) as encoder:
        early = [p for place in range(179) for p in encoder.encode(picture(place), 1001 * place, 1001)]
        assert len(early) >= 60
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) <= before


def test_an_error_while_a_segment_is_drained_leaves_no_thread() -> None:
    before = set(threading.enumerate())

    def fail_after_a_border() -> None:
        with SegmentEncoder(NTSC, SETTINGS) as encoder:
            for place in range(61):
                encoder.encode(picture(place), 1001 * place, 1001)
            raise KeyError("the caller's own")

    with pytest.raises(KeyError):
        fail_after_a_border()
    assert set(threading.enumerate()) <= before


def test_wrong_frames_and_times_are_refused() -> None:
    good = picture(0)
    with SegmentEncoder(NTSC, SETTINGS) as encoder:
        with pytest.raises(Internal, match=r"not BT\.709"):
            encoder.encode(CroppedFrame(good.y, good.u, good.v, ColourTags(1, 1, 6, 1)), 0, 1)
        with pytest.raises(Internal, match="planes of"):
            encoder.encode(CroppedFrame(good.y, good.u[:-1], good.v, BT709), 0, 1)
        with pytest.raises(Internal, match="8-bit"):
            encoder.encode(CroppedFrame(good.y.astype(np.uint16), good.u, good.v, BT709), 0, 1)
        with pytest.raises(Internal, match="lasts 0"):
            encoder.encode(good, 0, 0)
        encoder.encode(good, 5, 1)
        with pytest.raises(Internal, match="PTS 5 after 5"):
            encoder.encode(good, 5, 1)
        assert [packet.pts for packet in encoder.finish()] == [5]
        with pytest.raises(Internal, match="after the end"):
            encoder.encode(good, 6, 1)
    with pytest.raises(Internal, match="does not begin a segment of 60"):
        SegmentEncoder(NTSC, SETTINGS, first_frame=59)
    with pytest.raises(Internal, match="even size"):
        VideoFormat(161, 96, Fraction(1, 25), Fraction(25))
    with pytest.raises(Internal, match="CRF"):
        H264Settings(crf=0)
    with pytest.raises(Internal, match="preset"):
        H264Settings(preset="placebo")


def test_a_dts_is_lifted_above_the_one_before_and_refused_beyond_its_pts() -> None:
    packet = EncodedPacket(b"", 5, 2, 1, False)
    assert next_dts(None, packet) is packet
    assert next_dts(4, packet).dts == 5
    with pytest.raises(Internal, match="PTS 5 would be decoded at 6"):
        next_dts(5, packet)

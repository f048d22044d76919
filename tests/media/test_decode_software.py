"""The software decoder against decoding everything, on every kind of file; its refusals; its manners."""

from __future__ import annotations

import gc
import io
import itertools
import os
import random
import threading
from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.fixtures.media_factory import DEMO_CLIP, MediaFactory, usual_ones_fast
from tests.media.reference import decode_everything, displayed_crop, planes
from video_pipeline.errors import BadInput, Transient
from video_pipeline.media.decode_software import SoftwareDecoder
from video_pipeline.media.frames import CroppedFrame, Sample
from video_pipeline.media.geometry import CodedCrop, CropRegion, Orientation, PixelCrop
from video_pipeline.media.planes import PlaneCropper

BAND = CropRegion(left=0.06, top=0.68, width=0.87, height=0.28)
TEN = Fraction(10)

UPRIGHT = [
    "h264_b", "h264_p", "h264_flat_b", "h264_strict_pyramid", "h264_open_gop", "h264_intra_refresh",
    "h264_slices", "h264_interlaced", "h264_fragmented", "h264_fragmented_mfra", "h264_faststart", "h264_mov",
    "h264_mkv", "live_mkv", "live_webm", "live_webm_clusters", "live_avi", "h264_ts", "h264_avi",
    "h264_full_range", "hevc", "hevc_open_gop", "hevc_layers", "hevc_mkv",
    "hevc_ts", "vp9", "vp9_mp4", "vp9_alt_ref", "vp8", "av1", "av1_mkv", "msmpeg4_avi", "mpeg4_avi",
    "mjpeg_avi", "mpeg2_ts", "vfr", "vfr_mkv", "ntsc", "slow", "non_zero_start", "edit_empty", "edit_trim",
    "edit_trim_open_gop", "tuned_in", "tuned_in_mp4", "tuned_in_ts", "tuned_in_hevc", "odd_size",
    "unaligned_size", "one_picture", "one_picture_mkv", "two_pictures",
]  # fmt: skip
TURNED = {
    "rotated_90": (90, False),
    "rotated_180": (180, False),
    "rotated_270": (270, False),
    "mirrored": (0, True),
    "odd_size_rotated": (180, False),
}
CONVERTED = ["ten_bit", "yuv422", "yuv444", "rgb", "gray"]


def decode(
    source: Path | io.RawIOBase | io.BytesIO,
    rate: Fraction = TEN,
    region: CropRegion = BAND,
    threads: int = 1,
) -> tuple[list[Sample], SoftwareDecoder]:
    decoder = SoftwareDecoder(source, name="the video", crop_region=region, rate=rate, threads=threads)
    return list(decoder.samples()), decoder


def host(sample: Sample) -> CroppedFrame:
    assert isinstance(sample.frame, CroppedFrame)
    return sample.frame


def same_pixels(frame: CroppedFrame, expected: tuple[np.ndarray, np.ndarray, np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip((frame.y, frame.u, frame.v), expected, strict=True))


@pytest.mark.parametrize("variant", usual_ones_fast(UPRIGHT))
@pytest.mark.parametrize("rate", [TEN, Fraction(30000, 1001)], ids=["10", "ntsc"])
def test_samples_equal_decoding_everything(media: MediaFactory, variant: str, rate: Fraction) -> None:
    path = media.path(variant)
    reference = decode_everything(path)
    shown = reference.sampled(rate)
    samples, decoder = decode(path, rate)
    assert [s.index for s in samples] == list(range(len(shown)))
    assert [s.pts for s in samples] == [reference.pts[position] for position in shown]
    for sample, position in zip(samples, shown, strict=True):
        assert same_pixels(host(sample), displayed_crop(reference.frames[position], decoder.crop)), (
            sample.index
        )
    assert decoder.stats.samples == len(samples)


@pytest.mark.parametrize("variant", TURNED)
def test_a_turned_video_is_cropped_as_displayed(media: MediaFactory, variant: str) -> None:
    path = media.path(variant)
    rotation, mirrored = TURNED[variant]
    reference = decode_everything(path)
    samples, decoder = decode(path)
    assert (decoder.probe.rotation, decoder.probe.mirrored) == (rotation, mirrored)
    for sample, position in zip(samples, reference.sampled(TEN), strict=True):
        expected = displayed_crop(reference.frames[position], decoder.crop, rotation, mirrored)
        assert same_pixels(host(sample), expected)


@pytest.mark.parametrize("variant", CONVERTED)
def test_other_sample_formats_are_cropped_then_converted(media: MediaFactory, variant: str) -> None:
    path = media.path(variant)
    reference = decode_everything(path)
    shown = reference.sampled(TEN)
    samples, decoder = decode(path)
    assert [s.pts for s in samples] == [reference.pts[position] for position in shown]
    crop = decoder.crop
    cropper = PlaneCropper(CodedCrop(crop.left, crop.top, crop.width, crop.height), Orientation())
    for sample, position in zip(samples, shown, strict=True):
        cut = cropper.cut(reference.frames[position])
        assert same_pixels(host(sample), (cut.y, cut.u, cut.v))
        # Against libav's conversion of the whole picture: equal but for rounding and dithering.
        whole = reference.frames[position]
        if variant not in ("rgb", "gray"):
            full = displayed_crop(whole.reformat(format="yuv420p"), crop)
            for ours, theirs in zip((cut.y, cut.u, cut.v), full, strict=True):
                difference = np.abs(ours.astype(int) - theirs)
                assert difference.mean() < 0.6
                assert np.percentile(difference, 99) <= 3


def test_rgb_becomes_limited_bt709_and_is_tagged_so() -> None:
    picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), (255, 0, 0), np.uint8), format="rgb24")
    cut = PlaneCropper(CodedCrop(16, 16, 32, 32), Orientation()).cut(picture)
    # ITU-R BT.709 red: Y = 16 + 219 * 0.2126, Cb = 128 - 224 * 0.2126 / 1.8556, Cr = 128 + 224 * 0.5.
    assert abs(int(cut.y[8, 8]) - 63) <= 1
    assert abs(int(cut.u[8, 8]) - 102) <= 1
    assert abs(int(cut.v[8, 8]) - 240) <= 1
    assert (cut.tags.matrix, cut.tags.range) == (1, 1)


@pytest.mark.parametrize("name", ["yuv444p", "yuvj444p", "yuv420p10le", "yuv422p"])
@pytest.mark.parametrize("full_range", [False, True])
def test_conversion_keeps_levels_in_either_range(name: str, full_range: bool) -> None:
    picture = av.VideoFrame(64, 48, name)
    level = 4 if "10" in name else 1
    for plane, value in zip(picture.planes, (200, 90, 170), strict=True):
        dtype = np.uint16 if level == 4 else np.uint8
        plane.update(np.full(plane.buffer_size // np.dtype(dtype).itemsize, value * level, dtype).tobytes())
    picture.color_range = 2 if full_range or name.startswith("yuvj") else 1
    cut = PlaneCropper(CodedCrop(16, 16, 32, 16), Orientation()).cut(picture)
    for plane, value in zip((cut.y, cut.u, cut.v), (200, 90, 170), strict=True):
        assert np.abs(plane.astype(int) - value).max() <= 1


def test_colour_tags_travel_with_the_frames(media: MediaFactory) -> None:
    samples, decoder = decode(media.path("h264_b"))
    tags = host(samples[0]).tags
    assert (tags.primaries, tags.transfer, tags.matrix, tags.range) == (1, 1, 1, 1)
    assert decoder.probe.color_matrix == 1
    assert host(decode(media.path("h264_full_range"))[0][0]).tags.range == 2


def test_a_full_range_format_is_full_range_even_without_a_tag() -> None:
    cropper = PlaneCropper(CodedCrop(0, 0, 16, 16), Orientation())
    assert cropper.cut(av.VideoFrame(32, 32, "yuvj420p")).tags.range == 2
    assert cropper.cut(av.VideoFrame(32, 32, "yuv420p")).tags.range == 0


def test_frames_are_contiguous_copies_of_even_size(media: MediaFactory) -> None:
    whole = CropRegion(left=0, top=0, width=1, height=1)
    for variant in ("h264_b", "rotated_90", "odd_size", "ten_bit"):
        samples, decoder = decode(media.path(variant), region=whole)
        for sample in samples[:3]:
            frame = host(sample)
            assert (frame.width, frame.height) == (decoder.crop.width, decoder.crop.height)
            for plane, half in ((frame.y, 1), (frame.u, 2), (frame.v, 2)):
                assert plane.shape == (decoder.crop.height // half, decoder.crop.width // half)
                assert plane.dtype == np.uint8
                assert plane.flags.c_contiguous
                assert plane.flags.owndata
            assert frame.nbytes == frame.width * frame.height * 3 // 2


def test_samples_of_one_picture_share_one_frame(media: MediaFactory) -> None:
    samples, _ = decode(media.path("slow"))
    groups = [list(group) for _, group in itertools.groupby(samples, key=lambda s: s.pts)]
    assert len(groups) == 6
    assert len(samples) == 20
    for group in groups:
        assert all(sample.frame is group[0].frame for sample in group)
    frames = [group[0].frame for group in groups]
    assert all(a is not b for a, b in itertools.pairwise(frames))


# What is not decoded


@pytest.mark.parametrize(
    ("variant", "share"),
    [
        ("h264_b", 0.30),
        ("h264_flat_b", 0.35),
        ("h264_strict_pyramid", 0.40),
        ("hevc", 0.30),
        ("h264_ts", 0.30),
    ],
)
def test_packets_that_nothing_needs_are_never_decoded(
    media: MediaFactory, variant: str, share: float
) -> None:
    _, decoder = decode(media.path(variant))
    stats = decoder.stats
    assert stats.packets == 60
    assert stats.pictures_decoded == stats.packets - stats.packets_dropped
    assert stats.packets_dropped >= share * stats.packets


@pytest.mark.parametrize("variant", ["h264_p", "vp9", "av1", "h264_interlaced"])
def test_without_unreferenced_pictures_nothing_is_dropped(media: MediaFactory, variant: str) -> None:
    _, decoder = decode(media.path(variant))
    assert decoder.stats.packets_dropped == 0
    assert decoder.stats.pictures_decoded == 60


def test_at_the_source_rate_nothing_is_dropped(media: MediaFactory) -> None:
    samples, decoder = decode(media.path("h264_b"), Fraction(25))
    assert decoder.stats.packets_dropped == 0
    assert len(samples) == 60


def test_several_threads_give_the_same_samples(media: MediaFactory) -> None:
    for variant in ("h264_b", "hevc", "vp9", "h264_open_gop"):
        one, _ = decode(media.path(variant))
        two, _ = decode(media.path(variant), threads=2)
        assert [s.pts for s in one] == [s.pts for s in two]
        assert all(
            same_pixels(host(a), (host(b).y, host(b).u, host(b).v)) for a, b in zip(one, two, strict=True)
        )


# Time


def test_an_empty_edit_moves_the_first_picture_and_a_trimming_one_hides_what_it_cuts(
    media: MediaFactory,
) -> None:
    late, decoder = decode(media.path("edit_empty"))
    assert late[0].pts * decoder.time_base == Fraction(2, 5)
    assert len(late) == 24
    trimmed, decoder = decode(media.path("edit_trim"))
    assert trimmed[0].pts == 0
    assert len(trimmed) == 10
    whole, _ = decode(media.path("h264_b"))
    frame = host(trimmed[0])
    assert same_pixels(frame, (host(whole[14]).y, host(whole[14]).u, host(whole[14]).v))


def test_leading_pictures_of_a_stream_that_was_tuned_into_are_not_part_of_it(media: MediaFactory) -> None:
    for variant in ("tuned_in", "tuned_in_hevc"):
        with av.open(str(media.path(variant))) as container:
            pts = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
        assert min(pts) < pts[0], "the fixture must hold leading pictures"
        samples, decoder = decode(media.path(variant))
        assert samples[0].pts == pts[0]
        assert decoder.stats.packets == len(pts)


def test_a_rate_far_above_the_source_repeats_and_far_below_skips(media: MediaFactory) -> None:
    many, _ = decode(media.path("h264_b"), Fraction(240))
    assert len(many) == 576
    few, decoder = decode(media.path("h264_b"), Fraction(1, 2))
    assert [s.pts * decoder.time_base for s in few] == [0, 2]


# Refusals

REFUSED = {
    "empty_file": "the file is empty",
    "text": "not a video file that can be opened",
    "playlist": "not a video file that can be opened",
    "picture_as_video": "not a video file that can be opened",
    "audio_only": "no video stream",
    "audio_with_cover": "no video stream",
    "no_pictures": "no pictures",
    "truncated_moov_end": "cut off: it has no index",
    "truncated_faststart_30": "cut off: its mdat box lacks",
    "truncated_faststart_60": "cut off: its mdat box lacks",
    "truncated_faststart_99": "cut off: its mdat box lacks",
    "truncated_fragmented_50": "cut off: its mdat box lacks",
    "truncated_fragmented_95": "cut off: its mdat box lacks",
    "truncated_mkv": "cut off: its Segment lacks",
    "truncated_webm": "cut off: its Segment lacks",
    "truncated_avi": "cut off: its RIFF chunk lacks",
    "truncated_live_mkv": "cut off: its Cluster lacks",
    "truncated_live_webm": "cut off: its Cluster lacks",
    "truncated_live_webm_clusters": "cut off: its SimpleBlock lacks",
    "truncated_live_avi": "cut off: its 00dc chunk lacks",
    "corrupt_middle": r"damaged at \d\.\d+ s",
    "two_sizes": r"size changes from 320x180 to 160x96 at \d\.\d+ s",
    "rotated_37": "not a multiple of 90 degrees",
}


@pytest.mark.parametrize("variant", REFUSED)
def test_bad_media_is_refused_by_name_with_what_to_do(media: MediaFactory, variant: str) -> None:
    with pytest.raises(BadInput, match=REFUSED[variant]) as caught:
        decode(media.path(variant))
    assert caught.value.input == "the video"
    assert caught.value.what_to_do


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        decode(tmp_path / "nowhere.mp4")
    with pytest.raises(BadInput, match="no such file"):
        decode(tmp_path)


def test_a_crop_too_small_for_the_picture_is_refused(media: MediaFactory) -> None:
    with pytest.raises(BadInput, match="at least 16x16"):
        decode(media.path("h264_b"), region=CropRegion(left=0, top=0, width=1, height=0.05))


def test_a_picture_shown_for_days_is_a_broken_timestamp(media: MediaFactory, tmp_path: Path) -> None:
    def jump(count: int, packet: av.Packet) -> av.Packet:
        late = (count >= 30) * 12800 * 86400
        packet.pts, packet.dts = (packet.pts or 0) + late, (packet.dts or 0) + late
        return packet

    with pytest.raises(BadInput, match="24 hours later"):
        decode(remux(media.path("h264_p"), tmp_path / "jump.mkv", jump))


def test_damage_before_the_end_costs_no_earlier_sample(media: MediaFactory) -> None:
    decoder = SoftwareDecoder(media.path("corrupt_middle"), name="v", crop_region=BAND, rate=TEN)
    whole, _ = decode(media.path("h264_b"))
    got: list[Sample] = []
    with pytest.raises(BadInput):
        got.extend(decoder.samples())
    # list.extend keeps what came before the error.
    assert len(got) >= 8
    for sample, good in zip(got, whole, strict=False):
        assert same_pixels(host(sample), (host(good).y, host(good).u, host(good).v))


def test_a_cut_that_costs_no_picture_of_the_last_fragment_is_found(media: MediaFactory) -> None:
    data = media.path("h264_fragmented").read_bytes()
    with pytest.raises(BadInput, match="its moof box lacks"):
        decode(io.BytesIO(data[: data.rindex(b"moof") + 40]))
    # And a cut behind the last picture, in the sound: libav reports nothing at all.
    with pytest.raises(BadInput, match="its mdat box lacks 30 bytes"):
        decode(io.BytesIO(data[:-30]))


def test_a_file_whose_media_runs_to_its_end_is_refused_where_the_index_names_more(
    media: MediaFactory,
) -> None:
    path = media.path("h264_faststart")
    data = to_the_end(path.read_bytes())
    assert len(decode(io.BytesIO(data))[0]) == 24
    places = [place for place, _ in stored_pictures(path)]
    for number, missing in ((20, 40), (59, 1)):
        # Between two pictures: libav takes it for the end of the video.
        with pytest.raises(BadInput, match=f"cut off: {missing} of its pictures lie beyond its end"):
            decode(io.BytesIO(data[: places[number]]))
    fragmented = media.path("h264_fragmented")
    data, places = to_the_end(fragmented.read_bytes()), [place for place, _ in stored_pictures(fragmented)]
    assert len(decode(io.BytesIO(data))[0]) == 24
    with pytest.raises(BadInput, match="cut off: 4 of its pictures lie beyond its end"):
        decode(io.BytesIO(data[: places[-4]]))


def to_the_end(data: bytes) -> bytes:
    """An MP4 whose last box is an mdat, with the size 0 in its header: it then has whatever the file has."""
    header = data.rindex(b"mdat") - 4
    return data[:header] + bytes(4) + data[header + 4 :]


def stored_pictures(path: Path) -> list[tuple[int, int]]:
    """Offset and size in the file of each picture of a video, in the order of the file."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        return sorted((int(packet.pos or 0), packet.size) for packet in packets if packet.size)


def test_most_damage_to_h264_is_noticed(media: MediaFactory) -> None:
    """Forty places; libav raises for some and only flags the picture for most. What parses is not noticed."""
    data = media.path("h264_slices").read_bytes()
    start = data.index(b"mdat") + 64
    places = random.Random(3).sample(range(start, data.index(b"moov", start) - 64), 40)
    refused = 0
    for place in places:
        damaged = data[:place] + bytes(24) + data[place + 24 :]
        try:
            decode(io.BytesIO(damaged), Fraction(25))
        except BadInput:
            refused += 1
    assert refused >= 32


def test_a_wrong_bit_is_noticed_in_hevc_that_carries_a_hash_of_each_picture(media: MediaFactory) -> None:
    """What parses is noticed too where the stream tells what it must give (H.265, D.3.19)."""
    path = media.path("hevc_hashed")
    data = path.read_bytes()
    assert len(decode(io.BytesIO(data), Fraction(25))[0]) == 60
    for place, size in stored_pictures(path)[3::10]:
        damaged = bytearray(data)
        damaged[place + size // 2] ^= 4
        with pytest.raises(BadInput, match=r"damaged|cannot be decoded"):
            decode(io.BytesIO(bytes(damaged)), Fraction(25))


def remux(source: Path, target: Path, change: Callable[[int, av.Packet], av.Packet]) -> Path:
    """Copy the video's packets, each (by its number in decoding order) through `change`."""
    with av.open(str(source)) as before, av.open(str(target), "w") as after:
        stream = before.streams.video[0]
        copy = after.add_stream_from_template(stream)
        for number, packet in enumerate(before.demux(stream)):
            if packet.dts is not None:
                changed = change(number, packet)
                changed.stream = copy
                after.mux(changed)
    return target


@pytest.mark.parametrize("number", [12, 59])
def test_a_picture_that_never_comes_out_is_missed(media: MediaFactory, tmp_path: Path, number: int) -> None:
    def hollow(count: int, packet: av.Packet) -> av.Packet:
        if count != number:
            return packet
        # An access unit delimiter and nothing else: libav takes it without a word.
        empty = av.Packet(b"\0\0\0\3\x46\x01\x50")
        empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
        return empty

    with pytest.raises(BadInput, match="no picture came out of the decoder"):
        decode(remux(media.path("hevc"), tmp_path / "hollow.mkv", hollow))


def test_timestamps_in_another_order_than_the_pictures_are_refused(
    media: MediaFactory, tmp_path: Path
) -> None:
    def swap(count: int, packet: av.Packet) -> av.Packet:
        # Two pictures of one mini-GOP, in PTS 13 and 15 of 25 Hz: each gets the other's time.
        others = {13 * 512: 15 * 512, 15 * 512: 13 * 512}
        packet.pts = others.get(packet.pts or 0, packet.pts)
        packet.dts = (packet.dts or 0) - 4 * 512  # The muxer wants no DTS after its PTS.
        return packet

    with pytest.raises(BadInput, match="timestamps contradict the order of the pictures"):
        decode(remux(media.path("h264_b"), tmp_path / "swapped.mkv", swap), Fraction(25))


# Readers


class FailingReader(io.BytesIO):
    """A double of a store's reader whose connection breaks after `healthy` bytes."""

    def __init__(self, data: bytes, healthy: int) -> None:
        super().__init__(data)
        self.left = healthy

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise Transient("connection reset", input="the store")
        return data


def test_a_reader_serves_as_well_as_a_path_and_stays_open(media: MediaFactory) -> None:
    for variant in ("h264_b", "h264_fragmented", "vp9", "h264_ts"):
        data = io.BytesIO(media.path(variant).read_bytes())
        samples, _ = decode(data)
        assert [s.pts for s in samples] == [s.pts for s in decode(media.path(variant))[0]]
        assert not data.closed


def test_a_readers_own_error_comes_through_unchanged(media: MediaFactory) -> None:
    for variant, healthy in (("h264_b", 2000), ("mjpeg_avi", 400_000), ("h264_faststart", 60_000)):
        with pytest.raises(Transient, match="connection reset"):
            decode(FailingReader(media.path(variant).read_bytes(), healthy))


def test_the_file_is_read_once(media: MediaFactory) -> None:
    class Counting(io.BytesIO):
        served = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            Counting.served += len(data)
            return data

    data = media.path("mjpeg_avi").read_bytes()
    decode(Counting(data))
    assert Counting.served < len(data) * 1.2


# Manners


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.slow
@pytest.mark.parametrize("leave_after", [0, 1, 7])
def test_leaving_half_way_frees_everything(media: MediaFactory, leave_after: int) -> None:
    path = media.path("h264_b")
    decode(path)
    gc.collect()
    files, threads = open_files(), set(threading.enumerate())
    for _ in range(5):
        decoder = SoftwareDecoder(path, name="v", crop_region=BAND, rate=TEN, threads=2)
        samples = decoder.samples()
        for _ in range(leave_after):
            next(samples)
        if leave_after:
            assert isinstance(samples, Generator)
            samples.close()
        else:
            decoder.close()
    gc.collect()
    # What an earlier test has left may end meanwhile.
    assert open_files() <= files
    assert set(threading.enumerate()) <= threads


@pytest.mark.slow
def test_a_refused_file_is_closed(media: MediaFactory) -> None:
    for variant in ("text", "corrupt_middle", "truncated_mkv", "audio_only", "no_pictures"):
        path = media.path(variant)
        with pytest.raises(BadInput):
            decode(path)
        gc.collect()
        names = {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}
        assert str(path) not in names


def test_samples_can_be_taken_once(media: MediaFactory) -> None:
    _, decoder = decode(media.path("h264_b"))
    with pytest.raises(RuntimeError, match="once"):
        next(decoder.samples())


def test_the_bundled_clip_decodes_whole() -> None:
    region = CropRegion(left=0.05, top=0.75, width=0.9, height=0.2)
    decoder = SoftwareDecoder(DEMO_CLIP, name="street", crop_region=region, rate=TEN)
    assert decoder.crop == PixelCrop(32, 270, 576, 72)
    pts = [sample.pts * decoder.time_base for sample in decoder.samples()]
    assert pts == [Fraction(k, 10) for k in range(420)]
    assert decoder.stats.packets_dropped > 0.25 * decoder.stats.packets


def test_the_fixture_pictures_differ_from_each_other(media: MediaFactory) -> None:
    """Else a decoder that showed a neighbour would pass."""
    reference = decode_everything(media.path("h264_b"))
    sums = [int(planes(frame)[0].astype(np.int64).sum()) for frame in reference.frames]
    assert len(set(sums)) == len(sums)


BETWEEN = [
    "h264_b",
    "h264_strict_pyramid",
    "h264_p",
    "hevc",
    "vp9",
    "av1",
    "vfr",
    "ntsc",
    "edit_trim",
    "non_zero_start",
]


@pytest.mark.parametrize("variant", BETWEEN)
def test_pictures_between_samples_come_where_they_are_asked_for(media: MediaFactory, variant: str) -> None:
    stamps = decode_everything(media.path(variant)).pts
    low, high = stamps[len(stamps) // 3], stamps[len(stamps) // 2]
    decoder = SoftwareDecoder(
        media.path(variant), name="v", crop_region=BAND, rate=TEN, also=lambda pts: low <= pts <= high
    )
    pictures = list(decoder.pictures())
    sampled, _ = decode(media.path(variant))
    shown = {sample.pts for sample in sampled}
    assert [picture.pts for picture in pictures] == sorted(
        shown | {pts for pts in stamps if low <= pts <= high}
    )
    assert [(k, p.pts) for p in pictures for k in p.samples] == [(s.index, s.pts) for s in sampled]
    assert decoder.stats.samples == len(sampled)
    by_pts = {picture.pts: picture.frame.to_host().y for picture in pictures}
    assert all(np.array_equal(by_pts[sample.pts], host(sample).y) for sample in sampled)


def test_pictures_nobody_asked_for_are_not_decoded(media: MediaFactory) -> None:
    _, sparse = decode(media.path("h264_b"))
    decoder = SoftwareDecoder(
        media.path("h264_b"), name="v", crop_region=BAND, rate=TEN, also=lambda _pts: True
    )
    assert len(list(decoder.pictures())) == decoder.stats.packets
    assert decoder.stats.packets_dropped == 0 < sparse.stats.packets_dropped

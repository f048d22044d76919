"""Copied parts against the source: the same pictures and sound at the same times, in a file that plays."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests.fixtures.media_factory import MediaFactory, ffmpeg, usual_ones_fast
from tests.media.test_decode_software import TURNED, UPRIGHT
from video_pipeline.errors import BadInput
from video_pipeline.media.clip_source import ClipPicture, ClipSource
from video_pipeline.media.copy_order import CopyOrder, Timed
from video_pipeline.media.stream_copy import CopiedRange, copy_range

NOT_IN_MP4 = ("vp8", "msmpeg4_avi")
COPIED = [name for name in (*UPRIGHT, *TURNED, "ten_bit", "h264_fragmented_small") if name not in NOT_IN_MP4]
PARTS = [(Fraction(0), Fraction(1)), (Fraction(1, 2), Fraction(7, 10)), (Fraction(3, 10), Fraction(1, 2))]


def read(path: Path) -> tuple[list[ClipPicture], ClipSource]:
    with ClipSource(path, name="the video") as source:
        pictures = list(source.pictures())
        assert source.stop > source.start
        return pictures, source


def top_boxes(path: Path) -> list[str]:
    data, position, kinds = path.read_bytes(), 0, []
    while position < len(data):
        kinds.append(data[position + 4 : position + 8].decode())
        position += int.from_bytes(data[position : position + 4], "big")
    return kinds


def video_seconds(path: Path) -> Fraction:
    """What the track's edit list says is played, which is what a player shows as the length."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        return stream.duration * stream.time_base


def test_a_part_of_an_avi_ends_after_the_picture_that_is_shown_when_it_stops(
    media: MediaFactory, tmp_path: Path
) -> None:
    """In AVI a tick is a whole picture: half a tick is no rounding, but half a picture."""
    pictures, source = read(media.path("mpeg4_avi"))
    assert pictures[1].pts - pictures[0].pts == 1
    # Two B pictures between each two others: after ten pictures, a part can next end after thirteen.
    for beyond, count in ((Fraction(0), 10), (Fraction(1, 100), 10), (Fraction(2, 5), 13), (Fraction(1), 13)):
        stop = (pictures[10].pts + beyond) * source.time_base
        path = tmp_path / f"{beyond.numerator}.mp4"
        copy_range(media.path("mpeg4_avi"), source.start, stop, path, name="the video")
        assert len(read(path)[0]) == count, beyond


@pytest.mark.parametrize("variant", usual_ones_fast(COPIED))
def test_copied_parts_show_the_pictures_of_the_source(
    media: MediaFactory, tmp_path: Path, variant: str
) -> None:
    pictures, source = read(media.path(variant))
    length = pictures[-1].stop * source.time_base - source.start
    path = tmp_path / "part.mp4"
    for shares in PARTS:
        start, stop = (source.start + length * share for share in shares)
        copied = copy_range(media.path(variant), start, stop, path, name="the video")
        assert copied.start <= max(start, source.start)
        assert copied.stop >= stop
        expected = [p for p in pictures if copied.start <= p.pts * source.time_base < copied.stop]
        got, part = read(path)
        assert copied.frames == len(expected)
        assert [p.pts * part.time_base for p in got] == [
            p.pts * source.time_base - copied.start for p in expected
        ]
        for ours, theirs in zip(got, expected, strict=True):
            for plane in "yuv":
                assert np.array_equal(getattr(ours.frame, plane), getattr(theirs.frame, plane))
        assert abs(video_seconds(path) - (copied.stop - copied.start)) <= Fraction(1, 1000)
        assert part.probe.rotation == source.probe.rotation
        assert part.probe.color_matrix == source.probe.color_matrix
        kinds = top_boxes(path)
        assert kinds.index("moov") < kinds.index("mdat")


def sound_at(path: Path, begin: Fraction, samples: int) -> np.ndarray:
    """Mono float samples from `begin` (seconds of the container), zeros where the file has none."""
    heard = np.zeros(samples, np.float32)
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        for frame in container.decode(audio=0):
            assert frame.pts is not None
            assert frame.time_base is not None
            samples_of_all = frame.to_ndarray()
            scale = 32768 if samples_of_all.dtype == np.int16 else 1
            data = samples_of_all.astype(np.float32).reshape(-1) / scale
            channels = frame.layout.nb_channels
            data = data[: frame.samples] if frame.format.is_planar else data[::channels]
            at = round((frame.pts * frame.time_base - begin) * rate)
            first, last = max(at, 0), min(at + len(data), samples)
            if first < last:
                heard[first:last] = data[first - at : last - at]
    return heard


def with_sound(media: MediaFactory, variant: str, directory: Path) -> Path:
    """The variant, or for "opus", "mp3" and "pcm" the usual pictures with that sound in Matroska."""
    coders = {"opus": ["libopus"], "mp3": ["libmp3lame"], "pcm": ["pcm_s16le"]}
    if variant not in coders:
        return media.path(variant)
    path = directory / "source.mkv"
    pictures, sound = str(media.path("h264_b")), str(media.base())
    ffmpeg(["-i", pictures, "-i", sound, "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a",
            *coders[variant], str(path)])  # fmt: skip
    return path


@pytest.mark.parametrize(
    "variant", ["h264_b", "h264_mkv", "h264_ts", "h264_fragmented", "edit_empty", "opus", "mp3", "pcm"]
)
@pytest.mark.parametrize("part", PARTS, ids=["all", "late", "early"])
def test_sound_stays_with_the_pictures(
    media: MediaFactory, tmp_path: Path, variant: str, part: tuple[Fraction, Fraction]
) -> None:
    path = with_sound(media, variant, tmp_path)
    with ClipSource(path, name="the video") as source:
        length = source.stop - source.start
        start, stop = (source.start + length * share for share in part)
    copied = copy_range(path, start, stop, tmp_path / "part.mp4", name="the video")
    with av.open(str(tmp_path / "part.mp4")) as container:
        rate = container.streams.audio[0].rate
    samples = int((copied.stop - copied.start) * rate)
    ours = sound_at(tmp_path / "part.mp4", Fraction(0), samples)
    theirs = sound_at(path, copied.start, samples)
    loudness = np.abs(theirs).mean()
    assert loudness > 0.01
    # Matroska rounds each packet's time to a millisecond, 44 samples; the others are exact, except for AAC's
    # noise substitution, which is random at -80 dB. PCM in MP4 has no times of packets: the part is smooth
    # where the source trembles by that millisecond.
    rounded = path.suffix == ".mkv"
    errors = {shift: float(np.abs(np.roll(ours, shift) - theirs).mean()) for shift in range(-60, 61)}
    best = min(errors, key=lambda shift: errors[shift])
    assert abs(best) <= (44 if rounded else 0)
    if variant != "pcm":
        assert errors[best] < loudness * (0.02 if rounded else 0.005)


def test_pictures_keep_their_order_where_the_container_stores_no_decoding_times() -> None:
    packets = [
        Timed("I", 0, 40),
        Timed("P", 160, 40),
        Timed("B", 80, 40),
        Timed("b", 40, 40),
        Timed("b", 120, 40),
    ]
    order = CopyOrder(iter(packets))
    timed = list(order.until(Fraction(200)))
    assert [(t.packet, t.pts, t.dts) for t in timed] == [
        ("I", 0, -80), ("P", 160, -40), ("B", 80, 0), ("b", 40, 40), ("b", 120, 80)
    ]  # fmt: skip
    assert (order.end, order.whole) == (200, True)


def test_a_part_ends_where_no_picture_is_missing_in_between() -> None:
    decoding_order = [0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11]
    for stop in range(1, 13):
        order = CopyOrder(iter([Timed(pts, pts, 1) for pts in decoding_order]))
        kept = [timed.pts for timed in order.until(Fraction(stop))]
        assert sorted(kept) == list(range(order.end))
        assert kept == decoding_order[: len(kept)]
        # The first end at or after the stop: after 0, 4, 8 and 12, each with the B pictures before it.
        assert order.end == min(end for end in (1, 5, 9, 13) if end >= stop)


def test_impossible_timestamps_are_told() -> None:
    late = [Timed(pts, pts, 1) for pts in (*range(10, 60), 1)]
    with pytest.raises(ValueError, match="PTS 1 comes too late"):
        list(CopyOrder(iter(late)).until(Fraction(1000)))


@pytest.mark.parametrize("variant", NOT_IN_MP4)
def test_what_mp4_cannot_hold_is_left_to_the_accurate_mode(
    media: MediaFactory, tmp_path: Path, variant: str
) -> None:
    path = tmp_path / "part.mp4"
    with pytest.raises(BadInput, match="MP4 cannot hold") as caught:
        copy_range(media.path(variant), Fraction(0), Fraction(1), path, name="the video")
    assert "mode accurate" in str(caught.value)
    assert not path.exists()


SAMPLES = ("moov", "trak", "mdia", "minf", "stbl")


def rebuilt(data: bytes, where: tuple[str, ...], change: Callable[[bytes], bytes]) -> bytes:
    """The boxes with the bodies of all at `where` changed."""
    out, at = [], 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + size]
        if kind.decode() == where[0]:
            body = rebuilt(body, where[1:], change) if where[1:] else change(body)
        out.append(struct.pack(">I4s", len(body) + 8, kind) + body)
        at += size
    return b"".join(out)


def test_a_part_in_which_the_coding_parameters_change_is_left_to_the_accurate_mode(
    media: MediaFactory, tmp_path: Path
) -> None:
    """A track with two descriptions of its samples, of which all chunks but the first have the second
    (ISO/IEC 14496-12, 8.5.2 and 8.7.4). Its index lies behind the media, so no address changes."""

    def twice(body: bytes) -> bytes:
        return body[:4] + struct.pack(">I", 2) + body[8:] * 2

    def second(body: bytes) -> bytes:
        rows = [list(row) for row in struct.iter_unpack(">III", body[8:])]
        changed = (struct.pack(">III", *row[:2], 1 if place == 0 else 2) for place, row in enumerate(rows))
        return body[:8] + b"".join(changed)

    data = media.path("h264_b").read_bytes()
    path, part = tmp_path / "film.mp4", tmp_path / "part.mp4"
    path.write_bytes(rebuilt(rebuilt(data, (*SAMPLES, "stsd"), twice), (*SAMPLES, "stsc"), second))
    with pytest.raises(BadInput, match="the coding parameters change inside the part") as caught:
        copy_range(path, Fraction(0), Fraction(1), part, name="the video")
    assert "mode accurate" in str(caught.value)
    assert not part.exists()


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (Fraction(1), Fraction(1), "is empty"),
        (Fraction(1), Fraction(3), "from 1.000 s to 3.000 s is not in the video, which ends at 2.400 s"),
        (Fraction(5, 2), Fraction(3), "is not in the video"),
    ],
)
def test_times_outside_the_video_are_refused(
    media: MediaFactory, tmp_path: Path, start: Fraction, stop: Fraction, message: str
) -> None:
    path = tmp_path / "part.mp4"
    with pytest.raises(BadInput, match=message):
        copy_range(media.path("h264_b"), start, stop, path, name="the video")
    assert not path.exists()


def test_a_reader_is_read_and_left_open(media: MediaFactory, tmp_path: Path) -> None:
    with media.path("h264_b").open("rb") as reader:
        copied = copy_range(reader, Fraction(0), Fraction(1), tmp_path / "part.mp4", name="the video")
        assert copied == CopiedRange(Fraction(0), Fraction(1), 25)
        assert not reader.closed


@pytest.mark.parametrize(
    "variant", ["h264_b", "h264_open_gop", "hevc_open_gop", "h264_open_gop_ts", "av1", "vfr"]
)
def test_another_player_reads_the_part_without_a_warning(
    media: MediaFactory, tmp_path: Path, variant: str
) -> None:
    path = tmp_path / "part.mp4"
    copied = copy_range(media.path(variant), Fraction(3, 2), Fraction(19, 10), path, name="the video")
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "warning",
        "-i",
        str(path),
        "-map",
        "0",
        "-f",
        "framemd5",
        "-",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    pictures = [line for line in done.stdout.splitlines() if line.startswith("0,")]
    assert len(pictures) == copied.frames


def test_damage_in_a_cut_off_file_is_refused_and_leaves_no_file(media: MediaFactory, tmp_path: Path) -> None:
    path = tmp_path / "part.mp4"
    for variant in ("truncated_faststart_60", "truncated_mkv", "text", "audio_only"):
        with pytest.raises(BadInput) as caught:
            copy_range(media.path(variant), Fraction(0), Fraction(2), path, name="the video")
        assert caught.value.input == "the video"
        assert not path.exists()

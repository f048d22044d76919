"""A clip's file and the parts it may be made from: same bytes, exact times, sound in step, no left-overs."""

from __future__ import annotations

import io
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import cast

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests.media.test_h264 import HEIGHT, NTSC, WIDTH, encode, even, segments, uneven
from video_pipeline.errors import BadInput, Cancelled, Internal
from video_pipeline.media.h264 import EncodedPacket, VideoFormat
from video_pipeline.media.h264_parts import read_part, write_part
from video_pipeline.media.mp4_write import AAC_FRAME, SAMPLE_RATE, ClipWriter
from video_pipeline.streaming.cancel import CancellationToken

Times = Sequence[tuple[int, int]]


def sound(samples: int, block: int = 48_000) -> Iterator[np.ndarray]:
    """Clicks: full scale for the first millisecond of every second, else silence; two different channels."""
    for start in range(0, samples, block):
        place = np.arange(start, min(start + block, samples))
        loud = np.where(place % SAMPLE_RATE < 48, 0.9, 0.0).astype(np.float32)
        yield np.stack((loud, loud / 2), axis=1)


def samples_of(times: Times, time_base: Fraction = NTSC.time_base) -> int:
    return round(sum(times[-1]) * time_base * SAMPLE_RATE)


def write(
    path: Path,
    times: Times,
    fmt: VideoFormat = NTSC,
    *,
    audio: Iterator[np.ndarray] | None = None,
    encoded: tuple[bytes, list[EncodedPacket]] | None = None,
) -> Path:
    extradata, packets = encoded or encode(times, fmt)
    with ClipWriter(path, fmt, extradata, audio=audio) as writer:
        for packet in packets:
            writer.write(packet)
    return path


def demux(path: Path, kind: str) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(container.streams.get({kind: 0})) if packet.size]


def decoded_sound(path: Path) -> np.ndarray:
    """(channels, n) from the sample that a player puts at time 0."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].pts == 0
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def boxes(path: Path) -> list[str]:
    data, at, kinds = path.read_bytes(), 0, []
    while at < len(data):
        kinds.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at : at + 4], "big")
    assert at == len(data)
    return kinds


@pytest.mark.parametrize("times", [even(150), uneven(150)], ids=["even", "uneven"])
def test_direct_and_through_parts_by_several_encoders_gives_the_same_bytes(
    tmp_path: Path, times: Times
) -> None:
    direct = write(tmp_path / "direct.mp4", times, audio=sound(samples_of(times)))
    for number, (first, stop) in enumerate(((0, 60), (60, 150))):
        extradata, packets = encode(times[first:stop], first=first)
        write_part(tmp_path / f"{number}.part", NTSC, extradata, packets)
    parts = [read_part(tmp_path / f"{number}.part", name=f"part {number}") for number in range(2)]
    assert {(part.extradata, part.format) for part in parts} == {(extradata, NTSC)}
    encoded = extradata, [packet for part in parts for packet in part.packets]
    other = write(tmp_path / "joined.mp4", times, audio=sound(samples_of(times)), encoded=encoded)
    assert other.read_bytes() == direct.read_bytes()


@pytest.mark.parametrize(
    ("fmt", "times"),
    [
        (NTSC, even(130)),
        (NTSC, uneven(130)),
        (
            VideoFormat(WIDTH, HEIGHT, Fraction(1001, 30000), Fraction(30000, 1001)),
            [(j, 1) for j in range(70)],
        ),
        (VideoFormat(WIDTH, HEIGHT, Fraction(1, 25), Fraction(25)), [(j, 1) for j in range(70)]),
        (
            VideoFormat(WIDTH, HEIGHT, Fraction(1, 90000), Fraction(50)),
            [(1800 * j, 1800) for j in range(110)],
        ),
        (
            VideoFormat(WIDTH, HEIGHT, Fraction(1, 1000), Fraction(30)),
            [(100 * j // 3, 33) for j in range(70)],
        ),
    ],
    ids=["1/30000", "uneven", "1001/30000", "1/25", "1/90000", "1/1000"],
)
def test_a_player_sees_every_pts_exactly_and_the_first_at_zero(
    tmp_path: Path, fmt: VideoFormat, times: Times
) -> None:
    path = write(tmp_path / "clip.mp4", times, fmt)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base == Fraction(1, fmt.time_base.denominator)
        seen = [
            Fraction(cast(int, frame.pts), fmt.time_base.denominator) for frame in container.decode(stream)
        ]
        assert stream.start_time == 0
    assert seen == [pts * fmt.time_base for pts, _ in times]


def test_the_file_lasts_until_the_end_of_the_last_picture(tmp_path: Path) -> None:
    for times in (even(130), uneven(130), uneven(61)):
        with av.open(str(write(tmp_path / "clip.mp4", times))) as container:
            stream = container.streams.video[0]
            assert stream.duration == sum(times[-1])
            assert container.duration == round(sum(times[-1]) * NTSC.time_base * 1_000_000)


def test_the_moov_lies_in_front_and_no_temporary_file_stays(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", even(10), audio=sound(samples_of(even(10))))
    assert boxes(path)[:2] == ["ftyp", "moov"]
    assert boxes(path)[-1] == "mdat"
    assert list(tmp_path.iterdir()) == [path]


def test_the_colour_tags_are_read_back_by_two_libraries(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", even(10), audio=sound(samples_of(even(10))))
    assert b"colrnclx" + bytes((0, 1, 0, 1, 0, 1, 0)) in path.read_bytes()
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.color_primaries, codec.color_trc, codec.colorspace, codec.color_range) == (1, 1, 1, 1)
    said = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    assert re.search(r"Video: h264 \(High\).*yuv420p\(tv, bt709", said)
    assert re.search(r"Audio: aac \(LC\).*48000 Hz, stereo", said)


def test_ffmpeg_decodes_the_file_without_a_complaint(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mp4", even(130), audio=sound(samples_of(even(130))))
    done = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "warning", "-i", str(path), "-f", "null", "-"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_sound_and_picture_are_in_step_and_end_together_after_forty_segments(tmp_path: Path) -> None:
    times = even(40 * 60)
    path = write(tmp_path / "clip.mp4", times, audio=sound(samples_of(times)))
    heard = decoded_sound(path)
    ends = sum(times[-1]) * NTSC.time_base * SAMPLE_RATE
    assert 0 <= heard.shape[1] - ends < AAC_FRAME
    for second in range(int(ends) // SAMPLE_RATE):
        start = second * SAMPLE_RATE
        near = np.abs(heard[0, max(0, start - 600) : start + 600])
        assert abs(int(near.argmax()) + max(0, start - 600) - start - 24) <= 30, f"click at {second} s"
    assert np.abs(heard[0]).max() > 1.5 * np.abs(heard[1]).max()
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time == container.streams.audio[0].start_time == 0
        assert container.streams.audio[0].duration == samples_of(times)


def test_sound_and_picture_alternate_in_the_file(tmp_path: Path) -> None:
    times = even(20 * 60)
    path = write(tmp_path / "clip.mp4", times, audio=sound(samples_of(times)))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.size]
        pairs = [(p.pos, cast(int, p.dts) * p.time_base) for p in packets]
    in_file = [seconds for _, seconds in sorted(pairs)]
    assert all(later - earlier > -1.1 for earlier, later in pairwise(in_file))
    assert max(abs(b - a) for a, b in pairwise(in_file)) < 1.1


def test_the_size_of_the_blocks_changes_nothing(tmp_path: Path) -> None:
    times = even(70)
    one = write(tmp_path / "1.mp4", times, audio=sound(samples_of(times)))
    other = write(tmp_path / "2.mp4", times, audio=sound(samples_of(times), block=777))
    assert one.read_bytes() == other.read_bytes()


def test_sound_is_read_as_the_picture_comes_and_no_more_than_a_block_ahead(tmp_path: Path) -> None:
    times, taken = even(300), [0]

    def counted() -> Iterator[np.ndarray]:
        for block in sound(samples_of(times), block=4800):
            taken[0] += len(block)
            yield block

    extradata, packets = encode(times)
    with ClipWriter(tmp_path / "clip.mp4", NTSC, extradata, audio=counted()) as writer:
        for packet in packets:
            writer.write(packet)
            ahead = taken[0] - max(0, packet.dts) * NTSC.time_base * SAMPLE_RATE
            assert 0 <= ahead < 2 * 4800


def test_the_sound_has_192_kilobits_a_second_and_two_channels(tmp_path: Path) -> None:
    times = even(150)
    noise = np.random.default_rng(3).normal(0, 0.1, (samples_of(times), 2)).astype(np.float32)
    path = write(tmp_path / "clip.mp4", times, audio=iter([noise]))
    bits = 8 * sum(packet.size for packet in demux(path, "audio"))
    assert 180_000 < bits / (sum(times[-1]) * NTSC.time_base) < 200_000


@pytest.mark.parametrize("difference", [-AAC_FRAME, -1, 0, 1, AAC_FRAME - 1])
def test_sound_within_one_frame_of_the_picture_is_taken(tmp_path: Path, difference: int) -> None:
    times = even(30)
    path = write(tmp_path / "clip.mp4", times, audio=sound(samples_of(times) + difference))
    with av.open(str(path)) as container:
        assert container.streams.audio[0].duration == samples_of(times) + difference


@pytest.mark.parametrize("difference", [-AAC_FRAME - 2, AAC_FRAME + 2, 10_000_000])
def test_sound_of_another_length_than_the_picture_is_an_error_and_leaves_no_file(
    tmp_path: Path, difference: int
) -> None:
    times = even(30)
    with pytest.raises(Internal, match=r"sound has .*samples"):
        write(tmp_path / "clip.mp4", times, audio=sound(samples_of(times) + difference))
    assert list(tmp_path.iterdir()) == []


def test_an_error_or_a_cancel_in_the_middle_leaves_no_file_and_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    extradata, packets = encode(even(130))
    cancel = CancellationToken()

    def stopped(error: bool) -> None:
        audio = sound(samples_of(even(130)))
        with ClipWriter(tmp_path / "clip.mp4", NTSC, extradata, audio=audio, cancel=cancel) as writer:
            for packet in packets[:100]:
                writer.write(packet)
            assert len(list(tmp_path.iterdir())) == 1
            if error:
                raise KeyError("the caller's own")
            cancel.cancel("enough")
            writer.write(packets[100])

    for error, kind in ((True, KeyError), (False, Cancelled)):
        with pytest.raises(kind):
            stopped(error)
        assert list(tmp_path.iterdir()) == []
    assert set(threading.enumerate()) <= before


def test_a_cancel_stops_the_sound_at_the_end_too(tmp_path: Path) -> None:
    extradata, packets = encode(even(60))
    cancel = CancellationToken()
    writer = ClipWriter(tmp_path / "clip.mp4", NTSC, extradata, audio=sound(96_096, block=100), cancel=cancel)
    for packet in packets:
        writer.write(packet)
    cancel.cancel("enough")
    with pytest.raises(Cancelled):
        writer.close()
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_sound_passes_and_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from sound(48_000)
        raise BadInput("the sound is damaged", input="x.mp4")

    with pytest.raises(BadInput, match="the sound is damaged"):
        write(tmp_path / "clip.mp4", even(130), audio=broken())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_clip_leaves_an_older_file_of_that_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"older")
    with pytest.raises(Internal, match="at least one picture"):
        write(path, even(1), encoded=(encode(even(1))[0], []))
    assert path.read_bytes() == b"older"


def test_a_clip_begins_with_a_key_frame_and_its_blocks_of_sound_are_stereo_floats(tmp_path: Path) -> None:
    extradata, packets = encode(even(30))
    with pytest.raises(Internal, match="begins with a key frame"):
        write(tmp_path / "clip.mp4", even(30), encoded=(extradata, packets[1:]))
    with pytest.raises(Internal, match="a block of sound is float64"):
        write(tmp_path / "clip.mp4", even(30), audio=iter([np.zeros((100, 2))]))
    assert list(tmp_path.iterdir()) == []


def test_each_segment_of_a_finished_clip_can_be_sought_to(tmp_path: Path) -> None:
    times = even(200)
    encoded = encode(times)
    path = write(tmp_path / "clip.mp4", times, encoded=encoded)
    assert [p.pts for p in demux(path, "video") if p.is_keyframe] == [s[0].pts for s in segments(encoded[1])]
    with av.open(str(path)) as container:
        container.seek(1001 * 130, stream=container.streams.video[0])
        assert next(container.decode(video=0)).pts == 1001 * 120


def test_a_part_is_read_from_a_file_a_buffer_and_a_raw_reader_alike(tmp_path: Path) -> None:
    extradata, packets = encode(uneven(70))
    path = tmp_path / "a.part"
    write_part(path, NTSC, extradata, packets)
    assert list(read_part(path, name="a").packets) == packets
    assert list(read_part(io.BytesIO(path.read_bytes()), name="a").packets) == packets
    with io.FileIO(path) as raw:
        assert list(read_part(raw, name="a").packets) == packets


def test_an_error_while_a_part_is_written_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[EncodedPacket]:
        yield EncodedPacket(b"x", 0, 0, 1, True)
        raise KeyError("the encoder's own")

    with pytest.raises(KeyError):
        write_part(tmp_path / "a.part", NTSC, b"", broken())
    assert list(tmp_path.iterdir()) == []


def test_damage_anywhere_in_a_part_is_found_and_named(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    write_part(path, NTSC, b"\0\0\0\1abc", [EncodedPacket(b"xyz" * 5, 5, 3, 2, True)] * 3)
    data = path.read_bytes()

    def read(content: bytes) -> None:
        list(read_part(io.BytesIO(content), name="clips/a.part").packets)

    read(data)
    damaged = [data[:length] for length in range(len(data))]
    damaged += [data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :] for at in range(len(data))]
    damaged.append(data + b"\0")
    for content in damaged:
        with pytest.raises(BadInput, match="damaged") as caught:
            read(content)
        assert caught.value.input == "clips/a.part"
    with pytest.raises(BadInput, match="no such part"):
        read_part(tmp_path / "missing", name="b")

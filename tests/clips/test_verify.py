"""A good clip passes with its facts; each thing that can be wrong with one is found, and all are listed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import pytest

from tests.media.test_h264 import HEIGHT, NTSC, WIDTH, encode, even, uneven
from tests.media.test_mp4_write import samples_of, sound, write
from video_pipeline.clips.verify import ClipFacts, verify_clip
from video_pipeline.errors import Internal
from video_pipeline.media.h264 import EncodedPacket

COUNT = 150
TIMES = even(COUNT)
LASTS = sum(TIMES[-1]) * NTSC.time_base


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 pictures (three segments) with sound."""
    return write(tmp_path_factory.mktemp("clip") / "good.mp4", TIMES, audio=sound(samples_of(TIMES)))


def check(path: Path, **other: Any) -> ClipFacts:
    wanted = {"frames": COUNT, "width": WIDTH, "height": HEIGHT, "duration": LASTS, "audio": True}
    return verify_clip(path, **{**wanted, "pts": [pts for pts, _ in TIMES], **other})


def remux(source: Path, target: Path, *arguments: str, second: Sequence[str] = ()) -> Path:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(source), *second, "-c", "copy"]
    subprocess.run([*command, "-movflags", "+faststart", *arguments, str(target)], check=True)
    return target


def without(path: Path, times: Sequence[tuple[int, int]], drop: Callable[[int, EncodedPacket], bool]) -> Path:
    """A clip some of whose packets were lost on the way to the file."""
    extradata, packets = encode(times)
    kept = [packet for place, packet in enumerate(packets) if not drop(place, packet)]
    return write(path, times, audio=sound(samples_of(times)), encoded=(extradata, kept))


def test_a_good_clip_passes_and_its_facts_are_told(clip: Path) -> None:
    assert check(clip) == ClipFacts(
        frames=150,
        width=160,
        height=96,
        duration_seconds=5.005,
        frame_rate=30000 / 1001,
        video_start_seconds=0.0,
        audio_start_seconds=0.0,
        audio_seconds=5.005,
        av_offset_ms=0.0,
        size_bytes=clip.stat().st_size,
        codec="h264",
        colour_primaries=1,
        colour_transfer=1,
        colour_matrix=1,
        colour_range=1,
        faststart=True,
    )


@pytest.mark.parametrize("times", [even(1), even(60), uneven(61), uneven(130)], ids=["1", "60", "61", "130"])
def test_short_long_uneven_and_silent_clips_pass(tmp_path: Path, times: list[tuple[int, int]]) -> None:
    path = write(tmp_path / "clip.mp4", times)
    lasts = sum(times[-1]) * NTSC.time_base
    facts = check(path, frames=len(times), duration=lasts, pts=[pts for pts, _ in times], audio=False)
    assert (facts.frames, facts.audio_seconds, facts.av_offset_ms) == (len(times), None, None)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"frames": 149}, "the count of pictures is 150 instead of 149"),
        ({"width": 96, "height": 160}, "the size is 160x96 instead of 96x160"),
        ({"duration": LASTS + Fraction(2, 30000)}, "the picture lasts 5.005000 s instead of 5.005067 s"),
        ({"duration": LASTS + Fraction(1, 40)}, "the sound lasts 5.005000 s"),
        ({"audio": False}, "the count of tracks is 2 instead of 1"),
        ({"pts": [pts + (j == 7) for j, (pts, _) in enumerate(TIMES)]}, "7007 instead of 7008 at 7"),
        ({"pts": [pts for pts, _ in TIMES][:-1]}, "the count of PTS is 150 instead of 149"),
    ],
)
def test_a_clip_that_is_not_what_was_asked_for_is_refused(
    clip: Path, other: dict[str, Any], said: str
) -> None:
    with pytest.raises(Internal) as caught:
        check(clip, **other)
    assert said in str(caught.value)
    assert caught.value.input == "good.mp4"


def test_all_differences_are_listed_at_once(clip: Path) -> None:
    with pytest.raises(Internal) as caught:
        check(clip, frames=1, width=2, duration=Fraction(9), pts=None)
    for said in ("count of pictures", "the size", "the picture lasts", "the sound lasts"):
        assert said in str(caught.value)


def test_lost_pictures_are_found(tmp_path: Path) -> None:
    lost = without(tmp_path / "a.mp4", TIMES, lambda place, packet: place in (100, 101))
    with pytest.raises(Internal, match="count of pictures is 148 instead of 150"):
        check(lost)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[: len(data) // 2], "the group at PTS 120120 decodes with errors in 1 pictures"),
        (lambda data: b"\0\0\0\1\x61" + b"\x55" * 40, "cannot be read back"),
    ],
    ids=["cut off", "overwritten"],
)
def test_a_last_group_that_does_not_decode_is_found(
    tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    extradata, packets = encode(TIMES)
    packets[125] = EncodedPacket(change(packets[125].data), *_times(packets[125]))
    path = write(tmp_path / "a.mp4", TIMES, audio=sound(samples_of(TIMES)), encoded=(extradata, packets))
    with pytest.raises(Internal, match=said):
        check(path)


def _times(packet: EncodedPacket) -> tuple[int, int, int, bool]:
    return packet.pts, packet.dts, packet.duration, packet.key


def test_a_file_cut_off_is_found(clip: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    short.write_bytes(clip.read_bytes()[:-1000])
    with pytest.raises(Internal, match="the file's size by its boxes"):
        check(short)
    short.write_bytes(clip.read_bytes()[:1000])
    with pytest.raises(Internal, match=r"the structure breaks|cannot be read back"):
        check(short)


def test_a_moov_behind_the_pictures_is_found(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "late.mp4"
    remux(clip, path, "-movflags", "0", "-video_track_timescale", "30000")
    with pytest.raises(
        Internal, match="moov does not lie in front of mdat: the boxes are ftyp, free, mdat, moov"
    ):
        check(path)


@pytest.mark.parametrize("place", [b"colr", b"avcC"])
def test_other_colour_tags_in_the_container_or_the_pictures_are_found(
    clip: Path, tmp_path: Path, place: bytes
) -> None:
    data = bytearray(clip.read_bytes())
    if place == b"colr":
        at = data.index(b"colrnclx") + 8
        data[at : at + 6] = bytes((0, 6, 0, 6, 0, 6))
        path = tmp_path / "bt601.mp4"
        path.write_bytes(data)
        said = "the container's colour is ColourTags"
    else:
        path = remux(clip, tmp_path / "bt601.mp4", "-bsf:v", "h264_metadata=matrix_coefficients=6",
                     "-video_track_timescale", "30000")  # fmt: skip
        said = "is decoded to the colours"
    with pytest.raises(Internal, match=said):
        check(path)


def test_sound_that_begins_late_ends_early_or_is_missing_is_found(clip: Path, tmp_path: Path) -> None:
    scale = ("-video_track_timescale", "30000")
    late = tmp_path / "late.mp4"
    remux(clip, late, "-map", "0:v", "-map", "1:a", *scale, second=("-itsoffset", "0.1", "-i", str(clip)))
    with pytest.raises(Internal, match=r"the sound begins at 0\.07"):
        check(late)
    early = remux(clip, tmp_path / "early.mp4", "-map", "0:v", "-map", "1:a", *scale,
                  second=("-t", "4.9", "-i", str(clip)))  # fmt: skip
    with pytest.raises(Internal, match=r"the sound lasts 4\.9"):
        check(early)
    silent = remux(clip, tmp_path / "silent.mp4", "-an", *scale)
    with pytest.raises(Internal, match="there is no sound"):
        check(silent)


def test_sound_a_little_late_passes_and_its_offset_is_told_in_milliseconds(
    clip: Path, tmp_path: Path
) -> None:
    late = tmp_path / "late.mp4"
    scale = ("-video_track_timescale", "30000")
    remux(clip, late, "-map", "0:v", "-map", "1:a", *scale, second=("-itsoffset", "0.032", "-i", str(clip)))
    facts = check(late)
    assert facts.audio_start_seconds == pytest.approx(0.0107, abs=0.001)
    assert facts.av_offset_ms == pytest.approx(10.7, abs=1)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (("-c:a", "aac", "-ac", "1"), "aac, 48000 Hz, mono"),
        (("-c:a", "aac", "-ar", "44100"), "aac, 44100 Hz, stereo"),
        (("-c:a", "libmp3lame"), "mp3float, 48000 Hz, stereo"),
    ],
)
def test_sound_of_another_kind_is_found(clip: Path, tmp_path: Path, how: tuple[str, ...], said: str) -> None:
    path = remux(clip, tmp_path / "other.mp4", *how, "-video_track_timescale", "30000")
    with pytest.raises(Internal, match=f"the sound is {said} instead of aac, 48000 Hz, stereo"):
        check(path)


def test_something_behind_the_last_box_is_found(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "more.mp4"
    path.write_bytes(clip.read_bytes() + bytes((0, 0, 0, 4)) + b"more")
    with pytest.raises(Internal, match="the structure breaks"):
        check(path)


def test_a_hole_in_the_sound_is_found(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "hole.mp4"
    with av.open(str(clip)) as source, av.open(str(path), "w", options={"movflags": "+faststart"}) as target:
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            sound_at = packet.pts if packet.stream.type == "audio" else None
            if packet.size and not (sound_at is not None and 48_000 <= sound_at < 60_000):
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    with pytest.raises(Internal, match="the sound has 1 gaps"):
        check(path, pts=None)


def test_a_clip_without_pictures_or_that_is_no_video_is_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(Internal, match="no video track"):
        check(remux(clip, tmp_path / "sound.mp4", "-vn"))
    text = tmp_path / "text.mp4"
    text.write_bytes(b"this is not a video at all, whatever its name says")
    with pytest.raises(Internal, match="cannot be read back"):
        check(text)


def test_the_same_times_in_another_order_are_told_apart(clip: Path) -> None:
    swapped = [pts for pts, _ in TIMES]
    swapped[3], swapped[4] = swapped[4], swapped[3]
    assert all(a < b for a, b in pairwise(pts for pts, _ in TIMES))
    with pytest.raises(Internal, match="2 pictures have another PTS"):
        check(clip, pts=swapped)


def test_a_copied_clip_keeps_its_source_s_kind_but_is_counted_timed_and_decoded(
    clip: Path, tmp_path: Path
) -> None:
    path = remux(clip, tmp_path / "copy.mp4", "-an", "-bsf:v", "h264_metadata=matrix_coefficients=6",
                 "-video_track_timescale", "30000")  # fmt: skip
    facts = check(path, audio=False, copied=True)
    assert (facts.frames, facts.audio_seconds) == (COUNT, None)
    for other, said in (
        ({"frames": 149}, "the count of pictures"),
        ({"duration": LASTS * 2}, "the picture lasts"),
        ({"audio": True}, "there is no sound"),
    ):
        with pytest.raises(Internal, match=said):
            check(path, **{"audio": False, "copied": True, **other})
    data = bytearray(path.read_bytes())
    data[-300:] = bytes(300)
    path.write_bytes(data)
    with pytest.raises(Internal, match=r"with errors|cannot be read back|decodes to"):
        check(path, audio=False, copied=True)

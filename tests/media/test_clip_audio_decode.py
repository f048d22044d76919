"""Where the sound of a source lies: containers, codecs, seeks, gaps, layouts, damage, bytes read."""

from __future__ import annotations

import io
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from tests.fixtures.media_factory import MediaFactory
from tests.media.clip_audio_media import (
    clicks,
    copied,
    level,
    loudest_near,
    one_span,
    one_wrong_bit,
    pitch,
    render,
    second_half,
    sine,
    without_packets,
    write_video,
)
from video_pipeline.errors import BadInput
from video_pipeline.media.clip_audio import SAMPLE_RATE, samples_at
from video_pipeline.media.clip_audio_decode import SoundTrack

EXACT = {
    "aac_mp4": ("mp4", "aac", 48000),
    "aac_mov": ("mov", "aac", 48000),
    "aac_mkv": ("mkv", "aac", 48000),
    "opus_webm": ("webm", "libopus", 48000),
    "opus_mp4": ("mp4", "libopus", 48000),
    "ac3_mkv": ("mkv", "ac3", 48000),
    "flac_mkv": ("mkv", "flac", 48000),
    "pcm_avi": ("avi", "pcm_s16le", 48000),
    "aac_44100_mp4": ("mp4", "aac", 44100),
    "aac_44100_mkv": ("mkv", "aac", 44100),
    "mp3_44100_mkv": ("mkv", "libmp3lame", 44100),
    "mp3_44100_mp4": ("mp4", "libmp3lame", 44100),
    "flac_44100_mkv": ("mkv", "flac", 44100),
    "aac_22050_mkv": ("mkv", "aac", 22050),
}
USUAL = ("aac_mp4", "opus_webm", "mp3_44100_mp4")
SECONDS = 9


@pytest.mark.parametrize("start", [Fraction(0), Fraction(1, 2), Fraction(9, 2), Fraction(16, 3)])
@pytest.mark.parametrize(
    "variant",
    [
        *USUAL,
        *(pytest.param(name, marks=pytest.mark.slow) for name in sorted(EXACT) if name not in USUAL),
    ],
)
def test_clicks_lie_at_their_sample_from_any_start(tmp_path: Path, variant: str, start: Fraction) -> None:
    suffix, codec, rate = EXACT[variant]
    at = [rate * k + 137 * k for k in range(SECONDS)]
    path = write_video(tmp_path / f"clicks.{suffix}", clicks(at, SECONDS * rate), codec=codec, rate=rate)
    sound = render([one_span(start, SECONDS)], [path])
    first = samples_at(start)
    wanted = [w - first for w in (samples_at(Fraction(a, rate)) for a in at) if w > first]
    found = [loudest_near(sound, w) for w in wanted]
    # Another rate than 48 kHz: between two samples, and a run's beginning is rounded to one.
    assert len(wanted) >= 3
    assert max(abs(f - w) for f, w in zip(found, wanted, strict=True)) <= (0 if rate == 48000 else 1)


def test_the_sound_of_a_part_is_that_part_of_the_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).standard_normal((2, 6 * SAMPLE_RATE)).astype(np.float32) * 0.1
    path = write_video(tmp_path / "noise.mp4", noise, codec="ac3", bit_rate=448_000)
    whole = render([one_span(0, 6)], [path])
    part = render([one_span(Fraction(10, 3), 5)], [path])
    np.testing.assert_allclose(part, whole[160_000:240_000], atol=1e-6)


def test_a_seek_back_from_the_middle_is_exact_too(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clicks.mkv", clicks([4800, 240_100], 6 * SAMPLE_RATE))
    with SoundTrack(path, name="clicks.mkv") as track:
        for start in (Fraction(4), Fraction(0), Fraction(3), Fraction(0)):
            sound = np.concatenate(list(track.blocks(start)))
            wanted = 240_100 if start else 4800
            assert loudest_near(sound, wanted - samples_at(start)) == wanted - samples_at(start)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_that_starts_late_is_padded_at_its_beginning(tmp_path: Path, suffix: str) -> None:
    path = write_video(
        tmp_path / f"late.{suffix}",
        clicks([0, 30_000], 2 * SAMPLE_RATE),
        late=Fraction(3, 2),
        seconds=5,
        # An edit list states the delay in ticks of the movie, 1 ms unless told.
        options={"movie_timescale": "48000"} if suffix == "mp4" else {},
    )
    sound = render([one_span(0, 5)], [path])
    assert len(sound) == 240_000
    assert level(sound[: 72_000 - 3000]) < 1e-4
    # A muxed AAC track's beginning keeps its priming in Matroska, whose ticks are 1 ms.
    assert abs(loudest_near(sound, 102_000) - 102_000) <= (0 if suffix == "mp4" else 24)
    from_the_middle = render([one_span(2, 5)], [path])
    assert abs(loudest_near(from_the_middle, 6000) - 6000) <= (0 if suffix == "mp4" else 24)


def test_sound_that_ends_early_is_followed_by_silence(tmp_path: Path) -> None:
    path = write_video(tmp_path / "early.mp4", sine(440, 2), seconds=5)
    sound = render([one_span(1, 5)], [path])
    assert len(sound) == 192_000
    assert level(sound[:47_000]) > 0.3
    assert level(sound[50_000:]) < 1e-4
    after = render([one_span(4, 5)], [path])
    assert not after.any()


def test_a_video_without_sound_is_silent(tmp_path: Path) -> None:
    path = write_video(tmp_path / "mute.mp4", None, seconds=2)
    assert not render([one_span(0, 2)], [path]).any()
    with SoundTrack(path, name="mute.mp4") as track:
        assert track.silent


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_gap_in_the_timestamps_is_silence_and_what_follows_lies_right(tmp_path: Path, suffix: str) -> None:
    whole = write_video(
        tmp_path / f"whole.{suffix}", clicks([48_000, 240_000], 6 * SAMPLE_RATE) + sine(300, 6, 0.1)
    )
    # Half a second of packets is left out, as where a recorder lost them.
    path = without_packets(whole, tmp_path / f"gap.{suffix}", Fraction(5, 2), Fraction(3))
    sound = render([one_span(0, 6)], [path])
    assert loudest_near(sound, 48_000) == 48_000
    assert loudest_near(sound, 240_000) == 240_000
    assert not sound[122_500:142_500].any()
    sought = render([one_span(Fraction(14, 5), 6)], [path])
    assert abs(loudest_near(sought, 240_000 - 134_400) - (240_000 - 134_400)) <= (0 if suffix == "mp4" else 1)
    assert not sought[:8000].any()


def test_5_1_is_mixed_down_without_clipping(tmp_path: Path) -> None:
    path = write_video(tmp_path / "surround.mkv", sine(300, 2, 0.99, 6), codec="flac", bit_rate=0)
    sound = render([one_span(0, 2)], [path])
    assert 0.9 < np.abs(sound).max() <= 1.0
    assert pitch(sound[:, :]) == pytest.approx(300, abs=1)


@pytest.mark.parametrize("loud", range(6))
def test_every_channel_of_5_1_but_the_bass_is_heard_on_its_side(tmp_path: Path, loud: int) -> None:
    channels = np.zeros((6, SAMPLE_RATE), np.float32)
    channels[loud] = sine(300, 1, 0.9, 1)
    path = write_video(tmp_path / "surround.mkv", channels, codec="flac", bit_rate=0)
    left, right = (level(side) for side in render([one_span(0, 1)], [path]).T)
    heard = {0: (1, 0), 1: (0, 1), 2: (1, 1), 3: (0, 0), 4: (1, 0), 5: (0, 1)}[loud]
    assert (left > 0.1, right > 0.1) == heard


def test_mono_is_heard_on_both_sides_as_loud_as_it_is(tmp_path: Path) -> None:
    path = write_video(tmp_path / "mono.mkv", sine(300, 1, 0.5, 1), codec="flac", bit_rate=0)
    sound = render([one_span(0, 1)], [path])
    np.testing.assert_array_equal(sound[:, 0], sound[:, 1])
    assert np.abs(sound).max() == pytest.approx(0.5, abs=0.01)


def test_the_default_track_is_heard(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{f}.mkv", sine(f, 2), codec="flac", bit_rate=0) for f in (300, 700)]
    both = tmp_path / "both.mkv"
    with av.open(str(paths[0])) as a, av.open(str(paths[1])) as b, av.open(str(both), "w") as out:
        streams = [
            (a, a.streams.video[0]),
            (a, a.streams.audio[0]),
            (b, b.streams.audio[0]),
        ]
        targets = [out.add_stream_from_template(s) for _, s in streams]
        targets[1].disposition = 0  # type: ignore[assignment]
        targets[2].disposition = av.stream.Disposition.default  # type: ignore[attr-defined]
        for (container, stream), target in zip(streams, targets, strict=True):
            container.seek(0)
            for packet in container.demux(stream):
                if packet.size:
                    packet.stream = target
                    out.mux(packet)
    assert pitch(render([one_span(0, 2)], [both])) == pytest.approx(700, abs=1)


def test_damaged_sound_is_refused_and_named_with_its_time(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).standard_normal((2, 6 * SAMPLE_RATE)).astype(np.float32) * 0.2
    path = write_video(tmp_path / "song.mkv", noise, codec="flac", bit_rate=0)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    damaged = tmp_path / "damaged.mkv"
    damaged.write_bytes(data)
    with pytest.raises(BadInput, match=r"the sound is damaged at [23]\.\d+ s.*damaged\.mkv"):
        render([one_span(1, 5)], [damaged])


def test_damage_outside_the_part_does_not_matter(tmp_path: Path) -> None:
    noise = np.random.default_rng(2).standard_normal((2, 6 * SAMPLE_RATE)).astype(np.float32) * 0.2
    path = write_video(tmp_path / "song.mp4", noise, codec="flac", bit_rate=0)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = bytes(3000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    for start, stop in ((0, 2), (4, 6)):
        np.testing.assert_array_equal(
            render([one_span(start, stop)], [damaged]), render([one_span(start, stop)], [path])
        )
    with pytest.raises(BadInput, match="damaged"):
        render([one_span(2, 4)], [damaged])


def test_the_rest_of_a_frame_at_the_beginning_is_silence_and_a_second_broken_one_is_damage(
    tmp_path: Path,
) -> None:
    whole = write_video(tmp_path / "whole.mkv", sine(440, 3), codec="flac", bit_rate=0)
    late = copied(whole, tmp_path / "late.mkv", lambda _packet, _number: 500)
    one = copied(whole, tmp_path / "one.mkv", lambda _packet, _number: 500, broken={0: second_half})
    two = copied(
        whole, tmp_path / "two.mkv", lambda _packet, _number: 500, broken=dict.fromkeys((0, 1), second_half)
    )
    with pytest.raises(BadInput, match=r"damaged at 0\.\d+ s"):
        render([one_span(0, 3)], [two])
    expected, sound = render([one_span(0, 3)], [late]), render([one_span(0, 3)], [one])
    assert not sound[:28_608].any()
    np.testing.assert_array_equal(sound[28_608:], expected[28_608:])


def test_damage_just_before_the_part_does_not_matter(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", sine(440, 4), codec="flac", bit_rate=0)
    # Packet 29 holds 2.784 s to 2.880 s, which is decoded to warm up for 3 s.
    damaged = copied(whole, tmp_path / "damaged.mp4", lambda _packet, _number: 0, broken={29: second_half})
    np.testing.assert_array_equal(render([one_span(3, 4)], [damaged]), render([one_span(3, 4)], [whole]))
    with pytest.raises(BadInput, match=r"damaged at 2\.784 s"):
        render([one_span(2, 4)], [damaged])


def test_one_wrong_bit_that_only_the_checksum_shows_is_damage(tmp_path: Path) -> None:
    noise = np.random.default_rng(8).standard_normal((2, 4 * SAMPLE_RATE)).astype(np.float32) * 0.1
    whole = write_video(tmp_path / "whole.mp4", noise, codec="flac", bit_rate=0)
    damaged = copied(whole, tmp_path / "damaged.mp4", lambda _packet, _number: 0, broken={20: one_wrong_bit})
    with pytest.raises(BadInput, match=r"damaged at 1\.920 s"):
        render([one_span(1, 3)], [damaged])


def test_the_last_samples_come_out_of_the_resampler(tmp_path: Path) -> None:
    path = write_video(tmp_path / "low.mkv", sine(440, 2)[:, :88_200], codec="flac", rate=44_100, bit_rate=0)
    sound = render([one_span(0, 2)], [path])
    assert level(sound[-8:]) > 0.1
    assert np.abs(sound[-8:]).min() > 0


def test_timestamps_that_jitter_leave_no_seam(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", sine(440, 4), codec="flac", bit_rate=0)
    jittering = tmp_path / "jitter.mp4"
    rng = np.random.default_rng(7)
    copied(whole, jittering, lambda packet, number: int(rng.integers(-200, 200)) if number else 0)
    np.testing.assert_array_equal(render([one_span(0, 4)], [jittering]), render([one_span(0, 4)], [whole]))


def test_sound_is_what_ffmpeg_decodes(media: MediaFactory) -> None:
    path = media.path("h264_mov")
    read = ["-v", "error", "-i", str(path), "-map", "0:a"]
    write = ["-f", "f32le", "-ac", "1", "-ar", "48000", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), *read, *write]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    expected = np.frombuffer(raw, np.float32)[:90_000, None]
    sound = render([one_span(0, 2)], [path])[:90_000, :1]
    assert level(expected) > 0.02
    # ffmpeg's resampler rounds otherwise.
    assert level(sound - expected) < level(expected) / 200


class _Counted(io.BytesIO):
    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        return data


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_a_second_in_the_middle_reads_a_small_part_of_the_file(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(4).standard_normal((2, 60 * SAMPLE_RATE)).astype(np.float32) * 0.2
    path = write_video(tmp_path / f"long.{suffix}", noise, codec="libmp3lame")
    reader = _Counted(path.read_bytes())
    with SoundTrack(reader, name="long") as track:
        blocks = track.blocks(Fraction(40))
        heard = sum(len(next(blocks)) for _ in range(12))
    assert heard > 5000
    assert reader.read_bytes < len(reader.getvalue()) / 4

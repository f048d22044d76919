"""Spans, fades, joins and lengths of a clip's sound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.media.clip_audio_media import (
    clicks,
    level,
    loudest_near,
    one_span,
    opener,
    render,
    sine,
    write_video,
)
from video_pipeline.errors import BadInput, Cancelled
from video_pipeline.media.clip_audio import SAMPLE_RATE, AudioSpan, render_audio, samples_at
from video_pipeline.streaming.cancel import CancellationToken

CLICKS = [SAMPLE_RATE * k + 137 * k for k in range(1, 12)]


@pytest.fixture(scope="module")
def clicking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s of AAC in MP4, one click a second, each at a sample of its own."""
    path = tmp_path_factory.mktemp("sound") / "clicks.mp4"
    return write_video(path, clicks(CLICKS, 12 * SAMPLE_RATE))


@pytest.fixture(scope="module")
def humming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "sine.mkv"
    return write_video(path, sine(440, 6), codec="flac")


@pytest.mark.parametrize(
    ("seconds", "sample"),
    [
        (Fraction(0), 0),
        (Fraction(1, 96000), 1),
        (Fraction(-1, 96000), 0),
        (Fraction(-3, 96000), -1),
        (Fraction(1001, 30000), 1602),
    ],
)
def test_a_moment_falls_on_the_nearest_sample_half_up(seconds: Fraction, sample: int) -> None:
    assert samples_at(seconds) == sample


def test_a_trimmed_clip_has_its_clicks_at_the_exact_sample(clicking: Path) -> None:
    start = Fraction(2345678, 1000000)
    sound = render([one_span(start, Fraction(9))], [clicking])
    found = [loudest_near(sound, c - samples_at(start)) for c in CLICKS if start * SAMPLE_RATE < c < 432000]
    assert found == [c - samples_at(start) for c in CLICKS if start * SAMPLE_RATE < c < 432000]
    assert len(found) == 6


def test_40_joined_spans_of_awkward_lengths_do_not_drift(clicking: Path) -> None:
    # Each span lasts 1001/29970 * k s and shows the same click in its middle.
    border, spans, expected = Fraction(0), [], []
    for k in range(40):
        length = Fraction(1001, 29970) * (3 + k % 7)
        click = CLICKS[k % 10]
        start = Fraction(click, SAMPLE_RATE) - length / 2
        offset, end = samples_at(border), samples_at(border + length)
        spans.append(AudioSpan(0, start, start + length, Fraction(1), offset, end - offset))
        expected.append(offset + click - samples_at(start))
        border += length
    sound = render(spans, [clicking])
    assert len(sound) == samples_at(border)
    assert [loudest_near(sound, at) for at in expected] == expected


@pytest.mark.parametrize("speed", ["7/3", "1/4", "37/100", "1/10", "10", "999/1000"])
def test_awkward_speeds_give_exactly_the_samples_asked_for_with_sound_to_the_last(
    humming: Path, speed: str
) -> None:
    span = one_span(Fraction(1, 3), Fraction(29, 7), Fraction(speed))
    sound = render([span], [humming])
    assert len(sound) == span.samples == samples_at((Fraction(29, 7) - Fraction(1, 3)) / Fraction(speed))
    assert level(sound[:2000]) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    assert level(sound[-2000:]) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_what_follows_a_stretched_part_lies_at_its_exact_sample(clicking: Path) -> None:
    border = samples_at(Fraction(3) / Fraction(7, 3))
    spans = [
        AudioSpan(0, Fraction(1), Fraction(4), Fraction(7, 3), 0, border),
        AudioSpan(0, Fraction(4), Fraction(8), Fraction(1), border, 192_000),
    ]
    sound = render(spans, [clicking])
    expected = [border + c - 192_000 for c in CLICKS if 192_000 <= c < 384_000]
    assert len(expected) == 4
    assert [loudest_near(sound, at, 1200) for at in expected] == expected


def test_spans_that_overlap_are_added(clicking: Path) -> None:
    alone = render([one_span(1, 3)], [clicking])
    twice = render([one_span(1, 3), one_span(1, 3)], [clicking])
    np.testing.assert_array_equal(twice, alone * 2)


def test_nothing_is_heard_outside_spans_nor_of_a_span_without_source(humming: Path) -> None:
    spans = [
        AudioSpan(0, Fraction(1), Fraction(2), Fraction(1), 30000, 48000),
        AudioSpan(None, Fraction(0), Fraction(1), Fraction(1), 78000, 48000),
    ]
    sound = render(spans, [humming], total=150_000)
    assert len(sound) == 150_000
    assert not sound[:30000].any()
    assert not sound[78000:].any()
    assert level(sound[30000:78000]) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


def test_a_span_longer_than_its_source_seconds_ends_in_silence(humming: Path) -> None:
    span = AudioSpan(0, Fraction(1), Fraction(2), Fraction(1), 0, 50000)
    sound = render([span], [humming])
    assert level(sound[47000:48000]) > 0.3
    assert not sound[48000:].any()


def test_the_sound_goes_on_to_the_very_last_sample_where_rounding_adds_one(humming: Path) -> None:
    # 1.00001 s are 48000.48 samples: 48001 where the borders fall so.
    start = Fraction(1003, 1000)
    span = AudioSpan(0, start, start + Fraction(100001, 100000), Fraction(1), 0, 48001)
    assert render([span], [humming])[48000].any()


def test_a_total_that_cuts_the_last_span_is_kept_exactly(humming: Path) -> None:
    assert len(render([one_span(0, 5)], [humming], total=123_457)) == 123_457


@pytest.mark.parametrize("curve", ["linear", "equal_power"])
def test_a_crossfade_keeps_its_level(tmp_path: Path, curve) -> None:
    noise = np.random.default_rng(3).standard_normal((2, 2, 4 * SAMPLE_RATE)).astype(np.float32) * 0.1
    like = curve == "linear"
    paths = [
        write_video(tmp_path / f"{i}.mkv", noise[0 if like else i], codec="flac", bit_rate=0) for i in (0, 1)
    ]
    fade = SAMPLE_RATE
    spans = [
        AudioSpan(0, Fraction(0), Fraction(3), Fraction(1), 0, 144000, 0, fade, curve),
        AudioSpan(1, Fraction(2 if like else 0), Fraction(3), Fraction(1), 96000, 48000, fade, 0, curve),
    ]
    sound = render(spans, paths)
    tenths = [level(sound[at : at + 4800]) for at in range(96000, 144000, 4800)]
    assert np.allclose(tenths, level(sound[:96000]), rtol=0.05)


def test_a_linear_crossfade_of_a_sound_with_itself_is_that_sound(humming: Path) -> None:
    whole = render([one_span(1, 4)], [humming])
    spans = [
        AudioSpan(0, Fraction(1), Fraction(3), Fraction(1), 0, 96000, 0, 37),
        AudioSpan(0, 1 + Fraction(95963, 48000), Fraction(4), Fraction(1), 95963, 48037, 37, 0),
    ]
    np.testing.assert_allclose(render(spans, [humming]), whole, atol=1e-6)


@pytest.mark.parametrize("curve", ["linear", "equal_power"])
def test_a_fade_out_is_a_fade_in_backwards(curve) -> None:
    span = AudioSpan(None, Fraction(0), Fraction(1), Fraction(1), 0, 100, 30, 30, curve)
    gain = span.gain(0, 100)
    assert gain is not None
    np.testing.assert_allclose(gain, gain[::-1], atol=1e-6)


@pytest.mark.parametrize("curve", ["linear", "equal_power"])
def test_a_fade_over_several_spans_is_one_fade(humming: Path, curve) -> None:
    rest = {"speed": Fraction(1), "curve": curve}
    whole = AudioSpan(
        0, Fraction(0), Fraction(2), offset=0, samples=96000, fade_in=60000, fade_out=30000, **rest
    )
    half = [
        AudioSpan(
            0,
            Fraction(place),
            Fraction(place + 1),
            offset=48000 * place,
            samples=48000,
            fade_in=60000,
            fade_out=30000,
            fade_in_before=48000 * place,
            fade_out_after=48000 * (1 - place),
            **rest,
        )
        for place in range(2)
    ]
    np.testing.assert_allclose(render(half, [humming]), render([whole], [humming]), atol=1e-6)


def test_fades_begin_and_end_in_silence_and_reach_full_level(humming: Path) -> None:
    whole = render([one_span(1, 3)], [humming])
    span = AudioSpan(0, Fraction(1), Fraction(3), Fraction(1), 0, 96000, 24000, 12000, "linear")
    ratio = level(whole[11900:12100])
    faded = render([span], [humming])
    np.testing.assert_array_equal(faded[24000:84000], whole[24000:84000])
    assert np.abs(faded[:10]).max() < 1e-3
    assert np.abs(faded[-5:]).max() < 1e-3
    assert level(faded[11900:12100]) == pytest.approx(ratio / 2, rel=0.01)


def test_only_the_spans_that_overlap_are_open(humming: Path) -> None:
    opened = most = now = 0

    @contextlib.contextmanager
    def counted(_index: int) -> Iterator[Path]:
        nonlocal opened, most, now
        opened, now = opened + 1, now + 1
        most = max(most, now)
        try:
            yield humming
        finally:
            now -= 1

    spans = [
        AudioSpan(k, Fraction(1), Fraction(2), Fraction(1), 40000 * k, 48000, 8000 * (k > 0), 8000)
        for k in range(12)
    ]
    for _ in render_audio(spans, 488_000, counted, name=str):
        assert now <= 2
    assert (opened, most, now) == (12, 2, 0)


def test_spans_that_follow_each_other_share_one_open_source(humming: Path) -> None:
    opened = 0

    @contextlib.contextmanager
    def counted(_index: int) -> Iterator[Path]:
        nonlocal opened
        opened += 1
        yield humming

    spans = [AudioSpan(0, Fraction(k % 4), Fraction(5), Fraction(1), 5000 * k, 5000) for k in range(9)]
    sound = np.concatenate(list(render_audio(spans, 45000, counted, name=str)))
    apart = [render([AudioSpan(0, s.start, s.stop, s.speed, 0, 5000)], [humming]) for s in spans]
    np.testing.assert_array_equal(sound, np.concatenate(apart))
    assert opened == 1


def test_leaving_early_closes_the_source(humming: Path) -> None:
    closed: list[int] = []

    @contextlib.contextmanager
    def source(index: int) -> Iterator[Path]:
        try:
            yield humming
        finally:
            closed.append(index)

    blocks = render_audio([one_span(0, 5)], 240_000, source, name=str)
    next(blocks)
    assert not closed
    blocks.close()
    assert closed == [0]


def test_a_cancel_ends_it_at_the_next_block(humming: Path) -> None:
    token = CancellationToken()
    blocks = render_audio([one_span(0, 5)], 240_000, opener([humming]), name=str, cancel=token)
    next(blocks)
    token.cancel("enough")
    with pytest.raises(Cancelled, match="enough"):
        next(blocks)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no such file.*holiday\.mp4"):
        render([one_span(0, 1)], [tmp_path / "holiday.mp4"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"stop": Fraction(-1)},
        {"speed": Fraction(11)},
        {"speed": Fraction(1, 11)},
        {"offset": -1},
        {"samples": -1},
        {"fade_in": -1},
        {"fade_out": -1},
    ],
)
def test_a_span_that_cannot_be_played_is_refused(wrong: dict) -> None:
    right = {"start": Fraction(0), "stop": Fraction(1), "speed": Fraction(1), "offset": 0, "samples": 100}
    AudioSpan(0, **right)
    with pytest.raises(ValueError, match=r"cannot be played|no place|cannot be heard"):
        AudioSpan(0, **{**right, **wrong})

"""From source frames to samples, and from a programme to frames: against the product's own sampling rule."""

from __future__ import annotations

import json
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.programmes import NTSC, PROGRAMMES
from evaluation.schedule import make_cue
from evaluation.truth import first_sample, read_truth
from video_pipeline.media.timeline import sample_indices

RATES = st.sampled_from([Fraction(24), Fraction(25), NTSC, Fraction(50)])


def write(path: Path, cues: list[tuple[int, int]], **fields: Any) -> Path:
    document = {
        "video": "a.mp4",
        "frame_rate": "25",
        "frames": 100,
        "crop_region": {"left": 0, "top": 0.8, "width": 1, "height": 0.2},
        "language": "en",
        "cues": [
            {"start_frame": a, "end_frame": b, "text": "x", "language": "en", "effect": "cut"}
            for a, b in cues
        ],
    } | fields
    path.write_text(json.dumps(document))
    return path


def test_a_caption_between_two_samples_is_left_out_and_told(tmp_path: Path) -> None:
    # At 25 pictures and 10 samples a second, the samples show frames 0, 2, 5, 7, 10, 12, ...
    truth = read_truth(write(tmp_path / "p.cues.json", [(3, 5), (5, 6), (10, 100)]), Fraction(10))
    assert truth.name == "p"
    assert truth.video == tmp_path / "a.mp4"
    assert truth.frame_count == 40
    assert [(c.first_frame, c.end_frame) for c in truth.captions] == [(2, 3), (4, 40)]
    assert [(c.first_frame, c.end_frame) for c in truth.unseen] == [(2, 2)]


def test_pairs_are_labelled_by_the_captions_on_both_sides(tmp_path: Path) -> None:
    cues = [(0, 5), (5, 10), (12, 15)]
    truth = read_truth(write(tmp_path / "p.cues.json", cues, frames=20), Fraction(10))
    assert truth.labels() == [
        "same",
        "different",
        "same",
        "valid_empty",
        "empty_valid",
        "valid_empty",
        "empty_empty",
    ]


@given(fps=RATES, rate=st.sampled_from([Fraction(10), Fraction(12), Fraction(5)]), frames=st.integers(1, 300))
def test_samples_show_the_frames_that_the_products_rule_gives(
    fps: Fraction, rate: Fraction, frames: int
) -> None:
    shown = sample_indices(range(frames), frames, 1 / fps, rate)
    assert len(shown) == first_sample(frames, fps=fps, rate=rate)
    for frame in range(frames):
        after = np.flatnonzero(shown >= frame)
        expected = after[0] if len(after) else len(shown)
        assert first_sample(frame, fps=fps, rate=rate) == expected


@given(rate=RATES, first=st.integers(0, 5000), length=st.integers(2, 200))
def test_libass_has_exactly_the_frames_of_a_cue(rate: Fraction, first: int, length: int) -> None:
    cue = make_cue(first, first + length, "x", "cut", rate)
    for frame in {max(first - 1, 0), first, first + length - 1, first + length}:
        # ffmpeg cuts the moment of a frame to milliseconds, in floating point: one less is possible.
        moment = int(frame * 1000 / rate)
        for clock in (moment, moment - 1 if frame else moment):
            drawn = cue.begin * 10 <= clock < cue.stop * 10
            assert drawn == (first <= frame < first + length)


@given(rate=RATES, first=st.integers(0, 5000), seed=st.integers(0, 100))
def test_a_fading_caption_counts_while_it_is_half_opaque(rate: Fraction, first: int, seed: int) -> None:
    length = round(2 * rate)
    cue = make_cue(first, first + length, "x", "fade", rate, random.Random(seed))
    assert first < cue.start_frame < cue.end_frame < first + length
    for frame in range(first, first + length):
        since, until = frame * 1000 / rate - cue.begin * 10, cue.stop * 10 - frame * 1000 / rate
        opacity = min(since / cue.fade_in, until / cue.fade_out, 1)
        assert (opacity >= Fraction(1, 2)) == (cue.start_frame <= frame < cue.end_frame)


def test_the_set_is_as_large_and_as_mixed_as_it_says() -> None:
    assert len(PROGRAMMES) >= 24
    assert len({programme.name for programme in PROGRAMMES}) == len(PROGRAMMES)
    assert len({programme.language for programme in PROGRAMMES}) >= 6
    assert sum(programme.captions for programme in PROGRAMMES) >= 1000
    assert {programme.rate for programme in PROGRAMMES} == {Fraction(25), Fraction(24), NTSC, Fraction(50)}
    assert {programme.crf for programme in PROGRAMMES} >= {20, 26, 32}


@pytest.mark.parametrize("frame", [0, 1])
def test_the_first_frames_do_not_begin_before_the_video(frame: int) -> None:
    assert make_cue(frame, frame + 10, "x", "cut", Fraction(25)).begin >= 0

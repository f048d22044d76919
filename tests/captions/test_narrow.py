"""Narrowing: the picture of the change is found, by the real model on real footage."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline.captions.labels import Label
from video_pipeline.captions.narrow import CLEAR_CUT, first_after_change, narrowed
from video_pipeline.captions.windows import Span, Window
from video_pipeline.media.decode_software import SoftwareDecoder
from video_pipeline.media.frames import CroppedPicture
from video_pipeline.media.geometry import CropRegion
from video_pipeline.models.weights import load_caption_model

CUES = json.loads(DEMO_CLIP.with_suffix(".cues.json").read_text())


@pytest.fixture(scope="module")
def every_picture() -> list[CroppedPicture]:
    decoder = SoftwareDecoder(
        DEMO_CLIP,
        name="demo",
        crop_region=CropRegion.model_validate(CUES["crop_region"]),
        rate=Fraction(1),
        also=lambda _pts: True,
    )
    return list(decoder.pictures())


def test_each_cue_of_the_demo_clip_is_found_to_the_source_picture(
    every_picture: list[CroppedPicture],
) -> None:
    """Windows of eight pictures, with the change early, in the middle and late in them, by turns."""
    torch.set_num_threads(1)
    net = load_caption_model(None).net
    starts = {cue["start_frame"] for cue in CUES["cues"]}
    wrong = []
    tried = 0
    for cue in CUES["cues"]:
        for frame, label in ((cue["start_frame"], "empty_valid"), (cue["end_frame"], "valid_empty")):
            if label == "valid_empty" and frame in starts:
                label = "different"
            if label == "empty_valid" and any(other["end_frame"] == frame for other in CUES["cues"]):
                label = "different"
            first = frame - (1, 4, 7)[tried % 3]
            last = first + 7
            if first < 0 or last >= len(every_picture) or _changes(first, last) != 1:
                continue
            tried += 1
            found = first_after_change(net, _label(label), every_picture[first : last + 1])
            if first + found != frame:
                wrong.append((frame, label, first + found))
    assert tried >= 20
    assert not wrong


def _changes(first: int, last: int) -> int:
    ends = {frame for cue in CUES["cues"] for frame in (cue["start_frame"], cue["end_frame"])}
    return sum(first < frame <= last for frame in ends)


def _label(label: str) -> Label:
    assert label in ("empty_valid", "valid_empty", "different")
    return label


def test_two_neighbouring_pictures_leave_nothing_to_find(every_picture: list[CroppedPicture]) -> None:
    assert first_after_change(load_caption_model(None).net, "different", every_picture[:2]) == 1


def numbered(pictures: list[CroppedPicture], first: int, last: int, every: int) -> list[CroppedPicture]:
    """Pictures first .. last, each `every`-th of which a sample shows, with timestamps in pictures."""
    return [
        CroppedPicture(at, range(at // every, at // every + (at % every == 0)), pictures[at].frame)
        for at in range(first, last + 1)
    ]


def test_a_cut_stays_at_its_sample_and_is_found_to_the_picture(every_picture: list[CroppedPicture]) -> None:
    torch.set_num_threads(1)
    cues = CUES["cues"]
    cue = next(
        cue
        for at, cue in enumerate(cues[1:-1], 1)
        if cues[at - 1]["end_frame"] + 15 < cue["start_frame"] and cue["start_frame"] % 5
    )
    sample = cue["start_frame"] // 5 + 1
    span = Span(1, "start", sample, "empty_valid", sample - 3, sample + 2)
    window = Window(span, numbered(every_picture, 5 * span.first, 5 * span.last, 5))
    found = narrowed(load_caption_model(None).net, window, Fraction(1, 25))
    assert (found.sample, found.before.pts, found.after.pts) == (
        sample,
        cue["start_frame"] - 1,
        cue["start_frame"],
    )
    assert found.confidence is None
    assert found.odds == CLEAR_CUT


def test_a_fade_moves_an_end_to_the_sample_of_half_opacity(every_picture: list[CroppedPicture]) -> None:
    """The demo's first caption, mixed with the street before it over 16 pictures, centred on picture 52.5."""
    cue = CUES["cues"][0]
    without = every_picture[cue["start_frame"] - 1].frame
    shown = every_picture[cue["start_frame"] + 5].frame
    pictures = []
    for at in range(20, 86):
        alpha = min(max((at - 44.5) / 16, 0.0), 1.0)
        plane = np.round((1 - alpha) * without.y.astype(float) + alpha * shown.y).astype(np.uint8)
        samples = range(at // 5, at // 5 + (at % 5 == 0))
        pictures.append(CroppedPicture(at, samples, replace(shown, y=plane)))
    span = Span(1, "start", 10, "empty_valid", 4, 17)
    found = narrowed(load_caption_model(None).net, Window(span, pictures), Fraction(1, 50))
    assert (found.before.pts, found.after.pts, found.sample) == (52, 53, 11)
    assert found.confidence is not None
    assert found.confidence > 0.9

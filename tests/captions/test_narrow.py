"""Narrowing: the picture of the change is found, by the real model on real footage; memory is bounded."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction

import pytest
import torch

from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline.captions.labels import Label
from video_pipeline.captions.narrow import MAX_PICTURES, Gathered, Windows, first_after_change
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


def test_pictures_are_wanted_strictly_between_the_samples_of_a_boundary() -> None:
    windows = Windows([0, 100, 200, 300, 400], [1, 3])
    wanted = [pts for pts in range(-10, 420, 10) if windows.between(pts)]
    assert wanted == [*range(10, 100, 10), *range(210, 300, 10)]


def test_neighbouring_windows_do_not_want_the_sample_between_them() -> None:
    windows = Windows([0, 100, 200], [1, 2])
    assert [windows.between(pts) for pts in (50, 100, 150, 200)] == [True, False, True, False]


def test_samples_that_share_a_picture_want_nothing() -> None:
    assert not any(Windows([0, 0, 100], [1]).between(pts) for pts in (-1, 0, 1))


def test_a_long_window_is_thinned_out_evenly(every_picture: list[CroppedPicture]) -> None:
    picture = every_picture[0]
    gathered = Gathered(5, "different", picture)
    for pts in range(1, 1000):
        gathered.add(CroppedPicture(pts, range(0), picture.frame))
        assert len(gathered.inner) <= MAX_PICTURES - 2
    stamps = [kept.pts for kept in gathered.inner]
    steps = {later - earlier for earlier, later in itertools.pairwise(stamps)}
    assert len(stamps) > MAX_PICTURES // 3
    assert len(steps) == 1

"""The bundled clip is what the demo needs: real, short, small, and its cue list is true to the file."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction

from tests.conftest import ROOT
from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline.media.geometry import CropRegion
from video_pipeline.media.probe import probe_video

CUES = json.loads(DEMO_CLIP.with_suffix(".cues.json").read_text(encoding="utf-8"))


def test_the_clip_is_short_and_small_and_has_sound() -> None:
    probe = probe_video(DEMO_CLIP, name="the demo")
    assert DEMO_CLIP.stat().st_size < 3_000_000
    assert probe.duration_seconds is not None
    assert 20 <= Fraction(probe.duration_seconds) <= 60
    assert probe.has_audio


def test_the_cue_list_describes_the_file() -> None:
    probe = probe_video(DEMO_CLIP, name="the demo")
    assert (probe.display_width, probe.display_height) == (CUES["width"], CUES["height"])
    assert probe.frame_count == CUES["frames"]
    assert probe.average_rate == CUES["frame_rate"]
    assert CropRegion.model_validate(CUES["crop_region"])


def test_cues_are_in_order_apart_and_inside_the_clip_with_times_of_their_frames() -> None:
    cues, rate = CUES["cues"], Fraction(CUES["frame_rate"])
    for cue in cues:
        assert 0 <= cue["start_frame"] < cue["end_frame"] <= CUES["frames"]
        assert Fraction(cue["start"]) == cue["start_frame"] / rate
        assert Fraction(cue["end"]) == cue["end_frame"] / rate
        assert cue["text"].strip()
    for earlier, later in itertools.pairwise(cues):
        assert earlier["end_frame"] <= later["start_frame"]


def test_the_clip_can_be_made_again_and_says_what_of() -> None:
    assert (ROOT / CUES["made_by"]).is_file()
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for source in CUES["sources"]:
        assert source["licence"]
        assert source["file"] in notice

"""The set is made of the test split alone, twice alike, and its captions stand where its truth says."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from evaluation.backgrounds import Shot
from evaluation.development import DEVELOPMENT
from evaluation.programmes import NTSC, PROGRAMMES, Look, Programme
from evaluation.render import Plan, caption_boxes, raw_luma
from evaluation.schedule import Cue, Schedule, make_cue
from evaluation.set import choose, crop_region, make_plan, make_set, recipe_of
from evaluation.texts import face_of
from tests.conftest import ROOT
from tests.evaluation.conftest import FONT
from video_pipeline.captions.train.media import FONT_SPLIT, load_media
from video_pipeline.errors import BadInput, Internal
from video_pipeline.media.geometry import CropRegion, to_pixel_crop

SMALL = Programme(
    "small",
    "en",
    Look(FONT, 0.07),
    width=480,
    height=270,
    rate=NTSC,
    captions=5,
    scenery="street",
    gaps="tiny",
    from_first_frame=True,
    to_last_frame=True,
    word_changes=0.3,
)


def plan_of(media_root: Path, programme: Programme = SMALL) -> Plan:
    return make_plan(programme, load_media(media_root, "test"), media_root)


def with_cues(plan: Plan, cues: tuple[Cue, ...], frames: int) -> Plan:
    """The plan with other cues, over grey that does not move: what is drawn is all that differs."""
    programme = plan.programme
    size = f"{programme.width}x{programme.height}"
    grey = ("-f", "lavfi", "-i", f"color=c=0x606060:s={size}:r={programme.rate}")
    chain = f"trim=end_frame={frames},setpts=PTS-STARTPTS,setsar=1,format=yuv420p"
    return replace(plan, schedule=Schedule(cues, frames), shots=(Shot(grey, chain, frames),))


def drawn(plan: Plan) -> np.ndarray:
    """(T, H, W): how much each pixel of each frame is changed by captions."""
    return np.abs(raw_luma(plan, captions=True).astype(np.int16) - raw_luma(plan, captions=False))


def is_shown(plan: Plan) -> np.ndarray:
    """(T,) which frames have a caption by the truth."""
    shown = np.zeros(plan.schedule.frames, bool)
    for cue in plan.schedule.cues:
        shown[cue.start_frame : cue.end_frame] = True
    return shown


def test_another_seed_makes_other_programmes_of_the_same_kind(media_root: Path) -> None:
    media = load_media(media_root, "test")
    plans = [make_plan(SMALL, media, media_root, seed) for seed in (20, 21, 21)]
    assert plans[0].schedule == plan_of(media_root).schedule
    assert plans[0].schedule != plans[1].schedule
    assert plans[1].schedule == plans[2].schedule
    assert {plan.programme for plan in plans} == {SMALL}


@pytest.mark.parametrize("rate", [NTSC, Fraction(25), Fraction(50)])
def test_captions_are_drawn_on_just_the_frames_of_the_truth(media_root: Path, rate: Fraction) -> None:
    plan = plan_of(media_root, replace(SMALL, rate=rate, captions=3, very_short=rate == 50))
    changes = drawn(plan)
    assert len(changes) == plan.schedule.frames
    assert (changes.max(axis=(1, 2)) > 8).tolist() == is_shown(plan).tolist()


def test_captions_following_each_other_change_on_the_very_frame(media_root: Path) -> None:
    spans = [(0, 7, "first"), (7, 12, "other words"), (12, 20, "third")]
    cues = tuple(make_cue(a, b, text, "cut", NTSC) for a, b, text in spans)
    frames = raw_luma(with_cues(plan_of(media_root), cues, 20), captions=True)
    changed = np.flatnonzero((frames[1:] != frames[:-1]).any(axis=(1, 2))) + 1
    assert changed.tolist() == [7, 12]


def test_a_fading_caption_is_true_while_half_of_it_is_seen(media_root: Path) -> None:
    cues = tuple(make_cue(a, b, "fading", "fade", NTSC) for a, b in ((5, 50), (55, 95)))
    plan = with_cues(plan_of(media_root), cues, 100)
    seen = drawn(plan).sum(axis=(1, 2), dtype=np.int64)
    assert (seen > 0).sum() > is_shown(plan).sum(), "some frames must show less than half"
    # Luma is in whole steps, so exactly half is not; no frame is nearer to it than 2 ms of a fade.
    assert (seen >= 0.5 * seen.max()).tolist() == is_shown(plan).tolist()


@pytest.mark.parametrize("position", ["bottom", "left", "right", "top"])
def test_captions_are_inside_the_crop_region(media_root: Path, position: str) -> None:
    plan = plan_of(media_root, replace(SMALL, position=position, captions=4, crop="close"))
    crop = to_pixel_crop(CropRegion(**crop_region(plan)), SMALL.width, SMALL.height)
    sheet = with_cues(plan, plan.schedule.cues, plan.schedule.frames)
    touched = drawn(sheet).max(axis=0) > 0
    inside = touched[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    assert inside.sum() == touched.sum() > 100


def test_what_is_no_caption_stays_when_captions_go(media_root: Path) -> None:
    programme = replace(SMALL, captions=2, logo=True, ticker=True, credits=True, to_last_frame=False)
    plan = plan_of(media_root, programme)
    bare = raw_luma(with_cues(plan, plan.schedule.cues, plan.schedule.frames), captions=False)
    assert len(np.unique(bare[0])) > 1, "the logo"
    assert not np.array_equal(bare[90], bare[60]), "the ticker"
    upper = np.asarray(bare)[:, : SMALL.height // 2]
    assert np.any(upper[-300:] != upper[0]), "the credits"
    assert np.all(upper[:-420] == upper[0]), "no credits before the last 14 seconds"


def test_only_the_test_split_is_used(media_root: Path) -> None:
    for name in ("a", "b", "c"):
        plan = plan_of(media_root, replace(SMALL, name=name, captions=30))
        assert len(plan.schedule.cues) == 30
        assert not any("train" in cue.text for cue in plan.schedule.cues)
        assert {Path(shot.arguments[-1]).name for shot in plan.shots} == {"vtest.mp4"}
    trained = replace(SMALL, look=replace(SMALL.look, font="LiberationSans-Regular.ttf"))
    (media_root / "fonts/LiberationSans-Regular.ttf").write_bytes((media_root / "fonts" / FONT).read_bytes())
    with pytest.raises(BadInput, match="not in the test split"):
        plan_of(media_root, trained)


def test_cues_follow_each_other_and_differ(media_root: Path) -> None:
    plan = plan_of(media_root, replace(SMALL, captions=40, word_changes=0.5))
    cues = plan.schedule.cues
    assert cues[0].start_frame == 0
    assert cues[-1].end_frame == plan.schedule.frames
    assert {"cut", "word_change"} == {cue.effect for cue in cues}
    for before, after in itertools.pairwise(cues):
        assert before.end_frame <= after.start_frame < after.end_frame
        assert before.text != after.text


def test_a_plan_is_the_same_in_another_process(media_root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.evaluation.test_set import *;"
        "print(recipe_of(plan_of(Path(sys.argv[1]))))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(media_root)],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONHASHSEED": "77"},
    )
    assert other.stdout.decode().strip() == recipe_of(plan_of(media_root))


def test_a_programme_is_made_once_and_made_alike(media_root: Path, tmp_path: Path) -> None:
    programme = replace(SMALL, captions=2)
    make_set([programme], root=media_root, output=tmp_path)
    video, cues = tmp_path / "small.mp4", tmp_path / "small.cues.json"
    first, made = video.read_bytes(), video.stat().st_mtime_ns
    make_set([programme], root=media_root, output=tmp_path)
    assert video.stat().st_mtime_ns == made
    document = json.loads(cues.read_text())
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == document["frames"]
    cues.write_text(json.dumps(document | {"recipe": "other"}))
    make_set([programme], root=media_root, output=tmp_path)
    assert video.stat().st_mtime_ns > made
    assert video.read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.cues.json", "small.mp4"]


def test_a_glyph_that_the_font_lacks_is_refused(media_root: Path) -> None:
    cue = make_cue(0, 10, "字幕", "cut", NTSC)
    with pytest.raises(Internal, match="alone"):
        caption_boxes(with_cues(plan_of(media_root), (cue,), 10))
    assert not face_of(media_root / "fonts" / FONT, None).covers("字幕")
    assert face_of(media_root / "fonts" / FONT, None).covers("two\nlines")


def test_a_caption_that_leaves_the_picture_is_refused(media_root: Path) -> None:
    cue = make_cue(0, 10, "a line far too long to stand in a picture of this width " * 3, "cut", NTSC)
    with pytest.raises(Internal, match="leaves the picture"):
        caption_boxes(with_cues(plan_of(media_root), (cue,), 10))


def test_an_unknown_programme_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="nonsense"):
        choose("en-plain,nonsense")
    assert [programme.name for programme in choose("zh-top,en-plain")] == ["zh-top", "en-plain"]


def test_programmes_to_choose_settings_on_share_nothing_with_the_set() -> None:
    fonts = {programme.look.font for programme in PROGRAMMES}
    for split, programmes in DEVELOPMENT.items():
        assert split != "test"
        for programme in programmes:
            assert programme.look.font not in fonts
            start = next((start for start in FONT_SPLIT if programme.look.font.startswith(start)), None)
            assert (FONT_SPLIT[start] if start else "train") == split
    names = [programme.name for programmes in DEVELOPMENT.values() for programme in programmes]
    assert len({*names, *(programme.name for programme in PROGRAMMES)}) == len(names) + len(PROGRAMMES)

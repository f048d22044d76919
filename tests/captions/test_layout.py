"""Finding the caption region: on the bundled clip, with captions elsewhere, with a logo, without any."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline import keys
from video_pipeline.captions import layout_task
from video_pipeline.captions.intake import crop_of, layout_request, pass_request
from video_pipeline.captions.layout import FALLBACK, Layout, LayoutFinder, candidate_bands, moments_of
from video_pipeline.captions.request import STAGES
from video_pipeline.demo.run import VIDEO, store_demo_clip
from video_pipeline.errors import BadInput
from video_pipeline.media.frames import CroppedFrame
from video_pipeline.media.sparse import PicturePair, picture_pairs
from video_pipeline.models.weights import load_caption_model
from video_pipeline.store.base import ObjectStore
from video_pipeline.worker import TaskContext

CUES = json.loads(DEMO_CLIP.with_suffix(".cues.json").read_text())


@pytest.fixture(scope="module")
def moments() -> list[PicturePair]:
    """The demo clip every other second."""
    seconds = [Fraction(second) for second in range(0, 41, 2)]
    return list(picture_pairs(DEMO_CLIP, name="demo", moments=seconds, gap=Fraction(1, 3)))


def found(pairs: list[PicturePair], change: Callable[[np.ndarray], np.ndarray] = lambda y: y) -> Layout:
    finder = LayoutFinder(load_caption_model(None).net)
    for pair in pairs:
        finder.add(PicturePair(pair.seconds, _changed(pair.first, change), _changed(pair.second, change)))
    return finder.finish()


def _changed(frame: CroppedFrame, change: Callable[[np.ndarray], np.ndarray]) -> CroppedFrame:
    return CroppedFrame(y=np.ascontiguousarray(change(frame.y)), u=frame.u, v=frame.v, tags=frame.tags)


@pytest.mark.slow
def test_the_region_of_the_bundled_clip_is_found(moments: list[PicturePair]) -> None:
    layout = found(moments)
    true, region = CUES["crop_region"], layout.region
    assert layout.found
    assert abs(region.top - true["top"]) < 0.06
    assert abs(region.top + region.height - true["top"] - true["height"]) < 0.06
    assert region.left <= 0.13
    assert region.left + region.width >= 0.87
    assert "different captions" in layout.reasons[0]


@pytest.mark.slow
def test_captions_at_the_top_are_found_at_the_top(moments: list[PicturePair]) -> None:
    """The same pictures with their lower quarter on top."""
    layout = found(moments, lambda y: np.concatenate((y[270:], y[:270])))
    assert layout.found
    assert layout.region.top + layout.region.height < 0.35


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 3, 15])
def test_a_logo_that_never_changes_is_no_caption(moments: list[PicturePair], moment: int) -> None:
    """The band of one moment stands over all of them; there is no other caption."""
    band = moments[moment].first.y[270:350]

    def frozen(y: np.ndarray) -> np.ndarray:
        changed = y.copy()
        changed[270:350] = band
        return changed

    layout = found(moments, frozen)
    assert not layout.found
    assert max(band.shown for band in layout.bands) > 15


def test_nothing_but_darkness_gives_the_usual_place_and_says_so(moments: list[PicturePair]) -> None:
    layout = found(moments[:6], np.zeros_like)
    assert (layout.found, layout.region) == (False, FALLBACK)
    assert "caption_request.json" in " ".join(layout.reasons)


def test_no_moment_at_all_gives_the_usual_place() -> None:
    layout = LayoutFinder(load_caption_model(None).net).finish()
    assert (layout.found, layout.region) == (False, FALLBACK)


def test_the_bands_cover_the_picture_and_overlap() -> None:
    for height in {height for _, height in candidate_bands()}:
        tops = sorted(top for top, high in candidate_bands() if high == height)
        assert tops[0] <= height / 2
        assert tops[-1] + height == pytest.approx(1)
        assert all(later - earlier <= height / 2 + 1e-9 for earlier, later in itertools.pairwise(tops))


@pytest.mark.parametrize(("duration", "count"), [(Fraction(0), 1), (Fraction(3), 6), (Fraction(7200), 150)])
def test_moments_are_spread_over_the_whole_video(duration: Fraction, count: int) -> None:
    moments = moments_of(duration)
    assert len(moments) == count
    assert all(0 <= moment <= duration for moment in moments)


@pytest.mark.slow
def test_the_task_stores_a_layout_that_the_pass_takes(
    store: ObjectStore, make_context: Callable[..., TaskContext]
) -> None:
    store_demo_clip(store)
    store.put(keys.caption_request_key(VIDEO), b'{"frame_rate": "5"}')
    with pytest.raises(BadInput, match="captions stand is not known"):
        pass_request(store, VIDEO, STAGES)
    result = layout_task.run(layout_request(store, VIDEO), make_context(store))
    assert result.found
    assert crop_of(store, VIDEO) == result.crop_region
    assert pass_request(store, VIDEO, STAGES).crop_region == result.crop_region
    preview = Image.open(io.BytesIO(store.get(result.preview_key)))
    assert preview.width > 900
    assert json.loads(store.get(result.layout_key))["reasons"] == list(result.reasons)


def test_a_person_overrides_what_was_found(store: ObjectStore) -> None:
    store_demo_clip(store)
    assert crop_of(store, VIDEO).model_dump() == CUES["crop_region"]

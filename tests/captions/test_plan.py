"""Plans: a request means the same recipes wherever it is asked, and what exists is found, the best first."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.captions.test_manifest import manifest
from tests.doubles.far_store import put_far_away
from tests.fixtures.media_factory import DEMO_CLIP
from video_pipeline import keys
from video_pipeline.captions import recognise
from video_pipeline.captions.manifest import write_manifest
from video_pipeline.captions.plan import (
    CaptionPlan,
    find_captions,
    layout_prefix_of,
    make_plan,
    open_source,
    plan_for,
    read_model,
    source_of,
    text_recipe_of,
)
from video_pipeline.captions.request import CropAndInferRequest, FindLayoutRequest
from video_pipeline.errors import BadInput
from video_pipeline.keys import VideoId
from video_pipeline.media import vp9
from video_pipeline.media.geometry import PixelCrop
from video_pipeline.models.weights import SHIPPED_CAPTION_WEIGHTS
from video_pipeline.store.base import ObjectInfo, ObjectStore

VIDEO = VideoId("acme", "clip")
SOURCE = "acme/client/videos/clip/video.mp4"
MODEL = "acme/server/mine.safetensors"
REQUEST = {
    "video_key": SOURCE,
    "tenant_id": "acme",
    "video_id": "clip",
    "crop_region": {"left": 0.05, "top": 0.75, "width": 0.9, "height": 0.2},
}


def source(store: ObjectStore, content: bytes = b"footage") -> ObjectInfo:
    store.put(SOURCE, content)
    return source_of(store, SOURCE)


def planned(store: ObjectStore, *, size: tuple[int, int] = (1280, 720), **changes: Any) -> CaptionPlan:
    request = CropAndInferRequest.model_validate({**REQUEST, **changes})
    return make_plan(store, request, display_width=size[0], display_height=size[1], source=source(store))


def test_a_source_that_is_not_there_or_empty_is_named(store: ObjectStore) -> None:
    with pytest.raises(BadInput, match="not in the store") as caught:
        source_of(store, SOURCE)
    assert caught.value.input == f"{store.uri}/{SOURCE}"
    with pytest.raises(BadInput, match="0 bytes"):
        source(store, b"")
    assert source(store, b"x").size == 1


def test_the_source_is_opened_where_it_lies_and_read_from_the_store_where_it_does_not(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    source(store)
    local = open_source(store, SOURCE)
    assert isinstance(local, Path)
    assert local.read_bytes() == b"footage"
    monkeypatch.setattr(type(store), "local_path", lambda self, key: None)
    remote = open_source(store, SOURCE)
    assert not isinstance(remote, Path)
    assert remote.read() == b"footage"
    remote.close()


def test_a_plan_is_made_from_the_header_and_the_source_is_closed_again(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(SOURCE, DEMO_CLIP)
    request = CropAndInferRequest.model_validate(REQUEST)
    here = plan_for(store, request)
    assert here.crop == PixelCrop(left=32, top=270, width=576, height=72)
    opened = put_far_away(store, monkeypatch)
    assert plan_for(store, request) == here
    assert [reader.closed for reader in opened] == [True]
    store.put(SOURCE, b"not a video at all")
    with pytest.raises(BadInput, match=r"video\.mp4"):
        plan_for(store, request)
    assert [reader.closed for reader in opened] == [True, True]


def test_stages_that_are_not_asked_for_have_no_recipe(store: ObjectStore) -> None:
    assert set(planned(store).recipes) == {"frames", "extents", "chunks"}
    assert set(planned(store, stages=["cropped_frames"]).recipes) == {"frames"}
    only = planned(store, stages=["vp9_chunks"])
    assert set(only.recipes) == {"frames", "chunks"}
    assert only.weights_sha256 is None, "no weights are read for chunks"
    assert only.recipes["chunks"] == planned(store).recipes["chunks"]


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"frame_rate": "5"}, {"frames", "extents", "chunks"}),
        ({"crop_region": {"left": 0, "top": 0.75, "width": 0.9, "height": 0.2}},
         {"frames", "extents", "chunks"}),
        ({"size": (1920, 1080)}, {"frames", "extents", "chunks"}),
        ({"preset": "small"}, {"chunks"}),
        ({"model_key": MODEL}, {"extents"}),
        ({"encoder_workers": 3}, set()),
        ({"inference_batch_size": 7}, set()),
    ],
)  # fmt: skip
def test_a_change_of_the_request_makes_again_what_it_is_about_and_no_more(
    store: ObjectStore, changes: dict[str, Any], changed: set[str]
) -> None:
    store.put(MODEL, b"weights of one's own")
    before, after = planned(store).recipes, planned(store, **changes).recipes
    assert {kind for kind in before if before[kind] != after[kind]} == changed


def test_a_replaced_video_is_another_set_of_everything(store: ObjectStore) -> None:
    before = planned(store).recipes
    request = CropAndInferRequest.model_validate(REQUEST)
    replaced = source(store, b"other footage")
    after = make_plan(store, request, display_width=1280, display_height=720, source=replaced).recipes
    assert all(before[kind] != after[kind] for kind in before)


def test_another_encoder_makes_other_chunks(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planned(store).recipes
    monkeypatch.setattr(vp9, "ENCODER_VERSION", vp9.ENCODER_VERSION + 1)
    after = planned(store).recipes
    assert {kind for kind in before if before[kind] != after[kind]} == {"chunks"}


def test_the_weights_are_those_that_ship_or_ones_own_by_their_content(store: ObjectStore) -> None:
    shipped = hashlib.sha256(SHIPPED_CAPTION_WEIGHTS.read_bytes()).hexdigest()
    assert planned(store).weights_sha256 == shipped
    store.put(MODEL, b"weights of one's own")
    own = planned(store, model_key=MODEL)
    assert own.weights_sha256 == hashlib.sha256(b"weights of one's own").hexdigest()
    assert read_model(store, MODEL) == b"weights of one's own"


def test_a_checkpoint_that_is_not_there_is_named(store: ObjectStore) -> None:
    with pytest.raises(BadInput, match="checkpoint is not in the store") as caught:
        planned(store, model_key=MODEL)
    assert caught.value.input == f"{store.uri}/{MODEL}"


def test_what_has_a_manifest_exists_and_the_rest_is_missing(store: ObjectStore) -> None:
    empty = planned(store)
    assert empty.existing == {}
    assert empty.missing == {"frames", "extents", "chunks"}
    write_manifest(store, empty.prefix("chunks"), manifest())
    plan = planned(store)
    assert plan.missing == {"frames", "extents"}
    assert plan.existing["chunks"] == manifest()
    assert plan.prefix("frames") == keys.frames_prefix(VIDEO, plan.recipes["frames"])
    assert plan.prefix("extents") == keys.extents_prefix(VIDEO, plan.recipes["extents"])


def test_a_layout_is_of_its_source_its_model_and_its_rule(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from video_pipeline.captions import layout

    store.put(MODEL, b"weights of one's own")
    fields = {"video_key": SOURCE, "tenant_id": "acme", "video_id": "clip"}
    shipped, own = FindLayoutRequest(**fields), FindLayoutRequest(**fields, model_key=MODEL)
    found = [
        layout_prefix_of(store, shipped, source_version="v1"),
        layout_prefix_of(store, shipped, source_version="v2"),
        layout_prefix_of(store, own, source_version="v1"),
    ]
    monkeypatch.setattr(layout, "LAYOUT_VERSION", layout.LAYOUT_VERSION + 1)
    found.append(layout_prefix_of(store, shipped, source_version="v1"))
    assert len(set(found)) == 4
    assert all(prefix.startswith("acme/server/videos/clip/layouts/") for prefix in found)


def captions(store: ObjectStore, plan: CaptionPlan, *, ocr: str | None, chunks: bool) -> str:
    recipe = text_recipe_of(plan, ocr_version=ocr, chunks=chunks)
    prefix = keys.captions_prefix(VIDEO, recipe)
    write_manifest(store, prefix, manifest())
    return prefix


def test_of_several_captions_those_with_text_are_found_first_then_those_with_chunks(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognise, "recogniser_version", lambda: "reader 1")
    write_manifest(store, planned(store).prefix("extents"), manifest())
    plan = planned(store)
    assert find_captions(store, plan) is None
    best_last = [(None, False), (None, True), ("reader 1", False), ("reader 1", True)]
    made = [captions(store, plan, ocr=ocr, chunks=chunks) for ocr, chunks in best_last]
    assert len(set(made)) == 4
    for best in reversed(made):
        assert find_captions(store, plan) == best
        store.delete(keys.manifest_key(best))
    assert find_captions(store, plan) is None


def test_captions_of_other_extents_or_another_reader_are_not_found(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognise, "recogniser_version", lambda: "reader 2")
    plan = planned(store)
    prefix = captions(store, plan, ocr="reader 2", chunks=True)
    assert find_captions(store, plan) is None, "without their extents they are of nothing that exists"
    write_manifest(store, plan.prefix("extents"), manifest())
    assert find_captions(store, planned(store)) == prefix
    monkeypatch.setattr(recognise, "recogniser_version", lambda: "reader 3")
    assert find_captions(store, planned(store)) is None


def test_without_chunks_in_the_plan_captions_without_them_are_found(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognise, "recogniser_version", lambda: None)
    stages = ["cropped_frames", "caption_frame_extents"]
    write_manifest(store, planned(store).prefix("extents"), manifest())
    prefix = captions(store, planned(store), ocr=None, chunks=False)
    assert find_captions(store, planned(store, stages=stages)) == prefix


def test_the_rule_of_narrowing_is_part_of_the_text(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from video_pipeline.captions import narrow

    plan = planned(store)
    before = text_recipe_of(plan, ocr_version=None, chunks=False)
    monkeypatch.setattr(narrow, "NARROWING_VERSION", narrow.NARROWING_VERSION + 1)
    assert text_recipe_of(plan, ocr_version=None, chunks=False) != before


def test_each_task_has_its_version_in_the_recipe_of_what_it_makes(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from video_pipeline import tasks

    plan = planned(store)
    layout = FindLayoutRequest(video_key=SOURCE, tenant_id="acme", video_id="clip")

    def made() -> list[str]:
        return [
            planned(store).recipes["extents"],
            text_recipe_of(plan, ocr_version=None, chunks=False),
            layout_prefix_of(store, layout, source_version="v1"),
        ]

    before, real = made(), tasks.find_task
    names = ("crop_and_infer_caption_frame_extents", "read_captions", "find_caption_layout")
    for place, name in enumerate(names):

        class Newer:
            """A test double: the task with its next version."""

            version = real(name).version + 1

        monkeypatch.setattr(
            tasks, "find_task", lambda asked, name=name: Newer if asked == name else real(asked)
        )
        changed = [one != other for one, other in zip(before, made(), strict=True)]
        assert changed == [at == place for at in range(3)]
    assert all(a != b for a, b in itertools.combinations(before, 2))

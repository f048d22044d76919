"""How long a call will probably take: frames found cheaply, the model that fits, the words of it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from video_pipeline.compute.base import CallOptions
from video_pipeline.compute.modal_asking import reserved_for
from video_pipeline.costs.plan import shipped_plan
from video_pipeline.costs.predict import Coefficients, Rates, predict
from video_pipeline.costs.stored import (
    MODELS_KIND,
    PLAN_KIND,
    FittedModel,
    FittedModels,
    find,
    known_coefficients,
    save,
)
from video_pipeline.errors import BadInput
from video_pipeline.modal_ops import foretold as module
from video_pipeline.modal_ops.foretold import foretell
from video_pipeline.modal_ops.guard import Foretold, check_cost, cost_of
from video_pipeline.modal_ops.specs import spec_for
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import BUILT_IN, find_task

STREET, SPORT = "acme/client/videos/street/video.mp4", "acme/client/videos/sport/video.mp4"
"""42 s and 4 s, both at 30 frames a second."""

CLIP = {"tenant_id": "acme", "clip_id": "cut", "source_key": SPORT}
CROP = {"keyframes": [{"time": 0, "x": 0, "y": 0, "width": 180, "height": 320}]}
TINY = {"keyframes": [{"time": 0, "x": 0, "y": 0, "width": 90, "height": 160}]}
LARGE = {"keyframes": [{"time": 0, "x": 0, "y": 0, "width": 270, "height": 480}]}
REGION = {"left": 0.1, "top": 0.8, "width": 0.8, "height": 0.15}
PASS = {"video_key": STREET, "tenant_id": "acme", "video_id": "street", "crop_region": REGION}
SAMPLE = {"tenant_id": "acme", "sample_id": "look", "video_urls": [SPORT, "https://example.org/a.mp4"]}
LIGHT = {
    "highlight_regions": [
        {
            "start_time": 0,
            "end_time": 2,
            "keyframes": [{"time": 0, "x": 100, "y": 100, "radius_x": 40, "radius_y": 80}],
        }
    ]
}
COMPILATION = {
    "tenant_id": "acme",
    "clip_id": "best",
    "clips": [
        {"source_key": SPORT, "start": 1, "end": 2.5, "name": "A run"},
        {"source_key": STREET, "start": 0, "end": 2, "name": "Morning"},
    ],
    "transition": "dissolve",
    "transition_seconds": 0.8,
}
JOINED = {
    "tenant_id": "acme",
    "clip_id": "joined",
    "fps": "30",
    "output_width": 360,
    "output_height": 640,
    "clips": [
        {"source_key": SPORT, "trim_end": 2, **CROP},
        {"source_key": SPORT, "trim_start": 1, "trim_end": 2, **LARGE},
    ],
}
"""The crop of the first is half as large as the output, that of the second three quarters."""


@pytest.fixture
def settings() -> Settings:
    return load_settings(store="s3://bucket", compute="modal")


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    store = open_store(load_settings(store=str(tmp_path / "store"), compute="local"))
    for key, name in ((STREET, "street.mp4"), (SPORT, "sport.mp4")):
        store.put(key, (files("video_pipeline.demo") / name).read_bytes())
    return store


def model(task: str, gpu: str | None, **fields: Any) -> Coefficients:
    """Ten seconds, and a tenth of one for each frame."""
    return Coefficients(
        **{
            "task": task,
            "gpu": gpu,
            "backend": "modal",
            "terms": ("s_per_frame", "startup_s"),
            "s_per_frame": 0.1,
            "startup_s": 10.0,
            "n_runs": 9,
            "n_configurations": 3,
            "frames_range": (1, 1000),
            "chunks_range": (1, 1),
            "source": "ledger",
            "as_of": "2026-08-01",
            "held_out_error": 0.15,
            **fields,
        }
    )


def learn(store: ObjectStore, *models: Coefficients) -> None:
    fitted = FittedModels(models=tuple(FittedModel(coefficients=one, used=True) for one in models))
    save(store, MODELS_KIND, {"json": fitted.model_dump_json().encode()})


def ask(
    task: str,
    request: Mapping[str, Any],
    settings: Settings,
    store: ObjectStore,
    options: CallOptions | None = None,
) -> Foretold | None:
    entry = find_task(task)
    reserved = reserved_for(spec_for(entry, settings, options))
    return foretell(entry, entry.parse_request(request), reserved, store)


def ask_here(task: str, request: Mapping[str, Any], store: ObjectStore) -> Foretold | None:
    """Of a call on a machine of one's own."""
    entry = find_task(task)
    return foretell(entry, entry.parse_request(request), None, store)


@pytest.mark.parametrize(
    ("task", "gpu", "request_", "frames"),
    [
        ("crop_and_infer_caption_frame_extents", "A10", PASS, 420),
        ("crop_and_infer_caption_frame_extents", "A10", {**PASS, "frame_rate": "30000/1001"}, 1259),
        ("crop_and_infer_caption_frame_extents", "A10", {**PASS, "frame_rate": "31/10"}, 131),
        ("read_captions", "A10", PASS, 420),
        ("run_inference", "B200", {**SAMPLE, "num_batches": 3, "frames_per_sample": 4}, 24),
        (
            "run_inference",
            "B200",
            {**SAMPLE, "strategy": "timestamps", "timestamps": [0, 1, 2]},
            6,
        ),
        ("extract_clip", None, {**CLIP, "start": 0.5, "end": 2.5}, 60),
        ("render_overlay", None, {**CLIP, **LIGHT}, 120),
        ("detect_players_batch", "T4", {**CLIP, "timestamps": [1, "0:01", 2.5]}, 2),
        ("detect_players_batch", "T4", {**CLIP, "rate": "5/2"}, 10),
        ("detect_players_batch", "T4", {**CLIP, "rate": "2", "start": 1, "stop": "0:02.6"}, 4),
        ("create_annotated_compilation", None, COMPILATION, 81),
        ("create_annotated_compilation", None, {**COMPILATION, "fps": "60"}, 162),
    ],
)
def test_frames_come_from_the_request_or_the_index_of_its_source(
    task: str,
    gpu: str | None,
    request_: dict[str, Any],
    frames: int,
    settings: Settings,
    store: ObjectStore,
) -> None:
    learn(store, model(task, gpu))
    found = ask(task, request_, settings, store)
    assert found is not None
    assert found.frames == frames
    assert found.seconds == pytest.approx(10 + frames / 10)
    assert (found.model_as_of, found.runs, found.source) == ("2026-08-01", 9, "ledger")


def test_dollars_are_of_the_machine_that_is_reserved(settings: Settings, store: ObjectStore) -> None:
    """By hand: A10 0.000306, 16 cores of 0.0000131, 16 GiB of 0.00000222 a second, for 52 s."""
    task = "crop_and_infer_caption_frame_extents"
    learn(store, model(task, "A10"), model(task, "L4", startup_s=40.0))
    found = ask(task, PASS, settings, store)
    assert found is not None
    assert found.usd == pytest.approx(52 * (0.000306 + 16 * 0.0000131 + 16 * 0.00000222))
    other = ask(task, PASS, settings, store, CallOptions(gpu="L4"))
    assert other is not None
    assert other.seconds == pytest.approx(82)
    assert other.usd == pytest.approx(82 * (0.000222 + 16 * 0.0000131 + 16 * 0.00000222))


def test_a_framed_clip_is_foretold_by_the_published_model_as_its_task_does(
    settings: Settings, store: ObjectStore
) -> None:
    published = find(known_coefficients(None), "process_framing_ai", gpu="T4", backend="modal")
    one = ask("process_framing_ai", {**CLIP, **CROP}, settings, store)
    assert one is not None
    assert (one.frames, one.chunks) == (120, None)
    assert one.seconds == pytest.approx(predict(published, 120, 1).seconds)
    assert one.usd == pytest.approx(one.seconds * (0.000164 + 8 * 0.0000131 + 8 * 0.00000222))
    assert (one.low or 0) < one.seconds < (one.high or 0)
    assert one.beyond == ("120 frames: measured were 180 to 449",)

    several = ask("process_framing_ai_parallel", {**CLIP, **CROP, "num_chunks": 2}, settings, store)
    assert several is not None
    assert several.chunks == 2
    assert several.seconds < one.seconds
    as_it_is = ask("process_framing_ai_parallel", {**CLIP, **CROP}, settings, store)
    assert as_it_is is not None
    assert (as_it_is.chunks or 0) >= 1
    long = ask("process_framing_ai_parallel", {**CLIP, **CROP, "source_key": STREET}, settings, store)
    assert long is not None
    assert (long.chunks or 0) > 2, "as many as pay, where the request leaves it open"
    assert several.usd is not None
    assert several.usd > one.seconds * 0.000164, "the calls that it starts are in it"


def test_joined_clips_go_by_the_model_of_enlarging_if_any_of_them_may_need_it(
    settings: Settings, store: ObjectStore
) -> None:
    task = "process_multi_clip"
    learn(store, model(task, "T4", enlarged=True), model(task, "T4", enlarged=False, s_per_frame=0.01))
    small = {**JOINED, "output_width": 180, "output_height": 320}
    one = {**small, "clips": [JOINED["clips"][1], {**JOINED["clips"][0], **TINY}]}
    for request, per_frame in ((JOINED, 0.1), (small, 0.01), (one, 0.1), ({**one, "upscale": "never"}, 0.01)):
        found = ask(task, request, settings, store)
        assert found is not None
        assert found.frames == 90
        assert found.seconds == pytest.approx(10 + 90 * per_frame)


def test_a_call_on_a_machine_of_ones_own_goes_by_the_models_of_such_and_costs_nothing(
    settings: Settings, store: ObjectStore
) -> None:
    task = "crop_and_infer_caption_frame_extents"
    rates = Rates(chunk_usd_per_s=1.0, whole_usd_per_s=1.0, as_of="2026-08-01")
    here = model(task, None, backend="local", s_per_frame=0.5, rates=rates)
    learn(store, model(task, "A10"), here)
    found = ask_here(task, PASS, store)
    assert found is not None
    assert (found.frames, found.usd) == (420, None)
    assert found.seconds == pytest.approx(10 + 420 / 2)


def test_a_framed_clip_in_one_call_goes_by_what_single_calls_took_where_no_plan_knows_it(
    settings: Settings, store: ObjectStore
) -> None:
    task = "process_framing_ai"
    assert ask_here(task, {**CLIP, **CROP}, store) is None, "nothing ships of machines of one's own"
    learn(
        store,
        model(task, None, backend="local", enlarged=True),
        model(task, None, backend="local", enlarged=False, s_per_frame=0.01),
    )
    for request, per_frame in (({**CLIP, **CROP}, 0.1), ({**CLIP, **CROP, "upscale": "never"}, 0.01)):
        found = ask_here(task, request, store)
        assert found is not None
        assert (found.frames, found.chunks, found.usd) == (120, None, None)
        assert found.seconds == pytest.approx(10 + 120 * per_frame)
    assert ask_here("process_framing_ai_parallel", {**CLIP, **CROP}, store) is None, "of one call alone"


@pytest.mark.parametrize(
    ("task", "request_", "options"),
    [
        ("process_framing_ai", {**CLIP, **CROP, "preview": 4}, None),
        ("process_multi_clip", {**JOINED, "preview": 4}, None),
        ("create_annotated_compilation", {**COMPILATION, "preview": 4}, None),
        ("process_framing_ai", {**CLIP, **CROP, "upscale": "never"}, None),
        ("process_framing_ai", {**CLIP, **LARGE, "output_width": 180, "output_height": 320}, None),
        ("process_framing_ai", {**CLIP, **CROP}, CallOptions(gpu="A10G")),
        ("crop_and_infer_caption_frame_extents", {**PASS, "stages": ["cropped_frames"]}, None),
        ("read_captions", {**PASS, "ocr": False}, None),
        ("extract_clip", {**CLIP, "start": 0, "end": 1, "mode": "copy"}, None),
        ("extract_clip", {**CLIP, "start": 0, "end": 1, "preview": 4}, None),
        ("render_overlay", {**CLIP, **LIGHT, "preview": 4}, None),
        ("render_overlay", CLIP, None),
        ("detect_players", {**CLIP, "time": 1}, None),
        ("find_caption_layout", {key: PASS[key] for key in ("video_key", "tenant_id", "video_id")}, None),
        ("probe", {}, None),
    ],
)
def test_what_no_model_was_measured_of_has_no_prediction(
    task: str,
    request_: dict[str, Any],
    options: CallOptions | None,
    settings: Settings,
    store: ObjectStore,
) -> None:
    learn(store, *(model(known.name, None) for known in BUILT_IN), model(task, "A10"), model(task, "T4"))
    assert ask(task, request_, settings, store, options) is None
    learn(store, *(model(known.name, None, backend="local") for known in BUILT_IN))
    assert options is not None or ask_here(task, request_, store) is None


def test_a_task_without_a_model_on_modal_on_this_machine_has_no_prediction(
    settings: Settings, store: ObjectStore
) -> None:
    assert ask("run_inference", SAMPLE, settings, store) is None
    learn(store, model("run_inference", "B200", backend="local"), model("run_inference", "T4"))
    assert ask("run_inference", SAMPLE, settings, store) is None


def test_a_source_that_is_no_video_is_said_by_its_name(settings: Settings, store: ObjectStore) -> None:
    store.put(STREET, b"no video at all")
    task = "crop_and_infer_caption_frame_extents"
    assert ask(task, PASS, settings, store) is None, "without a model it is not even read"
    learn(store, model(task, "A10"))
    with pytest.raises(BadInput, match="street"):
        ask(task, PASS, settings, store)


@pytest.mark.parametrize("content", [None, b"no video at all"], ids=["a video", "none"])
def test_a_source_in_a_bucket_is_closed_whatever_it_is(
    content: bytes | None, settings: Settings, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        store.put(STREET, content)
    opened: list[Any] = []
    genuine = store.open_reader

    def open_reader(key: str) -> Any:
        opened.append(genuine(key))
        return opened[-1]

    monkeypatch.setattr(store, "local_path", lambda key: None)
    monkeypatch.setattr(store, "open_reader", open_reader)
    task = "crop_and_infer_caption_frame_extents"
    learn(store, model(task, "A10"))
    with suppress(BadInput):
        ask(task, PASS, settings, store)
    assert [reader.closed for reader in opened] == [True]


@pytest.mark.parametrize(
    ("task", "gpu", "request_"),
    [
        ("crop_and_infer_caption_frame_extents", "A10", PASS),
        ("extract_clip", None, {**CLIP, "start": 0.5, "end": 2.5}),
        ("render_overlay", None, {**CLIP, **LIGHT}),
        ("detect_players_batch", "T4", {**CLIP, "rate": "5/2"}),
    ],
)
def test_a_source_that_states_neither_length_nor_rate_has_no_prediction(
    task: str,
    gpu: str | None,
    request_: dict[str, Any],
    settings: Settings,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A recording that was cut off."""
    unstated = SimpleNamespace(duration_seconds=None, average_rate=None, frame_count=None)
    monkeypatch.setattr(module, "_probe", lambda store, key: unstated)
    learn(store, model(task, gpu))
    assert ask(task, request_, settings, store) is None


@pytest.mark.parametrize(("counted", "frames"), [(97, 97), (None, 100)])
def test_frames_of_a_whole_video_are_those_of_its_index_or_else_its_length_at_its_rate(
    counted: int | None,
    frames: int,
    settings: Settings,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = SimpleNamespace(duration_seconds="4.004", average_rate="24975/1000", frame_count=counted)
    monkeypatch.setattr(module, "_probe", lambda store, key: found)
    learn(store, model("render_overlay", None))
    overlay = ask("render_overlay", {**CLIP, **LIGHT}, settings, store)
    assert overlay is not None
    assert overlay.frames == frames


def test_a_framed_clip_goes_by_the_deployments_own_plan_and_foretelling_writes_nothing(
    settings: Settings, store: ObjectStore
) -> None:
    own = shipped_plan()
    dearer = tuple(one.model_copy(update={"s_per_frame": 2 * one.s_per_frame}) for one in own.coefficients)
    text = own.model_copy(update={"coefficients": dearer}).model_dump_json()
    shipped = ask("process_framing_ai", {**CLIP, **CROP}, settings, store)
    save(store, PLAN_KIND, {"json": text.encode()})
    before = {item.key for item in store.list("")}
    now = ask("process_framing_ai", {**CLIP, **CROP}, settings, store)
    assert shipped is not None
    assert now is not None
    assert now.seconds > 1.5 * shipped.seconds
    assert ask("process_framing_ai_parallel", {**CLIP, **CROP}, settings, store) is not None
    assert {item.key for item in store.list("")} == before


FORETOLD = Foretold(81.4, 15.2, 147.6, 0.0233, 1200, None, "2026-02-09", 6, "published")


@pytest.mark.parametrize(
    ("foretold", "text"),
    [
        (
            FORETOLD,
            "about 81 s (15 to 148) once it runs, $0.0233, for 1,200 frames "
            "(model of 2026-02-09, 6 runs, published)",
        ),
        (replace(FORETOLD, low=None, usd=None), "about 81 s once it runs, for 1,200 frames (model"),
        (replace(FORETOLD, usd=1.234, chunks=2), "$1.23, for 1,200 frames in 2 calls of its own (model"),
        (replace(FORETOLD, chunks=1), "in 1 call of its own (model"),
        (replace(FORETOLD, seconds=2.34, low=0.5), "about 2.3 s (0.5 to 148)"),
        (replace(FORETOLD, seconds=9.97, usd=0.5), "about 10 s (15 to 148) once it runs, $0.50, for"),
        (replace(FORETOLD, beyond=("9 frames: measured were 10 to 20",)), "published; 9 frames: measured"),
    ],
)
def test_a_prediction_says_its_interval_its_frames_and_its_model(foretold: Foretold, text: str) -> None:
    assert text in str(foretold)


def test_the_cost_of_a_call_says_what_is_likely_and_what_is_the_most(settings: Settings) -> None:
    bound = cost_of(find_task("process_framing_ai_parallel"), settings)
    text = str(replace(bound, foretold=replace(FORETOLD, chunks=4)))
    assert text.startswith("process_framing_ai_parallel on 4 cores, 8 GiB: about 81 s")
    assert "; at most 15,120 s x " in text
    assert "those that it starts not counted" in text
    facts = replace(bound, foretold=FORETOLD).facts()
    assert (facts["foretold_seconds"], facts["foretold_usd"]) == (81.4, 0.0233)
    assert (facts["bound_seconds"], facts["model_as_of"]) == (15_120, "2026-02-09")
    assert facts["bound_usd"] == pytest.approx(bound.bound_usd, abs=1e-6)
    assert set(bound.facts()) == {"cost", "bound_seconds", "bound_usd"}
    assert "not counted" not in str(bound)
    assert "not counted" not in str(replace(bound, foretold=FORETOLD)), "it works alone"


def test_a_refusal_says_what_is_foretold_and_a_call_that_may_start_does_not_wait_for_it(
    settings: Settings,
) -> None:
    asked = []

    def look() -> Foretold:
        asked.append(1)
        return FORETOLD

    task = find_task("process_framing_ai")
    assert check_cost(task, None, settings, foretell=look).foretold is None
    assert not asked
    strict = settings.model_copy(update={"max_usd_per_call": 1.0})
    with pytest.raises(BadInput, match=r"about 81 s .* is above the limit of \$1.00 per call"):
        check_cost(task, None, strict, foretell=look)
    strict = settings.model_copy(update={"max_usd_per_run": 1.0})
    with pytest.raises(BadInput, match=r"about 81 s .* is above the limit of \$1.00 per run"):
        check_cost(task, None, strict, foretell=look)
    assert len(asked) == 2

"""What a preview says its render would take and cost: of each task and backend, with a model or without."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from tests.clips.films import TALL, WIDE, Desk, crop_at, put_repeating_weights, whole_picture
from tests.clips.test_parallel import FanOutDouble, calls, uneven_film
from tests.costs.runs_made import RATES, known
from video_pipeline.clips.commands import _previewed
from video_pipeline.clips.result import RenderResult
from video_pipeline.costs.plan import shipped_plan
from video_pipeline.costs.predict import Coefficients, predict
from video_pipeline.costs.stored import save

_ = calls  # the fixture

MULTI, FRAMING, PARALLEL = "process_multi_clip", "process_framing_ai", "process_framing_ai_parallel"


def asked(desk: Desk, task: str) -> dict[str, Any]:
    """A request of each rendering task, of 50 frames; the network is needed where there is one."""
    key = desk.film(frames=50)
    framed = {"source_key": key, "keyframes": [crop_at()]}
    network = {**TALL, "weights_key": put_repeating_weights(desk)}
    light = {"time": 0, "x": 80, "y": 48, "radius_x": 30, "radius_y": 30}
    region = {"start_time": 0, "end_time": 1, "keyframes": [light]}
    annotated = {"clips": [{"source_key": key, "name": "A"}], "output_width": 640, "output_height": 384}
    return {
        "extract_clip": {"source_key": key, "start": 0, "end": 2},
        "render_overlay": {"source_key": key, "highlight_regions": [region]},
        FRAMING: {**network, **framed},
        PARALLEL: {**network, **framed},
        # The second of its clips needs the network, the first does not.
        MULTI: {**network, "clips": [{"source_key": key, "keyframes": [BIG], "trim_end": 1.0}, framed]},
        "create_annotated_compilation": annotated,
    }[task]


BIG = {"time": 0, "x": 0, "y": 0, "width": 160, "height": 96}
TASKS = ["extract_clip", "render_overlay", FRAMING, PARALLEL, MULTI, "create_annotated_compilation"]


def learn(desk: Desk, task: str, backend: str, **fields: Any) -> Coefficients:
    """Put a model of a task on a backend into the deployment's plan, which has no other of its own."""
    family = FRAMING if task == PARALLEL else task
    facts = {
        "task": family,
        "backend": backend,
        "gpu": "T4" if backend == "modal" and "process" in task else None,
        "enlarged": True if "process" in task else None,
        "rates": RATES,
        "work": "what tests ask for",
        "source": "ledger",
        **fields,
    }
    c = known(**facts)
    plan = shipped_plan().model_copy(update={"coefficients": (c,)})
    save(desk.store, "plan", {"json": plan.model_dump_json().encode()})
    return c


def on(desk: Desk, backend: str) -> None:
    desk.settings = desk.settings.model_copy(update={"compute": backend})


@pytest.mark.parametrize("task", TASKS)
def test_a_preview_of_every_task_tells_seconds_and_dollars_on_modal(
    desk: Desk, calls: FanOutDouble, task: str
) -> None:
    on(desk, "modal")
    c = learn(desk, task, "modal")
    result = desk.run(task, preview=1, **asked(desk, task))
    assert len(result.preview_keys) == 1
    assert result.not_foretold is None
    assert result.prediction is not None
    found = predict(c, result.frames, 1)
    assert (result.prediction.seconds, result.prediction.usd) == (found.seconds, found.usd)
    assert result.prediction.chunks == 1
    assert result.prediction.machine == ("T4 on Modal" if "process" in task else "CPU on Modal")
    assert result.prediction.basis == "12 runs (ledger of this deployment): what tests ask for"
    assert f"about {found.seconds:.0f} s and ${found.usd:.2f} are foretold" in said(desk, result)


@pytest.mark.parametrize("task", TASKS)
def test_on_a_machine_of_ones_own_a_preview_tells_seconds_and_no_dollars(
    desk: Desk, calls: FanOutDouble, task: str
) -> None:
    c = learn(desk, task, "local")
    result = desk.run(task, preview=1, **asked(desk, task))
    assert result.not_foretold is None
    assert result.prediction is not None
    assert result.prediction.seconds == predict(c, result.frames, 1).seconds
    assert (result.prediction.usd, result.prediction.machine) == (None, "machines of one's own")
    assert "$" not in said(desk, result)


@pytest.mark.parametrize("task", TASKS)
def test_what_was_measured_on_modal_alone_is_foretold_of_modal_and_said_so(
    desk: Desk, calls: FanOutDouble, task: str
) -> None:
    learn(desk, task, "modal")
    result = desk.run(task, preview=1, **asked(desk, task))
    assert result.prediction is not None
    assert result.prediction.machine.endswith("on Modal")
    assert "on machines of one's own, where it would run: this is of Modal's" in result.not_foretold
    assert result.not_foretold in said(desk, result)


@pytest.mark.parametrize("backend", ["local", "modal"])
@pytest.mark.parametrize("task", TASKS)
def test_of_a_task_nothing_was_measured_of_a_preview_says_why_it_foretells_nothing(
    desk: Desk, calls: FanOutDouble, task: str, backend: str
) -> None:
    on(desk, backend)
    upscale = {"upscale": "never"} if "process" in task else {}
    result = desk.run(task, preview=1, **{**asked(desk, task), **upscale})
    where = "Modal" if backend == "modal" else "machines of one's own"
    name = f"{FRAMING if task == PARALLEL else task}{', plain' if upscale else ''}"
    assert result.prediction is None
    assert result.not_foretold.startswith(f"nothing was measured of {name} on {where}: run it a few times")
    assert f"its time and cost are not foretold: {result.not_foretold}" in said(desk, result)


@pytest.mark.parametrize(
    ("task", "fields"),
    [
        ("extract_clip", {"mode": "copy"}),
        ("render_overlay", {"highlight_regions": []}),
        ("render_overlay", {"effect_type": "original"}),
    ],
)
def test_of_a_copy_nothing_is_foretold_since_models_are_of_what_is_encoded(
    desk: Desk, task: str, fields: dict[str, Any]
) -> None:
    learn(desk, task, "local")
    result = desk.run(task, preview=1, **{**asked(desk, task), **fields})
    assert result.prediction is None
    assert "copied" in result.not_foretold


def test_joined_clips_of_which_none_needs_the_network_are_other_work(desk: Desk) -> None:
    plain = learn(desk, MULTI, "local", enlarged=False)
    key = desk.film(frames=50)
    clips = [{"source_key": key, "keyframes": [whole_picture()]}] * 2
    result = desk.run(MULTI, clips=clips, preview=1, **WIDE)
    assert result.prediction is not None
    assert result.prediction.seconds == predict(plain, result.frames, 1).seconds
    enlarged = desk.run(MULTI, preview=1, **asked(desk, MULTI))
    assert enlarged.prediction is None
    assert "process_multi_clip, enlarged" in enlarged.not_foretold


@pytest.mark.parametrize(("wanted", "chunks"), [(None, 2), (3, 3), (64, 4)])
def test_a_preview_of_a_render_in_chunks_is_foretold_in_as_many_as_it_would_get(
    desk: Desk, calls: FanOutDouble, wanted: int | None, chunks: int
) -> None:
    # 42 frames in segments of 12: with a chunk's fixed cost of 3 s, two pay and four do not.
    c = learn(desk, PARALLEL, "modal", startup_s=1.0, s_per_frame=0.5, chunk_fixed_s=3.0)
    result = desk.run(PARALLEL, preview=2, num_chunks=wanted, **uneven_film(desk))
    assert result.prediction is not None
    assert result.prediction.chunks == chunks
    own = c.model_copy(update={"segment_frames": 12})
    assert result.prediction.seconds == predict(own, result.frames, chunks).seconds
    assert f"in {chunks} calls" in said(desk, result)


def test_a_render_in_chunks_is_not_foretold_by_a_model_that_knows_single_calls_alone(
    desk: Desk, calls: FanOutDouble
) -> None:
    fields = uneven_film(desk)
    learn(desk, PARALLEL, "local", chunks_range=(1, 1))
    result = desk.run(PARALLEL, preview=1, **fields)
    assert result.prediction is not None
    assert result.prediction.machine == "T4 on Modal", "what ships: it knows several numbers of calls"
    assert desk.run(FRAMING, preview=1, **fields).prediction.machine == "machines of one's own"


def test_a_preview_by_what_ships_says_that_it_was_published(desk: Desk, calls: FanOutDouble) -> None:
    result = desk.run(PARALLEL, preview=1, **uneven_film(desk))
    (shipped,) = (c for c in shipped_plan().coefficients if c.task == FRAMING)
    assert result.prediction is not None
    assert result.prediction.model_as_of == shipped.as_of
    assert "published" in said(desk, result)
    assert f"\noutside of what was measured: {result.frames} frames: measured were 180 to 449" in said(
        desk, result
    )
    assert Fraction(result.frame_rate) == 6


def said(desk: Desk, result: RenderResult) -> str:
    return "\n".join(_previewed(desk.store, result))

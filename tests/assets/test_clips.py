"""The clip assets over a real store, real workers, real small films and a real instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.clips.films import Sound, make_film, numbers, shown, tone
from video_pipeline.assets.clips import frame_problems, sound_problems
from video_pipeline.clips.current import current_renders
from video_pipeline.clips.intake import add_clip
from video_pipeline.clips.result import ChunkRow, RenderResult
from video_pipeline.definitions import build_definitions
from video_pipeline.keys import ClipId
from video_pipeline.partitions import CLIPS
from video_pipeline.store.base import ObjectStore

FILM = "demo/client/videos/film/video.mp4"
FIRST, SECOND, BOTH = (ClipId("demo", name) for name in ("first", "second", "both"))
WHOLE = [{"time": 0.0, "x": 0, "y": 0, "width": 160, "height": 96}]
QUICK = {"encoding": {"crf": 16, "preset": "ultrafast"}}
OUTPUT = {"output_width": 160, "output_height": 96, "fps": "25", "upscale": "never"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("films") / "film.mp4", frames=100, sound=Sound(tone(440)))


@pytest.fixture
def store(store: ObjectStore, film: Path) -> ObjectStore:
    store.put(FILM, film)
    return store


def run(
    instance: dg.DagsterInstance, clip: ClipId, job: str = "make_clip", *, raises: bool = True
) -> dg.ExecuteInProcessResult:
    instance.add_dynamic_partitions(CLIPS, [clip.partition_key])
    found = build_definitions().resolve_job_def(job)
    return found.execute_in_process(
        partition_key=clip.partition_key, instance=instance, raise_on_error=raises
    )


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
    """What each materialised asset shows."""
    made = [
        event.step_materialization_data.materialization for event in result.get_asset_materialization_events()
    ]
    return {
        one.asset_key.to_user_string(): {name: value.value for name, value in one.metadata.items()}
        for one in made
    }


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    return str(next(e for e in result.all_events if e.event_type_value == "STEP_FAILURE").event_specific_data)


def film_of(store: ObjectStore, clip: ClipId, stage: Any) -> list[int]:
    path = store.local_path(current_renders(store, clip).need(stage, clip).output_key)
    assert path is not None
    return numbers(shown(path))


@pytest.mark.slow
def test_a_clip_is_made_as_far_as_its_request_goes_and_joined_by_name(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    framing = {**OUTPUT, "keyframes": WHOLE, "trim_start": 1.4, "trim_end": 2.2}
    add_clip(store, FIRST, {"source_key": FILM, "start": 1.2, "end": 2.4, **QUICK, "framing": framing})
    result = run(instance, FIRST)
    shows = metadata_of(result)
    # Nothing asks for people. Without spotlights the overlay is a copy of the cut.
    assert set(shows) == {"clip", "overlay_clip", "framed_clip"}
    assert (shows["clip"]["frames"], shows["clip"]["start_seconds"]) == (30, 1.2)
    assert shows["overlay_clip"]["copied"]
    assert shows["framed_clip"]["frames"] == 20
    assert shows["framed_clip"]["picture"] == "160 x 96"
    assert str(shows["clip"]["before_and_after"]).startswith("![before and after](data:image/jpeg;base64,")
    assert film_of(store, FIRST, "clip") == list(range(30, 60))
    assert film_of(store, FIRST, "framed_clip") == list(range(35, 55))
    checks = result.get_asset_check_evaluations()
    assert {(check.asset_key.to_user_string(), check.check_name) for check in checks} == {
        (asset, name) for asset in shows for name in ("frames_add_up", "sound_fits")
    }
    assert all(check.passed for check in checks)

    # The furthest render of the named clip is taken: the framed one.
    items = [{"clip": "first"}, {"source_key": FILM}]
    joined = [{**items[0], "keyframes": WHOLE}, {**items[1], "keyframes": WHOLE, "trim_end": 0.4}]
    written = [{**items[1], "start": 3.0, "end": 3.2, "name": "From the film"}, {**items[0], "name": "First"}]
    add_clip(
        store, BOTH, {**QUICK, "multi_clip": {**OUTPUT, "clips": joined}, "compilation": {"clips": written}}
    )
    shows = metadata_of(run(instance, BOTH, "multi_clip_only"))
    assert shows["multi_clip"]["frames"] == 30
    assert film_of(store, BOTH, "multi_clip") == [*range(35, 55), *range(10)]
    shows = metadata_of(run(instance, BOTH, "annotated_compilation_only"))
    assert shows["annotated_compilation"]["duration_seconds"] == 1.0
    assert {*current_renders(store, BOTH).renders} == {"multi_clip", "annotated_compilation"}

    before = list(store.list("demo/"))
    again = metadata_of(run(instance, BOTH, "multi_clip_only"))
    assert again["multi_clip"]["frames"] == 30
    assert list(store.list("demo/")) == before


@pytest.mark.parametrize(
    ("job", "section"),
    [
        ("player_detections_only", "players"),
        ("framed_clip_only", "framing"),
        ("multi_clip_only", "multi_clip"),
        ("annotated_compilation_only", "compilation"),
    ],
)
def test_an_asset_chosen_alone_that_nobody_asked_for_is_an_error(
    instance: dg.DagsterInstance, store: ObjectStore, job: str, section: str
) -> None:
    add_clip(store, FIRST, {"source_key": FILM, "start": 0, "end": 1})
    failure = failure_of(run(instance, FIRST, job, raises=False))
    assert f"the request of demo--first has no '{section}'" in failure
    assert f"add {section} to it" in failure


def test_the_next_asset_says_which_one_comes_before_it(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    add_clip(store, FIRST, {"source_key": FILM, "start": 0, "end": 1, "framing": {"keyframes": WHOLE}})
    failure = failure_of(run(instance, FIRST, "framed_clip_only", raises=False))
    assert "the clip demo--first has no clip yet" in failure
    assert "materialise clip" in failure


def test_a_clip_that_is_named_and_not_made_is_named_in_the_error(
    instance: dg.DagsterInstance, store: ObjectStore
) -> None:
    add_clip(store, BOTH, {"compilation": {"clips": [{"clip": "second", "name": "Second"}]}})
    failure = failure_of(run(instance, BOTH, "annotated_compilation_only", raises=False))
    assert "the clip demo--second has no clip yet" in failure


def test_a_missing_request_fails_with_what_to_do(instance: dg.DagsterInstance, store: ObjectStore) -> None:
    failure = failure_of(run(instance, SECOND, raises=False))
    assert "demo--second has no request" in failure
    assert "add-clip" in failure


def test_times_outside_the_video_fail_once_by_name(instance: dg.DagsterInstance, store: ObjectStore) -> None:
    add_clip(store, FIRST, {"source_key": FILM, "start": 3, "end": 9, "players": {"rate": "1"}})
    result = run(instance, FIRST, raises=False)
    failure = failure_of(result)
    assert "4.000 s" in failure
    assert FILM in failure
    assert not metadata_of(result)
    assert not current_renders(store, FIRST).renders


def result_of(**fields: Any) -> RenderResult:
    made = {"frames": 60, "duration_seconds": 2.0, "av_offset_ms": 0.0, "audio_seconds": 2.0, **fields}
    return RenderResult(
        kind="process_framing_ai", recipe="0" * 16, width=2, height=2, frame_rate="30", **made
    )


def chunks(*borders: tuple[int, int]) -> tuple[ChunkRow, ...]:
    return tuple(ChunkRow(start_frame=a, end_frame=b, call="c", seconds=1.0, attempt=1) for a, b in borders)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ""),
        ({"chunks": chunks((0, 30), (30, 60))}, ""),
        ({"chunks": chunks((0, 30), (31, 60))}, "begins at frame 31, the one before it ends at 30"),
        ({"chunks": chunks((0, 30), (30, 59))}, "the chunks end at frame 59, the clip has 60"),
        ({"duration_seconds": 2.1}, "60 frames at 30 last 2.000 s, the clip 2.100 s"),
    ],
)
def test_frames_that_do_not_add_up_fail_the_check(fields: dict[str, Any], said: str) -> None:
    problems = frame_problems(result_of(**fields))
    assert len(problems) == bool(said)
    assert said in "".join(problems)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, ""),
        ({"av_offset_ms": 21.0, "audio_seconds": 2.021}, ""),
        ({"av_offset_ms": 22.0}, "begins 22.0 ms after the picture"),
        ({"audio_seconds": 1.9}, "-100.0 ms longer"),
        ({"av_offset_ms": None}, "no sound track"),
        ({"av_offset_ms": None, "copied": True}, ""),
        ({"av_offset_ms": 40.0, "copied": True}, ""),
        ({"av_offset_ms": 50.0, "copied": True}, "begins 50.0 ms after"),
    ],
)
def test_sound_that_does_not_fit_fails_the_check(fields: dict[str, Any], said: str) -> None:
    problems = sound_problems(result_of(**fields))
    assert len(problems) == bool(said)
    assert said in "".join(problems)

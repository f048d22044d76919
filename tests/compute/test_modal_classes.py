"""Tasks that hold a network, as classes on Modal: loaded once per container, kept for the calls that follow.

The real client and container entrypoint, on the stand-in: what `@modal.enter` does is theirs.
"""

from __future__ import annotations

import time
from importlib.resources import files
from typing import Any

import pytest

from tests.compute.conftest import ModalBackend
from video_pipeline.calls import ResultRecord, list_calls
from video_pipeline.compute.base import CallOptions, Event
from video_pipeline.compute.follow import CallFailed, run_call
from video_pipeline.compute.modal import DeployedApp, Way
from video_pipeline.errors import VersionMismatch
from video_pipeline.keys import VideoId, source_key

pytestmark = pytest.mark.slow


def called(
    backend: ModalBackend, task: str, request: dict[str, Any], options: CallOptions | None = None
) -> tuple[ResultRecord, dict[str, Any]]:
    """The call's result, and what its container said of itself."""
    events: list[Event] = []
    _, record = run_call(backend.open(), task, request, options, on_event=events.append)
    (container,) = [dict(event.data) for event in events if event.name == "container"]
    return record, container


def test_what_a_task_holds_is_loaded_once_before_the_first_call_of_a_container(
    modal_backend: ModalBackend,
) -> None:
    first, fresh = called(modal_backend, "holding_double", {"number": 1})
    second, known = called(modal_backend, "holding_double", {"number": 2})
    assert first.worker.host == second.worker.host, "two containers served them"
    assert (first.result or {})["starts"] == (second.result or {})["starts"] == 1
    assert (fresh["calls_before"], known["calls_before"]) == (0, 1)
    assert fresh["warm_s"] == known["warm_s"] > 0
    assert known["warm_error"] is None


def test_a_task_that_holds_nothing_is_a_function_and_says_so(modal_backend: ModalBackend) -> None:
    _, container = called(modal_backend, "double", {"number": 1})
    assert container["warm_s"] is None


def test_options_of_one_call_reach_a_class_too(modal_backend: ModalBackend) -> None:
    record, container = called(modal_backend, "holding_double", {"number": 3}, CallOptions(timeout_s=120))
    assert (record.status, container["calls_before"]) == ("ok", 0)
    functions = modal_backend.loopback.state()["functions"].values()
    limits = {(item["timeout_s"], bool(item["base"])) for item in functions if "holding" in item["name"]}
    assert limits == {(120, False), (180, True)}


def test_a_network_that_cannot_be_loaded_is_one_error_of_the_call_and_not_of_its_container(
    modal_backend: ModalBackend,
) -> None:
    for number in (1, 2):
        with pytest.raises(CallFailed) as caught:
            run_call(modal_backend.open(), "damaged_double", {"number": number})
        error = caught.value.error
        assert (error.kind, error.message) == ("bad_input", "these weights are damaged")
        assert (error.input, error.what_to_do) == ("weights", "bring others")
    state = modal_backend.loopback.state()
    served = {call.worker.host for call in list_calls(modal_backend.store) if call.task == "damaged_double"}
    assert len(served) == 1, "a container was started again for the same error"
    assert not state["containers"][served.pop()]["gone"]


def test_a_container_that_dies_while_it_loads_is_one_error_with_the_name_of_its_task(
    modal_backend: ModalBackend,
) -> None:
    before = modal_backend.loopback.state()["rpcs"].get("FunctionMap", 0)
    with pytest.raises(CallFailed) as caught:
        run_call(modal_backend.open(), "dying_double", {"number": 1})
    assert caught.value.error.kind == "internal"
    assert "dying_double.* exits with -9 at start" in caught.value.error.message
    assert modal_backend.loopback.state()["rpcs"]["FunctionMap"] == before + 1, "it was spawned again"


@pytest.mark.parametrize(("task", "holds_model"), [("double", True), ("holding_double", False)])
def test_a_caller_that_expects_the_other_kind_is_told_to_deploy(
    task: str, holds_model: bool, modal_backend: ModalBackend
) -> None:
    """The app was deployed before the task came to hold a network, or after it had ceased to."""
    with pytest.raises(VersionMismatch, match=f"has no function {task}") as caught:
        DeployedApp("video-pipeline").spawn(Way(task, holds_model=holds_model), {})
    assert "modal_ops.deploy" in (caught.value.what_to_do or "")


def test_a_second_call_of_a_real_task_finds_its_network_loaded(modal_backend: ModalBackend) -> None:
    video = VideoId("acme", "match")
    key = source_key(video, "mp4")
    clip = (files("video_pipeline.demo") / "sport.mp4").read_bytes()
    modal_backend.store.put(key, clip, content_type="video/mp4")
    request = {"tenant_id": "acme", "clip_id": "kick-off", "source_key": key}
    took, found = [], []
    for moment in (0.2, 0.4):
        began = time.monotonic()
        record, container = called(modal_backend, "detect_players", {**request, "time": moment})
        took.append(time.monotonic() - began)
        found.append((record, container))
    (first, fresh), (second, known) = found
    assert first.worker.host == second.worker.host
    assert (fresh["calls_before"], known["calls_before"]) == (0, 1)
    assert (first.result or {})["model_sha256"] == (second.result or {})["model_sha256"]
    print(f"first {took[0]:.2f} s, of which loading {fresh['warm_s']} s; second {took[1]:.2f} s")

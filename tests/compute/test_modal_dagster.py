"""The whole caption job through Dagster with its tasks on Modal: real input, real app, S3 as store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compute.conftest import ModalBackend
from tests.dagster_ui import DagsterUi, dagster_ui
from tests.fixtures.media_factory import DEMO_CLIP, ffmpeg
from tests.test_demo import RUN_S, held, running_call, start, wait_for
from video_pipeline.calls import list_calls
from video_pipeline.demo.run import VIDEO, job_command, store_demo_clip
from video_pipeline.keys import current_key, source_key
from video_pipeline.store.base import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TERMINATE = (
    "mutation($id: String!) { terminateRun(runId: $id) { __typename ... on PythonError { message } } }"
)

TASKS = ["crop_and_infer_caption_frame_extents", "read_captions"]


@pytest.fixture
def store(modal_backend: ModalBackend, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The bucket with nothing but the demo's clip and request. Runs here use the built-in tasks alone: the
    doubles lie in `tests`, which a process of its own need not find."""
    monkeypatch.delenv("VIDEO_PIPELINE_TASK_MODULES", raising=False)
    store = modal_backend.store

    def clear() -> None:
        for item in list(store.list(f"{VIDEO.tenant}/")):
            store.delete(item.key)

    clear()
    store_demo_clip(store)
    yield store
    clear()


def spawned(backend: ModalBackend) -> int:
    return len(backend.loopback.state()["calls"])


def test_a_killed_run_is_taken_up_by_the_next_and_a_third_finds_nothing_to_do(
    store: ObjectStore, modal_backend: ModalBackend, tmp_path: Path
) -> None:
    before = spawned(modal_backend)
    first = start(job_command(), tmp_path / "first.log")
    call = wait_for(lambda: running_call(store))
    log = tmp_path / "second.log"
    with held(call):
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        second = start(job_command(), log)
        wait_for(lambda: "attached to the known call" in log.read_text() or second.poll() is not None)
    text = ended_well(second, log)
    assert "attached to the known call" in text
    assert f"of {TASKS[0]} on modal compute" in text
    assert "frames, " in text, "the worker's progress comes through Modal's log"
    calls = sorted(list_calls(store, VIDEO.tenant), key=lambda call: call.task)
    assert [(call.task, call.worker.backend, call.attempt) for call in calls] == [
        (task, "modal", 1) for task in TASKS
    ]
    assert spawned(modal_backend) - before == 2
    current = json.loads(store.get(current_key(VIDEO)))
    assert set(current["artefacts"]) == {"frames", "extents", "chunks", "captions"}
    for artefact in current["artefacts"].values():
        assert store.head(artefact["manifest_key"]) is not None

    log = tmp_path / "third.log"
    again = ended_well(start(job_command(), log), log)
    assert again.count("nothing to do") == 4
    assert spawned(modal_backend) - before == 2
    secret = modal_backend.settings.wasabi_secret_key
    assert secret is not None
    outputs = (modal_backend.loopback.folder / "containers").glob("*/output.log")
    assert not any(secret.get_secret_value() in said for said in [text, *map(Path.read_text, outputs)])


def ended_well(run: subprocess.Popen[bytes], log: Path) -> str:
    code = run.wait(timeout=RUN_S)
    text = log.read_text()
    assert code == 0, text[-3000:]
    return text


def make_the_clip_long(store: ObjectStore, folder: Path) -> None:
    """Eight times the demo's clip: its pass may take less time than a cancel takes to come through."""
    long = folder / "long.mp4"
    ffmpeg(["-stream_loop", "7", "-i", str(DEMO_CLIP), "-c", "copy", str(long)])
    store.put(source_key(VIDEO, "mp4"), long)


def test_an_interrupt_of_the_run_cancels_the_call_on_modal(
    store: ObjectStore, modal_backend: ModalBackend, tmp_path: Path
) -> None:
    make_the_clip_long(store, tmp_path)
    run = start(job_command(), tmp_path / "log")
    wait_for(lambda: running_call(store))
    os.killpg(run.pid, signal.SIGINT)
    assert run.wait(timeout=180) != 0
    (call,) = list_calls(store, VIDEO.tenant)
    assert call.cancel_requested
    assert call.state == "finished"
    assert modal_backend.is_at_rest(within_s=60)
    assert store.head(current_key(VIDEO)) is None


@pytest.fixture
def ui(store: ObjectStore, modal_backend: ModalBackend, tmp_path: Path) -> Iterator[DagsterUi]:
    with dagster_ui(tmp_path, {"VIDEO_PIPELINE_STORE": modal_backend.settings.store}) as ui:
        yield ui


def test_cancel_in_dagsters_ui_reaches_the_call_on_modal(
    ui: DagsterUi, store: ObjectStore, modal_backend: ModalBackend, tmp_path: Path
) -> None:
    make_the_clip_long(store, tmp_path)
    ui.add_video_partition(VIDEO.partition_key)
    run = ui.launch("caption_video", VIDEO.partition_key)
    wait_for(lambda: running_call(store))
    terminated = ui.ask(TERMINATE, id=run)
    assert terminated["terminateRun"]["__typename"] == "TerminateRunSuccess", terminated
    assert ui.wait_for_end(run) == "CANCELED"
    assert modal_backend.is_at_rest(within_s=60)
    (call,) = list_calls(store, VIDEO.tenant)
    assert call.cancel_requested
    assert store.head(current_key(VIDEO)) is None

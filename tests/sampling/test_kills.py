"""SIGKILL to the worker of a sample at its worst moments: the next attempt gives what an undisturbed one
does, reads no index again, publishes one result, and no process is left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.compute.conftest import wait_until_claimed
from tests.fixtures.media_factory import MediaFactory
from tests.servers.ranges import Fault, RangeServer
from video_pipeline import keys
from video_pipeline.compute.base import Handle
from video_pipeline.compute.follow import follow, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.media.mp4.opening import HEAD_BYTES
from video_pipeline.sampling.request import RunInferenceRequest, RunInferenceResult
from video_pipeline.sampling.runner import run_inference_impl
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FILMS = ("h264_b", "h264_fragmented_mfra", "gone", "demo_fragmented", "h264_faststart")
TASK = "run_inference"
BATCHES = 6


def wait_for(met: Callable[[], bool], what: str, within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)


def names_under(store: ObjectStore, prefix: str) -> list[str]:
    return [item.key.removeprefix(prefix) for item in store.list(prefix)]


def processes_of(temporary: Path) -> list[psutil.Process]:
    """Workers, and what they have started, wherever that keeps its own temporary files."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("TMPDIR", "").startswith(str(temporary))
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_sample_killed_at_three_moments_ends_as_if_it_had_never_been_disturbed(
    media: MediaFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    settings = load_settings(store=str(tmp_path / "store"))
    store = open_store(settings)
    for name in FILMS:
        if name != "gone":
            media.path(name)
    with RangeServer(media.directory) as server:
        urls = [server.url(f"{name}.mp4") for name in FILMS]
        options = {"num_batches": BATCHES, "offset_max_seconds": None, "return_frame_png": True}
        undisturbed = run_inference_impl(video_urls=urls, **options)
        request = RunInferenceRequest.model_validate(
            {"tenant_id": "acme", "sample_id": "killed", "video_urls": urls, **options}
        )
        results, indexes = f"{keys.samples_prefix('acme')}killed/result/", keys.indexes_prefix("acme")

        def killed_when(met: Callable[[], bool], what: str) -> Handle:
            # Each time as another process would: it knows nothing of the attempts before.
            compute = LocalCompute(settings, store)
            handle = compute.submit(TASK, request)
            assert not handle.attached
            worker = wait_until_claimed(store, "acme", handle.key).worker
            wait_for(met, what)
            os.kill(worker.pid, signal.SIGKILL)
            record = follow(compute, handle)
            assert record.error is not None
            assert record.error.kind == "preempted"
            return handle

        server.log.clear()
        server.faults = [Fault("silent", "h264_faststart.mp4")]
        waits = lambda: bool(server.requests("h264_faststart.mp4"))  # noqa: E731
        killed_when(lambda: waits() and len(names_under(store, indexes)) == 3, "it waits for the last index")
        assert names_under(store, results) == []

        server.log.clear()
        server.faults = [Fault("stall", "h264_faststart.mp4", nth={2}, after=100)]
        fetches = lambda: len(server.requests("h264_faststart.mp4")) >= 2  # noqa: E731
        killed_when(lambda: fetches() and len(names_under(store, indexes)) == 4, "it waits for pictures")
        assert names_under(store, results) == []
        for name in FILMS[:2]:
            asked = [logged.range for logged in server.requests(f"{name}.mp4")]
            assert asked, "pictures were"
            assert f"bytes=0-{HEAD_BYTES - 1}" not in asked, "the index was not"

        server.log.clear()
        server.faults = []
        published = lambda: any("timing_waterfall" in name for name in names_under(store, results))  # noqa: E731
        handle = killed_when(published, "reports are stored, and tracking begins")

        kept = {item.key: item.modified for item in store.list(indexes)}
        server.log.clear()
        compute = LocalCompute(settings, store)
        again, record = run_call(compute, TASK, request)
        assert (again.key, record.attempt) == (handle.key, 4)
        result = RunInferenceResult.model_validate(record.result)

        wanted = [
            (row["batch"], row["video"], row["pts"], row["prediction"]) for row in undisturbed["frames"]
        ]
        found = [
            (row.batch, row.video, row.pts, row.prediction and row.prediction.model_dump(mode="json"))
            for row in result.frames
        ]
        assert found == wanted
        assert (result.requested, result.delivered, result.failed) == (BATCHES * 5, BATCHES * 4, BATCHES)
        assert [store.get(key) for key in result.frame_png_keys] == undisturbed["frame_png_bytes_list"]

        # Nobody pays twice: what was kept of indexes is not asked for again, and was not written again.
        assert [video.index_was_at_hand for video in result.videos] == [True, True, False, True, True]
        assert sum(video.index_bytes for video in result.videos if video.error is None) == 0
        assert server.sent() - server.sent("gone.mp4") == result.media_bytes
        assert {item.key: item.modified for item in store.list(indexes)} == kept

        # One published result: what it names is there, once, and nothing else.
        prefix = keys.sample_result_prefix("acme", "killed", handle.key).removeprefix(results)
        named = {key.removeprefix(results) for key in result.output_keys()}
        stored = set(names_under(store, results))
        tracked = {name for name in stored if name.startswith(f"{prefix}wandb/")}
        assert stored - tracked == named
        assert sum(name.endswith(".wandb") for name in tracked) == 1
        assert len(names_under(store, "acme/server/results/")) == 1 + len(record.report_keys)

        server.log.clear()
        attached, same = run_call(LocalCompute(settings, store), TASK, request)
        assert attached.attached
        assert same == record
        assert server.log == []
    # What tracks a run ends by itself where its worker was killed.
    wait_for(lambda: not processes_of(temporary), "no process is left")

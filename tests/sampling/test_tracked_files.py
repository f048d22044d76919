"""What a task keeps of a run that W&B could not be told of at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.sampling.results_made import made_result
from tests.servers.ranges import RangeServer
from video_pipeline.sampling import runner
from video_pipeline.sampling.request import RunInferenceResult
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.tracking.wandb_run import TrackedRun, track_sample


def test_a_run_is_tracked_with_what_was_asked_its_pages_and_its_pictures(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def tracked(result: RunInferenceResult, **given: Any) -> TrackedRun:
        told.update(given, result=result)
        return TrackedRun("where it is", "offline", "a note")

    monkeypatch.setattr("video_pipeline.tracking.wandb_run.track_sample", tracked)
    answer = runner.run_inference_impl(
        video_url=server.url("h264_b.mp4"),
        num_batches=2,
        random_seed=5,
        return_frame_png=True,
        report_directory=tmp_path / "out",
        track=True,
    )
    assert (answer["wandb_run"], answer["notes"][-1]) == ("where it is", "a note")
    assert (told["config"]["random_seed"], told["config"]["num_batches"]) == (5, 2)
    assert told["config"]["strategy"] == "random"
    assert list(told["pictures"]) == answer["frame_png_bytes_list"]
    assert told["waterfall_html"] == (tmp_path / "out" / "timing_waterfall.html").read_text()
    assert told["bandwidth_html"] == (tmp_path / "out" / "bandwidth_report.html").read_text()
    assert {"index", "fetch", "decode_pictures", "inference"} <= {span.name for span in told["spans"]}
    assert told["directory"] == tmp_path / "out"


@pytest.mark.slow
def test_an_offline_run_is_kept_with_its_artifacts_and_the_place_wandb_looks_for_them(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = load_settings()
    store = open_store(settings)
    result, _ = made_result(videos=1, frames=1)
    tracked = track_sample(
        result,
        settings=settings,
        spans=[],
        waterfall_html="<p>waterfall</p>",
        bandwidth_html="<p>bandwidth</p>",
        config={},
        directory=tmp_path / "scratch",
    )
    assert (tracked.mode, tracked.note) == ("offline", None)
    folder = Path(str(tracked.url_or_path)).parent
    # As an attempt that was killed while it stored its own run has left it.
    store.put("acme/samples/s/wandb/offline-run-20261121_180000-abcdefgh/run-abcdefgh.wandb", b"half")
    assert runner._store_tracked(folder, store, "acme/samples/s/") == "acme/samples/s/wandb/"
    kept = [item.key for item in store.list("acme/samples/s/") if item.key.endswith(".wandb")]
    assert [Path(key).name for key in kept] == [log.name for log in folder.glob("offline-run-*/*.wandb")]
    (log,) = folder.glob("offline-run-*/*.wandb")
    # What the run refers to: all of it is kept, and would be found if the folder lay there again.
    named = re.findall(re.escape(str(folder)).encode() + rb"/[ -~]*?/staging/\w{11}", log.read_bytes())
    assert named
    for path in named:
        kept = f"acme/samples/s/wandb/{Path(path.decode()).relative_to(folder).as_posix()}"
        assert store.get(kept) == Path(path.decode()).read_bytes()
    said = store.get("acme/samples/s/wandb/how_to_sync.txt").decode()
    assert f"copy this folder to {folder} and run: wandb sync {folder}/offline-run-*" in said

"""What a task keeps of a run that W&B could not be told of at once."""

from __future__ import annotations

import re
from pathlib import Path

from tests.sampling.results_made import made_result
from video_pipeline.sampling import runner
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.tracking.wandb_run import track_sample


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

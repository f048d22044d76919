"""`video-pipeline sample`, `add-sample` and `index`, as a person types them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fixtures.media_factory import DEMO_CLIP
from tests.servers.ranges import Fault, RangeServer
from video_pipeline import keys
from video_pipeline.cli import main
from video_pipeline.models.image_classifier import SHIPPED_WEIGHTS
from video_pipeline.sampling.commands import DECODED_FRAMES, TELL_EVERY_S, _Progress
from video_pipeline.sampling.runner import run_inference_impl
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.streaming.pipeline import ProgressSnapshot


@pytest.fixture(autouse=True)
def _not_tracked_and_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a short sample takes long enough to tell how far it is."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr("video_pipeline.sampling.commands.TELL_EVERY_S", 600.0)


def sampled(folder: Path, *arguments: str) -> dict[str, Any]:
    """The result of `sample` on the demo clip; its exit code must be 0."""
    assert main(["sample", "--video-url", str(DEMO_CLIP), "--output", str(folder), *arguments]) == 0
    return json.loads((folder / "result.json").read_text())


def test_sample_writes_frames_result_and_reports_and_needs_no_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_store(*_: object) -> None:
        raise AssertionError("the store was opened")

    monkeypatch.setattr("video_pipeline.store.open_store", no_store)
    out = tmp_path / "out"
    before = signal.getsignal(signal.SIGINT)
    result = sampled(out, "--num-batches", "2")
    assert result["delivered"] == 2
    assert signal.getsignal(signal.SIGINT) is before
    assert {"bandwidth_report.html", "timing_waterfall.html", "picture_grid.png", "result.json"} <= {
        path.name for path in out.iterdir()
    }
    said = capsys.readouterr().out
    assert "2 of 2 frames" in said
    for name in ("bandwidth_report.html", "timing_waterfall.html", "picture_grid.png"):
        assert str(out / name) in said
    for row, line in zip(result["frames"], said.splitlines(), strict=False):
        assert line.startswith(f"batch {row['batch']}  video 0  frame 0")
        assert f"{row['seconds']:.3f} s" in line
        assert line.endswith(f" {row['index_bytes'] + row['media_bytes']:,} bytes")
    read, needed = result["bandwidth_total_upstream_mb"], result["minimum_bytes"] / 1e6
    requests = result["bandwidth_num_proxy_requests"]
    assert f"read {read:.2f} MB in {requests} requests; the frames needed {needed:.2f} MB" in said


def test_each_picture_is_the_one_of_its_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = sampled(out, "--timestamps", "40", "1", "20")
    assert [row["requested_seconds"] for row in result["frames"]] == [40, 1, 20]
    for row in result["frames"]:
        alone = run_inference_impl(
            video_url=str(DEMO_CLIP), timestamps=[row["requested_seconds"]], return_frame_png=True
        )
        path = out / DECODED_FRAMES / f"batch_{row['batch']:05d}_video_00000_frame_000.png"
        wanted = Image.open(io.BytesIO(alone["frame_png_bytes_list"][0]))
        assert Image.open(path).tobytes() == wanted.tobytes()


def test_a_folder_that_is_used_again_holds_the_last_sample_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    sampled(out, "--num-batches", "3")
    (out / DECODED_FRAMES / "mine.png").write_bytes(b"somebody else's")
    sampled(out, "--num-batches", "1")
    names = {path.name for path in (out / DECODED_FRAMES).iterdir()}
    assert names == {"batch_00000_video_00000_frame_000.png", "mine.png"}
    assert f"; frames are in {out / DECODED_FRAMES}/" in capsys.readouterr().out
    sampled(out, "--no-frames")
    assert {path.name for path in (out / DECODED_FRAMES).iterdir()} == {"mine.png"}
    assert "frames are in" not in capsys.readouterr().out
    assert not (out / "picture_grid.png").exists()


def test_options_reach_the_run(tmp_path: Path) -> None:
    def times(*arguments: str) -> list[float]:
        rows = sampled(tmp_path / "out", "--no-frames", *arguments)["frames"]
        return [row["requested_seconds"] for row in rows]

    default = times("--num-batches", "3")
    assert all(seconds < 10 for seconds in default)
    assert times("--num-batches", "3") == default
    assert times("--num-batches", "3", "--random-seed", "7") != default
    assert times("--num-batches", "3", "--strategy", "uniform", "--offset-max-seconds", "end") == [7, 21, 35]
    assert max(times("--num-batches", "3", "--strategy", "uniform", "--offset-max-seconds", "1.5")) == 1.25
    assert times("--timestamps", "2", "--frames-per-sample", "3", "--frame-stride-seconds", "0.5") == [
        2,
        2.5,
        3,
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strategy", "uniform", "--timestamps", "1"], "not allowed with argument --strategy"),
        (["--strategy", "random", "--timestamps", "1"], "not allowed with argument --strategy"),
        (["--timestamps", "1", "2", "--num-batches", "3"], "num_batches is the number of timestamps"),
        (["--offset-max-seconds", "ten"], "'ten' is neither a number of seconds nor 'end'"),
        (["--weights", "w.pt", "--labels", "IN_THE_WAY/labels.txt"], "IN_THE_WAY/labels.txt] What to do: "),
        (["--output", "IN_THE_WAY"], "IN_THE_WAY] What to do: name a folder"),
        (["--output", "IN_THE_WAY/out"], "IN_THE_WAY/out] What to do: name a folder"),
        (["--device", "gpu"], "[device 'gpu'] What to do: "),
        (["--device", "cuda:99"], "[device 'cuda:99'] What to do: "),
        (["--device", "meta"], "it holds no values [device 'meta']"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_fetched(
    server: RangeServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("IN_THE_WAY").write_bytes(b"a file")
    try:
        status = main(["sample", "--video-url", server.url("h264_b.mp4"), *arguments])
    except SystemExit as left:
        status = left.code
    assert status == 2
    assert said in capsys.readouterr().err
    assert not server.log


def test_a_classifier_of_ones_own_has_labels_from_a_file(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"class {number}" for number in range(1000)))
    own = ["--weights", str(SHIPPED_WEIGHTS), "--architecture", "efficientnet_lite0"]
    result = sampled(tmp_path / "out", *own, "--labels", str(labels), "--no-frames")
    assert result["top_classes"][0].startswith("class ")


def test_sample_fails_when_no_frame_was_delivered_and_says_why_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "nothing.mp4")
    arguments = ["sample", "--video-url", missing, "--output", str(tmp_path / "out")]
    told = f"FAILED: there is no such file [{missing}] What to do: correct the path"
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [f"batch 0  video 0  frame 0  {told}"]
    assert "0 of 1 frames" in said.out
    assert main([*arguments, "--num-batches", "500"]) == 1
    assert capsys.readouterr().err.splitlines() == [f"video 0, 500 frames  {told}"]


def test_frames_that_fail_for_reasons_of_their_own_are_told_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled(tmp_path / "out", "--timestamps", "50", "1", "60")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("  FAILED")[0] for line in lines] == [
        "batch 0  video 0  frame 0",
        "batch 2  video 0  frame 0",
    ]
    assert "timestamp 50 s" in lines[0]
    assert "timestamp 60 s" in lines[1]


def test_an_index_that_was_kept_is_at_hand_for_the_next_sample(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", str(DEMO_CLIP), "--output", str(tmp_path / "clip.vpindex")]) == 0
    assert "1260 pictures" in capsys.readouterr().out
    assert (tmp_path / "clip.vpindex").stat().st_size > 1000
    nowhere = str(tmp_path / "nowhere" / "clip.vpindex")
    assert main(["index", str(DEMO_CLIP), "--output", nowhere]) == 2
    assert f"[{nowhere}] What to do: check the path" in capsys.readouterr().err
    assert sampled(tmp_path / "out")["index_bytes"] == 0


def test_an_index_that_was_kept_of_another_version_of_the_file_is_read_again(
    server: RangeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    served = server.directory / "replaced.mp4"
    told: list[str] = []
    for name in ("h264_b", "demo_fragmented", None):
        if name is not None:
            served.write_bytes((server.directory / f"{name}.mp4").read_bytes())
        assert main(["index", server.url("replaced.mp4")]) == 0
        told.append(capsys.readouterr().out)
    first, other, again = told
    served.unlink()
    assert ", 60 pictures," in first
    assert ", 1260 pictures," in other
    assert other.splitlines()[0] == again.splitlines()[0]
    assert ["at hand" in text for text in told] == [False, False, True]
    assert again.splitlines()[1].startswith("read 1 byte in 1 request, what else there is")


def test_an_index_that_cannot_be_kept_is_said_and_not_taken_for_done(
    server: RangeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = [Fault("etag", etag="")]
    assert main(["index", server.url("h264_b.mp4")]) == 1
    told = capsys.readouterr()
    assert ", 60 pictures," in told.out
    assert "its index is not kept, so each sample reads it anew: the server gives no strong ETag" in told.err
    server.faults = []
    state = load_settings().state_dir
    state.mkdir(parents=True, exist_ok=True)
    (state / "indexes").write_text("a file where the folder would be")
    assert main(["index", server.url("h264_b.mp4")]) == 1
    assert "it cannot be stored: " in capsys.readouterr().err


def test_a_tenants_index_is_kept_in_the_store_and_not_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    assert main(["index", str(DEMO_CLIP), "--tenant", "acme"]) == 0
    assert "1260 pictures" in capsys.readouterr().out
    kept = list(open_store(load_settings()).list(keys.indexes_prefix("acme")))
    assert len(kept) == 1
    assert not (load_settings().state_dir / "indexes").exists()


def test_add_sample_takes_options_as_json_and_a_bare_name_as_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    add = ["add-sample", "--tenant", "acme", "--sample", "look", "--video-url", "https://host/a.mp4"]
    options = ["num_batches=4", 'strategy="uniform"', "return_frame_png=false", "offset_max_seconds=null"]
    assert main([*add, *(part for option in options for part in ("--option", option))]) == 0
    assert "its partition is acme--look" in capsys.readouterr().out
    stored = json.loads(open_store(load_settings()).get(keys.sample_request_key("acme", "look")))
    assert stored == {
        "video_urls": ["https://host/a.mp4"],
        "num_batches": 4,
        "strategy": "uniform",
        "return_frame_png": False,
        "offset_max_seconds": None,
    }
    assert main([*add, "--option", "return_frame_png"]) == 0
    stored = json.loads(open_store(load_settings()).get(keys.sample_request_key("acme", "look")))
    assert stored == {"video_urls": ["https://host/a.mp4"]}
    capsys.readouterr()
    for wrong, why in (
        ("strategy=uniform", "not JSON [strategy=uniform]"),
        ('video_urls=["https://host/b.mp4"]', "takes --video-url"),
        ("store=1", "store: Extra inputs are not permitted"),
        ("num_batches=0", "num_batches: "),
        ("timestamps=" + "[" * 100_000, "timestamps is not JSON"),
    ):
        assert main([*add, "--option", wrong]) == 2
        assert why in capsys.readouterr().err


@pytest.mark.parametrize("address", ["film.mp4", "./film.mp4"])
def test_add_sample_says_how_a_file_of_this_machine_gets_into_the_store(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"")
    assert main(["add-sample", "--tenant", "acme", "--sample", "look", "--video-url", address]) == 2
    assert f"video-pipeline add-video {address} --tenant acme" in capsys.readouterr().err
    (tmp_path / "film.mp4").unlink()
    assert main(["add-sample", "--tenant", "acme", "--sample", "look", "--video-url", "./film.mp4"]) == 2
    assert "`video-pipeline add-video` puts a file" in capsys.readouterr().err


def test_in_the_directory_of_the_store_a_key_is_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    key = keys.source_key(keys.VideoId("acme", "film"), "mp4")
    open_store(load_settings()).put(key, b"")
    assert main(["add-sample", "--tenant", "acme", "--sample", "look", "--video-url", key]) == 0
    assert "its partition is acme--look" in capsys.readouterr().out


def test_a_long_sample_tells_how_far_it_is_and_ends_on_ctrl_c(
    server: RangeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("video_pipeline.sampling.commands.TELL_EVERY_S", 0.5)
    server.faults = [Fault("stall", "h264_faststart.mp4")]
    urls = [server.url("h264_b.mp4"), server.url("h264_faststart.mp4")]
    said: list[str] = []

    def interrupt() -> None:
        deadline = time.monotonic() + 200
        while not any("0 of 2 frames" in line for line in said) and time.monotonic() < deadline:
            said.append(capsys.readouterr().err)
            time.sleep(0.05)
        interrupted.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    interrupted: list[float] = []
    threading.Thread(target=interrupt, daemon=True).start()
    before = signal.getsignal(signal.SIGINT)
    arguments = ["sample", *(part for url in urls for part in ("--video-url", url))]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 130
    assert time.perf_counter() - interrupted[0] < 30
    assert signal.getsignal(signal.SIGINT) is before
    assert re.search(r"0 of 2 frames after \d+ s, 0\.0/s", "".join(said))
    assert "cancelled: interrupted" in capsys.readouterr().err


def test_progress_is_told_every_few_seconds_and_not_of_short_samples(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("video_pipeline.sampling.commands.TELL_EVERY_S", TELL_EVERY_S)
    tell = _Progress(40)
    for second, done in ((1, 0), (4, 3), (6, 0), (9, 10), (12, 20)):
        tell(ProgressSnapshot({"collect": done}, float(second)))
    assert capsys.readouterr().err.splitlines() == [
        "0 of 40 frames after 6 s, 0.0/s",
        "20 of 40 frames after 12 s, 1.7/s, 12 s left",
    ]

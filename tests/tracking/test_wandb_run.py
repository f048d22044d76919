"""Tracking a sampling run, read back from the files of the offline run."""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.sampling.results_made import made_result
from tests.tracking.offline_run import OfflineRun
from video_pipeline.sampling.request import FrameError, RunInferenceResult
from video_pipeline.settings import load_settings
from video_pipeline.telemetry.timing import Span
from video_pipeline.tracking.wandb_run import TrackedRun, _environment, track_sample, tracking_mode

WATERFALL = "<!doctype html><p>the waterfall</p>"
BANDWIDTH = "<!doctype html><p>the bandwidth report: ünïcode</p>"


@pytest.fixture(autouse=True)
def _no_wandb_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)


def spans() -> list[Span]:
    lengths = (0.25, 0.5, 1.0, 4.0)
    fetches = [Span("fetch", 10.0, 10.0 + length, "fetch-0", 1, n) for n, length in enumerate(lengths)]
    return [*fetches, Span("decode", 12.0, 12.125, "decode-0", 1, 9)]


def track(result: RunInferenceResult, directory: Path, **changed: object) -> TrackedRun:
    given = {
        "settings": load_settings(),
        "spans": spans(),
        "waterfall_html": WATERFALL,
        "bandwidth_html": BANDWIDTH,
        "config": {"seed": 42, "strategy": "random"},
        "directory": directory,
    }
    return track_sample(result, **{**given, **changed})  # type: ignore[arg-type]


class Listener:
    """A test double of every server that wandb could call, and of the proxy to all others: hangs up on
    everybody, and keeps the first line of each request but those to other servers of this machine, which
    threads of other tests may still talk to."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.requests: list[str] = []
        self._thread = threading.Thread(target=self._serve, name="listener")
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                try:
                    line = connection.recv(400).decode("latin-1").partition("\r\n")[0]
                except OSError:
                    line = "nothing was sent"
            elsewhere = re.search(r"(?:http://|CONNECT )(?:127\.0\.0\.1|localhost)[:/ ]", line)
            if elsewhere is None:
                self.requests.append(line)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    server = Listener()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, server.url)
    yield server
    server.close()


def children_of_wandb() -> list[psutil.Process]:
    """Children of this process that are wandb's; other tests of this worker may have servers running."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ends just now, or has, and nobody has asked how
            if "wandb" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_an_offline_run_holds_what_the_sample_gave(tmp_path: Path, listener: Listener) -> None:
    result, _ = made_result(videos=3, frames=2, failed_videos=1)
    tracked = track(result, tmp_path)
    assert (tracked.mode, tracked.note) == ("offline", None)
    assert tracked.url_or_path is not None
    run = OfflineRun(Path(tracked.url_or_path))
    assert run.project == "video-pipeline"

    assert {name: run.history[f"timing_fetch_{name}"] for name in ("count", "total", "mean", "min")} == {
        "count": 4,
        "total": 5.75,
        "mean": 1.4375,
        "min": 0.25,
    }
    assert [run.history[f"timing_fetch_{name}"] for name in ("p50", "p95", "max")] == [0.5, 4.0, 4.0]
    assert run.history["timing_decode_total"] == 0.125

    assert run.history["bandwidth_total_upstream_bytes"] == result.bandwidth_total_upstream_bytes
    assert run.history["bandwidth_total_downstream_mb"] == result.bandwidth_total_downstream_mb
    assert run.history["bandwidth_num_proxy_requests"] == 11
    assert run.history["bandwidth_useful_bytes"] == result.useful_bytes
    assert run.history["bandwidth_video_1_media_bytes"] == result.videos[1].media_bytes
    assert run.history["bandwidth_video_0_retries"] == 1
    assert [run.history[name] for name in ("requested", "delivered", "failed")] == [6, 4, 2]
    assert run.history["total_pipeline_time_seconds"] == 1.5

    assert run.config["seed"] == 42
    assert run.config["strategy"] == "random"
    assert run.config["model_sha256"] == "ab" * 32
    assert (run.config["decoder"], run.config["platform"]) == ("pyav", "cpu")

    assert run.pages() == {"timing_waterfall.html": WATERFALL, "bandwidth_report.html": BANDWIDTH}
    assert listener.requests == []


def test_the_predictions_table_has_a_row_for_every_frame_asked_for(tmp_path: Path) -> None:
    result, _ = made_result(videos=2, frames=2, failed_videos=1)
    run = OfflineRun(Path(track(result, tmp_path).url_or_path or ""))
    table = run.table("predictions")
    assert table["columns"] == [
        *("batch", "video", "frame", "url", "requested_seconds", "seconds", "pts", "frame_index"),
        *("label", "confidence", "bytes", "error"),
    ]
    assert len(table["data"]) == 4
    for row, told in zip(result.frames, table["data"], strict=True):
        assert told[:8] == [
            *(row.batch, row.video, row.frame, row.url, row.requested_seconds),
            *(row.seconds, row.pts, row.frame_index),
        ]
        if row.prediction is None:
            assert told[8:10] == [None, None]
            assert told[11] == "bad_input: the server answers 404 Not Found"
        else:
            assert told[8:10] == ["street sign", pytest.approx(row.prediction.confidence)]
            assert told[11] is None
        assert told[10] == row.index_bytes + row.media_bytes
    videos = run.table("bandwidth_videos")
    assert [row[0] for row in videos["data"]] == [0, 1]
    assert videos["data"][0][6] == result.videos[0].index_bytes


def png(colour: str, size: tuple[int, int] = (1920, 1080)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.mark.slow
def test_pictures_stand_in_the_rows_of_their_frames(tmp_path: Path) -> None:
    result, _ = made_result(videos=2, frames=2, failed_videos=1, with_png=True)
    tracked = track(result, tmp_path, pictures=[png("red"), png("blue", (200, 1000))])
    assert tracked.note is None
    run = OfflineRun(Path(tracked.url_or_path or ""))
    table = run.table("predictions")
    assert table["columns"][-1] == "picture"
    shown = {
        number: Image.open(run.files[row[-1]["path"]])
        for number, row in enumerate(table["data"])
        if row[-1] is not None
    }
    assert list(shown) == [number for number, row in enumerate(result.frames) if row.delivered]
    assert [picture.getpixel((5, 5)) for picture in shown.values()] == [(255, 0, 0), (0, 0, 255)]
    assert [picture.size for picture in shown.values()] == [(320, 180), (200, 1000)]


@pytest.mark.slow
def test_pictures_that_fit_no_rows_are_left_out_and_said(tmp_path: Path) -> None:
    result, _ = made_result(videos=1, frames=2)
    tracked = track(result, tmp_path, pictures=[png("red", (16, 16))])
    assert tracked.note == "W&B: 1 pictures do not match 2 delivered frames; none is shown."
    assert OfflineRun(Path(tracked.url_or_path or "")).table("predictions")["columns"][-1] == "error"


@pytest.mark.slow
def test_two_runs_of_one_process_are_apart_and_leave_nothing_running(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    threads = set(threading.enumerate())
    # Longer than the path of a Unix socket may be (108 bytes, unix(7)), and wandb has one.
    directory = tmp_path / ("long" * 30)
    runs = [track(made_result(videos=n, frames=1)[0], directory) for n in (1, 2)]
    assert [run.note for run in runs] == [None, None]
    read = [OfflineRun(Path(run.url_or_path or "")) for run in runs]
    assert [run.history["requested"] for run in read] == [1, 2]
    assert set(threading.enumerate()) <= threads
    assert children_of_wandb() == []
    assert [
        p for p in psutil.process_iter(["cmdline"]) if str(directory) in " ".join(p.info["cmdline"] or [])
    ] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_everything_that_is_written_lies_in_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.chdir(home)
    tracked = track(made_result()[0], tmp_path / "run")
    assert tracked.note is None
    assert list(home.iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["wandb"]


def test_no_signature_and_no_key_is_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WASABI_SECRET_KEY_READWRITE", "GEHEIM")
    monkeypatch.setenv("WANDB_API_KEY", "GEHEIM" * 7)
    result, _ = made_result(videos=1, frames=1)
    signed = "https://user:GEHEIM@videos.example/a.mp4?X-Amz-Signature=GEHEIM#GEHEIM"
    error = FrameError(kind="transient", message=f"{signed} stays away", input=signed, what_to_do=None)
    frame = result.frames[0].model_copy(update={"url": signed, "error": error, "delivered": False})
    video = result.videos[0].model_copy(update={"url": signed, "error": error})
    result = result.model_copy(update={"frames": (frame,), "videos": (video,), "notes": (f"read {signed}",)})
    tracked = track(
        result,
        tmp_path,
        settings=load_settings(wandb_mode="offline"),
        config={"video_urls": [signed]},
        waterfall_html=f'<script>{{"url":"{signed}"}}</script>',
        spans=[Span(f"fetch {signed}", 1.0, 2.0, "lane", 1, 1)],
    )
    assert tracked.note is None
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert [path for path in written if b"GEHEIM" in path.read_bytes()] == []
    run = OfflineRun(Path(tracked.url_or_path or ""))
    assert run.table("predictions")["data"][0][3] == "https://videos.example/a.mp4"
    assert run.pages()["timing_waterfall.html"] == '<script>{"url":"https://videos.example/a.mp4"}</script>'


def test_wandb_sees_its_key_online_only_and_never_the_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("WANDB_API_KEY", "WASABI_SECRET_KEY_READWRITE", "AWS_SECRET_ACCESS_KEY", "MODAL_TOKEN_SECRET")
    for name in names:
        monkeypatch.setenv(name, "GEHEIM")
    seen = {mode: set(names) & set(_environment(mode, tmp_path, tmp_path)) for mode in ("online", "offline")}
    assert seen == {"online": {"WANDB_API_KEY"}, "offline": set()}


def test_the_mode_is_offline_without_a_key_and_online_with_one() -> None:
    key = {"WANDB_API_KEY": "k" * 40}
    assert tracking_mode(load_settings(), {}) == ("offline", None)
    assert tracking_mode(load_settings(), key) == ("online", None)
    assert tracking_mode(load_settings(wandb_mode="offline"), key) == ("offline", None)
    assert tracking_mode(load_settings(wandb_mode="disabled"), key) == ("disabled", None)
    assert tracking_mode(load_settings(wandb_mode="online"), key) == ("online", None)
    mode, note = tracking_mode(load_settings(wandb_mode="online"), {})
    assert mode == "offline"
    assert note is not None
    assert "WANDB_API_KEY is not set" in note


def test_disabled_writes_nothing_at_all(tmp_path: Path) -> None:
    directory = tmp_path / "never"
    tracked = track(made_result()[0], directory, settings=load_settings(wandb_mode="disabled"))
    assert tracked == TrackedRun(None, "disabled")
    assert not directory.exists()


@pytest.mark.slow
def test_a_server_that_cannot_be_reached_leaves_an_offline_run_and_a_note(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    tracked = track(made_result()[0], tmp_path / "run", timeout_s=15.0)
    assert len(listener.requests) > 0, "it did not try"
    assert tracked.mode == "offline"
    assert tracked.note is not None
    assert tracked.note.endswith("the run was kept offline.")
    assert OfflineRun(Path(tracked.url_or_path or "")).history["requested"] == 6
    assert children_of_wandb() == []
    # Neither of the process that was killed, nor of the one that ended.
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["wandb"]


def test_a_directory_that_cannot_be_written_is_said_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tracked = track(made_result()[0], tmp_path / "file")
    assert tracked.url_or_path is None
    assert tracked.note is not None
    assert tracked.note.startswith("W&B tracking failed: ")


def test_a_failure_inside_of_wandb_is_said_and_not_raised(tmp_path: Path) -> None:
    tracked = track(
        made_result()[0], tmp_path, config={"seed": 1}, settings=load_settings(wandb_project="a/b:c")
    )
    assert tracked.url_or_path is None
    assert tracked.note is not None
    assert "a/b:c" in tracked.note

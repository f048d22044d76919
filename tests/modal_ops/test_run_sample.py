"""What `modal run` does around its one call, with a double in the place of the remote function."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.modal_ops.test_foretold import learn, model
from video_pipeline.calls import ErrorRecord, ResultRecord, WorkerIdentity, write_result
from video_pipeline.compute.follow import CallFailed
from video_pipeline.errors import BadInput, Internal, Transient
from video_pipeline.modal_ops.run_sample import run_sample, sample_request
from video_pipeline.sampling.request import RunInferenceRequest, RunInferenceResult
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import find_task
from video_pipeline.worker import EXIT_TAKEN

PICTURE = "demo/server/samples/modal-run/result/frames/0.png"
WATERFALL = "demo/server/samples/modal-run/result/timing_waterfall.html"


class DoubleOfAFunction:
    """In the place of `run_inference` on Modal: writes the record that a test gives it, and answers."""

    def __init__(self, store: ObjectStore, answer: dict[str, Any], **record: Any) -> None:
        self._store = store
        self._answer = answer
        self._record = record
        self.calls: list[dict[str, Any]] = []

    def remote(self, call: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(call)
        if self._record:
            now = datetime.now(UTC)
            made = ResultRecord(
                **{
                    "key": call["key"],
                    "task": call["task"],
                    "version": call["version"],
                    "worker": WorkerIdentity(backend="modal"),
                    "started_at": now,
                    "finished_at": now,
                    **self._record,
                }
            )
            write_result(self._store, "demo", made)
        return self._answer


def sampled(delivered: int) -> dict[str, Any]:
    """A result of two frames; every figure that nobody looks at is 0."""
    empty: dict[str, Any] = {}
    for name, field in RunInferenceResult.model_fields.items():
        if field.is_required():
            text = str(field.annotation)
            empty[name] = [] if "tuple" in text else 0 if "int" in text or "float" in text else ""
    return {
        **empty,
        "platform": "cpu",
        "gpu_name": None,
        "cuda_version": None,
        "model_sha256": None,
        "requested": 2,
        "delivered": delivered,
        "failed": 2 - delivered,
        "frame_png_keys": [PICTURE] if delivered else [],
        "report_keys": {"timing_waterfall.html": WATERFALL},
        "notes": ["read from the middle"],
    }


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    store = open_store(settings)
    store.put(PICTURE, b"a picture")
    store.put(WATERFALL, b"<html>")
    return store


@pytest.fixture
def request_() -> RunInferenceRequest:
    return sample_request(
        "https://example.org/a.mp4 https://example.org/b.mp4",
        num_batches=1,
        offset_max_seconds=10,
        tenant="demo",
        sample="modal-run",
    )


def test_addresses_are_separated_by_spaces_and_an_offset_below_zero_means_anywhere() -> None:
    def asked(offset: float) -> RunInferenceRequest:
        return sample_request(
            " https://example.org/a.mp4  https://example.org/b.mp4 ",
            num_batches=3,
            offset_max_seconds=offset,
            tenant="demo",
            sample="look",
        )

    assert asked(5).video_urls == ("https://example.org/a.mp4", "https://example.org/b.mp4")
    assert (asked(5).offset_max_seconds, asked(-1).offset_max_seconds) == (5, None)
    assert asked(0).return_frame_png
    with pytest.raises(BadInput) as caught:
        sample_request("  ", num_batches=1, offset_max_seconds=1, tenant="demo", sample="look")
    assert caught.value.input == "--video-url"


def test_frames_and_reports_come_into_the_folder_and_the_cost_is_said_before(
    settings: Settings,
    store: ObjectStore,
    request_: RunInferenceRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    learn(store, model("run_inference", "B200"))
    function = DoubleOfAFunction(store, {"exit_code": 0}, status="ok", result=sampled(1))
    assert run_sample(function, request_, settings, tmp_path / "out") == 0
    (call,) = function.calls
    assert call["reserved"] == {"gpu_type": "B200", "gpu_count": 1, "cpu_cores": 8, "memory_gib": 16}
    assert abs(time.time() - call["submitted_at"]) < 60
    assert (tmp_path / "out" / "decoded_frames" / "0.png").read_bytes() == b"a picture"
    assert (tmp_path / "out" / "timing_waterfall.html").read_text() == "<html>"
    assert json.loads((tmp_path / "out" / "result.json").read_text())["delivered"] == 1
    said = capsys.readouterr()
    assert "run_inference on B200, 8 cores, 32 GiB: about 10 s once it runs" in said.err
    assert "for 2 frames (model of 2026-08-01, 9 runs, ledger); at most 4,320 s" in said.err
    assert "1 of 2 frames on" in said.out
    assert "note: read from the middle" in said.out


def test_what_was_seen_what_failed_and_what_was_done_other_than_asked_is_printed(
    settings: Settings,
    store: ObjectStore,
    request_: RunInferenceRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = {"batch": 0, "frame": 0, "url": "https://example.org/a.mp4"}
    cat = {"top": [{"index": 1, "label": "a cat", "confidence": 0.75}]}
    gone = {"kind": "bad_input", "message": "404 Not Found", "input": "b.mp4", "what_to_do": None}
    seen = {
        **sampled(1),
        "frames": [
            {**place, "video": 0, "delivered": True, "seconds": 1.5, "prediction": cat},
            {**place, "video": 1, "delivered": False, "error": gone},
        ],
        "degraded": ["decoded on the CPU"],
        "wandb_run": "https://wandb.example/run",
    }
    page = "demo/server/calls/report.html"
    store.put(page, b"what the worker attached")
    function = DoubleOfAFunction(
        store, {"exit_code": 0}, status="ok", result=seen, report_keys={"report.html": page}
    )
    assert run_sample(function, request_, settings, tmp_path) == 0
    said = capsys.readouterr()
    assert "batch 0  video 0  frame 0      1.500 s  75.0%  a cat" in said.out
    assert "batch 0  video 1  frame 0  FAILED: 404 Not Found [b.mp4]" in said.err
    for line in ("note: read from the middle", "note: decoded on the CPU", "W&B: https://wandb.example/run"):
        assert line in said.out.splitlines()
    assert (tmp_path / "report.html").read_bytes() == b"what the worker attached"
    (call,) = function.calls
    task = find_task("run_inference")
    assert (call["version"], call["timeout_s"]) == (task.version, task.hardware.timeout_s)


def test_a_sample_without_any_frame_is_a_failure_of_the_command(
    settings: Settings, store: ObjectStore, request_: RunInferenceRequest, tmp_path: Path
) -> None:
    function = DoubleOfAFunction(store, {"exit_code": 0}, status="ok", result=sampled(0))
    assert run_sample(function, request_, settings, tmp_path) == 1


def test_what_keeps_the_call_from_a_result_is_said_in_its_own_kind(
    settings: Settings, store: ObjectStore, request_: RunInferenceRequest, tmp_path: Path
) -> None:
    taken = DoubleOfAFunction(store, {"exit_code": EXIT_TAKEN})
    with pytest.raises(Transient, match="another worker runs this very sample"):
        run_sample(taken, request_, settings, tmp_path)
    error = {"message": "another version", "input": "run_inference", "what_to_do": "deploy"}
    with pytest.raises(BadInput, match="another version") as caught:
        run_sample(DoubleOfAFunction(store, {"exit_code": 1, "error": error}), request_, settings, tmp_path)
    assert (caught.value.input, caught.value.what_to_do) == ("run_inference", "deploy")
    with pytest.raises(Internal, match="left no result") as lost:
        run_sample(DoubleOfAFunction(store, {"exit_code": 0}), request_, settings, tmp_path)
    assert "is it the bucket" in (lost.value.what_to_do or "")
    failed = ErrorRecord(kind="timeout", message="it took too long")
    function = DoubleOfAFunction(store, {"exit_code": 0}, status="error", error=failed)
    with pytest.raises(CallFailed, match="it took too long"):
        run_sample(function, request_, settings, tmp_path)


def test_a_sample_above_the_limit_is_refused_before_the_function_hears_of_it(
    settings: Settings, store: ObjectStore, request_: RunInferenceRequest, tmp_path: Path
) -> None:
    function = DoubleOfAFunction(store, {"exit_code": 0}, status="ok", result=sampled(1))
    thrifty = settings.model_copy(update={"max_usd_per_call": 1.0})
    with pytest.raises(BadInput, match=r"above the limit of \$1.00 per call"):
        run_sample(function, request_, thrifty, tmp_path)
    assert function.calls == []

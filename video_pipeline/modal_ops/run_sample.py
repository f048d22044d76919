"""`modal run`: one sample of frames from videos without a deployment; frames and reports come into a folder.

Belongs here: arguments to a request, one call of the function, results into files as the earlier runner
named them (`decoded_frames/`, `timing_waterfall.html`). Does not belong here: sampling (`sampling`), or how
calls of a deployed app are followed (`compute.modal`): the app of `modal run` lives for this one command.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Protocol

from video_pipeline.calls import ResultRecord, read_result
from video_pipeline.compute.base import CallOptions
from video_pipeline.compute.follow import CallFailed
from video_pipeline.compute.modal_asking import asked_of_modal
from video_pipeline.compute.modal_cost import WAIT_S, with_foretold
from video_pipeline.errors import BadInput, Internal, Transient
from video_pipeline.sampling.request import RunInferenceRequest, RunInferenceResult
from video_pipeline.settings import Settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import call_key_of, find_task, tenant_of
from video_pipeline.wording import counted
from video_pipeline.worker import EXIT_TAKEN, CallFile

TASK = "run_inference"
FRAMES = "decoded_frames"


class RemoteFunction(Protocol):
    """What is used of `modal.Function`: run the call to its end and give what the function returned."""

    def remote(self, call: dict[str, Any]) -> dict[str, Any]: ...


def sample_request(
    video_url: str, *, num_batches: int, offset_max_seconds: float, tenant: str, sample: str, **options: Any
) -> RunInferenceRequest:
    """The request of the command's arguments. `video_url` may hold several addresses, separated by spaces; an
    `offset_max_seconds` below 0 means the whole video. `BadInput` lists what is wrong."""
    addresses = video_url.split()
    if not addresses:
        raise BadInput("no video is named", input="--video-url", what_to_do="give an http(s) URL or a key")
    return find_task(TASK).parse_request(  # pyright: ignore[reportReturnType]
        {
            "tenant_id": tenant,
            "sample_id": sample,
            "video_urls": addresses,
            "num_batches": num_batches,
            "offset_max_seconds": None if offset_max_seconds < 0 else offset_max_seconds,
            "return_frame_png": True,
            **options,
        }
    )


def run_sample(
    function: RemoteFunction, request: RunInferenceRequest, settings: Settings, folder: Path
) -> int:
    """Checks the cost, runs the call, prints what was seen and writes the files. Returns the exit code: 0 if
    at least one frame was delivered. `CallFailed` with the worker's error if the call failed."""
    store = open_store(settings)
    record = _run(function, request, settings, store)
    result = RunInferenceResult.model_validate(record.result)
    _save(result, record, store, folder)
    _print(result, folder)
    return 0 if result.delivered else 1


def _run(
    function: RemoteFunction, request: RunInferenceRequest, settings: Settings, store: ObjectStore
) -> ResultRecord:
    task = find_task(TASK)
    asked = asked_of_modal(task, request, CallOptions(), settings, store)
    # Its frames stand in the request, so this waits for what models the store has, and not long for those.
    cost = with_foretold(asked.cost, asked.foretell(store), WAIT_S)
    print(f"cost: {cost}", file=sys.stderr)
    call = CallFile(
        key=call_key_of(task, request, store),
        task=task.name,
        version=task.version,
        request=request.model_dump(mode="json"),
        timeout_s=task.hardware.timeout_s,
        submitted_at=time.time(),
        reserved=asked.reserved,
    )
    answer = function.remote(call.model_dump(mode="json"))
    if answer["exit_code"] == EXIT_TAKEN:
        raise Transient(
            "another worker runs this very sample", input=call.key, what_to_do="wait for it, and run again"
        )
    if "error" in answer:
        error = answer["error"]
        raise BadInput(error["message"], input=error["input"], what_to_do=error["what_to_do"])
    record = read_result(store, tenant_of(request), call.key)
    if record is None:
        raise Internal(
            f"the worker left no result in {store.uri}",
            input=call.key,
            what_to_do="is it the bucket that the worker writes to? See the log above",
        )
    if record.status != "ok":
        raise CallFailed(record)
    return record


def _save(result: RunInferenceResult, record: ResultRecord, store: ObjectStore, folder: Path) -> None:
    (folder / FRAMES).mkdir(parents=True, exist_ok=True)
    for key in result.frame_png_keys:
        (folder / FRAMES / Path(key).name).write_bytes(store.get(key))
    for key in {*result.report_keys.values(), *record.report_keys.values()}:
        (folder / Path(key).name).write_bytes(store.get(key))
    (folder / "result.json").write_text(json.dumps(record.result, indent=1), encoding="utf-8")


def _print(result: RunInferenceResult, folder: Path) -> None:
    for row in result.frames:
        place = f"batch {row.batch}  video {row.video}  frame {row.frame}"
        if row.error is not None:
            print(f"{place}  FAILED: {row.error.message} [{row.error.input}]", file=sys.stderr)
        elif row.prediction is not None:
            top = row.prediction.top[0]
            print(f"{place}  {row.seconds:9.3f} s  {top.confidence:5.1%}  {top.label}")
    requests = counted(result.bandwidth_num_proxy_requests, "request")
    print(
        f"\n{result.delivered} of {result.requested} frames on {result.gpu_name or result.device}"
        f" ({result.decoder}) in {result.total_pipeline_time_seconds:.2f} s; read"
        f" {result.bandwidth_total_upstream_mb:.2f} MB in {requests}"
    )
    for note in (*result.notes, *result.degraded):
        print(f"note: {note}")
    if result.wandb_run:
        print(f"W&B: {result.wandb_run}")
    print(f"open {folder / 'timing_waterfall.html'}; frames are in {folder / FRAMES}/")

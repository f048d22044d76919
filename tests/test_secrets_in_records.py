"""What a worker writes down of a request whose address is signed: the task gets it whole, no record does."""

from __future__ import annotations

import hashlib
import os
import traceback
from pathlib import Path

import pytest
from pydantic import BaseModel

from tests.conftest import ROOT
from video_pipeline.calls import read_call, read_result
from video_pipeline.compute.follow import CallFailed, run_call
from video_pipeline.compute.local import LocalCompute
from video_pipeline.errors import BadInput, Transient
from video_pipeline.operations.failures_report import deliver
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.tasks import Hardware, Task
from video_pipeline.worker import TaskContext

ADDRESS = (
    "https://someone:recognisable-password@example.com/video.mp4?X-Amz-Signature=recognisable-signature#end"
)


class Request(BaseModel):
    tenant_id: str = "acme"
    addresses: list[str]
    fail: bool = False


class Result(BaseModel):
    digest: str


def run(request: Request, context: TaskContext) -> Result:
    """A double: it tells what it was given without saying it, or fails as a library does, with all of it."""
    if request.fail:
        raise ConnectionError(f"no answer from {request.addresses[0]}")
    return Result(digest=hashlib.sha256(request.addresses[0].encode()).hexdigest())


TASKS = (
    Task(
        name="look_at_addresses",
        version=1,
        run_path=f"{__name__}:run",
        request_path=f"{__name__}:Request",
        result_path=f"{__name__}:Result",
        hardware=Hardware(gpu=None, cpu_cores=1, memory_mib=256, timeout_s=60),
        summary="a double that is given addresses",
    ),
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("VIDEO_PIPELINE_TASK_MODULES", __name__)
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return load_settings()


def everything_under(*folders: Path) -> str:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "call.json" for path in files)
    assert any(path.name == "output.log" for path in files)
    return "\n".join(path.read_text(errors="replace") for path in files)


@pytest.mark.parametrize("fail", [False, True])
def test_a_signed_address_reaches_the_task_and_no_record_log_or_file(
    settings: Settings, tmp_path: Path, fail: bool
) -> None:
    store = open_store(settings)
    compute = LocalCompute(settings, store)
    request = {"addresses": [ADDRESS], "fail": fail}
    if fail:
        with pytest.raises(CallFailed, match=r"no answer from https://example\.com/video\.mp4") as caught:
            run_call(compute, "look_at_addresses", request)
        record = caught.value.record
        assert "ConnectionError" in record.error.traceback if record.error else False
    else:
        _, record = run_call(compute, "look_at_addresses", request)
        assert record.result == {"digest": hashlib.sha256(ADDRESS.encode()).hexdigest()}
    call = read_call(store, "acme", record.key)
    assert call is not None
    assert call[0].request["addresses"] == ["https://example.com/video.mp4"]
    assert read_result(store, "acme", record.key) is not None
    assert "recognisable" not in everything_under(tmp_path / "store", settings.state_dir)


def test_two_signatures_of_one_address_are_two_calls(settings: Settings) -> None:
    compute = LocalCompute(settings, open_store(settings))
    first, _ = run_call(compute, "look_at_addresses", {"addresses": [ADDRESS]})
    again, _ = run_call(compute, "look_at_addresses", {"addresses": [ADDRESS]})
    other, _ = run_call(
        compute, "look_at_addresses", {"addresses": [ADDRESS.replace("signature#", "other#")]}
    )
    assert again.key == first.key
    assert again.attached
    assert other.key != first.key


def test_a_webhook_that_fails_or_is_refused_is_not_told_by_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(
        "VIDEO_PIPELINE_FAILURE_WEBHOOK", "https://127.0.0.1:1/recognisable-path?token=recognisable"
    )
    with pytest.raises(Transient) as caught:
        deliver("webhook", {"text": "1 run failed"}, load_settings())
    told = "".join(traceback.format_exception(caught.value))
    assert "the webhook did not take the report" in told
    assert "recognisable" not in told

    monkeypatch.setenv("VIDEO_PIPELINE_FAILURE_WEBHOOK", "ftp://example.com/recognisable-path")
    with pytest.raises(BadInput) as refused:
        load_settings()
    assert "VIDEO_PIPELINE_FAILURE_WEBHOOK" in str(refused.value)
    assert "recognisable" not in "".join(traceback.format_exception(refused.value))

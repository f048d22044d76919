"""Five minutes against a Modal account: deploy, probe, a caption pass, a sample, cancel, re-attach, cost.

    pytest --run-modal -s tests/compute/test_modal_account.py

runs on your account and your bucket (so does `pytest --run-modal`, which looks through all tests for these
and runs no other). It needs

- a token: `modal token new`, or MODAL_TOKEN_ID and MODAL_TOKEN_SECRET;
- VIDEO_PIPELINE_STORE=s3://BUCKET and the credentials of the bucket (WASABI_ACCESS_KEY_READWRITE,
  WASABI_SECRET_KEY_READWRITE, WASABI_ENDPOINT_URL, WASABI_REGION), here and in the Modal secret `wasabi`;
- the Modal secret `wandb-secret`, or WANDB_MODE=disabled.

What is missing is named, and the suite skipped. It deploys the app `video-pipeline-ci`, which is no app that
anybody works with, and keeps to the tenant TENANT in the bucket, whose objects it deletes at its end. The app
stays deployed: without calls it costs nothing. The first deployment builds two images, which takes some
minutes more. The cost is told at the end and held against LIMIT_USD; Modal's own bill has it under the app's
name.

The same tests run in `make test-slow` against the stand-in, so that they are known to work before anybody
pays for them. The stand-in has no GPU, so there only the CPU is probed. So far they have run against the
stand-in alone.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.compute.conftest import wait_until_claimed
from tests.conftest import ACCOUNT, ROOT
from tests.fixtures.media_factory import DEMO_CLIP, ffmpeg
from video_pipeline import machine_parts
from video_pipeline.calls import ResultRecord, list_calls, read_result
from video_pipeline.captions.intake import add_video, pass_request
from video_pipeline.captions.request import STAGES, CropAndInferRequest, CropAndInferResult
from video_pipeline.compute import open_compute
from video_pipeline.compute.base import CallOptions, Compute, Event, Handle
from video_pipeline.compute.follow import CallFailed, follow, run_call
from video_pipeline.errors import BadInput
from video_pipeline.keys import VideoId, source_key
from video_pipeline.machine_probe import ProbeRequest, ProbeResult
from video_pipeline.media.geometry import CropRegion
from video_pipeline.modal_ops.deploy import latest_deployment
from video_pipeline.modal_ops.guard import cost_of
from video_pipeline.modal_ops.probing import CPU
from video_pipeline.modal_ops.specs import app_name
from video_pipeline.sampling.request import RunInferenceResult
from video_pipeline.settings import Settings, load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import find_task

pytestmark = pytest.mark.timeout(1800)

ENV = "ci"
TENANT = "modal-account-test"
LIMIT_USD = 1.0
"""Of all calls together, counted from their own times; two orders above what they are expected to cost."""
CHEAPEST_GPU = "T4"
CALL_S = 300.0
"""Time limit of a call. A task's own may be hours, and one that may is above the limits below."""
LIMITS = {"VIDEO_PIPELINE_MAX_USD_PER_CALL": "3", "VIDEO_PIPELINE_MAX_USD_PER_RUN": "4"}
"""Of what may be spent at the very most; the environment's own are $1 and $2. A probe of a B200 takes seconds
and its container may take 22 minutes: $2.35. Probes of all types together are bound by $3.14."""
CANCEL_S = 60.0
LOGS_S = 120.0
DEPLOY_S = 1200.0
"""For building two images and getting a machine of each type."""
EBML = bytes.fromhex("1a45dfa3")
"""How every WebM file begins."""

THEIRS = dict(os.environ)
"""The environment of whoever runs the tests: each test is given an empty one."""
STORE_VARIABLES = ("WASABI_ACCESS_KEY_READWRITE", "WASABI_SECRET_KEY_READWRITE")


@dataclass(frozen=True)
class Target:
    """Where the suite runs. `probes`: what `deploy --probe` is given; None: every GPU type of the table."""

    environment: dict[str, str]
    probes: tuple[str, ...] | None


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("stand-in", marks=pytest.mark.slow),
        pytest.param("account", marks=getattr(pytest.mark, ACCOUNT)),
    ],
)
def target(request: pytest.FixtureRequest) -> Target:
    if request.param == "account":
        if missing := what_is_missing(THEIRS):
            pytest.skip(f"cannot run on a Modal account: {'; '.join(missing)}")
        environment, probes = dict(THEIRS), None
    else:
        if None in machine_parts.fonts().values():
            pytest.skip(
                "the containers are processes here, and this machine lacks fonts that a probe asks for"
            )
        _, known = request.getfixturevalue("modal_loopback")
        environment = {**known, "WANDB_MODE": "disabled"}
        # The doubles are deployed there too; an account gets what ships.
        del environment["VIDEO_PIPELINE_TASK_MODULES"]
        probes = (CPU,)
    environment |= {"VIDEO_PIPELINE_COMPUTE": "modal", "VIDEO_PIPELINE_ENV": ENV, **LIMITS}
    return Target(environment, probes)


def what_is_missing(environment: dict[str, str]) -> list[str]:
    """In words; empty if the suite can run."""
    configured = Path(environment.get("MODAL_CONFIG_PATH", "~/.modal.toml")).expanduser().exists()
    token = {"MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"} <= environment.keys()
    missing = [] if token or configured else ["no Modal token (run `modal token new`)"]
    if not environment.get("VIDEO_PIPELINE_STORE", "").startswith("s3://"):
        missing.append("VIDEO_PIPELINE_STORE names no bucket")
    return missing + [f"{name} is not set" for name in STORE_VARIABLES if not environment.get(name)]


@pytest.fixture(scope="module")
def deployed(target: Target) -> str:
    """Deploys once, with its probes; what the command printed. A machine that a probe finds wanting, or waits
    for in vain, fails the test of the probes and none of the others."""
    probe = [] if target.probes is None else ["--probe", *target.probes]
    command = subprocess.Popen(
        [sys.executable, "-m", "video_pipeline.modal_ops.deploy", "--env", ENV, *probe],
        cwd=ROOT,
        env={**os.environ, **target.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, errors = command.communicate(timeout=DEPLOY_S)
    except subprocess.TimeoutExpired:
        command.send_signal(signal.SIGINT)  # which cancels the probes that still wait for their machine
        said, errors = command.communicate(timeout=120)
    print(said)
    assert f"deployed video-pipeline-{ENV} (" in said, f"{said}\n{errors}"
    return said


@dataclass(frozen=True)
class Desk:
    """A caller of the deployed app."""

    settings: Settings
    store: ObjectStore
    compute: Compute
    target: Target

    def run(self, task: str, request: Any, gpu: str | None = None) -> tuple[ResultRecord, list[Event]]:
        events: list[Event] = []
        options = CallOptions(gpu=gpu, timeout_s=CALL_S)
        _, record = run_call(self.compute, task, request, options, on_event=events.append)
        return record, events


@pytest.fixture
def desk(target: Target, deployed: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    for name, value in target.environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    store = open_store(settings)
    return Desk(settings, store, open_compute(settings, store), target)


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_left(target: Target) -> Iterator[None]:
    """Empties the tenant before and after: a call of an earlier run must not answer for one of this."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in target.environment.items():
            patch.setenv(name, value)
        store = open_store(load_settings())

    def clear() -> None:
        for item in list(store.list(f"{TENANT}/")):
            store.delete(item.key)

    clear()
    yield
    clear()


def captioned(desk: Desk, name: str, clip: Path) -> CropAndInferRequest:
    """Puts the clip into the bucket, with captions where the demo's are; the request of its pass."""
    video = VideoId(TENANT, name)
    region = CropRegion(left=0.1, top=0.7, width=0.8, height=0.25)
    add_video(desk.store, video, clip, crop_region=region, frame_rate="10", preset="fast")
    return pass_request(desk.store, video, STAGES)


def cut(folder: Path, *, seconds: float, times: int = 1) -> Path:
    """The first seconds of the demo's street clip, played so many times."""
    path = folder / f"street-{seconds:g}-{times}.mp4"
    ffmpeg(
        ["-stream_loop", str(times - 1), "-i", str(DEMO_CLIP), "-t", str(seconds), "-c", "copy", str(path)]
    )
    return path


def test_the_app_is_deployed_and_every_machine_has_what_its_tasks_need(desk: Desk, deployed: str) -> None:
    record = latest_deployment(desk.store, app_name(desk.settings))
    assert record is not None
    assert f"deployed {record.app} ({record.app_id})" in deployed
    assert [(probed.gpu, probed.error) for probed in record.probes if not probed.ok] == []
    assert CPU in {probed.gpu for probed in record.probes}
    if desk.target.probes is None:
        assert {"T4", "A10", "B200"} <= {probed.gpu for probed in record.probes}


def test_workers_and_callers_agree_on_conditional_writes_of_the_bucket(desk: Desk) -> None:
    record, _ = desk.run("probe", ProbeRequest())
    there = ProbeResult.model_validate(record.result)
    assert there.conditional_writes == desk.store.conditional_writes()
    assert there.store == desk.store.uri
    print(f"\nconditional writes in {there.store}: {'yes' if there.conditional_writes else 'NO'}")


def test_a_tiny_caption_pass_leaves_its_chunks_in_the_bucket(desk: Desk, tmp_path: Path) -> None:
    request = captioned(desk, "tiny", cut(tmp_path, seconds=4))
    record, events = desk.run("crop_and_infer_caption_frame_extents", request)
    result = CropAndInferResult.model_validate(record.result)
    assert result.chunks is not None
    assert 39 <= result.frame_count <= 43, "four seconds at ten samples a second, cut at whole packets"
    assert record.degraded == []
    chunks = [item for item in desk.store.list(f"{TENANT}/") if item.key.endswith(".webm")]
    assert chunks
    assert all(desk.store.get(item.key)[:4] == EBML for item in chunks)
    handle = Handle(TENANT, record.key, record.task, desk.compute.backend, attached=True)
    told = {event.name for event in events} | names_in_log(desk, handle, "ended")
    assert {"container", "claimed", "progress", "ended"} <= told


def names_in_log(desk: Desk, handle: Handle, last: str) -> set[str]:
    """The names of an ended call's events, once Modal's logs have the `last` of them: how late they are is
    not documented."""
    reader, began = desk.compute.events(handle), time.monotonic()
    names: set[str] = set()
    while last not in names and time.monotonic() - began < LOGS_S:
        assert desk.compute.poll(handle).state == "done"
        names |= {event.name for event in reader.read()}
        time.sleep(1.0)
    print(f"\nthe log of an ended call was whole after {time.monotonic() - began:.0f} s")
    return names


def test_a_sample_of_one_frame_is_taken_on_the_cheapest_gpu(desk: Desk, tmp_path: Path) -> None:
    key = captioned(desk, "sampled", cut(tmp_path, seconds=4)).video_key
    request = {"tenant_id": TENANT, "sample_id": "one-frame", "video_urls": [key], "num_batches": 1}
    record, _ = desk.run("run_inference", request, CHEAPEST_GPU)
    result = RunInferenceResult.model_validate(record.result)
    assert (result.requested, result.delivered) == (1, 1)
    if desk.target.probes is None:
        assert CHEAPEST_GPU in (result.gpu_name or ""), "it ran on another machine than it asked for"


def test_a_cancel_ends_the_call_within_a_minute(desk: Desk, tmp_path: Path) -> None:
    request = captioned(desk, "long", cut(tmp_path, seconds=500, times=12))
    options = CallOptions(timeout_s=CALL_S)
    handle = desk.compute.submit("crop_and_infer_caption_frame_extents", request, options)
    wait_until_claimed(desk.store, TENANT, handle.key, timeout_s=900)
    began = time.monotonic()
    desk.compute.cancel(handle, "a test asked")
    record = follow(desk.compute, handle)
    assert time.monotonic() - began < CANCEL_S
    assert record.error is not None
    assert record.error.kind == "cancelled"
    assert "a test asked" in record.error.message


def test_a_call_outlives_its_caller_and_is_found_again(desk: Desk, tmp_path: Path) -> None:
    request = captioned(desk, "again", cut(tmp_path, seconds=6))
    script = textwrap.dedent(f"""
        import os
        from video_pipeline.compute import open_compute
        from video_pipeline.compute.base import CallOptions
        from video_pipeline.settings import load_settings
        from video_pipeline.store import open_store
        settings = load_settings()
        compute = open_compute(settings, open_store(settings))
        request = {request.model_dump(mode="json")!r}
        options = CallOptions(timeout_s={CALL_S})
        compute.submit("crop_and_infer_caption_frame_extents", request, options)
        os.kill(os.getpid(), 9)
    """)
    caller = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **desk.target.environment},
        check=False,
        timeout=120,
    )
    assert caller.returncode == -9
    handles: list[Handle] = []
    _, record = run_call(
        desk.compute,
        "crop_and_infer_caption_frame_extents",
        request,
        CallOptions(timeout_s=CALL_S),
        on_submit=handles.append,
    )
    assert [handle.attached for handle in handles] == [True]
    assert (record.status, record.attempt) == ("ok", 1)


def test_a_wrong_request_is_an_error_that_names_it_and_is_not_tried_again(desk: Desk) -> None:
    key = source_key(VideoId(TENANT, "none"), "mp4")
    request = {"tenant_id": TENANT, "sample_id": "none", "video_urls": [key]}
    with pytest.raises((BadInput, CallFailed), match=re.escape(key)):
        desk.run("run_inference", request, CHEAPEST_GPU)


def test_all_of_it_cost_less_than_its_limit(desk: Desk, tmp_path: Path) -> None:
    """From the calls' own times and the dated prices; start-up and idle time come on top. It makes a call of
    its own, for the others may have been made elsewhere or not at all."""
    desk.run("crop_and_infer_caption_frame_extents", captioned(desk, "last", cut(tmp_path, seconds=2)))
    total = 0.0
    print()
    for call in sorted(list_calls(desk.store, TENANT), key=lambda call: call.claimed_at):
        record = read_result(desk.store, TENANT, call.key)
        assert record is not None, f"{call.task} has no result"
        seconds = (record.finished_at - record.started_at).total_seconds()
        asked = CallOptions(gpu=CHEAPEST_GPU) if call.task == "run_inference" else CallOptions()
        usd = cost_of(find_task(call.task), desk.settings, asked).usd(seconds)
        total += usd
        print(f"{call.task:40} {record.status:6} {seconds:7.1f} s  ${usd:.4f}")
    print(f"{'together':40} {'':6} {'':7}    ${total:.4f}, of at most ${LIMIT_USD:.2f}")
    assert 0 < total < LIMIT_USD

"""`python -m video_pipeline.modal_ops.deploy` with Modal's real client, against the stand-in for Modal."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.servers.modal_loopback.launch import ModalLoopback
from tests.servers.seaweedfs import SeaweedFS
from video_pipeline import machine_parts
from video_pipeline.modal_ops.deploy import DeploymentRecord, latest_deployment
from video_pipeline.modal_ops.images import shipped_files
from video_pipeline.modal_ops.probing import Probed
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore
from video_pipeline.tasks import BUILT_IN, find_task


def deploy(
    server: tuple[ModalLoopback, dict[str, str]], *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "video_pipeline.modal_ops.deploy", *arguments],
        cwd=ROOT,
        env={**os.environ, **server[1], **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def store(modal_server: tuple[ModalLoopback, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name, value in modal_server[1].items():
        monkeypatch.setenv(name, value)
    return open_store(load_settings())


@pytest.mark.slow
def test_a_deployment_is_probed_recorded_and_printed(
    modal_server: tuple[ModalLoopback, dict[str, str]], store: ObjectStore
) -> None:
    if None in machine_parts.fonts().values():
        pytest.skip("the containers are processes here, and this machine lacks fonts that a probe asks for")
    done = deploy(modal_server, "--env", "staging", "--probe", "cpu")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{modal_server[0].log()}"
    record = latest_deployment(store, "video-pipeline-staging")
    assert record is not None
    assert (record.app, record.env, record.store) == ("video-pipeline-staging", "staging", store.uri)
    assert {name: function.version for name, function in record.functions.items()} == {
        **{task.name: task.version for task in BUILT_IN},
        "probe_with_gpu": find_task("probe").version,
    }
    assert record.functions["run_inference"].gpu == "B200"
    assert len(bytes.fromhex(record.source_sha256)) == hashlib.sha256().digest_size
    uploaded = uploaded_to(modal_server[0], record.app)
    assert uploaded == {remote for _, remote in shipped_files(load_settings())}
    assert record.shipped_files == len(uploaded)
    (probed,) = record.probes
    assert (probed.gpu, probed.ok, probed.error) == ("cpu", True, None)
    assert (probed.call or "").startswith("fc-")
    assert any(line.startswith("gpu: ") for line in probed.missing)
    assert image_of_the_probe(store, probed) == images_of(modal_server[0], record.app)["extract_clip"]
    assert "deployed video-pipeline-staging (ap-" in done.stdout
    assert "probe on cpu: as needed" in done.stdout
    assert "encoders: libvpx-vp9, libx264, aac" in done.stdout
    assert "cost: probe on 2 cores, 8 GiB: at most " in done.stdout, "the bound is said, and before it starts"
    assert done.stdout.index("cost: ") < done.stdout.index("deployed video-pipeline-staging")


def images_of(server: ModalLoopback, app: str) -> dict[str, str]:
    """The image of each function, by the stand-in's account; a class goes by its own name."""
    functions = [item for item in server.state()["functions"].values() if item["app"] == app]
    return {item["name"].removesuffix(".*"): item["image"] for item in functions}


def image_of_the_probe(store: ObjectStore, probed: Probed) -> str:
    """The image in which it ran, by its own account."""
    assert probed.report_key is not None
    said = re.search(r"\bim-\w+", store.get(probed.report_key).decode())
    assert said is not None
    return said.group()


def uploaded_to(server: ModalLoopback, app: str) -> set[str]:
    """Every file that the functions of the app have in their containers, by the stand-in's account."""
    functions = [function for function in server.state()["functions"].values() if function["app"] == app]
    assert functions
    return {name for function in functions for name in function["files"]}


@pytest.mark.slow
def test_a_probe_that_finds_no_gpu_fails_the_command_and_stands_in_the_record(
    modal_server: tuple[ModalLoopback, dict[str, str]], store: ObjectStore
) -> None:
    """The stand-in has no GPU to give: what a real machine without a driver would say."""
    done = deploy(modal_server, "--env", "ci", "--probe", "A10G")
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    record = latest_deployment(store, "video-pipeline-ci")
    assert record is not None
    (probed,) = record.probes
    assert not probed.ok
    assert image_of_the_probe(store, probed) == images_of(modal_server[0], record.app)["run_inference"]
    assert "this machine lacks what was needed: gpu: " in (probed.error or "")
    assert "probe on A10G: FAILED: " in done.stdout
    assert "GPU: none. " in done.stdout, "the page is printed for a failed probe too"


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--probe", "A11"], {}, "no GPU type 'A11'"),
        ([], {"VIDEO_PIPELINE_STORE": "./data"}, "cannot see the directory"),
        ([], {"VIDEO_PIPELINE_MAX_USD_PER_CALL": "0.01"}, "above the limit of $0.01 per call"),
    ],
)
def test_what_cannot_be_deployed_is_refused_before_modal_hears_of_it(
    arguments: list[str],
    environment: dict[str, str],
    message: str,
    modal_server: tuple[ModalLoopback, dict[str, str]],
    store: ObjectStore,
) -> None:
    done = deploy(modal_server, "--env", "prod", *arguments, **environment)
    assert done.returncode == 2, f"{done.stdout}\n{done.stderr}"
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert latest_deployment(store, "video-pipeline-prod") is None


def test_a_secret_that_is_missing_is_named_with_what_to_do(
    modal_server: tuple[ModalLoopback, dict[str, str]], tmp_path: Path, seaweedfs: SeaweedFS
) -> None:
    with ModalLoopback(tmp_path / "empty", {}) as server:
        done = deploy((server, {**seaweedfs.environment, **server.environment}), "--probe")
    assert done.returncode == 2, f"{done.stdout}\n{done.stderr}"
    assert "'wasabi' not found" in done.stderr
    assert "create the secrets wasabi and wandb-secret" in done.stderr


def test_a_secret_without_the_keys_of_the_bucket_is_named_before_anything_runs(
    modal_server: tuple[ModalLoopback, dict[str, str]], tmp_path: Path, seaweedfs: SeaweedFS
) -> None:
    secrets = {"wasabi": {"WASABI_ACCESS_KEY_READWRITE": "one of two"}, "wandb-secret": {}}
    with ModalLoopback(tmp_path / "half", secrets) as server:
        done = deploy((server, {**seaweedfs.environment, **server.environment}), "--probe")
    assert done.returncode == 2, f"{done.stdout}\n{done.stderr}"
    assert "'wasabi' lacks ['WASABI_SECRET_KEY_READWRITE']" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_token_is_named(modal_server: tuple[ModalLoopback, dict[str, str]]) -> None:
    done = deploy(modal_server, "--probe", MODAL_TOKEN_SECRET="as-wrong")
    assert done.returncode == 2, f"{done.stdout}\n{done.stderr}"
    assert "MODAL_TOKEN_ID" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_latest_deployment_is_the_last_in_time(store: ObjectStore) -> None:
    from datetime import UTC, datetime

    from video_pipeline import keys

    assert latest_deployment(store, "video-pipeline-never") is None
    for hour in (9, 11, 10):
        at = datetime(2026, 7, 1, hour, tzinfo=UTC)
        record = DeploymentRecord(
            app="video-pipeline-old",
            app_id=f"ap-{hour}",
            env="ci",
            at=at,
            package_version="0",
            modal_client="0",
            store=store.uri,
            source_sha256="",
            shipped_files=0,
            shipped_bytes=0,
            prices_as_of="2026-07-01",
            functions={},
        )
        store.put(keys.deployment_key(record.app, at), record.model_dump_json().encode())
    found = latest_deployment(store, "video-pipeline-old")
    assert found is not None
    assert found.app_id == "ap-11"

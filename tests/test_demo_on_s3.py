"""The demo's command against a real S3 server: the same job, nothing but the environment changed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.servers.seaweedfs import SeaweedFS
from tests.servers.seaweedfs import seaweedfs as seaweedfs
from tests.test_demo import DEMO, RUN_S
from video_pipeline.calls import list_calls
from video_pipeline.demo.run import VIDEO
from video_pipeline.keys import current_key
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def run(log: Path) -> str:
    with log.open("wb") as output:
        code = subprocess.run(
            DEMO, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, timeout=RUN_S
        ).returncode
    text = log.read_text()
    assert code == 0, text[-3000:]
    return text


def test_the_demo_publishes_into_a_bucket_and_shows_no_secret(
    seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.is_bucket
    text = run(tmp_path / "first")
    assert f"{settings.store}/{current_key(VIDEO)}" in text
    store = open_store(settings)
    current = json.loads(store.get(current_key(VIDEO)))
    assert set(current["artefacts"]) == {"frames", "extents", "chunks", "captions"}
    for artefact in current["artefacts"].values():
        assert store.head(artefact["manifest_key"]) is not None
    assert [call.state for call in list_calls(store)] == ["finished", "finished"]

    assert run(tmp_path / "second").count("nothing to do") == 4

    secret = settings.wasabi_secret_key
    assert secret is not None
    everything = [
        text,
        *(path.read_text(errors="replace") for path in (tmp_path / "state").rglob("*") if path.is_file()),
    ]
    everything += [store.get(item.key).decode(errors="replace") for item in store.list("demo/server/")]
    assert not any(secret.get_secret_value() in part for part in everything)

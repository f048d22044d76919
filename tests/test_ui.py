"""Dagster's UI and daemon as processes: launch by GraphQL as the UI does, cancel as a person does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.test_demo import running_call, wait_for, workers
from video_pipeline.calls import list_calls
from video_pipeline.demo.run import VIDEO, store_demo_clip
from video_pipeline.keys import current_key
from video_pipeline.partitions import VIDEOS
from video_pipeline.settings import load_settings
from video_pipeline.store import open_store
from video_pipeline.store.base import ObjectStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
SELECTOR = {"repositoryLocationName": "video_pipeline", "repositoryName": "__repository__"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("VIDEO_PIPELINE_STORE", str(tmp_path / "store"))
    return open_store(load_settings())


@pytest.fixture
def graphql(store: ObjectStore, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """`dagster dev` on a free port with the instance of `make ui`; a function that asks its GraphQL."""
    home = tmp_path / "dagster_home"
    home.mkdir()
    shutil.copy(ROOT / "deploy" / "local" / "dagster.yaml", home / "dagster.yaml")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    dagster = str(Path(sys.executable).with_name("dagster"))
    with (tmp_path / "dev.log").open("wb") as log:
        process = subprocess.Popen(
            [dagster, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)],
            cwd=ROOT,
            env={**os.environ, "DAGSTER_HOME": str(home)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ask(query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            data = json.load(answer)
        assert "errors" not in data, data
        return data["data"]

    def is_up() -> bool:
        try:
            entries = ask("{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }")
        except OSError:
            return False
        return entries["workspaceOrError"]["locationEntries"][0]["loadStatus"] == "LOADED"

    try:
        wait_for(is_up, 120, 0.5)
        yield ask
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def launch(ask: Callable[..., Any]) -> str:
    added = ask(
        """mutation($selector: RepositorySelector!, $name: String!, $key: String!) {
             addDynamicPartition(repositorySelector: $selector, partitionsDefName: $name, partitionKey: $key)
             { __typename } }""",
        selector=SELECTOR,
        name=VIDEOS,
        key=VIDEO.partition_key,
    )
    assert added["addDynamicPartition"]["__typename"] in {
        "AddDynamicPartitionSuccess",
        "DuplicateDynamicPartitionError",
    }
    launched = ask(
        """mutation($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) {
             __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
        parameters={
            "selector": {**SELECTOR, "jobName": "caption_video"},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": "dagster/partition", "value": VIDEO.partition_key}]},
        },
    )["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return launched["run"]["runId"]


def status(ask: Callable[..., Any], run_id: str) -> str:
    query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    return ask(query, id=run_id)["runOrError"]["status"]


def test_a_run_from_the_ui_publishes_and_a_cancelled_one_ends_its_call(
    store: ObjectStore, graphql: Callable[..., Any], tmp_path: Path
) -> None:
    store_demo_clip(store)
    first = launch(graphql)
    wait_for(lambda: running_call(store), 120)
    terminated = graphql(
        "mutation($id: String!) { terminateRun(runId: $id) { __typename ... on PythonError { message } } }",
        id=first,
    )
    assert terminated["terminateRun"]["__typename"] == "TerminateRunSuccess", terminated
    wait_for(lambda: status(graphql, first) in {"CANCELED", "FAILURE", "SUCCESS"}, 60, 0.3)
    assert status(graphql, first) == "CANCELED"
    wait_for(lambda: not workers(tmp_path), 15)
    (call,) = list_calls(store)
    assert call.cancel_requested
    assert store.head(current_key(VIDEO)) is None

    time.sleep(1)
    second = launch(graphql)
    wait_for(lambda: status(graphql, second) in {"CANCELED", "FAILURE", "SUCCESS"}, 180, 0.5)
    assert status(graphql, second) == "SUCCESS"
    assert store.head(current_key(VIDEO)) is not None

"""`make ui` as a process of a test's own: a fresh instance and store, a free port, and its GraphQL.

Belongs here: starting and ending it, asking it, launching runs as its page does. Does not belong here: a
browser (`browser.py`), or what is expected (`test_ui.py`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT
from tests.servers import dagster_graphql
from tests.servers.dagster_graphql import SELECTOR
from tests.servers.seaweedfs import free_ports
from video_pipeline.partitions import VIDEOS

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
START_S = 300.0
"""How long it may take to be up; 20 s on two idle cores, most of it imports."""

ANSWER_S = 120.0
"""How long an answer may take: launching a run asks the code server, which may be loading."""


@dataclass(frozen=True)
class DagsterUi:
    """A UI that is up."""

    url: str
    folder: Path
    """Holds `store`, `state` (logs of calls), `home` (Dagster's) and `ui.log`."""

    def ask(self, query: str, **variables: Any) -> Any:
        return dagster_graphql.ask(self.url, query, variables, ANSWER_S)

    def partitions(self, asset: str) -> list[str]:
        """The keys of an asset's partitions."""
        query = """query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) {
                     ... on AssetNode { partitionKeys } } }"""
        return self.ask(query, key={"path": [asset]})["assetNodeOrError"]["partitionKeys"]

    def add_video_partition(self, key: str) -> None:
        added = self.ask(
            """mutation($selector: RepositorySelector!, $name: String!, $key: String!) {
                 addDynamicPartition(
                   repositorySelector: $selector, partitionsDefName: $name, partitionKey: $key
                 ) { __typename } }""",
            selector=SELECTOR,
            name=VIDEOS,
            key=key,
        )
        assert added["addDynamicPartition"]["__typename"] == "AddDynamicPartitionSuccess", added

    def launch(self, job: str, partition: str | None = None) -> str:
        """Starts a job, for a partition where it has any; the run's id."""
        return dagster_graphql.launch(self.url, job, ANSWER_S, partition=partition)

    def newest_run(self) -> str | None:
        found = self.ask("{ runsOrError(limit: 1) { ... on Runs { results { runId } } } }")
        return next((run["runId"] for run in found["runsOrError"]["results"]), None)

    def run_count(self) -> int:
        return len(
            self.ask("{ runsOrError { ... on Runs { results { runId } } } }")["runsOrError"]["results"]
        )

    def status(self, run_id: str) -> str:
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
        return self.ask(query, id=run_id)["runOrError"]["status"]

    def wait_for_end(self, run_id: str, timeout_s: float = 300.0) -> str:
        """The status with which the run ended."""
        deadline = time.monotonic() + timeout_s
        while (status := self.status(run_id)) not in ENDED:
            assert time.monotonic() < deadline, f"the run is {status} after {timeout_s} s"
            time.sleep(0.3)
        return status


@contextmanager
def dagster_ui(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[DagsterUi]:
    """`make ui`'s command in `folder` until the block ends. What it prints goes to `ui.log` there."""
    (port,) = free_ports(1)
    variables = {
        **os.environ,
        "VIDEO_PIPELINE_STORE": str(folder / "store"),
        "VIDEO_PIPELINE_STATE": str(folder / "state"),
        **(environment or {}),
    }
    command = [sys.executable, "-m", "video_pipeline.demo.ui", "--home", str(folder / "home")]
    with (folder / "ui.log").open("ab") as log:
        # From Popen, not from a shell's `&`: a background job of a shell ignores SIGINT.
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=ROOT,
            env=variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ui = DagsterUi(f"http://127.0.0.1:{port}", folder)
    try:
        _wait_until_loaded(ui, process)
        yield ui
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_loaded(ui: DagsterUi, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        printed = (ui.folder / "ui.log").read_text()[-3000:]
        assert process.poll() is None, printed
        assert time.monotonic() < deadline, printed
        try:
            found = ui.ask("{ workspaceOrError { ... on Workspace { locationEntries { loadStatus } } } }")
        except OSError:
            found = None
        if found and found["workspaceOrError"]["locationEntries"][0]["loadStatus"] == "LOADED":
            return
        time.sleep(0.5)

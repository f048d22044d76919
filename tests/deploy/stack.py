"""The services of `deploy/` as processes of this machine: the commands, variables and healthchecks that the
compose files state, with containers' names, paths and ports replaced by this machine's.

Belongs here: starting, asking and stopping them. Does not belong here: what is expected of them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from tests.conftest import ROOT
from tests.deploy.compose import DEPLOY, services
from tests.servers import dagster_graphql
from tests.servers.dagster_graphql import SELECTOR
from tests.servers.seaweedfs import free_ports
from video_pipeline.partitions import VIDEOS

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
HEALTHY_S = 300.0
TAIL = 8_000
"""Characters of a log in a failure: the cause of Dagster's chained errors stands 5,000 from the end."""


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str, every_s: float = 0.3) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(every_s)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


class Stack:
    """Code location, webserver and daemon. `pipeline` is what `pipeline.env` would hold; only the code
    location gets it."""

    def __init__(self, folder: Path, postgres_url: str, pipeline: Mapping[str, str]) -> None:
        self.folder = folder
        self.home = folder / "dagster_home"
        self.home.mkdir()
        for name in ("dagster.yaml", "workspace.yaml"):
            shutil.copy(DEPLOY / name, self.home / name)
        (folder / "logs").mkdir()
        (folder / "state").mkdir()
        self._pipeline = dict(pipeline)
        self.code_port, self.web_port = free_ports(2)
        parsed = urlparse(postgres_url)
        self._services = services(
            {
                "DAGSTER_PG_HOST": parsed.hostname or "",
                "DAGSTER_PG_PORT": str(parsed.port),
                "DAGSTER_PG_DB": parsed.path.strip("/"),
                "DAGSTER_PG_USER": parsed.username or "",
                "DAGSTER_PG_PASSWORD": parsed.password or "",
            },
            ("compose.yaml",),
        )
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def _here(self, text: str) -> str:
        """Whole words only, each once: a random password or database may hold the digits of a port."""
        here = {
            "/opt/dagster": str(self.home),
            "0.0.0.0": "127.0.0.1",
            "4000": str(self.code_port),
            "3000": str(self.web_port),
        }
        there = "|".join(re.escape(word) for word in here)
        return re.sub(rf"(?<!\w)({there})(?!\w)", lambda found: here[found[1]], text)

    def environment(self, name: str) -> dict[str, str]:
        """The service's own variables and no others of this process, but where programs and the home are."""
        stated = {key: self._here(value) for key, value in self._services[name]["environment"].items()}
        return {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(self.folder),
            "OMP_NUM_THREADS": "1",
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_LOGS": str(self.folder / "logs"),
            **stated,
            **({"CODE_SERVER_HOST": "127.0.0.1"} if "CODE_SERVER_HOST" in stated else {}),
            **(
                {**self._pipeline, "VIDEO_PIPELINE_STATE": str(self.folder / "state")}
                if "env_file" in self._services[name]
                else {}
            ),
        }

    def start(self, name: str) -> None:
        """Starts a service and waits until its healthcheck passes."""
        command = [self._here(part) for part in self._services[name]["command"]]
        with (self.folder / f"{name}.log").open("ab") as output:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment(name),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(lambda: self.is_healthy(name), HEALTHY_S, f"{name} is healthy: {self._tail(name)}", 0.5)

    def is_healthy(self, name: str) -> bool:
        ended = self.processes[name].poll()
        assert ended is None, f"{name} ended with {ended}: {self._tail(name)}"
        kind, *command = self._services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        done = subprocess.run(
            [self._here(part) for part in command],
            env=self.environment(name),
            capture_output=True,
            timeout=120,
        )
        return done.returncode == 0

    def stop(self, name: str, grace_s: float) -> None:
        """SIGTERM as from Docker; a service that stays for longer is killed, and that fails the test."""
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    def _tail(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-TAIL:]

    def ask(self, query: str, **variables: Any) -> Any:
        """The webserver's GraphQL."""
        return dagster_graphql.ask(f"http://127.0.0.1:{self.web_port}", query, variables, 60)

    def launch(self, job: str, *, partition: str | None = None, config: dict | None = None) -> str:
        """Launches a run as the UI does; its id."""
        url = f"http://127.0.0.1:{self.web_port}"
        return dagster_graphql.launch(url, job, 60, partition=partition, config=config)

    def status_of(self, run_id: str, among: set[str], timeout_s: float = 300.0) -> str:
        """Waits until the run's status is one of `among`."""
        query = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"

        def status() -> str | None:
            found = self.ask(query, id=run_id)["runOrError"]["status"]
            return found if found in among else None

        return wait_for(status, timeout_s, f"run {run_id} is one of {sorted(among)}", 0.5)

    def end_of(self, run_id: str) -> str:
        """Waits for a run; its last status."""
        return self.status_of(run_id, ENDED)

    def videos(self) -> list[str]:
        """The registered partitions."""
        query = """query($selector: RepositorySelector!) { repositoryOrError(repositorySelector: $selector) {
                     ... on Repository { assetNodes { assetKey { path } partitionDefinition { name }
                     partitionKeys } } } }"""
        nodes = self.ask(query, selector=SELECTOR)["repositoryOrError"]["assetNodes"]
        return next(
            node["partitionKeys"]
            for node in nodes
            if (node["partitionDefinition"] or {}).get("name") == VIDEOS
        )


@contextmanager
def running_stack(folder: Path, postgres_url: str, pipeline: Mapping[str, str]) -> Iterator[Stack]:
    """Code location, webserver and daemon, healthy; nothing of them is left afterwards."""
    stack = Stack(folder, postgres_url, pipeline)
    try:
        for name in ("code-location", "webserver", "daemon"):
            stack.start(name)
        yield stack
    finally:
        for process in stack.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

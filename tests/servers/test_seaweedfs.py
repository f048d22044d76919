"""The loopback S3 server itself: what tests rely on when they use it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.servers.seaweedfs import PORT_TWIN, SeaweedFS, free_ports
from tests.test_run_host import is_gone

PARENT = """
import sys, time
from pathlib import Path
from tests.servers.seaweedfs import SeaweedFS
server = SeaweedFS(Path(sys.argv[1]))
server.start()
print(server._process.pid, flush=True)
time.sleep(600)
"""


def test_free_ports_differ_have_free_twins_and_are_given_once() -> None:
    ports = free_ports(20) + [port for _ in range(480) for port in free_ports(1)]

    assert len(set(ports)) == 500
    assert not set(ports) & {port + PORT_TWIN for port in ports}


@pytest.mark.slow
def test_a_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path) as server:
        endpoint = server.endpoint_url
        server.client().put_object(Bucket=server.bucket, Key="a", Body=b"content")
        server.restart()

        assert server.endpoint_url == endpoint
        answer = server.client().get_object(Bucket=server.bucket, Key="a")
        assert answer["Body"].read() == b"content"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_server_dies_with_a_killed_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    server = int(parent.stdout.readline())
    process = psutil.Process(server)

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while not is_gone(process):
        assert time.monotonic() < deadline
        time.sleep(0.05)

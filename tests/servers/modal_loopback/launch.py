"""Starting the stand-in from a test, the environment of its clients, deploying to it, playing faults."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil

from tests.conftest import ROOT
from tests.servers.modal_loopback.address import check_loopback_url

TOKEN_ID, TOKEN_SECRET = "ak-loopback", "as-loopback"


class ModalLoopback:
    """One stand-in in a process of its own, in `folder`; `secrets` are maps of variables by name."""

    def __init__(self, folder: Path, secrets: dict[str, dict[str, str]] | None = None) -> None:
        self.folder = folder
        self._secrets = secrets or {}
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self._http_url = ""

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        secrets = self.folder / "secrets.json"
        secrets.write_text(json.dumps(self._secrets))
        command = [sys.executable, "-m", "tests.servers.modal_loopback", "--root", str(self.folder)]
        options = ["--token", f"{TOKEN_ID}:{TOKEN_SECRET}", "--secrets", str(secrets)]
        with (self.folder / "server.log").open("ab") as errors:
            self._process = subprocess.Popen(
                [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        atexit.register(self.stop)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError(f"the stand-in did not start:\n{self.log()}")
        addresses = json.loads(line)
        self.url = check_loopback_url(addresses["url"])
        self._http_url = check_loopback_url(addresses["http_url"])

    def stop(self) -> None:
        """Ends it with all its containers; nothing of it is left when this returns."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        for container in self.container_processes():
            with contextlib.suppress(psutil.Error):
                container.kill()
        atexit.unregister(self.stop)

    def __enter__(self) -> ModalLoopback:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What makes a client a client of this stand-in, and of nothing else."""
        return {
            "MODAL_SERVER_URL": check_loopback_url(self.url),
            "MODAL_TOKEN_ID": TOKEN_ID,
            "MODAL_TOKEN_SECRET": TOKEN_SECRET,
            "MODAL_CONFIG_PATH": str(self.folder / "no-such-config"),
            "MODAL_DISABLE_API_PROXY": "1",
        }

    def deploy(self, module: str, extra: dict[str, str] | None = None) -> str:
        """`modal deploy -m MODULE` with the real client. Returns what it printed."""
        return self.client([sys.executable, "-m", "modal", "deploy", "-m", module], extra)

    def client(self, command: list[str], extra: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **self.environment, **(extra or {})},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command} failed:\n{done.stdout}\n{done.stderr}\n{self.log()}")
        return done.stdout

    def state(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._http_url}/state", timeout=60) as answer:
            return json.load(answer)

    def fault(self, name: str, **options: object) -> list[str]:
        """Plays a fault (`door`); returns the ids of the containers it hit."""
        url = f"{self._http_url}/faults/{name}?{urlencode(options)}"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=60) as answer:
            return json.load(answer)

    def pause(self) -> None:
        """The process stops answering, its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        return (self.folder / "server.log").read_text(errors="replace")[-4000:]

    def container_processes(self) -> list[psutil.Process]:
        """Live container processes of this stand-in, whether it knows of them or not."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                inside = process.cwd().startswith(str(self.folder / "containers"))
                if inside and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

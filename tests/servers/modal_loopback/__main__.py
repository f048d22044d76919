"""The stand-in as a program: `python -m tests.servers.modal_loopback --root FOLDER`.

Prints one line of JSON with the addresses when it listens, and ends with SIGTERM or with its parent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import grpclib.server
from aiohttp import web

from tests.servers.modal_loopback.address import check_loopback_host
from tests.servers.modal_loopback.blobs import Blobs
from tests.servers.modal_loopback.calls import Calls
from tests.servers.modal_loopback.containers import Containers
from tests.servers.modal_loopback.deploy import Deploy
from tests.servers.modal_loopback.door import Door
from tests.servers.modal_loopback.logs import Logs
from tests.servers.modal_loopback.lookup import LookUp
from tests.servers.modal_loopback.rpc import Service
from tests.servers.modal_loopback.state import State


async def serve(arguments: argparse.Namespace) -> None:
    host = check_loopback_host(arguments.host)
    secrets = json.loads(Path(arguments.secrets).read_text()) if arguments.secrets else {}
    state = State(Path(arguments.root).resolve(), secrets)
    logs, blobs = Logs(state), Blobs(state)
    containers = Containers(state, logs)
    parts = [Deploy(state), LookUp(state), Calls(state, containers), containers, logs, blobs]
    token = tuple(arguments.token.split(":", 1)) if arguments.token else None
    asyncio.get_running_loop().set_exception_handler(_defect)

    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.put("/blob/{id}", blobs.put), web.get("/blob/{id}", blobs.get)])
    app.add_routes(Door(state, containers).routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    state.http_url = f"http://{host}:{runner.addresses[0][1]}"

    server = grpclib.server.Server([Service(state, parts, token)])  # pyright: ignore[reportArgumentType]
    await server.start(host, arguments.port)
    state.url = f"http://{host}:{server._server.sockets[0].getsockname()[1]}"  # pyright: ignore
    print(json.dumps({"url": state.url, "http_url": state.http_url}), flush=True)

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    parent = os.getppid()
    while not stop.is_set() and os.getppid() == parent:
        try:
            await asyncio.wait_for(stop.wait(), 1.0)
        except TimeoutError:
            continue
    for container in state.containers.values():
        if not container.gone:
            containers.kill(container, "the stand-in ends")
    sys.stdout.flush()
    os._exit(0)  # Questions that are held open would hold the loop.


def _defect(loop: asyncio.AbstractEventLoop, context: dict) -> None:
    loop.default_exception_handler(context)
    if context["message"] == "the stand-in has a defect":
        os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", required=True, help="folder for uploads, containers and their output")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="", help="ID:SECRET that clients must show; default any")
    parser.add_argument("--secrets", default="", help="JSON file: named secrets, each a map of variables")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()

"""The tests' own way in, over HTTP: what the stand-in knows, and the faults it plays. No RPC of Modal's."""

from __future__ import annotations

import sys
import time
from typing import Any

from aiohttp import web

from tests.servers.modal_loopback.containers import Containers
from tests.servers.modal_loopback.state import Container, State


class Door:
    def __init__(self, state: State, containers: Containers) -> None:
        self._state = state
        self._containers = containers

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/state", self._tell),
            web.post("/faults/preempt", self._preempt),
            web.post("/faults/kill", self._kill),
            web.post("/faults/time_out", self._time_out),
            web.post("/faults/run_out_of_memory", self._run_out_of_memory),
            web.post("/faults/drop_outputs", self._drop_outputs),
            web.post("/faults/broken_start", self._broken_start),
            web.post("/faults/cancel_all", self._cancel_all),
            web.post("/faults/expire", self._expire),
            web.post("/faults/outage", self._outage),
        ]

    async def _tell(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "rpcs": dict(self._state.rpcs),
                "refused": dict(self._state.refused),
                "functions": {function.id: self._function(function.id) for function in self._functions()},
                "calls": {
                    call.id: {
                        "function": self._state.functions[call.function_id].handle.function_name,
                        "unfinished": call.unfinished(),
                        "statuses": [item.result.status for item in call.outputs],
                    }
                    for call in self._state.calls.values()
                },
                "containers": {
                    container.id: {
                        "pid": container.process.pid if container.process else 0,
                        "gone": container.gone,
                        "ended_by": container.ended_by,
                        "calls": [item.call.id for item in container.running.values()],
                    }
                    for container in self._state.containers.values()
                },
            }
        )

    def _functions(self) -> list[Any]:
        return [function for function in self._state.functions.values() if function.definition is not None]

    def _function(self, function_id: str) -> dict[str, Any]:
        function = self._state.functions[function_id]
        definition = function.definition
        return {
            "name": function.handle.function_name,
            "app": self._state.app_of(function_id).name,
            "base": function.base,
            "gpu": definition.resources.gpu_config.gpu_type,
            "timeout_s": definition.timeout_secs,
            "image": definition.image_id,
            "files": sorted(
                file.filename for mount in definition.mount_ids for file in self._state.mounts[mount]
            ),
        }

    def _working(self, request: web.Request) -> list[Container]:
        """The containers that work: all, or those on the call that `call` names, or at most `most`."""
        wanted = request.query.get("call")
        found = [
            container
            for container in self._state.containers.values()
            if not container.gone
            and any(wanted in (None, item.call.id) for item in container.running.values())
        ]
        return found[: int(request.query.get("most", len(found)))]

    async def _preempt(self, request: web.Request) -> web.Response:
        hit = self._working(request)
        for container in hit:
            self._state.start(self._containers.preempt(container, float(request.query.get("grace_s", "2"))))
        return web.json_response([container.id for container in hit])

    async def _kill(self, request: web.Request) -> web.Response:
        hit = self._working(request)
        for container in hit:
            self._containers.kill(container, "killed")
        return web.json_response([container.id for container in hit])

    async def _time_out(self, request: web.Request) -> web.Response:
        """As if the working containers' inputs had run into Modal's time limit now."""
        hit = self._working(request)
        for container in hit:
            for item in list(container.running.values()):
                await self._containers.time_out(item, container, "the time limit that a test plays")
        return web.json_response([container.id for container in hit])

    async def _run_out_of_memory(self, request: web.Request) -> web.Response:
        """As if the kernel had killed the working containers at their limit of memory now, and Modal had not
        started others in their place."""
        hit = self._working(request)
        for container in hit:
            for item in list(container.running.values()):
                await self._containers.run_out_of_memory(item, container)
        return web.json_response([container.id for container in hit])

    async def _drop_outputs(self, request: web.Request) -> web.Response:
        """What the working containers say from now on is lost, as with a machine that loses its network."""
        hit = self._working(request)
        for container in hit:
            container.ended_by = "lost outputs"
        return web.json_response([container.id for container in hit])

    async def _broken_start(self, request: web.Request) -> web.Response:
        """With `on=1`, every container ends while it starts; those that are idle are ended now."""
        self._state.python = "/bin/false" if request.query["on"] == "1" else sys.executable
        idle = [item for item in self._state.containers.values() if not item.running and not item.gone]
        for container in idle:
            self._containers.kill(container, "broken_start")
        return web.json_response([container.id for container in idle])

    async def _cancel_all(self, _: web.Request) -> web.Response:
        """Ends every call that has not ended, as its user might in Modal's dashboard."""
        for item in list(self._state.inputs.values()):
            if not item.done:
                await self._containers.cancel(item, terminate=True)
        return web.json_response([])

    async def _expire(self, request: web.Request) -> web.Response:
        """As after seven days: the call is known, and its result is not."""
        self._state.calls[request.query["call"]].expired = True
        await self._state.changed()
        return web.json_response([])

    async def _outage(self, request: web.Request) -> web.Response:
        """Clients get UNAVAILABLE for a while; containers go on."""
        self._state.outage_until = time.monotonic() + float(request.query["seconds"])
        return web.json_response([])

"""Containers: Modal's own entrypoint in subprocesses, on the uploaded files; starting, feeding, losing them.

Belongs here: the RPCs of a container, how many there are, what happens to an input whose container is gone,
time limits, retries. Does not belong here: laying out a container's folder (`container_folder`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

from modal_proto import api_pb2

from tests.servers.modal_loopback.container_folder import prepare
from tests.servers.modal_loopback.logs import Logs
from tests.servers.modal_loopback.state import Container, Function, Input, Result, State

MOST_CONTAINERS = 8
"""Of one function, where it does not say. Modal's own limits are far higher; a laptop's are not."""
MOST_LOSSES = 50
"""An input whose containers keep dying is given up after as many. Modal does not give it up, for a deployed
app (its guide to retries); a test has to end."""
MOST_CRASHES_AT_START = 3
POLL_S = 2.0
"""How long a container's question for inputs is held open."""
HEARTBEAT_S = 14.5
"""How long its heartbeat is held open: cancels come back in it, and the next begins 15 s after this one."""
IDLE_S = 20.0
"""A container without work is asked to end after this long; as Modal's `scaledown_window`."""


class Containers:
    def __init__(self, state: State, logs: Logs) -> None:
        self._state = state
        self._logs = logs

    async def enqueue(self, item: Input) -> None:
        item.container = None
        function = self._state.functions[item.call.function_id]
        function.queue.append(item)
        await self._state.changed()
        await self._scale(function)

    async def _scale(self, function: Function) -> None:
        limit = function.definition.autoscaler_settings.max_containers or MOST_CONTAINERS
        live = [container for container in function.containers.values() if not container.draining]
        free = sum(not container.running for container in live)
        for _ in range(max(0, min(len(function.queue) - free, limit - len(live)))):
            await self._start(function)

    async def _start(self, function: Function) -> None:
        container_id = self._state.new_id("ta")
        container = Container(container_id, function.id, self._state.root / "containers" / container_id)
        container.idle_since = time.monotonic()
        self._state.containers[container.id] = function.containers[container.id] = container
        command, environment, folder = prepare(self._state, function, container)
        with container.output.open("wb") as output:
            container.process = await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._state.start(self._reap(container))

    def kill(self, container: Container, why: str) -> None:
        """SIGKILL to all of its processes."""
        container.ended_by = container.ended_by or why
        container.draining = True
        if container.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(container.process.pid, signal.SIGKILL)

    async def cancel(self, item: Input, *, terminate: bool) -> None:
        """An input that waits is ended; one that runs gets `InputCancellation`, or loses its container."""
        container = item.container
        if container is not None and not terminate:
            container.cancels.append(item.id)
            await self._state.changed()
            return
        cancelled = Result(status=Result.GENERIC_STATUS_TERMINATED, exception="Input was cancelled by user")
        await self.finish(item, cancelled)
        if container is not None:
            self.kill(container, "cancelled")

    async def preempt(self, container: Container, grace_s: float) -> None:
        """As a machine that is taken away: SIGINT, `grace_s`, SIGKILL. Whatever it still answers is dropped,
        and its inputs run again elsewhere."""
        container.ended_by, container.draining = "preempted", True
        if container.process is not None:
            with contextlib.suppress(ProcessLookupError):
                container.process.send_signal(signal.SIGINT)
        await asyncio.sleep(grace_s)
        self.kill(container, "preempted")

    async def _reap(self, container: Container) -> None:
        assert container.process is not None
        code = await container.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(container.process.pid, signal.SIGKILL)
        container.gone = container.draining = True
        function = self._state.functions[container.function_id]
        function.containers.pop(container.id, None)
        self._logs.collect(container)
        if not container.asked_for_work and not container.ended_by:
            await self._crashed_at_start(function, container, code)
        for item in list(container.running.values()):
            container.running.pop(item.id)
            if item.done or item.container is not container:
                continue
            item.containers_lost += 1
            if item.containers_lost < MOST_LOSSES:
                await self.enqueue(item)
            else:
                message = f"the container exited with {code} ({container.ended_by or 'by itself'})"
                await self.finish(
                    item, Result(status=Result.GENERIC_STATUS_INTERNAL_FAILURE, exception=message)
                )
        await self._scale(function)

    async def _crashed_at_start(self, function: Function, container: Container, code: int) -> None:
        function.crashes_at_start += 1
        if function.crashes_at_start < MOST_CRASHES_AT_START:
            return
        function.crashes_at_start = 0
        tail = container.output.read_text(errors="replace")[-2000:]
        while function.queue:
            message = f"the container of {function.handle.function_name} exits with {code} at start:\n{tail}"
            await self.finish(
                function.queue.popleft(),
                Result(status=Result.GENERIC_STATUS_INIT_FAILURE, exception=message),
            )

    async def ContainerHello(self, request: Any, container: Container) -> None:
        return None

    async def ContainerHeartbeat(self, request: Any, container: Container) -> Any:
        await self._state.wait_for(lambda: container.cancels, HEARTBEAT_S)
        cancelled, container.cancels = container.cancels, []
        if not cancelled:
            return None
        return api_pb2.ContainerHeartbeatResponse(
            cancel_input_event=api_pb2.CancelInputEvent(input_ids=cancelled)
        )

    async def FunctionGetInputs(self, request: Any, container: Container) -> Any:
        function = self._state.functions[container.function_id]
        container.asked_for_work, function.crashes_at_start = True, 0
        self._logs.mark(container, None)
        await self._state.wait_for(lambda: function.queue or container.draining, POLL_S)
        if not function.queue and time.monotonic() - container.idle_since > IDLE_S:
            container.draining = True
        if container.draining:
            end = api_pb2.FunctionGetInputsItem(kill_switch=True)
            return api_pb2.FunctionGetInputsResponse(inputs=[end])
        if not function.queue:
            return api_pb2.FunctionGetInputsResponse()
        item = function.queue.popleft()
        item.container = container
        container.running[item.id] = item
        self._logs.mark(container, item)
        if limit_s := function.definition.timeout_secs:
            self._state.start(self._enforce_limit(item, container, item.retries, limit_s))
        given = api_pb2.FunctionGetInputsItem(
            input_id=item.id,
            input=item.body,
            function_call_id=item.call.id,
            retry_count=item.retries,
            function_call_invocation_type=item.call.invocation,
            function_map_idx=item.index,
        )
        return api_pb2.FunctionGetInputsResponse(inputs=[given])

    async def _enforce_limit(self, item: Input, container: Container, retries: int, limit_s: int) -> None:
        await asyncio.sleep(limit_s)
        if item.done or item.container is not container or item.retries != retries:
            return
        await self.time_out(item, container, f"its timeout of {limit_s}s")

    async def time_out(self, item: Input, container: Container, limit: str) -> None:
        container.running.pop(item.id, None)
        self.kill(container, "timeout")
        message = f"Task's current input {item.id} hit {limit}"
        await self._settle(item, Result(status=Result.GENERIC_STATUS_TIMEOUT, exception=message), None)

    async def run_out_of_memory(self, item: Input, container: Container) -> None:
        """The status is the service's; it has no documented words."""
        container.running.pop(item.id, None)
        self.kill(container, "out of memory")
        message = "the container was killed: out of memory (exit code 137)"
        await self.finish(item, Result(status=Result.GENERIC_STATUS_KERNEL_OOM_KILL, exception=message))

    async def FunctionPutOutputs(self, request: Any, container: Container) -> None:
        for put in request.outputs:
            item = self._state.inputs[put.input_id]
            if item.container is not container or container.ended_by:
                continue
            container.running.pop(item.id, None)
            container.idle_since = time.monotonic()
            if not item.done and put.retry_count == item.retries:
                await self._settle(item, put.result, put)
        await self._scale(self._state.functions[container.function_id])

    async def _settle(self, item: Input, result: Any, put: Any | None) -> None:
        """Ends the input, or runs it again by the function's own `retries=`."""
        policy = self._state.functions[item.call.function_id].definition.retry_policy
        failed = result.status in (Result.GENERIC_STATUS_FAILURE, Result.GENERIC_STATUS_TIMEOUT)
        if not failed or item.retries >= policy.retries:
            await self.finish(item, result, put)
            return
        delay_ms = policy.initial_delay_ms * policy.backoff_coefficient**item.retries
        item.retries += 1
        item.container = None
        self._state.start(self._again(item, min(delay_ms, policy.max_delay_ms or delay_ms) / 1000))

    async def _again(self, item: Input, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if not item.done:
            await self.enqueue(item)

    async def finish(self, item: Input, result: Any, put: Any | None = None) -> None:
        function = self._state.functions[item.call.function_id]
        if item in function.queue:
            function.queue.remove(item)
        item.done = True
        item.call.outputs.append(_output_of(item, result, put))
        await self._state.changed()

    async def TaskResult(self, request: Any, container: Container) -> None:
        """The container failed before its first input: its code does not import, or its set-up raised."""
        container.draining = True
        if request.result.status == Result.GENERIC_STATUS_SUCCESS:
            return
        container.ended_by = container.ended_by or "failed at start"
        function = self._state.functions[container.function_id]
        while function.queue:
            await self.finish(function.queue.popleft(), request.result)

    async def VolumeCommit(self, request: Any, container: Container) -> Any:
        return api_pb2.VolumeCommitResponse(skip_reload=True)


def _output_of(item: Input, result: Any, put: Any | None) -> Any:
    """The finished input as callers get it; `put` is what its container said, or None."""
    return api_pb2.FunctionGetOutputsItem(
        result=result,
        idx=item.index,
        input_id=item.id,
        task_id=item.container.id if item.container else "",
        retry_count=item.retries,
        data_format=put.data_format if put else api_pb2.DATA_FORMAT_UNSPECIFIED,
        input_started_at=put.input_started_at if put else 0.0,
        output_created_at=time.time(),
    )
